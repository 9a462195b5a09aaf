"""Batch norm over the batch of all processes, so that several do what one does: on GPUs torch's SyncBatchNorm, which
runs nowhere else, and elsewhere the same by torch's operations of one process."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from .processes import gather, together


class _Normalised(torch.autograd.Function):
    """Values (B, C, ...) by the mean and variance of all processes' values, times `weight`, plus `bias`. One message
    forward and one backward, which together take most of a step's time where the network is small."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        weight: Tensor,
        bias: Tensor,
        epsilon: float,
    ) -> Tensor:
        ctx.save_for_backward(values, mean, variance, count, weight)
        ctx.epsilon = epsilon
        return _scaled(values, mean, variance, weight, bias, epsilon)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Each process holds a part of the loss: the gradient of the statistics is the sum of those of all."""
        (gradient,), (values, mean, variance, count, weight) = gradients, ctx.saved_tensors
        direct, own = gradient, [torch.zeros_like(weight), torch.zeros_like(weight)]
        if len(values):
            direct, *own = torch.ops.aten.native_batch_norm_backward(
                gradient, values, weight, mean, variance, None, None, False, ctx.epsilon, [True, True, True]
            )
        scale = weight * (variance + ctx.epsilon).rsqrt() / count
        totals = torch.stack(own)
        dist.all_reduce(totals)
        for_weight, for_bias = scale * totals
        through = _scaled(values, mean, variance, for_weight, for_bias, ctx.epsilon)
        return direct - through, None, None, None, *own, None


def _scaled(values: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """As in evaluation; torch's operation ends the process where there are no values."""
    return functional.batch_norm(values, mean, variance, weight, bias, False, 0.0, epsilon) if len(values) else values


class SharedNorm(_BatchNorm):
    """A layer of batch norm in training with several processes; alone or in evaluation the layer that it was."""

    process_group = None  # of SyncBatchNorm: all processes
    _check_non_zero_input_channels = nn.SyncBatchNorm._check_non_zero_input_channels
    act: nn.Module  # of timm's layer alone
    drop: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and together()):
            return super().forward(input)
        values = nn.SyncBatchNorm.forward(cast(Any, self), input) if input.is_cuda else self.normalised(input)
        return self.act(self.drop(values)) if _activates(self) else values

    def normalised(self, values: Tensor) -> Tensor:
        """(B, C, ...) by means and variances of all processes' values, of which one may have none."""
        own = values.float()
        mean, variance, count = _moments(own.detach())
        self.move(mean, variance * (count / (count - 1).clamp_min(1)))
        weight = torch.ones_like(mean) if self.weight is None else self.weight
        bias = torch.zeros_like(mean) if self.bias is None else self.bias
        return _Normalised.apply(own, mean, variance, count, weight, bias, self.eps).to(values.dtype)

    @torch.no_grad()
    def move(self, mean: Tensor, variance: Tensor) -> None:
        """The running statistics, by the momentum; without one they are the means over all batches."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def share_statistics(module: nn.Module) -> None:
    """Turn the layers of batch norm in `module`, where they are, into such ones; weights, names, hooks and copies stay.
    Layers whose batch is that of all processes already, as their part says by `sees_all`, and those that a user's
    network computes in its own way stay as they are."""
    apart = {layer for part in module.modules() if getattr(part, "sees_all", False) for layer in part.modules()}
    for layer in module.modules():
        plain = isinstance(layer, _BatchNorm) and (type(layer).forward is _BatchNorm.forward or _activates(layer))
        if plain and layer not in apart and not isinstance(layer, SharedNorm):
            layer.__class__ = _shared(cast(Any, type(layer)))


@cache
def _shared(kind: Any) -> Any:
    """A layer of that kind too, for whoever looks for one."""
    return type(f"Shared{kind.__name__}", (SharedNorm, kind), {})


def _activates(layer: nn.Module) -> bool:
    """Whether it is timm's layer of batch norm that ends in an activation."""
    return hasattr(layer, "act") and hasattr(layer, "drop")


def _moments(own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means and variances (C,) of all processes' values (B, C, ...), and how many there are of a channel."""
    axes = [0, *range(2, own.dim())]
    count = own.new_full((1,), own.numel() / own.shape[1])
    variance, mean = torch.var_mean(own, axes, correction=0) if len(own) else own.new_zeros(2, own.shape[1])
    every = gather(torch.cat([mean, variance, count])[None])
    means, variances, counts = every.split([len(mean), len(mean), 1], 1)
    total = counts.sum(0)
    mean = (counts * means).sum(0) / total
    return mean, (counts * (variances + (means - mean).square())).sum(0) / total, total
