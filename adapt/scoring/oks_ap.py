"""Who of the people predicted in pictures is right by object keypoint similarity, and what COCO and CrowdPose make of
it: average precision and recall.

https://cocodataset.org/#keypoints-eval: means over OKS thresholds of 0.50 to 0.95 (see precision.py), with the 20
surest predictions of a picture. Crowds, and people of whom no keypoint is labelled, are nobody's miss, and who is
matched with them is neither right nor false; crowds are matched any number of times. So it is with people outside a
range of areas, and with predictions outside of it whom nobody is matched with. Of equals the person who is labelled
last is taken, as in the published code (cocoapi, PythonAPI/pycocotools/cocoeval.py @ 8c9bcc3).

CrowdPose (Li et al., CVPR 2019) has AP of easy, medium and hard pictures by how far boxes hold other people's
keypoints, its `crowdIndex`. The paper parts it at 0.1 and 0.8, its published code, which all numbers are of, at 0.2 and
0.8 (xtcocotools' cocoeval.py, _summarizeKps_crowd, after Jeff-sjtu/CrowdPose).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from ...models.output import Poses
from .matching import CHUNK, by_image
from .precision import THRESHOLDS, Judged, average_precision, average_recall

HALF = 0.5
"""COCO compares the places of pixels with the edges of boxes as its files say both; of places here, whose middle of a
pixel is at +0.5, boxes are as far off as they are there with this much more."""
MOST = 20
"""Predictions of a picture that count."""
Area = tuple[float, float]
EVERY: Area = (0.0, 1e10)
AREAS: dict[str, Area] = {"": EVERY, "_medium": (32.0**2, 96.0**2), "_large": (96.0**2, 1e10)}
"""Square px, both ends within, by what is added to a score's name."""
CROWDED = {"ap_easy": (-np.inf, 0.2), "ap_medium_crowd": (0.2, 0.8), "ap_hard": (0.8, np.inf)}
"""CrowdPose's pictures by their crowdIndex, the upper end not within."""


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
    return torch.from_numpy(average_precision(judged(predicted, truth, sigmas)[0]))


def oks_scores(
    predicted: Poses, truth: FlatPeople, sigmas: Sequence[float], predicted_area: Tensor | None = None
) -> dict[str, float]:
    """COCO's ten numbers, shares of 1: ap, ap50, ap75, ap_medium, ap_large, and the same of recall as ar; NaN where
    nobody counts. Areas (Q,) of predictions are those of their keypoints' boxes where they are not given."""
    parts = judged(predicted, truth, sigmas, tuple(AREAS.values()), predicted_area)
    made: dict[str, float] = {}
    for name, measure in (("ap", average_precision), ("ar", average_recall)):
        values = [measure(own) for own in parts]
        made |= {name: values[0].mean(), f"{name}50": values[0][0], f"{name}75": values[0][5]}
        made |= {f"{name}{area}": own.mean() for area, own in zip(AREAS, values, strict=True) if area}
    return {name: float(value) for name, value in made.items()}


def crowd_scores(
    predicted: Poses, truth: FlatPeople, sigmas: Sequence[float], pictures: Tensor, crowded: Tensor
) -> dict[str, float]:
    """CrowdPose's AP of easy, medium and hard pictures: of those numbered `pictures` (M,), of which each has its
    crowdIndex `crowded` (M,), NaN where it has none."""
    made = {}
    for name, (low, high) in CROWDED.items():
        own = pictures[(crowded >= low) & (crowded < high)]
        rows = torch.isin(predicted.image_index, own)
        some = Poses(*(getattr(predicted, one.name)[rows] for one in fields(Poses)))
        made[name] = float(oks_ap(some, truth.of(own), sigmas).mean())
    return made


def judged(
    predicted: Poses,
    truth: FlatPeople,
    sigmas: Sequence[float],
    areas: Sequence[Area] = (EVERY,),
    predicted_area: Tensor | None = None,
) -> list[Judged]:
    """Who is right, for each range of areas."""
    images = torch.cat([predicted.image_index, truth.image_index]).unique()
    order = predicted.score.argsort(descending=True, stable=True)
    rows = _table(predicted.image_index[order], images)[:, :MOST]
    columns = _table(truth.image_index, images)
    rows = torch.where(rows >= 0, order[rows.clamp_min(0)] if len(order) else rows, -1)
    size = box_area(predicted.points[..., :2]) if predicted_area is None else predicted_area
    parts = [
        torch.stack(_judged(row, column, predicted, truth, sigmas, areas, size))
        for row, column in zip(rows.split(CHUNK), columns.split(CHUNK), strict=True)
    ]
    state = torch.cat(parts, 2) if parts else torch.zeros(len(areas), len(THRESHOLDS), 0, 1, dtype=torch.int8)
    there = rows >= 0
    own, score = images[:, None].expand_as(rows)[there], predicted.score.double()[rows[there]]
    surest = score.argsort(descending=True, stable=True)
    counting = [truth.image_index[~(truth.ignored | beyond(truth.area, area))] for area in areas]
    return [
        Judged(each[:, there][:, surest].numpy(), own[surest].numpy(), people.numpy())
        for each, people in zip(state, counting, strict=True)
    ]


def beyond(area: Tensor, limits: Area) -> Tensor:
    """Which areas are outside of a range."""
    return (area < limits[0]) | (area > limits[1])


def box_area(points: Tensor) -> Tensor:
    """The area (...) of the box of all points (..., K, 2)."""
    return (points.amax(-2) - points.amin(-2)).double().prod(-1)


def closest(people: Poses, truth: FlatPeople, sigmas: Sequence[float]) -> Tensor:
    """OKS of predicted people with the labelled one of their image whom they are most like: (Q,), 0 where there is
    none."""
    made = torch.zeros(len(people), dtype=torch.float64, device=people.points.device)
    images = truth.image_index.unique()
    if not len(images) or not len(people):
        return made
    rows = torch.isin(people.image_index, images).nonzero()[:, 0]
    tables = _table(people.image_index[rows], images), _table(truth.image_index, images)
    for row, column in zip(*(one.split(CHUNK) for one in tables), strict=True):
        here, there = rows[row.clamp_min(0)] if len(rows) else row, column.clamp_min(0)
        own = truth.points[there], truth.annotated[there], truth.area[there], truth.boxes[there]
        likes = similarity(people.points[here][..., :2], *own, sigmas)
        most = likes.masked_fill((column < 0).unsqueeze(1), 0).amax(-1)
        made[here[row >= 0]] = most[row >= 0]
    return made


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
    fall_off = (2 * torch.tensor(list(sigmas), dtype=torch.float64, device=points.device)).square()
    each = torch.exp(-away / fall_off / (area.double()[..., None, :, None] + np.spacing(1)) / 2)
    counted = annotated.unsqueeze(-3) | ~known
    return (each * counted).sum(-1) / counted.sum(-1)


def _table(image_index: Tensor, images: Tensor) -> Tensor:
    """The places of people in `images`, (images, most in one, one at least), -1 where there are fewer."""
    if not len(image_index):
        return torch.full((len(images), 1), -1, dtype=torch.int64, device=images.device)
    return by_image(torch.searchsorted(images, image_index.contiguous()), len(images))


def _judged(
    row: Tensor,
    column: Tensor,
    predicted: Poses,
    truth: FlatPeople,
    sigmas: Sequence[float],
    areas: Sequence[Area],
    size: Tensor,
) -> list[Tensor]:
    """Of predictions in a table of places (I, M) and people in one (I, N), for each range of areas: (thresholds, I, M)
    1 who is right, 0 who is false, -1 who does not count."""
    if not len(predicted):
        return [torch.zeros(len(THRESHOLDS), *row.shape, dtype=torch.int8)] * len(areas)
    here, there = row.clamp_min(0), column.clamp_min(0)
    states = []
    if len(truth):
        own = truth.points[there], truth.annotated[there], truth.area[there], truth.boxes[there]
        likes = similarity(predicted.points[here][..., :2], *own, sigmas)
    for area in areas:
        state = torch.zeros(len(THRESHOLDS), *row.shape, dtype=torch.int8)
        if len(truth):
            ignored = truth.ignored[there] | beyond(truth.area[there], area)
            state = judge(likes, column >= 0, ignored, truth.crowd[there])
        states.append(state.masked_fill((state == 0) & beyond(size[here], area), -1))
    return states


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
        states.append(torch.where(chosen.any(-1), torch.where(free, -1, 1), 0).to(torch.int8))
    return torch.stack(states, -1)
