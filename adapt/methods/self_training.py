"""Self-training: the given model labels the whole target once, and learns from what it is surest of.

What DeepLabCut does to adapt its SuperAnimal models to a video (Ye et al., Nature Communications 2024): one round of
fixed pseudo labels, those above a likelihood, batch norm frozen, a small rate.
    labels = model(target),   kept where confidence >= quantile(confidences of the whole target, masked)
    L = L_model(student(augmented target), kept labels)

Against it: the threshold is a quantile. DeepLabCut's is a likelihood (0.1), the maximum of a sigmoid map; confidence
here is one minus the votes' entropy, whose values depend on the head and its number of candidates, so that no one
number means the same everywhere. A head with a single candidate is equally sure of all, and keeps all. Rates of the
run are multiplied by `slower`; statistics of batch norm stay those of the given model whatever the run says.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ...datasets.options import option
from ...datasets.sample import Labeled, Unlabeled
from ...models.output import Poses
from ...models.pose_model import PoseModel
from ..bank import Bank
from ..consistency import labelled
from ..strategy import Optimization, Strategy, Target, Update


class FixedLabels(Strategy):
    """A given model learns, by its own loss, from poses of the whole target that are made once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bank = Bank()

    def round_length(self) -> int:
        return sys.maxsize  # one round, before the first update

    def begin_round(self, target: Target) -> None:
        poses = self.labels(target)
        self.bank.keep(replace(poses, confidence=self.kept_of(poses.confidence).float()), len(target.dataset))

    def labels(self, target: Target) -> Poses:
        """The poses of all target samples, in file coordinates."""
        return target.predict()

    @abstractmethod
    def kept_of(self, confidence: Tensor) -> Tensor:
        """Which keypoints (P, K) of all poses are learnt from, by their confidence."""

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        poses = self.bank.of(target, self.skeleton.flip)
        with self.statistics("target"):
            votes = self.model(target)
        keep = (poses.confidence > 0) & votes.grid.contains(poses.points)
        yield self.model.loss(votes, labelled(target, poses, keep, self.model.single)), ("model",)


class SelfTraining(FixedLabels):
    """The labels are the given model's own."""

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        masked: float = option(0.2, "share of the least confident pseudo labels that is left out", low=0, high=1)
        slower: float = option(0.1, "factor of the run's rates", low=0)

    title = "Self-training"
    about = "one round of the given model's own confident labels, batch norm frozen: DeepLabCut's video adaptation"
    cost = 1.0
    kind = "source_free"
    needs = frozenset({"target"})

    def __init__(
        self, model: PoseModel, skeleton: Any, optimization: Optimization, batch_norm: str = "", options: Any = None
    ) -> None:
        super().__init__(model, skeleton, optimization, "frozen", options)
        self.optimization = replace(optimization, rate=optimization.rate * self.options.slower)

    def kept_of(self, confidence: Tensor) -> Tensor:
        if not confidence.numel():
            return confidence > 0
        ordered = confidence.flatten().sort().values  # quantile() of torch takes 2^24 values at most
        return confidence >= ordered[min(int(self.options.masked * len(ordered)), len(ordered) - 1)]
