"""Sizes of pictures and the EXIF tags that turn them, without decoding them."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from .images import FORMATS, ORIENTATION, UnreadableImage
from .listing import evenly
from .video import file_of, is_frame, read_named

SIDEWAYS = (5, 6, 7, 8)
"""Tags that make width of height."""


class Header(NamedTuple):
    """A picture as it is shown, and the tag that turned it; 1 is none."""

    width: int
    height: int
    tag: int = 1


def read_header(root: Path, name: str) -> Header | None:
    """What the picture or frame `name` below `root` says of itself; None where it cannot be read."""
    try:
        if is_frame(name):
            height, width = read_named(root, name).shape[:2]
            return Header(width, height)
        with Image.open(root / name, formats=FORMATS) as opened:
            tag = Image.Image.getexif(opened).get(ORIENTATION, 1)  # PNG's own getexif would decode the picture
            if opened.format == "TIFF" and tag in SIDEWAYS:  # whether its size is turned depends on Pillow's version
                opened.load()
                return Header(*opened.size, tag)
            width, height = opened.size[::-1] if tag in SIDEWAYS else opened.size
            return Header(width, height, tag if tag in range(1, 9) else 1)
    except UnreadableImage:
        return None
    except Exception:  # decoders raise whatever the bytes lead them to; that it is broken is said where it is read
        return None


def read_headers(root: Path, names: Iterable[str], most: int | None = None) -> dict[str, Header]:
    """The headers of at most `most` of the pictures, spread over them, that can be read; of a video one frame stands
    for all."""
    files: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        files.setdefault(file_of(name), []).append(name)
    chosen = list(files) if most is None else evenly(list(files), most)
    with ThreadPoolExecutor(4) as pool:
        headers = list(pool.map(lambda file: read_header(root, files[file][0]), chosen))
    known = {file: header for file, header in zip(chosen, headers, strict=True) if header is not None}
    return {name: header for file, header in known.items() for name in files[file]}
