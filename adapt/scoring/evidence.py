"""What is seen of a network without a target label: its answers for target pictures, plain and in known warps, and for
held-out source pictures, whose labels may be looked at. Label-free scores read it; each part is computed once, when the
first score asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ...datasets.augment import Augmentation
from ...datasets.loading import EvaluationBatches, Kept, Mapped
from ...datasets.sample import PIXELS_AND_MM, ROOT_MM, Labeled, PoseDataset, Unlabeled, inside, z_edge
from ...datasets.skeleton import Skeleton
from ...datasets.views import WithoutLabels, spread
from ...models.output import Grid, Poses, Votes
from ...models.pose_model import PoseModel
from ..consistency import carried
from ..processes import shared
from ..views import by_view
from .corruption import changed, ladder
from .evaluation import Predictions, hits, predict
from .matching import span

PICTURES = 256
"""Of each domain, at most."""
WARPS = 4
"""Known warps of each target picture, beside the plain one."""
TRIED = 64
"""Of the held-out source, at most, that are made harder in known ways."""
AT_ONCE = 32


class Looks:
    """On what networks are looked at: up to PICTURES of the target, its labels gone, and of the held-out source, if
    there is one, and how they are cut."""

    def __init__(
        self,
        target: PoseDataset,
        source: PoseDataset | None,
        skeleton: Skeleton,
        size: tuple[int, int],
        augmentation: Augmentation,
        threshold: float,
        device: torch.device,
        mode: str = "exact",
        pictures: int = PICTURES,
    ) -> None:
        self.target: PoseDataset = WithoutLabels(spread(target, pictures))
        self.source = None if source is None else spread(source, pictures)
        self.skeleton, self.threshold, self.device = skeleton, threshold, device
        self.size, self.augmentation, self.mode = size, augmentation, mode
        self.kept: dict[tuple[PoseDataset, int], Kept] = {}

    def batches(self, dataset: PoseDataset, warp: int = 0) -> Sequence[Labeled]:
        """All of a dataset in its order: plain, or in the known warp of that number, the same at each call: of all
        networks that are looked at, each picture is cut once."""
        if (dataset, warp) not in self.kept:
            options = (self.augmentation, warp) if warp else None
            self.kept[dataset, warp] = Kept(EvaluationBatches(dataset, AT_ONCE, self.size, self.mode, options))
        return Mapped(self.kept[dataset, warp], lambda batch: batch.to(self.device))

    @cached_property
    def few(self) -> PoseDataset | None:
        """Those of the held-out source that are made harder."""
        return None if self.source is None else spread(self.source, TRIED)

    @cached_property
    def labels(self) -> tuple[Tensor, Tensor] | None:
        """Of the held-out source: points (P, K, D) in shares of the crop, and which are known (P, K); None without
        one."""
        if self.source is None:
            return None
        return self.labels_of(self.batches(self.source))

    @staticmethod
    def labels_of(batches: Iterable[Labeled]) -> tuple[Tensor, Tensor]:
        """The same of some batches."""
        parts = [(shares(b.keypoints, b, b.image_index).cpu(), b.whole.cpu()) for b in batches]
        points, annotated = (torch.cat(values) for values in zip(*parts, strict=True))
        return points, annotated

    @cached_property
    def shown(self) -> dict[str, Tensor]:
        """The inputs of few target samples, by name, on the CPU."""
        batches = list(self.batches(spread(self.target, TRIED)))
        return {name: torch.cat([batch.inputs[name].cpu() for batch in batches]) for name in batches[0].inputs}


@dataclass(frozen=True)
class Answers:
    """Of a network for N plain pictures, P people in them; on the CPU."""

    points: Tensor
    """(P, K, D) in shares of the crop: 1 is its side, of z the cube's edge."""
    confidence: Tensor
    """(P, K)"""
    image_index: Tensor
    """(P,)"""
    log_density: Tensor
    """(N, K, cells) float32, of the grid in the plane; of a picture all its people's."""
    spread: Tensor
    """(N, K) standard deviation of that density, in shares of the crop."""
    features: Tensor
    """(N, C), averaged over the picture."""
    frame: Tensor
    """(N,)"""
    sequence: tuple[str, ...]

    @property
    def doubtful(self) -> bool:
        """Whether confidence says anything; that of a head with one candidate is always 1."""
        return bool((self.confidence != 1).any())


@dataclass(frozen=True)
class Views:
    """Of a network for the same pictures in V known views, the plain one first; on the CPU."""

    points: Tensor
    """(V, P, K, D) in the plain view, in shares of the crop; P are the people of the plain view."""
    shown: Tensor
    """(V, P, K) bool: the view has the person, and shows the place where the plain view has the keypoint."""
    lost: Tensor | None = None
    """(V, P, K) bool: the view shows that place and has not the person; None where every view has everyone."""


@dataclass(frozen=True)
class Trial:
    """Of a network that answers with one person, for P source samples changed in one way; on the CPU."""

    answers: Answers
    views: Views
    """The plain one and one warp."""
    errors: Tensor
    """(P, K) distances from the labels, in shares of the crop."""
    annotated: Tensor
    """(P, K) bool"""


class Evidence:
    """Of one network; `given` is that of the network before adaptation, None for itself."""

    def __init__(self, model: PoseModel, looks: Looks, given: Evidence | None = None) -> None:
        self.model, self.looks = model, looks
        self.given = self if given is None else given

    @cached_property
    def target(self) -> Answers:
        return answers(self.model, self.looks.batches(self.looks.target))

    @cached_property
    def source(self) -> Answers | None:
        source = self.looks.source
        return None if source is None else answers(self.model, self.looks.batches(source))

    @cached_property
    def judged(self) -> Predictions | None:
        """On the held-out source, beside its labels."""
        return self.judge()

    def judge(self, change: Callable[[Labeled], Labeled] | None = None) -> Predictions | None:
        """The same of the source as `change` alters each batch of it; None without a source."""
        source = self.looks.source
        if source is None:
            return None
        batches = self.looks.batches(source)
        looked_at = batches if change is None else Mapped(batches, change)
        return predict(self.model, looked_at, self.looks.device, skeleton=self.looks.skeleton)

    @cached_property
    def hits(self) -> np.ndarray:
        """(N, K) 1 for keypoints of `judged` within the threshold of their labels, in one unit for all heads."""
        assert self.judged is not None
        assert self.looks.source is not None
        batches = list(self.looks.batches(self.looks.source)) if self.judged.dims == 3 else []
        return hits(self.judged, batches, self.looks.threshold)

    @cached_property
    def views(self) -> Views:
        """Of the target."""
        looks = self.looks
        return viewed(self.model, [looks.batches(looks.target, warp) for warp in range(WARPS + 1)], looks.skeleton.flip)

    @cached_property
    def tried(self) -> dict[str, Trial]:
        """On few held-out source samples, as they are and changed as corruption.py says, by the name of the change;
        nothing without a source, and of a network that finds several people."""
        looks = self.looks
        if looks.few is None or not self.model.single:
            return {}
        plain, warped = (list(looks.batches(looks.few, warp)) for warp in (0, 1))
        points, annotated = looks.labels_of(plain)
        made = {}
        for name, change in ladder(plain[0]).items():
            own, other = ([changed(b, looks.shown, change) for b in batches] for batches in (plain, warped))
            answered = answers(self.model, own)
            views = viewed(self.model, [own, other], looks.skeleton.flip)
            errors = (answered.points - points[..., : answered.points.shape[-1]]).norm(dim=-1)
            made[name] = Trial(answered, views, errors, annotated)
        return made

    def beside(self, others: Sequence[PoseModel]) -> Views:
        """Of the target's plain pictures, and what `others` answer for them in place of views."""
        looks = self.looks
        batches = [looks.batches(looks.target) for _ in range(len(others) + 1)]
        return viewed(self.model, batches, looks.skeleton.flip, others)

    def changed(self, change: Callable[[PoseModel], None]) -> Evidence:
        """Of a copy of the network that `change` has altered in place."""
        model = deepcopy(self.model)
        change(model)
        return Evidence(model, self.looks)


@torch.no_grad()
def answers(model: PoseModel, batches: Sequence[Labeled]) -> Answers:
    """Of `model` in evaluation mode; its mode is restored."""
    mode = model.training
    model.eval()

    def answer(labelled: Labeled) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        sample = labelled.without_labels()
        features = model.features(sample)
        votes = model.votes(features, sample)
        poses = model.decode(votes, sample)
        plane, density = in_plane(votes)
        part = {
            "points": shares(poses.points, sample, poses.image_index),
            "confidence": poses.confidence.float(),
            "image_index": poses.image_index,
            "log_density": density.float().flatten(2),
            "spread": spread_of(plane, density) / span(sample),
            "features": (features.flatten(2).mean(-1) if features.dim() > 2 else features).float(),
            "frame": sample.frame,
        }
        return {name: value.cpu() for name, value in part.items()}, sample.sequence

    parts, images, sequences = [], 0, list[str]()
    for part, sequence in shared(batches, answer):
        parts.append(part | {"image_index": part["image_index"] + images})
        images += len(sequence)
        sequences += sequence
    model.train(mode)
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return Answers(**whole, sequence=tuple(sequences))


@torch.no_grad()
def viewed(
    model: PoseModel, views: list[Sequence[Labeled]], flip: list[int], others: Sequence[PoseModel] = ()
) -> Views:
    """Of `model`, for batches of the same pictures in several views; where there are `others`, each answers one of the
    views after the first. In evaluation mode; their modes are restored."""
    models = [model, *(others or [model] * (len(views) - 1))]
    modes = [one.training for one in models]
    for one in models:
        one.eval()

    def answer(number: int) -> tuple[Tensor, ...]:
        samples = [view[number].without_labels() for view in views]
        plain = samples[0]
        poses = [one.decode(one(sample), sample) for one, sample in zip(models, samples, strict=True)]
        there = [carried(own, sample, plain, flip) for own, sample in zip(poses, samples, strict=True)]
        people, points, has = by_view(joined(there, len(plain)), len(samples), plain, model.single)
        places = [inside(carried(people, plain, sample, flip).points, sample, people.image_index) for sample in samples]
        scaled, shown = torch.stack([shares(own, plain, people.image_index) for own in points]), torch.stack(places)
        return scaled.cpu(), (shown & has[..., None]).cpu(), (shown & ~has[..., None]).cpu()

    parts = shared(range(len(views[0])), answer)
    for one, mode in zip(models, modes, strict=True):
        one.train(mode)
    return Views(*(torch.cat(values, 1) for values in zip(*parts, strict=True)))


def joined(poses: list[Poses], images: int) -> Poses:
    """Poses of several views of as many `images` as those of one batch, view after view."""
    moved = [replace(own, image_index=own.image_index + view * images) for view, own in enumerate(poses)]
    return Poses(*(torch.cat([getattr(own, field.name) for own in moved]) for field in fields(Poses)))


def shares(points: Tensor, sample: Unlabeled, image_index: Tensor) -> Tensor:
    """Points (P, K, D) of the model's input in shares of the crop's side, z in shares of the cube's edge."""
    if sample.space in (PIXELS_AND_MM, ROOT_MM) and points.shape[-1] == 3:
        edge = z_edge(sample)[image_index].view(-1, 1, 1)
        return torch.cat([points[..., :2] / span(sample), points[..., 2:] / edge], -1).float()
    return points.float() / span(sample)


def in_plane(votes: Votes) -> tuple[Grid, Tensor]:
    """The first of the grid's marginals and the log density on it (B, K, *shape); of a volume what remains of it in
    the picture's plane."""
    first = votes.marginals()[0]
    grid = first.grid
    if not grid.volume:
        return grid, first.log_density()
    plane = torch.stack([image.float().logsumexp(1) for image in first.maps])  # a whole batch's volumes are large
    density = plane.flatten(2).log_softmax(-1).view_as(plane)
    return Grid(grid.shape[1:], grid.stride[:2], grid.origin[:2]), density


def spread_of(grid: Grid, log_density: Tensor) -> Tensor:
    """The standard deviation (B, K), in the grid's unit, of densities (B, K, *shape)."""
    density = log_density.exp()
    last, total = density.dim() - 1, density.flatten(2).sum(-1)
    variance = torch.zeros_like(total)
    for dim in range(len(grid.shape)):
        line = density.sum([d for d in range(2, density.dim()) if d != last - dim]) / total[..., None]
        axis = grid.axis(dim, line)
        mean = (line * axis).sum(-1, keepdim=True)
        variance = variance + (line * (axis - mean).square()).sum(-1)
    return variance.clamp_min(0).sqrt()
