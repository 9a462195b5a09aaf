"""MuCo-3DHP of Mehta et al., 3DV 2018, as composited and converted by G. Moon: several people of MPI-INF-3DHP, cut out
and put into one picture before backgrounds of others.

Layout (mks0601/3DMPPE_POSENET_RELEASE @ dd025c5, data/MuCo): below the root or its data/ lie MuCo-3DHP.json and the
pictures that it names, in augmented_set/ and unaugmented_set/. `images`: id, file_name, width, height, f and c, the
focal lengths and principal point in pixels; `annotations`: id, image_id, bbox, keypoints_cam (21, 3) mm in the camera's
frame, keypoints_img (21, 2) px and keypoints_vis (21,).

Names: the files' joint Thorax is MPI-INF-3DHP's neck (column 5 of its 28), and is called neck here, so that MuCo,
MuPoTS-3D and MPI-INF-3DHP are paired. The reference pairs it with the thorax of MPII and the middle of COCO's
shoulders: `rename={neck: thorax}` does that. R_Toe and L_Toe are MPI-INF-3DHP's toes, and not SMPL's feet.

Pixel origin: the corner, nothing is shifted: pictures and cameras are MPI-INF-3DHP's (see mpi_inf_3dhp.py). Its 2D
labels of hips and spine are a pixel or two beside the projection of its 3D ones; a file whose median joint is more than
10 px off is refused.

`annotated` are all joints: a person in front does not make them unknown. `visible` is keypoints_vis, of which nothing
published says more than its name; the same author's converter of Human3.6M writes there what lies in the picture. It
does not say who is covered by whom.

Who is taken, as in both references: of a picture the closest person, and any other whose root is 500 mm and more from
every other's in x and y (then it is in space as well); `apart=null` takes all. `depth_range=[1500, 7500]` is RootNet's
own. Boxes are the annotations', made of the joints (`boxes=joints`, which leaks where the set is a target), by the
chain of box_chain.py; people whose box is outside the picture are left out with a warning that counts them.

Parts: the set is for training alone. So that a source can be watched without its target, one of `held` pictures is
held out and is the part test; they show the same eight people, and perhaps the same cut-outs, as the others do: it says
that training goes well, and not how well a network does elsewhere. `held=null` trains on all, as the references do, and
then there is no part test. A `sequence` is a picture with all its people: what was composited has no order in time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..options import option
from ..reading.annotations import need_file
from ..reading.mppe_file import Records, camera_of, check_projection, croppable, read_records, sizes_by_name
from ..reading.origin import Origin
from ..reading.people import JOINTS, People, PictureOptions, PictureSet, digest
from ..reading.splits import by_group, check_part
from .skeletons import MUCO21

ORIGIN = Origin(
    "MuCo-3DHP of Mehta, Sotnychenko, Mueller, Xu, Sridhar, Pons-Moll and Theobalt, 3DV 2018, in the form of 3DMPPE",
    "non-commercial research",
    "http://gvv.mpi-inf.mpg.de/projects/SingleShotMultiPerson/ and https://github.com/mks0601/3DMPPE_POSENET_RELEASE",
    "MuCo-3DHP.json, augmented_set/, unaugmented_set/",
)
K, ROOT = len(MUCO21), MUCO21.keypoints.index("pelvis")
APART = 500.0


@dataclass(frozen=True)
class Options(PictureOptions):
    """The options of MuCo-3DHP."""

    apart: float | None = option(
        APART,
        "mm, in x and y, from the root of a person to every other's in the picture, for it to be taken beside the "
        "closest; null: all are",
        low=0,
    )
    depth_range: list[float] | None = option(
        None, "nearest and farthest root, mm; RootNet trains on [1500, 7500]; null: any", low=0, size=2
    )
    held: int | None = option(20, "one of so many pictures is held out as the part test; null: none", low=2)


def muco(options: Options, part: str) -> PictureSet:
    """One sample a person that is taken. `root` holds MuCo-3DHP.json, or data/ with it.

    Raises ValueError for a missing file, a part test without pictures held out, and malformed files.
    """
    check_part(part)
    if part == "test" and options.held is None:
        raise ValueError("held=null: all of MuCo-3DHP trains, and there is no part test; leave it out, or set held=20")
    home = options.folder / "data" if (options.folder / "data/MuCo-3DHP.json").is_file() else options.folder
    file = need_file(home / "MuCo-3DHP.json", f"MuCo-3DHP needs {ORIGIN.layout}")
    records = _taken(read_records(file), options)
    if options.held is not None and len(records):
        records = records.select(by_group(records.pictures(), part, options.held))
    people = _people(records)
    about = {"part": part, "apart": options.apart, "depth_range": options.depth_range, "held": options.held}
    about["sha256"] = digest(file)
    sizes = sizes_by_name(people.pictures, records.sizes())
    return PictureSet(
        f"muco.{part}", home, people, about, ORIGIN, options.boxes, declared=sizes, chain=True, own=JOINTS
    )


def _taken(records: Records, options: Options) -> Records:
    points = records.column("keypoints_cam", (K, 3))
    taken = np.ones(len(records), bool)
    if options.apart is not None:
        picture = np.array([image["id"] for image in records.images], np.int64)
        taken = apart(picture, points[:, ROOT], options.apart)
    if options.depth_range is not None:
        nearest, farthest = options.depth_range
        taken &= (points[:, ROOT, 2] >= nearest) & (points[:, ROOT, 2] <= farthest)
    few = records.select(taken)
    return few.select(croppable(few, points[taken]))


def apart(picture: np.ndarray, roots: np.ndarray, least: float) -> np.ndarray:
    """(N,) bool: of the people with roots (N, 3) mm in each picture (N,) the closest, the first of several, and all
    whose root is `least` mm from every other's in x and y.

    The reference asks for the distance in space too, which is never the shorter one.
    """
    order = np.argsort(picture, kind="stable")
    _, first, counts = np.unique(picture[order], return_index=True, return_counts=True)
    taken = np.zeros(len(picture), bool)
    for count in np.unique(counts):
        rows = order[first[counts == count][:, None] + np.arange(count)]  # (pictures, people)
        flat = roots[rows, :2]
        gaps = np.linalg.norm(flat[:, :, None] - flat[:, None], axis=-1) + np.diag(np.full(count, np.inf))
        closest = np.argmin(roots[rows, 2], 1)
        taken[rows] = (gaps >= least).all(2) | (np.arange(count) == closest[:, None])
    return taken


def _people(records: Records) -> People:
    file = records.file
    points, keypoints = records.column("keypoints_cam", (K, 3)), records.column("keypoints_img", (K, 2))
    focal, middle = (records.column(name, (2,), image=True) for name in ("f", "c"))
    camera = camera_of(focal, middle, records, "f")
    check_projection(points, camera, keypoints, file)
    return People(
        file=str(file),
        skeleton=MUCO21,
        pictures=records.pictures(),
        ids=[f"muco/{number}" for number in records.ids],
        sequences=[f"muco/{name}" for name in records.pictures()],
        frames=np.array([image["id"] for image in records.images], np.int64),
        keypoints=keypoints,
        annotated=np.ones((len(records), K), bool),
        visible=records.flags("keypoints_vis", K),
        boxes=records.boxes(),
        camera=camera,
        points=points,
    )
