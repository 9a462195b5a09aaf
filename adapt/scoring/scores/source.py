"""The headline on held-out source pictures, by their labels: what adaptation should not cost. NaN without a source."""

from __future__ import annotations

import math

from ..evaluation import scores
from ..evidence import Evidence


def score(evidence: Evidence) -> float:
    judged, looks = evidence.judged, evidence.looks
    if judged is None:
        return math.nan
    headline = judged.headline(looks.threshold)
    return headline.sign * float(scores(judged, looks.skeleton, looks.threshold)[headline.key])
