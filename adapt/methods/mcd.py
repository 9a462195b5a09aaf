"""MCD: two heads that disagree where the target lies away from the source, and features that leave them no room to
(Saito et al., CVPR 2018).

thuml/Transfer-Learning-Library @ c4aa59e, tllib/alignment/mcd.py and its example: A, both heads and the features learn
from the source; B, the heads alone go on so and draw apart on the target; C, the features alone draw them together,
four times. For keypoints the probabilities are the heads' densities. What the reference adds in A and B, that classes
be equally frequent, has no counterpart: keypoints do not lie everywhere alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from ...datasets.options import option
from ...datasets.sample import Labeled, Unlabeled
from ...models.output import Votes
from ..alignment import disagreement
from ..gradients import WarmStartGradient
from ..strategy import Strategy, Update


class MCD(Strategy):
    """The main head is evaluated and shipped; `second` exists in training only."""

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        trade_off: float = option(1.0, "weight of the heads' disagreement on the target", low=0)
        repeats: int = option(1, "updates of the features for one of the heads", low=1, high=100)
        warmup: int = option(1000, "iterations over which the features begin to be drawn", low=1)
        highest: float = option(1.0, "how far", low=0)
        balance: float = option(0.0, "ref", low=0)
        head_layers: int = option(1, "layers of the second head", low=1)

    title = "MCD"
    about = "two heads that disagree on the target, and features that let them agree"
    kind = "aligned"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.second = self.model.new_head(self.options.head_layers)
        self.gradient = WarmStartGradient(hi=self.options.highest, max_iters=self.options.warmup)

    def optimizers(self) -> dict[str, tuple[torch.optim.Optimizer, LRScheduler]]:
        groups, build = self.model.groups(), self.optimization.optimizer
        heads = {"head": groups.pop("head"), "second": list(self.second.parameters())}
        return {"features": build(groups), "heads": build(heads)}

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        # A: both heads and the features learn from the source
        with self.statistics("source", self.model, self.second):
            features = self.model.features(source)
            losses = self.both(features, source)
        yield losses, ("features", "heads")

        # B: the heads draw apart on the target, and do not forget the source
        with torch.no_grad(), self.statistics("source"):
            features = self.model.features(source)
        with torch.no_grad(), self.statistics("target"):
            others = self.model.features(target)
        apart = self.options.trade_off * self.apart(others, target)
        yield self.both(features, source) | {"apart": -apart}, ("heads",)

        # C: the features draw them together
        for _ in range(self.options.repeats):
            with self.statistics("target"):
                others = self.model.features(target)
            yield {"together": self.options.trade_off * self.apart(self.gradient(others), target)}, ("features",)

    def after_step(self) -> None:
        self.gradient.advance()

    def both(self, features: Tensor, source: Labeled) -> dict[str, Tensor]:
        """The supervised losses of both heads."""
        main = self.model.loss(self.model.votes(features, source), source)
        second = self.model.loss(self.model.votes(self.gradient(features), source, self.second), source)
        return main | {f"second {name}": loss for name, loss in second.items()}

    def apart(self, features: Tensor, target: Unlabeled) -> Tensor:
        """How far the heads' densities are apart, summed over the grid's marginals."""
        heads = (self.model.votes(features, target), self.model.votes(features, target, self.second))
        first, second = (densities(votes) for votes in heads)
        return torch.stack([disagreement(a, b) for a, b in zip(first, second, strict=True)]).sum()


def densities(votes: Votes) -> list[Tensor]:
    """The densities (B, K, cells) on each of the grid's marginals."""
    return [density.flatten(2).exp() for density in votes.log_densities()]
