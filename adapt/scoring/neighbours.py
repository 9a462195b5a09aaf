"""What adaptation did on domain pairs that are like a user's, as far as the given network's label-free scores say:
what `adapt --dry` expects before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .rule_fit import Points

NEAREST = 3


@dataclass(frozen=True)
class Neighbour:
    name: str
    kind: str
    distance: float
    """Of its given networks' scores, on average over scores, in standard deviations among the pairs."""
    gain: float
    """Points that the candidate gained there at its last checkpoint, on average over seeds."""


def known_pairs(points: Points) -> dict[str, Any]:
    """By pair: its kind, the mean scores of its given networks, and the candidates' mean gains at their last steps."""
    return {str(name): one_pair(points.select(points.text["pair"] == name)) for name in np.unique(points.text["pair"])}


def one_pair(points: Points) -> dict[str, Any]:
    candidates, seeds = points.text["candidate"], points.text["seed"]
    scores = {
        name: [float(values[seeds == seed][0]) for seed in np.unique(seeds)] for name, values in points.before.items()
    }
    ends = {name: points.step[candidates == name].max() for name in np.unique(candidates)}
    last = {str(n): (candidates == n) & (points.step == end) & (points.share == 1) for n, end in ends.items()}
    gains = {name: float(points.gain[rows].mean()) for name, rows in last.items()}
    finite = {name: [value for value in values if math.isfinite(value)] for name, values in scores.items()}
    means = {name: float(np.mean(values)) for name, values in finite.items() if values}
    return {"kind": str(points.text["kind"][0]), "scores": means, "gains": gains}


def nearest(pairs: Mapping[str, Any], scores: Mapping[str, float], candidate: str) -> list[Neighbour]:
    """The NEAREST pairs, the nearest first, by the `scores` that both have; the gain is the candidate's, or where it
    was not tried the median of all."""
    names = sorted({name for pair in pairs.values() for name in pair["scores"]})
    table = np.array([[pair["scores"].get(name, math.nan) for name in names] for pair in pairs.values()])
    own = np.array([scores.get(name, math.nan) for name in names])
    if not table.size:
        return []
    spread = np.array([np.nanstd(column) if np.isfinite(column).any() else 0.0 for column in table.T])
    off = np.abs(table - own)[:, spread > 1e-9] / spread[spread > 1e-9]
    known = np.isfinite(off)
    distance = np.where(known, off, 0).sum(1) / np.maximum(known.sum(1), 1)
    distance[~known.any(1)] = math.inf
    rows = [
        Neighbour(name, pair["kind"], float(far), gain_of(pair["gains"], candidate))
        for (name, pair), far in zip(pairs.items(), distance, strict=True)
        if math.isfinite(far)
    ]
    return sorted(rows, key=lambda row: row.distance)[:NEAREST]


def gain_of(gains: Mapping[str, float], candidate: str) -> float:
    return gains[candidate] if candidate in gains else float(np.median(list(gains.values())))


def left_out_error(pairs: Mapping[str, Any]) -> float | None:
    """By how many points the mean of a pair's neighbours misses the pair's own median gain, on average over pairs."""
    off = []
    for name, pair in pairs.items():
        rest = {other: value for other, value in pairs.items() if other != name}
        if near := nearest(rest, pair["scores"], ""):
            off.append(abs(np.mean([row.gain for row in near]) - gain_of(pair["gains"], "")))
    return float(np.mean(off)) if off else None
