"""Average precision of people in pictures by object keypoint similarity: COCO's keypoint AP.

https://cocodataset.org/#keypoints-eval: the mean over OKS thresholds of 0.50 to 0.95 and over 101 steps of recall, with
the 20 surest predictions of a picture. Crowds, and people of whom no keypoint is labelled, are nobody's miss, and who
is matched with them is neither right nor false; crowds are matched any number of times. Of equals the person who is
labelled last is taken, as in the published code (cocoapi, PythonAPI/pycocotools/cocoeval.py @ 8c9bcc3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from ...models.output import Poses
from .matching import CHUNK, by_image

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MOST = 20
"""Predictions of a picture that count."""


@dataclass(frozen=True)
class FlatPeople:
    """P people as they are labelled in pictures, in file pixels."""

    points: Tensor
    """(P, K, 2); of joints that are not annotated anything finite."""
    annotated: Tensor
    """(P, K) bool"""
    area: Tensor
    """(P,) square px of the person's segment."""
    boxes: Tensor
    """(P, 4) left, top, right, bottom; of people without annotated joints it stands for these."""
    crowd: Tensor
    """(P,) bool"""
    image_index: Tensor
    """(P,) int64, numbered as the predictions'."""

    def __len__(self) -> int:
        return len(self.points)

    @property
    def ignored(self) -> Tensor:
        """(P,) bool"""
        return self.crowd | ~self.annotated.any(1)

    def of(self, images: Tensor) -> FlatPeople:
        """Those of some images."""
        rows = torch.isin(self.image_index, images)
        return FlatPeople(*(getattr(self, one.name)[rows] for one in fields(self)))


def oks_ap(predicted: Poses, truth: FlatPeople, sigmas: Sequence[float]) -> Tensor:
    """AP at each of THRESHOLDS, (10,), of which the mean is COCO's AP; NaN where nobody counts. Predictions of any
    order in pictures of any number; `sigmas` (K,) are COCO's, half of its k."""
    images = torch.cat([predicted.image_index, truth.image_index]).unique()
    order = predicted.score.argsort(descending=True, stable=True)
    rows = _table(predicted.image_index[order], images)[:, :MOST]
    columns = _table(truth.image_index, images)
    rows = torch.where(rows >= 0, order[rows.clamp_min(0)] if len(order) else rows, -1)
    parts = [
        _judged(row, column, predicted, truth, sigmas)
        for row, column in zip(rows.split(CHUNK), columns.split(CHUNK), strict=True)
    ]
    state = torch.cat(parts, 1) if parts else torch.zeros(len(THRESHOLDS), 0, 1)
    there = rows >= 0
    score, state = predicted.score.double()[rows[there]], state[:, there]
    return _precision(state[:, score.argsort(descending=True, stable=True)], int((~truth.ignored).sum()))


def similarity(
    points: Tensor, truth: Tensor, annotated: Tensor, area: Tensor, boxes: Tensor, sigmas: Sequence[float]
) -> Tensor:
    """OKS of predicted people (..., M, K, 2) with labelled ones (..., N, K, 2), of whose joints (..., N, K) are
    annotated: (..., M, N). Of people without any, all joints count that leave the box (..., N, 4) widened by its own
    size on each side."""
    points, known = points.double().unsqueeze(-3), annotated.any(-1)[..., None, :, None]
    size = boxes[..., 2:] - boxes[..., :2]
    low, high = ((edge.double()[..., None, :, None, :]) for edge in (boxes[..., :2] - size, boxes[..., 2:] + size))
    beyond = (low - points).clamp_min(0) + (points - high).clamp_min(0)
    away = torch.where(known[..., None], points - truth.double().unsqueeze(-4), beyond).square().sum(-1)
    fall_off = (2 * torch.tensor(list(sigmas), dtype=torch.float64)).square()
    each = torch.exp(-away / fall_off / (area.double()[..., None, :, None] + np.spacing(1)) / 2)
    counted = annotated.unsqueeze(-3) | ~known
    return (each * counted).sum(-1) / counted.sum(-1)


def _table(image_index: Tensor, images: Tensor) -> Tensor:
    """The places of people in `images`, (images, most in one, one at least), -1 where there are fewer."""
    if not len(image_index):
        return torch.full((len(images), 1), -1, dtype=torch.int64)
    return by_image(torch.searchsorted(images, image_index.contiguous()), len(images))


def _judged(row: Tensor, column: Tensor, predicted: Poses, truth: FlatPeople, sigmas: Sequence[float]) -> Tensor:
    """Of predictions in a table of places (I, M) and people in one (I, N): (thresholds, I, M) 1 who is right, 0 who is
    false, -1 who does not count."""
    nobody = torch.zeros(len(THRESHOLDS), *row.shape)
    if not len(truth) or not len(predicted):
        return nobody
    here, there = row.clamp_min(0), column.clamp_min(0)
    own = truth.points[there], truth.annotated[there], truth.area[there], truth.boxes[there]
    likes = similarity(predicted.points[here][..., :2], *own, sigmas)
    return judge(likes, column >= 0, truth.ignored[there], truth.crowd[there])


def judge(likes: Tensor, person: Tensor, ignored: Tensor, crowd: Tensor) -> Tensor:
    """Predictions, surest first, take of an image's people (I, N) the one whom they are most like, `likes` (I, M, N) at
    least a threshold, of those that are left; who does not count where nobody else is. As `_judged` answers."""
    least = torch.tensor(THRESHOLDS.clip(max=1 - 1e-10))[:, None, None]
    taken = torch.zeros(len(THRESHOLDS), *person.shape, dtype=torch.bool)
    places, states = torch.arange(person.shape[1]), []
    for rank in range(likes.shape[1]):
        own = likes[:, rank]
        able = (own >= least) & person & (crowd | ~taken)
        counts = able & ~ignored
        chosen = torch.where(counts.any(-1, keepdim=True), counts, able)
        last = person.shape[1] - 1 - torch.where(chosen, own, -1.0).flip(-1).argmax(-1, keepdim=True)
        taken |= (places == last) & chosen
        free = ignored.expand_as(able).gather(-1, last).squeeze(-1)
        states.append(torch.where(chosen.any(-1), torch.where(free, -1, 1), 0))
    return torch.stack(states, -1)


def _precision(state: Tensor, people: int) -> Tensor:
    """AP (T,) of states (T, D) from the highest score on, as `judge` gives them."""
    if not people:
        return torch.full((len(state),), torch.nan, dtype=torch.float64)
    right, false = (state == 1).double().cumsum(1), (state == 0).double().cumsum(1)
    recall = right / people
    precision = right / (right + false + np.spacing(1))
    envelope = precision.flip(1).cummax(1).values.flip(1)
    steps = torch.tensor(RECALLS).expand(len(state), -1).contiguous()
    place = torch.searchsorted(recall.contiguous(), steps)
    padded = torch.cat([envelope, envelope.new_zeros(len(state), 1)], 1)
    return padded.gather(1, place).mean(1)
