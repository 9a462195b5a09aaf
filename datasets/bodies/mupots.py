"""MuPoTS-3D of Mehta et al., 3DV 2018: two and three people in 20 recordings, indoors and outdoors; a test set.

Layout (mks0601/3DMPPE_POSENET_RELEASE @ dd025c5, data/MuPoTS): below the root or its data/ lie MuPoTS-3D.json and the
publisher's MultiPersonTestSet/TS{1..20}/img_%06d.jpg. `images`: id, file_name (TS1/img_000000.jpg), width, height and
intrinsic (fx, fy, cx, cy); `annotations`: id, image_id, bbox, keypoints_cam (17, 3) mm in the camera's frame,
keypoints_img (17, 2) px, keypoints_vis (17,) and is_valid. keypoints_cam are the true ones, not those of a body of one
size (univ_annot3), which the publisher's own evaluation takes.

Names are MPI-INF-3DHP's (the same laboratory's): the files' joint Thorax is neck here, see muco.py. Pixel origin: the
corner, nothing is shifted, as in MPI-INF-3DHP; nobody states it, so half a pixel may be wrong. A file whose median
joint is more than 10 px from its projection is refused.

`annotated` are all joints: a system without markers followed them with many cameras, seen by this one or not. `visible`
is keypoints_vis, of which nothing published says more than its name. Of people with is_valid = 0 the publisher doubts
the labels: they are left out, as in the references; `valid=false` takes them too.

Boxes are the annotations', made of the joints (`boxes=joints`, which leaks where the set is a target, as it nearly
always is: give a detector's), by the chain of box_chain.py; people whose box is outside the picture are left out with a
warning that counts them.

Parts: there is no part for training. The parts train and test are the same pictures, all of them: a target's train part
has no labels, so an adaptation sees the pictures that it is tested on, and never what is true of them; a source that
trains here has seen the test. `split=recordings` keeps them apart: TS5, TS10, TS15 and TS20 test, the others train. A
`sequence` is a recording, mupots/TS1 to mupots/TS20: metrics by recording read it there (`recording`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ..options import option
from ..reading.annotations import BadAnnotation, need_file
from ..reading.mppe_file import Records, camera_of, check_projection, croppable, read_records, sizes_by_name
from ..reading.origin import Origin
from ..reading.people import JOINTS, People, PictureOptions, PictureSet, digest
from ..reading.splits import SAME, by_group, check_part
from .skeletons import MPI3DHP17

ORIGIN = Origin(
    "MuPoTS-3D of Mehta, Sotnychenko, Mueller, Xu, Sridhar, Pons-Moll and Theobalt, 3DV 2018, in the form of 3DMPPE",
    "non-commercial research",
    "http://gvv.mpi-inf.mpg.de/projects/SingleShotMultiPerson/ and https://github.com/mks0601/3DMPPE_POSENET_RELEASE",
    "MuPoTS-3D.json, MultiPersonTestSet/TS{1..20}/img_%06d.jpg",
)
K = len(MPI3DHP17)
PICTURE = re.compile(r"TS([1-9]|1\d|20)/img_(\d{1,9})\.(?:jpg|png)")


@dataclass(frozen=True)
class Options(PictureOptions):
    """The options of MuPoTS-3D."""

    valid: bool = option(True, "people whose labels the publisher trusts (is_valid = 1) alone")
    split: str | None = option(
        None,
        "recordings: TS5, TS10, TS15 and TS20 test, the others train; null: both parts are all 20",
        choices=("recordings",),
    )


def mupots(options: Options, part: str) -> PictureSet:
    """One sample a person. `root` holds MuPoTS-3D.json, or data/ with it.

    Raises ValueError for a missing file, and malformed ones.
    """
    check_part(part)
    home = options.folder / "data" if (options.folder / "data/MuPoTS-3D.json").is_file() else options.folder
    file = need_file(home / "MuPoTS-3D.json", f"MuPoTS-3D needs {ORIGIN.layout}")
    records = read_records(file)
    if options.valid:
        records = records.select(records.truths("is_valid"))
    records = records.select(croppable(records, records.column("keypoints_cam", (K, 3))))
    shots = [_shot(records, row) for row in range(len(records))]
    if options.split and len(records):
        rows = by_group([f"{number:02d}" for number, _ in shots], part)
        records, shots = records.select(rows), [shots[i] for i in rows]
    people = _people(records, shots)
    about = {"part": part, "valid": options.valid, "split": options.split or SAME}
    about["sha256"] = digest(file)
    sizes = sizes_by_name(people.pictures, records.sizes())
    return PictureSet(
        f"mupots.{part}", home, people, about, ORIGIN, options.boxes, declared=sizes, chain=True, own=JOINTS
    )


def recording(sequence: str) -> str:
    """TS1 to TS20 of a sample's `sequence`, the names of the published tables. Raises ValueError for another set's."""
    match = re.fullmatch(r"mupots/(TS\d+)", sequence)
    if match is None:
        raise ValueError(f"{sequence!r} is no sequence of MuPoTS-3D; expected mupots/TS1 to mupots/TS20")
    return match[1]


def _shot(records: Records, row: int) -> tuple[int, int]:
    """The number of a row's recording, and of its frame."""
    name = records.images[row]["picture"]
    match = PICTURE.fullmatch(name)
    if match is None:
        place = f"image {records.images[row]['id']}"
        raise BadAnnotation(records.file, place, "file_name", name, "TS1/img_000000.jpg, TS1 to TS20")
    return int(match[1]), int(match[2])


def _people(records: Records, shots: list[tuple[int, int]]) -> People:
    points, keypoints = records.column("keypoints_cam", (K, 3)), records.column("keypoints_img", (K, 2))
    lens = records.column("intrinsic", (4,), image=True)
    camera = camera_of(lens[:, :2], lens[:, 2:], records, "intrinsic")
    check_projection(points, camera, keypoints, records.file)
    return People(
        file=str(records.file),
        skeleton=MPI3DHP17,
        pictures=records.pictures("MultiPersonTestSet/"),
        ids=[f"mupots/TS{n}/{frame:06d}/{i}" for (n, frame), i in zip(shots, records.ids, strict=True)],
        sequences=[f"mupots/TS{number}" for number, _ in shots],
        frames=np.array([frame for _, frame in shots], np.int64),
        keypoints=keypoints,
        annotated=np.ones((len(records), K), bool),
        visible=records.flags("keypoints_vis", K),
        boxes=records.boxes(),
        camera=camera,
        points=points,
    )
