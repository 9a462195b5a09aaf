"""A table of labelled people as a detector's boxes show them: one row a box, with the labels of whom it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .detections import Detections
from .others import by_picture
from .people import People, joints_box

OVERLAP = 0.3
"""Least intersection over union of a detected box and that of the person who is in it."""


def by_boxes(people: People, detections: Mapping[str, Detections]) -> People:
    """A row for each box of the pictures that `people` are in, in the order of the table's pictures: with the labels of
    the person whom it overlaps most, where each box and each person has one at most, and the sum of overlaps in a
    picture is the highest there can be. Of boxes that find nobody nothing is annotated."""
    from scipy.optimize import linear_sum_assignment

    labelled = people.boxes
    if labelled is None:
        labelled = np.array([joints_box(*pair) for pair in zip(people.keypoints, people.annotated, strict=True)])
    chosen, boxes, matched, ids = [], [], [], []
    for picture, rows in by_picture(people.pictures).items():
        own = detections[picture].boxes if picture in detections else np.zeros((0, 4))
        alike = overlaps(own, labelled[rows])
        taken = zip(*linear_sum_assignment(-alike), strict=True)
        pairs = {box: person for box, person in taken if alike[box, person] >= OVERLAP}
        chosen += [rows[pairs.get(box, 0)] for box in range(len(own))]
        matched += [box in pairs for box in range(len(own))]
        ids += [f"{picture}/{box}" for box in range(len(own))]
        boxes.append(own)
    known, made = np.array(matched, bool), people.select(np.array(chosen, np.int64))
    return replace(
        made,
        ids=ids,
        boxes=np.concatenate([np.zeros((0, 4)), *boxes]),
        annotated=made.annotated & known[:, None],
        visible=made.visible & known[:, None],
        heads=None if made.heads is None else np.where(known[:, None], made.heads, 0.0),
        tracks=None if made.tracks is None else np.where(known, made.tracks, -1),
    )


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (M, 4) with boxes (N, 4): (M, N)."""
    first, second = first[:, None], second[None]
    low, high = np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])
    both = (high - low).clip(0).prod(-1)
    union = (first[..., 2:] - first[..., :2]).prod(-1) + (second[..., 2:] - second[..., :2]).prod(-1) - both
    return np.asarray(both / np.maximum(union, 1e-9))
