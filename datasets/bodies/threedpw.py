"""3DPW of von Marcard et al., ECCV 2018: one and two people outdoors, filmed by a hand-held telephone.

The poses are those of inertial sensors and the video.

Layout (mks0601/3DMPPE_ROOTNET_RELEASE @ 735ce21, data/PW3D): below the root or its data/ lie 3DPW_{train,validation,
test}.json and the publisher's imageFiles/SEQUENCE/image_%05d.jpg. `images`: id, sequence, file_name, width, height and
cam_param (focal, princpt); `annotations`: id, image_id, bbox, joint_cam (24, 3) metres in the camera's frame, the
joints of SMPL; where five of the face follow (29, 3), these are not read. There are no 2D labels: keypoints are
projected.

Unit: metres, and mm here. A file in millimetres (its author's later ones for other networks) is known by the length of
its bodies; `identity` says which it was, and a file in neither is refused.

Pixel origin: the corner, nothing is shifted: the principal points are the middles of the pictures counted from the
corner. Nobody states it, so half a pixel may be wrong.

`annotated` are all joints. Nothing says which are hidden, by others or by the person: `visible` is `annotated`, for
joints within the picture; the reference counts joints outside of it as not there.

Boxes are the annotations', made of labels (`boxes=joints`, which leaks where the set is a target: give a detector's),
by the chain of box_chain.py; people whose box is outside the picture, or a joint of whom is behind the camera, are left
out with a warning that counts them.

Parts: the publisher's train and test; `split=validation` puts validation in the place of test. A `sequence` is a
recording with all people in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..options import option
from ..reading.annotations import BadAnnotation, Words, mapping, need_file, numbers, picture_name
from ..reading.cameras import UNITS, unit_of
from ..reading.mppe_file import Records, camera_of, croppable, read_records, sizes_by_name
from ..reading.origin import Origin
from ..reading.people import JOINTS, People, PictureOptions, PictureSet, digest, project
from ..reading.splits import check_part
from .skeletons import SMPL24

ORIGIN = Origin(
    "3DPW of von Marcard, Henschel, Black, Rosenhahn and Pons-Moll, ECCV 2018, with annotations in the form of 3DMPPE",
    "non-commercial research, after registration",
    "https://virtualhumans.mpi-inf.mpg.de/3DPW/ and https://github.com/mks0601/3DMPPE_ROOTNET_RELEASE",
    "3DPW_{train,validation,test}.json, imageFiles/SEQUENCE/image_%05d.jpg",
)
K = len(SMPL24)
FACE = 5
"""Joints of the face that some files have after SMPL's."""
TRUNK = (SMPL24.keypoints.index("neck"), SMPL24.keypoints.index("pelvis"))
LENGTH = (350.0, 750.0)
"""mm from pelvis to neck that a median over a set can have."""


@dataclass(frozen=True)
class Options(PictureOptions):
    """The options of 3DPW."""

    split: str | None = option(
        None, "validation: the publisher's validation is the part test; null: its test is", choices=("validation",)
    )


def threedpw(options: Options, part: str) -> PictureSet:
    """One sample a person in a frame. `root` holds 3DPW_test.json and the others, or data/ with them.

    Raises ValueError for a missing file, and malformed ones.
    """
    check_part(part)
    name = f"3DPW_{'train' if part == 'train' else options.split or 'test'}.json"
    home = options.folder / "data" if (options.folder / "data" / name).is_file() else options.folder
    file = need_file(home / name, f"3DPW needs {ORIGIN.layout}")
    records = read_records(file)
    points, unit = _points(records)
    taken = croppable(records, points)
    records, points = records.select(taken), points[taken]
    people = _people(records, points)
    about = {"part": part, "split": options.split or "test", "points": unit, "sha256": digest(file)}
    sizes = sizes_by_name(people.pictures, records.sizes())
    return PictureSet(
        f"threedpw.{part}", home, people, about, ORIGIN, options.boxes, declared=sizes, chain=True, own=JOINTS
    )


def _points(records: Records) -> tuple[np.ndarray, str]:
    """(N, 24, 3) mm, and the unit of the file. Raises BadAnnotation."""
    first = next((person.get("joint_cam") for person in records.people), None)
    more = FACE if isinstance(first, list) and len(first) == K + FACE else 0
    joints = records.column("joint_cam", (K + more, 3))[:, :K]
    if not len(joints):
        return joints, "m"
    unit = unit_of(joints, TRUNK, LENGTH)
    if unit not in ("m", "mm"):
        median = float(np.median(np.linalg.norm(joints[:, TRUNK[0]] - joints[:, TRUNK[1]], axis=-1)))
        shown = Words(f"of people {median:g} from pelvis to neck, in the median")
        raise BadAnnotation(records.file, "", "joint_cam", shown, "metres, or millimetres")
    return joints * UNITS[unit], unit


def _people(records: Records, points: np.ndarray) -> People:
    focal, middle = (_lens(records, name) for name in ("focal", "princpt"))
    camera = camera_of(focal, middle, records, "focal")
    keypoints = project(points, camera)
    inside = ((keypoints >= 0) & (keypoints < records.sizes()[:, None])).all(-1)
    names = [_names(image, records) for image in records.images]
    ids = [f"3dpw/{sequence}/{i}" for (sequence, _), i in zip(names, records.ids, strict=True)]
    known = np.ones(keypoints.shape[:2], bool)
    return People(
        file=str(records.file),
        skeleton=SMPL24,
        pictures=[f"imageFiles/{sequence}/{picture}" for sequence, picture in names],
        ids=ids,
        sequences=[f"3dpw/{sequence}" for sequence, _ in names],
        frames=np.array([image["id"] for image in records.images], np.int64),
        keypoints=keypoints,
        annotated=known,
        visible=known & inside,
        boxes=records.boxes(),
        camera=camera,
        points=points,
    )


def _names(image: dict[str, Any], records: Records) -> tuple[str, str]:
    """The sequence of an image, a folder's name, and the picture's in it."""
    place = f"image {image['id']}"
    sequence = picture_name(image.get("sequence"), records.file, place, "sequence")
    if "/" in sequence:
        raise BadAnnotation(records.file, place, "sequence", sequence, "the name of a folder")
    return sequence, image["picture"]


def _lens(records: Records, field: str) -> np.ndarray:
    """(N, 2) of cam_param."""
    pairs = []
    for image in records.images:
        place = f"image {image['id']}"
        lens = mapping(image.get("cam_param"), records.file, place, "cam_param", (field,))
        pairs.append(numbers(lens[field], (2,), records.file, place, field))
    return np.array(pairs).reshape(-1, 2)
