"""Whether labels and pictures of a `People` table belong together, judged by many samples at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..sample import PoseDataset
from .people import PictureSet


class Doubt(NamedTuple):
    """Something to look at, in words, with its count and the likely cause."""

    text: str
    problem: bool = True
    """False: it may well be right; only `data check` says it, as a note."""


def of_pictures(dataset: PoseDataset, most: int) -> Iterator[Doubt]:
    """What the table of a picture set says against it."""
    if not isinstance(dataset, PictureSet):
        return
    yield from ()
