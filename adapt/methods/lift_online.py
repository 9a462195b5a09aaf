"""Consistent lifting on a stream: the terms of `lift`, by what batch norm scales and shifts by alone.

The batches come in their order, each is answered by the pass that it is learned from, and one step of Adam on weight
and bias of the batch-norm layers follows,
    loss = the sum of the terms of lift.py
so that frames of a batch are mostly those of one recording, whose lengths of bones are one person's. The form of Tent
(Wang et al., ICLR 2021) for answers that have no entropy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...datasets.sample import Labeled, Unlabeled
from ..online import NormLearner
from ..strategy import Update
from .lift import Lift


class LiftOnline(NormLearner, Lift):
    """The network is evaluated and shipped as the last batch left it."""

    @dataclass(frozen=True)
    class Options(Lift.Options, NormLearner.Options):
        pass

    title = "Consistent lifting online"
    about = "lengths, symmetry and reprojection of lifted poses, by batch norm's weight and bias"

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        with self.statistics("target"):
            votes = self.model(target)
        self.answer(votes, target)
        yield self.terms(votes.mean(), target), ("norms",)
