"""How sure the network is of its keypoints in the target, on average. Alone it says little: adaptation makes networks
surer, right or wrong; a rule may set other scores against it."""

from __future__ import annotations

from ..evidence import Evidence


def score(evidence: Evidence) -> float:
    return float(evidence.target.confidence.mean())
