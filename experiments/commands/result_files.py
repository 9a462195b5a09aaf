"""Result files of depth: one frame a line or row, three numbers a joint, as texts (.gz too) or arrays.

A line of a text holds three numbers for each joint, separated by spaces, tabs or commas, and may begin with the image's
name (whatever is not a number). The first may be the columns' names, or the number of frames alone, as in MSRA's
joint.txt; lines that begin with # are comments. Arrays are .npy, .npz, .mat (A2J's ITOP labels) and ITOP's .h5 labels,
of which the valid frames are taken.

`read` turns all of them to u v d, pixels whose first centre is (0, 0) and mm along the optical axis, or to x y z in mm
in the camera's frame, y down and z forward.
"""

from __future__ import annotations

import gzip
import zlib
from array import array
from dataclasses import dataclass, field, replace
from math import isfinite, nan
from pathlib import Path
from typing import Any, TextIO

import h5py
import numpy as np

from ...datasets.depth.unit import mm_of
from ...datasets.reading.annotations import read_arrays, read_mat

SPACES = {
    "uvd": "u v d, in pixels and mm along the optical axis",
    "xyz": "x y z in mm in the camera's frame, y down, z forward",
    "xyz-up": "x y z, y up, z forward (ITOP, NYU's joint_xyz)",
    "xyz-up-back": "x y z, y up, z backward (MSRA's joint.txt)",
}
SIGNS = {"uvd": (1, 1, 1), "xyz": (1, 1, 1), "xyz-up": (1, -1, 1), "xyz-up-back": (1, -1, -1)}
GZIP = b"\x1f\x8b"
ITOP_POINTS = "real_world_coordinates"


@dataclass
class Frames:
    """What a file holds."""

    path: Path
    names: list[str]
    """One a line, or none at all."""
    values: np.ndarray
    """(N, K, 3) float64."""
    lines: list[int] = field(default_factory=list)
    """Where each frame stands in a text."""

    def where(self, frame: int | np.integer) -> str:
        return f"{self.path}, line {self.lines[frame]}" if self.lines else f"{self.path}, frame {frame + 1}"


@dataclass(frozen=True)
class Form:
    """How a file says joints: a key of SPACES, and what its lengths are in (of u v d: of d alone)."""

    space: str
    unit: str = "mm"

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise ValueError(f"space={self.space!r} is not known; expected one of {', '.join(SPACES)}")
        mm_of(self.unit)

    def __str__(self) -> str:
        return SPACES[self.space] + ("" if mm_of(self.unit) == 1 else f", lengths in {self.unit}")

    def to_mm(self, values: np.ndarray) -> np.ndarray:
        """(N, K, 3) of a file to mm, y down and z forward."""
        return values * self._scale()

    def from_mm(self, values: np.ndarray) -> np.ndarray:
        """The inverse."""
        return values / self._scale()

    def _scale(self) -> np.ndarray:
        step = mm_of(self.unit)
        return np.array(SIGNS[self.space]) * ((1, 1, step) if self.space == "uvd" else step)


def read(path: Path, joints: int, form: Form) -> Frames:
    """The frames of a file of `joints` joints in mm, y down, z forward. Raises ValueError with file and line."""
    frames = read_frames(path, joints)
    return replace(frames, values=form.to_mm(frames.values))


def _array(path: Path, joints: int) -> np.ndarray | None:
    """(N, joints, 3) of a file of arrays, None for any other. Raises ValueError naming the arrays where none fits."""
    suffix = path.suffix.lower()
    arrays: dict[str, Any]
    if suffix == ".npz":
        arrays = read_arrays(path)
    elif suffix == ".mat":
        arrays = read_mat(path)
    elif suffix not in (".npy", ".h5"):
        return None
    else:
        try:
            arrays = _itop(path) if suffix == ".h5" else {"the array": np.load(path, allow_pickle=False)}
        except Exception as error:  # numpy and h5py raise whatever the bytes lead them to
            raise ValueError(f"cannot read {path}: {str(error) or type(error).__name__}") from error
    fits = {
        name: value.reshape(-1, joints, 3).astype(np.float64)
        for name, value in arrays.items()
        if isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and _rows_of(value, joints)
    }
    if len(fits) != 1:
        shapes = ", ".join(f"{k} {getattr(v, 'shape', '')}" for k, v in arrays.items() if not k.startswith("__"))
        raise ValueError(f"{path}: expected one array (frames, {joints}, 3); found {shapes or 'none'}")
    values = next(iter(fits.values()))
    if not np.isfinite(values).all():
        frame = int(np.argmin(np.isfinite(values).all((1, 2))))
        raise ValueError(f"{path}, frame {frame + 1}: a joint is no finite number")
    return values


def _rows_of(value: np.ndarray, joints: int) -> bool:
    return value.size > 0 and value.shape[1:] in ((joints, 3), (3 * joints,))


def _itop(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path, "r") as file:
        if ITOP_POINTS not in file:
            raise ValueError(f"no {ITOP_POINTS} in it, which ITOP's labels have")
        valid = np.asarray(file["is_valid"][()]) > 0 if "is_valid" in file else slice(None)
        return {ITOP_POINTS: np.asarray(file[ITOP_POINTS][()])[valid]}


def _text(path: Path) -> TextIO:
    """Lines end at \\n alone: ICVL's lists end them with \\r\\r\\n."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    opened = gzip.open if packed else open
    return opened(path, "rt", encoding="utf-8-sig", newline="\n")


def read_frames(path: Path, joints: int) -> Frames:
    """The frames of a file of `joints` joints as it has them. Raises ValueError with file and line."""
    if not path.is_file():
        raise ValueError(f"no file {path}; expected a text with one frame a line, or an array")
    stored = _array(path, joints)
    if stored is not None:
        return Frames(path, [], stored)
    names: list[str] = []
    lines: list[int] = []
    values, blank, declared = array("d"), 0, None
    try:
        with _text(path) as file:
            for line, text in enumerate(file, 1):
                words = text.replace(",", " ").split()
                if not words:
                    blank = blank or line
                    continue
                if blank:
                    raise ValueError(f"{path}, line {blank}: the line is empty; expected {3 * joints} numbers")
                if line == 1 and len(words) == 1 and words[0].isdecimal():
                    declared = int(words[0])
                elif not (words[0].startswith("#") or (line == 1 and _is_header(words))):
                    _read_line(words, 3 * joints, bool(lines), names, values, f"{path}, line {line}")
                    lines.append(line)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text: {error}; expected one frame a line") from error
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    if not values:
        raise ValueError(f"{path} is empty; expected one frame a line, {3 * joints} numbers each")
    if declared not in (None, len(lines)):
        raise ValueError(f"{path}: line 1 says {declared} frames, {len(lines)} follow")
    frames = Frames(path, names, np.frombuffer(values).reshape(-1, joints, 3), lines)
    _refuse_repeated(frames)
    return frames


def _read_line(words: list[str], count: int, later: bool, names: list[str], values: array[float], where: str) -> None:
    named = _number(words[0]) is None
    if later and named != bool(names):
        has, lacks = ("begins with", "does not") if named else ("does not begin with", "does")
        raise ValueError(
            f"{where} {has} a name ({short(words[0])}), the first line {lacks}; expected one on each line or on none"
        )
    if named:
        names.append(words.pop(0))
    if len(words) != count:
        after = f" after the name {short(names[-1])}" if named else ""
        raise ValueError(f"{where}: found {len(words)} numbers{after}, expected {count} ({count // 3} joints x 3)")
    _append(words, values, where)


def _append(words: list[str], values: array[float], where: str) -> None:
    try:
        numbers = list(map(float, words))
    except ValueError:
        numbers = [nan]
    if not all(map(isfinite, numbers)) or "_" in "".join(words):
        bad = next(word for word in words if (number := _number(word)) is None or not isfinite(number))
        raise ValueError(f"{where}: {short(bad)} is no finite number; expected {len(words)} of them")
    values.extend(numbers)


def _is_header(words: list[str]) -> bool:
    return len(words) > 1 and all(_number(word) is None for word in words)


def _number(word: str) -> float | None:
    """None for what is none; Python alone would read 1_0 as 10."""
    try:
        return None if "_" in word else float(word)
    except ValueError:
        return None


def _refuse_repeated(frames: Frames) -> None:
    first: dict[str, int] = {}
    for line, name in enumerate(frames.names):
        if first.setdefault(name, line) != line:
            raise ValueError(f"{frames.where(line)}: {short(name)} stands on line {frames.lines[first[name]]} already")


def short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
