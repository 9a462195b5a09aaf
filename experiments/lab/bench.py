"""A domain pair's data, as the laboratory looks at it: opened once, and each picture cut once."""

from __future__ import annotations

from pathlib import Path

from ...adapt.mixture import mixed
from ...adapt.scoring.evidence import Evidence
from ...models.saved import load_model
from ..runs.before_training import looks_of
from ..runs.device import choose_device
from ..runs.task import check_labels, prepare
from .plan import Plan

PICTURES = 128
"""Of each domain, that label-free scores look at."""


class Bench:
    """A pair's data, opened once for all its runs in a process."""

    def __init__(self, plan: Plan, pair: str) -> None:
        self.config = plan.config(pair)
        self.device = choose_device(self.config.device)
        self.task = prepare(self.config, ["bn_control"])
        check_labels(self.task.target[1])
        self.looks = looks_of(self.task, self.device, PICTURES)
        batches = self.task.batches(self.task.target[1])
        self.tested = [batches[i] for i in range(len(batches))]

    def evidence(self, weights: Path, given: Evidence | None = None, share: float = 1.0) -> Evidence:
        """Of a weights file, or of what is `share` of the way to it from the `given` network."""
        model = load_model(weights)[0].to(self.device)
        return Evidence(model if given is None or share == 1 else mixed(given.model, model, share), self.looks, given)
