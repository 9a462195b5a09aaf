"""How much of a rendered set is rendered."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import Options, option
from ..reading.splits import check_part

TEST_SCENES = 1_000_000
"""Index of the first test scene: train and test share no scene."""


@dataclass(frozen=True)
class RenderedOptions(Options):
    """Base of the options of all rendered sets."""

    train: int = option(2000, "pictures of the part that trains", low=1)
    test: int = option(500, "pictures of the part that tests", low=1)
    size: int = option(128, "side of a picture in pixels", low=16, high=4096)
    scenes: int = option(0, "seed of the scenes", low=0, high=2**31)

    def scenes_of(self, part: str) -> tuple[int, int]:
        """How many scenes a part has, and the index of the first."""
        check_part(part)
        return (self.train, 0) if part == "train" else (self.test, TEST_SCENES)
