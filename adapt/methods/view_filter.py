"""A mean teacher that is asked in K known views of each picture, and believed where these agree.

The mean over known transforms is data distillation's (Radosavovic et al., CVPR 2018); to choose pseudo labels by how
far the views disagree, with a floor below the variance and a threshold that opens, is common practice under several
names. There is no one reference code, and nobody's numbers were compared.

The teacher predicts K views (rotated, scaled, coloured as augmentation draws them) in one pass: all are of the target,
so that batch statistics stay the target's. Its points x_v travel to the first view by the affines, and there
    m = mean_v x_v,    var = mean_v |x_v - m|^2   (cells of the grid),    a = floor / (var + floor)
for each keypoint. The student learns m, in one more view, with weight a, but for the share r of all keypoints whose a
is least; r falls from `masked_first` to `masked` by a line over `opening` updates. a is 1 / (var + floor) times what
makes it 1 where the views agree: without the floor a keypoint whose views meet by chance would outweigh all others.

Where several people are in a picture, those of the first view are looked for in the others, and a is multiplied by the
share of views that have them. A network of keypoints alone sees views that differ by a mirror at most. A step costs K
passes without gradient beside the two with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ...datasets.options import option
from ...datasets.sample import Unlabeled
from ...models.output import Poses, Votes
from ..consistency import confident
from .mean_teacher import MeanTeacher


class ViewFilter(MeanTeacher):
    """Its teacher's poses bear how much the views agree as their confidence."""

    @dataclass(frozen=True)
    class Options(MeanTeacher.Options):
        teacher_views: int = option(8, "views of each picture that the teacher sees", low=2, high=64)
        floor: float = option(0.25, "below the variance of a keypoint over its views, cells^2", low=1e-6)
        masked: float = option(0.2, "share of the least consistent keypoints that is left out at last", low=0, high=1)
        masked_first: float = option(0.7, "the same in the beginning", low=0, high=1)
        opening: int = option(1000, "updates over which that falls", low=1)

    title = "View filter"
    about = "a mean teacher asked in eight known views of a picture, believed where they agree"
    cost = 4.4

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.views = {"source": 1, "target": self.options.teacher_views + 1}  # type: ignore[misc]

    def taught(self, target: Unlabeled) -> Poses:
        """The mean of the teacher's poses in all views but the student's, in the first; their confidence is how much
        the views agree."""
        poses, agreement = self.over_views(target, self.options.floor)
        return replace(poses, confidence=agreement)

    def trusted(self, poses: Poses, votes: Votes) -> Tensor:
        """Weights (P, K): how much the views agree, 0 of the least consistent share and of what leaves the grid."""
        keep = confident(poses, self.left_out(), ragged=not self.model.single)
        return poses.confidence * (keep & votes.grid.contains(poses.points))

    def left_out(self) -> Tensor:
        """The share of keypoints that is left out at this update, a scalar on the device."""
        options = self.options
        done = (self.averaged / options.opening).clamp_max(1)
        return options.masked_first + (options.masked - options.masked_first) * done
