"""Source-free mean teacher: a given model follows a slow copy of itself on the unlabelled target alone.

The teacher t = decay * t + (1 - decay) * student after each update; its poses travel to the student's view by the two
affines, and the student learns from them as from labels:
    L = weight * L_model(student(view), carried(teacher(target))),   keypoints below the quantile `masked` left out.
UniFrame's consistency (Kim et al., ECCV 2022; VisionLearningGroup/UDA_PoseEstimation @ baf85f1) without its source, as
POST and MAPS build on it.

Against `mean_teacher`: the loss is the model's own (L_model), not a divergence from Gaussians of a given width. With a
source the supervised loss keeps the form of the votes; alone, Gaussians of another width than the model was trained
with wash them out within a few hundred updates. A quick teacher (decay 0.9) collapses with its student: without a
source nothing else holds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...datasets.options import option
from ...datasets.sample import Unlabeled
from ...models.output import Poses, Votes
from ..consistency import labelled
from ..strategy import Strategy
from .mean_teacher import MeanTeacher


class MeanTeacherFree(MeanTeacher):
    """The teacher is evaluated and shipped."""

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        decay: float = option(0.999, "of the teacher's weights at each update", low=0, high=1)
        weight: float = option(1.0, "of the consistency loss", low=0)
        masked: float = option(0.5, "share of the least confident keypoints that is left out", low=0, high=1)
        averaging: ClassVar[str] = "paper"

    title = "Source-free mean teacher"
    about = "a given model learns from a moving average of its own weights, on the target alone"
    cost = 1.4
    kind = "source_free"
    needs = frozenset({"target"})

    def followed(self, votes: Votes, poses: Poses, view: Unlabeled) -> dict[str, Tensor]:
        """The model's own losses of the teacher's poses."""
        labels = labelled(view, poses, self.trusted(poses, votes), self.model.single)
        return {name: self.options.weight * loss for name, loss in self.model.loss(votes, labels).items()}
