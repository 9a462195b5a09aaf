"""The label-free scores by name: what `selection=target_score` chooses checkpoints by, and what the rule of `adapt`
reads. A new one is a file in scores/ and a line in this dict.

A score reads the evidence of a network (see evidence.py) and answers with a number of which the highest is best; NaN
where it cannot be measured: without a source, without a video. None of them is an error rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .evidence import Evidence
from .scores import (
    agreement,
    anatomy,
    bnm,
    calibrated,
    confidence,
    consensus,
    corrupted_source,
    disagreement,
    drift,
    entropy,
    feature_distance,
    flatness,
    information,
    pose_density,
    predicted,
    sharpness,
    snd,
    snd_features,
    source,
    temporal,
    weighted_source,
)

Score = Callable[[Evidence], float]

SCORES: dict[str, Score] = {
    "agreement": agreement.score,
    "anatomy": anatomy.score,
    "bnm": bnm.score,
    "calibrated": calibrated.score,
    "confidence": confidence.score,
    "consensus": consensus.score,
    "corrupted_source": corrupted_source.score,
    "disagreement": disagreement.score,
    "drift": drift.score,
    "entropy": entropy.score,
    "feature_distance": feature_distance.score,
    "flatness": flatness.score,
    "information": information.score,
    "pose_density": pose_density.score,
    "predicted": predicted.score,
    "sharpness": sharpness.score,
    "snd": snd.score,
    "snd_features": snd_features.score,
    "source": source.score,
    "temporal": temporal.score,
    "weighted_source": weighted_source.score,
}


def measured(evidence: Evidence, names: Iterable[str]) -> dict[str, float]:
    """The named scores of what `evidence` is of."""
    return {name: SCORES[name](evidence) for name in names}
