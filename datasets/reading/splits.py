"""Which samples train and which test. The honest splits keep neighbours together; the reference's does not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..options import Options, option

PARTS = ("train", "test")
EVERY = 5
"""One of five groups tests."""
SAME = "none: both parts are the same pictures"
"""What `identity` says of the split of a test set that is a target's unlabelled train part too."""


@dataclass(frozen=True)
class BlockOptions(Options):
    """Base of the options of sets that are cut into blocks of neighbours."""

    block: int = option(20, "frames in a block; whole blocks train or test", low=1)


@dataclass(frozen=True)
class SplitOptions(Options):
    """Base of the options of sets that can be split as TLLib does."""

    split: str | None = option(
        None,
        "frames: single frames at random, as TLLib does, a leak between train and test; null: neighbours stay together",
        choices=("frames",),
    )


def check_part(part: str) -> None:
    if part not in PARTS:
        raise ValueError(f"part={part!r} is not known; choose one of {', '.join(PARTS)}")


def by_group(groups: Sequence[object], part: str, every: int = EVERY) -> np.ndarray:
    """Indices of `part`, (M,): of the distinct groups in sorted order each `every`-th tests, the others train.

    `groups` says for each sample what it must not be parted from: its sequence, subject, photograph. Raises ValueError
    where that leaves a part empty.
    """
    check_part(part)
    distinct = sorted(set(groups), key=str)
    test = set(distinct[every - 1 :: every] or distinct[1:2])
    chosen = np.flatnonzero([(group in test) == (part == "test") for group in groups])
    if not len(chosen):
        raise ValueError(f"{len(groups)} samples in {len(distinct)} groups leave no {part} part: give more of them")
    return chosen


def by_end(units: Sequence[object], part: str, every: int = EVERY) -> np.ndarray:
    """Indices of `part`, (M,): of the distinct units in their order the last fifth tests, at least one.

    For one recording that is too short for blocks: its neighbours look alike, so they are cut at one place alone.
    `units` says for each sample what it must not be parted from: its picture, its frame. A single unit is in both
    parts: then nothing is held out.
    """
    check_part(part)
    distinct = list(dict.fromkeys(units))
    held = set(distinct[len(distinct) - max(round(len(distinct) / every), 1) :])
    return np.flatnonzero([(unit in held) == (part == "test") or len(distinct) == 1 for unit in units])


def by_shuffle(count: int, part: str) -> np.ndarray:
    """TLLib's split: shuffled single samples, of which the first min(20 %, 3200) test (seed 42).

    A LEAK between train and test wherever neighbouring frames are near duplicates; for comparison with published
    numbers alone. thuml/Transfer-Learning-Library @ c4aa59e, hand_3d_studio.py, freihand.py.
    """
    check_part(part)
    order = list(range(count))
    random.Random(42).shuffle(order)
    most = min(int(0.2 * count), 3200)
    return np.array(order[:most] if part == "test" else order[most:], np.int64)
