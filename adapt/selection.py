"""Which checkpoint a result uses: named rules, held while training goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

RULES: dict[str, str | None] = {
    "last": None,
    "source": "source/pck",  # held-out source labels
    "target_score": "target/score",  # no labels: agreement under known warps
    "oracle": "target/pck",  # target test labels: for comparison with published numbers alone
}


@dataclass
class Selection:
    """The best step so far under each rule. An equal value does not replace an earlier step."""

    steps: dict[str, int] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)

    def update(self, step: int, metrics: dict[str, float]) -> None:
        for rule, name in RULES.items():
            value = float(step) if name is None else metrics.get(name, math.nan)
            if not math.isnan(value) and value > self.values.get(rule, -math.inf):
                self.steps[rule], self.values[rule] = step, value

    def held(self, shipped: str) -> set[int]:
        """Steps whose weights are kept: the oracle's only where it was asked for."""
        return {step for rule, step in self.steps.items() if rule != "oracle" or shipped == "oracle"}
