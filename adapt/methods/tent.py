"""Tent: predictions become surer, by what batch norm scales and shifts by alone.

Wang et al., ICLR 2021; DequanWang/tent @ e9e926a, tent.py. Of a batch, normalised by its own statistics, the loss is
the mean entropy of the keypoints' densities p over the grid's cells,

    H = -sum_cells p log p,        mean over images and keypoints, summed over the grid's marginals

and one step of Adam (1e-3) on weight and bias of the batch-norm layers follows the answers to that batch.

What differs: the published softmax runs over dimension 1, which of heatmaps (B, K, H, W) are the *joints*; what it
makes sure is which joint a cell belongs to. `over=joints` is that, for comparison. Its list of parameters holds layers
of two dimensions alone; ours holds all. It deletes the running statistics; ours follow the batches, so that the model
can be shipped. A head with a single candidate for each keypoint (coordinates) has no doubt to lower: there the batches'
statistics are all that adapts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ...datasets.options import option
from ...datasets.sample import Labeled, Unlabeled
from ...models.output import Votes
from ..online import NormLearner
from ..strategy import Update


class Tent(NormLearner):
    """The network is evaluated and shipped as the last batch left it."""

    @dataclass(frozen=True)
    class Options(NormLearner.Options):
        over: str = option(
            "cells", "of a density; joints: the published softmax, for comparison", choices=("cells", "joints")
        )

    title = "Tent"
    about = "entropy over cells made smaller, by batch norm's weight and bias"
    cost = 0.7

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        with self.statistics("target"):
            votes = self.model(target)
        self.answer(votes, target)
        if self.options.over == "joints":
            yield {"entropy": entropy(votes.logits, -1).mean()}, ("norms",)
        else:
            yield {"entropy": doubt(votes)}, ("norms",)


def doubt(votes: Votes) -> Tensor:
    """The mean entropy of votes over the cells, one density for each keypoint, summed over the grid's marginals; 0 of a
    head with a single candidate, whose place is no doubt."""
    if votes.logits.shape[1] == 1:
        return 0 * votes.mean().sum()
    return torch.stack([entropy(density.flatten(2), -1).mean() for density in votes.log_densities()]).sum()


def entropy(logits: Tensor, dim: int) -> Tensor:
    """Of the softmax over a dimension, which the answer lacks."""
    log_weight = logits.log_softmax(dim)
    return -(log_weight.exp() * log_weight).sum(dim)
