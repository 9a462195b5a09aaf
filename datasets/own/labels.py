"""Your own labels: any COCO keypoint JSON, a list of COCO results, or the .npz of SPIN.

One file of which each fifth recording tests, or each fifth block of `block` pictures where images name no recording; or
two files [train, test] as they are. `split=frames` shuffles single pictures as TLLib does with its sets: a LEAK between
train and test where neighbours look alike. datasets/reading/coco_file.py says how the JSON is read, coco_results.py
beside it how a list of results is, and datasets/own/label_files.py which files are found below `root` alone.

An .npz has imgname, center, scale (box side over 200 px, margin included), part (N, K, 3: x, y, confidence; indices of
pixels: +0.5) and S (N, K, 4: metres in the camera's frame, confidence): Kolotouros et al., ICCV 2019,
https://github.com/nkolot/SPIN, datasets/preprocess. It has no camera, no names of keypoints, and does not say which
joints are hidden.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..options import option
from ..reading.annotations import BadAnnotation, Words, mapping, need_file, numbers, picture_name, read_arrays
from ..reading.coco_file import declared_sizes, read_coco
from ..reading.files import from_home
from ..reading.levels import white_of
from ..reading.origin import Origin
from ..reading.people import AROUND_BOXES, WHOLE, People, PictureSet, digest
from ..reading.splits import PARTS, by_end, by_group, by_shuffle, check_part
from ..skeleton import Skeleton
from ..words import Texts
from .foreign import refuse_foreign
from .label_files import LabelOptions, label_file
from .skeleton_file import KNOWN, skeleton_of

ORIGIN = Origin("your own labels in COCO's format", "yours", "your disk", "one COCO keypoint JSON and its pictures")


@dataclass(frozen=True)
class Options(LabelOptions):
    """The options of own labels. `root` is the folder that the pictures' names start from, by default the label file's;
    without `labels` it is the label file, or a folder that holds it (datasets/own/label_files.py)."""

    labels: Texts = option(None, "a COCO keypoint JSON or SPIN's .npz, which is split; or two: [train, test]")
    images: str | None = option(None, "a COCO JSON of the pictures that a list of results, as `labels`, numbers")
    category: str | None = option(None, "the name of the only category that is read, where several have keypoints")
    edges_from: int | None = option(
        None,
        "what the edges of the file's skeleton count from; null: 1, as COCO does, or 0 where one is 0",
        low=0,
        high=1,
    )


def coco_json(options: Options, part: str) -> PictureSet:
    """The people of own labels. Raises ValueError for files that are not there, malformed or leave a part empty."""
    check_part(part)
    file, pictures, parted = _files(options, part)
    skeleton = None if options.skeleton is None else skeleton_of(options.skeleton)
    arrays = file.suffix.lower() == ".npz"
    people, more = _read(options, file, pictures, skeleton)
    names = list(people.pictures)
    if parted and options.white == "auto":  # one white for both parts
        names += _read(options, _files(options, PARTS[part == "train"])[0], pictures, skeleton)[0].pictures
    white = white_of(options.white, pictures, names)
    people, about = take_part(people, part, options, parted)
    about |= {**more, "sha256": digest(file)}
    around, declared = (
        (1.0, None) if arrays else (AROUND_BOXES, partial(declared_sizes, _numbered(options) or file, root=pictures))
    )
    name = f"coco_json.{part}"
    return PictureSet(name, pictures, people, about, ORIGIN, options.boxes, around, "truth", declared, white)


def _read(options: Options, file: Path, pictures: Path, skeleton: Skeleton | None) -> tuple[People, dict[str, Any]]:
    if file.suffix.lower() == ".npz":
        return read_spin(file, skeleton, options.block)
    choice: dict[str, Any] = {"root": pictures, "category": options.category, "edges_from": options.edges_from}
    choice["everyone"] = options.crops == WHOLE
    try:
        return read_coco(file, skeleton, options.block, numbered=_numbered(options), **choice)
    except BadAnnotation:
        refuse_foreign(file, "coco_json")
        raise


def _numbered(options: Options) -> Path | None:
    return None if options.images is None else need_file(from_home(options.images), "images= takes a JSON")


def _files(options: Options, part: str) -> tuple[Path, Path, bool]:
    """The label file of `part`, the pictures' folder, and whether the labels are already parted."""
    if options.labels is None:
        if options.root is None:
            raise ValueError("coco_json needs labels=FILE.json, labels=[TRAIN.json, TEST.json], or root=FOLDER")
        return label_file(options.folder, part)
    file, parted = chosen_file(options.labels, part, "a COCO keypoint JSON")
    return file, file.parent if options.root is None else options.folder, parted


def chosen_file(labels: Any, part: str, what: str) -> tuple[Path, bool]:
    """The file of `part` that `labels` names, and whether it names two. Raises ValueError."""
    parted = isinstance(labels, list | tuple)
    if parted and len(labels) != 2:
        raise ValueError(f"labels={labels} must be one file or two: [train, test]")
    chosen = labels[part == "test"] if parted else labels
    if not isinstance(chosen, str | Path):
        raise ValueError(f"labels={labels} must be the path of a file or two paths: [train, test]")
    return need_file(from_home(chosen), f"labels= takes {what}, or two: [train, test]"), parted


def take_part(people: People, part: str, options: LabelOptions, parted: bool) -> tuple[People, dict[str, Any]]:
    """The people of `part`, who are all where the labels are `parted` already, and what the set's identity says of it.
    Raises ValueError where that leaves a part empty, and for `split` of what is parted."""
    if parted and options.split:
        raise ValueError(f"split={options.split} splits one set, but the parts are given: {people.file} is one of them")
    about = {
        "part": part,
        "split": "files" if parted else options.split or f"blocks of {options.block}",
        "keypoints": ", ".join(people.skeleton.keypoints),
    }
    if not parted and len(people):
        people = people.select(part_rows(people, part, options.split))
    return people, about


def part_rows(people: People, part: str, split: str | None) -> np.ndarray:
    """The rows of `part` in one table: of each fifth recording or block, or of shuffled pictures. Raises ValueError
    where that leaves a part empty."""
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
        return by_end(people.pictures, part)
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
