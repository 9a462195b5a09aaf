"""What a COCO keypoint JSON says of whole pictures besides the people whose keypoints are labelled.

Crowds (`iscrowd`) and people without an annotated keypoint are people of whom nothing is annotated: whoever finds one
of them invents nobody. Where they stand no label counts: in their `segmentation`, or in their box where they have none;
without either they are left out. Pictures without any annotation are there too, in both parts: what a target trains on
is not chosen by its labels. HRNet/HigherHRNet-Human-Pose-Estimation @ aa23881, lib/dataset/COCOKeypoints.py, masks the
same regions, and trains on pictures with any annotation; COCO's evaluation looks at all that the file lists.

`area` is the file's, else that of `segmentation`. `crowdIndex` of an image is read where it is there (CrowdPose).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .annotations import BadAnnotation
from .coco_rows import Row, boxes_of, cameras_of
from .people import People, joints_box
from .regions import Region, read_region, rectangle

LARGEST_AREA = 1e12
"""px squared."""


def with_everyone(
    people: People, rows: list[Row], others: list[Row], images: Iterable[dict[str, Any]], file: Path
) -> People:
    """The table of whole pictures, in the order of the file's images and annotations: `people`, made of `rows`, the
    `others`, of whom no keypoint is annotated, and a row for each of the `images` that shows nobody.

    Raises BadAnnotation for a malformed outline, area or crowdIndex.
    """
    others, regions, boxes = _outlined(others, file)
    filled = {row.image["picture"] for row in (*rows, *others)}
    empty = list({image["picture"]: image for image in images if image["picture"] not in filled}.values())
    every, n = [*rows, *others], len(rows)
    shown = [*(row.image for row in every), *empty]
    none = np.zeros((len(shown) - n, len(people.skeleton)), bool)
    own = people.boxes
    if own is None:
        own = np.array([joints_box(*pair) for pair in zip(people.keypoints, people.annotated, strict=True)])
    crowding = [_crowding(image, file) for image in shown]
    made = replace(
        people,
        pictures=[image["picture"] for image in shown],
        ids=[*(row.id for row in every), *(image["picture"] for image in empty)],
        sequences=[image["sequence"] for image in shown],
        frames=np.array([image["frame"] for image in shown], np.int64),
        keypoints=_longer(people.keypoints, len(shown)),
        annotated=np.concatenate([people.annotated, none]),
        visible=np.concatenate([people.visible, none]),
        boxes=np.concatenate([own.reshape(-1, 4), boxes, np.tile([0.0, 0.0, 1.0, 1.0], (len(empty), 1))]),
        camera=cameras_of(shown),
        points=None if people.points is None else _longer(people.points, len(shown)),
        mirrored=None if people.mirrored is None else _longer(people.mirrored, len(shown)),
        area=np.array([*(_area(row, k < n, file) for k, row in enumerate(every)), *(np.nan for _ in empty)]),
        crowd=np.array([*(row.crowd for row in every), *(False for _ in empty)], bool),
        nobody=np.arange(len(shown)) >= len(every),
        unlabelled=[*(None for _ in rows), *regions, *(None for _ in empty)],
        crowding=None if np.isnan(crowding).all() else np.nan_to_num(np.array(crowding)),
    )
    numbers = [*(row.number for row in every), *(0 for _ in empty)]
    return made.select(np.lexsort((np.array(numbers), made.frames)))


def _longer(values: np.ndarray, count: int) -> np.ndarray:
    """`count` rows, of zeros after the first."""
    return np.concatenate([values, np.zeros((count - len(values), *values.shape[1:]), values.dtype)])


def _outlined(rows: list[Row], file: Path) -> tuple[list[Row], list[Region], np.ndarray]:
    """Those of whom it is said where they are, that, and their boxes (M, 4)."""
    boxes, _ = boxes_of(rows, file)
    kept, regions = [], []
    for place, row in enumerate(rows):
        region = read_region(row.annotation.get("segmentation"), file, f"annotation {row.id}")
        if not (boxes[place, 2:] > boxes[place, :2]).all():
            bounds = None if region is None else region.bounds()
            if bounds is None or not (bounds[2:] > bounds[:2]).all():
                continue
            boxes[place] = bounds
        kept.append(place)
        regions.append(rectangle(boxes[place]) if region is None else region)
    lost = [row.id for place, row in enumerate(rows) if place not in set(kept)]
    if lost:
        words = "have neither keypoints nor a box or outline with an area, and are left out"
        warnings.warn(f"{file}: {len(lost)} annotations, the first {lost[0]}, {words}", stacklevel=5)
    return [rows[place] for place in kept], regions, boxes[kept]


def _area(row: Row, labelled: bool, file: Path) -> float:
    """NaN where the file says none. 0 is none of a person with labelled joints: tools write it for what they do not
    know."""
    value = row.annotation.get("area")
    with suppress(ValueError):
        value = float(value) if isinstance(value, str) else value
    if value is not None and (type(value) not in (int, float) or not 0 <= value <= LARGEST_AREA):
        raise BadAnnotation(file, f"annotation {row.id}", "area", value, "px squared, or null")
    if value is not None and (value > 0 or not labelled):
        return float(value)
    region = read_region(row.annotation.get("segmentation"), file, f"annotation {row.id}")
    return np.nan if region is None or not region.area else region.area


def _crowding(image: dict[str, Any], file: Path) -> float:
    value = image["crowding"]
    if value is not None and not (type(value) in (int, float) and 0 <= value <= 1):
        raise BadAnnotation(file, f"image {image['frame']}", "crowdIndex", value, "a share, 0 to 1")
    return np.nan if value is None else float(value)
