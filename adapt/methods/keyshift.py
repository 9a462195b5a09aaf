"""keyshift: a mean teacher asked in several views, that sees both domains in both styles, and a student who sees less.
Put together from what the comparisons of docs/field.md show to work.

With x_s, y_s of the source, x_1 ... x_V and x_b known views of a target image, f the student, g its slow copy, L the
system's supervised loss, and T(c, s) the picture c, drawn for each picture with probability `restyled`, with the
amplitudes of s at low frequencies (style.py):

    loss = L(f(T(x_s, x_1)), y_s) + weight * L(f(C(T(x_b, x_s))), y)
    y    = mean over v of g(T(x_v, x_s)), carried into view b
    C    : with probability `occluded` a square around a keypoint of which g is sure shows another place of the picture

Left out is the share `masked` of keypoints of which the teacher's confidence times the agreement of its views
(views.py) is least. The student learns from the teacher by the loss that made the votes what they are: they stay as
sharp, and of the shape, that the source gave them. Gaussians for all heads, as mean teacher draws them, unlearn AWR.

Style both ways and occlusion are UniFrame's, the best of the field; the mean of several views is data distillation's.
What is new against UniFrame: each picture is restyled by itself, so that every batch shows both styles, and so is the
student's. Depth and points keep their units: there nothing is restyled, and points are not covered.

Batch norm is settled from the data before training (`auto`): a target of one place or one person harms by its
statistics alone, and there the given ones stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ...datasets.options import option
from ...datasets.sample import IN_MM, Labeled, Unlabeled
from ...models.output import Poses, Votes
from ..consistency import labelled
from ..processes import uniform
from ..strategy import Update
from ..style import coloured, intensities, normalized, transferred
from .mean_teacher import Teacher
from .uniframe import occlude, surely, with_image

Batch = TypeVar("Batch", bound=Unlabeled)


class Keyshift(Teacher):
    """The teacher is evaluated and shipped. Each part has a value that turns it off."""

    @dataclass(frozen=True)
    class Options(Teacher.Options):
        decay: float = option(0.99, "of the teacher's weights at each update", low=0, high=1)
        weight: float = option(3.0, "of the target's losses", low=0)
        looks: int = option(2, "views of each picture that the teacher sees; 1: no mean", low=1, high=64)
        floor: float = option(0.25, "below the variance of a keypoint over these views, cells^2", low=1e-6)
        restyled: float = option(
            0.25, "probability of the other domain's style, of each picture; 0: none", low=0, high=1
        )
        share: float = option(0.02, "frequencies that are style, share of the shorter side", low=0, high=0.5)
        occluded: float = option(0.5, "probability that a student's picture is covered; 0: none", low=0, high=1)
        square: float = option(0.08, "side of what is covered, share of the shorter side", low=0, high=1)

    title = "keyshift"
    about = "a mean teacher of several views, with style both ways and occlusion of what the student sees"
    cost = 3.5
    prefers = "auto"
    options: Options

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.views = {"source": 1, "target": self.options.looks + 1}  # type: ignore[misc]

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        first, *views = (self.restyle(view, source) for view in (target, *target.views))
        losses = self.of_source(self.restyle(source, target))
        yield losses | self.of_target(replace(first, views=tuple(views))), ("model",)

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

    def taught(self, target: Unlabeled) -> Poses:
        """The mean of the teacher's poses in all views but the student's, in the first; their confidence is the
        teacher's there times how much the views agree."""
        poses, agreement = self.over_views(target, self.options.floor)
        return replace(poses, confidence=poses.confidence * agreement)

    def followed(self, votes: Votes, poses: Poses, view: Unlabeled) -> dict[str, Tensor]:
        losses = self.model.loss(votes, labelled(view, poses, self.trusted(poses, votes), self.model.single))
        return {f"target_{name}": self.options.weight * loss for name, loss in losses.items()}

    def shown(self, view: Unlabeled, poses: Poses) -> Unlabeled:
        if self.options.occluded == 0 or "image" not in view.inputs or view.space in IN_MM:
            return view
        sure = surely(poses.confidence, 0.9, ragged=not self.model.single)
        half = round(self.options.square * min(view.image.shape[-2:]) / 2)
        return occlude(view, poses, sure, self.options.occluded, half)
