"""The labelled people of a dataset by the pictures that they stand in, and which given box is whose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...adapt.scoring.matching import choose
from ...adapt.scoring.people import LabelledPeople
from ...datasets.reading.box_chain import chained
from ...datasets.reading.detections import Detected
from ...datasets.reading.people import AROUND_BOXES, PictureSet, square
from ...datasets.reading.prepared import Prepared
from ...datasets.rendered.people import RenderedPeople
from ...datasets.sample import Item, PoseDataset
from ...datasets.views import Rows

OVERLAP = 0.3
"""Least intersection over union of a given box with that of a person's joints, which is smaller than the person."""


@dataclass(frozen=True)
class Labels:
    """The people of a dataset, one a sample."""

    people: LabelledPeople
    pictures: list[str]
    """The name of each picture, in the order of `people.image_index`."""
    sequences: list[str]
    """Of each person."""


def labels_of(dataset: PoseDataset) -> Labels:
    """Raises ValueError for a set without points in the camera's frame."""
    if isinstance(dataset, PictureSet):
        table = dataset.people
        names, sequences, points = list(table.pictures), list(table.sequences), table.points
        annotated, keypoints = table.annotated, table.keypoints
    else:
        names, sequences, points, annotated, keypoints = _columns(dataset)
    if points is None:
        raise ValueError(f"{dataset.name} has no points in mm in the camera's frame: people in space need them")
    pictures = list(dict.fromkeys(names))
    place = {name: number for number, name in enumerate(pictures)}
    people = LabelledPeople(
        points=torch.from_numpy(points).double(),
        annotated=torch.from_numpy(annotated),
        valid=torch.ones(len(points), dtype=torch.bool),
        image_index=torch.tensor([place[name] for name in names]),
        keypoints=torch.from_numpy(keypoints[..., :2]).double(),
    )
    return Labels(people, pictures, sequences)


def _columns(dataset: PoseDataset) -> tuple[list[str], list[str], np.ndarray | None, np.ndarray, np.ndarray]:
    """Pictures, sequences, points, annotated and keypoints of a set without a table, read item by item: what is shown
    is not kept."""
    names, sequences, points, annotated, keypoints = [], [], [], [], []
    for row in range(len(dataset)):
        item = dataset[row]
        names.append(picture_of(dataset, item.id))
        sequences.append(item.sequence)
        points += [] if item.points is None else [item.points]
        annotated.append(item.annotated)
        keypoints.append(item.keypoints)
    known = np.stack(points) if len(points) == len(names) else None
    return names, sequences, known, np.stack(annotated), np.stack(keypoints)


def picture_of(dataset: PoseDataset, sample: str) -> str:
    """The picture that a sample shows, of rendered people a whole scene. Raises ValueError for a set that does not
    know."""
    if isinstance(dataset, Prepared):
        raise ValueError(
            f"{dataset.name}: prepared arrays do not name the pictures; open the set that they were made of"
        )
    return sample.rpartition("/")[0] if isinstance(dataset, RenderedPeople) else sample


def names_of(dataset: PoseDataset) -> list[str]:
    """The picture of each sample."""
    if isinstance(dataset, PictureSet):
        return list(dataset.people.pictures)
    return [picture_of(dataset, dataset[row].id) for row in range(len(dataset))]


class Boxed(Rows):
    """Some of a dataset's people, in crops by given boxes (N, 4), the sides of which are final."""

    def __init__(self, dataset: PoseDataset, rows: Sequence[int], boxes: np.ndarray, source: str) -> None:
        super().__init__(dataset, rows)
        self.identity["boxes"], self.boxes = source, boxes

    def __getitem__(self, index: int, /) -> Item:
        return replace(super().__getitem__(index), box=self.boxes[index].astype(np.float32))


def boxed(dataset: PoseDataset, names: Sequence[str], detected: Detected, source: str) -> tuple[Boxed, int]:
    """The people of a dataset whom boxes find, and how many boxes are nobody's.

    Boxes of a picture choose in the order of their scores, each the person whose joints' box in the picture it overlaps
    most, by OVERLAP at least. Crops are made of boxes as the set makes them of its own, of extended ones they are as
    they stand.
    """
    place = {name: number for number, name in enumerate(dict.fromkeys(names))}
    crops, boxes, scores, images = [], [], [], []
    sizes, shares = dict[str, tuple[int, int]](), []
    for row, name in enumerate(names):
        item = dataset[row]
        sizes[name] = item.image.shape[1], item.image.shape[0]
        shares.append(shown(item))
    chain = isinstance(dataset, PictureSet) and dataset.chain
    for name, one in detected.people.items():
        for box, score in zip(one.boxes, one.scores, strict=True):
            crop = box if detected.extended else chained(box, *sizes[name]) if chain else square(box, AROUND_BOXES)
            if crop is not None:
                crops.append(crop)
                boxes.append(box)
                scores.append(float(score))
                images.append(place[name])
    people = np.stack(shares), np.array([place[name] for name in names])
    owner = owners(*people, np.array(boxes).reshape(-1, 4), np.array(scores), np.array(images, np.int64))
    rows = sorted(owner)
    cut = np.array([crops[owner[row]] for row in rows]).reshape(-1, 4)
    return Boxed(dataset, rows, cut, source), len(boxes) - len(rows)


def owners(
    joints: np.ndarray, places: np.ndarray, boxes: np.ndarray, scores: np.ndarray, images: np.ndarray
) -> dict[int, int]:
    """Which of the boxes (M, 4) in pictures (M,) is whose, by the row of people with boxes of their joints (N, 4) in
    pictures (N,): see `boxed`."""
    given, there = torch.from_numpy(boxes), torch.from_numpy(joints)
    order = torch.from_numpy(scores).argsort(descending=True, stable=True)
    chosen = choose(
        lambda here, people: overlaps(given[order[here]], there[people]),
        torch.from_numpy(images)[order],
        torch.from_numpy(places),
        OVERLAP,
    )
    return {int(person): int(box) for person, box in zip(chosen, order, strict=True) if person >= 0}


def shown(item: Item) -> np.ndarray:
    """(4,) the box of a person's known joints, as far as it is in the picture."""
    known, size = item.keypoints[item.annotated][:, :2].astype(np.float64), item.image.shape[1::-1]
    if not len(known):
        return np.zeros(4)
    return np.concatenate([known.min(0).clip(0, size), known.max(0).clip(0, size)])


def overlaps(here: Tensor, there: Tensor) -> Tensor:
    """Intersection over union of boxes (..., M, 4) with boxes (..., N, 4): (..., M, N)."""
    here, there = here.unsqueeze(-2), there.unsqueeze(-3)
    low, high = torch.maximum(here[..., :2], there[..., :2]), torch.minimum(here[..., 2:], there[..., 2:])
    both = (high - low).clamp_min(0).prod(-1)
    union = (here[..., 2:] - here[..., :2]).prod(-1) + (there[..., 2:] - there[..., :2]).prod(-1) - both
    return both / union.clamp_min(1e-9)
