"""Depth frames as files of one camera or another: arrays of numpy, 16-bit and float pictures, to mm.

What a sensor writes for nothing is 0, not a number, infinite, one negative number beside positive ones (-1, say), the
highest number of 16 bit (65535; 32767 with a sign), or 1e9 and more (renderers' background).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..reading.annotations import read_arrays
from .center import UnusableDepth, check_depth
from .unit import KNOWN, likely, shown

Array = np.ndarray
NOTHING = 1e9
"""As high a number is no depth in any unit."""
DISTINCT = 50
"""More numbers than a drawn scene has."""
GREY = ("I", "F")
"""Pillow's names of 16-bit, 32-bit and float grey begin so."""
EXPORT = "a picture of depth for the eye has lost the mm. Export raw depth: 16-bit grey PNG, TIFF or PGM, or .npy"
_GAP = rb"(?:\s|#[^\n]*\n)+"
_PGM = re.compile(rb"(P[25])" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)\s")


def read_depth(path: Path, unit: float = 1.0) -> Array:
    """(H, W) float32 mm of a depth file (SUFFIXES) with `unit` mm a step, 0 where nothing returned.

    Raises UnusableDepth naming the path for anything else, for a frame without any return, and where the unit cannot
    be right.
    """
    raw = read_steps(path)
    if unit >= 1000 and raw.dtype.kind != "f":
        raise UnusableDepth(
            f"{path}: whole numbers ({raw.dtype}) cannot be metres (unit: {shown(unit)}); write unit: mm in "
            "camera.yaml, or the mm in a step: 0.2 where 5000 steps are a metre"
        )
    depth = (np.where(_returned(raw, path), raw, 0).astype(np.float64) * unit).astype(np.float32)
    _check_unit(depth[depth > 0], unit, path)
    check_depth(depth, str(path))
    return depth


def read_steps(path: Path) -> Array:
    """(H, W) numbers as the file has them. Raises UnusableDepth naming the path."""
    try:
        steps = READERS[path.suffix.lower()](path)
        while steps.ndim > 2 and 1 in (steps.shape[0], steps.shape[-1]):
            steps = steps[0] if steps.shape[0] == 1 else steps[..., 0]
        if steps.ndim != 2 or steps.size == 0 or steps.dtype.kind not in "iuf":
            kind = f"{steps.shape} of {steps.dtype}{_of(steps)}"
            raise ValueError(f"(H, W) of whole numbers or floats expected; found {kind}")
        if steps.dtype.itemsize == 1:
            raise ValueError(f"8-bit numbers ({steps.dtype}) found: {EXPORT}")
        if _swapped(steps):
            raise ValueError(
                "its 16-bit numbers change smoothly in the other byte order alone: write them anew in that"
            )
    except Exception as error:  # decoders raise whatever the bytes lead them to
        said = str(error) or type(error).__name__
        raise UnusableDepth(f"cannot read the depth {path}: {said}. Restore, replace or remove the file") from error
    return steps


def _of(steps: Array) -> str:
    if steps.ndim == 3 and steps.shape[-1] == 3:
        return ": colour, or points x y z, of which the z alone is wanted"
    return ": several frames? Save each as a file of its own" if steps.ndim == 3 else ""


def _swapped(steps: Array) -> bool:
    """Whether whole numbers of 16 bit make surfaces with their two bytes exchanged, and none as they are."""
    if steps.dtype.kind == "f" or steps.min() < 0 or steps.max() > np.iinfo(np.uint16).max:
        return False
    stored = steps.astype(np.uint16)
    here, there = (np.abs(np.diff(order.astype(np.int64))).sum() for order in (stored, stored.byteswap()))
    return bool(here > 4 * there and len(np.unique(stored)) > DISTINCT)


def _returned(raw: Array, path: Path) -> Array:
    """(H, W) bool. Raises UnusableDepth where the negative numbers are no mark of nothing."""
    short, raw = raw.dtype == np.int16, raw.astype(np.float64)
    highest = np.iinfo(np.int16 if short else np.uint16).max
    returned = np.isfinite(raw) & (raw != highest) & (raw < NOTHING)
    below = raw[np.isfinite(raw) & (raw < 0)]
    if not returned.any():
        raise UnusableDepth(
            f"{path}: no pixel has a depth, all {raw.size} are NaN, infinite or {highest}; leave the frame out"
        )
    if len(below) and ((raw > 0) & returned).any() and below.min() == below.max():
        return returned & (raw > 0)
    if len(below):
        overflow = "; numbers above 32767 in 16 bit with a sign?" if short else ""
        raise UnusableDepth(
            f"{path}: depths go down to {below.min():g}; they must be positive along the optical axis, with one number "
            f"for nothing at most{overflow}. Where the axis points at the camera, write them negated"
        )
    return returned


def _check_unit(returns: Array, unit: float, path: Path) -> None:
    """Raises UnusableDepth where all lie nearer than 20 mm or farther than 100 m."""
    if not len(returns) or (returns.max() >= 20 and returns.min() <= 1e5):
        return
    fits = likely(returns, unit, 100, 1e4) or f"none of {', '.join(KNOWN)} would do"
    far = f"below {returns.max():g} mm" if returns.max() < 20 else f"above {returns.min() / 1000:g} m"
    shares = ". Or is this depth from 0 to 1, whose unit is lost?" if returns.max() <= unit else ""
    raise UnusableDepth(
        f"{path}: all depths are {far} with unit: {shown(unit)} in camera.yaml (mm in a step). What would be in range: "
        f"unit: {fits}{shares}"
    )


def _picture(path: Path) -> Array:
    """16-bit, 32-bit or float grey of one page."""
    try:
        with Image.open(path, formats=("PNG", "TIFF")) as image:
            if (pages := getattr(image, "n_frames", 1)) > 1:
                raise ValueError(f"it holds {pages} pages: save each frame as a file of its own")
            if not image.mode.startswith(GREY):  # what is 8-bit, or what Pillow reduces to that
                kind = f"{len(image.getbands())} x 8-bit ({image.mode})"
                colour = "" if image.mode in ("1", "L", "P") else ". Where it is the camera's colour, move it elsewhere"
                raise ValueError(f"16-bit single-channel expected; found {kind}: {EXPORT}{colour}")
            return np.array(image)
    except Image.UnidentifiedImageError:
        decoded = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if _is_tiff(path) else None  # float64, which Pillow lacks
        if decoded is None:
            raise
        return np.asarray(decoded)


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*")


def _pgm(path: Path) -> Array:
    """16-bit PGM, binary or text; Pillow would stretch levels below a maximum of less than 65535."""
    content = path.read_bytes()
    head = _PGM.match(content)
    if head is None:
        raise ValueError("it is no grey PGM (P5 or P2)")
    width, height, highest = (int(number) for number in head.groups()[1:])
    if highest < 256:
        raise ValueError(f"it is of 8 bit, up to {highest}: {EXPORT}")
    if head[1] == b"P5":
        levels = np.frombuffer(content, ">u2", width * height, head.end())
    else:
        levels = np.array(content[head.end() :].split(), np.int64)
    if levels.max(initial=0) > highest:
        raise ValueError(f"levels go up to {levels.max()}, its head says {highest}: are its bytes in the other order?")
    return levels.reshape(height, width)


def _npy(path: Path) -> Array:
    with path.open("rb") as file:
        return np.asarray(np.load(file, allow_pickle=False))


def _npz(path: Path) -> Array:
    arrays = read_arrays(path)
    named = [name for name in arrays if name.lower() == "depth"] or [name for name in arrays if "depth" in name.lower()]
    if len(names := named or list(arrays)) != 1:
        held = ", ".join(arrays) or "nothing"
        raise ValueError(f"it holds {held}; one array, or one that is named depth, expected")
    return arrays[names[0]]


READERS: dict[str, Callable[[Path], Array]] = {
    ".png": _picture,
    ".tif": _picture,
    ".tiff": _picture,
    ".pgm": _pgm,
    ".npy": _npy,
    ".npz": _npz,
}
SUFFIXES = tuple(READERS)
