"""keyshift: a mean teacher asked in several views, in two styles, from which a student who sees less learns by the
system's own loss. Put together from what the comparisons of docs/field.md show to work.

With x_s, y_s of the source, x_1 ... x_V and x_b known views of a target image, f the student, g its slow copy, L the
system's supervised loss, and T(c, s) the picture c, drawn for each with probability `restyled`, with the low
frequencies' amplitudes of s (style.py):

    loss  = L(f(T(x_s, x_1)), y_s) + weight * L(f(C(T(x_b, x_s))), y)
    y     = mean over v of g(T(x_v, x_s)), carried into view b
    C     : with probability `occluded` a square around a keypoint of which g is sure shows another place of the picture

Left out is the share `masked` of keypoints of which the teacher's confidence times the agreement of its views
(views.py) is least.

What is taken from whom, and why: style both ways and occlusion from UniFrame, the best of the field; the mean of
several views from data distillation, in place of one guess. Ours is the loss: pseudo labels are learned as labels are,
so that a student's votes stay as sharp as the source made them (a Gaussian of a chosen width draws them to that width),
and every head learns by what it is made for: A2J's anchors by their offsets, a bottom-up network by its tags.

Depth and points keep their units: there nothing is restyled, and points are not covered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ...datasets.options import option
from ...datasets.sample import CAMERA_MM, Labeled, Unlabeled
from ...models.output import Poses, Votes
from ..consistency import carried, labelled
from ..processes import uniform
from ..strategy import Update
from ..style import coloured, intensities, normalized, transferred
from ..views import agreed, by_view, stacked
from .mean_teacher import MeanTeacher
from .uniframe import occlude, surely, with_image

Batch = TypeVar("Batch", bound=Unlabeled)


class Keyshift(MeanTeacher):
    """The teacher is evaluated and shipped. Each part has a value that turns it off."""

    @dataclass(frozen=True)
    class Options(MeanTeacher.Options):
        decay: float = option(0.99, "of the teacher's weights at each update", low=0, high=1)
        sigma: float = option(1.0, "of the Gaussians where `own_loss` is off, cells", low=0.1, high=100)
        looks: int = option(2, "views of each picture that the teacher sees; 1: no mean", low=1, high=64)
        floor: float = option(0.25, "below the variance of a keypoint over these views, cells^2", low=1e-6)
        restyled: float = option(
            0.5, "probability of the other domain's style, of each picture; 0: none", low=0, high=1
        )
        share: float = option(0.02, "frequencies that are style, share of the shorter side", low=0, high=0.5)
        student: float = option(0.0, "p", low=0, high=1)
        occluded: float = option(0.5, "probability that a student's picture is covered; 0: none", low=0, high=1)
        square: float = option(0.08, "side of what is covered, share of the shorter side", low=0, high=1)
        own_loss: bool = option(True, "learn pseudo labels by the system's loss; false: by Gaussians of `sigma`")
        warmup: int = option(1, "updates over which the consistency's weight grows; 1: none", low=1)

    title = "keyshift"
    about = "several views, style both ways and occlusion around a mean teacher, learned by the system's own loss"
    options: Options

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.views = {"source": 1, "target": self.options.looks + 1}  # type: ignore[misc]

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        *looks, last = (self.restyle(view, source) for view in (target, *target.views))
        if self.options.student == 0:
            last = target.views[-1]
        losses = self.of_source(self.restyle(source, target))
        yield losses | self.of_target(replace(looks[0], views=(*looks[1:], last))), ("model",)

    @torch.no_grad()
    def restyle(self, content: Batch, style: Unlabeled) -> Batch:
        """Some pictures in the style of their partners of the other domain, chosen each by itself."""
        if self.options.restyled == 0 or not (coloured(content) and coloured(style)):
            return content
        image = content.image
        other = transferred(image, style.image, None, self.options.share, image.new_zeros(()))
        where = uniform(len(content), device=image.device) < self.options.restyled
        own = normalized(intensities(image))
        return with_image(content, torch.where(where.view(-1, *(1,) * (image.dim() - 1)), other, own))

    @torch.no_grad()
    def taught(self, target: Unlabeled) -> Poses:
        """The mean of the teacher's poses in all views but the student's, in the first; their confidence is the
        teacher's there times how much the views agree."""
        views = [target, *target.views[:-1]]
        sample, first = stacked(views), stacked([target] * len(views))
        with self.statistics("target", self.teacher):
            votes = self.teacher(sample)
        poses = carried(self.teacher.decode(votes, sample), sample, first, self.skeleton.flip)
        people, points, seen = by_view(poses, len(views), target, self.model.single)
        mean, agreement = agreed(points, seen, votes.grid, self.options.floor)
        return replace(people, points=mean, confidence=people.confidence * agreement)

    def shown(self, view: Unlabeled, poses: Poses) -> Unlabeled:
        if self.options.occluded == 0 or "image" not in view.inputs or view.space == CAMERA_MM:
            return view
        sure = surely(poses.confidence, 0.9, ragged=not self.model.single)
        half = round(self.options.square * min(view.image.shape[-2:]) / 2)
        return occlude(view, poses, sure, self.options.occluded, half)

    def followed(self, votes: Votes, poses: Poses, view: Unlabeled) -> dict[str, Tensor]:
        grown = ((self.averaged + 1) / self.options.warmup).clamp_max(1)
        if not self.options.own_loss:
            losses = super().followed(votes, poses, view)
            return {name: grown * loss for name, loss in losses.items()}
        pseudo = labelled(view, poses, self.trusted(poses, votes), self.model.single)
        losses = self.model.loss(votes, pseudo)
        return {f"target {name}": grown * self.options.weight * loss for name, loss in losses.items()}
