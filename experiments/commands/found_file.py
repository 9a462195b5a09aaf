"""People found in pictures, as files hold them: what `keyshift predict` wrote in its form coco, or a list of COCO's
results (`--format results`, and what other tools hand to COCO's evaluation)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...datasets.reading.annotations import BadAnnotation, Words, entries, mapping, need_file, numbers, read_json
from ...datasets.skeleton import Skeleton
from ...models.output import Poses
from .keypoint_files import LabelFile, content_of, joints_of, table
from .people_file import places


@dataclass(frozen=True)
class FoundFile:
    """The people in the pictures that a label file lists."""

    skeleton: Skeleton
    people: Poses
    """image_index says which of the label file's pictures."""
    area: Tensor | None
    """(Q,) of the boxes that a list of results gives its people, by which COCO's tool tells large ones; None: those of
    their keypoints' boxes."""
    listed: int
    """Pictures of the label file that this one lists, of a list of results those with people; of an empty one all."""
    left_out: int
    """People in other pictures."""


def read_found(path: Path, labels: LabelFile) -> FoundFile:
    """Raises BadAnnotation, a ValueError, naming entry and field."""
    content = read_json(need_file(path, "evaluate FILE.json LABELS.json takes what `keyshift predict` wrote"))
    return _results(content, path, labels) if isinstance(content, list) else _coco(path, labels)


def _coco(path: Path, labels: LabelFile) -> FoundFile:
    content, skeleton, _, pictures, titles = content_of(path, "evaluate takes what `keyshift predict` wrote")
    place = places(titles, labels.pictures)
    rows = entries(content["annotations"], path, "", "annotations")
    read = [_person(value, len(skeleton), path, f"annotation {number}") for number, value in enumerate(rows)]
    images = []
    for number, (row, *_) in enumerate(read):
        if row["image_id"] not in pictures:
            raise BadAnnotation(path, f"annotation {number}", "image_id", row["image_id"], "the id of one of images")
        images.append(place[pictures[row["image_id"]]])
    return _gathered(read, images, skeleton, None, len({one for one in place if one >= 0}))


def _results(content: list[Any], path: Path, labels: LabelFile) -> FoundFile:
    if not content:  # nobody was found anywhere
        return _gathered([], [], labels.skeleton, None, len(labels.pictures))
    count = len(labels.skeleton)
    read = [_person(value, count, path, f"entry {number}") for number, value in enumerate(content)]
    named = [row for row, *_ in read if isinstance(row.get("file_name"), str)]
    if len(named) == len(read):
        names = list(dict.fromkeys(str(row["file_name"]) for row, *_ in read))
        place = dict(zip(names, places(names, labels.pictures), strict=True))
        images = [place[row["file_name"]] for row, *_ in read]
    else:
        images = [labels.ids.get(row["image_id"], -1) for row, *_ in read]
    boxes = [row.get("bbox") for row, *_ in read]
    area = None
    if boxes[0]:
        sides = [numbers(box, (4,), path, f"entry {number}", "bbox")[2:] for number, box in enumerate(boxes)]
        area = torch.tensor(np.prod(sides, axis=1))
    return _gathered(read, images, labels.skeleton, area, len({image for image in images if image >= 0}))


def _person(value: Any, count: int, path: Path, where: str) -> tuple[dict[str, Any], np.ndarray, float]:
    """An entry, its keypoints (K, 3) and its score."""
    row = mapping(value, path, where, "the person", ("image_id", "keypoints"))
    if row.get("score") is None:
        raise BadAnnotation(path, where, "score", Words("missing"), "a number, the surest person's is the highest")
    return row, joints_of(row, count, path, where), float(numbers(row["score"], (), path, where, "score"))


def _gathered(
    read: list[tuple[dict[str, Any], np.ndarray, float]],
    images: list[int],
    skeleton: Skeleton,
    area: Tensor | None,
    listed: int,
) -> FoundFile:
    image = torch.tensor(images, dtype=torch.int64)
    joints = table([own for _, own, _ in read], len(skeleton), 3)
    score, kept = table([own for *_, own in read]), image >= 0
    people = Poses(joints[..., :2] + 0.5, torch.ones(joints.shape[:2]), image, score).each(lambda part: part[kept])
    return FoundFile(skeleton, people, None if area is None else area[kept], listed, int((~kept).sum()))
