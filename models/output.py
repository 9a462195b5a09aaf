"""What every pose head answers: votes of N candidates for each keypoint, read as a density on a fixed grid; and what is
read from them, the poses of P people in B images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from ..datasets.constants import constants
from .parts.lazy_maps import LazyMaps, Maps, whole
from .parts.map_kl import keypoint_kl, lean_kl
from .parts.soft_argmax import entropies, soft_argmax


@dataclass(frozen=True)
class Grid:
    """Regular cells over the model's input.

    `shape` is in array order, (H, W) or (Z, H, W); `stride` and `origin` are in coordinate order, (x, y[, z]):
    cell j of the x axis stands at `origin[0] + stride[0] * j` pixels. `depth` is a grid of one axis, mm, on which
    z is read by itself where a head votes for (x, y, z) and a volume would be too large.
    """

    shape: tuple[int, ...]
    stride: tuple[float, ...]
    origin: tuple[float, ...]
    depth: Grid | None = None

    def marginals(self) -> tuple[Grid, ...]:
        """The grids that densities live on: this one, and depth's where it has one."""
        return (replace(self, depth=None),) + (() if self.depth is None else (self.depth,))

    def split(self, points: Tensor) -> tuple[Tensor, ...]:
        """Points (..., D) as each of `marginals()` sees them."""
        return points.split([len(grid.shape) for grid in self.marginals()], -1)

    @property
    def cells(self) -> int:
        return math.prod(self.shape)

    @property
    def volume(self) -> bool:
        """Whether maps on it have three axes: too large to stand in memory several times over."""
        return len(self.shape) > 2

    def axis(self, dim: int, like: Tensor) -> Tensor:
        """Coordinates (cells along it,) of the axis `dim`, counted x, y, z."""
        count = self.shape[len(self.shape) - 1 - dim]
        return self.origin[dim] + self.stride[dim] * torch.arange(count, device=like.device, dtype=like.dtype)

    def to_cells(self, points: Tensor) -> Tensor:
        """Points (..., D) in pixels to fractional cell indices (..., D), x first."""
        return (points - constants(self.origin, points)) / constants(self.stride, points)

    def to_points(self, cells: Tensor) -> Tensor:
        """Fractional cell indices (..., D), x first, to points in pixels."""
        return cells * constants(self.stride, cells) + constants(self.origin, cells)

    def unravel(self, cell: Tensor) -> Tensor:
        """The indices (..., D), x first, of cells (...) counted as in memory: torch.unravel_index, which would copy the
        shape to the device each time."""
        indices = []
        for count in reversed(self.shape):
            indices.append(cell % count)
            cell = cell // count
        return torch.stack(indices, -1)

    def nearest(self, points: Tensor) -> Tensor:
        """The cells nearest to points (..., D) px: indices (..., D) int64, x first, drawn to the border."""
        highest = constants(self.shape[::-1], points) - 1
        return self.to_cells(points).round().clamp_min(0).minimum(highest).long()

    def contains(self, points: Tensor) -> Tensor:
        """Whether points (..., D) have a nearest cell on the grid, and on depth's: bool (...)."""
        inside = torch.ones(points.shape[:-1], dtype=torch.bool, device=points.device)
        for grid, part in zip(self.marginals(), self.split(points), strict=True):
            cells = grid.to_cells(part)
            inside = inside & ((cells >= -0.5) & (cells < constants(grid.shape[::-1], cells) - 0.5)).all(-1)
        return inside

    def targets(self, points: Tensor, sigma: float, cut: float | None = None) -> tuple[Tensor, ...]:
        """`target` on each of `marginals()` for points (B, K, D)."""
        return tuple(g.target(p, sigma, cut) for g, p in zip(self.marginals(), self.split(points), strict=True))

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
            line = line.view(*line.shape[:2], *(1,) * (len(self.shape) - 1 - dim), len(index), *(1,) * dim)
            product = line if product is None else product * line
        assert product is not None
        return product


@dataclass(frozen=True)
class Votes:
    """N candidates vote for each of K keypoints.

    `logits` (B, N, K); `where` (B, N, K or 1, D) holds the candidates' positions in pixels, None when the candidates
    are the grid's cells themselves (row-major). Of a grid with a depth, (B, 1, K or 1, 1) is one depth that all of the
    cells share.
    """

    grid: Grid
    logits: Tensor
    where: Tensor | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What a head says besides, by name (tags, offsets, raw maps): its own decode and loss alone read it."""

    @staticmethod
    def from_maps(grid: Grid, maps: Tensor, **extra: Any) -> Votes:
        """Votes of a heatmap or volume (B, K, *grid.shape) of logits, with what the head says besides."""
        return Votes(grid, maps.flatten(2).transpose(1, 2), extra=extra)

    @staticmethod
    def at_depth(grid: Grid, maps: Tensor, depth: Tensor) -> Votes:
        """Votes of the cells of a map (B, K, H, W) of logits, all of a keypoint at one depth (B, K) mm."""
        return Votes(grid, maps.flatten(2).transpose(1, 2), depth.float()[:, None, :, None])

    def marginals(self) -> tuple[Votes, ...]:
        """The same votes as each of the grid's `marginals()` sees them: (x, y), and z by itself where it is voted."""
        if self.grid.depth is None or self.where is None:
            return (self,)
        if self.flat:
            plane, depth = self.grid.marginals()
            return Votes(plane, self.logits), Votes(depth, self.logits[:, :1].detach() * 0, self.where)
        parts = self.grid.split(self.where)
        return tuple(Votes(g, self.logits, part) for g, part in zip(self.grid.marginals(), parts, strict=True))

    @property
    def flat(self) -> bool:
        """The candidates are the cells, at one depth."""
        return self.grid.depth is not None and self.where is not None and self.where.shape[-1] == 1

    def log_densities(self) -> tuple[Tensor, ...]:
        """`log_density` of each of `marginals()`."""
        return tuple(votes.log_density() for votes in self.marginals())

    @property
    def maps(self) -> Tensor:
        """Logits as maps (B, K, *grid.shape); only where the candidates are the cells."""
        if self.where is not None:
            raise ValueError("these votes come from free candidates, not from cells: use log_density()")
        return self.logits.transpose(1, 2).unflatten(2, self.grid.shape)

    def mean(self) -> Tensor:
        """The expected position (B, K, D) px under the softmax of the votes, float32. On a pure grid by `soft_argmax`:
        without a copy of the votes, and with a gradient that has none of its own."""
        if self.where is None:
            return self.grid.to_points(soft_argmax(self.maps).float())
        if self.flat:
            return torch.cat([votes.mean() for votes in self.marginals()], -1)
        # Along contiguous memory a softmax over thousands of candidates sums to 1 ten times nearer, and is faster.
        weight = self.logits.float().transpose(1, 2).contiguous().softmax(-1)
        return (weight.unsqueeze(2) * self.where.float().permute(0, 2, 3, 1)).sum(-1)

    def peak(self) -> Tensor:
        """The position (B, K, D) px of the strongest candidate, the first of them on a tie. Carries no gradient."""
        if self.flat:
            return torch.cat([votes.peak() for votes in self.marginals()], -1)
        best = self.logits.detach().argmax(1)
        if self.where is not None:
            where = self.where.detach().expand(-1, -1, self.logits.shape[2], -1)
            return where.gather(1, best[:, None, :, None].expand(-1, -1, -1, where.shape[-1])).squeeze(1)
        return self.grid.to_points(self.grid.unravel(best).float())

    def confidence(self) -> Tensor:
        """1 - entropy / log N of the votes, (B, K) in [0, 1]; 1 where a head has a single candidate. Of a volume
        without a copy of the votes, and without gradient."""
        if self.logits.shape[1] == 1:
            return self.logits.new_ones(self.logits.shape[0], self.logits.shape[2])
        if self.where is None and self.grid.volume and not torch.compiler.is_compiling():
            return 1 - entropies(self.maps).float() / math.log(self.logits.shape[1])
        log_weight = self.logits.float().log_softmax(1)
        entropy = -(log_weight.exp() * log_weight).sum(1)
        return 1 - entropy / math.log(self.logits.shape[1])

    def log_density(self) -> Tensor:
        """Log of the density that the votes put on the grid: (B, K, *shape), sums to 1 over the cells.

        On a pure grid the log-softmax of the maps. Else a differentiable bilinear splat of the softmax weights at
        the candidates' positions, blurred by (1/4, 1/2, 1/4) along each axis so that gradient reaches offsets whose
        target lies a cell away; votes outside the grid are drawn to its border. Where z is voted too, `marginals()`
        read it: the density here is of (x, y).
        """
        if self.where is None:
            log_weight = self.logits.float().log_softmax(1)
            return log_weight.transpose(1, 2).unflatten(2, self.grid.shape)
        where = self.where[..., : len(self.grid.shape)].float()
        density = _blur(_splat(self.grid, self.logits.float().softmax(1), where))
        return torch.log(density + 1e-9)


def _splat(grid: Grid, weight: Tensor, where: Tensor) -> Tensor:
    """Weights (B, N, K) at positions (B, N, K or 1, D) px, shared out to the nearest cells: (B, K, *shape).

    On CUDA by a sorted accumulation, which gives the same bits every time, so that a resumed run equals the whole one.
    """
    batch, _, joints = weight.shape
    size = constants(grid.shape[::-1], weight)
    cells = grid.to_cells(where).clamp(torch.zeros_like(size), size - 1)
    low = cells.detach().floor().minimum(size - 2).clamp_min(0)
    part = cells - low
    first = torch.arange(batch * joints, device=weight.device).view(batch, 1, joints) * grid.cells
    flat = weight.new_zeros(batch * joints * grid.cells)
    for corner in range(2 ** len(grid.shape)):
        share, index, step = weight, first, 1
        for dim, count in enumerate(reversed(grid.shape)):
            high = corner >> dim & 1
            share = share * (part[..., dim] if high else 1 - part[..., dim])
            index = index + (low[..., dim].long() + high).clamp_max(count - 1) * step
            step *= count
        flat = _accumulate(flat, index.expand_as(share).flatten(), share.flatten(), in_order=weight.is_cuda)
    return flat.view(batch, joints, *grid.shape)


def _accumulate(flat: Tensor, index: Tensor, values: Tensor, in_order: bool) -> Tensor:
    """`flat` with values (M,) added at index (M,); `in_order` sorts first where a GPU would add in any order."""
    return flat.index_put((index,), values, accumulate=True) if in_order else flat.scatter_add(0, index, values)


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
    return _averaged(keypoint_kl(log_density, target, epsilon), weight)


def _averaged(each: Tensor, weight: Tensor | None) -> Tensor:
    return each.mean() if weight is None else (each * weight).mean()


def divergence(votes: Votes, targets: tuple[Maps, ...], weight: Tensor | None = None, epsilon: float = 0.0) -> Tensor:
    """`spatial_kl` of the votes from `targets` (B, K, *shape) with weight (B, K), summed over the grid's marginals."""
    return torch.stack([_averaged(each, weight) for each in _divergences(votes, targets, epsilon)]).sum()


def keypoint_divergence(votes: Votes, targets: tuple[Maps, ...], epsilon: float = 0.0) -> Tensor:
    """What `divergence` averages, of each keypoint: (B, K)."""
    return torch.stack(_divergences(votes, targets, epsilon)).sum(0)


def _divergences(votes: Votes, targets: tuple[Maps, ...], epsilon: float) -> list[Tensor]:
    """`keypoint_kl` (B, K) on each of the grid's marginals; of volumes in blocks, in which lazy targets are made."""
    each = []
    for one, target in zip(votes.marginals(), targets, strict=True):
        if one.where is None and one.grid.volume:
            each.append(lean_kl(one.maps, target, epsilon))
        else:
            each.append(keypoint_kl(one.log_density(), whole(target), epsilon))
    return each


@dataclass(frozen=True)
class Poses:
    """The poses of P people in B images: what `decode` answers, and what teachers, metrics, predictions and files hold.
    Of crops P = B and person i stands in image i."""

    points: Tensor
    """(P, K, D) in the coordinates that the sample's `space` names."""
    confidence: Tensor
    """(P, K) in [0, 1]."""
    image_index: Tensor
    """(P,) int64, ascending: the image that a person stands in."""
    score: Tensor
    """(P,) how sure the model is of the person; of crops the mean confidence."""

    @staticmethod
    def of_crops(points: Tensor, confidence: Tensor) -> Poses:
        """One person in each image."""
        return Poses(points, confidence, torch.arange(points.shape[0], device=points.device), confidence.mean(-1))

    def __len__(self) -> int:
        return len(self.points)

    def each(self, change: Callable[[Tensor], Tensor]) -> Poses:
        """The same with every tensor changed."""
        return Poses(*(change(getattr(self, f.name)) for f in fields(self)))

    def counts(self, images: int) -> list[int]:
        """How many people stand in each of `images` images."""
        return torch.bincount(self.image_index, minlength=images).tolist()


def per_image(values: Tensor, image_index: Tensor, images: int) -> Tensor:
    """Values (P, ...) of people in images (P,) summed over each image's people and clipped to 1: (images, ...).

    Of crops the values as they are. On CUDA the sum has one order, so that a resumed run equals the whole one.
    """
    total = values.new_zeros(images, *values.shape[1:])
    if values.is_cuda:
        return total.index_put_((image_index,), values, accumulate=True).clamp_max_(1)
    return total.index_add_(0, image_index, values).clamp_max_(1)


def on_images(grid: Grid, people: Callable[[slice], Tensor], image_index: Tensor, images: int) -> Maps:
    """Maps of people in images (P,), ascending, by image as `per_image` sums them: (images, K, *grid.shape).

    `people` draws those of a slice: (their number, K, *grid.shape). Of volumes the maps are lazy.
    """
    if not grid.volume:
        return per_image(people(slice(None)), image_index, images)
    ends = torch.bincount(image_index, minlength=images).cumsum(0).tolist()

    def make(first: int, stop: int) -> Tensor:
        some = slice(ends[first - 1] if first else 0, ends[stop - 1] if stop else 0)
        return per_image(people(some), image_index[some] - first, stop - first)

    return LazyMaps(images, make)
