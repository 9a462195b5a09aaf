"""A domain pair's data, as the laboratory looks at it: opened once, and each picture cut once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from ...adapt.mixture import mixed
from ...adapt.scoring.evidence import Evidence, Looks
from ...datasets.sample import Labeled, PoseDataset
from ...models.saved import load_model
from ..runs.before_training import looks_of
from ..runs.device import choose_device
from ..runs.task import check_labels, prepare
from .plan import Plan

PICTURES = 128
"""Of each domain, that label-free scores look at."""


class KeptLooks(Looks):
    """Of which each picture is cut once, for all networks that are looked at."""

    @cached_property
    def kept(self) -> dict[tuple[PoseDataset, int], list[Labeled]]:
        return {}

    def batches(self, dataset: PoseDataset, warp: int = 0) -> Sequence[Labeled]:
        key = dataset, warp
        if key not in self.kept:
            self.kept[key] = list(super().batches(dataset, warp))
        return self.kept[key]


class Bench:
    """A pair's data, opened once for all its runs in a process."""

    def __init__(self, plan: Plan, pair: str) -> None:
        self.config = plan.config(pair)
        self.device = choose_device(self.config.device)
        self.task = prepare(self.config, ["bn_control"])
        check_labels(self.task.target[1])
        self.looks = looks_of(self.task, self.device, PICTURES, KeptLooks)
        batches = self.task.batches(self.task.target[1])
        self.tested = [batches[i] for i in range(len(batches))]

    def evidence(self, weights: Path, given: Evidence | None = None, share: float = 1.0) -> Evidence:
        """Of a weights file, or of what is `share` of the way to it from the `given` network."""
        model = load_model(weights)[0].to(self.device)
        return Evidence(model if given is None or share == 1 else mixed(given.model, model, share), self.looks, given)
