"""InterHand2.6M: single and interacting hands before some 80 calibrated cameras, with 3D joints of the world.

Moon et al., "InterHand2.6M: A Dataset and Baseline for 3D Interacting Hand Pose Estimation from a Single RGB Image",
ECCV 2020; https://mks0601.github.io/InterHand2.6M/; conventions as in facebookresearch/InterHand2.6M @ 0d56e05,
data/InterHand2.6M/dataset.py, and @ 8f194b3, DATASET.md. Below the root lie images/{train,val,test}/Capture*/... and
annotations/{train,val,test}/InterHand2.6M_{split}_{data,camera,joint_3d}.json; of the first release (v0.0)
annotations/all/ in their place. 5 and 30 frames a second come in the same form.

- One row a hand. A picture of interacting hands gives two, each without the other's joints; a hand none of whose joints
  is valid gives none.
- Joints: 21 right, then 21 left ones, each hand from thumb tip to thumb base, ..., little finger, and then the wrist;
  here the wrist is first and fingers run from base to tip. `joint_valid` of the data file is `annotated`: the joint was
  labelled and lies in the picture. Hidden joints are not told apart. The reference drops a hand without a valid wrist,
  because it counts from there; here its other joints stay.
- World in mm: in the camera's frame X = camrot (X_world - campos), pixels = focal X / Z + princpt. The reference draws
  these with OpenCV, whose pixel centres are whole numbers: joints and principal point get +0.5. (The pictures are a
  reduction of larger ones and nothing published says where its centres fell: half a pixel stays open.)
- Boxes: the file's are exactly 1.2 times the valid joints' extent, of both hands where they interact. That is truth
  too, and no box of one hand: the joints' own box is used, `boxes: truth`, a leak where the set is a target.
- Splits are the publisher's train and test; val is not read. A sequence is one recording, seen by all its cameras.
- The files of train are some GB: they are streamed into a table that is kept (reading/tables.py).
- Known flaw: camera 400412 of test's capture 0 is reported to project wrongly (issue 100 of the repository).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..reading.annotations import (
    BadAnnotation,
    mapping,
    need_file,
    numbers,
    picture_name,
    read_json,
    stacked,
    whole,
)
from ..reading.json_stream import lists, walk
from ..reading.origin import Origin
from ..reading.people import People, PictureOptions, PictureSet, project
from ..reading.splits import check_part
from ..reading.tables import read_table
from ..skeleton import HAND

ORIGIN = Origin(
    "InterHand2.6M, Moon et al., ECCV 2020",
    "CC BY-NC 4.0",
    "https://mks0601.github.io/InterHand2.6M/",
    "images/{train,test}/Capture*/..., annotations/{train,test}/InterHand2.6M_*_{data,camera,joint_3d}.json",
)
ORDER = np.array([20, *(4 * finger + joint for finger in range(5) for joint in (3, 2, 1, 0))])
"""Where each joint of HAND stands among a hand's 21 in the file."""
NEAREST = 1.0
"""mm: a valid joint is at least so far before the camera."""


AT_ONCE = 1 << 13
"""Annotations that are turned into rows together."""


def interhand(options: PictureOptions, part: str) -> PictureSet:
    """The hands of `part`, train or test. Raises ValueError for a missing file, BadAnnotation for a malformed one."""
    check_part(part)
    folder = options.folder
    files = _files(folder, part)
    people, more = read_table(f"interhand.{part}", files, {}, lambda about: _people(*files, part))
    about = {"part": part, **more}
    return PictureSet(f"interhand.{part}", folder, people, about, ORIGIN, options.boxes, fallback="truth")


def _files(root: Path, part: str) -> tuple[Path, Path, Path]:
    """The data, camera and joint files."""
    folder = next((f for f in (root / "annotations" / n for n in (part, "all")) if f.is_dir()), None)
    if folder is None:
        raise ValueError(f"no folder {root}/annotations/{part}: root is expected to hold {ORIGIN.layout}")
    data, camera, joints = (
        need_file(folder / f"InterHand2.6M_{part}_{what}.json", f"get it from {ORIGIN.home}")
        for what in ("data", "camera", "joint_3d")
    )
    return data, camera, joints


def _people(data: Path, camera: Path, joints: Path, part: str) -> Iterator[People]:
    """The hands in pieces of the table."""
    shots = _Shots(data)
    cameras, lenses = _cameras(camera, shots)
    world, poses = _poses(joints, shots)
    for start in range(0, max(len(shots.ids), 1), AT_ONCE):
        piece = slice(start, start + AT_ONCE)
        both = shots.valid[piece].reshape(-1, 2, 21)
        row, hand = np.nonzero(both.any(-1))
        picked, shot = both[row, hand][:, ORDER], row + start
        seen = cameras.look(world.reshape(-1, 2, 21, 3)[poses[shot], hand][:, ORDER], lenses[shot])
        points = np.where(picked[..., None], seen, 0.0)
        sides = ("right", "left")
        ids = [f"interhand/{part}/{number}/{sides[h]}" for number, h in zip(shots.ids[shot], hand, strict=True)]
        near = picked & (points[..., 2] < NEAREST)
        if near.any():
            worst = int(near.any(-1).argmax())
            deep = points[worst, picked[worst], 2].min()
            raise BadAnnotation(joints, ids[worst], "world_coord", f"{deep:g} mm deep", "joints before the camera")
        intrinsics, images = cameras.intrinsics[lenses[shot]], shots.images[shot]
        yield People(
            str(data),
            HAND,
            [f"images/{part}/{shots.name(image)}" for image in images],
            ids,
            [f"Capture{shots.captures[shots.capture[i]]}/{shots.sequences[shots.sequence[i]]}" for i in images],
            shots.frame[images],
            project(points, intrinsics),  # zeros where there is no point
            picked,
            picked,
            camera=intrinsics,
            points=points,
            mirrored=hand == 0,
        )


class _Shots:
    """What the data file says, as columns: of images and of annotations, each a picture with its hand or hands."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.numbers, self.names, self.ends = array("q"), bytearray(), array("q")
        self.captures, self.sequences, self.lenses = _Codes(), _Codes(), _Codes()
        columns = {name: array("q") for name in ("capture", "sequence", "lens", "frame", "id", "image")}
        valid: list[np.ndarray] = []
        for kind, listed in lists(file, ("images", "annotations"), AT_ONCE):
            if kind == "images":
                for image in listed:
                    self._add_image(image, columns)
            else:
                valid.append(self._add_annotations(listed, columns))
        self.capture, self.sequence, self.lens, self.frame, self.ids, image = map(np.asarray, columns.values())
        self.valid = np.concatenate(valid) if valid else np.zeros((0, 42), bool)
        """(A, 42) bool"""
        for what, numbers_of in (("image", np.asarray(self.numbers)), ("annotation", self.ids)):
            if (twice := _twice(numbers_of)) is not None:
                raise BadAnnotation(file, f"{what} {twice}", "id", "there twice", f"one {what} of each id")
        self.images = self._match(image)
        """(A,) the places of their images."""

    def _add_image(self, image: Any, columns: dict[str, array[int]]) -> None:
        fields = ("id", "file_name", "capture", "seq_name", "camera", "frame_idx")
        i = mapping(image, self.file, "an image", "it", fields)
        number = whole(i["id"], self.file, "an image", "id")
        entry = f"image {number}"
        for field in ("seq_name", "camera"):
            if not isinstance(i[field], str) or not i[field].isprintable():
                raise BadAnnotation(self.file, entry, field, i[field], "a text of one line")
        self.numbers.append(number)
        self.names += picture_name(i["file_name"], self.file, entry).encode()
        self.ends.append(len(self.names))
        columns["capture"].append(self.captures.code(str(whole(i["capture"], self.file, entry, "capture"))))
        columns["sequence"].append(self.sequences.code(i["seq_name"]))
        columns["lens"].append(self.lenses.code(i["camera"]))
        columns["frame"].append(whole(i["frame_idx"], self.file, entry, "frame_idx"))

    def _add_annotations(self, listed: list[Any], columns: dict[str, array[int]]) -> np.ndarray:
        """(n, 42) bool: which joints of these annotations are valid."""
        for annotation in listed:
            fields = ("id", "image_id", "joint_valid", "hand_type")
            a = mapping(annotation, self.file, "an annotation", "it", fields)
            number = whole(a["id"], self.file, "an annotation", "id")
            entry = f"annotation {number}"
            if a["hand_type"] not in ("right", "left", "interacting"):
                raise BadAnnotation(self.file, entry, "hand_type", a["hand_type"], "right, left or interacting")
            columns["id"].append(number)
            columns["image"].append(whole(a["image_id"], self.file, entry, "image_id"))
        names = [f"annotation {a['id']}" for a in listed]
        values = stacked([a["joint_valid"] for a in listed], (42, 1), self.file, names, "joint_valid")
        return np.asarray(values[..., 0] > 0)

    def _match(self, wanted: np.ndarray) -> np.ndarray:
        known = np.asarray(self.numbers)
        order = np.argsort(known)
        place = (
            order[np.searchsorted(known, wanted, sorter=order).clip(max=len(known) - 1)] if len(known) else wanted * 0
        )
        fine = known[place] == wanted if len(known) else np.zeros(len(wanted), bool)
        if not fine.all():
            row = int(np.argmin(fine))
            entry = f"annotation {self.ids[row]}"
            raise BadAnnotation(self.file, entry, "image_id", int(wanted[row]), "the id of one of the images")
        return place

    def name(self, image: int) -> str:
        """The file's name of an image."""
        return self.names[self.ends[image - 1] if image else 0 : self.ends[image]].decode()


class _Codes(list[str]):
    """Texts that repeat, by small numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, int] = {}

    def code(self, text: str) -> int:
        if text not in self.known:
            self.known[text] = len(self)
            self.append(text)
        return self.known[text]


def _twice(numbers: np.ndarray) -> int | None:
    """The first number that stands there again."""
    order = np.argsort(numbers, kind="stable")
    again = order[1:][numbers[order[1:]] == numbers[order[:-1]]]
    return int(numbers[again.min()]) if len(again) else None


def _asked(shots: _Shots, second: np.ndarray) -> tuple[dict[tuple[int, int], tuple[int, str]], np.ndarray]:
    """The distinct pairs of capture and `second` (I,) of the annotated images, each with its place among them and who
    asks first for it; and the place of each annotation's (A,)."""
    pairs = np.stack([shots.capture[shots.images], second[shots.images]], 1)
    distinct, first, place = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    asked = {
        (int(capture), int(number)): (
            i,
            f"capture {shots.captures[capture]}, asked for by annotation {shots.ids[first[i]]}",
        )
        for i, (capture, number) in enumerate(distinct)
    }
    return asked, place.reshape(-1)


class _Cameras(NamedTuple):
    rotation: np.ndarray
    """(C, 3, 3)"""
    position: np.ndarray
    """(C, 3) mm of the world"""
    intrinsics: np.ndarray
    """(C, 4)"""

    def look(self, world: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Points of the world (N, K, 3) in the frames of cameras (N,), mm."""
        turned: np.ndarray = (world - self.position[which, None]) @ self.rotation[which].transpose(0, 2, 1)
        return turned


def _cameras(file: Path, shots: _Shots) -> tuple[_Cameras, np.ndarray]:
    """Those that annotations ask for, and which is each one's (A,)."""
    content = mapping(read_json(file), file, "", "the content")
    asked, place = _asked(shots, shots.lens)
    shapes, made = ((3,), (3, 3), (2,), (2,)), []
    for (capture, lens), (_, words) in asked.items():
        entry, name, capture_name = f"{shots.lenses[lens]} of {words}", shots.lenses[lens], shots.captures[capture]
        fields = ("campos", "camrot", "focal", "princpt")
        group = mapping(
            mapping(content, file, entry, "it", (capture_name,))[capture_name], file, entry, "the capture", fields
        )
        position, rotation, focal, middle = (
            numbers(mapping(group[field], file, entry, field, (name,))[name], shape, file, entry, field)
            for field, shape in zip(fields, shapes, strict=True)
        )
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
            raise BadAnnotation(file, entry, "camrot", rotation.tolist(), "a rotation")
        if not (focal > 0).all():
            raise BadAnnotation(file, entry, "focal", focal.tolist(), "positive lengths in pixels")
        made.append((rotation, position, np.concatenate([focal, middle + 0.5])))
    columns = (np.array([camera[i] for camera in made]).reshape(-1, *s) for i, s in enumerate([(3, 3), (3,), (4,)]))
    return _Cameras(*columns), place


def _poses(file: Path, shots: _Shots) -> tuple[np.ndarray, np.ndarray]:
    """(F, 42, 3) mm of the world, those that annotations ask for, and which is each one's (A,)."""
    asked, place = _asked(shots, shots.frame)
    slots = {(shots.captures[capture], str(frame)): slot for (capture, frame), slot in asked.items()}
    captures: dict[str, str] = {}
    for (capture, frame), (_, words) in slots.items():
        captures.setdefault(capture, f"{frame} of {words}")
    world, met, there = np.zeros((len(slots), 42, 3)), np.zeros(len(slots), bool), set()
    for keys, value in walk(file, 2):
        if not keys:
            mapping(value, file, "", "the content")
        elif keys[0] in captures and len(keys) == 1:
            mapping(value, file, captures[str(keys[0])], "the capture")
            there.add(keys[0])
        elif keys in slots:
            slot, words = slots[keys]
            entry = f"{keys[1]} of {words}"
            joints = mapping(value, file, entry, "the frame", ("world_coord",))["world_coord"]
            world[slot], met[slot] = numbers(joints, (42, 3), file, entry, "world_coord"), True
    if not met.all():
        capture, frame = next(key for key, (slot, _) in slots.items() if not met[slot])
        what, lacking = ("the capture", frame) if capture in there else ("it", capture)
        mapping({}, file, f"{frame} of {slots[capture, frame][1]}", what, (lacking,))
    return world, place
