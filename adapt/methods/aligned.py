"""What the strategies share that draw the features of two domains together in one update."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ...datasets.options import option
from ...datasets.sample import Labeled, Unlabeled
from ...models.output import Votes
from ...models.pose_model import PoseModel
from ..alignment import pooled
from ..processes import joined
from ..strategy import Strategy, Update


class Domain(NamedTuple):
    """What the model makes of a batch of one domain."""

    features: Tensor
    """(B, C, ...)"""
    votes: Votes

    def vectors(self) -> Tensor:
        """Features averaged over their places, of the batches of all processes: (n, C)."""
        return joined(pooled(self.features))


class Aligned(Strategy):
    """Supervised training on the source, beside losses that are low where the domains look alike."""

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        trade_off: float = option(1.0, "weight of the distance between the domains", low=0)

    kind = "aligned"
    updated: ClassVar[tuple[str, ...]] = ("model",)

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        with self.statistics("source"):
            features = self.model.features(source)
            here = Domain(features.float(), self.model.votes(features, source))
        with self.statistics("target"):
            features = self.model.features(target)
            there = Domain(features.float(), self.model.votes(features, target))
        losses = self.model.loss(here.votes, source)
        with torch.autocast(features.device.type, enabled=False):  # distances of a batch are small differences
            losses = losses | self.apart(here, there)
        yield losses, self.updated

    @abstractmethod
    def apart(self, source: Domain, target: Domain) -> dict[str, Tensor]:
        """Weighted losses of how far the domains are apart."""


@torch.no_grad()
def blank(model: PoseModel) -> Domain:
    """What the model makes of an empty sample, in evaluation mode: its shapes."""
    training, device = model.training, next(model.parameters()).device
    sample = model.eval().empty().to(device)
    features = model.features(sample)
    domain = Domain(features, model.votes(features, sample))
    model.train(training)
    return domain
