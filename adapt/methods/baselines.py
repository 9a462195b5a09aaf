"""What every adaptation is measured against, under the same number of updates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ...datasets.sample import Labeled, Unlabeled
from ..strategy import Strategy, Update


class SourceOnly(Strategy):
    """Supervised training on the source; the target is never seen."""

    title = "Source only"
    about = "trained on the labelled source alone"
    cost = 1.0
    kind = "reference"
    needs = frozenset({"source"})
    adapts = False

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        yield self.supervised(source), ("model",)


class Oracle(Strategy):
    """Supervised training on the target's labels: the upper end of the gap, never a result."""

    title = "Oracle"
    about = "trained with target labels under the same budget; the upper reference"
    cost = 1.0
    kind = "reference"
    needs = frozenset({"target"})
    labelled_target = True
    adapts = False

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        assert isinstance(target, Labeled)
        yield self.supervised(target), ("model",)


class Given(Strategy):
    """The model as it was given: what strategies without a source are measured against."""

    title = "Given model"
    about = "the model as it was given, not trained further"
    kind = "reference"
    needs = frozenset()
    adapts = False

    def optimizers(self) -> dict[str, Any]:
        return {}

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        yield from ()


class BatchNormControl(Strategy):
    """Source training as RegDA continues it, target images only passing forward through batch norm.

    What this gains is owed to batch norm's statistics, not to an adaptation loss.
    """

    title = "Batch norm control"
    about = "the same continued training with target images passing through batch norm, no adaptation loss"
    cost = 1.3
    kind = "reference"
    adapts = False

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        with self.statistics("source"):
            losses = self.supervised(source)
        yield losses, ("model",)
        with torch.no_grad(), self.statistics("target"):
            self.model(target)
