"""Soft neighbourhood density of the votes: high where many pictures have an answer like each picture's, joint by joint.
Saito et al., ICCV 2021; of all cells of the grid as classes."""

from __future__ import annotations

from ..density import neighbourhood_density, over_joints
from ..evidence import Evidence


def score(evidence: Evidence) -> float:
    return over_joints(evidence.target, neighbourhood_density)
