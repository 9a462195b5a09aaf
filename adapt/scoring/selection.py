"""The number that a result is judged by, and which checkpoint a result uses: named rules, held while training goes on.

Nothing here imports torch: what only reads files, as the tracking does, knows the number's name and unit too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from .evaluation import Predictions

RULES: dict[str, str | None] = {
    "last": None,
    "source": "source/{headline}",  # held-out source labels
    "target_score": "target/score",  # no labels: agreement under known warps
    "oracle": "target/{headline}",  # target test labels: for comparison with published numbers alone
}


@dataclass(frozen=True)
class Headline:
    """What a keypoint is worth, how its mean is called, printed and compared: PCK of pixels, the error of points in
    millimetres; of several people in a picture AP, which no keypoint has alone. Everything that differs between these
    is here, and the report's words in report/words.py."""

    key: str
    """Its name in the scores of a run: pck, mm, ap."""
    sign: int
    """1 where higher is better, -1 where lower is. A gain is `sign` times a difference: positive is better."""
    noun: str
    unit: str
    points: str
    """The unit of differences."""
    scale: float
    """What is printed for 1."""
    decimals: int
    """Of the bare number in a terminal's table."""
    highest: float
    """Where the curve over thresholds and the area under it end."""
    threshold: float | None = None
    """PCK's own, as a share of the crop's side; of AP that by which joints are judged beside it."""

    @staticmethod
    def of(dims: int, threshold: float, several: bool = False) -> Headline:
        """For points of `dims` coordinates: PCK at `threshold` of the crop's side, AP where a system finds `several`
        people; of 3D points their error in mm."""
        return MM if dims == 3 else replace(AP if several else PCK, threshold=threshold)

    @staticmethod
    def named(name: str) -> Headline:
        """By the name in results.json, pck@0.1, mm or ap. Raises ValueError for another one."""
        parts = re.fullmatch(r"pck(?:@([\d.]+))?|mm|ap", name)
        if parts is None:
            raise ValueError(f"the metric {name!r} is not known: results have pck@THRESHOLD, mm or ap")
        return {"mm": MM, "ap": AP}.get(name) or replace(PCK, threshold=float(parts[1]) if parts[1] else None)

    @staticmethod
    def among(names: Container[str], prefix: str = "", threshold: float | None = None) -> Headline | None:
        """By the scores that a run has, `prefix` before their names; None where none of them is a headline."""
        headline = next((one for one in (MM, AP, PCK) if prefix + one.key in names), None)
        return headline if headline in (MM, None) else replace(headline, threshold=threshold)

    @property
    def by_joint(self) -> Headline:
        """What single joints are judged by: PCK where people are by AP."""
        return replace(PCK, threshold=self.threshold) if self.key == "ap" else self

    @property
    def name(self) -> str:
        """As results.json says it: pck@0.1, mm, ap."""
        return self.key if self.threshold is None or self.key == "ap" else f"{self.key}@{self.threshold:g}"

    @property
    def title(self) -> str:
        """As a person reads it: PCK@0.1, mean error, OKS-AP."""
        return self.noun if self.threshold is None or self.key == "ap" else f"{self.noun}@{self.threshold:g}"

    @property
    def heading(self) -> str:
        """The title with the unit of bare numbers, where they have one: PCK@0.1, mean error in mm."""
        return self.title if self.scale != 1 else f"{self.title} in {self.unit}"

    def values(self, predictions: Predictions) -> np.ndarray:
        """(N, K) float64, of which the headline is the mean: 1 for a hit and 0 for a miss, or errors in mm. Raises
        ValueError for AP, which is no mean."""
        if self.key == "ap":
            raise ValueError("AP is no mean over keypoints: people_ap.py has it")
        errors = predictions.errors()
        if self.key == "mm":
            return errors.double().numpy()
        assert self.threshold is not None
        return (errors <= self.threshold).double().numpy()

    def bare(self, value: float, more: int = 0, sign: bool = False) -> str:
        """0.478 or 23.41, for a table under the `heading`; with `more` decimals than `decimals`."""
        return f"{value:{'+' if sign else ''}.{self.decimals + more}f}"

    def show(self, value: float) -> str:
        """47.8 % or 23.4 mm."""
        return f"{round(self.scale * value, 1) + 0.0:.1f} {self.unit}"

    def improvement(self, value: Any, base: Any) -> Any:
        """How much better `value` is than `base`: floats or arrays."""
        return self.sign * (value - base)


PCK = Headline("pck", 1, "PCK", "%", "points", 100, 3, 0.2)
MM = Headline("mm", -1, "mean error", "mm", "mm", 1, 2, 80.0)
AP = Headline("ap", 1, "OKS-AP", "%", "points", 100, 3, 0.2)


@dataclass
class Selection:
    """The best step so far under each rule. An equal value does not replace an earlier step."""

    steps: dict[str, int] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)

    def update(self, step: int, metrics: dict[str, float]) -> None:
        for rule, name in RULES.items():
            value, sign = _rated(step, name, metrics)
            if not math.isnan(value) and sign * value > sign * self.values.get(rule, -sign * math.inf):
                self.steps[rule], self.values[rule] = step, value

    def held(self, shipped: str) -> set[int]:
        """Steps whose weights are kept: the oracle's only where it was asked for."""
        return {step for rule, step in self.steps.items() if rule != "oracle" or shipped == "oracle"}


def _rated(step: int, name: str | None, metrics: dict[str, float]) -> tuple[float, int]:
    """What a rule looks at, NaN where it was not measured, and 1 where the highest is best, else -1."""
    if name is None:
        return float(step), 1
    side = name.split("/")[0]
    headline = Headline.among(metrics, f"{side}/") or PCK
    return metrics.get(name.format(headline=headline.key), math.nan), headline.sign if "{" in name else 1
