"""The label-free scores by name: what `selection=target_score` chooses checkpoints by, and what the rule of `adapt`
reads. A new one is a file in scores/ and a line in this dict.

A score reads the evidence of a network (see evidence.py) and answers with a number of which the highest is best; NaN
where it cannot be measured: without a source, without a video. None of them is an error rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...datasets.registry import Registry
from .evidence import Evidence

Score = Callable[[Evidence], float]

SCORES: Registry[Score] = Registry(
    __name__,
    {
        "agreement": "scores.agreement:score",
        "anatomy": "scores.anatomy:score",
        "bnm": "scores.bnm:score",
        "calibrated": "scores.calibrated:score",
        "confidence": "scores.confidence:score",
        "consensus": "scores.consensus:score",
        "corrupted_source": "scores.corrupted_source:score",
        "disagreement": "scores.disagreement:score",
        "drift": "scores.drift:score",
        "entropy": "scores.entropy:score",
        "feature_distance": "scores.feature_distance:score",
        "flatness": "scores.flatness:score",
        "information": "scores.information:score",
        "pose_density": "scores.pose_density:score",
        "predicted": "scores.predicted:score",
        "sharpness": "scores.sharpness:score",
        "snd": "scores.snd:score",
        "snd_features": "scores.snd_features:score",
        "source": "scores.source:score",
        "temporal": "scores.temporal:score",
        "weighted_source": "scores.weighted_source:score",
    },
)


def measured(evidence: Evidence, names: Iterable[str]) -> dict[str, float]:
    """The named scores of what `evidence` is of."""
    return {name: SCORES[name](evidence) for name in names}
