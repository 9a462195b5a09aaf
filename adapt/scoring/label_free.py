"""The label-free scores by name: what `selection=target_score` chooses checkpoints by, and what the rule of `adapt`
reads. A new one is a file in scores/ and a line in this dict.

A score reads the evidence of a network (see evidence.py) and answers with a number of which the highest is best; NaN
where it cannot be measured: without a source, without a video. None of them is an error rate.
"""

from __future__ import annotations

from collections.abc import Callable

from .evidence import Evidence
from .scores import (
    agreement,
    bnm,
    calibrated,
    entropy,
    feature_distance,
    flatness,
    information,
    snd,
    snd_features,
    source,
    weighted_source,
)

Score = Callable[[Evidence], float]

SCORES: dict[str, Score] = {
    "agreement": agreement.score,
    "entropy": entropy.score,
    "im": information.score,
    "bnm": bnm.score,
    "snd": snd.score,
    "snd_features": snd_features.score,
    "flatness": flatness.score,
    "calibrated": calibrated.score,
    "source": source.score,
    "weighted_source": weighted_source.score,
    "feature_distance": feature_distance.score,
}
