"""The soft-argmax over maps of any number of axes, in next to no memory beyond logits and their gradient.

With p = softmax(logits) over the cells n of a map, and x_nd the index of cell n along axis d,
    mean_d             = sum_n p_n x_nd = sum_i m_d(i) i,    m_d(i) the sum of p over all cells of index i along d,
    d mean_d / d logit_n = p_n (x_nd - mean_d).
Neither needs the positions of all cells: the sums m_d are lines, and sum_d g_d (x_nd - mean_d), for a gradient g that
comes back, is a sum of lines over the axes. p itself is not kept: from the logits, and the largest of them and the sum
of exp(logit - largest) of each map, it is made again when the gradient is wanted, a block of maps at a time, and goes
straight into the gradient's memory. What a map gives does not depend on the maps beside it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .blocks import blocks, copied, working


def soft_argmax(maps: Tensor) -> Tensor:
    """Expected cells (B, K, D), fractional indices with x first, under the softmax of logits (B, K, *shape) of D axes.

    Logits of any strides and precision, which are never copied whole; the answer is float32, of float64 logits
    float64. Its gradient has none of its own. A traced or compiled network gets `direct_soft_argmax`.
    """
    return direct_soft_argmax(maps) if torch.compiler.is_compiling() else _SoftArgmax.apply(maps)


def direct_soft_argmax(maps: Tensor) -> Tensor:
    """The same in plain operations, whose softmax is kept: what exporters can write."""
    # Along contiguous memory a softmax over thousands of candidates sums to 1 ten times nearer, and is faster.
    weight = maps.to(working(maps)).flatten(2).contiguous().softmax(-1).unflatten(2, maps.shape[2:])
    return torch.stack([(line * _index(line)).sum(-1) for line in marginal_sums(weight)], -1)


def entropies(maps: Tensor) -> Tensor:
    """The entropy (B, K) of the softmax of each map of logits (B, K, *shape), in nats, without gradient."""
    maps = maps.detach()
    each = maps.new_empty(maps.shape[:2], dtype=working(maps))
    for images, parts in blocks(maps):
        for some in parts:
            each[images, some] = _entropy(maps[images, some])
    return each


def _entropy(maps: Tensor) -> Tensor:
    values = peaked(maps)[0].flatten(2)
    total = values.sum(-1)
    return total.log() - torch.special.xlogy(values, values).sum(-1) / total


def marginal_sums(maps: Tensor) -> list[Tensor]:
    """Sums of maps (B, K, *shape) over all axes but one: (B, K, cells along it) of each axis, x first."""
    lines = []
    while maps.dim() > 3:
        lines.append(maps.sum(list(range(2, maps.dim() - 1))))
        maps = maps.sum(-1)
    return [*lines, maps]


def peaked(maps: Tensor, highest: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """exp(maps - highest) (B, K, *shape) in new memory, and the highest value (B, K) of each map."""
    values = copied(maps)
    if highest is None:
        highest = values.flatten(2).amax(-1)
    return values.sub_(highest.view(*highest.shape, *(1,) * (maps.dim() - 2))).exp_(), highest


class _SoftArgmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        mean = maps.new_empty(*maps.shape[:2], maps.dim() - 2, dtype=working(maps))
        highest, total = mean.new_empty(maps.shape[:2]), mean.new_empty(maps.shape[:2])
        for images, parts in blocks(maps):
            for some in parts:
                mean[images, some], highest[images, some], total[images, some] = _read(maps[images, some])
        ctx.save_for_backward(maps, mean, highest, total)
        return mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> Tensor:
        maps, mean, highest, total = ctx.saved_tensors
        gradient = torch.empty_like(maps)
        incoming = incoming / total.unsqueeze(-1)
        for images, parts in blocks(maps):
            for some in parts:
                block = [part[images, some] for part in (maps, highest, mean, incoming, gradient)]
                _write_slope(*block)
        return gradient


def _read(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each map the mean (B, K, D), the highest logit and the sum of exp(logit - highest), (B, K)."""
    values, highest = peaked(maps)
    lines = marginal_sums(values)
    # each over its own sum, so that what sums are rounded by does not move the mean
    means = [(line * _index(line)).sum(-1) / line.sum(-1) for line in lines]
    return torch.stack(means, -1), highest, lines[0].sum(-1)


def _write_slope(maps: Tensor, highest: Tensor, mean: Tensor, incoming: Tensor, into: Tensor) -> None:
    """exp(logit_n - highest) sum_d g_d (x_nd - mean_d) of every cell n, for g and mean (B, K, D), written `into` maps
    (B, K, *shape)."""
    values, _ = peaked(maps, highest)
    slope, shape = incoming.new_zeros(()), values.shape[2:]
    lines = [incoming[..., d, None] * (_index(values, -1 - d) - mean[..., d, None]) for d in range(len(shape))]
    lines = [x.view(*x.shape[:2], *(1,) * (len(shape) - 1 - d), -1, *(1,) * d) for d, x in enumerate(lines)]
    for line in lines[:-1]:
        slope = slope + line
    if into.dtype == values.dtype:
        torch.add(slope, lines[-1], out=into).mul_(values)
    else:
        into.copy_(values.mul_(slope + lines[-1]))


def _index(values: Tensor, axis: int = -1) -> Tensor:
    return torch.arange(values.shape[axis], device=values.device, dtype=values.dtype)
