"""SURREAL of Varol et al., CVPR 2017: rendered SMPL bodies before photographs, in clips of 320 x 240 px.

Two layouts, recognised by what lies below the root.

Raw (github.com/gulvarol/surreal @ 8af8ae1, README): {train,val,test}/run{0,1,2}/SEQ/SEQ_c%04d.mp4 and _info.mat beside
each, below the root or its cmu/, data/cmu/ or SURREAL/data/cmu/. Of _info.mat are read joints2D (2, 24, T) px, joints3D
(3, 24, T) metres in the world and camLoc (3, 1); a clip of one frame loses its last axis. The camera is fixed by
datageneration/misc/3Dto2D there: 600 px of focal length, the axis in the middle of the picture (160, 120), and
(x, y, z) = (loc_z - Z, Y - loc_y, loc_x - X) for a world point (X, Y, Z). joints2D are that projection rounded to whole
pixels (0 is the picture's edge, the file's y already runs down), so the exact projection is used for keypoints, and
joints2D only to check it: nothing is shifted. The first opening of a part reads all its _info.mat, some GB of them,
into a table that is kept (reading/tables.py).

That camera is a mirror (its matrix has determinant -1): pictures and joints agree, but show the mirror image of the
SMPL body, whose left hip is a right hip to anyone who looks (gulvarol/surreal#10). Names follow the picture: `left_hip`
is column 2, SMPL's right hip, and so on. The reference does the same where it maps MPII's right ankle to column 7.

Frames with a joint nearer than what the camera draws (100 mm), and frames without a joint in the picture, are left out.

JSON (thuml/Transfer-Learning-Library @ ff06720, surreal.py): {train,val,test}/run{0,1,2}.json, lists of name,
keypoint2d (24, 2), keypoint3d (24, 3), intrinsic_matrix (3, 3), and run{0,1,2}/<name>: crops of 1.5 times the joints'
box. The script that cut them was never published: keypoints are taken as counted from the picture's edge, as they are
raw. The list's points are given where they project onto its keypoints and have a body's size in m, cm or mm; `identity`
says which, or why there are none. Its usual download lacks run2: all lists that are there are used.

Shoulders are SMPL's (columns 16, 17). The reference takes the collars (13, 14), decimetres nearer to the neck:
`shoulders=collar` puts left_shoulder and right_shoulder there. Nothing says which joints are hidden: `visible` is
`annotated`, all.

Parts: the publisher's train and test; val is a part of test and not used. A `sequence` is a motion, with all its clips
in all runs. `split=frames`, of JSON alone, is the reference's: of the shuffled test list the first 20 %, at most 3200;
of the train list all but as many. It keeps to the publisher's parts, and so leaks no more than they do.
"""

from __future__ import annotations

import os
import pickle
import re
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..options import option
from ..reading.annotations import (
    BadAnnotation,
    entries,
    mapping,
    numbers,
    picture_name,
    probe_mats,
    read_mat,
    stacked,
    unique,
)
from ..reading.cameras import AGREE, UNITS, agreeing, pinhole, unit_of_bones
from ..reading.json_stream import in_pieces, walk
from ..reading.origin import Origin
from ..reading.people import People, PictureOptions, PictureSet, project
from ..reading.splits import by_shuffle, check_part
from ..reading.tables import read_table
from .skeletons import SMPL24

ORIGIN = Origin(
    "SURREAL of Varol, Romero, Martin, Mahmood, Black, Laptev and Schmid, CVPR 2017",
    "non-commercial research, after registration",
    "https://www.di.ens.fr/willow/research/surreal/data/",
    "cmu/{train,test}/run{0,1,2}/SEQ/SEQ_c%04d.mp4 with _info.mat; or, as cropped by the authors of RegDA, "
    "{train,test}/run{0,1,2}.json and run{0,1,2}/",
)
RUNS = ("run0", "run1", "run2")
CAMERA = np.array([600.0, 600.0, 160.0, 120.0])
SIZE = np.array([320, 240])
NEAREST = 100.0
"""mm: Blender's clip_start in datageneration/main_part1.py."""
STRIDE = 10
"""Of raw clips: three pictures a second."""
AT_ONCE, CLIPS_AT_ONCE = 1 << 12, 64
"""Entries of lists, and clips, that are turned into rows together."""
SPOOLED = 1 << 26
"""Bytes of lists that are kept in memory, not in a file."""
SHOULDERS = ("smpl", "collar")
TRUNK_BONE = (SMPL24.keypoints.index("neck"), SMPL24.keypoints.index("pelvis"))
TRUNK = (350.0, 750.0)
"""mm from pelvis to neck that a median over a set can have."""
OFF = 1.5
"""px: a clip whose median joint is farther from joints2D was made with another camera."""


@dataclass(frozen=True)
class Options(PictureOptions):
    """The options of SURREAL."""

    shoulders: str = option("smpl", "smpl, or collar, which the reference takes for shoulders", choices=SHOULDERS)
    split: str | None = option(
        None, "frames, of the lists: shuffled as TLLib does; null: the publisher's parts whole", choices=("frames",)
    )
    stride: int | None = option(
        None, f"every how many-th frame; null: the {STRIDE}th of clips, each picture of the lists", low=1, high=1e6
    )


def surreal(options: Options, part: str) -> PictureSet:
    """One sample a frame of a clip, or a picture of the lists.

    Raises ValueError for a root with neither layout, and malformed files.
    """
    check_part(part)
    home, split, shoulders = options.folder, options.split, options.shoulders
    lists = sorted((home / part).glob("run[0-2].json"))
    if split is not None and not lists:
        raise ValueError(f"split={split} shuffles the pictures of run*.json, and {home} holds none; leave it out")
    step = options.stride or (1 if lists else STRIDE)
    about: dict[str, Any] = {"part": part, "shoulders": shoulders, "split": split or "publisher", "stride": step}
    order, name = columns(shoulders), f"surreal.{part}"
    if lists:
        every = 1 if split else step
        choice = {"shoulders": shoulders, "every": every}
        people, more = read_table(name, lists, choice, lambda more: _listed(lists, part, order, every, more))
        people = people.select(by_shuffle(len(people), part)[::step]) if split else people
    else:
        clips = _clips(home, part)
        choice = {"shoulders": shoulders, "step": step}
        people, more = read_table(name, clips, choice, lambda _: _raw(clips, home, part, step, order))
    about |= {"layout": "lists" if lists else "clips", **more}
    return PictureSet(name, home, people, about, ORIGIN, options.boxes, fallback="whole" if lists else "truth")


def columns(shoulders: str) -> list[int]:
    """For each keypoint of SMPL24 the column of the files that holds it."""
    order = SMPL24.flip
    if shoulders == "collar":
        for side in ("left", "right"):
            shoulder, collar = (SMPL24.keypoints.index(f"{side}_{joint}") for joint in ("shoulder", "collar"))
            order[shoulder] = order[collar]
    return order


def to_camera(points: np.ndarray, place: np.ndarray) -> np.ndarray:
    """World points (..., 3) and the camera's place (3,) in one unit to the camera's frame: x right, y down, z forward.

    A mirror. getExtrinsicBlender.m of github.com/gulvarol/surreal @ 8af8ae1.
    """
    away = points - place
    return np.stack([-away[..., 2], away[..., 1], -away[..., 0]], -1)


def _clips(home: Path, part: str) -> list[str]:
    """The paths of the _info.mat of all clips of `part`. Raises ValueError where there are none."""
    below = ("", "cmu", "data/cmu", "SURREAL/data/cmu")
    for folder in (home / name / part for name in below):
        runs = [folder / run for run in RUNS if (folder / run).is_dir()]
        clips = [file for run in runs for clip in _inside(run) for file in _inside(clip, "_info.mat")]
        if clips:
            return clips
    tried = ", ".join(str(home / name / part) for name in below)
    raise ValueError(
        f"neither run*.json nor run*/SEQ/*_info.mat in any of {tried}. {ORIGIN.title} is at {ORIGIN.home}; expected "
        f"below the root: {ORIGIN.layout}"
    )


def _inside(folder: str | Path, ending: str | None = None) -> list[str]:
    """The paths in a folder, in their order: of the files that end so, or of folders."""
    with os.scandir(folder) as inside:
        return sorted(one.path for one in inside if (one.is_dir() if ending is None else one.name.endswith(ending)))


def _raw(files: Sequence[str], home: Path, part: str, step: int, order: list[int]) -> Iterator[People]:
    clips = [Path(file) for file in files]
    names = [f"surreal/{part}/{file.parent.parent.name}/{file.name.removesuffix('_info.mat')}" for file in clips]
    unique(names, clips[0].parent)
    probe_mats(clips)
    for some in in_pieces(zip(clips, names, strict=True), CLIPS_AT_ONCE):
        pictures, ids, sequences = list[str](), list[str](), list[str]()
        points, frames = [], []
        for file, name in some:
            video = file.with_name(f"{name.rpartition('/')[2]}.mp4").relative_to(home).as_posix()
            joints, shown = _clip(file)
            numbered = [n for n in range(0, len(joints), step) if shown[n]]
            pictures += [f"{video}#{n}" for n in numbered]
            ids += [f"{name}/{n:03d}" for n in numbered]
            sequences += [f"surreal/{part}/{file.parent.name}"] * len(numbered)
            points.append(joints[numbered][:, order])
            frames.append(np.array(numbered, np.int64))
        joined = np.concatenate(points)
        camera = np.tile(CAMERA, (len(joined), 1))
        known = np.ones(joined.shape[:2], bool)
        yield People(
            file=str(clips[0].parent.parent.parent),
            skeleton=SMPL24,
            pictures=pictures,
            ids=ids,
            sequences=sequences,
            frames=np.concatenate(frames),
            keypoints=project(joined, camera),
            annotated=known,
            visible=known,
            camera=camera,
            points=joined,
        )


def _clip(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """(T, 24, 3) mm in the camera's frame, in the file's columns, and which frames (T,) show someone."""
    names = ("joints2D", "joints3D", "camLoc")
    content = mapping(read_mat(file, probed=True, variable_names=names), file, "", "the content", names)
    flat, world = (_timed(content[name], rows, file, name) for name, rows in (("joints2D", 2), ("joints3D", 3)))
    if len(flat) != len(world):
        raise BadAnnotation(file, "", "joints2D", f"of {len(flat)} frames", f"{len(world)}, as joints3D")
    points = to_camera(world, numbers(np.ravel(content["camLoc"]), (3,), file, "", "camLoc")) * 1000
    drawn: np.ndarray = points[..., 2].min(-1) >= NEAREST
    keypoints = project(np.where(drawn[:, None, None], points, NEAREST), CAMERA)
    off = np.linalg.norm(keypoints - flat, axis=-1)[drawn]
    if off.size and np.median(off) > OFF:
        wanted = f"the projection of joints3D to {OFF} px, not {np.median(off):.1f} px away"
        raise BadAnnotation(file, "", "joints2D", flat[drawn][0].tolist(), wanted)
    outside = np.maximum(-keypoints, keypoints - SIZE).max(-1)
    return points, drawn & (outside.min(-1) <= 0)


def _timed(value: Any, rows: int, file: Path, name: str) -> np.ndarray:
    """(T, 24, rows) of a MATLAB array (rows, 24, T), which for one frame is (rows, 24)."""
    whole = value[..., None] if isinstance(value, np.ndarray) and value.ndim == 2 else value
    return numbers(whole, (rows, len(SMPL24), None), file, "", name).transpose(2, 1, 0)


class _Listed(NamedTuple):
    """Some entries of a list: their pictures, and the values of all."""

    names: list[str]
    keypoints: np.ndarray
    points: np.ndarray
    matrices: np.ndarray


_SHAPES: dict[str, tuple[int, int]] = {"keypoint2d": (24, 2), "keypoint3d": (24, 3), "intrinsic_matrix": (3, 3)}


def _listed(lists: Sequence[Path], part: str, order: list[int], step: int, about: dict[str, Any]) -> Iterator[People]:
    """Each `step`-th picture of the lists in their order; the unit of their points goes into `about`. It is that of all
    of them, so that all are read, into a temporary file, before the first is given."""
    folder, count, hits, joints = lists[0].parent, 0, 0.0, 0
    bones: list[np.ndarray] = []
    with tempfile.SpooledTemporaryFile(SPOOLED) as spool:
        for piece in _pieces(lists):
            camera = pinhole(piece.matrices, folder, "intrinsic_matrix", count)
            hits += agreeing(piece.points, camera, piece.keypoints)
            joints += piece.keypoints[..., 0].size
            trunk = piece.points[:, TRUNK_BONE]
            bones.append(np.linalg.norm(trunk[:, 0] - trunk[:, 1], axis=-1))
            rows = np.arange(-count % step, len(piece.names), step)
            chosen = [f"{part}/{piece.names[row]}" for row in rows]
            pickle.dump((count + rows, chosen, piece.keypoints[rows], piece.points[rows], camera[rows]), spool)
            count += len(piece.names)
        unit = unit_of_bones(np.concatenate(bones), TRUNK) if joints and hits >= AGREE * joints else None
        about["points"] = (
            unit or "none: they do not project onto keypoint2d, or are not of a body's size in m, cm or mm"
        )
        spool.seek(0)
        for _ in bones:
            frames, pictures, keypoints, points, camera = pickle.load(spool)
            known = np.ones(keypoints.shape[:2], bool)
            yield People(
                file=str(folder),
                skeleton=SMPL24,
                pictures=pictures,
                ids=[f"surreal/{name}" for name in pictures],
                sequences=[f"surreal/{part}/{motion(name.partition('/')[2])}" for name in pictures],
                frames=frames,
                keypoints=keypoints[:, order],
                annotated=known,
                visible=known,
                camera=camera,
                points=points[:, order] * UNITS[unit] if unit else None,
            )


def _pieces(lists: Sequence[Path]) -> Iterator[_Listed]:
    """The entries of each list, some at once; of a list at least one piece. Raises BadAnnotation, also for a picture
    that is there twice."""
    for file in lists:
        hashes = array("q")
        for names, *values in _read(file):
            hashes.extend(map(hash, names))
            yield _Listed(names, *values)
        kinds, counts = np.unique(np.asarray(hashes), return_counts=True)
        if (counts > 1).any():  # names themselves would be too many to keep
            alike = set(kinds[counts > 1].tolist())
            unique([name for names, *_ in _read(file) for name in names if hash(name) in alike], file.parent)


def _read(file: Path) -> Iterator[_Listed]:
    listed, number = walk(file, 1), 0
    entries(next(listed)[1], file, "", "the content")
    for some in in_pieces((value for _, value in listed), AT_ONCE):
        places = [f"entry {number + i}" for i in range(len(some))]
        rows = [
            mapping(row, file, place, "the entry", ("name", *_SHAPES)) for row, place in zip(some, places, strict=True)
        ]
        values = (stacked([row[key] for row in rows], shape, file, places, key) for key, shape in _SHAPES.items())
        names = [picture_name(row["name"], file, place, "name") for row, place in zip(rows, places, strict=True)]
        yield _Listed([f"{file.stem}/{name}" for name in names], *values)
        number += len(some)


def motion(name: str) -> str:
    """The motion sequence in a picture's name run0/01_01_c0001_12.jpg; of other names all but the last number."""
    file = name.rpartition("/")[2]
    return re.split(r"_c\d{4}|[_-]?\d+\.\w+$", file)[0] or file
