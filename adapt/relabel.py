"""What methods share that label the target anew: the poses of several passes become one, and the surest are chosen.

From CC-SSL (Mu et al., CVPR 2020; JitengMu/Learning-from-Synthetic-Animals @ 1ff5b52, CCSSL/scripts/consistency.py and
CCSSL/CCSSL.py, written from descriptions of it) and UDA-Animal (Li and Lee, CVPR 2021), which does the same once.

W passes see a sample under W known warps. The reference turns and resizes each pass's maps back and averages them. Here
what the passes say stands in the file's coordinates, points p_w with confidences c_w, and the label is the highest
place of the sum of Gaussians there,
    x* = argmax_x s(x),    s(x) = 1/W sum_w c_w exp(-|x - p_w|^2 / (2 r^2)),    its confidence is s(x*),
which is the peak of averaged maps where these are Gaussians of height c_w, and holds for every head. It is found by
mean shift from each pass's point: x <- sum_w g_w p_w / sum_w g_w, g_w the summands of s at x.

The reference's own way over maps is here as functions: `averaged_maps`, `read_maps`, `target_maps`, `joints_mse`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..datasets.constants import constants
from ..models.output import Grid, Poses
from .strategy import Target


def of_passes(target: Target, passes: int, radius: Tensor) -> Poses:
    """The poses of all target samples as the plain pass and the warps 1, 2, ... together say them; `radius` (N, D or
    more) in the file's units. For models that answer one person a sample: of several, who is who between two passes is
    not known, and one pass has to do."""
    seen = [target.predict(warp) for warp in range(passes)]
    points, confidence = (torch.stack([getattr(poses, name) for poses in seen]) for name in ("points", "confidence"))
    points, confidence = consensus(points, confidence, radius.to(points)[:, None, : points.shape[-1]])
    return Poses.of_crops(points, confidence)


def consensus(points: Tensor, confidence: Tensor, radius: Tensor, steps: int = 10) -> tuple[Tensor, Tensor]:
    """Where W passes together say that keypoints are, points (W, P, K, D) of confidence (W, P, K): (P, K, D), and how
    sure that is: (P, K). `radius`, of the shape of points (P, K, D) or broadcast to it, is r in each coordinate's
    unit."""
    points = points / radius
    best, height = points[0], torch.full_like(confidence[0], -1)
    for start in points:
        place = start
        for _ in range(steps):
            near = _summands(points, confidence, place)
            pull = (near.unsqueeze(-1) * (points - place)).sum(0)
            place = place + pull / near.sum(0).clamp_min(1e-12).unsqueeze(-1)
        reached = _summands(points, confidence, place).mean(0)
        higher = reached > height
        best, height = torch.where(higher.unsqueeze(-1), place, best), torch.where(higher, reached, height)
    return best * radius, height


def _summands(points: Tensor, confidence: Tensor, place: Tensor) -> Tensor:
    """Of s at a place (P, K, D), points and place in units of the radius: (W, P, K)."""
    return confidence * torch.exp(-0.5 * (points - place).square().sum(-1))


def threshold(confidence: Tensor, dropped: float) -> Tensor:
    """The confidence below which the share `dropped` of all keypoints (any shape) lies, as the reference reads it: the
    entry int(dropped * size) of the sorted confidences and one extra 0."""
    ordered = torch.cat([confidence.flatten(), confidence.new_zeros(1)]).sort().values
    return ordered[min(int(dropped * len(ordered)), len(ordered) - 1)]


def kept(confidence: Tensor, dropped: float, ties: bool = False) -> Tensor:
    """Which keypoints are surer than `threshold`: bool of the shape of `confidence`. With `ties` those at the threshold
    too, if they are sure at all: else nothing is kept where all are alike."""
    least = threshold(confidence, dropped)
    return (confidence >= least) & (confidence > 0) if ties else confidence > least


def averaged_maps(maps: Tensor, zoom: Tensor, angle: Tensor) -> Tensor:
    """The reference's average of the maps (W, K, H, W') of W passes: (K, H, W').

    A pass's maps are turned by -`angle` degrees (W,), bilinear, zeros outside; resized by `zoom` (W,), its s * 200 /
    256, their size rounded; added centred, what is smaller leaving the rest as it was; and divided by W everywhere.
    """
    height, width = maps.shape[-2:]
    turn = torch.deg2rad(angle.to(maps)).view(-1, 1, 1)
    y = (torch.arange(height).to(maps) - height / 2)[:, None]
    x = torch.arange(width).to(maps) - width / 2
    turned_x = turn.cos() * x + turn.sin() * y + width / 2
    turned_y = turn.cos() * y - turn.sin() * x + height / 2
    maps = _sampled(maps, turned_x, turned_y, "zeros")
    (x, in_x), (y, in_y) = (_resized(size, zoom.to(maps)) for size in (width, height))
    x, y = torch.broadcast_tensors(x[:, None, :], y[:, :, None])
    covered = in_x[:, None, None, :] & in_y[:, None, :, None]
    return (_sampled(maps, x, y, "border") * covered).mean(0)


def _resized(size: int, zoom: Tensor) -> tuple[Tensor, Tensor]:
    """Of an axis of `size` cells that W resizings zoom and that is cut or padded to `size` about its middle: the cell
    (W, size) that each new one is read at, and whether there is any."""
    wide = (size * zoom).round()[:, None]
    place = torch.arange(size).to(zoom) + (wide / 2).floor() - size // 2
    return (place + 0.5) / zoom[:, None] - 0.5, (place >= 0) & (place < wide)


def _sampled(maps: Tensor, x: Tensor, y: Tensor, padding: str) -> Tensor:
    """Maps (W, K, H, W') read bilinearly at cells x and y (W, H, W')."""
    height, width = maps.shape[-2:]
    places = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
    return F.grid_sample(maps, places, padding_mode=padding, align_corners=True)


def read_maps(maps: Tensor, stride: int = 4) -> Tensor:
    """The reference's keypoints of maps (K, H, W): (K, 3), x and y in its pixels and the maximum.

    Its pixels count from 1 and are whole: the highest cell, drawn a quarter to its higher neighbour on each axis, times
    `stride`, cut off. A keypoint without a positive value stands at -1, -1 for a stride of 4.
    """
    width = maps.shape[-1]
    height, cell = maps.flatten(1).max(1)
    place = torch.stack([cell % width, cell // width], -1)
    inner = ((place > 0) & (place < constants(maps.shape[:0:-1], place) - 1)).all(-1, keepdim=True)
    step = constants([1, width], place)
    around = (maps.flatten(1).gather(1, (cell[:, None] + way).clamp(0, maps[0].numel() - 1)) for way in (step, -step))
    after, before = around
    quarter = 0.25 * (after - before).sign() * inner
    counted = torch.where(height[:, None] > 0, place + 1 + quarter, torch.zeros_like(quarter))
    return torch.cat([(stride * (counted - 0.5)).trunc() + 1, height[:, None]], -1)


def target_maps(points: Tensor, shape: tuple[int, int], stride: int = 4, sigma: float = 1.0) -> Tensor:
    """The reference's targets at keypoints (K, 2) as `read_maps` gives them: (K, H, W), Gaussians at whole cells, cut
    to three sigma each way."""
    cells = ((points.trunc() - 1) / stride).trunc()
    return Grid(shape, (1.0, 1.0), (0.0, 0.0)).target(cells[None], sigma, cut=math.floor(3 * sigma))[0]


def joints_mse(output: Tensor, target: Tensor, weight: Tensor, joints: int | None = None) -> Tensor:
    """The references' loss of maps (B, K, H, W) with weights (B, K) or (B, K, 1): sum over keypoints of
    0.5 mean(((output - target) weight)^2), divided by `joints`, K unless given."""
    away = (output - target) * weight.reshape(*output.shape[:2], 1, 1)
    return 0.5 * away.square().mean((0, 2, 3)).sum() / (joints or output.shape[1])
