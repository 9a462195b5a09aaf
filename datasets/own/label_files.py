"""Label files below a folder, as tools lay them out, and the folder that their pictures' names start from.

    ROOT/labels.json                                            the only JSON
    ROOT/annotations/person_keypoints_default.json, images/     CVAT, COCO
    ROOT/train/_annotations.coco.json, valid/, test/            Roboflow: parts that folders or files are named after

The part `train` is what is called so; `test` is test, or where there is none val, valid or validation.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..options import option
from ..reading.annotations import BadAnnotation, picture_name, read_json
from ..reading.files import from_home
from ..reading.levels import LevelOptions
from ..reading.listing import walk
from ..reading.origin import MissingData, Origin
from ..reading.people import PictureOptions
from ..reading.prepared import given, spelled
from ..reading.splits import BlockOptions, SplitOptions
from ..reading.video import file_of, is_frame
from ..words import Texts
from .foreign import refuse_foreign, refuse_foreign_folder

TRAIN, TEST = ("train", "training"), ("test", "testing", "val", "valid", "validation")
"""Words that name a part; an earlier one of TEST goes before a later one."""
LOOKED_AT = 50
"""Pictures by which their folder is known."""
MOST = 10
"""Files that an error lists."""


@dataclass(frozen=True)
class LabelOptions(SplitOptions, BlockOptions, LevelOptions, PictureOptions):
    """Base of the options of labels of one's own."""

    labels: Texts = option(None, "a label file, which is split; or two: [train, test]")
    skeleton: str | None = option(None, "a skeleton's name, or a YAML file, instead of the names that the file gives")

    def check_there(self, name: str, origin: Origin | None) -> None:
        """Raises MissingData for a label file that is not there; of `root` the opener says what is wrong."""
        for file in self.labels if isinstance(self.labels, list | tuple) else [self.labels]:
            if isinstance(file, str) and not from_home(file).exists():
                root = f" root={self.root}" if self.root else ""
                raise MissingData(
                    f"there is no {file}. {name} reads {origin.layout if origin else 'labels of yours'}: labels=FILE "
                    "root=FOLDER; where an experiment names them, the head of its YAML says what they are and where "
                    f"to get them. Then: keyshift data check {name}{root} {spelled(given(self))}"
                )


def label_file(root: Path, part: str) -> tuple[Path, Path, bool]:
    """The JSON of `part` below `root`, which may be the file itself; the folder of its pictures; and whether the parts
    have files of their own. Raises ValueError where it cannot be told which files are meant."""
    if root.is_file():
        return root, root.parent, False
    if not root.is_dir():
        raise ValueError(f"no folder {root}: coco_json reads a COCO keypoint JSON in it or below it, and its pictures")
    below = [root / name for name in sorted(walk(root)) if name.lower().endswith(".json")]
    files = [file for file in below if file.parent == root] or below
    if len(files) == 1:
        return files[0], _pictures(files[0], root), False
    parts = {"train": _named(files, root, TRAIN), "test": _named(files, root, TEST)}
    if all(len(named) == 1 for named in parts.values()):
        return parts[part][0], _pictures(parts[part][0], root), True
    if files:
        refuse_foreign(files[0], "coco_json")
    else:
        refuse_foreign_folder(root, "coco_json")
    listed = ", ".join(path.relative_to(root).as_posix() for path in files[:MOST]) or "none"
    more = f" and {len(files) - MOST} more" if len(files) > MOST else ""
    raise ValueError(
        f"{root} must hold exactly one *.json, found {listed}{more}; or one named train and one named test. Name yours "
        "with labels=FILE or labels=[TRAIN, TEST]"
    )


def _named(files: list[Path], root: Path, words: tuple[str, ...]) -> list[Path]:
    """Those that are named after the first of `words` after which any is."""
    for word in words:
        named = [f for f in files if word in re.findall("[a-z]+", f.relative_to(root).as_posix().lower())]
        if named:
            return named
    return []


def _pictures(file: Path, root: Path) -> Path:
    """The folder below `root` that holds most of the first pictures that a label file names: its own where it does."""
    names = list(islice(_names(file), LOOKED_AT))

    def held(folder: Path) -> int:
        return sum(os.path.isfile(folder / name) for name in names)

    if not names or held(file.parent):
        return file.parent
    folders = [Path(folder) for folder, *_ in os.walk(root)]  # a folder that is named as the file is goes before others
    return min(folders, key=lambda f: (-held(f), f.name not in file.stem, len(f.parts), str(f)))


def _names(file: Path) -> Iterator[str]:
    """The pictures that a label file names, as far as it can be read."""
    try:
        content: Any = read_json(file)
    except BadAnnotation:
        return
    entries = content.get("images") if isinstance(content, dict) else content
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict):
            try:
                yield picture_name(entry.get("file_name", entry.get("image_id")), file, "")
            except BadAnnotation:
                continue


def recordings(pictures: Sequence[str], block: int) -> tuple[list[str], np.ndarray]:
    """(N) sequences and (N,) frames of pictures that stand in their order: a sequence is a folder, or a video; where
    there is one alone, `block` pictures of it."""
    place, within = {}, Counter[str]()
    for name in dict.fromkeys(pictures):
        folder = file_of(name) if is_frame(name) else name.rpartition("/")[0] or "."
        place[name] = folder, within[folder]
        within[folder] += 1
    several = len(within) > 1
    sequences = [folder if several else f"{folder}/{n // block:09d}" for folder, n in (place[p] for p in pictures)]
    return sequences, np.array([place[name][1] for name in pictures], np.int64)
