"""Whether files hold depth frames or pictures, told from a few of them: before anything long begins."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from ..depth.frame_file import SUFFIXES
from ..reading.images import PICTURES
from ..reading.listing import evenly, walk
from ..reading.video import VIDEOS
from .camera_file import read_keys

LOOKED_AT = 8
"""Files spread over a folder."""
ARRAYS = (".npy", ".npz")
EITHER = tuple(suffix for suffix in SUFFIXES if suffix not in ARRAYS)
GREY = ("I;16", "I;16B", "I;16L", "I", "F")
"""Pillow's names of grey in more than 8 bits: depth, or what an infrared camera sees."""


def check_kind(reader: str, depth: bool, path: Path) -> None:
    """Raises ValueError where `path`, a file or folder, plainly holds something else than the network `reader` reads,
    which is `depth` or pictures. 16-bit grey is depth beside a camera.yaml, else it may be either."""
    kinds = {name: _kind(path / name) for name in _some(path, depth)} if path.is_dir() else {path.name: _kind(path)}
    first = next((f"{name}: {kind}" for name, kind in kinds.items() if kind), "")
    if depth and kinds and all(kind in ("picture", "video") for kind in kinds.values()):
        raise ValueError(
            f"{reader} reads depth, and {path} holds none ({first}): give raw frames (16-bit grey PNG, .npy, ...) with "
            "their camera.yaml, or choose a model that reads pictures"
        )
    sure = all(kind == "array" for kind in kinds.values()) or _has_camera(path)
    if not depth and kinds and sure and all(kind in ("grey", "array") for kind in kinds.values()):
        raise ValueError(
            f"{reader} reads pictures, and {path} holds depth frames ({first}): give pictures or videos, or choose a "
            "model that reads depth"
        )


def _some(folder: Path, depth: bool) -> list[str]:
    """Files spread over the folder, first of those that tell most: for depth arrays and what may be either, for
    pictures what nothing else can be."""
    names = sorted(walk(folder))
    arrays, either, pictures = (
        evenly([name for name in names if name.lower().endswith(suffixes)], LOOKED_AT)
        for suffixes in (ARRAYS, EITHER, tuple({*PICTURES, *VIDEOS} - {*EITHER}))
    )
    return (arrays + either or pictures) if depth else (pictures or either or arrays)


def _kind(path: Path) -> str:
    """picture, grey, array or video; empty where nothing can be told."""
    if path.suffix.lower() in ARRAYS:
        return "array"
    if path.suffix.lower() in VIDEOS:
        return "video"
    try:
        with Image.open(path) as image:
            return "grey" if image.mode in GREY else "picture"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""


def _has_camera(path: Path) -> bool:
    """Whether a camera.yaml of depth frames lies there."""
    try:
        return "unit" in read_keys((path if path.is_dir() else path.parent) / "camera.yaml")
    except ValueError:
        return False
