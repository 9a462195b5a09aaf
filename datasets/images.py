"""Reading pictures, with errors that name the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


class UnreadableImage(ValueError):
    """A picture that is missing, truncated or not a picture."""


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned as its EXIF tag says. Raises UnreadableImage naming the path."""
    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"cannot read the image {path}: {error}. Restore the file or remove its entry") from error
