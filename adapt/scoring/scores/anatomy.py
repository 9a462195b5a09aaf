"""The share of what describes the target's poses (proportions of bones, likeness of the two sides, angles; see
methods/anatomy.py) that lies where a skeleton's usually do: within 2.5 deviations of the mean of the held-out source
labels; without a source of the given network's own poses."""

from __future__ import annotations

import math

import torch

from ...methods.anatomy import Ranges
from ..evidence import Evidence

WIDTH = 2.5


def score(evidence: Evidence) -> float:
    ranges = Ranges(evidence.looks.skeleton)
    labels = evidence.looks.labels
    poses = evidence.given.target.points
    ranges.learn(*((poses, torch.ones(poses.shape[:2], dtype=torch.bool)) if labels is None else labels))
    known = ranges.count > 1
    if not known.any() or not len(evidence.target.points):
        return math.nan
    return float((ranges.beyond(evidence.target.points, WIDTH)[:, known] == 0).float().mean())
