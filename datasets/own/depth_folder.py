"""Your own depth camera: a folder of depth frames and one `camera.yaml`.

    ROOT/camera.yaml
    ROOT/any/folders/0001.png      16-bit grey, or .npy: (H, W) uint16, float32 or float64

`camera.yaml` (lengths in mm unless said otherwise):

    fx: 588.0                the pinhole camera of the frames as they are stored, in pixels; lens distortion removed
    fy: 587.0
    cx: 320.0
    cy: 240.0
    pixel_centers: 0.0       where that calibration, boxes, centres and labels count the first pixel's centre: 0.0 as
                             OpenCV and ROS do (the default), or 0.5
    unit: mm                 what a depth of 1 is: mm or m
    cube: 250                edge of the cube around the hand or body; one number, or three along x, y and z
    near: 100                where find_center (depth/center.py) looks; optional, as are the three files
    far: 2000
    boxes: boxes.csv         file,left,top,right,bottom: pixels in which to look
    centers: centers.csv     file,x,y,z: pixels, pixels, mm: where to cut, instead of looking
    labels: labels.csv       file, then JOINT_x,JOINT_y,JOINT_z (pixels, pixels, mm) in the skeleton's order

The CSV files have these names as their first line; `file` is a path below ROOT with forward slashes. A box or centre
with empty cells says that nothing is there: the frame is unusable. Joints with empty cells and frames without a line
of labels are not annotated. 0, and in .npy NaN and infinity, mean that nothing returned.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from ..depth.center import NoCenter, UnusableDepth, check_depth, find_center
from ..depth.crop import cube_box
from ..depth.files import file_name, to_points
from ..depth.options import DepthOptions
from ..depth.sets import HANDS2017, ICVL, ITOP, MSRA, NYU
from ..options import option
from ..reading.origin import FolderOptions, Origin
from ..reading.splits import BlockOptions, by_end, by_group, check_part
from ..rendered.body_anatomy import UPPER_BODY
from ..sample import Item
from ..skeleton import HAND, Skeleton

ORIGIN = Origin(
    "the frames of your own depth camera",
    "yours",
    "your disk",
    "camera.yaml beside them; see datasets/own/depth_folder.py",
)
SKELETONS = {known.name: known for known in (HAND, UPPER_BODY, NYU, ICVL, MSRA, HANDS2017, ITOP)}
Array = np.ndarray
NEEDED = ("fx", "fy", "cx", "cy", "unit", "cube")
AXES = {"boxes": ("left", "top", "right", "bottom"), "centers": tuple("xyz"), "labels": tuple("xyz")}
KEYS = (*NEEDED, "pixel_centers", "near", "far", *AXES)
UNITS = {"mm": 1.0, "m": 1000.0}
TYPES = ("uint16", "float32", "float64")


@dataclass(frozen=True)
class Setup:
    """What camera.yaml says, in our convention."""

    camera: Array
    """(4,) fx, fy, cx, cy, pixel centres at +0.5."""
    shift: float
    """What is added to the user's x and y."""
    unit: str
    cube: Array
    """(3,) mm."""
    near: float
    far: float
    tables: dict[str, Path]


@dataclass(frozen=True)
class Options(BlockOptions, DepthOptions, FolderOptions):
    """The options of your own depth camera. `centers` null takes the file that camera.yaml names, else they are found
    in each frame; threshold finds them in any case; a path is another such file."""

    skeleton: str | None = option(
        None,
        "what is looked for, and in which order labels.csv has it; null: the source's joints",
        choices=[*SKELETONS],
    )


class DepthFolder:
    """The frames below `root`, ordered by path with numbers by value. The frames of one folder follow each other in
    time; they are cut into blocks of `block`, even ones train, odd ones test, and each block is one sequence. Where no
    folder has a second block, whole folders test, and of a single folder its last fifth; one frame alone is both parts.

    The joints are those that the options name, else `default_skeleton`'s, else HAND's. Labels are for the report alone;
    joints without have zeros for keypoints.

    Raises ValueError naming file, line or key; a frame that cannot be used raises UnusableDepth when it is read.
    """

    def __init__(self, options: Options, part: str, default_skeleton: Skeleton | None = None) -> None:
        check_part(part)
        self.root, self.block, self.name = options.folder, options.block, f"depth_folder.{part}"
        self.skeleton = SKELETONS[options.skeleton] if options.skeleton else default_skeleton or HAND
        self.setup = read_setup(self.root)
        everything = _frames(self.root)
        place = _places(everything)
        kept = [i for i, number in enumerate(place) if number // self.block % 2 == (part == "test")]
        if max(place) < self.block:  # no folder has a second block
            folders = [name.rpartition("/")[0] for name in everything]
            kept = (by_end(everything, part) if len(set(folders)) == 1 else by_group(folders, part)).tolist()
        self.files, self.frames = [everything[i] for i in kept], [place[i] for i in kept]
        used = self._read_tables(everything, kept, options.centers)
        self.identity: dict[str, Any] = {
            "name": "depth_folder",
            "split": part,
            "block": self.block,
            "count": len(self),
            "skeleton": self.skeleton.name,
            "near": self.setup.near,
            "far": self.setup.far,
            "centers": used["centers"].name if "centers" in used else "threshold",
            "sha256": _digest(self.root, ["camera.yaml", *self.files], list(used.values())),
        }

    def _read_tables(self, everything: list[str], kept: list[int], centers: str | None) -> dict[str, Path]:
        """Hold boxes (N, 1, 4), centers (N, 1, 3), labels (N, K, 3) in our pixels; return the files they came from."""
        used = dict(self.setup.tables)
        if centers == "threshold":
            used.pop("centers", None)
        elif centers is not None:
            used["centers"] = Path(centers).expanduser()
        if "centers" in used:
            used.pop("boxes", None)
        self.tables: dict[str, Array] = {}
        for kind, path in used.items():
            names = self.skeleton.keypoints if kind == "labels" else ("",)
            columns = [f"{name}_{axis}" if name else axis for name in names for axis in AXES[kind]]
            rows = _read_table(path, columns, len(AXES[kind]), everything)
            missing = [name for name in everything if name not in rows]
            if missing and kind != "labels":
                raise ValueError(
                    f"{path}: no line for {len(missing)} of {len(everything)} frames, the first {missing[0]}; write "
                    "one for each, with empty cells where nothing is there"
                )
            none = np.full((len(names), len(AXES[kind])), np.nan)
            offset = [0.0 if axis == "z" else self.setup.shift for axis in AXES[kind]]
            self.tables[kind] = np.stack([rows.get(everything[i], none) for i in kept]) + offset
        return used

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int, /) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has items 0 to {len(self) - 1}, not {index}")
        name, frame, setup = self.files[index], self.frames[index], self.setup
        depth = read_depth(self.root / name, setup.unit)
        center = self._center(index, depth)
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

    def _center(self, index: int, depth: Array) -> Array:
        name, setup = self.files[index], self.setup
        table = self.tables.get("centers", self.tables.get("boxes"))
        row = None if table is None else table[index, 0]
        if row is not None and np.isnan(row).any():
            raise NoCenter(f"{name}: its {'centre' if len(row) == 3 else 'box'} in the CSV file is empty")
        if row is not None and len(row) == 3:
            return row.copy()
        try:
            return find_center(depth, setup.camera, setup.cube, row, setup.near, setup.far)
        except NoCenter as error:
            raise NoCenter(f"{name}: {error}") from error


def read_depth(path: Path, unit: str) -> Array:
    """(H, W) float32 mm of a 16-bit grey PNG or an .npy in `unit` (mm or m), 0 where nothing returned.

    NaN and infinity in an .npy are what many cameras write for no return. Raises UnusableDepth naming the path for
    anything else, and for a frame without any return.
    """
    raw = _load_npy(path) if path.suffix.lower() == ".npy" else _load_png(path)
    if unit == "m" and raw.dtype.kind != "f":
        raise UnusableDepth(f"{path}: whole numbers ({raw.dtype}) cannot be metres; write unit: mm in camera.yaml")
    returned = np.isfinite(raw)
    if not returned.any():
        raise UnusableDepth(f"{path}: no pixel has a depth, all {raw.size} are NaN or infinite; leave the frame out")
    depth = (np.where(returned, raw, 0) * UNITS[unit]).astype(np.float32)
    if unit == "m" and (raw[returned & (raw > 0)] > 100).all() and depth.max() > 0:
        raise UnusableDepth(f"{path}: all depths are above 100 m, which looks like millimetres: unit: mm")
    check_depth(depth, str(path))
    return depth


def _load_png(path: Path) -> Array:
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode not in ("I;16", "I;16B", "I"):  # Pillow's names for 16-bit grey
                raise ValueError(
                    f"16-bit single-channel expected; found {len(image.getbands())} x 8-bit ({image.mode}), a colour "
                    "or display picture"
                )
            return np.array(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnusableDepth(f"cannot read the depth {path}: {error}. Restore or remove the file") from error


def _load_npy(path: Path) -> Array:
    try:
        raw = np.load(path, allow_pickle=False)
        if raw.ndim != 2 or raw.size == 0 or raw.dtype.name not in TYPES:
            raise ValueError(f"(H, W) of {', '.join(TYPES)} expected; found {raw.shape} of {raw.dtype}")
    except (OSError, ValueError, EOFError) as error:
        raise UnusableDepth(f"cannot read the depth {path}: {error}. Restore or remove the file") from error
    return np.asarray(raw)


def read_setup(root: Path) -> Setup:
    """`root`/camera.yaml. Raises ValueError naming the key that is unknown, missing or wrong."""
    path = root / "camera.yaml"
    said = {"pixel_centers": 0.0, "near": 100.0, "far": 2000.0} | _read_keys(path)
    if said["unit"] not in UNITS:
        raise ValueError(f"{path}: unit={said['unit']!r} must be mm or m")
    if said["pixel_centers"] not in (0.0, 0.5) or isinstance(said["pixel_centers"], bool):
        raise ValueError(f"{path}: pixel_centers={said['pixel_centers']!r} must be 0.0 (OpenCV, ROS) or 0.5")
    shift = 0.5 - said["pixel_centers"]
    fx, fy, near, far = (_number(said[key], key, path) for key in ("fx", "fy", "near", "far"))
    if near >= far:
        raise ValueError(f"{path}: near={near} and far={far} must be distances in mm, 0 < near < far")
    cx, cy = (_number(said[key], key, path, positive=False) + shift for key in ("cx", "cy"))
    edges = said["cube"] if isinstance(said["cube"], list) else [said["cube"]] * 3
    if len(edges) != 3:
        raise ValueError(f"{path}: cube={said['cube']!r} must be one edge or three edges in mm")
    cube = np.array([_number(edge, "cube", path) for edge in edges])
    tables = {kind: _inside(root, said[kind], f"{path}: {kind}") for kind in AXES if said.get(kind) is not None}
    return Setup(np.array([fx, fy, cx, cy]), shift, said["unit"], cube, near, far, tables)


def _read_keys(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"no {path}: write one with {', '.join(NEEDED)} (unit: mm or m) beside your depth frames")
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    if not isinstance(said, dict):
        raise ValueError(f"{path}: found {type(said).__name__}; expected lines `key: value` with {', '.join(NEEDED)}")
    for key in said:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"{path}: unknown key {key!r}{hint}; known: {', '.join(KEYS)}")
    if missing := [key for key in NEEDED if key not in said]:
        raise ValueError(f"{path}: missing {', '.join(missing)}")
    return said


def _number(value: Any, key: str, path: Path, positive: bool = True) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise ValueError(f"{path}: {key}={value!r} is not a finite number")
    if positive and value <= 0:
        raise ValueError(f"{path}: {key}={value!r} must be above 0")
    return float(value)


def _inside(root: Path, name: Any, where: str) -> Path:
    path = root / file_name(str(name), where).decode()
    if not path.is_file():
        raise ValueError(f"{where}: there is no file {path}")
    return path


def _frames(root: Path) -> list[str]:
    """Paths of the depth frames below `root`, with forward slashes; folder by folder, numbers by value."""
    paths = (path for path in root.rglob("*") if path.suffix.lower() in (".png", ".npy") and path.is_file())
    names = [path.relative_to(root).as_posix() for path in paths]
    if not names:
        raise ValueError(f"no .png or .npy depth frame in {root} or its subfolders")
    return sorted(names, key=lambda name: (by_value(name.rpartition("/")[0]), by_value(name), name))


def by_value(text: str) -> list[tuple[str, int]]:
    """A key that puts 9 before 10."""
    return [(word, int(digits or 0)) for word, digits in re.findall(r"(\D*)([0-9]*)", text)]


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
