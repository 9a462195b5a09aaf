"""How DEKR reads people from a centre map, offsets and heatmaps.

HRNet/DEKR @ 7a30313, lib/core/inference.py and nms.py, with which it agrees; for all images of a batch together.
Candidates are N cells of each image, the strongest first; points are in cells of the map, (x, y), cells at integers.
The reference enlarges heatmaps to the input and reads them at whole pixels; here they are read there without that.
Against it, cells of equal strength come in their order on the map, and who has no extent is a group of its own (there
an error).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

WIDE, WIDER = 200, 300
"""Cells along a map's side, on average, above which centres have to be the highest of 5x5 and of 7x7, not of 3x3."""


def centers(heat: Tensor, most: int, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """The `most` highest peaks of centre maps (B, H, W), or of all cells: their cells (B, N) int64, heat (B, N), and which
    are above the threshold (B, N) bool."""
    side = (heat.shape[1] + heat.shape[2]) / 2
    reach = 1 + (side > WIDE) + (side > WIDER)
    peaks = torch.where(highest(heat, reach), heat, 0.0).flatten(1)
    score, cell = peaks.sort(1, descending=True, stable=True)
    score, cell = score[:, :most], cell[:, :most]
    return cell, score, score > threshold


def highest(maps: Tensor, reach: int) -> Tensor:
    """Where maps (B, H, W) are as high as anywhere within `reach` cells: bool."""
    return functional.max_pool2d(maps[:, None], 2 * reach + 1, 1, reach)[:, 0] == maps


def poses_at(offsets: Tensor, cell: Tensor) -> Tensor:
    """Poses (B, N, K, 2) in cells that start at `cell` (B, N) of maps of offsets (B, K, 2, H, W)."""
    batch, keypoints, _, _, columns = offsets.shape
    away = offsets.flatten(3).permute(0, 3, 1, 2)
    index = cell[..., None, None].expand(-1, -1, keypoints, 2)
    start = torch.stack([cell % columns, cell // columns], -1).to(offsets.dtype)
    return start[:, :, None] - away.gather(1, index)


def heat_at(maps: Tensor, cells: Tensor) -> Tensor:
    """The values of maps (B, K, H, W) at points (B, N, K, 2) in cells, (B, N, K): bilinear, beyond the border as on it."""
    size = cells.new_tensor(maps.shape[:1:-1]) - 1
    places = 2 * cells / size.clamp_min(1) - 1
    grid = places.transpose(1, 2).flatten(0, 1)[:, None]  # one row of N samples for each map
    values = functional.grid_sample(maps.flatten(0, 1)[:, None], grid, "bilinear", "border", align_corners=True)
    return values[:, 0, 0].unflatten(0, maps.shape[:2]).transpose(1, 2)


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
    chosen, taken = torch.zeros_like(valid), ~valid
    for candidate in range(poses.shape[1]):
        leader = best[:, candidate, None]
        opens = ~taken[:, candidate, None] & ~taken.gather(1, leader)
        chosen = chosen | (opens & (torch.arange(poses.shape[1], device=poses.device) == leader))
        taken = taken | (opens & group[:, candidate])
    return chosen
