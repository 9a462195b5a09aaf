"""Consistent lifting: a given lifter learns on unlabelled 2D sequences from what every true pose fulfils.

Of poses p from 2D keypoints q with confidences c, seen by a camera that may be known, in the frames of a batch
    loss = symmetry * mean of |left - right| / (left + right)            over pairs of bones
         + bones * mean of h((length - m) / m)                           m: the mean of the recording's, in the batch
         + known * mean of h(max(|length - M| - width S, 0) / M)         M, S: mean and deviation in the source
         + reprojection * mean of c h(distance of p + root from the ray to q / mean bone)
         + hold * mean of h(|p - given(q)| / mean bone)                  given: the model as it was given
    h(r) = Huber's loss, quadratic up to a tenth of a bone
and the base's `steady`. The root is the one of least squares (adapt/lifting.py), without which no lens would be of
use to poses that are counted from it. A recording is taken as one person. Of samples whose camera is unknown (`lens`
zeros) there is no reprojection. What the source says of lengths is read off the given model's answers there, so that no
label travels; where a run opens no source (`keyshift adapt`), `lengths` have to be said.

Why it helps: reprojection fixes x and y of every bone but for the person's size, and lengths then fix that, and how far
it reaches towards or away from the camera, but for the sign, which the given model knows. Alone none helps: any pose
that is drawn out along the rays is seen where it should be, and one pose for all frames, which `hold` keeps away, is
symmetric. So lengths count most, in mm. Terms of this kind: Chen et al., TCSVT 2021 (Anatomy3D: lengths over a video),
Pavllo et al., CVPR 2019 (reprojection of unlabelled video, lengths of the source's).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...datasets.options import option
from ...datasets.sample import CAMERA_MM, Labeled, Unlabeled
from ...datasets.skeleton import Skeleton
from ...models.pose_model import PoseModel
from ..anatomy import asymmetry, lengths, sides_of
from ..lifting import beyond, changing, rays, rooted, soft, unseen
from ..processes import gather
from ..strategy import Strategy, Update


class Lift(Strategy):
    """Source-free; the network is evaluated and shipped."""

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        symmetry: float = option(1.0, "weight of left and right bones' equal lengths", low=0)
        bones: float = option(1.0, "weight of lengths that stay, over the frames of a recording", low=0)
        known: float = option(3.0, "weight of lengths outside of what is known of them", low=0)
        width: float = option(1.0, "of what the source says of them, deviations to either side", low=0)
        lengths: list[float] = option(
            [], "mm, of the skeleton's bones in their order, where someone measured them; []: the source's", low=0
        )
        reprojection: float = option(1.0, "weight of where the pose would be seen, where the camera is known", low=0)
        hold: float = option(0.1, "weight of the given model's own answers", low=0)

    title = "Consistent lifting"
    about = "a given lifter learns from lengths, symmetry and reprojection of its own poses"
    kind = "source_free"
    besides = "2D sequences, lengths of bones (the source's or measured); can use their cameras"
    needs = frozenset({"target"})
    reads = frozenset({"keypoints2d"})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.terms = Terms(self.model, self.skeleton, self.options)

    def see_source(self, batches: Callable[[], Iterable[Unlabeled]] | None) -> None:
        self.terms.see(batches)

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        with self.statistics("target"):
            points = self.model(target).mean()
        yield self.terms(points, target), ("model",)


class Terms(nn.Module):
    """The losses of a lifter's own poses, with the given model and what is known of the source."""

    edges: Tensor
    sides: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, model: PoseModel, skeleton: Skeleton, options: Any) -> None:
        """Raises ValueError where no term is left that the skeleton allows, and for lengths of other bones."""
        super().__init__()
        self.options, sides = options, sides_of(skeleton.edges, skeleton.flip)
        self.given = deepcopy(model).requires_grad_(False)
        usable = {"symmetry": sides, "bones": skeleton.edges, "known": skeleton.edges, "reprojection": [0]}
        if not any(rows and getattr(options, name) > 0 for name, rows in usable.items()):
            raise ValueError(
                f"of {', '.join(usable)} there is none with a weight above 0 that the skeleton {skeleton.name!r} "
                "allows: name its bones (edges) and its pairs of sides (flip_pairs), or raise reprojection"
            )
        for name, rows in (("edges", skeleton.edges), ("sides", sides)):
            self.register_buffer(name, torch.tensor(rows, dtype=torch.int64).view(-1, 2), persistent=False)
        for name in ("mean", "deviation"):
            self.register_buffer(name, torch.zeros(len(self.edges)))
        self.bones = ", ".join(f"{skeleton.keypoints[a]} to {skeleton.keypoints[b]}" for a, b in skeleton.edges)
        if options.lengths and len(options.lengths) != len(self.edges):
            raise ValueError(
                f"lengths={options.lengths} are {len(options.lengths)}; {skeleton.name!r} has {len(self.edges)} bones: "
                f"{self.bones}"
            )
        if options.lengths:
            self.mean.copy_(torch.tensor(options.lengths))

    def train(self, mode: bool = True) -> Terms:
        super().train(mode)
        self.given.eval()  # its answers are those that it would be shipped with
        return self

    @torch.no_grad()
    def see(self, batches: Callable[[], Iterable[Unlabeled]] | None) -> None:
        """Keep the lengths of bones in the given model's poses of source samples, where they count. Raises ValueError
        where there are none and nobody says them."""
        if self.options.lengths or self.options.known == 0 or not len(self.edges):
            return
        if batches is None:
            raise ValueError(
                "lift knows no lengths of bones, without which reprojection draws poses out along the rays: this run "
                f"opens no source, so say them as lift.lengths=[...] (or lift_online.lengths), mm, of {self.bones}; or "
                "set known=0"
            )
        device = self.mean.device
        every = torch.cat([lengths(self.given.eval()(batch.to(device)).mean(), self.edges) for batch in batches()])
        self.mean.copy_(every.mean(0))
        self.deviation.copy_(every.std(0, correction=0))

    def forward(self, points: Tensor, sample: Unlabeled) -> dict[str, Tensor]:
        """The losses of points (B, K, 3), already weighted, of those with a weight."""
        options, length = self.options, lengths(points, self.edges)
        losses = {}
        if options.symmetry > 0 and len(self.sides):
            losses["symmetry"] = options.symmetry * asymmetry(length, self.sides).mean()
        if options.bones > 0 and len(self.edges):
            own = people_of(sample, points.device)
            losses["bones"] = options.bones * soft(changing(length, own, gather(length.detach()), gather(own))).mean()
        if options.known > 0 and len(self.edges):
            outside = beyond(length, self.mean, self.deviation, options.width) * (self.mean > 0)
            losses["known"] = options.known * soft(outside).mean()
        size = length.detach().mean(-1).clamp_min(1.0)[:, None] if len(self.edges) else points.new_full((), 100.0)
        if options.reprojection > 0:
            losses["reprojection"] = options.reprojection * self.reprojected(points, sample, size)
        if options.hold > 0:
            with torch.no_grad():
                before = self.given(sample).mean()
            losses["hold"] = options.hold * soft((points - before) / size[..., None]).mean()
        return losses

    def reprojected(self, points: Tensor, sample: Unlabeled, size: Tensor) -> Tensor:
        """The mean over joints of how far they are from where they are seen; 0 where no camera is known."""
        window, lens = sample.inputs["keypoints2d"], sample.inputs["lens"]
        seen = window[:, window.shape[1] // 2]
        along, weight = rays(seen[..., :2], lens), seen[..., 2]
        known = (lens[:, :2] > 0).all(-1)
        if sample.space != CAMERA_MM:
            root, located = rooted(points, along, weight)
            points, known = points + root[:, None], known & located
        weight = weight * known[:, None]
        return (weight * soft(unseen(points, along) / size)).mean()


def people_of(sample: Unlabeled, device: torch.device) -> Tensor:
    """A number for each sample's recording, the same in all processes: (B,) int64."""
    return torch.tensor([zlib.crc32(name.encode()) for name in sample.sequence]).to(device, non_blocking=True)
