"""One network's poses in several known views of the same pictures: carried into one frame, person by person, and how
much they agree there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from ..datasets.sample import Unlabeled
from ..models.output import Grid, Poses
from .scoring.matching import match


def stacked(samples: Sequence[Unlabeled]) -> Unlabeled:
    """The samples of V batches of B as one batch (V * B), without their views."""

    def joined(values: list[Any]) -> Any:
        if isinstance(values[0], Tensor):
            return torch.cat(values)
        if isinstance(values[0], dict):
            return {name: joined([value[name] for value in values]) for name in values[0]}
        return sum(values, ()) if isinstance(values[0], tuple) else values[0]

    parts = {f.name: joined([getattr(s, f.name) for s in samples]) for f in fields(Unlabeled) if f.name != "views"}
    return Unlabeled(**parts)


def by_view(poses: Poses, views: int, sample: Unlabeled, single: bool) -> tuple[Poses, Tensor, Tensor]:
    """Poses of `views` batches in one, all in the frame of `sample`: those P of the first view, where every view has
    their keypoints (V, P, K, D), and which views have the person (V, P) bool. Of crops P = B and all have; where a
    network is not `single`, people are those that scoring/matching.py finds most similar."""
    images = len(sample)
    first = poses.image_index < images
    people = poses.each(lambda values: values[:images] if single else values[first])
    sides = [partners(people, poses, view, sample, single) for view in range(views)]
    places, seen = (torch.stack(parts) for parts in zip(*sides, strict=True))
    return people, poses.points[places], seen


def partners(people: Poses, poses: Poses, view: int, sample: Unlabeled, single: bool) -> tuple[Tensor, Tensor]:
    """Of `poses` of several batches in one, the first of them `people`'s (P,) in `sample`, those of the batch of number
    `view` in the order of `people`: their places (P,), and who has one there (P,) bool. Of crops all have; where a
    network is not `single`, partners are those that scoring/matching.py finds most similar."""
    if single or view == 0:
        places = torch.arange(len(people), device=poses.points.device) + view * len(people)
        return places, torch.ones_like(people.score, dtype=torch.bool)
    rows = (poses.image_index // len(sample) == view).nonzero().squeeze(1)
    own = poses.each(lambda values: values[rows])
    own = replace(own, image_index=own.image_index % len(sample))
    counted = torch.ones_like(people.confidence, dtype=torch.bool)
    chosen = match(own, people.points, counted, people.image_index, sample)
    places = rows[chosen.clamp_min(0)] if len(rows) else torch.zeros_like(chosen)
    return places, chosen >= 0


def agreed(points: Tensor, seen: Tensor, grid: Grid, floor: float) -> tuple[Tensor, Tensor]:
    """The mean (P, K, D) of keypoints (V, P, K, D) px over the views that have the person, `seen` (V, P) bool, and how
    much they agree, (P, K) in [0, 1]: floor / (var + floor) times the share of views that have the person. The variance
    is the mean squared distance from the mean; like `floor` it is in squared cells of the grid."""
    weight = seen.to(points.dtype)[..., None, None]
    count = weight.sum(0).clamp_min(1)
    mean = (points * weight).sum(0) / count
    away = torch.cat([g.to_cells(p) - g.to_cells(m) for g, p, m in _split(grid, points, mean)], -1)
    variance = ((away * weight).square().sum(-1, keepdim=True).sum(0) / count).squeeze(-1)
    return mean, floor / (variance + floor) * seen.float().mean(0)[:, None]


def _split(grid: Grid, points: Tensor, mean: Tensor) -> zip[tuple[Grid, Tensor, Tensor]]:
    return zip(grid.marginals(), grid.split(points), grid.split(mean), strict=True)
