"""What every pose head answers: votes of N candidates for each keypoint, read as a density on a fixed grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """Regular cells over the model's input.

    `shape` is in array order, (H, W) or (Z, H, W); `stride` and `origin` are in coordinate order, (x, y[, z]):
    cell j of the x axis stands at `origin[0] + stride[0] * j` pixels.
    """

    shape: tuple[int, ...]
    stride: tuple[float, ...]
    origin: tuple[float, ...]

    @property
    def cells(self) -> int:
        return math.prod(self.shape)

    def axis(self, dim: int, like: Tensor) -> Tensor:
        """Coordinates (cells along it,) of the axis `dim`, counted x, y, z."""
        count = self.shape[len(self.shape) - 1 - dim]
        return self.origin[dim] + self.stride[dim] * torch.arange(count, device=like.device, dtype=like.dtype)

    def to_cells(self, points: Tensor) -> Tensor:
        """Points (..., D) in pixels to fractional cell indices (..., D), x first."""
        return (points - points.new_tensor(self.origin)) / points.new_tensor(self.stride)

    def to_points(self, cells: Tensor) -> Tensor:
        """Fractional cell indices (..., D), x first, to points in pixels."""
        return cells * cells.new_tensor(self.stride) + cells.new_tensor(self.origin)

    def contains(self, points: Tensor) -> Tensor:
        """Whether points (..., D) have a nearest cell on the grid: bool (...)."""
        cells = self.to_cells(points)
        return ((cells >= -0.5) & (cells < cells.new_tensor(self.shape[::-1]) - 0.5)).all(-1)

    def target(self, points: Tensor, sigma: float, cut: float | None = None) -> Tensor:
        """Gaussians of peak 1 around detached points (B, K, D) px: (B, K, *shape), not normalised.

        `sigma` and `cut` are in cells. Beyond `cut` on any axis the value is 0 (TLLib's 13 x 13 square is cut=6
        at sigma=2). Built as a product over the axes, so nothing of size B * N * K * D exists.
        """
        cells = self.to_cells(points.detach())
        product = None
        for dim in range(len(self.shape)):
            index = torch.arange(self.shape[len(self.shape) - 1 - dim], device=cells.device, dtype=cells.dtype)
            away = index - cells[..., dim, None]
            line = torch.exp(away.square() * (-0.5 / sigma**2))
            if cut is not None:
                line = line * (away.abs() <= cut)
            line = line.view(*line.shape[:2], *(1,) * (len(self.shape) - 1 - dim), -1, *(1,) * dim)
            product = line if product is None else product * line
        assert product is not None
        return product


@dataclass(frozen=True)
class Votes:
    """N candidates vote for each of K keypoints.

    `logits` (B, N, K); `where` (B, N, K or 1, D) holds the candidates' positions in pixels, None when the candidates
    are the grid's cells themselves (row-major).
    """

    grid: Grid
    logits: Tensor
    where: Tensor | None = None

    @staticmethod
    def from_maps(grid: Grid, maps: Tensor) -> Votes:
        """Votes of a heatmap or volume (B, K, *grid.shape) of logits."""
        return Votes(grid, maps.flatten(2).transpose(1, 2))

    @property
    def maps(self) -> Tensor:
        """Logits as maps (B, K, *grid.shape); only where the candidates are the cells."""
        if self.where is not None:
            raise ValueError("these votes come from free candidates, not from cells: use log_density()")
        return self.logits.transpose(1, 2).unflatten(2, self.grid.shape)

    def mean(self) -> Tensor:
        """The expected position (B, K, D) px under the softmax of the votes."""
        weight = self.logits.float().softmax(1)
        if self.where is not None:
            return (weight.unsqueeze(-1) * self.where.float()).sum(1)
        maps = weight.transpose(1, 2).unflatten(2, self.grid.shape)
        last = maps.dim() - 1
        parts = []
        for dim in range(len(self.grid.shape)):
            others = [d for d in range(2, maps.dim()) if d != last - dim]
            parts.append((maps.sum(others) * self.grid.axis(dim, maps)).sum(-1))
        return torch.stack(parts, -1)

    def peak(self) -> Tensor:
        """The position (B, K, D) px of the strongest candidate, the first of them on a tie. Carries no gradient."""
        best = self.logits.detach().argmax(1)
        if self.where is not None:
            where = self.where.detach().expand(-1, -1, self.logits.shape[2], -1)
            return where.gather(1, best[:, None, :, None].expand(-1, -1, -1, where.shape[-1])).squeeze(1)
        cells = torch.stack(torch.unravel_index(best, self.grid.shape)[::-1], -1)
        return self.grid.to_points(cells.float())

    def confidence(self) -> Tensor:
        """1 - entropy / log N of the votes, (B, K) in [0, 1]; 1 where a head has a single candidate."""
        if self.logits.shape[1] == 1:
            return self.logits.new_ones(self.logits.shape[0], self.logits.shape[2])
        log_weight = self.logits.float().log_softmax(1)
        entropy = -(log_weight.exp() * log_weight).sum(1)
        return 1 - entropy / math.log(self.logits.shape[1])

    def log_density(self) -> Tensor:
        """Log of the density that the votes put on the grid: (B, K, *shape), sums to 1 over the cells.

        On a pure grid the log-softmax of the maps. Else a differentiable bilinear splat of the softmax weights at
        the candidates' positions, blurred by (1/4, 1/2, 1/4) along each axis so that gradient reaches offsets whose
        target lies a cell away; votes outside the grid are drawn to its border.
        """
        if self.where is None:
            log_weight = self.logits.float().log_softmax(1)
            return log_weight.transpose(1, 2).unflatten(2, self.grid.shape)
        density = _blur(_splat(self.grid, self.logits.float().softmax(1), self.where.float()))
        return torch.log(density + 1e-9)


def _splat(grid: Grid, weight: Tensor, where: Tensor) -> Tensor:
    """Weights (B, N, K) at positions (B, N, K or 1, D) px, shared out to the nearest cells: (B, K, *shape)."""
    size = weight.new_tensor(grid.shape[::-1])
    cells = grid.to_cells(where).clamp(torch.zeros_like(size), size - 1)
    low = cells.detach().floor().minimum(size - 2).clamp_min(0)
    part = cells - low
    flat = weight.new_zeros(weight.shape[0], weight.shape[2], grid.cells)
    for corner in range(2 ** len(grid.shape)):
        share = weight
        index = torch.zeros_like(low[..., 0], dtype=torch.long)
        step = 1
        for dim, count in enumerate(reversed(grid.shape)):
            high = corner >> dim & 1
            share = share * (part[..., dim] if high else 1 - part[..., dim])
            index = index + (low[..., dim].long() + high).clamp_max(count - 1) * step
            step *= count
        index = index.expand(-1, -1, weight.shape[2]).transpose(1, 2)
        flat = flat.scatter_add(2, index, share.transpose(1, 2))
    return flat.unflatten(2, grid.shape)


def _blur(maps: Tensor) -> Tensor:
    """(1/4, 1/2, 1/4) along every axis behind (B, K); the mass that would leave the border stays on it."""
    for dim in range(2, maps.dim()):
        count = maps.shape[dim]
        before = torch.cat([maps.narrow(dim, 0, 1), maps.narrow(dim, 0, count - 1)], dim)
        after = torch.cat([maps.narrow(dim, 1, count - 1), maps.narrow(dim, count - 1, 1)], dim)
        maps = 0.5 * maps + 0.25 * (before + after)
    return maps


def spatial_kl(log_density: Tensor, target: Tensor, weight: Tensor | None = None, epsilon: float = 0.0) -> Tensor:
    """KL(target || density) averaged over all B * K keypoints, those of weight 0 included in the count.

    log_density (B, K, *shape); target (B, K, *shape) not normalised, `epsilon` is added to each of its cells before
    it is; weight (B, K) or None. A keypoint whose target is empty (it left the frame) counts as weight 0; the
    reference returns NaN there. TLLib, vision/models/keypoint_detection/loss.py JointsKLLoss @ c4aa59e.
    """
    mass = (target + epsilon).flatten(2)
    total = mass.sum(-1, keepdim=True)
    goal = mass / total.clamp_min(1e-30)
    each = (torch.special.xlogy(goal, goal) - goal * log_density.flatten(2)).sum(-1)
    return each.mean() if weight is None else (each * weight).mean()
