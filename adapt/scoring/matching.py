"""Which predicted person is which labelled one: the one place where people are matched.

By object keypoint similarity (COCO): exp(-d^2 / (2 s^2 k^2)) averaged over the labelled keypoints, d the distance, k a
fall-off, here one for all keypoints, and s^2 the mean squared side of the labelled keypoints' box (COCO takes the area
of a segment, which labels need not have). As COCO does, predictions choose in
the order of their scores, each the most similar person of its image that is left.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...datasets.sample import CAMERA_MM
from ...models.output import Poses

FALL_OFF = 0.2
"""COCO's k is 0.05 to 0.21, by the joint."""
LEAST = 0.1
"""Similarity below which two people are not the same."""


def similarity(predicted: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    """OKS of predicted people (Q, K, D) with labelled ones (P, K, D) of whose keypoints (P, K) count: (Q, P), 0 where
    none does."""
    known = counted.unsqueeze(-1)
    low = torch.where(known, truth, torch.inf).amin(1)
    high = torch.where(known, truth, -torch.inf).amax(1)
    area = (high - low).clamp_min(0).square().sum(-1) / truth.shape[-1] if len(truth) else truth.new_zeros(0)
    scale = area.nan_to_num(0.0, 0.0, 0.0).clamp_min(1e-6)
    away = (predicted.unsqueeze(1) - truth.unsqueeze(0)).square().sum(-1)
    each = torch.exp(-away / (2 * scale[:, None] * FALL_OFF**2)) * counted
    return each.sum(-1) / counted.sum(-1).clamp_min(1)


def match(poses: Poses, truth: Tensor, counted: Tensor, image_index: Tensor, space: str) -> Tensor:
    """For each labelled person (P, K, D) in images (P,) the predicted one: places in `poses` (P,), -1 for nobody."""
    place = torch.full((len(truth),), -1, dtype=torch.int64, device=truth.device)
    if not len(poses) or not len(truth):
        return place
    points = poses.points[..., : truth.shape[-1]] if space != CAMERA_MM else poses.points
    together = poses.image_index[:, None] == image_index[None]
    alike = torch.where(together, similarity(points, truth, counted), -1.0).cpu()
    for person in poses.score.argsort(descending=True, stable=True).tolist():
        best = int(alike[person].argmax())
        if alike[person, best] >= LEAST:
            place[best] = person
            alike[:, best] = -1.0
    return place
