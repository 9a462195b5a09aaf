"""Human3.6M of Ionescu, Papava, Olaru and Sminchisescu, PAMI 2014, as converted by G. Moon.

Layout (mks0601/3DMPPE_ROOTNET_RELEASE @ 0089dde, data/Human36M): annotations/Human36M_subject{S}_{camera,data,joint_3d}
.json and the pictures that the data files name, below images/. camera: {camera: R (3, 3), t (3), f (2), c (2)};
joint_3d: {action: {subaction: {frame: (17, 3)}}}, millimetres in the world; data: a list `images` (id, file_name,
subject, action_idx, subaction_idx, frame_idx, cam_idx) and a list `annotations` (image_id, bbox left, top, width,
height). A point in the camera's frame is R X + t; the author's older converter writes a t of R (X - t), which is
noticed by the boxes. There are no 2D labels: keypoints are projected, and so lie beside the pictures by what the lens
bends, which these files leave out: up to 3.4 px on published samples. Nothing says which joints are hidden: `visible`
is `annotated`, all.

Pixel origin: not stated by the publisher, whose camera is a MATLAB function; nothing is shifted, so half a pixel may be
wrong. The joints Torso, Neck and Head of the files are spine, neck and head_top here. `thorax=true` adds the 18th joint
of 3DMPPE, which is paired with MPII's thorax: the middle of the shoulders in the world. Without it no joint is made up.

Boxes: the true joints' (`boxes=truth`, a leak on a target). Those of the data files are no others: they are the joints'
with a margin of a tenth; they hold the cameras to account, and with `chain=true` they are what crops are made from, by
the chain of box_chain.py, as in 3DMPPE (`boxes=joints`, the same leak).

Parts: protocol 2 trains on the subjects 1, 5, 6, 7, 8 and tests on 9, 11; protocol 1 trains on 9 too and tests on 11.
By default every 5th entry of a data file, as in the reference (thuml/Transfer-Learning-Library @ c11a06f, human36m.py);
3DMPPE and the literature train on the frames whose number is a multiple of 5 and test on those of 64: `counts=frames`
with `stride=5` and `stride=64`. `split=frames` is the reference's test: 3200 draws with replacement (seed 42), so a
picture can come more than once; no subject is on both sides. s_11_act_02_subact_02_ca_01, which 3DMPPE's converter
skips, is left out where a file has it. A `sequence` is a subject's camera in an action and subaction; `action` reads
the action's name in it. `actions=[Walking]` keeps those of one action, for protocols that train a model of each.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..options import option
from ..reading.annotations import (
    BadAnnotation,
    Words,
    entries,
    mapping,
    need_all,
    numbers,
    picture_name,
    read_json,
    unique,
    whole,
)
from ..reading.box_chain import process_boxes
from ..reading.cameras import in_front
from ..reading.json_stream import walk
from ..reading.notes import Notes
from ..reading.origin import Origin
from ..reading.people import JOINTS, People, PictureOptions, PictureSet, project
from ..reading.splits import check_part
from ..reading.tables import read_table
from .middles import SHOULDERS, with_middles
from .skeletons import H36M17, H36M18

ORIGIN = Origin(
    "Human3.6M of Ionescu, Papava, Olaru and Sminchisescu, PAMI 2014, with annotations in the form of 3DMPPE",
    "academic use only, after registration",
    "http://vision.imar.ro/human3.6m/ and https://github.com/mks0601/3DMPPE_ROOTNET_RELEASE",
    "annotations/Human36M_subject{1,5,6,7,8,9,11}_{camera,data,joint_3d}.json, images/",
)
SUBJECTS = {(1, "train"): (1, 5, 6, 7, 8, 9), (1, "test"): (11,), (2, "train"): (1, 5, 6, 7, 8), (2, "test"): (9, 11)}
"""By protocol and part."""
KINDS = ("camera", "data", "joint_3d")
ACTIONS = (
    *("Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting", "SittingDown"),
    *("Smoking", "Photo", "Waiting", "Walking", "WalkDog", "WalkTogether"),
)
"""By action_idx, from 2."""
SKIPPED = (11, 2, 2, 1)
"""Subject, action, subaction and camera of the recording that 3DMPPE's converter skips (tool/Human36M/h36m2coco.py)."""
STRIDE = 5
DRAWN = 3200
"""Pictures in the reference's test."""


@dataclass(frozen=True)
class Options(PictureOptions):
    """The options of Human3.6M."""

    protocol: int = option(2, "which subjects train and which test", choices=(1, 2))
    stride: int | None = option(None, f"every how many-th entry; null: the {STRIDE}th", low=1, high=1e6)
    counts: str = option(
        "entries",
        "what stride counts: entries of a data file, as TLLib; frames by their numbers, as 3DMPPE",
        choices=("entries", "frames"),
    )
    thorax: bool = option(False, "with an 18th joint, thorax, in the middle of the shoulders, as in 3DMPPE")
    chain: bool = option(
        False, "crops by the data files' boxes, clipped to the picture, as in 3DMPPE; they are the true joints' too"
    )
    actions: list[str] | None = option(None, "those that are read, by name, of both parts; null: all", choices=ACTIONS)
    split: str | None = option(
        None, f"frames: {DRAWN} draws with replacement test, as in TLLib; null: all entries", choices=("frames",)
    )


def human36m(options: Options, part: str) -> PictureSet:
    """One sample an entry of the data files. `root` holds annotations/ and images/.

    Raises ValueError for missing files (all of them named) and malformed ones.
    """
    check_part(part)
    home, protocol, split = options.folder, options.protocol, options.split
    subjects = SUBJECTS[protocol, part]
    files = {s: [home / f"annotations/Human36M_subject{s}_{kind}.json" for kind in KINDS] for s in subjects}
    listed = [path for three in files.values() for path in three]
    need_all(listed, f"protocol {protocol}, part {part} of {ORIGIN.layout}")
    names = ("stride", "counts", "actions", "chain", "thorax")
    choice = {"subjects": subjects, **{name: getattr(options, name) for name in names}}
    people, more = read_table(f"human36m.{part}", listed, choice, lambda _: _tables(files, options, home))
    about = {"part": part, "protocol": protocol, "stride": options.stride or STRIDE, "split": split or "subjects"}
    if options.counts == "frames":
        about["counts"] = "frames"
    if options.actions:
        about["actions"] = sorted(options.actions)
    if split and part == "test":
        people = _drawn(people)
    about |= more
    name, chain = f"human36m.{part}", options.chain
    return PictureSet(name, home, people, about, ORIGIN, options.boxes, fallback="truth", chain=chain, own=JOINTS)


def action(sequence: str) -> str:
    """The name of the action (`ACTIONS`) that a sample's `sequence` is of, for metrics by action. Raises ValueError for
    another set's, and for the calibration recordings before the first action."""
    match = re.fullmatch(r"human36m/S\d+/(\d\d)_\d\d/\d+", sequence)
    number = int(match[1]) - 2 if match else -1
    if not 0 <= number < len(ACTIONS):
        raise ValueError(f"{sequence!r} is of no action of Human3.6M; expected human36m/S9/02_01/1, action 2 to 16")
    return ACTIONS[number]


def _tables(files: dict[int, list[Path]], options: Options, home: Path) -> Iterator[People]:
    """The people of one subject after the other."""
    notes, count = Notes(home / "annotations"), 0
    for subject, three in files.items():
        rows = _rows(subject, options, *three)
        count += len(rows)
        people = _people(rows, home / "annotations")
        people = _boxed(people, rows, notes) if options.chain else people
        yield with_middles(people, H36M18, {"thorax": SHOULDERS}) if options.thorax else people
    notes.warn(count, "people")


def _rows(subject: int, options: Options, camera: Path, data: Path, joints: Path) -> list[dict[str, Any]]:
    cameras = {key: _camera(value, camera, key) for key, value in _object(camera).items()}
    rows, boxes, listed = [], dict[int, Any](), None
    for keys, value in walk(data, 2):
        if not keys:
            mapping(value, data, "", "the content")
        elif keys == ("images",):
            listed = entries(value, data, "", "images")
        elif keys == ("annotations",):
            entries(value, data, "", "annotations")
        elif keys[0] == "images":
            rows += _image(value, int(keys[1]), subject, options, cameras, data, camera)
        elif keys[0] == "annotations":
            _add_box(value, f"annotations[{keys[1]}]", boxes, data)
    entries(listed, data, "", "images")
    world = _world({row["keys"] for row in rows}, joints)
    for row in rows:
        box = boxes.get(row["number"])
        row["world"] = world[row["keys"]]
        row["box"] = None if box is None else numbers(box, (4,), data, row["place"], "bbox")
    return rows


def _image(
    entry: Any, i: int, subject: int, options: Options, cameras: dict[str, Any], data: Path, camera: Path
) -> list[dict[str, Any]]:
    """The row of an image, without what other lists say of it; none of one that is not chosen."""
    every, place = options.stride or STRIDE, f"images[{i}]"
    step, multiple = (1, every) if options.counts == "frames" else (every, 1)
    if i % step:
        return []
    image = mapping(entry, data, place, "the entry", ("id", "file_name", "subject"))
    number = whole(image["id"], data, place, "id")
    if whole(image["subject"], data, place, "subject") != subject:
        raise BadAnnotation(data, place, "subject", image["subject"], str(subject))
    keys = [whole(image.get(key), data, place, key) for key in _INDICES]
    action, subaction, frame, view = keys
    if frame % multiple or (subject, action, subaction, view) == SKIPPED:
        return []
    if options.actions is not None and action not in {ACTIONS.index(name) + 2 for name in options.actions}:
        return []
    if str(view) not in cameras:
        raise BadAnnotation(data, place, "cam_idx", view, f"one of {', '.join(cameras)} as in {camera.name}")
    return [
        {
            "place": place,
            "number": number,
            "keys": tuple(keys[:3]),
            "picture": "images/" + picture_name(image["file_name"], data, place),
            "id": f"human36m/S{subject}/{action:02d}_{subaction:02d}/{view}/{frame:06d}",
            "sequence": f"human36m/S{subject}/{action:02d}_{subaction:02d}/{view}",
            "frame": frame,
            "camera": cameras[str(view)],
            "size": _size(image, data, place) if options.chain else None,
        }
    ]


_INDICES = ("action_idx", "subaction_idx", "frame_idx", "cam_idx")


def _size(image: dict[str, Any], file: Path, place: str) -> list[int]:
    """Width and height."""
    return [whole(image.get(side), file, place, side) for side in ("width", "height")]


def _object(file: Path) -> dict[str, Any]:
    return mapping(read_json(file), file, "", "the content")


def _camera(value: Any, file: Path, key: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotation (3, 3), translation (3,) mm and intrinsics (4,)."""
    entry = mapping(value, file, f"camera {key}", "the entry", ("R", "t", "f", "c"))
    rotation, shift, focal, middle = (
        numbers(entry[name], shape, file, f"camera {key}", name)
        for name, shape in {"R": (3, 3), "t": (3,), "f": (2,), "c": (2,)}.items()
    )
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
        raise BadAnnotation(file, f"camera {key}", "R", rotation.tolist(), "a rotation")
    if focal.min() <= 0:
        raise BadAnnotation(file, f"camera {key}", "f", focal.tolist(), "positive focal lengths")
    return rotation, shift, np.concatenate([focal, middle])


def _world(wanted: set[tuple[int, ...]], file: Path) -> dict[tuple[int, ...], np.ndarray]:
    """(17, 3) mm in the world, by action, subaction and frame."""
    named, world = {tuple(map(str, keys)): keys for keys in wanted}, dict[tuple[int, ...], np.ndarray]()
    place = "action {}, subaction {}, frame {}"
    for keys, value in walk(file, 3):
        if not keys:
            mapping(value, file, "", "the content")
        elif keys in named:
            world[named[keys]] = numbers(value, (len(H36M17), 3), file, place.format(*keys), "joints")  # type: ignore[index]
    lacking = min(wanted - world.keys(), default=None)
    if lacking is not None:
        wanted_words = "joints for every image of the data file"
        raise BadAnnotation(file, place.format(*lacking), "the entry", "missing", wanted_words)
    return world


def _add_box(entry: Any, place: str, boxes: dict[int, Any], file: Path) -> None:
    """A box as it stands there, by its image."""
    fields = mapping(entry, file, place, "the entry", ("image_id", "bbox"))
    image = whole(fields["image_id"], file, place, "image_id")
    if image in boxes:
        raise BadAnnotation(file, place, "image_id", image, "one annotation an image")
    boxes[image] = fields["bbox"]


def _people(rows: list[dict[str, Any]], file: Path) -> People:
    ids, known = [row["id"] for row in rows], np.ones((len(rows), len(H36M17)), bool)
    unique(ids, file)
    rotation, shift, camera = (
        np.array([row["camera"][i] for row in rows]).reshape(-1, *shape) for i, shape in enumerate([(3, 3), (3,), (4,)])
    )
    world = np.array([row["world"] for row in rows]).reshape(-1, len(H36M17), 3)
    points = np.einsum("nij,nkj->nki", rotation, world) + shift[:, None]
    in_front(points, file, ids)
    keypoints = project(points, camera)
    _check_boxes(rows, keypoints, file)
    return People(
        file=str(file),
        skeleton=H36M17,
        pictures=[row["picture"] for row in rows],
        ids=ids,
        sequences=[row["sequence"] for row in rows],
        frames=np.array([row["frame"] for row in rows], np.int64),
        keypoints=keypoints,
        annotated=known,
        visible=known,
        camera=camera,
        points=points,
    )


def _boxed(people: People, rows: list[dict[str, Any]], notes: Notes) -> People:
    """`people` with the boxes of their `rows`; without those whose box the chain rejects, which `notes` count."""
    lacking = next((row["id"] for row in rows if row["box"] is None), None)
    if lacking is not None:
        raise BadAnnotation(people.file, lacking, "bbox", Words("missing"), "a box for each image, with chain=true")
    boxes = np.array([row["box"] for row in rows]).reshape(-1, 4)
    sizes = np.array([row["size"] for row in rows], np.float64).reshape(-1, 2)
    accepted = process_boxes(boxes, sizes)[1]
    if not accepted.all():
        outside = "have a box outside their picture, or without an area, and are left out"
        notes.add(outside, people.ids[int(np.argmin(accepted))], int((~accepted).sum()))
    edges = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    return replace(people.select(accepted), boxes=edges[accepted])


def _check_boxes(rows: list[dict[str, Any]], keypoints: np.ndarray, file: Path) -> None:
    """The middle of the keypoints (N, 17, 2) must lie in the boxes of the rows that have one."""
    boxed = [(row["id"], row["box"], middle) for row, middle in zip(rows, keypoints.mean(1), strict=True)]
    for name, box, middle in boxed:
        if box is not None and not ((middle > box[:2]) & (middle < box[:2] + box[2:])).all():
            wanted = f"the projected joints in it, which are about {middle.round()} (the camera's t must mean R X + t)"
            raise BadAnnotation(file, name, "bbox", box.tolist(), wanted)


def _drawn(people: People) -> People:
    """The reference's test: draws with replacement; a picture that comes again has another id."""
    rows = random.Random(42).choices(range(len(people)), k=DRAWN) if len(people) else []
    drawn = people.select(rows)
    times = dict.fromkeys(drawn.ids, 0)
    assert isinstance(drawn.ids, list)
    for i, name in enumerate(drawn.ids):
        times[name] += 1
        drawn.ids[i] = name if times[name] == 1 else f"{name}/{times[name]}"
    return drawn
