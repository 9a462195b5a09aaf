"""Where maps are highest between their cells: a Gaussian fitted to the cells around a place.

By Levenberg and Marquardt's method, many windows at once; the sum of squares is least where scipy's curve_fit finds it,
which takes them one after another.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 60
"""As many as scipy makes of 300 evaluations, five a round."""
TOLERANCE = 1.49e-8
"""As scipy's: of the change of the sum of squares, and of the parameters."""


def fitted(windows: Tensor, counted: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """A exp(-((x - x0)^2 + (y - y0)^2) / (2 s^2)) in windows (M, H, W), of whose cells some are `counted` (M, H, W):
    (M, 4) float64 A, x0, y0, s from `start` on, cells of the window, and which of them converged (M,) bool. Both are on
    the CPU for windows on Apple's devices, which have no float64."""
    if windows.device.type == "mps":
        windows, counted, start = windows.cpu(), counted.cpu(), start.cpu()
    values, weight = windows.double().flatten(1), counted.double().flatten(1)
    y, x = (axis.flatten() for axis in torch.meshgrid(*(_line(windows, dim) for dim in (1, 2)), indexing="ij"))
    best, damping = start.double(), torch.full((len(start),), 1e-3, dtype=torch.float64, device=start.device)
    done = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    answer, slopes = _gaussian(best, x, y)
    least = ((answer - values) * weight).square().sum(1)
    for _ in range(ROUNDS):
        slopes = slopes * weight[..., None]
        normal, pull = slopes.mT @ slopes, slopes.mT @ ((values - answer) * weight)[..., None]
        scale = normal.diagonal(dim1=1, dim2=2).clamp_min(1e-30)
        step, failed = torch.linalg.solve_ex(normal + torch.diag_embed(damping[:, None] * scale), pull)
        step = torch.where((failed == 0)[:, None, None], step, 0.0)[..., 0]
        moved = best + step
        answer_there, slopes_there = _gaussian(moved, x, y)
        error = ((answer_there - values) * weight).square().sum(1)
        better = (error <= least) & error.isfinite() & ~done
        small = (least - error <= TOLERANCE * least) | (step.norm(dim=1) <= TOLERANCE * best.norm(dim=1))
        best = torch.where(better[:, None], moved, best)
        answer = torch.where(better[:, None], answer_there, answer)
        slopes = torch.where(better[:, None, None], slopes_there, slopes)
        least = torch.where(better, error, least)
        done = done | (better & small)
        damping = torch.where(better, damping / 10, damping * 10).clamp(1e-12, 1e12)
        if done.all():
            break
    return best, done


def _line(windows: Tensor, dim: int) -> Tensor:
    return torch.arange(windows.shape[dim], dtype=torch.float64, device=windows.device)


def _gaussian(parameters: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Its values (M, cells), and their slopes (M, cells, 4)."""
    height, x0, y0, width = (column[:, None] for column in parameters.unbind(1))
    right, down = x - x0, y - y0
    squared = right.square() + down.square()
    shape = torch.exp(-squared / (2 * width.square()))
    values = height * shape
    slopes = [shape, values * right / width.square(), values * down / width.square(), values * squared / width**3]
    return values, torch.stack(slopes, -1)
