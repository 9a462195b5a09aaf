"""Batch norm over the batch of all processes, so that several do what one does: on GPUs torch's SyncBatchNorm, which
runs nowhere else, and elsewhere the same in plain operations."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .processes import together


class _Summed(torch.autograd.Function):
    """The sum over the processes; each one's gradient is the sum of those of all, as each holds a part of the loss."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        return _added(values)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        return _added(gradients[0])


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
        axes, shape = [0, *range(2, values.dim())], [1, -1, *[1] * (values.dim() - 2)]
        own = values.float()
        size = own.new_tensor([own.numel() / own.shape[1]])
        *_, count = totals = _Summed.apply(torch.cat([own.sum(axes), size]))
        mean = totals[:-1] / count
        away = own - mean.view(shape)
        variance = _Summed.apply(away.square().sum(axes)) / count
        self.move(mean.detach(), variance.detach() * (count / (count - 1).clamp_min(1)).detach())
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            return torch.addcmul(self.bias.view(shape), away, (scale * self.weight).view(shape)).to(values.dtype)
        return (away * scale.view(shape)).to(values.dtype)

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


def _added(values: Tensor) -> Tensor:
    values = values.clone()
    dist.all_reduce(values)
    return values
