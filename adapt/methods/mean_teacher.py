"""Mean teacher for keypoints: a student follows a slow copy of itself across two known warps of each target image.

The base of UniFrame (Kim et al., ECCV 2022; VisionLearningGroup/UDA_PoseEstimation @ baf85f1, train_human.py) without
its style transfer and occlusion. Where UniFrame warps heatmaps back three times and redraws them, the teacher's
*points* travel to the student's view by the two affines, and the target is drawn there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ...datasets.sample import Labeled, Unlabeled, invert, transform
from ...models.output import divergence
from ...models.pose_model import PoseModel
from ..processes import gather
from ..strategy import Strategy, Update


@dataclass
class MeanTeacherOptions:
    decay: float = 0.999
    weight: float = 1.0
    masked: float = 0.5  # share of the least confident keypoints that is left out
    sigma: float = 2.0  # cells


class MeanTeacher(Strategy):
    """The teacher is evaluated and shipped. It stays in training mode: its batch statistics are its own."""

    views = 2

    def __init__(self, *args: Any, options: MeanTeacherOptions | None = None, **how: Any) -> None:
        super().__init__(*args, **how)
        self.options = options or MeanTeacherOptions()
        self.teacher = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(self.options.decay))
        self.teacher.requires_grad_(False)

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        (view,) = target.views
        with self.statistics("source"):
            losses = self.supervised(source)
        with torch.no_grad(), self.statistics("target", self.teacher):
            votes = self.predictor(target)
        points = carry(self.predictor.decode(votes, target)[0], target, view, self.skeleton.flip)
        confidence = votes.confidence()
        keep = confidence >= gather(confidence).float().quantile(self.options.masked)
        with self.statistics("target"):
            student = self.model(view)
        keep = keep & student.grid.contains(points)
        goal = student.grid.targets(points, self.options.sigma)
        consistency = self.options.weight * divergence(student, goal, keep)
        yield losses | {"consistency": consistency}, ("model",)

    def after_step(self) -> None:
        self.teacher.update_parameters(self.model)

    @property
    def predictor(self) -> PoseModel:
        return self.teacher.module  # type: ignore[return-value]


def carry(points: Tensor, start: Unlabeled, goal: Unlabeled, flip: list[int]) -> Tensor:
    """Points (B, K, D) from one view's pixels to another view of the same images.

    Where exactly one of the views is mirrored, keypoints change places by the permutation `flip`.
    """
    there = transform(invert(goal.to_file), transform(start.to_file, points))
    mirrored = torch.linalg.det(start.to_file[:, :, :-1]) * torch.linalg.det(goal.to_file[:, :, :-1]) < 0
    return torch.where(mirrored.view(-1, 1, 1), there[:, flip], there)
