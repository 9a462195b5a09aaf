"""What adaptation on a stream shares: strategies that answer each batch by the very pass that they learn from, and only
what batch norm scales and shifts by is learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import LRScheduler

from ..datasets.options import option
from ..datasets.sample import Unlabeled
from ..models.output import Poses, Votes
from .strategy import Optimization, Strategy


class Online(Strategy):
    """Source-free, for one pass over the target in its order; `poses` are the answers to the last batch, made before
    the update. In a comparison it trains on the batches of the budget as others do, and the model that this leaves is
    evaluated with its running statistics."""

    kind = "online"
    needs = frozenset({"target"})
    poses: Poses

    @torch.no_grad()
    def answer(self, votes: Votes, target: Unlabeled) -> None:
        """Keep the poses of a batch."""
        self.poses = self.model.decode(votes, target)


class NormLearner(Online):
    """Learns weight and bias of batch-norm layers alone, of one dimension as of two, by Adam; everything else stays."""

    @dataclass(frozen=True)
    class Options(Online.Options):
        rate: float = option(1e-3, "the learning rate of Adam", low=0)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        layers = [norm for module in self.learning() for norm in norms(module) if norm.affine]
        layers = [norm for norm in layers if norm.weight.requires_grad]  # not those that a system holds
        self.model.requires_grad_(False)
        if not layers:
            raise ValueError(
                f"{type(self).__name__} learns what batch norm scales and shifts by, and {type(self.model).__name__} "
                "has no such layer: choose a strategy that learns other weights"
            )
        for norm in layers:
            norm.requires_grad_(True)

    def learning(self) -> list[nn.Module]:
        """The parts of the model whose layers learn."""
        return [self.model]

    def optimizers(self) -> dict[str, tuple[torch.optim.Optimizer, LRScheduler]]:
        adam = Optimization("adam", self.options.rate, {}, weight_decay=0.0, gamma=0.0)
        return {"norms": adam.optimizer({"norms": [p for p in self.model.parameters() if p.requires_grad]})}


def norms(module: nn.Module) -> Iterator[_BatchNorm]:
    """The batch-norm layers of a network."""
    return (layer for layer in module.modules() if isinstance(layer, _BatchNorm))
