"""Predicted people in space as `keyshift predict` writes them: a COCO file whose annotations hold `keypoints_mm`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...datasets.reading.annotations import BadAnnotation, Words, entries, mapping, need_file, numbers, read_json
from ...datasets.reading.video import is_frame


@dataclass(frozen=True)
class PeopleFile:
    """Q people in pictures."""

    path: Path
    keypoints: list[str]
    """K names."""
    pictures: list[str]
    longer: float
    """px, the longer side of a picture, the median of all."""
    image_index: Tensor
    """(Q,) int64, which of `pictures`."""
    points: Tensor
    """(Q, K, 3) mm in the camera's frame."""
    flat: Tensor
    """(Q, K, 2) file px, a pixel's middle at +0.5."""
    score: Tensor
    """(Q,)"""
    roots: Tensor | None
    """(Q, 3) mm, where the file says them besides: RootNet's."""


def read_people(path: Path) -> PeopleFile:
    """Raises BadAnnotation, a ValueError, for other files, naming entry and field."""
    content = mapping(
        read_json(need_file(path, "evaluate FILE.json NAME takes what `keyshift predict` wrote")),
        *(path, "", "the content", ("images", "annotations", "categories")),
    )
    names, pictures, sides = _names(content["categories"], path), dict[Any, int](), []
    listed = []
    for n, value in enumerate(entries(content["images"], path, "", "images")):
        image = mapping(value, path, f"images[{n}]", "the image", ("id", "file_name", "width", "height"))
        pictures[image["id"]] = n
        listed.append(str(image["file_name"]))
        sides.append(max(numbers([image["width"], image["height"]], (2,), path, f"images[{n}]", "width, height")))
    columns: dict[str, list[Any]] = {"image": [], "points": [], "flat": [], "score": [], "root": []}
    for n, value in enumerate(entries(content["annotations"], path, "", "annotations")):
        where = f"annotations[{n}]"
        entry = mapping(value, path, where, "the person", ("image_id", "keypoints", "score"))
        if "keypoints_mm" not in entry:
            remedy = "Predict with a chain or a system that answers in space; for people in pictures name LABELS.json"
            raise BadAnnotation(path, where, "keypoints_mm", Words("missing"), "(x, y, z) mm of each keypoint", remedy)
        if entry["image_id"] not in pictures:
            raise BadAnnotation(path, where, "image_id", entry["image_id"], "one of images")
        columns["image"].append(pictures[entry["image_id"]])
        columns["points"].append(numbers(entry["keypoints_mm"], (len(names), 3), path, where, "keypoints_mm"))
        flat = numbers(entry["keypoints"], (3 * len(names),), path, where, "keypoints")
        columns["flat"].append(flat.reshape(-1, 3)[:, :2] + 0.5)
        columns["score"].append(numbers(entry["score"], (), path, where, "score"))
        if "root_mm" in entry:
            columns["root"].append(numbers(entry["root_mm"], (3,), path, where, "root_mm"))
    count, k = len(columns["image"]), len(names)
    if columns["root"] and len(columns["root"]) != count:
        raise BadAnnotation(path, "annotations", "root_mm", Words("missing in some"), "it in all entries or in none")

    def table(name: str, *shape: int) -> Tensor:
        return torch.from_numpy(np.array(columns[name], np.float64).reshape(count, *shape))

    return PeopleFile(
        path,
        names,
        listed,
        float(np.median(sides)) if sides else 1.0,
        torch.tensor(columns["image"], dtype=torch.int64),
        table("points", k, 3),
        table("flat", k, 2),
        table("score"),
        table("root", 3) if columns["root"] else None,
    )


def _names(categories: Any, path: Path) -> list[str]:
    listed = entries(categories, path, "", "categories")
    if not listed:
        raise BadAnnotation(path, "", "categories", Words("empty"), "the names of keypoints")
    names = mapping(listed[0], path, "categories[0]", "the category", ("keypoints",))["keypoints"]
    return [str(name) for name in entries(names, path, "categories[0]", "keypoints")]


def places(names: Sequence[str], pictures: Sequence[str]) -> list[int]:
    """Which of the labelled `pictures` each name of a file is, -1 for none: the one whose path, without its ending,
    ends as the name does, or that is the name's end. Raises ValueError for a name that is several, and for two names
    of one."""
    parts = [_parts(picture) for picture in pictures]
    by_stem: dict[str, list[int]] = {}
    for number, one in enumerate(parts):
        by_stem.setdefault(one[-1], []).append(number)
    numbers = []
    for name in names:
        own = _parts(name)
        fits = [n for n in by_stem.get(own[-1], []) if _agree(own, parts[n])]
        if len(fits) > 1:
            some = " and ".join(pictures[n] for n in fits[:2])
            raise ValueError(f"picture {name!r} of the predictions may be {some}: predict from the folder above these")
        numbers.append(fits[0] if fits else -1)
    first: dict[int, str] = {}
    for name, number in zip(names, numbers, strict=True):
        if number >= 0 and first.setdefault(number, name) != name:
            raise ValueError(f"pictures {first[number]!r} and {name!r} of the predictions are both {pictures[number]}")
    return numbers


def _parts(name: str) -> tuple[str, ...]:
    path = PurePosixPath(name)
    return path.parts if is_frame(name) else path.with_suffix("").parts


def _agree(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    length = min(len(one), len(other))
    return one[-length:] == other[-length:]
