"""Batch norm on a stream: each batch is normalised by its own statistics, and nothing is learned.

Nado et al., 2020, and Schneider et al., NeurIPS 2020; DequanWang/tent @ e9e926a, norm.py. A layer answers a batch x

    (x - mean(x)) / sqrt(var(x) + eps) * weight + bias

with mean and var over the samples and places of the batch, and its running statistics follow,

    running <- (1 - momentum) running + momentum batch,        var with n - 1

from those of the given model or, with `reset`, from 0 and 1. They are what the shipped model normalises by;
`momentum=0` keeps the given model's. Where a network has no batch norm, nothing changes. The policy `batch_norm` does
not apply: moving the statistics, frozen ones too, is the method; those of parts that a system holds
(`PoseModel.held`) stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ...datasets.options import option
from ...datasets.sample import Labeled, Unlabeled
from ..batch_norm import norms_of
from ..online import Online
from ..strategy import Update


class BatchNormOnline(Online):
    """Source-free, and without an optimiser."""

    @dataclass(frozen=True)
    class Options(Online.Options):
        momentum: float = option(0.1, "share of each batch in the running statistics", low=0, high=1)
        reset: bool = option(False, "the running statistics begin at 0 and 1, not at the given model's")

    title = "Batch norm online"
    about = "batch norm by each batch's own statistics, which the running ones follow"
    cost = 0.3
    learns = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model.frozen = frozenset()
        self.model.requires_grad_(False)
        for norm in norms_of(self.model):
            norm.momentum = self.options.momentum
            if self.options.reset:
                norm.reset_running_stats()

    def optimizers(self) -> dict[str, Any]:
        return {}

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        with torch.no_grad():
            self.answer(self.model(target), target)
        yield from ()
