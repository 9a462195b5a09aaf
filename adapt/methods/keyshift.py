"""keyshift: what the others' ablations show to work, in one strategy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...datasets.options import option
from ...datasets.sample import Labeled, Unlabeled
from ...models.output import Poses, Votes
from ..consistency import carried, confident, labelled
from ..strategy import Update
from ..views import agreed, by_view, stacked
from .anatomy import Ranges
from .uniframe import UniFrame


class Keyshift(UniFrame):
    """The teacher is evaluated and shipped."""

    @dataclass(frozen=True)
    class Options(UniFrame.Options):
        decay: float = option(0.99, "of the teacher's weights at each update", low=0, high=1)
        share: float = option(0.02, "of fda: frequencies swapped, share of the shorter side", low=0, high=0.5)
        looks: int = option(2, "views of each picture that the teacher sees; 1: one", low=1, high=64)
        floor: float = option(0.25, "below the variance of a keypoint over its views, cells^2", low=1e-6)
        sigma: float = option(1.0, "of the Gaussians at the teacher's keypoints, cells", low=0.1, high=100)
        own: bool = option(True, "the student learns by the system's own loss; false: by its densities")
        warmup: int = option(1, "updates over which the consistency's weight grows", low=1)
        first: float = option(0.5, "share left out in the beginning", low=0, high=1)
        styled: str = option("both", "which", choices=("both", "source", "target", "none"))
        student: float = option(0.0, "probability that a student's view is restyled", low=0, high=1)
        vote: float = option(0.0, "width of the anatomy vote; 0: none", low=0)
        average: str = option("weights", "", choices=("weights", "all"))

    title = "keyshift"
    about = "a mean teacher with several views, style both ways and occlusion, that learns by the system's own loss"
    options: Options

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.views = {"source": 1, "target": self.options.looks + 1}  # type: ignore[misc]
        if self.options.vote > 0:
            self.ranges = Ranges(self.skeleton)

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        o = self.options
        taught = self.restyle(target, source) if o.styled in ("both", "target") else target
        *others, last = target.views
        if o.student > 0 and torch.rand(()).item() < o.student:
            last = self.restyle(last, source)
        taught = replace(taught, views=(*others, last))
        if o.styled in ("both", "source"):
            source = self.restyle(source, target)
        yield self.of_source(source) | self.of_target(taught), ("model",)

    @torch.no_grad()
    def taught(self, target: Unlabeled) -> Poses:
        if self.options.looks == 1:
            return super().taught(target)
        views = [target, *target.views[:-1]]
        views = [replace(v, inputs={**v.inputs, "image": v.image.to(target.image.dtype)}) if v.image.dtype == target.image.dtype or target.image.dtype==torch.uint8 else self.same(v) for v in views] if "image" in target.inputs else views
        sample, first = stacked(views), stacked([target] * len(views))
        with self.statistics("target", self.teacher):
            votes = self.teacher(sample)
        poses = carried(self.teacher.decode(votes, sample), sample, first, self.skeleton.flip)
        people, points, seen = by_view(poses, len(views), target, self.model.single)
        mean, agreement = agreed(points, seen, votes.grid, self.options.floor)
        return replace(people, points=mean, confidence=agreement * people.confidence)

    def same(self, view):
        from ..style import normalize
        return replace(view, inputs={**view.inputs, "image": normalize(view.image.flatten(0,-4)).reshape(view.image.shape)})

    def followed(self, votes: Votes, poses: Poses, view: Unlabeled) -> dict[str, Tensor]:
        o = self.options
        ramp = ((self.averaged + 1) / o.warmup).clamp_max(1)
        if not o.own:
            losses = super().followed(votes, poses, view)
            return {k: ramp * v for k, v in losses.items()}
        losses = self.model.loss(votes, labelled(view, poses, self.trusted(poses, votes), self.model.single))
        return {f"target {k}": ramp * o.weight * v for k, v in losses.items()}
