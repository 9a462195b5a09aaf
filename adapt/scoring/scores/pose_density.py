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
    nearest = to_nearest(evidence, evidence.target.points)
    return math.nan if nearest is None or not len(nearest) else -float(nearest.mean())


def to_nearest(evidence: Evidence, poses: Tensor) -> Tensor | None:
    """That distance of each of the poses (P, K, D): (P,). None without labels."""
    labels = evidence.looks.labels
    points, annotated = (None, None) if labels is None else (part[labels[1].sum(1) >= JOINTS] for part in labels)
    if points is None or annotated is None or not len(points):
        return None
    points = points[..., : poses.shape[-1]]
    few = min(NEAREST, len(points))
    parts = [distances(part, points, annotated).topk(few, largest=False).values for part in poses.split(CHUNK)]
    return torch.cat(parts).mean(-1) if len(poses) else poses.new_zeros(0)


def distances(poses: Tensor, labels: Tensor, annotated: Tensor) -> Tensor:
    """Between poses (P, K, D) and labels (L, K, D), of the keypoints (L, K) that are annotated, each moved to its mean
    and scaled to length 1: (P, L) in [0, 2]."""
    known = annotated[..., None].to(poses.dtype)

    def shape(points: Tensor) -> Tensor:
        mean = (points * known).sum(-2, keepdim=True) / known.sum(-2, keepdim=True)
        centred = ((points - mean) * known).flatten(-2)
        return centred / centred.norm(dim=-1, keepdim=True).clamp_min(1e-6)

    return (shape(poses[:, None]) - shape(labels)[None]).norm(dim=-1)
