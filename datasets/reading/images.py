"""Reading pictures, with errors that name the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000")
"""What is decoded, whatever a file is called; others (PostScript, say) would start programs or read other files."""
FULL_16 = 257
"""Levels of 16 bit in one of 8 bit: 65535 / 255."""


class UnreadableImage(ValueError):
    """A picture that is missing, truncated or not a picture."""


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned as its EXIF tag says. Raises UnreadableImage naming the path.

    Grey of 16 bit is divided by 257; of colours of 16 bit Pillow keeps the upper byte, at most one level from that.
    Transparency is dropped, and the colour below it shows, as in OpenCV and torchvision. Of several pages or pictures
    in a file the first is read. Levels without a known white (floats, 32 bit above 65535) are refused.
    """
    try:
        with Image.open(path, formats=FORMATS) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode == "F" or image.mode.startswith("I"):
                return np.repeat(_eight_bits(np.asarray(image))[..., None], 3, 2)
            if image.mode == "P" and "transparency" in image.info:
                image = image.convert("RGBA")  # Pillow warns of the direct way
            return np.array(image.convert("RGB"))
    except (
        Exception
    ) as error:  # decoders raise whatever the bytes lead them to: struct.error, MemoryError, KeyError, ...
        raise UnreadableImage(
            f"cannot read the image {path}: {_reason(path, error)}. Restore the file or remove its entry"
        ) from error


def _eight_bits(grey: np.ndarray) -> np.ndarray:
    """Levels (H, W) of 0 to 65535 to 0 to 255."""
    if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() > 65535:
        raise ValueError(
            f"its levels are {grey.dtype}, from {grey.min():g} to {grey.max():g}; export it with 8 or 16 bit"
        )
    return np.rint(grey / FULL_16).astype(np.uint8)


def _reason(path: Path, error: Exception) -> str:
    try:
        if path.is_file() and not path.stat().st_size:
            return "the file is empty"
    except (OSError, ValueError):
        pass
    return str(error) or type(error).__name__
