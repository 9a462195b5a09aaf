"""The nuclear norm of the votes of all pictures, a joint at a time: high where they are sure and various. Cui et al.,
CVPR 2020."""

from __future__ import annotations

from ..density import nuclear_norm, over_joints
from ..evidence import Evidence


def score(evidence: Evidence) -> float:
    return over_joints(evidence.target, lambda p: nuclear_norm(p) / len(p))
