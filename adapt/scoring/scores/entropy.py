"""How sure the votes are: minus their entropy on the grid, as a share of the highest. NaN of a head with one candidate,
which is always sure."""

from __future__ import annotations

import math

from ..density import entropy, over_joints
from ..evidence import Evidence


def score(evidence: Evidence) -> float:
    target = evidence.target
    if not target.doubtful:
        return math.nan
    return -over_joints(target, lambda p: entropy(p).mean()) / math.log(target.log_density.shape[-1])
