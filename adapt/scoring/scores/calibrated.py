"""The share of hits that the confidence of target predictions lets expect: that of keypoints of such confidence on
held-out source pictures, joint by joint, by isotonic regression (Zadrozny and Elkan, KDD 2002). Too high where a
network is surer of the target than it should be; NaN without a source, and of a head with one candidate, which is
always sure."""

from __future__ import annotations

import math

import numpy as np

from ..distance import SMALLEST
from ..evidence import Evidence


def score(evidence: Evidence) -> float:
    judged, target = evidence.judged, evidence.target
    if judged is None or not target.doubtful:
        return math.nan
    worth, counted = evidence.hits, judged.annotated.numpy()
    known, sure = judged.confidence.numpy(), target.confidence.numpy()
    joints = [k for k in range(sure.shape[1]) if counted[:, k].sum() >= SMALLEST]
    values = [expected(known[counted[:, k], k], worth[counted[:, k], k], sure[:, k]) for k in joints]
    return float(np.mean(values)) if values else math.nan


def expected(known: np.ndarray, worth: np.ndarray, sure: np.ndarray) -> float:
    """The mean worth at confidences `sure` (M,), which never falls with confidence, from that of N: (N,) and (N,)."""
    from sklearn.isotonic import IsotonicRegression

    return float(IsotonicRegression(out_of_bounds="clip").fit(known, worth).predict(sure).mean())
