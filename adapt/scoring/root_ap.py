"""Average precision of people's roots in space: AP_root of Moon, Chang and Lee, ICCV 2019.

mks0601/3DMPPE_ROOTNET_RELEASE, data/MuPoTS/MuPoTS_eval.py @ 735ce21. Predictions of all images come in the order of
their scores. Each is held against the nearest valid root of its image, in 3D, and is a hit if that is nearer than the
threshold and no prediction before it was one; otherwise it is false, even if another root is in reach. Images in which
nobody is valid are left out. All valid people are in the recall's denominator; without any, AP is NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .matching import CHUNK, by_image
from .people import LabelledPeople, PredictedPeople

THRESHOLD = 250.0
"""mm, that of AP_root_25, in which 25 stands for centimetres."""


def root_ap(predicted: PredictedPeople, truth: LabelledPeople, root: int, threshold: float = THRESHOLD) -> Tensor:
    """The sum of precision times the step of recall over all predictions, without an envelope."""
    precision, recall = precision_recall(predicted, truth, root, threshold)
    return _of_somebody((precision * recall.diff(prepend=recall.new_zeros(1))).sum(), truth, root)


def rootnet_ap(predicted: PredictedPeople, truth: LabelledPeople, root: int, threshold: float = THRESHOLD) -> Tensor:
    """The same as the reference sums, which leaves out the step of the first prediction: for comparison with published
    numbers alone. One person that is found gives 0."""
    precision, recall = precision_recall(predicted, truth, root, threshold)
    return _of_somebody((precision[1:] * recall.diff()).sum(), truth, root)


def precision_recall(
    predicted: PredictedPeople, truth: LabelledPeople, root: int, threshold: float = THRESHOLD
) -> tuple[Tensor, Tensor]:
    """Precision and recall (n,) after each of the predictions that count, from the highest score on."""
    nearest, away = nearest_root(predicted, truth, root)
    order = predicted.score.argsort(descending=True, stable=True)
    order = order[nearest[order] >= 0]
    close = away[order] < threshold
    # Of those in reach of one root the first is the hit.
    person = torch.where(close, nearest[order], len(truth))
    rank = torch.arange(len(order), device=order.device)
    first = rank.new_full((len(truth) + 1,), len(order)).scatter_reduce(0, person, rank, "amin")
    hits = (close & (first[person] == rank)).double().cumsum(0)
    return hits / (rank + 1), hits / _counted(truth, root).sum()


def nearest_root(predicted: PredictedPeople, truth: LabelledPeople, root: int) -> tuple[Tensor, Tensor]:
    """The nearest valid root of each prediction's image: whose (Q,), -1 in images without, and how far off (Q,) mm."""
    nearest = torch.full_like(predicted.image_index, -1)
    away = predicted.points.new_full((len(predicted),), torch.inf, dtype=torch.float64)
    valid = _counted(truth, root).nonzero().squeeze(1)
    if not len(predicted) or not len(valid):
        return nearest, away
    together = torch.cat([predicted.image_index, truth.image_index[valid]])
    images, joint = together.unique(return_inverse=True)
    table = by_image(joint[len(predicted) :], len(images))
    for rows in torch.arange(len(predicted), device=nearest.device).split(64 * CHUNK):
        there = table[joint[rows]]
        other = truth.points[valid[there.clamp_min(0)], root].double()
        distance = torch.linalg.vector_norm(other - predicted.points[rows, root].double().unsqueeze(1), dim=-1)
        away[rows], column = torch.where(there >= 0, distance, torch.inf).min(1)
        place = there.gather(1, column.unsqueeze(1)).squeeze(1)
        nearest[rows] = torch.where(place >= 0, valid[place.clamp_min(0)], -1)
    return nearest, away


def _counted(truth: LabelledPeople, root: int) -> Tensor:
    return truth.valid & truth.annotated[:, root]


def _of_somebody(value: Tensor, truth: LabelledPeople, root: int) -> Tensor:
    return torch.where(_counted(truth, root).any(), value, torch.nan)
