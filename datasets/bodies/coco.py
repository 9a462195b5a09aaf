"""COCO keypoints 2017, and a user's own labels: any COCO keypoint JSON, or the .npz of SPIN.

Lin et al., ECCV 2014, the publisher's layout and its parts: val2017 is the test; what is resampled together is a
picture with all its people. datasets/reading/coco_file.py says how the JSON is read.

Own labels: one file of which each fifth recording tests, or each fifth block of `block` pictures where images name no
recording; or two files [train, test] as they are. `split=frames` shuffles single pictures as TLLib does with its sets:
a LEAK between train and test where neighbours look alike.

An .npz has imgname, center, scale (box side over 200 px, margin included), part (N, K, 3: x, y, confidence; indices of
pixels: +0.5) and S (N, K, 4: metres in the camera's frame, confidence): Kolotouros et al., ICCV 2019,
https://github.com/nkolot/SPIN, datasets/preprocess. It has no camera, no names of keypoints, and does not say which
joints are hidden.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..own.skeleton_file import KNOWN, skeleton_of
from ..reading.annotations import BadAnnotation, Words, mapping, need_file, numbers, picture_name, read_arrays
from ..reading.coco_file import read_coco
from ..reading.origin import Download, Origin
from ..reading.people import AROUND_BOXES, People, PictureSet, digest
from ..reading.splits import by_group, by_shuffle, check_part
from ..skeleton import Skeleton
from .skeletons import COCO17

_SITE = "http://images.cocodataset.org"
ORIGIN = Origin(
    "COCO keypoints 2017, Lin et al., ECCV 2014",
    "annotations CC BY 4.0; the photographs are Flickr users'",
    "https://cocodataset.org",
    "annotations/person_keypoints_{train,val}2017.json, train2017/, val2017/",
    (
        Download(f"{_SITE}/zips/train2017.zip"),
        Download(f"{_SITE}/zips/val2017.zip"),
        Download(f"{_SITE}/annotations/annotations_trainval2017.zip"),
    ),
)
OWN = Origin("your own labels in COCO's format", "yours", "your disk", "one COCO keypoint JSON and its pictures")


def coco(root: str, part: str, boxes: str | None = None) -> PictureSet:
    """COCO keypoints 2017 below `root`; val2017 is the part "test"."""
    check_part(part)
    half = "train2017" if part == "train" else "val2017"
    folder = Path(root).expanduser()
    file = need_file(folder / f"annotations/person_keypoints_{half}.json", f"COCO's layout is {ORIGIN.layout}")
    people, about = read_coco(file, COCO17, None, half)
    about = {"part": part, **about, "sha256": digest(file)}
    return PictureSet(f"coco.{part}", folder, people, about, ORIGIN, boxes, fallback="truth")


def coco_json(
    root: str | None = None,
    part: str = "train",
    block: int = 20,
    labels: Any = None,
    boxes: str | None = None,
    skeleton: str | None = None,
    split: str | None = None,
) -> PictureSet:
    """Own labels: `labels` is one file, which is split, or [train, test]; `root` the folder that the pictures' names
    start from, by default the file's. Without `labels`, `root` is the file, or a folder with exactly one *.json.

    `skeleton` (skeleton_file.py) replaces the names that the file gives its keypoints. Raises ValueError.
    """
    check_part(part)
    if split not in (None, "frames"):
        raise ValueError(f"split={split!r} is not known for coco_json; choose frames (a leak) or null")
    if block < 1:
        raise ValueError(f"block={block} must be at least 1")
    file, pictures, parted = _files(root, labels, part)
    if parted and split:
        raise ValueError(f"split={split} splits one file, but labels={labels} are two")
    told = None if skeleton is None else skeleton_of(skeleton)
    arrays = file.suffix.lower() == ".npz"
    people, about = read_spin(file, told, block) if arrays else read_coco(file, told, block)
    if not parted and len(people):
        people = people.select(_chosen(people, part, block, split))
    how = {
        "part": part,
        "split": "files" if parted else split or f"blocks of {block}",
        "keypoints": ", ".join(people.skeleton.keypoints),
    }
    about = {**how, **about, "sha256": digest(file)}
    around = 1.0 if arrays else AROUND_BOXES
    return PictureSet(f"coco_json.{part}", pictures, people, about, OWN, boxes, around, "truth")


def _files(root: str | None, labels: Any, part: str) -> tuple[Path, Path, bool]:
    """The label file of `part`, the pictures' folder, and whether the labels are already parted."""
    parted = isinstance(labels, list | tuple)
    if parted and len(labels) != 2:
        raise ValueError(f"labels={labels} must be one file or two: [train, test]")
    chosen = labels[part == "test"] if parted else labels
    if labels is None:
        if root is None:
            raise ValueError("coco_json needs labels=FILE.json, labels=[TRAIN.json, TEST.json], or root=FOLDER")
        file = _only_json(Path(root).expanduser())
        return file, file.parent, False
    if not isinstance(chosen, str | Path):
        raise ValueError(f"labels={labels} must be the path of a file or two paths: [train, test]")
    file = need_file(Path(chosen).expanduser(), "labels= takes a COCO keypoint JSON, or two: [train, test]")
    return file, file.parent if root is None else Path(root).expanduser(), parted


def _only_json(root: Path) -> Path:
    if root.is_file():
        return root
    found = sorted(path for path in root.glob("*.json") if path.is_file())
    if len(found) != 1:
        listed = ", ".join(path.name for path in found[:10]) or "none"
        raise ValueError(f"{root} must hold exactly one *.json, found {listed}. Name yours with labels=FILE")
    return found[0]


def _chosen(people: People, part: str, block: int, split: str | None) -> np.ndarray:
    pictures = list(dict.fromkeys(people.pictures))
    if len(pictures) < 2:
        raise ValueError(
            f"{people.file}: one single picture with people ({pictures[0]}) cannot be parted into train and test. "
            "Give two files: labels=[TRAIN, TEST]"
        )
    if split == "frames":
        names = {pictures[n] for n in by_shuffle(len(pictures), part)}
        rows = np.flatnonzero([name in names for name in people.pictures])
        if not len(rows):
            raise ValueError(f"{people.file}: {len(pictures)} shuffled pictures leave no {part} part: give 5 or more")
        return rows
    if len(set(people.sequences)) < 2:
        raise ValueError(
            f"{people.file}: its {len(pictures)} pictures are all of one recording, or of one block of {block}. Set "
            f"block to {len(pictures) // 2} or less, or give two files: labels=[TRAIN, TEST]"
        )
    return by_group(people.sequences, part)


def read_spin(file: Path, skeleton: Skeleton | None, block: int) -> tuple[People, dict[str, Any]]:
    """The people of an .npz of SPIN, and what else names the rows. Raises ValueError without a `skeleton`."""
    arrays = mapping(read_arrays(file), file, "", "the content", ("imgname", "center", "scale", "part"))
    names, part = arrays["imgname"], arrays["part"]
    if names.ndim != 1 or names.dtype.kind != "U":
        raise BadAnnotation(file, "", "imgname", Words(f"{names.dtype} of shape {names.shape}"), "a list of names")
    if skeleton is None:
        k = part.shape[1] if part.ndim == 3 else "?"
        fitting = ", ".join(name for name, known in KNOWN.items() if len(known) == k) or "none of the known ones"
        raise ValueError(f"{file} does not name its {k} keypoints: set skeleton to a YAML file or to {fitting}")
    n, k = len(names), len(skeleton)
    joints = numbers(part, (n, k, 3), file, "", f"part of {skeleton.name}")
    center = numbers(arrays["center"], (n, 2), file, "", "center") + 0.5
    half = 100 * numbers(arrays["scale"], (n,), file, "", "scale")[:, None]
    annotated = joints[..., 2] > 0
    pictures = [picture_name(str(name), file, f"row {i}", "imgname") for i, name in enumerate(names)]
    place = {name: i for i, name in enumerate(dict.fromkeys(pictures))}
    people = People(
        str(file),
        skeleton,
        pictures,
        [str(i) for i in range(n)],
        [f"{place[name] // block:09d}" for name in pictures],
        np.arange(n),
        joints[..., :2] + 0.5,
        annotated,
        annotated,
        np.concatenate([center - half, center + half], 1),
        points=_metres(arrays.get("S"), annotated, file),
    )
    return people.select(np.flatnonzero(annotated.any(1))), {}


def _metres(value: np.ndarray | None, annotated: np.ndarray, file: Path) -> np.ndarray | None:
    if value is None:
        return None
    points = numbers(value, (*annotated.shape, 4), file, "", "S")
    if (points[..., 3] <= 0)[annotated].any():
        warnings.warn(f"{file}: S does not have all joints that part has: 3D is left out for all", stacklevel=3)
        return None
    return points[..., :3] * 1000
