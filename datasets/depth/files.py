"""What the loaders of the public depth datasets share: label texts, depth pictures, centre files, items.

A loader holds its labels as points in mm in the camera's frame, x right, y down, z forward, and projects them with the
set's camera (sets.py), so that `points` and `keypoints` always agree. Depth is read when an item is asked for.

Where the cube around a frame is centred is the option `centers`:
- None: the public files, by V2V-PoseNet's names (mks0601/V2V-PoseNet_RELEASE @ f9bd495) or A2J's (zhangboshen/A2J
  @ 4c332f0), searched in the set's folder;
- a path: such a file, or a folder that holds them. `*.mat` is A2J's `centre_pixel` (N, 1, 3), `*_uvd.txt` has lines
  "u v d" (both in the datasets' pixels, first centre at 0); any other text has V2V's lines "x y z" in the set's own
  world axes (y up or down, mm; ITOP metres), or the word `invalid`. A text has no header, so its name alone decides;
- "threshold": found in the depth frame itself (center.py);
- "truth": the mean of the annotated joints. This leaks labels, test labels too, and `identity` says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..reading.annotations import read_mat as read_variables
from ..reading.files import from_home
from ..reading.images import UnreadableImage
from ..reading.origin import FolderOptions, Origin
from ..sample import Item
from .center import find_center
from .crop import cube_box
from .options import CubeOptions
from .sets import DEPTH_SETS, Camera, DepthSet

Array = np.ndarray
Cube = float | Sequence[float] | None
BLOCK = 100
"""Frames that count as one sequence where a set does not say where its recordings begin."""


@dataclass(frozen=True)
class PublicOptions(CubeOptions, FolderOptions):
    """Base of the options of all public depth sets, and those of most."""


@dataclass(frozen=True)
class Source:
    """How a dataset's own files are laid out and count."""

    name: str
    """Its key in DEPTH_SETS."""
    about: str
    layout: str
    up: bool
    """The y of its world coordinates points up."""
    unit: float = 1.0
    """mm in one of its units of length."""

    @property
    def set(self) -> DepthSet:
        return DEPTH_SETS[self.name]

    @property
    def origin(self) -> Origin:
        return Origin(self.about, "research only", "its publisher", self.layout)


class DepthFrames:
    """The base of the loaders. A subclass sets `source`, reads its labels, calls `_hold` and answers `place`, `read`.
    It is opened with its options and the part, train or test; an error names the missing or broken file.

    Items have `visible` all true where a set does not say what the camera sees.
    """

    source: Source

    def _hold(
        self,
        root: Path,
        part: str,
        points: Array,
        centers: str | None,
        cube: Array,
        identity: dict[str, Any],
        rows: Array | None = None,
        total: int | None = None,
        labelled: bool = True,
    ) -> None:
        """Keep `points` (N, K, 3) of the list's `rows` (N,), of `total`; `cube` (N, 3) mm; choose the centres."""
        self.name, self.skeleton = f"{self.source.name}.{part}", self.source.set.skeleton
        self.rows = np.arange(len(points)) if rows is None else rows
        self.points, self.cube, self.labelled = points.astype(np.float32), cube, labelled
        self.centers, about = self._choose(root, part, centers, len(points) if total is None else total)
        if self.centers is not None and np.isnan(self.centers).any():
            kept = ~np.isnan(self.centers).any(1)
            self.rows, self.points, self.cube = self.rows[kept], self.points[kept], self.cube[kept]
            self.centers = self.centers[kept]
        if not len(self.rows):
            raise ValueError(f"{root}: no {part} frame of {self.source.about} is left; check its lists and centres")
        self.identity: dict[str, Any] = {
            "name": self.source.name,
            "split": part,
            "count": len(self),
            **identity,
            "cube": np.unique(self.cube, axis=0).tolist(),
            **about,
        }

    def place(self, row: int) -> tuple[str, str]:
        """(id, sequence) of a row of the set's list."""
        raise NotImplementedError

    def read(self, row: int) -> Array:
        """(H, W) float32 mm. Raises UnreadableImage naming the file."""
        raise NotImplementedError

    def center_names(self, part: str) -> tuple[list[str], list[str]]:
        """(folders below the root, file names) where the public centre files may lie, best first."""
        names = [f"center_{part}_refined.txt", f"center_{part}.txt", f"{self.source.name}_center_{part}.mat"]
        return ["", "center", "centers"], names

    def count_hint(self, lines: int) -> str:
        """What may be behind a centre file of so many lines that does not fit."""
        return ""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int, /) -> Item:
        row, cube, camera = int(self.rows[index]), self.cube[index], np.array(self.source.set.camera)
        name, sequence = self.place(row)
        depth = self.read(row)
        center = (
            _threshold(depth, camera, cube, self.source.set.far, name) if self.centers is None else self.centers[index]
        )
        points = self.points[index].astype(np.float64)
        if not self.labelled:
            points = np.tile(to_points(center, self.source.set.camera), (len(points), 1))
        known = np.full(len(points), self.labelled)
        return Item(
            image=depth,
            box=cube_box(center, cube, camera),
            id=name,
            sequence=sequence,
            frame=row,
            camera=camera.astype(np.float32),
            keypoints=to_file(points, self.source.set.camera),
            visible=self.visible(index) & known,
            annotated=known,
            points=points,
            center=center,
            cube=cube,
        )

    def visible(self, index: int) -> Array:
        """(K,) bool."""
        return np.ones(len(self.skeleton), bool)

    def _choose(self, root: Path, part: str, centers: str | None, total: int) -> tuple[Array | None, dict[str, Any]]:
        """((N, 3) x, y file px and z mm, NaN where invalid, or None to search each frame; what identity says)."""
        if centers == "threshold":
            return None, {"centers": "threshold"}
        if centers == "truth":
            if not self.labelled:
                raise ValueError(f"{root}: the {part} frames have no labels here, so centers='truth' has no meaning")
            return to_file(self.points.mean(1, dtype=np.float64), self.source.set.camera), {"centers": "truth"}
        path = self._center_file(root, part, centers)
        values = read_centers(path, self.source)
        if len(values) == total:
            values, lines = values[self.rows], self.rows + 1
        elif len(values) == len(self.rows):
            lines = np.arange(len(values)) + 1
        else:
            raise ValueError(
                f"{path} has {len(values)} centres for {total} frames.{self.count_hint(len(values))} Use the centres "
                "that were made for these frames, or centers='threshold'"
            )
        invalid = np.isnan(values).any(1)
        if part == "test" and invalid.any():
            raise ValueError(
                f"{path}, line {lines[invalid][0]}: no centre for a test frame ({invalid.sum()} in all). Leaving test "
                "frames out would change the score: complete the file or use centers='threshold'"
            )
        if self.labelled and not invalid.all():
            self._check_near(path, values[~invalid], self.points[~invalid])
        digest = sha256(path)
        return values, {"centers": path.name, "centers_sha256": digest, "invalid_centers": int(invalid.sum())}

    def _center_file(self, root: Path, part: str, centers: str | None) -> Path:
        given = root if centers is None else from_home(centers)
        if given.is_file():
            return given
        folders, names = self.center_names(part)
        places = [given / folder / name for folder in folders for name in names]
        for path in places:
            if path.is_file():
                return path
        raise ValueError(
            f"no centres for {self.name} at {given}: looked for {', '.join(names)} in "
            f"{', '.join(folder or 'the folder itself' for folder in folders)}. V2V-PoseNet and A2J publish such files "
            "(github.com/mks0601/V2V-PoseNet_RELEASE, github.com/zhangboshen/A2J). Or pass their path as centers, or "
            "centers='threshold' (found in each frame), or centers='truth' (from the labels: a leak)"
        )

    def _check_near(self, path: Path, centers: Array, points: Array) -> None:
        far = np.linalg.norm(to_points(centers, self.source.set.camera) - points.mean(1), axis=1)
        limit = self.cube.max() / 2
        if not np.median(far) < limit:
            raise ValueError(
                f"{path}: half of the centres are more than {np.median(far):.0f} mm from the middle of the joints (at "
                f"most {limit:.0f} is sound). They belong to other frames or are in another format: .mat and *_uvd.txt "
                f"are read as pixels, other texts as world coordinates with y {'up' if self.source.up else 'down'}"
            )


def _threshold(depth: Array, camera: Array, cube: Array, far: float, name: str) -> Array:
    try:
        return np.asarray(find_center(depth, camera, cube, far=far), np.float64)
    except ValueError as error:
        raise type(error)(f"{name}: {error}") from error


def to_file(points: Array, camera: Camera) -> Array:
    """(..., 3) mm in the camera's frame to x, y in file pixels and z in mm."""
    return np.concatenate([points[..., :2] / points[..., 2:] * camera[:2] + camera[2:], points[..., 2:]], -1)


def to_points(keypoints: Array, camera: Camera) -> Array:
    """The inverse of `to_file`."""
    return np.concatenate([(keypoints[..., :2] - camera[2:]) / camera[:2] * keypoints[..., 2:], keypoints[..., 2:]], -1)


def find_folder(given: Path, needed: Sequence[str], source: Source, below: Sequence[str] = ()) -> Path:
    """The `given` folder, or the first of those `below` it that has everything `needed`. Raises ValueError."""
    for folder in (given, *(given / name for name in below)):
        if all((folder / name).exists() for name in needed):
            return folder
    missing = [name for name in needed if not (given / name).exists()]
    problem = (
        f"missing {', '.join(missing[:3])}{' and more' * (len(missing) > 3)}" if given.is_dir() else "no such folder"
    )
    raise ValueError(f"no {source.about} at {given}: {problem}. Expected layout: {source.layout}")


def edges(cube: Cube, default: Array, count: int) -> Array:
    """(count, 3) mm: the cube that was asked for in every frame, else `default` ((), (3,) or (count, 1))."""
    asked = np.asarray(default if cube is None else cube, np.float64)
    return np.broadcast_to(asked, (count, 3)).copy()


def sha256(*paths: Path) -> str:
    """The digest of the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()


def numbers(words: Sequence[str], count: int, where: str) -> list[float]:
    """`count` finite numbers, or ValueError that says where."""
    if len(words) != count:
        raise ValueError(f"{where}: found {len(words)} numbers, expected {count}")
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise ValueError(f"{where}: {error}; expected {count} numbers") from error
    if not np.isfinite(sum(values)):
        raise ValueError(f"{where}: a label is not a finite number; expected {count} numbers")
    return values


def file_name(name: str, where: str) -> bytes:
    """`name` as it is held, a path inside the folder of the pictures. Raises ValueError for any other."""
    if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
        raise ValueError(f"{where}: the file name {name!r} leads out of the dataset's folder; correct the list")
    return name.encode()


def read_lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(file and line as errors name them, words) of each line that is not empty. Raises ValueError naming the file."""
    try:
        with path.open(encoding="utf-8") as file:
            for line, text in enumerate(file, 1):
                if words := text.split():
                    yield f"{path}, line {line}", words
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the text {path}: {error}") from error


def read_list(path: Path, joints: int) -> tuple[Array, Array]:
    """Lines of a name and 3 * joints numbers: names (N,) bytes, numbers (N, joints, 3) float32.

    Raises ValueError with file and line for a wrong count, a label that is no finite number, or a name that leads out
    of the dataset.
    """
    names, rows = [], []
    for where, words in read_lines(path):
        names.append(file_name(words[0], where))
        rows.append(np.array(numbers(words[1:], 3 * joints, where), np.float32))
    return np.array(names, np.bytes_), np.array(rows, np.float32).reshape(-1, joints, 3)


def check_points(points: Array, where: str | Path, rows: Array | None = None) -> Array:
    """`points` (N, K, 3), of the list's `rows`, finite and in front of the camera. Raises ValueError."""
    bad = ~(np.isfinite(points).all(-1) & (points[..., 2] > 0))
    if bad.any():
        frame, joint = np.argwhere(bad)[0]
        raise ValueError(
            f"{where}: joint {joint} of frame {frame if rows is None else rows[frame]} lies at "
            f"{points[frame, joint].tolist()} mm; joints must be finite and in front of the camera, {bad.sum()} are not"
        )
    return points


def read_mat(path: Path, *names: str) -> list[Array]:
    """The arrays `names` of a MATLAB file. Raises ValueError naming the file."""
    content = read_variables(path, variable_names=names)
    missing = [name for name in names if name not in content]
    if missing:
        raise ValueError(f"{path}: no array {', '.join(missing)}")
    return [content[name] for name in names]


def read_centers(path: Path, source: Source) -> Array:
    """(N, 3) x, y in file pixels and z in mm, NaN where the file says `invalid`; the formats of the module's text."""
    if path.suffix == ".mat":
        (values,) = read_mat(path, "centre_pixel")
        if values.ndim < 2 or values.shape[-1] != 3 or values.size != len(values) * 3:
            raise ValueError(f"{path}: centre_pixel has the shape {values.shape}, expected (N, 1, 3)")
        values = values.reshape(-1, 3).astype(np.float64)
    else:
        values = np.array([_center(words, where) for where, words in read_lines(path)]).reshape(-1, 3)
    if not (np.isnan(values).all(1) | (np.isfinite(values).all(1) & (values[:, 2] > 0))).all():
        raise ValueError(f"{path}: a centre is not finite or not in front of the camera")
    if path.suffix == ".mat" or path.stem.endswith("_uvd"):
        return values * [1, 1, source.unit] + [0.5, 0.5, 0]
    return to_file(values * source.unit * [1, -1 if source.up else 1, 1], source.set.camera)


def _center(words: list[str], where: str) -> list[float]:
    return [np.nan] * 3 if words[0] == "invalid" else numbers(words, 3, where)


def read_png(path: Path, size: tuple[int, int], two_bytes: bool = False) -> Array:
    """(H, W) float32 mm of a 16-bit grey PNG, or with `two_bytes` of NYU's: green * 256 + blue of an 8-bit RGB one.

    Raises UnreadableImage naming the path when it is missing, broken, of another kind or not `size` (width, height).
    """
    modes = ("RGB",) if two_bytes else ("I;16", "I")
    try:
        with Image.open(path) as image:
            if image.mode not in modes or image.size != size:
                raise ValueError(
                    f"it is {image.size[0]} x {image.size[1]} {image.mode}; expected {size[0]} x {size[1]} "
                    f"{'8-bit RGB' if two_bytes else '16-bit grey'}"
                )
            pixels = np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"cannot read the depth {path}: {error}. Restore the file") from error
    if two_bytes:
        return pixels[..., 1].astype(np.float32) * 256 + pixels[..., 2]
    return pixels.astype(np.float32)
