"""Pictures with people in them: the table that a picture set's annotations are parsed into, and the dataset on top.

A loader is a function from a folder in its raw layout to one `People` table; everything else is the same for all sets.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..clips import Clips
from ..options import option
from ..sample import Item
from ..skeleton import Skeleton
from .annotations import LARGEST, BadAnnotation, Words
from .box_chain import chained
from .columns import Texts, choose, on_disk, pick
from .images import UnreadableImage
from .origin import FolderOptions, Origin
from .others import by_picture, others
from .regions import Region
from .video import file_of, read_named

AROUND_JOINTS = 1.5
"""A square crop's side over the longer side of the joints' box (TLLib's scale_box)."""
AROUND_BOXES = 1.25
"""The same over a box of the whole person or hand, from a file or a detector."""
BOXES = ("truth", "tllib", "whole")
JOINTS = "joints"
"""What a set's own boxes are called that its publisher made of the true joints."""
LEAKS = ("truth", "tllib", JOINTS)
"""Those that look at labels: a target cut so is no honest target."""
PERSON, WHOLE = CROPS = ("person", "whole")
"""What a sample can be of."""


@dataclass(frozen=True)
class PictureOptions(FolderOptions):
    """Base of the options of all that open a `PictureSet`, and those of many."""

    boxes: str | None = option(
        None,
        "what crops are made from: null, the set's own boxes; whole, the whole picture; truth, the true joints, or "
        "tllib, these as TLLib cuts (both leak on a target)",
        choices=BOXES,
    )
    crops: str | None = option(
        None,
        "what a sample is: person, each person cut out; whole, a whole picture with all its people, for systems that "
        "find them; null: whole where the system that reads finds people, else person",
        choices=CROPS,
    )
    keypoints: list[str] | None = option(None, "these alone, in this order; null: all")
    rename: dict[str, str] | None = option(None, "other names of keypoints, {old: new}; `keypoints` are then new ones")


@dataclass(frozen=True)
class People:
    """N people or hands as a set annotates them, one row a crop; x and y in file pixels, pixel centres at +0.5.

    Raises BadAnnotation, naming the row by its id, for numbers that are not finite or absurd, and for empty boxes.
    """

    file: str
    """The annotation file, as errors name it."""
    skeleton: Skeleton
    pictures: Sequence[str]
    """(N) paths below the root, checked by `picture_name`; `clip.mp4#12` is frame 12, from 0, of a video."""
    ids: Sequence[str]
    """(N) unique."""
    sequences: Sequence[str]
    """(N) what is resampled together: a recording, a photograph with all its people."""
    frames: np.ndarray
    """(N,)"""
    keypoints: np.ndarray
    """(N, K, 2); of keypoints that are not annotated anything finite."""
    annotated: np.ndarray
    """(N, K) bool"""
    visible: np.ndarray
    """(N, K) bool; a set that does not say which joints are hidden says `annotated` here too."""
    boxes: np.ndarray | None = None
    """(N, 4) left, top, right, bottom of the person or hand, from the set's own files; None: it has none."""
    camera: np.ndarray | None = None
    """(N, 4) fx, fy, cx, cy"""
    points: np.ndarray | None = None
    """(N, K, 3) mm in the camera's frame, x right, y down, z forward."""
    mirrored: np.ndarray | None = None
    """(N,) bool: shown mirrored to the network, so that all hands look like left ones; labels here are the file's."""
    area: np.ndarray | None = None
    """(N,) px squared: what is seen of the person; NaN where the set does not say it. As all below, whole pictures
    alone read it."""
    crowd: np.ndarray | None = None
    """(N,) bool: it is many people under one label."""
    nobody: np.ndarray | None = None
    """(N,) bool: the row stands for a picture that shows no one; nothing else of it counts."""
    unlabelled: Sequence[Region | None] | None = None
    """(N) where in the picture people are of whom no keypoint is labelled; None of the others."""
    crowding: np.ndarray | None = None
    """(N,) how crowded the picture is, CrowdPose's crowdIndex, 0 to 1."""
    heads: np.ndarray | None = None
    """(N, 4) boxes of heads, left, top, right, bottom, by which PoseTrack counts distances; zeros where not known."""
    tracks: np.ndarray | None = None
    """(N,) who it is in its sequence, -1 where that is not known."""

    def __post_init__(self) -> None:
        n, k = len(self.pictures), len(self.skeleton)
        shapes = {
            **{"keypoints": (n, k, 2), "annotated": (n, k), "visible": (n, k), "frames": (n,)},
            **{"boxes": (n, 4), "camera": (n, 4), "points": (n, k, 3), "mirrored": (n,)},
            **{"area": (n,), "crowd": (n,), "nobody": (n,), "crowding": (n,), "heads": (n, 4), "tracks": (n,)},
        }
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise BadAnnotation(self.file, "", name, Words(f"of shape {value.shape}"), f"shape {shape}")
            if value is None or name == "area" or value.dtype.kind != "f" or on_disk(value):
                continue
            if not (np.abs(value) <= LARGEST).all():
                row = int(np.argmin((np.abs(value) <= LARGEST).reshape(n, -1).all(1)))
                raise BadAnnotation(self.file, self.ids[row], name, value[row].tolist(), "finite pixels and mm")
        for name in ("ids", "sequences"):
            if len(getattr(self, name)) != n:
                raise BadAnnotation(self.file, "", name, Words(f"of length {len(getattr(self, name))}"), f"length {n}")
        boxes = None if on_disk(self.boxes) else self.boxes
        if boxes is not None and n and not (boxes[:, 2:] > boxes[:, :2]).all():
            row = int(np.argmin((boxes[:, 2:] > boxes[:, :2]).all(1)))
            raise BadAnnotation(self.file, self.ids[row], "the box", boxes[row].tolist(), "right > left, bottom > top")

    def __len__(self) -> int:
        return len(self.pictures)

    def select(self, rows: np.ndarray | Sequence[int]) -> People:
        """The table reduced to `rows`, indices or a mask, in that order."""
        index = np.arange(len(self))[np.asarray(rows)]
        if len(index) == len(self) and (np.diff(index) == 1).all():
            return self
        columns: dict[str, Any] = {name: getattr(self, name) for name in COLUMNS}
        return replace(self, **{name: pick(one, index) for name, one in columns.items() if one is not None})

    def choose(self, skeleton: Skeleton, order: Sequence[int]) -> People:
        """The table of keypoint `order[k]` as the k-th of `skeleton`."""
        names = ("keypoints", "annotated", "visible", "points")
        columns: dict[str, Any] = {name: getattr(self, name) for name in names}
        chosen = {name: choose(one, order) for name, one in columns.items() if one is not None}
        return replace(self, skeleton=skeleton, **chosen)


COLUMNS = tuple(one.name for one in fields(People) if one.name not in ("file", "skeleton"))


def together(tables: Sequence[People]) -> People:
    """Tables of one skeleton one after the other, with the columns that all of them have."""
    columns = {one.name: [getattr(table, one.name) for table in tables] for one in fields(People)}
    made: dict[str, Any] = {}
    for name, parts in columns.items():
        if any(part is None for part in parts):
            made[name] = None
        elif isinstance(parts[0], np.ndarray):
            made[name] = np.concatenate(parts)
        elif isinstance(parts[0], list | Texts):
            made[name] = [value for part in parts for value in part]
    return replace(tables[0], **made)


@dataclass
class PictureSet:
    """A `People` table with its pictures below `root`; they are read when asked for.

    `boxes` says what crops are made from: None, the set's own boxes, or `fallback` where it has none; "whole", the
    whole picture; "truth", the true joints; "tllib", the true joints as TLLib cuts. The last two leak where the set is
    a target. `about` goes into `identity`: what names the rows exactly. Raises ValueError for an empty table, and where
    none of the first pictures of the table is there.
    """

    name: str
    root: Path
    people: People
    about: dict[str, Any]
    origin: Origin | None = None
    boxes: str | None = None
    around: float = AROUND_BOXES
    """Side of a crop over the longer side of the set's own box."""
    fallback: str = "whole"
    """What None means in a set without boxes: whole, or truth."""
    declared: Callable[[], dict[str, tuple[int, int]]] | None = None
    """Reads the width and height that the annotation file gives each picture, where it does."""
    white: int | None = None
    """The level of pictures of 16 bit that is white; None: 65535."""
    whole: People | None = None
    """The table with all keypoints, which crops by the true joints are cut from; None: `people` has all."""
    chain: bool = False
    """Crops by the set's own boxes are those of RootNet and PoseNet (box_chain.py): clipped to the picture first."""
    own: str = "file"
    """What the set's own boxes are called in `identity`: file, or joints, which leak where the set is a target."""
    crowd: bool = False
    """A sample says where the other people of its picture are, as its input `others`, where the set has boxes."""
    said: tuple[str, ...] = ()
    """What is to be known of the set before it is used, as notes."""
    skeleton: Skeleton = field(init=False)
    identity: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.root = Path(self.root)
        if self.boxes not in (None, *BOXES):
            raise ValueError(
                f"boxes={self.boxes!r} is not known for {self.name}; choose one of {', '.join(BOXES)} or null"
            )
        if not len(self.people):
            raise ValueError(f"{self.people.file}: no usable sample of {self.name} in it; expected at least one")
        if not any(
            os.path.isfile(self.path(i)) for i in {0, len(self) // 2, len(self) - 1, *range(min(len(self), 50))}
        ):
            near = _alike(self.path(0))
            raise ValueError(
                f"{self.name}: no picture {self.path(0)}, nor any other of the first 50 that {self.people.file} names. "
                f"Unpack the pictures there, or set root to the folder that their names start from{near}"
            )
        self.skeleton = self.people.skeleton
        own = "file" if self.people.boxes is not None else self.fallback
        self.cut = self.boxes or own
        boxes = self.own if self.cut == "file" else self.cut
        self.identity = {"name": self.name, **self.about, "count": len(self), "boxes": boxes}
        if self.white is not None:
            self.identity["white"] = self.white
        if self.origin is not None:
            self.identity["licence"] = self.origin.licence

    def __getstate__(self) -> dict[str, Any]:
        """What is computed when it is asked for stays behind: it may be as long as the table."""
        return {name: value for name, value in self.__dict__.items() if not _is_cached(type(self), name)}

    def __len__(self) -> int:
        return len(self.people)

    def chosen(self, skeleton: Skeleton, order: Sequence[int]) -> PictureSet:
        """The same with keypoint `order[k]` as the k-th of `skeleton`, without people who have none of them."""
        whole = self.whole or self.people
        rows = np.flatnonzero(self.people.annotated[:, order].any(1))
        about = self.about | {"keypoints": ", ".join(skeleton.keypoints)}
        people = self.people.choose(skeleton, order).select(rows)
        return replace(self, people=people, about=about, whole=whole.select(rows))

    def for_space(self) -> PictureSet:
        """The same as systems in space read it: crops by the set's own boxes are those of RootNet and PoseNet, whatever
        made the boxes, and a sample says where others are."""
        return replace(self, chain=True, crowd=True)

    def picture(self, index: int) -> str:
        """The picture of a sample, as the table names it."""
        return self.people.pictures[index]

    def own_boxes(self) -> np.ndarray | None:
        """(N, 4) of the people, before crops are made of them; None where the table has none."""
        return self.people.boxes

    def cameras(self) -> np.ndarray | None:
        """(N, 4), zeros of rows whose camera is not known; None where the table has none."""
        return self.people.camera

    @cached_property
    def rows(self) -> dict[str, list[int]]:
        """The rows of each picture."""
        return by_picture(self.people.pictures)

    def path(self, index: int) -> Path:
        """The file that holds row `index`: a picture or a video."""
        return self.root / file_of(self.picture(index))

    def clips(self, frames: int) -> Clips:
        """The same in clips of `frames` frames, where its pictures follow each other."""
        return Clips(self, frames)

    def read(self, name: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB of a picture below the root. Raises UnreadableImage."""
        return read_named(self.root, name, self.white)

    def __getitem__(self, index: int, /) -> Item:
        return self.item(index, self.read(self.picture(index)))

    def item(self, index: int, image: np.ndarray) -> Item:
        """A row's sample, of which the picture (H, W, 3) has been read."""
        people = self.people
        return Item(
            image=image,
            box=self.box(index, image.shape[1], image.shape[0]),
            id=people.ids[index],
            sequence=people.sequences[index],
            frame=int(people.frames[index]),
            camera=np.zeros(4, np.float32) if people.camera is None else people.camera[index].astype(np.float32),
            keypoints=np.where(people.annotated[index][:, None], people.keypoints[index], 0.0),
            visible=people.visible[index] & people.annotated[index],
            annotated=np.array(people.annotated[index]),
            points=None if people.points is None else np.array(people.points[index]),
            mirrored=bool(people.mirrored[index]) if people.mirrored is not None else False,
            inputs=self.beside(index),
        )

    def beside(self, index: int) -> dict[str, np.ndarray]:
        """What a row's sample says besides its picture."""
        boxes = self.people.boxes
        if not self.crowd or boxes is None:
            return {}
        together = self.rows[self.people.pictures[index]]
        return {"others": others(boxes[together], together.index(index))}

    def box(self, index: int, width: int, height: int) -> np.ndarray:
        """The square crop (4,) of a row in a picture of that size. Raises UnreadableImage where the box of a chain is
        outside of it: the picture is of another size than the labels tell."""
        if self.cut == "file":
            assert self.people.boxes is not None
            own = self.people.boxes[index]
            crop = chained(own, width, height, self.around) if self.chain else square(own, self.around)
            if crop is None:
                where = f"the box {own.tolist()} of {self.people.ids[index]}"
                raise UnreadableImage(f"{self.path(index)}: {width}x{height}, so that {where} is outside of it")
            return crop
        people = self.whole or self.people
        known = people.annotated[index]
        if self.cut == "whole" or not known.any():
            return square(np.array([0.0, 0.0, width, height]), 1.0)
        joints = people.keypoints[index][known]
        tight = np.concatenate([joints.min(0), joints.max(0)])
        return tllib_square(tight, width, height) if self.cut == "tllib" else square(tight, AROUND_JOINTS)


def _is_cached(kind: type, name: str) -> bool:
    return isinstance(getattr(kind, name, None), cached_property)


def _alike(path: Path) -> str:
    """A picture that is there under nearly the name of `path`, in words."""
    stem = path.name.strip().partition(".")[0].casefold()
    beside = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    near = next((file.name for file in beside if file.name.partition(".")[0].strip().casefold() == stem), None)
    return "" if near is None else f". There is {near}: the names in the labels differ by case, ending or blanks"


def square(box: np.ndarray, around: float) -> np.ndarray:
    """The square about the middle of `box` (4,) whose side is `around` times the longer side, at least 8 px."""
    middle = (box[:2] + box[2:]) / 2
    half = max(float((box[2:] - box[:2]).max()) * around, 8.0) / 2
    return np.concatenate([middle - half, middle + half])


def joints_box(keypoints: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    """The box (4,) of a person that has none in a set that has boxes: its crop is that of boxes=truth, a leak."""
    known = keypoints[annotated]
    low, high = known.min(0), known.max(0)
    half = np.maximum((high - low) / 2 * AROUND_JOINTS / AROUND_BOXES, 1.0)
    return np.concatenate([(low + high) / 2 - half, (low + high) / 2 + half])


def warn_of_boxes(file: Path, count: int, total: int, first: str) -> None:
    warnings.warn(
        f"{file}: {count} of {total} people, the first {first}, have no box with an area: theirs are made of the true "
        "joints, which leaks where the set is a target. Set boxes=whole, or add the boxes",
        stacklevel=4,
    )


def tllib_square(box: np.ndarray, width: int, height: int, around: float = AROUND_JOINTS) -> np.ndarray:
    """TLLib's scale_box: a rounded square of `around` times the longer side, no longer than the picture's sides and
    shifted back inside it, its last row and column lost (keypoint_detection/util.py @ c4aa59e)."""
    left, top, right, bottom = box - 0.5  # it counts pixel centres from 0
    side = min(round(around * max(right - left, bottom - top)), width, height)
    corner = []
    for low, high, extent in ((left, right, width), (top, bottom, height)):
        start = (low + high - side) / 2
        corner.append(round(min(max(start, 0), extent - side)))
    x, y = corner
    return np.array([x, y, x + max(side - 1, 1), y + max(side - 1, 1)], np.float64)


def project(points: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """(..., K, 3) mm through cameras (..., 4) to (..., K, 2) px. Points not in front of the camera give zeros."""
    deep = np.where(points[..., 2:] > 0, points[..., 2:], np.inf)
    return points[..., :2] / deep * camera[..., None, :2] + np.where(np.isinf(deep), 0.0, camera[..., None, 2:])


def digest(*files: str | Path) -> str:
    """A name for the content of annotation files."""
    total = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def table(file: str | Path, skeleton: Skeleton, rows: Iterable[dict[str, Any]]) -> People:
    """A `People` table from rows that hold its columns as picture, id, sequence, frame, keypoints, annotated, visible,
    and optionally box, camera, points, mirrored: in all rows or in none."""
    listed = list(rows)
    k = len(skeleton)

    def column(name: str, shape: tuple[int, ...], kind: Any) -> np.ndarray | None:
        if listed and name not in listed[0]:
            return None
        return np.array([row[name] for row in listed], kind).reshape(len(listed), *shape)

    arrays: dict[str, Any] = {
        "frames": column("frame", (), np.int64),
        "keypoints": column("keypoints", (k, 2), np.float64),
        "annotated": column("annotated", (k,), bool),
        "visible": column("visible", (k,), bool),
        "boxes": column("box", (4,), np.float64),
        "camera": column("camera", (4,), np.float64),
        "points": column("points", (k, 3), np.float64),
        "mirrored": column("mirrored", (), bool),
    }
    names: dict[str, Any] = {
        plural: [row[single] for row in listed] for plural, single in (("pictures", "picture"), ("ids", "id"))
    }
    return People(str(file), skeleton, **names, sequences=[row["sequence"] for row in listed], **arrays)
