"""The camera of a photograph by its EXIF: the focal length in px of the picture as it is shown.

From the 35 mm equivalent F (FocalLengthIn35mmFilm): the picture's diagonal has the field of view that a lens of F mm
gives the diagonal of 36 x 24 mm film, 43.27 mm (CIPA DCG-001), so f = F / 43.27 * diagonal in px. It is a whole number
of mm: of 26 mm to within 2 %.

Else from FocalLength in mm and the pixels in a unit of length on the sensor (FocalPlaneXResolution, YResolution and
ResolutionUnit), which count pixels of the picture as it was taken: f = FocalLength * pixels in a mm, times the size of
the picture now over that when it was taken (PixelXDimension, PixelYDimension).

The principal point is not in EXIF: it is the middle. A picture that was cut has another shape than when it was taken,
and nothing is known of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from ..depth.calibration import Size
from .headers import SIDEWAYS
from .images import FORMATS, ORIENTATION
from .pinhole import FULL_FRAME, Pinhole, impossible, same_shape
from .video import VIDEOS

FOCAL, FOCAL_35 = 0x920A, 0xA405
WIDTH, HEIGHT = 0xA002, 0xA003
"""PixelXDimension and PixelYDimension, of the stored pixels before ORIENTATION turns them."""
PIXELS_X, PIXELS_Y, UNIT = 0xA20E, 0xA20F, 0xA210
UNITS = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
"""mm in what UNIT names."""


class NoLens(ValueError):
    """A picture whose EXIF does not tell its focal length in px; the message says why."""


def read_lenses(root: Path, files: Iterable[str]) -> tuple[dict[str, Pinhole], dict[str, str]]:
    """The cameras of those of the `files` below `root` whose EXIF tells them, and of the others why it does not."""
    names = list(dict.fromkeys(files))

    def one(name: str) -> Pinhole | str:
        try:
            return read_lens(root / name)
        except NoLens as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        answers = dict(zip(names, pool.map(one, names), strict=True))
    known = {name: answer for name, answer in answers.items() if isinstance(answer, Pinhole)}
    return known, {name: answer for name, answer in answers.items() if isinstance(answer, str)}


def read_lens(path: Path) -> Pinhole:
    """The camera of a picture as it is shown, for its size. Raises NoLens."""
    if path.name.lower().endswith(VIDEOS):
        raise NoLens("a video has no EXIF")
    try:
        with Image.open(path, formats=FORMATS) as opened:
            exif = Image.Image.getexif(opened)  # PNG's own getexif would decode the picture
            base, tags, stored = dict(exif), dict(exif.get_ifd(ExifTags.IFD.Exif)), opened.size
            if opened.format == "TIFF":  # whether its size is turned depends on Pillow's version
                stored = (int(base[0x100]), int(base[0x101]))
    except Exception as error:  # decoders raise whatever the bytes lead them to
        raise NoLens(f"its EXIF cannot be read ({type(error).__name__})") from error
    if not base and not tags:
        raise NoLens("it has no EXIF")
    lens = lens_of(tags, stored)
    return lens.turned() if base.get(ORIENTATION) in SIDEWAYS else lens


def lens_of(tags: Mapping[int, Any], stored: Size) -> Pinhole:
    """The camera that EXIF's `tags` tell of a picture with the size `stored`, before it is turned. Raises NoLens."""
    taken = (int(_positive(tags.get(WIDTH)) or stored[0]), int(_positive(tags.get(HEIGHT)) or stored[1]))
    rotated = not same_shape(taken, stored) and same_shape(taken[::-1], stored)  # its pixels were, its EXIF was not
    if not same_shape(taken[::-1] if rotated else taken, stored):
        raise NoLens(f"it was cut to {stored[0]} x {stored[1]} after it was taken, at {taken[0]} x {taken[1]}")
    fx, fy = _focal(tags, taken)
    lens = Pinhole(fx, fy, size=taken)
    camera = (lens.turned() if rotated else lens).at(*stored)
    if problem := impossible(camera, stored, 0.0):
        raise NoLens(f"its EXIF is wrong: {problem}")
    return Pinhole(float(camera[0]), float(camera[1]), size=stored)


def _focal(tags: Mapping[int, Any], taken: Size) -> tuple[float, float]:
    """Along x and y, in px of the picture as it was taken."""
    equivalent, mm = _positive(tags.get(FOCAL_35)), _positive(tags.get(FOCAL))
    if equivalent is not None:
        focal = equivalent / FULL_FRAME * math.hypot(*taken)
        return focal, focal
    if mm is None:
        raise NoLens("its EXIF tells no focal length")
    across = _positive(tags.get(PIXELS_X))
    unit = UNITS.get(tags.get(UNIT, 2))
    if across is None or unit is None:
        raise NoLens(f"its EXIF tells {mm:g} mm, and neither the 35 mm equivalent nor the sensor's size")
    return mm * across / unit, mm * (_positive(tags.get(PIXELS_Y)) or across) / unit


def _positive(value: Any) -> float | None:
    """A number of a tag; None of what stands for unknown (0, 0/0) and of nonsense."""
    try:
        number = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if 0 < number < 1e9 else None
