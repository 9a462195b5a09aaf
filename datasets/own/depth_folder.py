"""Your own depth camera: a folder of depth frames and one `camera.yaml`.

    ROOT/camera.yaml
    ROOT/any/folders/0001.png      16-bit grey; or .tif (16-bit, float), .pgm (16-bit), .npy, .npz (one array, or the
                                   one named depth): (H, W) whole numbers or floats

datasets/own/camera_file.py says what camera.yaml holds, and which of the CSV files there are:

    boxes        file,left,top,right,bottom: pixels in which to look
    centers      file,x,y,z: pixels, pixels, mm: where to cut, instead of looking
    labels       file, then JOINT_x,JOINT_y,JOINT_z (pixels, pixels, mm) in the skeleton's order

They have these names as their first line; `file` is a path below ROOT with forward slashes. A box or centre with empty
cells says that nothing is there: the frame is unusable. Joints with empty cells and frames without a line of labels
are not annotated. What cameras write where nothing returned (0, NaN, -1, 65535, ...) is listed in
depth/frame_file.py, which reads the frames.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..depth.calibration import doubts, resized
from ..depth.center import NoCenter, OutOfRange, UnusableDepth, check_center, find_center
from ..depth.crop import cube_box
from ..depth.files import file_name, to_points
from ..depth.frame_file import SUFFIXES, read_depth
from ..depth.options import CubeOptions
from ..depth.sets import HANDS2017, ICVL, ITOP, MSRA, NYU
from ..depth.unit import likely, seen_ratios, shown, unit_by
from ..options import option
from ..reading.files import from_home
from ..reading.listing import by_path, walk
from ..reading.origin import FolderOptions, Origin
from ..reading.splits import BlockOptions, by_end, by_group, check_part
from ..rendered.body_anatomy import UPPER_BODY
from ..sample import Item
from ..skeleton import HAND, Skeleton
from .camera_file import AXES, Setup, read_setup

ORIGIN = Origin(
    "the frames of your own depth camera",
    "yours",
    "your disk",
    "camera.yaml beside them; see datasets/own/camera_file.py",
)
SKELETONS = {known.name: known for known in (HAND, UPPER_BODY, NYU, ICVL, MSRA, HANDS2017, ITOP)}
Array = np.ndarray


@dataclass(frozen=True)
class Options(BlockOptions, CubeOptions, FolderOptions):
    """The options of your own depth camera. `centers` null takes the file that camera.yaml names, else they are found
    in each frame; threshold finds them in any case; a path is another such file."""

    skeleton: str | None = option(
        None,
        "what is looked for, and in which order labels.csv has it; null: the source's joints",
        choices=[*SKELETONS],
    )
    camera: str | None = option(None, "a camera.yaml elsewhere; null: the one in the folder")
    near: float | None = option(None, "mm from which on centres are found; null: what camera.yaml says", low=1e-3)
    far: float | None = option(None, "mm up to which they are; null: the same", low=1e-3)


class DepthFolder:
    """The frames below `root`, ordered by path with numbers by value. The frames of one folder follow each other in
    time; they are cut into blocks of `block`, even ones train, odd ones test, and each block is one sequence. Where no
    folder has a second block, whole folders test, and of a single folder its last fifth; one frame alone is both parts.
    A part of None is all of them, or those that are or lie in `files`, paths below the root, with no other labels than
    those of the file `labels`: what a trained model is used on.

    The joints are those that the options name, else `default_skeleton`'s, else HAND's. Labels are for the report alone;
    joints without have zeros for keypoints.

    Raises ValueError naming file, line or key; a frame that cannot be used raises UnusableDepth when it is read.
    """

    def __init__(
        self,
        options: Options,
        part: str | None,
        default_skeleton: Skeleton | None = None,
        files: Collection[str] | None = None,
        labels: Path | None = None,
    ) -> None:
        if part is not None:
            check_part(part)
        self.root, self.block, self.name = options.folder, options.block, f"depth_folder.{part or 'all'}"
        self.skeleton = SKELETONS[options.skeleton] if options.skeleton else default_skeleton or HAND
        self.setup = setup_of(options)
        everything = _frames(self.root)
        place = _places(everything)
        kept = [i for i, number in enumerate(place) if number // self.block % 2 == (part == "test")]
        if part is not None and max(place) < self.block:  # no folder has a second block
            folders = [name.rpartition("/")[0] for name in everything]
            kept = (by_end(everything, part) if len(set(folders)) == 1 else by_group(folders, part)).tolist()
        if part is None:
            kept = [i for i, name in enumerate(everything) if files is None or lies_in(name, files)]
        if not kept:
            raise ValueError(f"{self.root}: no depth frame ({', '.join(SUFFIXES)}) among {', '.join(files or [])}")
        self.files, self.frames = [everything[i] for i in kept], [place[i] for i in kept]
        self._check_size()
        known = labels if part is None else self.setup.tables.get("labels")
        used = self._read_tables(everything, kept, options.centers, known)
        self.identity: dict[str, Any] = {
            "name": "depth_folder",
            "split": part,
            "block": self.block,
            "count": len(self),
            "skeleton": self.skeleton.name,
            "cube": self.setup.cube.tolist(),
            "near": self.setup.near,
            "far": self.setup.far,
            "centers": used["centers"].name if "centers" in used else "threshold",
        }
        if part is not None:
            self.identity["sha256"] = _digest(self.root, self.files, [self.setup.path, *used.values()])

    def _read_tables(
        self, everything: list[str], kept: list[int], centers: str | None, labels: Path | None
    ) -> dict[str, Path]:
        """Hold boxes (N, 1, 4), centers (N, 1, 3), labels (N, K, 3) in our pixels; return the files they came from."""
        used = {kind: path for kind, path in self.setup.tables.items() if kind != "labels"}
        if labels is not None:
            used["labels"] = labels
        if centers == "threshold":
            used.pop("centers", None)
        elif centers is not None:
            used["centers"] = from_home(centers)
        if "centers" in used:
            used.pop("boxes", None)
        self.tables: dict[str, Array] = {}
        for kind, path in used.items():
            names = self.skeleton.keypoints if kind == "labels" else ("",)
            columns = [f"{name}_{axis}" if name else axis for name in names for axis in AXES[kind]]
            rows = _read_table(path, columns, len(AXES[kind]), everything)
            missing = [everything[i] for i in kept if everything[i] not in rows]
            if missing and kind != "labels":
                raise ValueError(
                    f"{path}: no line for {len(missing)} of {len(kept)} frames, the first {missing[0]}; write "
                    "one for each, with empty cells where nothing is there"
                )
            none = np.full((len(names), len(AXES[kind])), np.nan)
            offset = [0.0 if axis == "z" else self.setup.shift for axis in AXES[kind]]
            self.tables[kind] = np.stack([rows.get(everything[i], none) for i in kept]) + offset
        return used

    @property
    def labelled(self) -> bool:
        """Whether any joint of any frame is annotated."""
        return "labels" in self.tables and bool(np.isfinite(self.tables["labels"]).any())

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int, /) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has items 0 to {len(self) - 1}, not {index}")
        name, frame, setup = self.files[index], self.frames[index], self.setup
        depth = self.read(index)
        center = self.center(index, depth)
        labels = self.tables.get("labels")
        keypoints = np.full((len(self.skeleton), 3), np.nan) if labels is None else labels[index]
        known = np.asarray(np.isfinite(keypoints).all(1))
        keypoints = np.where(known[:, None], keypoints, 0.0)
        return Item(
            image=depth,
            box=cube_box(center, setup.cube, setup.camera),
            id=name,
            sequence=f"{Path(name).parent.as_posix()}/{frame // self.block:03d}",
            frame=frame,
            camera=setup.camera.astype(np.float32),
            keypoints=keypoints,
            visible=known,
            annotated=known,
            points=None if labels is None else to_points(keypoints, tuple(setup.camera)),
            center=center,
            cube=setup.cube.copy(),
        )

    def center(self, index: int, depth: Array) -> Array:
        """(3,) px, px and mm: where a frame is cut. Raises NoCenter where it cannot be."""
        name, setup = self.files[index], self.setup
        table = self.tables.get("centers", self.tables.get("boxes"))
        row = None if table is None else table[index, 0]
        if row is not None and np.isnan(row).any():
            raise NoCenter(f"{name}: its {'centre' if len(row) == 3 else 'box'} in the CSV file is empty")
        if row is not None and len(row) == 3:
            try:
                check_center(row, setup.cube, setup.camera, depth.shape, depth, name)
            except UnusableDepth as error:
                raise NoCenter(f"{error}{unit_by(seen_ratios(depth, row[None]), setup.unit, 1)}") from error
            return row.copy()
        try:
            return find_center(depth, setup.camera, setup.cube, row, setup.near, setup.far)
        except OutOfRange as error:
            raise OutOfRange(f"{name}: {error}. {self._advice(depth)}") from error
        except NoCenter as error:
            raise NoCenter(f"{name}: {error}") from error

    def _advice(self, depth: Array) -> str:
        """What to change where nothing was found in a frame, the likeliest first."""
        setup, size = self.setup, (depth.shape[1], depth.shape[0])
        if fits := likely(depth[depth > 0], setup.unit, setup.near, setup.far):
            return (
                f"{setup.path.name} says unit: {shown(setup.unit)}, the likely cause if a step of the files is not "
                f"{setup.unit:g} mm: in range would be unit: {fits}. If the unit is right, set near and far"
            )
        if against := doubts(setup.camera, size, setup.shift, setup.size is not None):
            return f"{setup.path}: {against[0]}"
        return "Set near and far, or give boxes or centers"

    def read(self, index: int) -> Array:
        """(H, W) float32 mm of a frame, 0 where nothing returned. Raises UnusableDepth naming the path."""
        path, setup = self.root / self.files[index], self.setup
        depth = read_depth(path, setup.unit)
        if setup.size is not None and depth.shape != setup.size[::-1]:
            raise WrongSize(
                f"{path}: the frame is of {depth.shape[1]} x {depth.shape[0]}, the calibration in {setup.path.name} of "
                f"{setup.size[0]} x {setup.size[1]}. {resized(setup.size, (depth.shape[1], depth.shape[0]))}"
            )
        return depth

    def _check_size(self) -> None:
        """Raises ValueError where the first frame is not of the size that camera.yaml states."""
        try:
            self.read(0)
        except WrongSize as error:
            raise ValueError(str(error)) from error
        except UnusableDepth:
            pass  # said when it is asked for


class WrongSize(UnusableDepth):
    """A frame of another size than the calibration is said to be of."""


def setup_of(options: Options) -> Setup:
    """What the folder's camera.yaml says, or the one that the options name, and over it what else they name."""
    path = options.folder / "camera.yaml" if options.camera is None else from_home(options.camera)
    over = {key: getattr(options, key) for key in ("cube", "near", "far")}
    return read_setup(path, {key: value for key, value in over.items() if value is not None})


def _frames(root: Path) -> list[str]:
    """Paths of the depth frames below `root`, in their order."""
    files = list(walk(root))
    names = [name for name in files if name.lower().endswith(SUFFIXES) and (root / name).is_file()]
    if not names:
        others = Counter(Path(name).suffix.lower() or name for name in files if name != "camera.yaml")
        there = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(3)) or "no other file"
        raise ValueError(
            f"no depth frame ({', '.join(SUFFIXES)}) in {root} or its subfolders; there is {there}. Export raw depth "
            "as 16-bit grey PNG, TIFF or PGM, or as .npy"
        )
    return sorted(names, key=by_path)


def lies_in(name: str, files: Collection[str]) -> bool:
    """Whether a path below the root is one of `files`, or lies in one; "." is the root."""
    return name in files or any(str(folder) in files for folder in PurePosixPath(name).parents)


def _places(names: list[str]) -> list[int]:
    """Each frame's place within its folder."""
    count: dict[str, int] = {}
    places = []
    for name in names:
        folder = name.rpartition("/")[0]
        places.append(count.get(folder, 0))
        count[folder] = places[-1] + 1
    return places


def _read_table(path: Path, columns: list[str], group: int, frames: list[str]) -> dict[str, Array]:
    """{file: (len(columns) / group, group)}, NaN for a group of empty cells. Raises ValueError with file and line."""
    rows: dict[str, Array] = {}
    known = set(frames)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            if header != ["file", *columns]:
                raise ValueError(
                    f"{path}, line 1: expected file,{','.join(columns)}; found {','.join(header) or 'nothing'}"
                )
            for cells in reader:
                where = f"{path}, line {reader.line_num}"
                if not any(cell.strip() for cell in cells):
                    continue
                name = file_name(cells[0].strip(), where).decode()
                if name not in known:
                    near = difflib.get_close_matches(name, frames, 1)
                    raise ValueError(f"{where}: no frame {name!r}{f', did you mean {near[0]}?' if near else ''}")
                if name in rows:
                    raise ValueError(f"{where}: a second line for {name}; keep one")
                rows[name] = _groups(cells[1:], columns, group, where)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    return rows


def _groups(cells: list[str], columns: list[str], group: int, where: str) -> Array:
    if len(cells) != len(columns):
        raise ValueError(f"{where}: found {len(cells)} cells after the file's name, expected {len(columns)}")
    try:
        values = np.array([float(cell) if cell.strip() else np.nan for cell in cells]).reshape(-1, group)
    except ValueError as error:
        raise ValueError(f"{where}: {error}; expected numbers, or empty cells") from error
    empty = np.array([not cell.strip() for cell in cells]).reshape(-1, group)
    bad = np.where(empty.all(1), False, ~np.isfinite(values).all(1))
    with np.errstate(invalid="ignore"):
        bad |= (values[:, 2:] <= values[:, :2]).any(1) if group == 4 else values[:, 2] <= 0
    if bad.any():
        first = int(bad.argmax())
        names = columns[first * group : (first + 1) * group]
        wanted = "right > left and bottom > top" if group == 4 else "z in mm above 0"
        raise ValueError(
            f"{where}: {','.join(names)} = {','.join(cells[first * group : (first + 1) * group])}; expected "
            f"{group} finite numbers with {wanted}, or {group} empty cells"
        )
    return values


def _digest(root: Path, names: list[str], tables: list[Path]) -> str:
    """A name for exactly these frames and tables, by their paths and content."""
    total = hashlib.sha256()
    for label, path in [*((name, root / name) for name in names), *((path.name, path) for path in tables)]:
        total.update(label.encode() + b"\0")
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
