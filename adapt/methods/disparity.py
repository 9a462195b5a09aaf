"""DD: disparity discrepancy, the form for regression (Zhang et al., ICML 2019; thuml/Transfer-Learning-Library
@ c4aa59e, tllib/alignment/mdd.py RegressionMarginDisparityDiscrepancy with L1).

An adversarial head stays with the main one's coordinates on the source and leaves them on the target; behind a gradient
reversal the features learn to keep it from that. Coordinates are the votes' expected positions, as shares of the
input's sides and of its longer side for depth. RegDA is what becomes of it for heatmaps.
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
from ..alignment import regression_disparity
from ..gradients import WarmStartGradient
from ..strategy import Strategy, Update


class DisparityDiscrepancy(Strategy):
    """The main head is evaluated and shipped; `adversary` exists in training only."""

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        margin: float = option(1.0, "weight of the adversary's agreement with the main head on the source", low=0)
        trade_off: float = option(1.0, "weight of the disparity", low=0)
        head_layers: int = option(1, "layers of the adversary", low=1)
        warmup: int = option(1000, "iterations over which the reversal opens", low=1)
        highest: float = option(0.1, "how far it opens", low=0)

    title = "DD"
    about = "disparity discrepancy of an adversarial regressor's coordinates"
    kind = "aligned"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.adversary = self.model.new_head(self.options.head_layers)
        self.gradient = WarmStartGradient(hi=self.options.highest, max_iters=self.options.warmup, reverse=True)

    def optimizers(self) -> dict[str, tuple[torch.optim.Optimizer, LRScheduler]]:
        build = self.optimization.optimizer
        return {
            "model": build(self.model.groups()),
            "adversary": build({"adversary": list(self.adversary.parameters())}),
        }

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        with self.statistics("source", self.model, self.adversary):
            losses, near = self.passed(source, labelled=True)
        with self.statistics("target", self.model, self.adversary):
            _, far = self.passed(target, labelled=False)
        disparity = regression_disparity(near, far, self.options.margin)
        yield losses | {"disparity": self.options.trade_off * disparity}, ("model", "adversary")

    def passed(self, sample: Any, labelled: bool) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
        """The supervised losses of a labelled batch, and both heads' coordinates."""
        features = self.model.features(sample)
        votes = self.model.votes(features, sample)
        adversary = self.model.votes(self.gradient(features), sample, self.adversary)
        losses = self.model.loss(votes, sample) if labelled else {}
        return losses, (coordinates(votes), coordinates(adversary))

    def after_step(self) -> None:
        self.gradient.advance()


def coordinates(votes: Votes) -> Tensor:
    """Expected positions (B, K, D) as shares of the grid's extent along each axis."""
    sides = [
        count * step
        for grid in votes.grid.marginals()
        for count, step in zip(grid.shape[::-1], grid.stride, strict=True)
    ]
    return votes.mean() / votes.logits.new_tensor(sides, dtype=torch.float32)
