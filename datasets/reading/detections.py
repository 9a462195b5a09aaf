"""People told by boxes in COCO's form of results, with scores and roots: what a detector gives, what RootNet gives.

    [{"file_name": "day1/0007.jpg", "category_id": 1, "bbox": [left, top, width, height], "score": 0.93}, ...]
    [{..., "root_cam": [x, y, z]}, ...]            mm in the camera's frame, of the root joint (pelvis, wrist)

There are two kinds (3DMPPE_ROOTNET_RELEASE and 3DMPPE_POSENET_RELEASE have a file of each for every set). Boxes of the
first are a detector's or a label's: not extended, the input of RootNet. Those of the second were clipped, brought to
the input's aspect and extended, and hold a root: the output of RootNet and the input of PoseNet, which must not extend
them again. A file with a root in every entry is of the second kind, one without any of the first, and one with some is
refused; `extended` in every entry, or whoever reads it, may say otherwise.

A picture is named by `file_name`, by an `image_id` that is a text, or by the number that it has in `images`, a COCO
file beside, or of the same file with "images" and "annotations". The other forms of boxes.py are read too. An entry
without a score is sure: 1. Boxes are edges in continuous pixels of the picture as it is shown: its top left corner is
(0, 0).
"""

from __future__ import annotations

import difflib
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .annotations import BadAnnotation, Words, need_file, numbers, picture_name
from .box_rows import Row, rows_of
from .files import write_text
from .video import file_of

PERSON = 1
"""COCO's class of people, in results and in torchvision's detectors."""
NEAREST = 100.0
"""mm: where all roots are nearer, they are in metres."""
Kind = TypeVar("Kind")


class Detections(NamedTuple):
    """The people of one picture."""

    boxes: np.ndarray
    """(n, 4) left, top, right, bottom"""
    scores: np.ndarray
    """(n,)"""
    roots: np.ndarray | None = None
    """(n, 3) mm in the camera's frame, x right, y down, z forward."""


@dataclass(frozen=True)
class Detected:
    """The people of pictures."""

    people: dict[str, Detections]
    """By picture; those without anybody are not in it."""
    extended: bool
    """Whether the boxes are clipped, of the input's aspect and extended already: then they are cut out as they are."""

    @property
    def boxes(self) -> dict[str, np.ndarray]:
        return {name: one.boxes for name, one in self.people.items()}


def read_detections(
    path: Path,
    pictures: Sequence[str],
    others: Sequence[str] = (),
    images: Path | None = None,
    extended: bool | None = None,
    least: float = 0.0,
) -> Detected:
    """The people of those `pictures` that the file has, in the file's order.

    `others` are pictures, and videos for all their frames, that the file may name too, and are passed over. `images` is
    the COCO file that numbers the pictures. `extended` says of which kind the boxes are, whatever the file says; None:
    what it says. Boxes of a score below `least`, and pictures without a box, are counted in a warning. Raises
    BadAnnotation, a ValueError, naming file, line or entry, and field.
    """
    need_file(path, "boxes= takes a .csv or .json file with a box a line")
    detected = gathered(rows_of(path, images), path, pictures, others, extended, least)
    return Detected(checked(detected.people, pictures, str(path)), detected.extended)


def gathered(
    rows: Iterable[Row],
    path: Path,
    pictures: Sequence[str],
    others: Sequence[str] = (),
    extended: bool | None = None,
    least: float = 0.0,
) -> Detected:
    """What `read_detections` gives, of rows, without a word about pictures without a box. Raises BadAnnotation."""
    known, more = set(pictures), set(others)
    listed: dict[str, list[np.ndarray]] = {}
    kind, low = _Kind(path, extended), 0
    for row in rows:
        name, box = _name(row, path, known, more), _box(row, path)
        root = kind.take(row)
        score = 1.0 if row.score is None else float(numbers(row.score, (), path, row.where, "score"))
        if score < least:
            low += 1
        elif name in known:
            listed.setdefault(name, []).append(np.concatenate([box, [score], root]))
    if low:
        warnings.warn(f"{path}: {low} boxes of a score below {least} are left out", stacklevel=3)
    rooted = kind.end()
    people = {}
    for name, entries in listed.items():
        table = np.stack(entries)
        people[name] = Detections(table[:, :4], table[:, 4], table[:, 5:] if rooted else None)
    return Detected(people, kind.extended)


class _Kind:
    """Of which kind a file is, by what all of its rows say alike."""

    def __init__(self, path: Path, extended: bool | None) -> None:
        self.path, self.chosen = path, extended
        self.rooted: bool | None = None
        self.said: Any = None
        self.first: tuple[str, Any] | None = None
        self.furthest = 0.0

    def take(self, row: Row) -> np.ndarray:
        """The root of a row (3,), or (0,) where the file has none. Raises BadAnnotation for one unlike those before."""
        if row.extended is not None and not isinstance(row.extended, bool):
            raise BadAnnotation(self.path, row.where, "extended", row.extended, "true or false")
        if self.rooted is None:
            self.rooted, self.said = row.root is not None, row.extended
        if self.rooted != (row.root is not None):
            words = Words("there, and not in entries before" if row.root is not None else "missing, and in others not")
            wanted = "a root in all entries (boxes that RootNet processed) or in none (a detector's)"
            raise BadAnnotation(self.path, row.where, "root_cam", words, wanted, "Put the two kinds into two files")
        if self.said != row.extended:
            raise BadAnnotation(self.path, row.where, "extended", row.extended, f"{self.said}, as in entries before")
        return np.zeros(0) if row.root is None else self._root(row)

    def _root(self, row: Row) -> np.ndarray:
        root = numbers(row.root, (3,), self.path, row.where, "root_cam")
        if root[2] <= 0:
            raise BadAnnotation(self.path, row.where, "root_cam", root.tolist(), "a root in front of the camera, z > 0")
        self.first = self.first or (row.where, root.tolist())
        self.furthest = max(self.furthest, float(root[2]))
        return root

    def end(self) -> bool:
        """Whether the file has roots. Raises BadAnnotation where they are in metres."""
        if self.first is not None and self.furthest < NEAREST:
            wanted = f"mm, and no root is {NEAREST:g} mm away"
            raise BadAnnotation(self.path, self.first[0], "root_cam", self.first[1], wanted, "Multiply metres by 1000")
        return bool(self.rooted)

    @property
    def extended(self) -> bool:
        if self.chosen is not None:
            return self.chosen
        return bool(self.rooted) if self.said is None else bool(self.said)


def _name(row: Row, path: Path, known: set[str], more: set[str]) -> str:
    name = picture_name(row.picture, path, row.where, "file")
    if name not in known and not {name, file_of(name)} & more:
        near = difflib.get_close_matches(name, [*known, *more], 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise BadAnnotation(path, row.where, "file", name, f"a picture below the root{hint}")
    return name


def _box(row: Row, path: Path) -> np.ndarray:
    box = numbers(row.box, (4,), path, row.where, "the box")
    if not (box[2:] > box[:2]).all():
        wanted = "right > left and bottom > top (a CSV of widths says so in its header: left,top,width,height)"
        raise BadAnnotation(path, row.where, "the box", box.tolist(), wanted)
    return box


def checked(boxes: dict[str, Kind], pictures: Sequence[str], source: str) -> dict[str, Kind]:
    """`boxes`, after a warning of the pictures that have none."""
    missing = [name for name in pictures if name not in boxes]
    if missing:
        warnings.warn(
            f"{source}: no box for {len(missing)} of {len(pictures)} pictures, the first {missing[0]}; "
            "they are left out",
            stacklevel=3,
        )
    return boxes


def results_of(people: Mapping[str, Detections], ids: Mapping[str, int] | None = None) -> Iterator[dict[str, Any]]:
    """The entries of COCO's results; `ids` are the numbers that pictures have in a COCO file, written beside names."""
    for name, one in people.items():
        extents = np.concatenate([one.boxes[:, :2], one.boxes[:, 2:] - one.boxes[:, :2]], 1)
        number = {} if ids is None else {"image_id": int(ids[name])}
        for k, (box, score) in enumerate(zip(extents.tolist(), one.scores.tolist(), strict=True)):
            entry = {**number, "file_name": name, "category_id": PERSON, "bbox": box, "score": score}
            yield entry if one.roots is None else entry | {"root_cam": one.roots[k].tolist(), "extended": True}


def write_results(path: Path, people: Mapping[str, Detections], ids: Mapping[str, int] | None = None) -> None:
    """Write boxes, scores and, where there are some, roots as COCO results, whole or not at all; a file that is there
    is written over."""
    write_text(path, "[" + ",\n ".join(map(json.dumps, results_of(people, ids))) + "]\n")


def write_roots(path: Path, people: Mapping[str, Detections], ids: Mapping[str, int] | None = None) -> None:
    """`write_results` of what RootNet gives and PoseNet reads: processed boxes, which are not to be extended again,
    with roots. Raises ValueError for a picture without roots."""
    for name, one in people.items():
        if one.roots is None or one.roots.shape != (len(one.boxes), 3):
            raise ValueError(
                f"{path}: {name} has no root for each of its {len(one.boxes)} boxes; write_results takes it"
            )
    write_results(path, people, ids)
