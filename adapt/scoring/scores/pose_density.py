"""How near the target's poses are to poses that exist: the mean distance to the NEAREST most similar of the held-out
source labels, negative. Place and size of a pose do not count; of a label only the keypoints that it annotates do."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..evidence import Evidence

NEAREST = 5
JOINTS = 3
"""A label has to annotate: two points are alike whatever they are."""
CHUNK = 64


def score(evidence: Evidence) -> float:
    labels, poses = evidence.looks.labels, evidence.target.points
    if labels is None or not len(poses):
        return math.nan
    points, annotated = (part[labels[1].sum(1) >= JOINTS] for part in labels)
    if not len(points):
        return math.nan
    away = torch.cat([distances(part, points, annotated) for part in poses.split(CHUNK)])
    return -float(away.topk(min(NEAREST, len(points)), largest=False).values.mean())


def distances(poses: Tensor, labels: Tensor, annotated: Tensor) -> Tensor:
    """Between poses (P, K, D) and labels (L, K, D), of the keypoints (L, K) that are annotated, each moved to its mean
    and scaled to length 1: (P, L) in [0, 2]."""
    known = annotated[..., None].to(poses.dtype)

    def shape(points: Tensor) -> Tensor:
        mean = (points * known).sum(-2, keepdim=True) / known.sum(-2, keepdim=True)
        centred = ((points - mean) * known).flatten(-2)
        return centred / centred.norm(dim=-1, keepdim=True).clamp_min(1e-6)

    return (shape(poses[:, None]) - shape(labels)[None]).norm(dim=-1)
