"""How much of what its teacher said a student kept: the share of keypoints within 0.05 of the crop from where the given
network sees them. The given network is the first teacher of every candidate, of those that were taught otherwise too.

1 of the given network. Of a network that finds several people NaN: who is who is not known.
"""

from __future__ import annotations

import math

from ..evidence import Evidence
from .agreement import NEAR


def score(evidence: Evidence) -> float:
    if not evidence.model.single:
        return math.nan
    away = (evidence.target.points - evidence.given.target.points).norm(dim=-1)
    return float((away <= NEAR).float().mean())
