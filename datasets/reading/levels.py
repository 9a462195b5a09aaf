"""The white of pictures of 16 bit. Cameras of 10 to 14 bit (infrared, machine vision) leave most of the range unused,
and their pictures are nearly black where 65535 is taken for white."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..options import Options, option
from .images import FULL, Levels, levels_of_all
from .listing import evenly
from .video import file_of

LOOKED_AT = 100
"""So many pictures, evenly over a set, are opened to see what they are, where no answer hangs on it."""
DEEP = 2**14
"""Levels of 16 bit that all lie below it come of a camera of fewer bits."""
SHALLOW = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".bmp", ".dib", ".gif", ".webp")
"""Types that hold 8 bit alone."""


@dataclass(frozen=True)
class LevelOptions(Options):
    """Base of the options of sets of your own pictures."""

    white: Any = option(
        None,
        "pictures of 16 bit: the level that is white, 1 to 65535; auto: the highest level of all pictures of the set, "
        "rounded up to 2^n - 1; null: 65535",
    )


def white_of(white: Any, root: Path, names: Sequence[str]) -> int | None:
    """The level that is white in the pictures `names` below `root`, of all parts of a set; frames of videos have none.
    None where nothing is asked for: then a warning says where levels of 16 bit are all low.

    Raises ValueError for another white than 1 to 65535, auto and null.
    """
    pictures = tuple(name for name in dict.fromkeys(names) if file_of(name) == name)
    if white == "auto":
        highest = max((levels.highest for levels in _levels(root.resolve(), pictures)), default=0)
        return 2 ** highest.bit_length() - 1 if highest else None
    if white is not None:
        if isinstance(white, bool) or not isinstance(white, int) or not 1 <= white <= FULL:
            raise ValueError(f"white={white!r} must be a level from 1 to {FULL}, auto, or null")
        return white
    doubt = dark(root, pictures)
    if doubt:
        warnings.warn(f"{root}: {doubt}", stacklevel=3)
    return None


def dark(root: Path, names: Sequence[str]) -> str | None:
    """What is to be said of pictures of 16 bit whose levels are all low; None of others."""
    some = evenly([name for name in names if file_of(name) == name and not name.lower().endswith(SHALLOW)], LOOKED_AT)
    levels = _levels(root.resolve(), tuple(some))
    highest = max((one.highest for one in levels), default=0)
    if not 0 < highest < DEEP or all(one.scaled for one in levels):
        return None
    bits = highest.bit_length()
    return (
        f"{len(levels)} of {len(some)} pictures that were looked at are of 16 bit, and their highest level is "
        f"{highest} of {FULL}: with {FULL} as white they are nearly black. Say what is white in them: "
        f"white={2**bits - 1} for {bits} bit, white=auto, or white={FULL} if they are as dark as that (in a run "
        "target.white or source.white, in predict --white)"
    )


@lru_cache(maxsize=64)
def _levels(root: Path, names: tuple[str, ...]) -> tuple[Levels, ...]:
    return tuple(levels_of_all(root / name for name in names))
