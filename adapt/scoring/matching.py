"""Which predicted person is which labelled one: the one place where people are matched.

By object keypoint similarity (COCO): exp(-d^2 / (2 s^2 k^2)) averaged over the labelled keypoints, d the distance, k a
fall-off, here one for all keypoints, and s^2 the mean squared side of the labelled keypoints' box (COCO takes the area
of a segment, which labels need not have). A person of whom one keypoint is labelled has no such box: nobody counts as
smaller than a share of what the input shows. As COCO does, predictions choose in the order of their scores, each the
most similar person of its image that is left.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...datasets.sample import CAMERA_MM, Unlabeled
from ...models.output import Poses

FALL_OFF = 0.2
"""COCO's k is 0.05 to 0.21, by the joint."""
LEAST = 0.1
"""Similarity below which two people are not the same."""
SMALLEST = 0.05
"""What s is at least, as a share of the input's longer side, in the camera's frame of SPAN_MM."""
SPAN_MM = 2000.0
"""About the length of a person."""


def span(sample: Unlabeled) -> float:
    """The length in which points of a sample are judged: the input's longer side in px, of 3D points in mm."""
    return SPAN_MM if sample.space == CAMERA_MM else float(max(sample.image.shape[-2:]))


def similarity(predicted: Tensor, truth: Tensor, counted: Tensor, smallest: float) -> Tensor:
    """OKS of predicted people (Q, K, D) with labelled ones (P, K, D) of whose keypoints (P, K) count: (Q, P), 0 where
    none does. s is `smallest` or more."""
    known = counted.unsqueeze(-1)
    low = torch.where(known, truth, torch.inf).amin(1)
    high = torch.where(known, truth, -torch.inf).amax(1)
    area = (high - low).clamp_min(0).square().sum(-1) / truth.shape[-1] if len(truth) else truth.new_zeros(0)
    scale = area.nan_to_num(0.0, 0.0, 0.0).clamp_min(smallest**2)
    away = (predicted.unsqueeze(1) - truth.unsqueeze(0)).square().sum(-1)
    each = torch.exp(-away / (2 * scale[:, None] * FALL_OFF**2)) * counted
    return each.sum(-1) / counted.sum(-1).clamp_min(1)


def match(poses: Poses, truth: Tensor, counted: Tensor, image_index: Tensor, sample: Unlabeled) -> Tensor:
    """For each labelled person (P, K, D) in images (P,) of a sample the predicted one: places in `poses` (P,), -1 for
    nobody."""
    place = torch.full((len(truth),), -1, dtype=torch.int64, device=truth.device)
    if not len(poses) or not len(truth):
        return place
    together = poses.image_index[:, None] == image_index[None]
    alike = similarity(poses.points, truth, counted, SMALLEST * span(sample))
    alike = torch.where(together, alike, -1.0).cpu()
    for person in poses.score.argsort(descending=True, stable=True).tolist():
        best = int(alike[person].argmax())
        if alike[person, best] >= LEAST:
            place[best] = person
            alike[:, best] = -1.0
    return place
