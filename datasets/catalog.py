"""The datasets by name. A new one is a file beside this one and a line in this dict."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, Protocol

from .hand_snap import SnapHands
from .rendered_hands import STYLES, RenderedHands
from .sample import PoseDataset

TEST_SCENES = 1_000_000
"""Index of the first test scene of a rendered set: train and test share no scene."""


class Options(Protocol):
    """What a dataset may ask of the configuration (experiments/config.py, Data)."""

    name: str
    root: str | None
    train: int
    test: int
    size: int
    scenes: int
    block: int


def _rendered(options: Options, part: str) -> PoseDataset:
    style = options.name.split(".")[1]
    count, first = (options.train, 0) if part == "train" else (options.test, TEST_SCENES)
    if count < 1:
        raise ValueError(f"{options.name}: {part}={count} must be at least 1")
    return RenderedHands(style, count, options.scenes, options.size, first, backgrounds=options.root)


def _snap(options: Options, part: str) -> PoseDataset:
    if options.root is None:
        raise ValueError(
            "hand_snap needs the folder of the Snap hands, for example target.root=PATH: data/real_world_testset of "
            "github.com/3d-hand-shape/hand-graph-cnn (non-commercial research licence)"
        )
    return SnapHands(options.root, part, options.block)


DATASETS: dict[str, Callable[[Any, str], PoseDataset]] = {
    **{f"hands.{style}": _rendered for style in STYLES},
    "hand_snap": _snap,
}


def open_dataset(options: Options, part: str) -> PoseDataset:
    """The `part` ("train" or "test") of a dataset. Raises ValueError for unknown names and missing folders."""
    if options.name not in DATASETS:
        near = difflib.get_close_matches(options.name, DATASETS, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(f"no dataset {options.name!r}; known: {', '.join(DATASETS)}.{hint}")
    return DATASETS[options.name](options, part)
