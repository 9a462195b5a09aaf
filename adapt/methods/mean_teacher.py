"""Mean teacher for keypoints: a student follows a slow copy of itself across two known warps of each target image.

Tarvainen and Valpola, NeurIPS 2017: the teacher's weights are t = decay * t + (1 - decay) * student after each update,
the first included. With x_a and x_b two known views of a target image, A the affine from the first to the second, G(y)
the Gaussians at points y, and p_k the student's density for keypoint k:
    y = A(teacher(x_a)),
    L = L_model(student(source), labels) + weight * mean over sure keypoints of KL(G(y_k) || p_k(x_b)).
The share `masked` of the batch's keypoints, those of which the teacher is least confident, is left out.

The base of UniFrame (Kim et al., ECCV 2022; VisionLearningGroup/UDA_PoseEstimation @ baf85f1, train_human.py) without
its style transfer and occlusion. Where UniFrame warps heatmaps back three times and redraws them, the teacher's
points travel to the student's view by the two affines, and the Gaussians are drawn there: right on every head.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...datasets.options import option
from ...datasets.sample import Labeled, Unlabeled
from ...models.output import Poses, Votes
from ...models.pose_model import PoseModel
from ..consistency import carried, confident, drawn_to
from ..strategy import Strategy, Update
from ..views import agreed, by_view, stacked


class Teacher(Strategy):
    """A student and its slow copy, which is evaluated and shipped. The teacher stays in training mode: its batch
    statistics are its own."""

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        decay: float = option(0.999, "of the teacher's weights at each update", low=0, high=1)
        weight: float = option(1.0, "of the consistency loss", low=0)
        masked: float = option(0.5, "share of the least confident keypoints that is left out", low=0, high=1)

    kind = "teachers"
    views: ClassVar = {"source": 1, "target": 2}
    averaged: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.teacher = deepcopy(self.model).requires_grad_(False)
        self.register_buffer("averaged", torch.zeros((), dtype=torch.int64))
        self.register_load_state_dict_pre_hook(_rename)

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        losses = self.of_source(source) if "source" in self.needs else {}
        yield losses | self.of_target(target), ("model",)

    def of_source(self, source: Labeled) -> dict[str, Tensor]:
        """The supervised losses."""
        with self.statistics("source"):
            return self.supervised(source)

    def of_target(self, target: Unlabeled) -> dict[str, Tensor]:
        """What the student, who sees the last view, learns from the teacher."""
        view = target.views[-1]
        poses = carried(self.taught(target), target, view, self.skeleton.flip)
        with self.statistics("target"):
            votes = self.model(self.shown(view, poses))
        return self.followed(votes, poses, view)

    @abstractmethod
    def followed(self, votes: Votes, poses: Poses, view: Unlabeled) -> dict[str, Tensor]:
        """The loss that draws the student's votes to the teacher's poses, both in the student's view."""

    def shown(self, view: Unlabeled, poses: Poses) -> Unlabeled:
        """The student's view as the student sees it, given the teacher's poses in it."""
        return view

    @torch.no_grad()
    def taught(self, target: Unlabeled) -> Poses:
        """The teacher's poses in a view."""
        with self.statistics("target", self.teacher):
            return self.teacher.decode(self.teacher(target), target)

    @torch.no_grad()
    def over_views(self, target: Unlabeled, floor: float) -> tuple[Poses, Tensor]:
        """The mean of the teacher's poses in all views but the student's, in the first, and how much the views agree
        (P, K); `floor` is that of views.agreed."""
        views = [target, *target.views[:-1]]
        sample, first = stacked(views), stacked([target] * len(views))
        with self.statistics("target", self.teacher):
            votes = self.teacher(sample)
        poses = carried(self.teacher.decode(votes, sample), sample, first, self.skeleton.flip)
        people, points, seen = by_view(poses, len(views), target, self.model.single)
        mean, agreement = agreed(points, seen, votes.grid, floor)
        return replace(people, points=mean), agreement

    def trusted(self, poses: Poses, votes: Votes) -> Tensor:
        """The keypoints (P, K) of the teacher's poses, in the student's view, that the student learns from."""
        sure = confident(poses, self.options.masked, ragged=not self.model.single)
        return sure & votes.grid.contains(poses.points)

    @torch.no_grad()
    def after_step(self) -> None:
        teacher, student = (tuple(model.parameters()) for model in (self.teacher, self.model))
        torch._foreach_lerp_(teacher, student, 1 - self.options.decay)
        self.averaged += 1

    @property
    def predictor(self) -> PoseModel:
        return self.teacher


class MeanTeacher(Teacher):
    @dataclass(frozen=True)
    class Options(Teacher.Options):
        sigma: float = option(2.0, "of the Gaussians at the teacher's keypoints, cells", low=0.1, high=100)
        averaging: str = option(
            "paper",
            "copied: what version 0.1.0 did, for runs that it began: the first update copies the student, and every "
            "update its batch statistics",
            choices=("paper", "copied"),
        )

    title = "Mean teacher"
    about = "consistency with a moving average of the model's own weights"
    cost = 2.2

    def followed(self, votes: Votes, poses: Poses, view: Unlabeled) -> dict[str, Tensor]:
        consistency = drawn_to(votes, poses.points, self.trusted(poses, votes), poses.image_index, self.options.sigma)
        return {"consistency": self.options.weight * consistency}

    @torch.no_grad()
    def after_step(self) -> None:
        if self.options.averaging == "paper":
            return super().after_step()
        if self.averaged == 0:
            self.teacher.load_state_dict(self.model.state_dict())
            self.averaged += 1
        else:
            super().after_step()
        for own, other in zip(self.teacher.buffers(), self.model.buffers(), strict=True):
            own.copy_(other)


def _rename(module: Teacher, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """A checkpoint of version 0.1.0 holds the teacher inside an AveragedModel."""
    old = f"{prefix}teacher.module."
    for key in [key for key in state if key.startswith(old)]:
        state[f"{prefix}teacher.{key.removeprefix(old)}"] = state.pop(key)
    if f"{prefix}teacher.n_averaged" in state:
        state[f"{prefix}averaged"] = state.pop(f"{prefix}teacher.n_averaged")
