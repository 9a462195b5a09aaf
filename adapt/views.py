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
    view = poses.image_index // images
    every = [poses.each(lambda values, own=view == v: values[own]) for v in range(views)]  # type: ignore[misc]
    every = [replace(each, image_index=each.image_index % images) for each in every]
    first = every[0]
    counted = torch.ones_like(first.confidence, dtype=torch.bool)
    place = [torch.arange(len(first), device=view.device)]
    place += [match(each, first.points, counted, first.image_index, sample) for each in every[1:]]
    points = [each.points[p.clamp_min(0)] if len(each) else first.points for each, p in zip(every, place, strict=True)]
    return first, torch.stack(points), torch.stack(place) >= 0


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
