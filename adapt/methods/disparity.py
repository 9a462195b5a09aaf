"""DD: disparity discrepancy (Bridging Theory and Algorithm for Domain Adaptation, Zhang et al., ICML 2019).

thuml/Transfer-Learning-Library @ c4aa59e, tllib/alignment/mdd.py. An adversarial head a stays with the main head's
answer y on the source and leaves it on the target; behind a gradient reversal the features learn to keep it from that.
The form for regression (`form=coordinates`), y without gradient:
    loss = margin * mean over the source of |a - y| - mean over the target of |a - y|.
The original, for classes (`form=cells`), a cell of the grid being a class and y the main head's strongest one:
    loss = margin * mean over the source of -log a_y - mean over the target of log(1 - a_y).
It is weak for maps: at the peak of a Gaussian of 2 cells a_y is 0.04, so that log(1 - a_y) and its gradient are nearly
nothing. RegDA is what became of it for them. The reversal opens as DANN's, to `highest`.

Coordinates are the votes' expected positions as shares of the grid's extent along each axis, so that a margin and a
weight mean the same on every head. Against the reference: a depth that is voted beside x and y has cells of its own in
the second form, and both domains pass one after the other, each by its own batch statistics.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from ...datasets.constants import constants
from ...datasets.options import option
from ...datasets.sample import Labeled, Unlabeled
from ...models.output import Votes
from ..alignment import class_disparities, regression_disparity
from ..gradients import WarmStartGradient
from ..strategy import Strategy, Update


class DisparityDiscrepancy(Strategy):
    """The main head is evaluated and shipped; `adversary` exists in training only."""

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        form: str = option("coordinates", "what the heads are compared by", choices=("coordinates", "cells"))
        margin: float = option(
            1.0, "weight of the adversary's agreement with the main head on the source (of cells the paper's: 4)", low=0
        )
        trade_off: float = option(1.0, "weight of the disparity", low=0)
        head_layers: int = option(1, "layers of the adversary", low=1)
        warmup: int = option(1000, "iterations over which the reversal opens", low=1)
        highest: float = option(0.1, "how far it opens", low=0)

    title = "DD"
    about = "disparity discrepancy of an adversarial regressor's coordinates"
    cost = 1.8
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
        disparity = self.disparity(near, far)
        yield losses | {"disparity": self.options.trade_off * disparity}, ("model", "adversary")

    def passed(self, sample: Any, labelled: bool) -> tuple[dict[str, Tensor], tuple[Votes, Votes]]:
        """The supervised losses of a labelled batch, and both heads' votes."""
        features = self.model.features(sample)
        votes = self.model.votes(features, sample)
        adversary = self.model.votes(self.gradient(features), sample, self.adversary)
        return self.model.loss(votes, sample) if labelled else {}, (votes, adversary)

    def disparity(self, source: tuple[Votes, Votes], target: tuple[Votes, Votes]) -> Tensor:
        """What the adversary lowers, of (main head's votes, its own) in each domain."""
        if self.options.form == "coordinates":
            near, far = ((coordinates(main), coordinates(adversary)) for main, adversary in (source, target))
            return regression_disparity(near, far, self.options.margin)
        grids = zip(*(cells(votes) for heads in (source, target) for votes in heads), strict=True)
        return torch.stack([class_disparities(g[:2], g[2:], self.options.margin).mean() for g in grids]).sum()

    def after_step(self) -> None:
        self.gradient.advance()


def coordinates(votes: Votes) -> Tensor:
    """Expected positions (B, K, D) as shares of the grid's extent along each axis."""
    sides = [
        count * step
        for grid in votes.grid.marginals()
        for count, step in zip(grid.shape[::-1], grid.stride, strict=True)
    ]
    return votes.mean() / constants(sides, votes.logits, torch.float32)


def cells(votes: Votes) -> list[Tensor]:
    """Logits of the cells of each of the grid's marginals: (B * K, cells)."""
    return [logs.flatten(2).flatten(0, 1) for logs in votes.log_densities()]
