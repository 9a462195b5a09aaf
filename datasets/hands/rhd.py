"""Rendered hands of Zimmermann and Brox, ICCV 2017 (RHD): two hands of a rendered person in a 320 px picture.

Raw layout as published (RHD_v1-1.zip): RHD_published_v2/{training,evaluation}/color/%.5d.png and
anno_{training,evaluation}.pickle, a dict from picture number to uv_vis (42, 3) px and visibility, xyz (42, 3) metres in
the camera's frame (x right, y down, z forward) and K (3, 3). Rows 0 to 20 are the left hand, 21 to 41 the right; each
is wrist, then thumb to little finger from tip to base. The part train is training, test is evaluation.

Pixel origin: the corner, nothing is shifted. A Blender camera's axis meets the middle of the picture, and K puts it at
160 of 320, which is the middle counted from the corner (from the first pixel's centre it would be 159.5). On published
samples (open-mmlab/mmpose @ 759b39c, tests/data/rhd) xyz through that K gives uv to 0.08 px, their rounding, with a
mean difference of 0.01 px.

All joints are rendered, so `annotated` are all in front of the camera; `visible` is the file's flag: in the picture and
not hidden. The reference uses that flag as the loss weight, so its networks never learn hidden joints.

Which hands are samples follows TLLib (thuml/Transfer-Learning-Library @ c4aa59e, rendered_hand_pose.py), see `usable`:
its text speaks of the other hand's box, which in its code is the tight one. Right hands are mirrored, as there, where
the comment says the opposite.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..reading import splits
from ..reading.annotations import BadAnnotation, mapping, need_file, numbers, read_pickle, whole
from ..reading.cameras import pinhole
from ..reading.origin import Download, Origin
from ..reading.people import AROUND_JOINTS, People, PictureOptions, PictureSet, digest
from ..skeleton import HAND

ORIGIN = Origin(
    "the Rendered Handpose Dataset of Zimmermann and Brox, ICCV 2017",
    "research only, no commercial use",
    "https://lmb.informatik.uni-freiburg.de/resources/datasets/RenderedHandposeDataset.en.html",
    "RHD_published_v2/{training,evaluation}/ with color/%.5d.png and anno_{training,evaluation}.pickle",
    (Download("https://lmb.informatik.uni-freiburg.de/data/RenderedHandpose/RHD_v1-1.zip"),),
)
FOLDERS = {"train": "training", "test": "evaluation"}
SIDE = 320
"""Pixels of every picture."""
ORDER = [0, *(4 * finger + joint for finger in range(5) for joint in (4, 3, 2, 1))]
"""HAND's order in the rows of a hand in the file."""


def rhd(options: PictureOptions, part: str) -> PictureSet:
    """One sample a usable hand. `root` holds RHD_published_v2, or is that folder.

    Raises ValueError for an unknown part, and for missing or malformed files.
    """
    splits.check_part(part)
    folder, home = FOLDERS[part], options.folder
    if (home / "RHD_published_v2").is_dir():
        home /= "RHD_published_v2"
    file = need_file(home / folder / f"anno_{folder}.pickle", f"RHD needs {ORIGIN.layout}")
    people = _people(file, folder)
    about = {"part": part, "samples": "hands that TLLib uses", "sha256": digest(file)}
    return PictureSet(f"rhd.{part}", home, people, about, ORIGIN, options.boxes, fallback="truth")


def usable(uv: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(N, 2) bool, which hands TLLib uses, of uv (N, 2, 21, 2) px and seen (N, 2, 21) bool.

    More than 16 joints are seen, the square of 1.5 times the joints' box (`scale_box`, inclusive, within the picture)
    is larger than 64 px, and less than 0.3 of it lies in the tight box of the other hand's joints.
    """
    low, high = uv.min(2), uv.max(2)
    side = np.minimum(np.round(AROUND_JOINTS * (high - low).max(2, keepdims=True)), SIDE)
    corner = np.clip(np.round((low + high) / 2 - side / 2), 0, SIDE - side)
    common = np.minimum(corner + side - 1, high[:, ::-1]) - np.maximum(corner, low[:, ::-1]) + 1
    hidden = np.maximum(common, 0).prod(2) >= 0.3 * side[..., 0] ** 2  # no quotient: a box may be empty
    large: np.ndarray = side[..., 0] - 1 > 64
    return large & (seen.sum(2) > 16) & ~hidden


def _people(file: Path, folder: str) -> People:
    """The table of all usable hands, left before right as in the reference."""
    pictures, uv_vis, xyz, matrices = _entries(file)
    seen, uv, points = uv_vis[..., 2] == 1, uv_vis[..., :2], xyz * 1000
    picture, hand = np.nonzero(usable(uv, seen))
    behind = (seen & (points[..., 2] <= 0))[picture, hand].any(1)
    if behind.any():
        name = f"picture {pictures[picture[np.argmax(behind)]]}"
        raise BadAnnotation(file, name, "xyz", "behind the camera", "z > 0 of joints that are visible")
    number = pictures[picture]
    named = [f"{folder}/{n:05d}" for n in number]
    return People(
        file=str(file),
        skeleton=HAND,
        pictures=[f"{folder}/color/{n:05d}.png" for n in number],
        ids=[f"rhd/{name}/{('left', 'right')[side]}" for name, side in zip(named, hand, strict=True)],
        sequences=[f"rhd/{name}" for name in named],
        frames=number,
        keypoints=uv[picture, hand],
        annotated=points[picture, hand, :, 2] > 0,
        visible=seen[picture, hand],
        camera=pinhole(matrices, file, "K")[picture],
        points=points[picture, hand],
        mirrored=hand == 1,
    )


def _entries(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Picture numbers (N,), uv_vis and xyz (N, 2, 21, 3) in HAND's order, K (N, 3, 3)."""
    listed: list[int] = []
    columns: dict[str, tuple[int, int]] = {"uv_vis": (42, 3), "xyz": (42, 3), "K": (3, 3)}
    values: dict[str, list[np.ndarray]] = {field: [] for field in columns}
    for key, value in mapping(read_pickle(file), file, "", "the content").items():
        number = whole(key, file, "", "a picture's number")
        if not 0 <= number < 10**9:
            raise BadAnnotation(file, "", "a picture's number", key, "0 or more, of at most nine digits")
        entry = mapping(value, file, f"picture {number}", "the entry", tuple(columns))
        for field, shape in columns.items():
            values[field].append(numbers(entry[field], shape, file, f"picture {number}", field))
        flags = values["uv_vis"][-1][:, 2]
        if not ((flags == 0) | (flags == 1)).all():
            raise BadAnnotation(file, f"picture {number}", "uv_vis", flags.tolist(), "visibility 0 or 1 in column 2")
        listed.append(number)
    hands = [np.array(values[field]).reshape(-1, 2, 21, 3)[:, :, ORDER] for field in ("uv_vis", "xyz")]
    return np.array(listed, np.int64), hands[0], hands[1], np.array(values["K"]).reshape(-1, 3, 3)
