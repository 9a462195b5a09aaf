"""An anatomy-voted teacher: a mean teacher whose pose counts only where it is the more plausible one.

Three things speak for a pose: its bones' lengths, how alike its two sides are, and the angles at its joints. Each is a
number x (a length; of left and right bones |l - r| / (l + r); a cosine), and its range is learned from the source's
labels: mean m and deviation s over all people seen so far. A pose's fault is how far it leaves that range,
    f = mean over the numbers of max(|x - m| - width * s, 0) / s,
and each of the three votes for the teacher where f(teacher) <= f(student): a tie, both in range as a rule, is the
teacher's. A person counts in the consistency where more than half of those that exist do: two of three, and of a
skeleton without pairs of sides (one hand) both of two. Besides, the student's own faults are losses, each of weight
`bones`, `symmetry`, `angles` (0.1). All is read in the file's frame: in 3D from lengths in mm, in 2D from lengths as
multiples of the person's mean bone, because size says little in a picture. A skeleton without bones has no votes: the
plain mean teacher.

No code of the idea is public, so that there are no numbers to agree with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...datasets.options import option
from ...datasets.sample import Labeled, Unlabeled, renamed, swaps
from ...datasets.skeleton import Skeleton
from ...models.output import Poses, Votes
from ..anatomy import asymmetry, corners_of, cosines, in_file, lengths, located, proportions, sides_of
from ..consistency import drawn_to
from ..processes import gather
from .mean_teacher import MeanTeacher

LEAST = 0.02
"""The smallest deviation that is believed, as a share of the mean's size or of 1, whichever is larger."""


class AnatomyTeacher(MeanTeacher):
    """The ranges are part of the state."""

    @dataclass(frozen=True)
    class Options(MeanTeacher.Options):
        width: float = option(2.5, "of the plausible range, deviations to either side", low=0)
        bones: float = option(0.1, "weight of bones out of range in the student's poses", low=0)
        symmetry: float = option(0.1, "of unlike sides", low=0)
        angles: float = option(0.1, "of joint angles out of range", low=0)

    title = "Anatomy-voted teacher"
    about = "a mean teacher that counts where its pose is anatomically more plausible than the student's"
    cost = 2.3

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ranges = Ranges(self.skeleton)

    def of_source(self, source: Labeled) -> dict[str, Tensor]:
        points = in_file(source.keypoints, source, source.image_index, self.skeleton.flip)
        known = renamed(source.whole, self.skeleton.flip, swaps(source)[source.image_index])
        self.ranges.learn(points, known, ragged=not self.model.single)
        return super().of_source(source)

    def followed(self, votes: Votes, poses: Poses, view: Unlabeled) -> dict[str, Tensor]:
        seen = located(votes, poses, self.model.single, 2 * self.options.sigma)
        own = self.model.decode(votes, view).points if self.model.single else seen
        keep = self.trusted(poses, votes) & self.elected(poses, own, view)[:, None]
        consistency = drawn_to(votes, poses.points, keep, poses.image_index, self.options.sigma)
        faults = self.faults(seen, view, poses.image_index).sum(0) / len(view)
        named = zip(self.ranges.names, faults, strict=True)
        losses = {name: getattr(self.options, name) * fault for name, fault in named}
        return {"consistency": self.options.weight * consistency} | losses

    def faults(self, points: Tensor, view: Unlabeled, image_index: Tensor) -> Tensor:
        """The faults (P, votes) of points (P, K, D) of a view."""
        return self.ranges.faults(in_file(points, view, image_index, self.skeleton.flip), self.options.width)

    @torch.no_grad()
    def elected(self, poses: Poses, own: Tensor, view: Unlabeled) -> Tensor:
        """Whether the teacher's poses in a view, against the student's own points (P, K, D), have the majority: (P,)
        bool."""
        teacher, student = (self.faults(points, view, poses.image_index) for points in (poses.points, own))
        votes = (teacher <= student).sum(-1)
        return votes >= (len(self.ranges.names) // 2 + 1 if self.ranges.names else 0)


class Ranges(nn.Module):
    """What the lengths and angles of a skeleton usually are, learned from poses as they come.

    M numbers describe a pose, in the groups `names`: of bones, symmetry, angles those that the skeleton has.
    """

    bones: Tensor
    sides: Tensor
    corners: Tensor
    share: Tensor
    count: Tensor
    mean: Tensor
    spread: Tensor

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__()
        corners, sides = corners_of(skeleton.edges), sides_of(skeleton.edges, skeleton.flip)
        groups = {"bones": len(skeleton.edges), "symmetry": len(sides), "angles": len(corners)}
        self.names = [name for name, size in groups.items() if size]
        indices = {"bones": (skeleton.edges, 2), "sides": (sides, 2), "corners": (corners, 3)}
        for name, (rows, width) in indices.items():
            self.register_buffer(name, torch.tensor(rows, dtype=torch.int64).view(-1, width), persistent=False)
        means = [torch.full((groups[name], 1), 1 / groups[name]) for name in self.names]
        self.register_buffer("share", torch.block_diag(*means) if means else torch.zeros(0, 0), persistent=False)
        for name in ("count", "mean", "spread"):
            self.register_buffer(name, torch.zeros(len(self.share)))

    def numbers(self, points: Tensor) -> Tensor:
        """What describes poses (P, K, D) in the file's frame: (P, M)."""
        length = lengths(points, self.bones)
        sized = proportions(length) if points.shape[-1] == 2 else length
        return torch.cat([sized, asymmetry(length, self.sides), cosines(points, self.corners)], -1)

    def known(self, annotated: Tensor, dims: int) -> Tensor:
        """Which of them follow from annotated keypoints (P, K): (P, M) bool. Proportions take all bones."""
        bones = annotated[:, self.bones].all(-1)
        sized = bones.all(-1, keepdim=True).expand_as(bones) if dims == 2 else bones
        return torch.cat([sized, bones[:, self.sides].all(-1), annotated[:, self.corners].all(-1)], -1)

    @torch.no_grad()
    def learn(self, points: Tensor, annotated: Tensor, ragged: bool = False) -> None:
        """Take poses (P, K, D) of all processes into account, of keypoints (P, K) that are annotated."""
        known = self.known(annotated, points.shape[-1])
        values, known = gather(self.numbers(points), ragged), gather(known.to(points.dtype), ragged)
        count = known.sum(0)
        total = (self.count + count).clamp_min(1)
        mean = (values * known).sum(0) / count.clamp_min(1)
        apart = mean - self.mean
        self.spread += ((values - mean).square() * known).sum(0) + apart.square() * self.count * count / total
        self.mean += apart * count / total
        self.count += count

    def beyond(self, points: Tensor, width: float) -> Tensor:
        """How far each number of poses (P, K, D) leaves its range, mean +- width deviations, in deviations: (P, M); 0
        of numbers of which no range is known."""
        deviation = (self.spread / self.count.clamp_min(1)).sqrt().maximum(LEAST * self.mean.abs().clamp_min(1))
        outside = ((self.numbers(points) - self.mean).abs() / deviation - width).clamp_min(0)
        return outside * (self.count > 1)

    def faults(self, points: Tensor, width: float) -> Tensor:
        """The mean of that over each group of numbers: (P, len(names))."""
        return self.beyond(points, width) @ self.share
