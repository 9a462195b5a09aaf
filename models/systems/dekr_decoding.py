"""How DEKR reads people from centre maps, offsets and heatmaps, at one scale of the picture or several.

HRNet/DEKR @ 7a30313, lib/core/inference.py, nms.py and match.py, with which it agrees; for all images of a batch
together. Candidates are N cells of each image, the strongest first, and points in the order of (x, y).

Against the reference: cells of equal strength come in their order on the map; who has no extent is a group alone (there
an error); heatmaps are read at whole pixels without enlarging them, unless keypoints move to their peaks; of these a
peak is above 0, and the fitted middle of a Gaussian among the cells that it was fitted to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...datasets.constants import constants
from ...datasets.options import Options, option
from ..heatmaps import SHARPNESS
from ..output import Grid, Poses, Votes
from ..parts.gaussian_fit import fitted
from ..parts.maxima import local_maxima
from ..parts.spatial_transformer import lattice, sampled
from ..rescoring import Rescoring

WIDE, WIDER = 200, 300
"""Cells along a map's side, on average, above which centres have to be the highest of 5x5 and of 7x7, not of 3x3."""
NEAR = (0.05, 0.15)
"""Which share of a person's diagonal is near, of one scale and of several."""
SURE = 0.05
"""Confidence of a keypoint above which a Gaussian is fitted."""


@dataclass(frozen=True)
class Reading(Options):
    """How people are read."""

    people: int = option(30, "the most people of a picture", low=1)
    threshold: float = option(0.01, "heat of a centre above which someone is there", low=0, high=1)
    near: float | None = option(
        None,
        "two people of whom more than half of the keypoints are nearer than this share of the diagonal are one; null: "
        "0.05, and 0.15 with several scales",
        low=0,
    )
    decrease: float = option(
        0.9, "of the centres' heat at scales other than 1, against theirs there; published for CrowdPose: 0.8", low=0
    )
    snap: float = option(
        0.0,
        "pixels within which a keypoint moves to its heatmap's nearest peak, and to the middle of a Gaussian fitted "
        "there; published with several scales: 75",
        low=0,
    )


def people_in(views: Sequence[Votes], reading: Reading, width: float, judge: Rescoring | None = None) -> Poses:
    """The people whom `views` show together, votes of the same pictures at several scales, the first at scale 1.
    Gaussians are fitted from the `width` in px on, and scores multiplied by what `judge` says."""
    base, several = views[0].grid, len(views) > 1
    points, sure, valid = _candidates(views, reading)
    first = constants(base.origin, points)
    whole = (points - first).floor() + first
    values = torch.stack([heat_at(heat_of(one), one.grid.to_cells(whole)) for one in views]).mean(0)
    heat, near = values.mean(-1), NEAR[several] if reading.near is None else reading.near
    chosen = kept(points, heat, valid, near, points.shape[2] // 2)
    if chosen.shape[1] > reading.people:
        chosen &= among(torch.where(chosen, heat, -torch.inf), reading.people)
    image, row = chosen.nonzero(as_tuple=True)
    people, scores = points[image, row], sure[image, row, None] * values[image, row]
    confidence, score = scores.clamp(0, 1), scores.mean(-1)
    if reading.snap:
        pixels = Grid(tuple(4 * side for side in base.shape), (1.0, 1.0), base.origin)
        maps = torch.stack([enlarged(heat_of(one), one.grid, pixels) for one in views]).mean(0)
        moved = snapped(pixels.to_cells(people), maps, image, reading.people, reading.snap)
        people = pixels.to_points(refined(moved, maps, image, confidence > SURE, width))
    if judge is not None:
        score = score * judge(people, confidence)
    return Poses(people, confidence, image, score)


def heat_of(votes: Votes) -> Tensor:
    """The keypoints' heatmaps (B, K, H, W)."""
    return votes.maps / SHARPNESS


def _candidates(views: Sequence[Votes], reading: Reading) -> tuple[Tensor, Tensor, Tensor]:
    """Of all views together, the largest first, what is told of each candidate: points (B, N, K, 2) px, the heat of its
    centre (B, N), and whether it is one (B, N) bool. At other scales than the first's the heat is made comparable."""
    parts, strongest = [], None
    for view in views:
        cell, heat, valid = centers(view.extra["center"], reading.people, reading.threshold)
        highest_heat = torch.where(valid[:, :1], heat[:, :1], 1.0)
        if strongest is None:
            strongest = highest_heat
        else:
            heat = heat / highest_heat * strongest * reading.decrease
        parts.append((view.grid.to_points(poses_at(view.extra["offsets"], cell)), heat, valid))
    order = sorted(range(len(views)), key=lambda place: views[place].grid.stride[0])
    points, heats, valids = zip(*(parts[place] for place in order), strict=True)
    return torch.cat(points, 1), torch.cat(heats, 1), torch.cat(valids, 1)


def among(values: Tensor, most: int) -> Tensor:
    """Whether values (B, N) are among the `most` highest of their row, the first of equals: bool."""
    order = values.sort(stable=True, dim=1, descending=True).indices[:, :most]
    return torch.zeros_like(values, dtype=torch.bool).scatter_(1, order, True)


def enlarged(maps: Tensor, grid: Grid, pixels: Grid) -> Tensor:
    """Maps (B, K, *grid.shape) as they are read at the cells of `pixels`: (B, K, *pixels.shape)."""
    return sampled(maps, grid.to_cells(lattice(pixels, maps)), "border")


def centers(heat: Tensor, most: int, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """The `most` highest peaks of centre maps (B, H, W): their cells (B, N) int64, heat (B, N), and which of them are
    above the threshold (B, N) bool."""
    side = (heat.shape[1] + heat.shape[2]) / 2
    reach = 1 + (side > WIDE) + (side > WIDER)
    peaks = local_maxima(heat, 2 * reach + 1).flatten(1)
    most = min(most, peaks.shape[1])
    if torch.compiler.is_exporting():  # ONNX's TopK takes the first of equals; torch's takes any
        score, cell = peaks.topk(most)
    else:
        score, cell = (part[:, :most] for part in peaks.sort(stable=True, dim=1, descending=True))
    return cell, score, score > threshold


def poses_at(offsets: Tensor, cell: Tensor) -> Tensor:
    """Poses (B, N, K, 2) in cells that start at `cell` (B, N) of maps of offsets (B, K, 2, H, W)."""
    keypoints, columns = offsets.shape[1], offsets.shape[-1]
    away = offsets.flatten(3).permute(0, 3, 1, 2)
    index = cell[..., None, None].expand(-1, -1, keypoints, 2)
    start = torch.stack([cell % columns, cell // columns], -1).to(offsets.dtype)
    return start[:, :, None] - away.gather(1, index)


def heat_at(maps: Tensor, cells: Tensor) -> Tensor:
    """The values of maps (B, K, H, W) at points (B, N, K, 2) in cells, bilinear, beyond the border as on it:
    (B, N, K)."""
    each = sampled(maps.flatten(0, 1)[:, None], cells.transpose(1, 2).flatten(0, 1)[:, None], "border")
    return each[:, 0, 0].unflatten(0, maps.shape[:2]).transpose(1, 2)


def extents(poses: Tensor) -> Tensor:
    """Diagonals (...,) of the boxes about poses (..., K, 2)."""
    return (poses.amax(-2) - poses.amin(-2)).norm(dim=-1)


def kept(poses: Tensor, heat: Tensor, valid: Tensor, near: float, most_near: int) -> Tensor:
    """Which candidates (B, N) bool are people, of poses (B, N, K, 2) with heat (B, N) of which some are `valid`.

    A candidate's group are all that have more than `most_near` keypoints nearer to its own than `near` times its
    diagonal. In the order of candidates each one that is in no group yet opens its own, of which the hottest is a
    person; unless that one was in an earlier group: then no group is opened. So the order matters.
    """
    close = (poses[:, :, None] - poses[:, None]).norm(dim=-1) < near * extents(poses)[:, :, None, None]
    same = torch.eye(poses.shape[1], dtype=torch.bool, device=poses.device)
    group = ((close.sum(-1) > most_near) | same) & valid[:, None]
    best = torch.where(group, heat[:, None], -torch.inf).argmax(2)
    chosen, taken, place = torch.zeros_like(valid), ~valid, torch.arange(poses.shape[1], device=poses.device)
    for candidate in range(poses.shape[1]):
        leader = best[:, candidate, None]
        opens = ~taken[:, candidate, None] & ~taken.gather(1, leader)
        chosen = chosen | (opens & (place == leader))
        taken = taken | (opens & group[:, candidate])
    return chosen


def snapped(points: Tensor, maps: Tensor, image: Tensor, most: int, farthest: float) -> Tensor:
    """Points (P, K, 2) of people in images (P,), in cells of maps (B, K, H, W), that move to the nearest of their map's
    `most` highest peaks where that is nearer than `farthest` cells."""
    columns = maps.shape[-1]
    peaks = local_maxima(maps.flatten(0, 1), 5).flatten(1)
    score, cell = peaks.topk(min(most, peaks.shape[1]))
    places = torch.stack([cell % columns, cell // columns], -1).to(points.dtype).unflatten(0, maps.shape[:2])[image]
    away = (places - points[:, :, None]).norm(dim=-1)
    nearest, index = torch.where(score.unflatten(0, maps.shape[:2])[image] > 0, away, torch.inf).min(-1)
    there = places.gather(2, index[..., None, None].expand(-1, -1, 1, 2))[:, :, 0]
    return torch.where((nearest < farthest)[..., None], there, points)


def refined(points: Tensor, maps: Tensor, image: Tensor, sure: Tensor, sigma: float, reach: int = 6) -> Tensor:
    """Points (P, K, 2) of people in images (P,), in cells of maps (B, K, H, W), that move to the middle of a Gaussian
    fitted to the cells within `reach`, where they are `sure` (P, K). One that cannot be fitted stays, and one whose
    middle is not among these cells (there it moves)."""
    person, keypoint = sure.nonzero(as_tuple=True)
    size = torch.tensor(maps.shape[:1:-1], device=points.device)
    middle = (points[person, keypoint] + 0.5).long().clamp_min(0).minimum(size - 1)
    line = torch.arange(-reach, reach + 1, device=points.device)
    x, y = middle[:, 0, None] + line, middle[:, 1, None] + line
    inside = ((y >= 0) & (y < size[1]))[:, :, None] & ((x >= 0) & (x < size[0]))[:, None]
    rows, columns = y.clamp_min(0).minimum(size[1] - 1), x.clamp_min(0).minimum(size[0] - 1)
    windows = maps[image[person, None, None], keypoint[:, None, None], rows[:, :, None], columns[:, None]]
    height = windows[:, reach, reach]
    place = torch.full_like(height, reach)
    fit, done = fitted(windows, inside, torch.stack([height, place, place, torch.full_like(height, sigma)], 1))
    away = fit[:, 1:3] - reach
    fits = (done & (away.abs() <= reach).all(1)).to(points.device)
    moved = torch.where(fits[:, None], middle + away.to(points), points[person, keypoint])
    refined = points.clone()
    refined[person, keypoint] = moved
    return refined
