"""Soft neighbourhood density of the features, averaged over the picture. Saito et al., ICCV 2021."""

from __future__ import annotations

from ..density import neighbourhood_density
from ..evidence import Evidence


def score(evidence: Evidence) -> float:
    return float(neighbourhood_density(evidence.target.features))
