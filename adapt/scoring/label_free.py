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
    confidence,
    consensus,
    corrupted_source,
    drift,
    pose_density,
    predicted,
    sharpness,
    temporal,
)

Score = Callable[[Evidence], float]

SCORES: dict[str, Score] = {
    "agreement": agreement.score,
    "anatomy": anatomy.score,
    "confidence": confidence.score,
    "consensus": consensus.score,
    "corrupted_source": corrupted_source.score,
    "drift": drift.score,
    "pose_density": pose_density.score,
    "predicted": predicted.score,
    "sharpness": sharpness.score,
    "temporal": temporal.score,
}


def measured(evidence: Evidence, names: Iterable[str]) -> dict[str, float]:
    """The named scores of what `evidence` is of."""
    return {name: SCORES[name](evidence) for name in names}
