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
    ranges, poses = usual(evidence), evidence.target.points
    known = ranges.count > 1
    if not known.any() or not len(poses):
        return math.nan
    return float((ranges.beyond(poses, WIDTH)[:, known] == 0).float().mean())


def usual(evidence: Evidence) -> Ranges:
    """The ranges that poses are judged by."""
    ranges, labels, poses = Ranges(evidence.looks.skeleton), evidence.looks.labels, evidence.given.target.points
    if labels is None:
        labels = poses, torch.ones(poses.shape[:2], dtype=torch.bool)
    ranges.learn(labels[0][..., : poses.shape[-1]], labels[1])
    return ranges
