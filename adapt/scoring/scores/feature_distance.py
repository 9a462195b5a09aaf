"""How much nearer target features come to the source's than the given network has them: the difference of their maximum
mean discrepancies (see adapt/alignment.py), which do not depend on the features' scale. Negative is farther; NaN
without a source. Strategies that draw it to 0 are not better for that."""

from __future__ import annotations

import math

from ...alignment import mmd
from ..distance import SMALLEST
from ..evidence import Evidence


def score(evidence: Evidence) -> float:
    return gap(evidence.given) - gap(evidence)


def gap(evidence: Evidence) -> float:
    """Between the features of the network's source and its target."""
    source, target = evidence.source, evidence.target
    if source is None or min(len(source.features), len(target.features)) < SMALLEST:
        return math.nan
    return float(mmd(source.features, target.features))
