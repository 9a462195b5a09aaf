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
- Known flaw: camera 400412 of test's capture 0 is reported to project wrongly (issue 100 of the repository).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from ..reading.annotations import BadAnnotation, entries, mapping, need_file, numbers, picture_name, read_json, whole
from ..reading.origin import Origin
from ..reading.people import People, PictureOptions, PictureSet, digest, project
from ..reading.splits import check_part
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


class _Camera(NamedTuple):
    rotation: np.ndarray
    position: np.ndarray
    intrinsics: np.ndarray


class _Shot(NamedTuple):
    """One annotation: a picture with its hand or hands."""

    id: int
    picture: str
    sequence: str
    frame: int
    valid: np.ndarray
    """(42,) bool"""
    camera: int
    pose: int


Entry = TypeVar("Entry")


def interhand(options: PictureOptions, part: str) -> PictureSet:
    """The hands of `part`, train or test. Raises ValueError for a missing file, BadAnnotation for a malformed one."""
    check_part(part)
    folder = options.folder
    files = _files(folder, part)
    about = {"part": part, "sha256": digest(*files)}
    return PictureSet(
        f"interhand.{part}", folder, _people(*files, part), about, ORIGIN, options.boxes, fallback="truth"
    )


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


def _people(data: Path, camera: Path, joints: Path, part: str) -> People:
    cameras, poses = _Cameras(camera), _Poses(joints)
    shots = _shots(data, part, cameras, poses)
    both = np.array([shot.valid for shot in shots], bool).reshape(-1, 2, 21)
    row, hand = np.nonzero(both.any(-1))
    picked = both[row, hand][:, ORDER]
    lenses = np.array([shot.camera for shot in shots], np.int64)[row]
    world = poses.table()[np.array([shot.pose for shot in shots], np.int64)[row], hand][:, ORDER]
    points = np.where(picked[..., None], cameras.look(world, lenses), 0.0)
    ids = [f"interhand/{part}/{shots[i].id}/{('right', 'left')[h]}" for i, h in zip(row, hand, strict=True)]
    near = picked & (points[..., 2] < NEAREST)
    if near.any():
        worst = int(near.any(-1).argmax())
        deep = points[worst, picked[worst], 2].min()
        raise BadAnnotation(joints, ids[worst], "world_coord", f"{deep:g} mm deep", "joints before the camera")
    intrinsics = cameras.table()[lenses]
    return People(
        str(data),
        HAND,
        [shots[i].picture for i in row],
        ids,
        [shots[i].sequence for i in row],
        np.array([shot.frame for shot in shots], np.int64)[row],
        project(points, intrinsics),  # zeros where there is no point
        picked,
        picked,
        camera=intrinsics,
        points=points,
        mirrored=hand == 0,
    )


def _shots(file: Path, part: str, cameras: _Cameras, poses: _Poses) -> list[_Shot]:
    """What the annotations say, in their order."""
    content = mapping(read_json(file), file, "", "the content", ("images", "annotations"))
    images = _images(entries(content["images"], file, "", "images"), file)
    shots: list[_Shot] = []
    known: set[int] = set()
    for annotation in entries(content["annotations"], file, "", "annotations"):
        a = mapping(annotation, file, "an annotation", "it", ("id", "image_id", "joint_valid", "hand_type"))
        number = whole(a["id"], file, "an annotation", "id")
        entry = f"annotation {number}"
        if number in known:
            raise BadAnnotation(file, entry, "id", "there twice", "one annotation of each id")
        known.add(number)
        image = images.get(whole(a["image_id"], file, entry, "image_id"))
        if image is None:
            raise BadAnnotation(file, entry, "image_id", a["image_id"], "the id of one of the images")
        if a["hand_type"] not in ("right", "left", "interacting"):
            raise BadAnnotation(file, entry, "hand_type", a["hand_type"], "right, left or interacting")
        valid = numbers(a["joint_valid"], (42, 1), file, entry, "joint_valid")[:, 0] > 0
        name, capture, sequence, frame, lens = image
        lens_index, pose = cameras.index(capture, lens, entry), poses.index(capture, str(frame), entry)
        place = f"Capture{capture}/{sequence}"
        shots.append(_Shot(number, f"images/{part}/{name}", place, frame, valid, lens_index, pose))
    return shots


def _images(listed: list[Any], file: Path) -> dict[int, tuple[str, str, str, int, str]]:
    """By id: name, capture, sequence, frame, camera."""
    images: dict[int, tuple[str, str, str, int, str]] = {}
    for image in listed:
        i = mapping(image, file, "an image", "it", ("id", "file_name", "capture", "seq_name", "camera", "frame_idx"))
        number = whole(i["id"], file, "an image", "id")
        entry = f"image {number}"
        if number in images:
            raise BadAnnotation(file, entry, "id", "there twice", "one image of each id")
        for field in ("seq_name", "camera"):
            if not isinstance(i[field], str) or not i[field].isprintable():
                raise BadAnnotation(file, entry, field, i[field], "a text of one line")
        images[number] = (
            picture_name(i["file_name"], file, entry),
            str(whole(i["capture"], file, entry, "capture")),
            i["seq_name"],
            whole(i["frame_idx"], file, entry, "frame_idx"),
            i["camera"],
        )
    return images


class _Asked(ABC, Generic[Entry]):
    """What is asked for of a file that is keyed by capture: each part is read and checked once."""

    def __init__(self, file: Path) -> None:
        self.file, self.content = file, mapping(read_json(file), file, "", "the content")
        self.known: dict[tuple[str, str], int] = {}
        self.all: list[Entry] = []

    def index(self, capture: str, name: str, entry: str) -> int:
        """The place in `all` of a capture's camera or frame, which `entry` asks for."""
        if (capture, name) not in self.known:
            place = f"{name} of capture {capture}, asked for by {entry}"
            self.known[capture, name] = len(self.all)
            self.all.append(self.read(mapping(self.content, self.file, place, "it", (capture,))[capture], name, place))
        return self.known[capture, name]

    @abstractmethod
    def read(self, group: Any, name: str, place: str) -> Entry: ...


class _Cameras(_Asked[_Camera]):
    def read(self, group: Any, name: str, place: str) -> _Camera:
        fields = ("campos", "camrot", "focal", "princpt")
        mapping(group, self.file, place, "the capture", fields)
        position, rotation, focal, middle = (
            numbers(mapping(group[field], self.file, place, field, (name,))[name], shape, self.file, place, field)
            for field, shape in zip(fields, ((3,), (3, 3), (2,), (2,)), strict=True)
        )
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
            raise BadAnnotation(self.file, place, "camrot", rotation.tolist(), "a rotation")
        if not (focal > 0).all():
            raise BadAnnotation(self.file, place, "focal", focal.tolist(), "positive lengths in pixels")
        return _Camera(rotation, position, np.concatenate([focal, middle + 0.5]))

    def table(self) -> np.ndarray:
        """(C, 4)"""
        return np.array([camera.intrinsics for camera in self.all]).reshape(-1, 4)

    def look(self, world: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Points of the world (N, K, 3) in the frames of cameras (N,), mm."""
        rotation = np.array([camera.rotation for camera in self.all]).reshape(-1, 3, 3)[which]
        position = np.array([camera.position for camera in self.all]).reshape(-1, 3)[which]
        turned: np.ndarray = (world - position[:, None]) @ rotation.transpose(0, 2, 1)
        return turned


class _Poses(_Asked[np.ndarray]):
    def read(self, group: Any, name: str, place: str) -> np.ndarray:
        pose = mapping(group, self.file, place, "the capture", (name,))[name]
        world = mapping(pose, self.file, place, "the frame", ("world_coord",))["world_coord"]
        return numbers(world, (42, 3), self.file, place, "world_coord")

    def table(self) -> np.ndarray:
        """(F, 2, 21, 3): right hand, left hand; mm of the world."""
        return np.array(self.all).reshape(-1, 2, 21, 3)
