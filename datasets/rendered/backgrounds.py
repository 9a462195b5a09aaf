"""A user's folder of pictures as backgrounds."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from ..reading.images import read_image

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
Array = np.ndarray


def list_pictures(folder: str | Path | None) -> tuple[str, ...]:
    """The pictures of a folder and below, sorted by path. Raises ValueError for none and for a broken one."""
    if folder is None:
        raise ValueError(
            "the style 'photo' needs a folder of pictures: name it as root, for example source.root=FOLDER"
        )
    if not Path(folder).is_dir():
        raise ValueError(f"root={str(folder)!r} is not a folder; name one that holds background pictures")
    pictures = _readable(str(Path(folder).resolve()), Path(folder).stat().st_mtime_ns)
    if not pictures:
        raise ValueError(f"no readable picture ({', '.join(PICTURES)}) in {str(folder)!r} or its subfolders")
    return pictures


@lru_cache(maxsize=8)
def _readable(folder: str, changed: int) -> tuple[str, ...]:
    paths = sorted(str(p) for p in Path(folder).rglob("*") if p.suffix.lower() in PICTURES and p.is_file())
    for path in paths:
        read_image(Path(path))  # a broken one is named now, not while rendering
    return tuple(paths)


def digest(pictures: tuple[str, ...]) -> str:
    """A name for exactly these pictures in this order, by their content."""
    total = hashlib.sha256()
    for path in pictures:
        with open(path, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]


@lru_cache(maxsize=96)
def _picture(path: str, changed: int, short: int) -> Array:
    """A picture as uint8 RGB, its short side reduced to about `short` pixels."""
    image = read_image(Path(path))
    scale = min(1.0, short / min(image.shape[:2]))
    wide, high = max(2, round(image.shape[1] * scale)), max(2, round(image.shape[0] * scale))
    return cv2.resize(image, (wide, high), interpolation=cv2.INTER_AREA)


def random_crop(rng: np.random.Generator, pictures: tuple[str, ...], size: int) -> Array:
    """A random square of a random picture, (size, size, 3) from 0 to 1."""
    path = pictures[int(rng.integers(len(pictures)))]
    image = _picture(path, os.stat(path).st_mtime_ns, 2 * size)
    side = max(2, int(min(image.shape[:2]) * rng.uniform(0.4, 1.0)))
    top, left = (int(rng.random() * (extent - side + 1)) for extent in image.shape[:2])
    square = image[top : top + side, left : left + side]
    square = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        square = square[:, ::-1]
    return square.astype(np.float64) / 255
