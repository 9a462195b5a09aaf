"""The soft-argmax over maps of any number of axes, in next to no memory beyond logits and their gradient.

With p = softmax(logits) over the cells n of a map, and x_nd the index of cell n along axis d,
    mean_d               = sum_n p_n x_nd = sum_i m_d(i) i,    m_d(i) the sum of p over all cells of index i along d,
    d mean_d / d logit_n = p_n (x_nd - mean_d).
Neither needs the positions of all cells: the sums m_d are lines, and sum_d g_d (x_nd - mean_d), for a gradient g that
comes back, is a sum of lines over the axes. p itself is not kept: it is made again when the gradient is wanted, a block
of maps at a time, and goes straight into the gradient's memory. What a map gives does not depend on the maps beside it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .blocks import blocks, softmax, working


def soft_argmax(maps: Tensor) -> Tensor:
    """Expected cells (B, K, D), fractional indices with x first, under the softmax of logits (B, K, *shape) of D axes.

    Logits of any strides and precision, which are never copied whole; the answer is float32, of float64 logits
    float64. Its gradient has none of its own. A traced or compiled network gets `direct_soft_argmax`.
    """
    return direct_soft_argmax(maps) if torch.compiler.is_compiling() else _SoftArgmax.apply(maps)


def direct_soft_argmax(maps: Tensor) -> Tensor:
    """The same in plain operations, whose softmax is kept: what exporters can write."""
    return torch.stack([(line * _index(line)).sum(-1) for line in lines_of(softmax(maps))], -1)


def entropies(maps: Tensor) -> Tensor:
    """The entropy (B, K) of the softmax of each map of logits (B, K, *shape), in nats, without gradient."""
    maps = maps.detach()
    each = maps.new_empty(maps.shape[:2], dtype=working(maps))
    for images, parts in blocks(maps):
        for some in parts:
            each[images, some] = torch.special.entr(softmax(maps[images, some]).flatten(2)).sum(-1)
    return each


class _SoftArgmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        mean = maps.new_empty(*maps.shape[:2], maps.dim() - 2, dtype=working(maps))
        total = mean.new_empty(maps.shape[:2])
        for images, parts in blocks(maps):
            for some in parts:
                mean[images, some], total[images, some] = _read(maps[images, some])
        ctx.save_for_backward(maps, mean, total)
        return mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> Tensor:
        maps, mean, total = ctx.saved_tensors
        gradient = torch.empty_like(maps)
        incoming = incoming / total.unsqueeze(-1)
        for images, parts in blocks(maps):
            for some in parts:
                block = [part[images, some] for part in (maps, mean, incoming, gradient)]
                _write_slope(*block)
        return gradient


def _read(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Of each map the mean (B, K, D), and what its softmax sums to after rounding, (B, K): 1 but for 1e-5 or so."""
    lines = lines_of(softmax(maps))
    means = [(line * _index(line)).sum(-1) / line.sum(-1) for line in lines]
    return torch.stack(means, -1), lines[0].sum(-1)


def _write_slope(maps: Tensor, mean: Tensor, incoming: Tensor, into: Tensor) -> None:
    """p_n sum_d g_d (x_nd - mean_d) of every cell n, for g and mean (B, K, D), written `into` maps (B, K, *shape)."""
    weight, slope = softmax(maps), incoming.new_zeros(())
    axes = len(maps.shape) - 2
    lines = [incoming[..., d, None] * (_index(weight, -1 - d) - mean[..., d, None]) for d in range(axes)]
    lines = [line.view(*line.shape[:2], *(1,) * (axes - 1 - d), -1, *(1,) * d) for d, line in enumerate(lines)]
    for line in lines[:-1]:
        slope = slope + line
    if into.dtype == weight.dtype:
        torch.add(slope, lines[-1], out=into).mul_(weight)
    else:
        into.copy_(weight.mul_(slope + lines[-1]))


def lines_of(maps: Tensor) -> list[Tensor]:
    """Sums of maps (B, K, *shape) over all axes but one: (B, K, cells along it) of each axis, x first."""
    lines = []
    while maps.dim() > 3:
        lines.append(maps.sum(list(range(2, maps.dim() - 1))))
        maps = maps.sum(-1)
    return [*lines, maps]


def _index(values: Tensor, axis: int = -1) -> Tensor:
    return torch.arange(values.shape[axis], device=values.device, dtype=values.dtype)
