"""The share of keypoints within the threshold of their labels on held-out source pictures: what adaptation should not
cost. NaN without a source."""

from __future__ import annotations

import math

from ..evidence import Evidence


def score(evidence: Evidence) -> float:
    judged = evidence.judged
    return math.nan if judged is None else float(evidence.hits[judged.annotated.numpy()].mean())
