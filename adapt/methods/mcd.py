"""MCD: Maximum Classifier Discrepancy for Unsupervised Domain Adaptation (Saito et al., CVPR 2018).

thuml/Transfer-Learning-Library @ c4aa59e, tllib/alignment/mcd.py and examples/domain_adaptation/image_classification/
mcd.py. Two heads g and h disagree where the target lies away from the source, and the features leave them no room to:
    A, features and heads:          supervised loss of g + that of h + balance * (b(g) + b(h)) on the target,
    B, heads alone:                 the same - trade_off * d(g, h) on the target,
    C, features alone, `repeats` times:        trade_off * lambda(i) * d(g, h) on the target.

For keypoints g and h are densities over the cells of the grid, and
    d = mean over keypoints of the total variation, 1/2 sum over cells of |g - h|, from 0 to 1
on every head and grid (the reference's mean over the classes would be as small as cells are many). A heatmap's own loss
is small where it is learned, and the head that is shipped is one of the two that B draws away from its answer on the
target: the weight is 0.1, the reference's being 1. The second head is new while the first is pretrained; at first they
differ because it knows nothing, so that C opens slowly, lambda(i) as RegDA's layer, 0 at the first iteration (the
reference: 1 throughout). b = -mean over cells of log of their mean probability over all keypoints and samples, which
asks that all cells be used alike, is what the reference adds with weight 0.01 for classes: `balance`, 0 by default,
for keypoints do not lie everywhere alike.
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
from ..alignment import balance, disagreement
from ..gradients import WarmStartGradient, fixed
from ..processes import joined
from ..strategy import Strategy, Update
from .disparity import cells


class MCD(Strategy):
    """The main head is evaluated and shipped; `second` exists in training only."""

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        trade_off: float = option(0.1, "weight of the heads' disagreement on the target", low=0)
        repeats: int = option(4, "updates of the features for one of the heads", low=1, high=100)
        warmup: int = option(1000, "iterations over which the features begin to follow", low=1)
        highest: float = option(0.1, "share of the weight that they come to", low=0)
        balance: float = option(0.0, "weight of that all cells be used alike (the reference's: 0.01)", low=0)
        head_layers: int = option(1, "layers of the second head", low=1)

    title = "MCD"
    about = "two heads that disagree on the target, and features that let them agree"
    cost = 5.7
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
        losses = self.learned(self.seen(source, "source"), source)
        if self.options.balance > 0:
            losses = losses | self.balanced(self.heads(self.seen(target, "target"), target, "target"))
        yield losses, ("features", "heads")

        # B: the heads draw apart on the target, and do not forget the source
        with torch.no_grad():
            here, there = self.seen(source, "source"), self.seen(target, "target")
        losses, heads = self.learned(here, source), self.heads(there, target, "target")
        if self.options.balance > 0:
            losses = losses | self.balanced(heads)
        yield losses | {"apart": -self.options.trade_off * apart(*heads)}, ("heads",)

        # C: the features draw them together
        for _ in range(self.options.repeats):
            features = self.gradient(self.seen(target, "target"))
            with fixed(self.model.head, self.second):
                heads = self.heads(features, target, "target")
            yield {"together": self.options.trade_off * apart(*heads)}, ("features",)

    def after_step(self) -> None:
        self.gradient.advance()

    def seen(self, sample: Unlabeled, domain: str) -> Tensor:
        """The features of a batch."""
        with self.statistics(domain):
            return self.model.features(sample)

    def heads(self, features: Tensor, sample: Unlabeled, domain: str) -> tuple[Votes, Votes]:
        """What both heads make of features."""
        with self.statistics(domain, self.model, self.second):
            return self.model.votes(features, sample), self.model.votes(features, sample, self.second)

    def learned(self, features: Tensor, source: Labeled) -> dict[str, Tensor]:
        """The supervised losses of both heads."""
        main, second = (self.model.loss(votes, source) for votes in self.heads(features, source, "source"))
        return main | {f"second {name}": loss for name, loss in second.items()}

    def balanced(self, heads: tuple[Votes, Votes]) -> dict[str, Tensor]:
        """How unlike the cells are used, by all keypoints of all processes."""
        rows = [balance(joined(logits)) for votes in heads for logits in cells(votes)]
        return {"balance": self.options.balance * torch.stack(rows).sum()}


def apart(first: Votes, second: Votes) -> Tensor:
    """How far two heads' densities are apart, summed over the grid's marginals."""
    pairs = zip(densities(first), densities(second), strict=True)
    return torch.stack([disagreement(one, other) for one, other in pairs]).sum()


def densities(votes: Votes) -> list[Tensor]:
    """The densities (B, K, cells) on each of the grid's marginals."""
    return [density.flatten(2).exp() for density in votes.log_densities()]
