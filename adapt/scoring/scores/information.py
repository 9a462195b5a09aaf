"""Information maximisation: how various the votes of all pictures are, less the entropy of each one's. Liang et al.,
ICML 2020, as pytorch-adapt's validator has it."""

from __future__ import annotations

from ..density import information, over_joints
from ..evidence import Evidence


def score(evidence: Evidence) -> float:
    return over_joints(evidence.target, information)
