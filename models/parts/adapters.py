"""Adapters: of a frozen network's layers only a low-rank change is learned (Hu et al., LoRA, ICLR 2022).

The weight of a linear or convolutional layer, seen as a matrix (out, in * kernel), becomes
    W + up @ down,    up (out, rank) = 0 at first, down (rank, in * kernel) random,
as a parametrization of torch: every forward of the layer, its copies and its state dict know of it. Against the paper:
no scale (alpha = rank), no dropout, and norms learn too. The library peft wraps models of transformers under keys and
files of its own; these are parts of the state as all others are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)


class LowRank(nn.Module):
    """A weight (out, in, ...) and what is learned on top of it."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.up = nn.Parameter(weight.new_zeros(rows, min(rank, rows, columns)))
        self.down = nn.Parameter(torch.empty_like(weight.flatten(1)[: self.up.shape[1]]))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)


def add_adapters(network: nn.Module, rank: int) -> None:
    """Freeze `network` but for its norms, and let adapters of `rank` on its layers learn."""
    from torchvision.ops import DeformConv2d  # a second to import, and few runs have adapters

    layers: list[Any] = [module for module in network.modules() if isinstance(module, (*LAYERS, DeformConv2d))]
    network.requires_grad_(False)
    for module in network.modules():
        if isinstance(module, NORMS):
            module.requires_grad_(True)
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank))


def merge_adapters(network: nn.Module) -> None:
    """Put what adapters learned into the weights, all of which learn from then on."""
    for layer in list(adapted(network)):
        weight = layer.weight.detach()
        layer.__class__ = type(layer).__bases__[0]  # torch's own removal breaks the network that this is a copy of
        del layer.parametrizations
        layer.weight = nn.Parameter(weight)
    network.requires_grad_(True)


def adapted(network: nn.Module) -> Iterator[Any]:
    """The layers that have an adapter."""
    return (module for module in network.modules() if parametrize.is_parametrized(module, "weight"))
