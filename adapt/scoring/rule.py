"""The rule of `adapt`: how label-free scores changed, told as a gain in points with its interval. The gain is
predicted; no label of the target was seen.

A regression over runs whose truth is known (see rule_fit.py), kept as data in rule.json. It reads, of a few scores, the
change from the given network to the candidate and the part of it that is a fall, each in its own scale and held within
CLIP of them, so that no score can carry the answer far beyond what was seen. Gains are compared as asinh(gain / SOFT):
about linear below SOFT points, by ratio above, so that collapses do not outweigh all else.

What is kept is not weights but second moments. Where a score cannot be measured, without a source say, the regression
on the others follows from the same moments, and with it the larger error, by which the interval widens.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.reading.files import write_json

RULE = Path(__file__).with_name("rule.json")
SOFT = 3.0
"""Points."""
CLIP = 2.0
FALL = "-"
"""Ends the name of a feature that is the fall of a score."""
TRAINED = "trained"
"""The feature that is 1 of every candidate: what adaptation does on average where no score changes."""
SMALLEST = 1e-3


@dataclass(frozen=True)
class Prediction:
    """Of a candidate's gain over the given network, in points: no measurement."""

    gain: float
    low: float
    high: float
    level: float
    """How probable the interval [low, high] is, as far as the rule was fitted on the likes of it."""
    least: float
    """The gain from which on a model is shipped."""

    @property
    def ships(self) -> bool:
        return self.gain > self.least


@dataclass(frozen=True)
class Rule:
    features: list[str]
    scales: list[float]
    """What is 1 of each feature."""
    moments: list[list[float]]
    """Mean products of the features, the ridge on the diagonal."""
    answers: list[float]
    """Mean products of the features and the soft gain."""
    square: float
    """Mean square of the soft gain."""
    low: float
    high: float
    """The interval's ends, in standard errors from the prediction."""
    level: float
    margin: float
    """Standard errors from which on a predicted gain is enough to ship a model."""
    basis: dict[str, Any] = field(default_factory=dict)
    """On what the rule was fitted and shown, and its rates there (see rule_fit.py)."""
    pairs: dict[str, Any] = field(default_factory=dict)
    """What is known of each domain pair (see neighbours.py)."""

    @property
    def scores(self) -> list[str]:
        """Those that are read."""
        return list(dict.fromkeys(name.removesuffix(FALL) for name in self.features if name != TRAINED))

    def predict(self, before: Mapping[str, float], after: Mapping[str, float]) -> Prediction | None:
        """Of a candidate by its scores and the given network's, NaN or absent where not measured; None where no score
        is measured of both."""
        changes = {name: np.array([after.get(name, math.nan) - before.get(name, math.nan)]) for name in self.scores}
        gain, error = self.soft_gains(changes)
        if np.isnan(gain[0]):
            return None
        low, middle, high = (float(hard(gain[0] + ends * error[0])) for ends in (self.low, 0.0, self.high))
        return Prediction(middle, low, high, self.level, float(hard(self.margin * error[0])))

    def soft_gains(self, changes: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(N,) soft gains and their standard errors, from the changes (N,) of each score that is read; NaN where none
        is measured."""
        values = (features(self.features, changes) / self.scales).clip(-CLIP, CLIP)
        values[np.all([~np.isfinite(changes[name]) for name in self.scores], axis=0)] = np.nan
        return regress(values, np.array(self.moments), np.array(self.answers), self.square)

    def save(self, path: Path) -> None:
        write_json(path, asdict(self))


def soft(gain: np.ndarray) -> np.ndarray:
    """Of gains in points."""
    return np.asarray(np.arcsinh(gain / SOFT))


def hard(gain: np.ndarray | float) -> np.ndarray:
    """In points again."""
    return np.asarray(SOFT * np.sinh(gain))


def features(names: Sequence[str], changes: Mapping[str, np.ndarray]) -> np.ndarray:
    """(N, F), NaN where a score's change is not a number."""
    count = len(next(iter(changes.values())))

    def one(name: str) -> np.ndarray:
        if name == TRAINED:
            return np.ones(count)
        change = np.where(np.isfinite(changes[name.removesuffix(FALL)]), changes[name.removesuffix(FALL)], np.nan)
        return np.minimum(change, 0) if name.endswith(FALL) else change

    return np.stack([one(name) for name in names], 1)


def regress(
    values: np.ndarray, moments: np.ndarray, answers: np.ndarray, square: float
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions (N,) and their standard errors for features (N, F), of those that are measured in each row; NaN in
    rows where none is."""
    known = ~np.isnan(values)
    gain, error = np.full((2, len(values)), np.nan)
    for pattern in np.unique(known, axis=0):
        if pattern.any():
            rows = (known == pattern).all(1)
            weights = np.linalg.solve(moments[np.ix_(pattern, pattern)], answers[pattern])
            gain[rows] = values[np.ix_(rows, pattern)] @ weights
            error[rows] = math.sqrt(max(square - float(answers[pattern] @ weights), SMALLEST))
    return gain, error


def load(path: Path | None = None) -> Rule:
    """The rule that a file holds; that of keyshift. Raises ValueError where there is none, or another keyshift's."""
    path, fit = path or RULE, "fit one by `keyshift lab FILE --fit`"
    if not path.is_file():
        raise ValueError(f"no rule in {path}, by which adapt decides what is shipped: {fit}, or reinstall keyshift")
    try:
        return Rule(**json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} holds no rule of this keyshift ({error}): {fit}") from error
