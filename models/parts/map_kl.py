"""KL(goal || softmax(logits)) of maps, plainly and in little memory.

With goal g of sum s (1, or 0 of an empty one) and q = softmax(logits),
    KL = sum_n g_n log g_n - sum_n g_n log q_n,    d KL / d logit_n = s q_n - g_n.
The lean form makes q and g a block of maps at a time, once for the value and once more for the gradient, which goes
straight into its own memory; a goal that is lazy is never whole either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .blocks import blocks, working
from .lazy_maps import Maps


def keypoint_kl(log_density: Tensor, target: Tensor, epsilon: float = 0.0) -> Tensor:
    """What `spatial_kl` averages, of each keypoint: (B, K)."""
    goal = _goal(target, epsilon)
    return (torch.special.xlogy(goal, goal) - goal * log_density.flatten(2)).sum(-1)


def lean_kl(maps: Tensor, target: Maps, epsilon: float = 0.0) -> Tensor:
    """`keypoint_kl` (B, K) from logits (B, K, *shape) of any strides and precision; the target gets no gradient."""
    return _LeanKL.apply(maps, target, epsilon)


def _goal(target: Tensor, epsilon: float) -> Tensor:
    """Targets (B, K, *shape) with `epsilon` in each cell as densities (B, K, N); an empty one stays empty."""
    mass = (target + epsilon).flatten(2)
    return mass / mass.sum(-1, keepdim=True).clamp_min(1e-30)


class _LeanKL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, target: Maps, epsilon: float) -> Tensor:
        each = maps.new_empty(maps.shape[:2], dtype=working(maps))

        def read(block: tuple[slice, slice], goals: Tensor) -> None:
            logs = maps[block].flatten(2).log_softmax(-1, dtype=each.dtype)
            each[block] = keypoint_kl(logs, goals, epsilon)

        _visit(maps, target, read)
        ctx.save_for_backward(maps)
        ctx.target, ctx.epsilon = target, epsilon
        return each

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None, None]:
        (maps,) = ctx.saved_tensors
        gradient = torch.empty_like(maps)

        def write(block: tuple[slice, slice], goals: Tensor) -> None:
            density = maps[block].flatten(2).softmax(-1, dtype=incoming.dtype)
            goal = _goal(goals, ctx.epsilon)
            slope = density.mul_(goal.sum(-1, keepdim=True)).sub_(goal).mul_(incoming[block].unsqueeze(-1))
            gradient[block] = slope.unflatten(2, maps.shape[2:])

        _visit(maps, ctx.target, write)
        return gradient, None, None


def _visit(maps: Tensor, target: Maps, act: Callable[[tuple[slice, slice], Tensor], None]) -> None:
    """`act` on each block of the maps with its targets, which are let go before the next are made."""
    for images, parts in blocks(maps):
        goals = target[images]
        for some in parts:
            act((images, some), goals[:, some])
        del goals
