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
    if single:
        parts = poses.each(lambda values: values.unflatten(0, (views, images)))
        first = parts.each(lambda values: values[0])
        return first, parts.points, torch.ones_like(parts.score, dtype=torch.bool)
    first = _of_view(poses, 0, images)
    sides = [partners(first, poses, view, sample, single) for view in range(1, views)]
    points = torch.stack([first.points, *(side.points for side, _ in sides)])
    return first, points, torch.stack([torch.ones_like(first.score, dtype=torch.bool), *(seen for _, seen in sides)])


def partners(people: Poses, poses: Poses, view: int, sample: Unlabeled, single: bool) -> tuple[Poses, Tensor]:
    """Of poses of several batches in one, those of the number `view`, in the order of `people` (P,) in `sample`, and who
    has one there (P,) bool. Of crops all have; where a network is not `single`, partners are those that
    scoring/matching.py finds most similar."""
    if single:
        own = poses.each(lambda values: values.unflatten(0, (-1, len(sample)))[view])
        return own, torch.ones_like(people.score, dtype=torch.bool)
    own = _of_view(poses, view, len(sample))
    counted = torch.ones_like(people.confidence, dtype=torch.bool)
    place = match(own, people.points, counted, people.image_index, sample)
    matched = own.each(lambda values: values[place.clamp_min(0)]) if len(own) else people
    return matched, place >= 0


def _of_view(poses: Poses, view: int, images: int) -> Poses:
    """Those of the batch of the number `view`, of `images` each."""
    there = poses.image_index // images == view
    own = poses.each(lambda values: values[there])
    return replace(own, image_index=own.image_index % images)


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
