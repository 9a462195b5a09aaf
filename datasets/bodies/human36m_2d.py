"""Human3.6M as 2D keypoints over time, in the files of VideoPose3D (Pavllo et al., CVPR 2019).

Layout (facebookresearch/VideoPose3D, DATASETS.md): data_3d_h36m.npz, `positions_3d` {subject: {action: (T, 32 or 17, 3)
metres in the world}}; data_2d_h36m_{detections}.npz, `positions_2d` {subject: {action: [of each camera (T, 17, 2)
px]}}, their frames from the first of the 3D ones on, a few more at the end. Both are pickles within, of which nothing
but arrays is read. VideoPose3D has the cameras in its code; here they are a file, cameras.pkl as open-mmlab/mmpose
@ 759b39c makes it of Human3.6M's own (tools/dataset_converters/preprocess_h36m.py): {(subject, camera): R, T, f, c, w,
h}, the columns of R (3, 3) being the camera's axes in the world and T (3, 1) metres where it stands, so that a point X
is R' (X - T) in its frame. A lens's distortion (k, p) is left out: joints lie up to 3.4 px beside their projections,
by which alone it is seen whether cameras and keypoints are of each other.

Anatomy3D reads the confidences of AlphaPose beside: `scores` names a pickle or .npz of {subject: {action: [of each
camera (T, 17)]}}, within `positions_2d` or `scores` or by itself. Without, each is 1.

Pixels are those of the detectors, whose origin is not stated; nothing is shifted. Subjects 1, 5, 6, 7, 8 train, 9 and
11 test. A `sequence` is as human36m.py's: a subject's camera in an action and subaction, so that its means by action
hold here too; subaction 0 is what VideoPose3D gives no number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..options import FILE, option
from ..reading.annotations import BadAnnotation, Words, entries, mapping, need_all, numbers, read_objects, read_pickle
from ..reading.files import from_home
from ..reading.origin import FolderOptions, Origin
from ..reading.people import digest, project
from ..reading.sequences import Recording, SequenceOptions, Sequences
from ..reading.splits import check_part
from .human36m import ACTIONS, SUBJECTS
from .skeletons import H36M17

ORIGIN = Origin(
    "Human3.6M of Ionescu, Papava, Olaru and Sminchisescu, PAMI 2014, 2D keypoints and poses as in VideoPose3D",
    "academic use only, after registration",
    "http://vision.imar.ro/human3.6m/ and https://github.com/facebookresearch/VideoPose3D/blob/main/DATASETS.md",
    "data_3d_h36m.npz, data_2d_h36m_cpn_ft_h36m_dbb.npz, cameras.pkl",
)
CAMERAS = ("54138969", "55011271", "58860488", "60457274")
"""In the order of the files' lists."""
KEPT = [*range(4), *(6, 7, 8), *(12, 13, 14, 15), *(17, 18, 19), *(25, 26, 27)]
"""Of Human3.6M's 32 joints those of H36M17."""
APART = 50.0
"""px: detections lie nearer to projected joints than this, half of them; else the cameras are others."""


@dataclass(frozen=True)
class Options(SequenceOptions, FolderOptions):
    """The options of Human3.6M's 2D keypoints."""

    detections: str = option("cpn_ft_h36m_dbb", "whose 2D keypoints: data_2d_h36m_NAME.npz; gt: projected joints")
    scores: str | None = option(None, "file of their confidences (AlphaPose's); null: each is 1", tags=[FILE])
    actions: list[str] | None = option(None, "those that are read, by name, of both parts; null: all", choices=ACTIONS)


def human36m_2d(options: Options, part: str) -> Sequences:
    """One recording of each camera of an action. `root` holds the two .npz and cameras.pkl.

    Raises ValueError for missing files (all of them named) and malformed ones.
    """
    check_part(part)
    home = options.folder
    poses, keypoints = home / "data_3d_h36m.npz", home / f"data_2d_h36m_{options.detections}.npz"
    cameras, scores = home / "cameras.pkl", None if options.scores is None else from_home(options.scores)
    listed = [path for path in (poses, keypoints, cameras, scores) if path is not None]
    need_all(listed, ORIGIN.layout)
    files = Files.read(poses, keypoints, cameras, scores)
    recordings = [one for number in SUBJECTS[2, part] for one in files.recordings(f"S{number}", options.actions)]
    if not recordings:
        raise BadAnnotation(poses, "", "positions_3d", Words("without any of them"), f"subjects of part {part}")
    about: dict[str, Any] = {"name": "human36m_2d", "part": part, "sha256": digest(*listed)}
    if options.actions:
        about["actions"] = sorted(options.actions)
    return Sequences(f"human36m_2d.{part}", H36M17, recordings, options, about)


@dataclass(frozen=True)
class View:
    """A camera: its axes in the world in columns, its place in metres, (fx, fy, cx, cy) and (width, height) in px."""

    axes: np.ndarray
    place: np.ndarray
    lens: np.ndarray
    size: tuple[int, int]


@dataclass(frozen=True)
class File:
    """A file and what of it is read, by subject and action, of cameras by subject and camera."""

    path: Path
    content: dict[Any, Any]

    def of(self, subject: str, title: str) -> list[Any]:
        """What stands under a subject and action, of each camera. Raises BadAnnotation."""
        place = f"{subject}, {title}"
        actions = mapping(self.content.get(subject, {}), self.path, subject, "the entry")
        of_cameras = entries(actions.get(title), self.path, place, "the entry")
        if len(of_cameras) != len(CAMERAS):
            raise BadAnnotation(self.path, place, "the entry", Words(f"of {len(of_cameras)} cameras"), "4 cameras")
        return of_cameras


@dataclass(frozen=True)
class Files:
    """What is read of all of them."""

    poses: File
    keypoints: File
    cameras: File
    scores: File | None

    @staticmethod
    def read(poses: Path, keypoints: Path, cameras: Path, scores: Path | None) -> Files:
        """Raises BadAnnotation for what is no mapping of arrays."""
        return Files(
            _mapping(poses, read_objects(poses), "positions_3d"),
            _mapping(keypoints, read_objects(keypoints), "positions_2d"),
            _mapping(cameras, read_pickle(cameras)),
            None if scores is None else _mapping(scores, _content(scores), "scores", "positions_2d"),
        )

    def recordings(self, subject: str, actions: list[str] | None) -> Iterator[Recording]:
        """Those of a subject, in the order of the files, of the actions by name. Raises BadAnnotation."""
        path = self.poses.path
        for title, poses in mapping(self.poses.content.get(subject, {}), path, subject, "the entry").items():
            name, number = _action(title, path, subject)
            if actions is None or name in actions:
                sequence = f"human36m/{subject}/{ACTIONS.index(name) + 2:02d}_{number:02d}"
                yield from self.seen(sequence, subject, title, _poses(poses, path, f"{subject}, {title}"))

    def seen(self, sequence: str, subject: str, title: str, world: np.ndarray) -> Iterator[Recording]:
        """What each camera saw of poses (T, 17, 3), metres in the world."""
        seen = self.keypoints.of(subject, title)
        sure = None if self.scores is None else self.scores.of(subject, title)
        for view, key in enumerate(CAMERAS):
            place = f"{subject}, {title}, camera {view}"
            camera = _camera(self.cameras.content.get((subject, key)), self.cameras.path, f"{subject}, {key}")
            keypoints = _frames(seen[view], len(world), (17, 2), self.keypoints.path, place)
            confidence = np.ones((len(world), 17, 1), np.float32)
            if sure is not None and self.scores is not None:
                confidence = _confidence(sure[view], len(world), self.scores.path, place)
            made = Recording(
                name=f"{sequence}/{view + 1}",
                keypoints2d=np.concatenate([keypoints, confidence], -1),
                size=camera.size,
                points=(1000 * ((world - camera.place) @ camera.axes)).astype(np.float32),
                camera=camera.lens,
            )
            _check(made, self.cameras.path)
            yield made


def _mapping(path: Path, content: Any, *keys: str) -> File:
    """What stands under the first of `keys` that is there; else the content itself."""
    inner = next((content[key] for key in keys if isinstance(content, dict) and key in content), content)
    return File(path, mapping(inner, path, "", keys[0] if keys else "the content"))


def _content(path: Path) -> Any:
    return read_objects(path) if path.suffix == ".npz" else read_pickle(path)


def _action(title: Any, file: Path, subject: str) -> tuple[str, int]:
    """The name of the action and the number behind it, 0 where there is none."""
    match = re.fullmatch(r"(\w+?)(?: (\d{1,2}))?", str(title))
    if match is None or match[1] not in ACTIONS:
        raise BadAnnotation(file, subject, "the action", title, f"one of {', '.join(ACTIONS)}, or that and a number")
    return match[1], int(match[2] or 0)


def _poses(value: Any, file: Path, place: str) -> np.ndarray:
    """(T, 17, 3) metres."""
    joints = np.shape(value)[1:2] if isinstance(value, np.ndarray) else ()
    count = 32 if joints == (32,) else 17
    points = numbers(value, (None, count, 3), file, place, "positions_3d")
    return points[:, KEPT] if count == 32 else points


def _frames(value: Any, count: int, shape: tuple[int, ...], file: Path, place: str) -> np.ndarray:
    """The first `count` frames of (T, *shape), float32."""
    array = numbers(value, (None, *shape), file, place, "the entry")
    if len(array) < count:
        raise BadAnnotation(
            file, place, "the entry", Words(f"of {len(array)} frames"), f"{count} or more, as the poses"
        )
    return array[:count].astype(np.float32)


def _confidence(value: Any, count: int, file: Path, place: str) -> np.ndarray:
    """(count, 17, 1) in [0, 1]."""
    flat = value[..., 0] if isinstance(value, np.ndarray) and value.ndim == 3 else value
    scores = _frames(flat, count, (17,), file, place)
    if scores.min(initial=0) < 0 or scores.max(initial=1) > 1:
        raise BadAnnotation(file, place, "a score", float(np.abs(scores).max()), "0 to 1")
    return scores[..., None]


def _camera(value: Any, file: Path, place: str) -> View:
    entry = mapping(value, file, place, "the entry", ("R", "T", "f", "c", "w", "h"))
    axes, shift, focal, middle = (
        numbers(entry[name], shape, file, place, name)
        for name, shape in {"R": (3, 3), "T": (3, 1), "f": (2, 1), "c": (2, 1)}.items()
    )
    if np.abs(axes @ axes.T - np.eye(3)).max() > 1e-3 or np.linalg.det(axes) < 0:
        raise BadAnnotation(file, place, "R", axes.tolist(), "a rotation")
    width, height = (int(numbers(entry[name], (), file, place, name)) for name in ("w", "h"))
    if focal.min() <= 0 or min(width, height) <= 0:
        raise BadAnnotation(file, place, "f, w or h", [*focal.ravel(), width, height], "sizes above 0")
    return View(axes, shift.ravel(), np.concatenate([focal, middle]).ravel(), (width, height))


def _check(made: Recording, file: Path) -> None:
    """Raises BadAnnotation where a camera does not see its joints where the keypoints are."""
    assert made.points is not None
    away = np.linalg.norm(project(made.points, made.camera) - made.keypoints2d[..., :2], axis=-1)
    if not np.median(away) < APART:
        wanted = f"half of the joints projected less than {APART:g} px from their keypoints (R' (X - T), T in metres)"
        raise BadAnnotation(file, made.name, "the camera's answer", Words(f"{np.median(away):.0f} px away"), wanted)
