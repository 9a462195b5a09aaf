"""Hands before a ring of 15 cameras: Hand-3D-Studio (Zhao et al., ICASSP 2020), as cropped for RegDA.

Raw layout (H3D_crop.tar of thuml/Transfer-Learning-Library @ c4aa59e, hand_3d_studio.py; its public copies are gone):
H3D_crop/annotation.json, a list of {name, without_object, keypoint2d (21, 2) px, keypoint3d (21, 3), intrinsic_matrix
(3, 3)}, and square pictures part1/ to part5/, already cut at 1.5 times the hand, so a picture is one crop. Kept are the
hands without an object, the reference's task noobject; nothing else is read of the others. Keypoints are in HAND's
order, none is said to be hidden, so `visible` is `annotated`: all. No hand is mirrored, as in the reference.

Pixel origin: the centre of the first pixel, as the reference's heatmaps and flips count (its file states none); 0.5 is
added to keypoints, cx and cy.

Neither the frame nor the unit of keypoint3d is documented, so the numbers decide: the camera is given where 99 % of all
joints project onto keypoint2d within a pixel, and points, in mm, where moreover the median distance from the wrist to
the middle finger's base is a hand's, 60 to 130 mm, read as mm, cm or m. `identity["points"]` says what was found.

By default one of the parts tests, the others train; where all names begin with one folder, the first level that differs
counts, and without folders blocks of BLOCK neighbours in the list. `split=frames` is the reference's: single frames at
random, a LEAK, since the same moment from another camera and the moments before and after stand on both sides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..reading import splits
from ..reading.annotations import BadAnnotation, entries, mapping, need_file, numbers, picture_name, read_json, whole
from ..reading.cameras import UNITS, agree, unit_of
from ..reading.origin import Origin
from ..reading.people import People, PictureOptions, PictureSet, digest
from ..reading.splits import SplitOptions
from ..skeleton import HAND

ORIGIN = Origin(
    "Hand-3D-Studio of Zhao, Zuo and Wang, ICASSP 2020, as cropped by the authors of RegDA",
    "not stated with the crops; ask the publisher",
    "https://www.yangangwang.com/papers/ZHAO-H3S-2020-02.html",
    "H3D_crop/annotation.json and the pictures that it names, H3D_crop/part1/ to part5/",
)
BLOCK = 300
"""Neighbours in the list that stay together: 20 moments of 15 cameras."""
PALM = (60.0, 130.0)
"""mm from the wrist to the middle finger's base that a median over a set can have."""
WRIST, MIDDLE = HAND.keypoints.index("wrist"), HAND.keypoints.index("middle_mcp")


@dataclass(frozen=True)
class Options(SplitOptions, PictureOptions):
    """The options of Hand-3D-Studio."""


def h3d(options: Options, part: str) -> PictureSet:
    """One sample a picture of a hand without an object. `root` holds H3D_crop, or is that folder.

    Raises ValueError for lists that leave a part empty, missing or malformed files.
    """
    home, split = options.folder, options.split
    if (home / "H3D_crop").is_dir():
        home /= "H3D_crop"
    file = need_file(home / "annotation.json", f"H3D needs {ORIGIN.layout}")
    people, unit = _people(file)
    together = splits.by_shuffle(len(people), part) if split else splits.by_group(groups(people.pictures), part)
    about = {"part": part, "task": "noobject", "split": split or "parts", "points": unit, "sha256": digest(file)}
    return PictureSet(f"h3d.{part}", home, people.select(together), about, ORIGIN, options.boxes, fallback="whole")


def groups(pictures: Sequence[str]) -> list[str]:
    """What each of the pictures (N) may not be parted from: its folder on the first level that differs, else its block
    in the list."""
    folders = [name.split("/")[:-1] for name in pictures]
    for level in range(1, max(map(len, folders), default=0) + 1):
        cut = ["/".join(parts[:level]) for parts in folders]
        if len(set(cut)) > 1:
            return cut
    return [f"{i // BLOCK:06d}" for i in range(len(folders))]


def _people(file: Path) -> tuple[People, str]:
    """All hands without an object in the file's order, and the unit of their points."""
    listed = entries(read_json(file), file, "", "the content")
    rows = [row for i, entry in enumerate(listed) if (row := _row(entry, file, f"entry {i}")) is not None]
    names = [row["name"] for row in rows]
    if len(set(names)) < len(names):
        raise BadAnnotation(file, "", "name", Counter(names).most_common(1)[0][0], "each picture once")
    keypoints, points, matrices = (
        np.array([row[field] for row in rows]).reshape(-1, *shape) for field, shape in _SHAPES.items()
    )
    known = np.ones(keypoints.shape[:2], bool)
    camera = matrices[:, [0, 1, 0, 1], [0, 1, 2, 2]]
    seen = len(rows) > 0 and agree(points, camera, keypoints)
    unit = unit_of(points, (WRIST, MIDDLE), PALM) if seen else None
    people = People(
        file=str(file),
        skeleton=HAND,
        pictures=names,
        ids=[f"h3d/{name}" for name in names],
        sequences=[f"h3d/{name.rpartition('/')[0]}/{i // BLOCK:04d}" for i, name in enumerate(names)],
        frames=np.arange(len(rows)),
        keypoints=keypoints + 0.5,
        annotated=known,
        visible=known,
        camera=camera + np.array([0, 0, 0.5, 0.5]) if seen else None,
        points=points * UNITS[unit] if unit else None,
    )
    return people, unit or ("of unknown unit" if seen else "do not project")


_SHAPES: dict[str, tuple[int, int]] = {"keypoint2d": (21, 2), "keypoint3d": (21, 3), "intrinsic_matrix": (3, 3)}


def _row(entry: Any, file: Path, place: str) -> dict[str, Any] | None:
    """The checked fields of an entry; None for a hand with an object."""
    mapping(entry, file, place, "the entry", ("name", "without_object", *_SHAPES))
    flag = entry["without_object"]
    # The reference reads the flag by int(), so a text or a truth value is as good as a number.
    alone = int(flag) if isinstance(flag, bool) or flag in ("0", "1") else whole(flag, file, place, "without_object")
    if alone not in (0, 1):
        raise BadAnnotation(file, place, "without_object", flag, "0 or 1")
    if not alone:
        return None
    fields = {field: numbers(entry[field], shape, file, place, field) for field, shape in _SHAPES.items()}
    return {"name": picture_name(entry["name"], file, place, "name"), **fields}
