"""How narrow the densities of the target's keypoints are, in shares of the crop: 0 of points. Alone it says little; a
rule may set other scores against it, because smooth answers agree with each other without being right."""

from __future__ import annotations

from ..evidence import Evidence


def score(evidence: Evidence) -> float:
    return -float(evidence.target.spread.mean())
