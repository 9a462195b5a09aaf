"""Your own labels: any COCO keypoint JSON, or the .npz of SPIN.

One file of which each fifth recording tests, or each fifth block of `block` pictures where images name no recording; or
two files [train, test] as they are. `split=frames` shuffles single pictures as TLLib does with its sets: a LEAK between
train and test where neighbours look alike. datasets/reading/coco_file.py says how the JSON is read.

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
from ..reading.origin import MissingData, Origin
from ..reading.people import AROUND_BOXES, People, PictureOptions, PictureSet, digest
from ..reading.prepared import given, spelled
from ..reading.splits import BlockOptions, SplitOptions, by_end, by_group, by_shuffle, check_part
from ..skeleton import Skeleton
from .skeleton_file import KNOWN, skeleton_of

ORIGIN = Origin("your own labels in COCO's format", "yours", "your disk", "one COCO keypoint JSON and its pictures")


@dataclass(frozen=True)
class Options(SplitOptions, BlockOptions, PictureOptions):
    """The options of own labels. `root` is the folder that the pictures' names start from, by default the label file's;
    without `labels` it is the label file, or a folder with exactly one *.json."""

    labels: Any = option(None, "a COCO keypoint JSON or SPIN's .npz, which is split; or two: [train, test]")
    skeleton: str | None = option(None, "a skeleton's name, or a YAML file, instead of the names that the file gives")

    def check_there(self, name: str, origin: Origin | None) -> None:
        """Raises MissingData for a label file that is not there; of `root` the opener says what is wrong."""
        for file in self.labels if isinstance(self.labels, list | tuple) else [self.labels]:
            if isinstance(file, str) and not Path(file).expanduser().exists():
                root = f" root={self.root}" if self.root else ""
                raise MissingData(
                    f"there is no {file}. {name} reads a COCO keypoint JSON of yours, labels=FILE, and its pictures, "
                    "root=FOLDER; where an experiment names them, the head of its YAML says what they are and where "
                    f"to get them. Then: keyshift data check {name}{root} {spelled(given(self))}"
                )


def coco_json(options: Options, part: str) -> PictureSet:
    """The people of own labels. Raises ValueError for files that are not there, malformed or leave a part empty."""
    check_part(part)
    file, pictures, parted = _files(options, part)
    split, block = options.split, options.block
    if parted and split:
        raise ValueError(f"split={split} splits one file, but labels={options.labels} are two")
    skeleton = None if options.skeleton is None else skeleton_of(options.skeleton)
    arrays = file.suffix.lower() == ".npz"
    people, more = read_spin(file, skeleton, block) if arrays else read_coco(file, skeleton, block)
    if not parted and len(people):
        people = people.select(_chosen(people, part, block, split))
    about = {
        "part": part,
        "split": "files" if parted else split or f"blocks of {block}",
        "keypoints": ", ".join(people.skeleton.keypoints),
        **more,
        "sha256": digest(file),
    }
    around, declared = (1.0, None) if arrays else (AROUND_BOXES, partial(declared_sizes, file))
    name = f"coco_json.{part}"
    return PictureSet(name, pictures, people, about, ORIGIN, options.boxes, around, "truth", declared)


def _files(options: Options, part: str) -> tuple[Path, Path, bool]:
    """The label file of `part`, the pictures' folder, and whether the labels are already parted."""
    labels = options.labels
    parted = isinstance(labels, list | tuple)
    if parted and len(labels) != 2:
        raise ValueError(f"labels={labels} must be one file or two: [train, test]")
    chosen = labels[part == "test"] if parted else labels
    if labels is None:
        if options.root is None:
            raise ValueError("coco_json needs labels=FILE.json, labels=[TRAIN.json, TEST.json], or root=FOLDER")
        file = _only_json(options.folder)
        return file, file.parent, False
    if not isinstance(chosen, str | Path):
        raise ValueError(f"labels={labels} must be the path of a file or two paths: [train, test]")
    file = need_file(Path(chosen).expanduser(), "labels= takes a COCO keypoint JSON, or two: [train, test]")
    return file, file.parent if options.root is None else options.folder, parted


def _only_json(root: Path) -> Path:
    if root.is_file():
        return root
    files = sorted(path for path in root.glob("*.json") if path.is_file())
    if len(files) != 1:
        listed = ", ".join(path.name for path in files[:10]) or "none"
        raise ValueError(f"{root} must hold exactly one *.json, found {listed}. Name yours with labels=FILE")
    return files[0]


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
