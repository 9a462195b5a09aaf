"""MPII Human Pose: people doing what people do in videos, 16 joints.

Andriluka et al., CVPR 2014. Two forms are read, the first where both are there; pictures lie in images/.
1. HRNet's lists (leoxiaobin/deep-high-resolution-net.pytorch, lib/dataset/mpii.py): annot/train.json and
   valid.json, or annotations/..., one entry a person: image, joints (16, 2), joints_vis, center, scale. valid.json is
   the part "test". A joint's flag says that it is labelled, not that it is seen.
2. The publisher's annotations/mpii_human_pose_v1_u12_1.mat (or in the folder mpii_human_pose_v1_u12_2, as its archive
   has it). Labels are published for img_train = 1 alone; of these each fifth video tests (a fifth of the pictures where
   `vididx` is missing), so that frames of a video stay together. is_visible says which joints are hidden; of those
   without it (neck and head top) it is not said, and they count as seen. Of a joint given twice the last counts.

Pixels are counted from 1: -0.5. A person's box is the square of 200 px times `scale` about `center` (objpos); HRNet
moves it 15 px times scale down and enlarges it by 1.25: the crop here is 1.25 times the box, and not moved. A joint
that is not labelled, at (-1, -1) or with the flag 0, is not annotated.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..reading.annotations import BadAnnotation, Words, entries, mapping, numbers, picture_name, read_json, read_mat
from ..reading.origin import Origin
from ..reading.people import PictureOptions, PictureSet, digest, joints_box, table, warn_of_boxes
from ..reading.splits import by_group, check_part
from .skeletons import MPII16

if TYPE_CHECKING:
    from scipy.io.matlab import mat_struct

ORIGIN = Origin(
    "MPII Human Pose, Andriluka et al., CVPR 2014",
    "simplified BSD; the pictures are frames of YouTube videos",
    "http://human-pose.mpi-inf.mpg.de",
    "images/*.jpg and annotations/mpii_human_pose_v1_u12_1.mat, or HRNet's annot/train.json and annot/valid.json",
)
MATLAB = ("annotations/mpii_human_pose_v1_u12_1.mat", "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat")
K = len(MPII16)


def mpii(options: PictureOptions, part: str) -> PictureSet:
    """The set below `root`. Raises ValueError, naming what was looked for, where neither form is there."""
    check_part(part)
    folder = options.folder
    listed = "train.json" if part == "train" else "valid.json"
    looked = [*(folder / place / listed for place in ("annot", "annotations")), *(folder / name for name in MATLAB)]
    file = next((path for path in looked if path.is_file()), None)
    if file is None:
        raise ValueError(f"none of {', '.join(map(str, looked))}; expected below the root: {ORIGIN.layout}")
    rows = list(_hrnet(file) if file.suffix == ".json" else _published(file))
    people = table(file, MPII16, _with_boxes(rows, file))
    if file.suffix == ".mat" and len(people):
        people = people.select(by_group(people.sequences, part))
    about = {"part": part, "form": file.suffix[1:], "sha256": digest(file)}
    return PictureSet(f"mpii.{part}", folder, people, about, ORIGIN, options.boxes, fallback="truth")


def _with_boxes(rows: list[dict[str, Any]], file: Path) -> list[dict[str, Any]]:
    """The rows that have an annotated joint; boxes that are missing are made of the joints, with a warning."""
    rows = [row for row in rows if row["annotated"].any()]
    lacking = [row for row in rows if row["box"] is None]
    for row in lacking:
        row["box"] = joints_box(row["keypoints"], row["annotated"])
    if lacking:
        warn_of_boxes(file, len(lacking), len(rows), lacking[0]["id"])
    return rows


def _square(center: np.ndarray, scale: float) -> np.ndarray | None:
    """The box (4,) about `center`, counted from 1; None where the file does not know it (-1, or no scale)."""
    if scale <= 0 or (center < 0).any():
        return None
    return np.concatenate([center - 0.5 - 100 * scale, center - 0.5 + 100 * scale])


def _hrnet(file: Path) -> Iterator[dict[str, Any]]:
    for number, value in enumerate(entries(read_json(file), file, "", "the content")):
        entry = f"person {number}"
        person = mapping(value, file, entry, "the person", ("image", "joints", "joints_vis", "center", "scale"))
        name = picture_name(person["image"], file, entry, "image")
        joints = numbers(person["joints"], (K, 2), file, entry, "joints")
        flags = numbers(person["joints_vis"], (K,), file, entry, "joints_vis")
        if not ((flags == 0) | (flags == 1)).all():
            raise BadAnnotation(file, entry, "joints_vis", flags.tolist(), "0 or 1")
        annotated = (flags == 1) & ~(joints == -1).all(1)
        center = numbers(person["center"], (2,), file, entry, "center")
        yield {
            **{"picture": f"images/{name}", "id": f"{name}/{number}", "sequence": name, "frame": number},
            **{"keypoints": joints - 0.5, "annotated": annotated, "visible": annotated},
            "box": _square(center, float(numbers(person["scale"], (), file, entry, "scale"))),
        }


def _published(file: Path) -> Iterator[dict[str, Any]]:
    content = read_mat(file, struct_as_record=False, squeeze_me=True)
    release = _structs(content.get("RELEASE"), file, "RELEASE", "RELEASE")
    if len(release) != 1:
        raise BadAnnotation(file, "", "RELEASE", Words(f"{len(release)} structs"), "the struct of the release")
    pictures = _structs(_get(release[0], "annolist"), file, "RELEASE", "annolist")
    trains = _get(release[0], "img_train")
    flags = numbers(np.atleast_1d(np.zeros(0) if trains is None else trains), (len(pictures),), file, "", "img_train")
    for number in np.flatnonzero(flags == 1):
        entry = f"annolist {number + 1}"
        people = _structs(_get(pictures[number], "annorect"), file, entry, "annorect")
        labelled = [(place, _points(person, file, entry)) for place, person in enumerate(people, 1)]
        labelled = [(place, points) for place, points in labelled if points]
        if not labelled:
            continue
        image = _structs(_get(pictures[number], "image"), file, entry, "image")
        name = picture_name(_get(image[0], "name") if image else None, file, entry, "image.name")
        video = _get(pictures[number], "vididx")
        sequence = name if video is None else f"video {_number(video, file, entry, 'vididx'):05.0f}"
        for place, points in labelled:
            yield {
                **{"picture": f"images/{name}", "sequence": sequence, "frame": int(number)},
                "id": f"{name}/{place}/{number + 1}",
                **_person(people[place - 1], points, file, f"{entry}, annorect {place}"),
            }


def _get(struct: mat_struct, field: str) -> Any:
    """The field, None where it is missing or empty."""
    value = getattr(struct, field, None) if field in struct._fieldnames else None
    return None if isinstance(value, np.ndarray) and not value.size else value


def _structs(value: Any, file: Path, entry: str, field: str) -> list[mat_struct]:
    """A struct array as scipy leaves it: none, one struct, or an array of them."""
    from scipy.io.matlab import mat_struct

    listed = [] if value is None else list(np.ravel(value)) if isinstance(value, np.ndarray) else [value]
    for item in listed:
        if not isinstance(item, mat_struct):
            raise BadAnnotation(file, entry, field, item, "a struct or an array of them")
    return listed


def _number(value: Any, file: Path, entry: str, field: str) -> float:
    return float(numbers(value, (), file, entry, field))


def _points(person: mat_struct, file: Path, entry: str) -> list[mat_struct]:
    holders = _structs(_get(person, "annopoints"), file, entry, "annopoints")
    return [point for holder in holders for point in _structs(_get(holder, "point"), file, entry, "point")]


def _person(person: mat_struct, points: list[mat_struct], file: Path, entry: str) -> dict[str, Any]:
    keypoints, annotated, visible = np.zeros((K, 2)), np.zeros(K, bool), np.zeros(K, bool)
    for point in points:
        joint = _number(_get(point, "id"), file, entry, "id of a point")
        if joint not in range(K):
            raise BadAnnotation(file, entry, "id of a point", joint, f"a whole number from 0 to {K - 1}")
        k = int(joint)
        keypoints[k] = [_number(_get(point, axis), file, entry, f"{axis} of point {k}") - 0.5 for axis in ("x", "y")]
        annotated[k] = (keypoints[k] != -1.5).any()
        visible[k] = annotated[k] and _seen(_get(point, "is_visible"), file, entry)
    place = _structs(_get(person, "objpos"), file, entry, "objpos")
    scale, box = _get(person, "scale"), None
    if place and scale is not None:
        center = np.array([_number(_get(place[0], axis), file, entry, f"objpos.{axis}") for axis in ("x", "y")])
        box = _square(center, _number(scale, file, entry, "scale"))
    return {"keypoints": keypoints, "annotated": annotated, "visible": visible, "box": box}


def _seen(value: Any, file: Path, entry: str) -> bool:
    """0 or 1, as a number or a text; None where it is not said."""
    if value is None or (isinstance(value, str) and value in ("", "0", "1")):
        return value != "0"
    flag = _number(value, file, entry, "is_visible")
    if flag not in (0, 1):
        raise BadAnnotation(file, entry, "is_visible", flag, "0 or 1")
    return bool(flag)
