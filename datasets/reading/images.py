"""Reading pictures, with errors that name the file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .files import stand_in

PICTURES: tuple[str, ...] = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif"),
    *(".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc", ".ppm", ".pgm", ".pbm", ".pnm"),
)
Image.init()
FORMATS = ["JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000"]
"""What is decoded, whatever a file is called; others (PostScript, say) would start programs or read other files."""
if "AVIF" in Image.OPEN:  # since Pillow 11.3
    PICTURES += (".avif",)
    FORMATS += ["AVIF"]
ORIENTATION = 0x0112
"""EXIF's tag that turns a picture."""
FULL, SCALE = 65535, 257
LARGEST = 500_000_000
"""Pixels of the largest picture that is read: 1.5 GB as it is decoded."""
USUAL = 100_000_000
PACKED = 2000
"""Above USUAL pixels a file has at least a byte for so many: smaller ones are broken, or made to fill the memory."""
FOREIGN = {
    re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.S): "HEIC, whatever its name says: convert it to JPEG or PNG",
    re.compile(rb"II[*+]\0|MM\0[*+]"): "a TIFF of a kind that is not read: export it with 8 or 16 bit, not as floats",
}
"""What files begin with that no decoder here knows."""
Image.MAX_IMAGE_PIXELS = LARGEST  # Pillow's own refuses photographs of 200 megapixels


class UnreadableImage(ValueError):
    """A picture that is missing, truncated or not a picture."""


def read_image(path: Path, white: int | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned as its EXIF tag says. Raises UnreadableImage naming the path.

    The level `white` of pictures of 16 bit gives 255, and what is above it too; None: 65535, or what a TIFF of 10 to 14
    bit says of itself. A PGM that names its white keeps it. Of colours of 16 bit Pillow keeps the upper byte, at most
    one level from that. Transparency is dropped, and the colour below it shows, as in OpenCV and torchvision. Of
    several pages or pictures in a file the first is read. Levels without a known white (floats, 32 bit above 65535) are
    refused.
    """
    try:
        with Image.open(path, formats=FORMATS) as opened:
            _check_size(opened, path)
            white = FULL if _says_white(opened) else white
            levels = _levels(opened, path, colours=white is not None)
            if levels is not None:
                scaled = _eight_bits(levels, white or _own_white(opened))
                return scaled if scaled.ndim == 3 else np.repeat(scaled[..., None], 3, 2)
            image = ImageOps.exif_transpose(opened)
            if image.mode == "P" and "transparency" in image.info:
                image = image.convert("RGBA")  # Pillow warns of the direct way
            return np.array(image.convert("RGB"))
    except (
        Exception
    ) as error:  # decoders raise whatever the bytes lead them to: struct.error, MemoryError, KeyError, ...
        raise UnreadableImage(
            f"cannot read the image {path}: {_reason(path, error)}. Restore the file or remove its entry"
        ) from error


class Levels(NamedTuple):
    """Of a picture of 16 bit."""

    highest: int
    scaled: bool
    """All are multiples of 257, those of 8 bit scaled up to 16."""


def levels_of(path: Path) -> Levels | None:
    """The levels of a picture of 16 bit; None of others, and of those that cannot be read."""
    try:
        with Image.open(path, formats=FORMATS) as opened:
            _check_size(opened, path)
            if _says_white(opened) or _own_white(opened) < FULL:
                return None
            levels = _levels(opened, path, colours=True)
    except Exception:  # it is named where it is read
        return None
    if levels is None or levels.dtype.kind == "f" or levels.min() < 0 or levels.max() > FULL:
        return None
    return Levels(int(levels.max()), not (levels % SCALE).any())


def levels_of_all(paths: Iterable[Path]) -> list[Levels]:
    """The levels of each picture of 16 bit among them."""
    with ThreadPoolExecutor() as pool:
        return [levels for levels in pool.map(levels_of, paths) if levels is not None]


def pictures_in(path: Path) -> int:
    """How many pictures a file holds: pages, or those of an animation; 1 where it cannot be read."""
    try:
        with Image.open(path, formats=FORMATS) as opened:
            return 1 if opened.format in ("JPEG", "MPO") else int(getattr(opened, "n_frames", 1))
    except Exception:
        return 1


def _check_size(opened: Image.Image, path: Path) -> None:
    if opened.width * opened.height > min(LARGEST, max(USUAL, PACKED * path.stat().st_size)):
        raise Image.DecompressionBombError


def _levels(opened: Any, path: Path, colours: bool) -> np.ndarray | None:
    """(H, W) levels of a grey picture of more than 8 bit, upright, or (H, W, 3) of `colours`; None of others."""
    if opened.mode == "F" or opened.mode.startswith("I"):
        return np.asarray(ImageOps.exif_transpose(opened))
    if not (colours and opened.tile and "16" in str(_raw_mode(opened))):
        return None
    decoded = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16:
        return None
    rgb = decoded if decoded.ndim == 2 else decoded[..., 2::-1] if decoded.shape[2] > 2 else decoded[..., 0]
    return rgb if opened.format == "TIFF" else _upright(rgb, opened.getexif().get(ORIENTATION, 1))  # OpenCV turns TIFFs


def _raw_mode(opened: Any) -> Any:
    """How the file holds its pixels, as Pillow names it: RGB;16B, say."""
    arguments = opened.tile[0][3]
    return arguments[0] if isinstance(arguments, tuple) and arguments else arguments


def _upright(levels: np.ndarray, orientation: int) -> np.ndarray:
    """An array turned as EXIF's tag of that value says."""
    if orientation >= 5:
        levels = levels.swapaxes(0, 1)
    return levels[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]


def _says_white(opened: Any) -> bool:
    """Whether a PGM names another white than 65535: then Pillow scales its levels to that."""
    return opened.format == "PPM" and opened.mode == "I" and isinstance(opened.tile[0][3], tuple)


def _own_white(opened: Image.Image) -> int:
    """The level that a TIFF of 10 to 14 bit calls white; 65535 of others."""
    bits = opened.tag_v2.get(258, (16,))[0] if opened.format == "TIFF" else 16  # type: ignore[attr-defined]
    return 2**bits - 1 if 8 < bits < 16 else FULL


def _eight_bits(levels: np.ndarray, white: int) -> np.ndarray:
    """Levels (H, W, ...) of 0 to `white` and above to 0 to 255."""
    if levels.dtype.kind == "f" or levels.min() < 0 or levels.max() > FULL:
        raise ValueError(
            f"its levels are {levels.dtype}, from {levels.min():g} to {levels.max():g}; export it with 8 or 16 bit"
        )
    return np.rint(np.minimum(levels, white) * (255 / white)).astype(np.uint8)


def _reason(path: Path, error: Exception) -> str:
    try:
        with open(path, "rb") as file:
            first = file.read(64)
    except (OSError, ValueError):
        first = b"?"
    if not first:
        return "the file is empty"
    kind = stand_in(first) or next((kind for magic, kind in FOREIGN.items() if magic.match(first)), "")
    if isinstance(error, UnidentifiedImageError) and kind:
        return f"it is {kind}"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {LARGEST // 10**6} megapixels, or far more than its file can hold: scale it down"
    return str(error) or type(error).__name__
