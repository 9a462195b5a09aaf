"""Another model's predictions as labels to learn from: COCO's list of results, or a COCO file as `keyshift predict`
writes it, matched with the samples of a dataset.

A list says no names of keypoints: they are taken in order. What stands behind x and y is a confidence up to 1; a flag
above it takes the person's score, and 1 where there is none. `keypoint_scores`, where an entry has them, go before.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..sample import PIXELS, Item, PoseDataset
from .annotations import BadAnnotation, Words, entries, mapping, need_file, numbers, read_json
from .images import UnreadableImage


@dataclass(frozen=True)
class Matched:
    """Predicted people of a dataset's samples, in file pixels."""

    points: np.ndarray
    """(P, K, 2)"""
    confidence: np.ndarray
    """(P, K)"""
    row: np.ndarray
    """(P,) int64 the sample's place in the dataset, ascending."""


def people_of(path: Path, dataset: PoseDataset) -> Matched:
    """The predictions in `path` for the samples of `dataset`: everybody of a picture, or who fits a sample's box best.

    A picture is matched by its name, or by the name without folders and ending, or the number that it is. Samples
    without a prediction are counted in a warning. Raises ValueError for a missing file, other keypoints, samples that
    are not in pixels, and where no picture fits.
    """
    order, predicted = read_for(path, dataset.skeleton.keypoints)
    index = _by_key(predicted)
    parts: list[tuple[int, np.ndarray]] = []
    first, missing = "", 0
    for row in range(len(dataset)):
        try:
            item = dataset[row]
        except UnreadableImage:  # training warns of it
            missing += 1
            continue
        if item.space != PIXELS:
            raise ValueError(
                f"{path} holds points in a picture, {dataset.name} asks for {item.space}: give an ONNX file"
            )
        there = next((index[key] for key in keys_of(item.id) if key in index), None)
        chosen = np.zeros((0, 1, 3)) if there is None else _of_item(predicted[there], item)
        parts += [(row, person[order]) for person in chosen]
        first, missing = first or item.id, missing + (there is None)
    if missing == len(dataset):
        raise ValueError(
            f"{path}: none of its pictures ({', '.join(list(predicted)[:3])}, ...) is one of {dataset.name} "
            f"({first}, ...). Name them as the data does, by file_name"
        )
    if missing:
        warnings.warn(f"{path}: no prediction for {missing} of {len(dataset)} samples", stacklevel=2)
    table = np.array([person for _, person in parts]).reshape(-1, len(dataset.skeleton), 3)
    return Matched(table[..., :2], table[..., 2], np.array([row for row, _ in parts], np.int64))


def read_for(path: Path, keypoints: tuple[str, ...]) -> tuple[list[int], dict[str, np.ndarray]]:
    """The places of `keypoints` among those of the file, and what `read_predictions` gives by picture. Raises
    ValueError for a missing file and for other keypoints."""
    names, predicted = read_predictions(path, len(keypoints))
    if not predicted:
        raise ValueError(f"{path} holds no prediction; expected one a person, as `keyshift predict` writes them")
    return list(range(len(keypoints))) if names is None else places(keypoints, names, str(path)), predicted


def read_predictions(path: Path, keypoints: int) -> tuple[list[str] | None, dict[str, np.ndarray]]:
    """The names of the keypoints where the file says them, else None, when there must be as many as `keypoints`; and
    by picture (n, K, 3): x and y in px, a pixel's middle at +0.5, and a confidence. Raises BadAnnotation."""
    content = read_json(need_file(path, "labels= takes a COCO results file (.json) or a network (.onnx)"))
    names, pictures, rows = None, {}, content
    if isinstance(content, dict):
        given = mapping(content, path, "", "the content", ("images", "annotations"))
        for number, value in enumerate(entries(given["images"], path, "", "images")):
            image = mapping(value, path, f"image {number}", "the image", ("id", "file_name"))
            pictures[str(image["id"])] = str(image["file_name"])
        names, rows = _names(given.get("categories"), path), given["annotations"]
    people: dict[str, list[np.ndarray]] = {}
    for number, value in enumerate(entries(rows, path, "", "the content")):
        where = f"entry {number}"
        entry = mapping(value, path, where, "the prediction", ("keypoints",))
        if not {"file_name", "image_id"} & entry.keys():
            raise BadAnnotation(path, where, "image_id", Words("missing"), "image_id, or the picture's file_name")
        named = str(entry.get("file_name", entry.get("image_id")))
        count = keypoints if names is None else len(names)
        people.setdefault(pictures.get(named, named), []).append(_person(entry, count, path, where))
    return names, {name: np.stack(persons) for name, persons in people.items()}


def _person(entry: dict[str, Any], keypoints: int, path: Path, where: str) -> np.ndarray:
    values = numbers(entry["keypoints"], (None,), path, where, "keypoints")
    if len(values) != 3 * keypoints:
        held = Words(f"{len(values)} numbers, {len(values) / 3:g} keypoints")
        raise BadAnnotation(path, where, "keypoints", held, f"x, y, v of each of {keypoints} keypoints")
    person = values.reshape(-1, 3)
    flags = person[:, 2]
    score = entry.get("score")
    whole = 1.0 if score is None else float(numbers(score, (), path, where, "score"))
    confidence = np.where(flags > 1, whole, flags)
    if "keypoint_scores" in entry:
        confidence = numbers(entry["keypoint_scores"], (keypoints,), path, where, "keypoint_scores")
    return np.concatenate([person[:, :2] + 0.5, confidence[:, None]], 1)


def _names(categories: Any, path: Path) -> list[str] | None:
    """The keypoints of the only category that has some."""
    listed = [mapping(c, path, "categories", "the category") for c in entries(categories or [], path, "", "categories")]
    named = [category["keypoints"] for category in listed if category.get("keypoints")]
    if len(named) > 1:
        raise BadAnnotation(
            path, "", "categories", Words(f"{len(named)} with keypoints"), "one category with keypoints"
        )
    return [str(name) for name in named[0]] if named else None


def places(wanted: tuple[str, ...], names: list[str], source: str) -> list[int]:
    """Where each of the `wanted` keypoints stands among `names`. Raises ValueError, naming both, where one is none."""
    lacking = [name for name in wanted if name not in names]
    if lacking:
        raise ValueError(
            f"{source} has keypoints {', '.join(names)}; the model has {', '.join(wanted)}: "
            f"{', '.join(lacking)} would have no label. Take a model of the same keypoints"
        )
    return [names.index(name) for name in wanted]


def _by_key(predicted: dict[str, np.ndarray]) -> dict[str, str]:
    """The picture that each key means; keys that mean several are left out."""
    meant: dict[str, set[str]] = {}
    for name in predicted:
        for key in keys_of(name):
            meant.setdefault(key, set()).add(name)
    return {key: next(iter(those)) for key, those in meant.items() if len(those) == 1} | {n: n for n in predicted}


def keys_of(name: str) -> Iterator[str]:
    """What a picture or a sample (picture/person) may be called, the most exact first."""
    parent = name.rpartition("/")[0]
    picture = PurePosixPath(parent if PurePosixPath(parent).suffix else name)
    yield from (name, str(picture))
    if "#" not in picture.name:  # a video's frames have one stem
        yield picture.stem
        if picture.stem.isascii() and picture.stem.isdigit():
            yield str(int(picture.stem))


def _of_item(people: np.ndarray, item: Item) -> np.ndarray:
    """Those of people (n, K, 3) that are a sample's: all of a picture; of a crop the one (1, K, 3) who lies in its box
    with most keypoints, half of them at least, and nearest to its middle."""
    if item.keypoints.ndim == 3:
        return people
    low, high = item.box[:2], item.box[2:]
    points = people[..., :2]
    inside = ((points >= low) & (points <= high)).all(-1).mean(1)
    away = np.linalg.norm(points.mean(1) - (low + high) / 2, axis=1) / max(float((high - low).max()), 1e-6)
    best = int(np.lexsort((away, -inside))[0])
    return people[[best]] if inside[best] >= 0.5 else people[:0]
