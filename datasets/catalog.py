"""The datasets by name. A new one is a file beside this one and a line in this dict."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, Protocol

from .body_anatomy import UPPER_BODY
from .centers import CenterTask
from .depth_folder import DepthFolder
from .depth_sensors import SENSORS
from .depth_sets import HANDS2017, ICVL, ITOP, MSRA, NYU
from .hand_snap import SnapHands
from .hands2017 import Hands2017
from .icvl import IcvlHands
from .itop import ItopBodies
from .msra import MsraHands
from .nyu import NyuHands
from .rendered_depth import SUBJECTS, RenderedDepth
from .rendered_hands import STYLES, RenderedHands
from .sample import PoseDataset
from .skeleton import HAND

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
    centers: str | None
    joints: str
    cube: Any
    subject: int
    skeleton: str


def _counted(options: Options, part: str) -> tuple[int, int]:
    """How many scenes a part of a rendered set has, and the index of the first."""
    count, first = (options.train, 0) if part == "train" else (options.test, TEST_SCENES)
    if count < 1:
        raise ValueError(f"{options.name}: {part}={count} must be at least 1")
    return count, first


def _rendered(options: Options, part: str) -> PoseDataset:
    style = options.name.split(".")[1]
    count, first = _counted(options, part)
    return RenderedHands(style, count, options.scenes, options.size, first, backgrounds=options.root)


def _rendered_depth(options: Options, part: str) -> PoseDataset:
    what, sensor = options.name.removeprefix("depth_").split(".")
    count, first = _counted(options, part)
    return RenderedDepth(what, sensor, count, options.scenes, options.size, first, options.centers, options.cube)


def _snap(options: Options, part: str) -> PoseDataset:
    if options.root is None:
        raise ValueError(
            "hand_snap needs the folder of the Snap hands, for example target.root=PATH: data/real_world_testset of "
            "github.com/3d-hand-shape/hand-graph-cnn (non-commercial research licence)"
        )
    return SnapHands(options.root, part, options.block)


def _public(options: Options, part: str) -> PoseDataset:
    """A public depth dataset in its raw layout."""
    name, _, view = options.name.partition("_")
    if options.root is None:
        raise ValueError(
            f"{options.name} needs the folder of {PUBLIC[name].source.about}, for example target.root=PATH"
        )
    more = {"msra": {"subject": f"P{options.subject}"}, "itop": {"view": view}}.get(name, {})
    return PUBLIC[name](options.root, part, options.centers, options.cube, **more)


def _depth_folder(options: Options, part: str) -> PoseDataset:
    if options.root is None:
        raise ValueError(
            "depth_folder needs the folder of your frames and its camera.yaml, for example target.root=PATH"
        )
    skeletons = {skeleton.name: skeleton for skeleton in (HAND, UPPER_BODY, NYU, ICVL, MSRA, HANDS2017, ITOP)}
    if options.skeleton not in skeletons:
        raise ValueError(f"skeleton={options.skeleton!r} is not known; choose one of {', '.join(skeletons)}")
    if options.cube is not None:
        raise ValueError(f"cube={options.cube}: the cube of depth_folder stands in its camera.yaml")
    return DepthFolder(options.root, skeletons[options.skeleton], part, options.centers, block=options.block)


PUBLIC: dict[str, Any] = {
    "nyu": NyuHands,
    "icvl": IcvlHands,
    "msra": MsraHands,
    "hands2017": Hands2017,
    "itop": ItopBodies,
}

DATASETS: dict[str, Callable[[Any, str], PoseDataset]] = {
    **{f"hands.{style}": _rendered for style in STYLES},
    **{f"depth_{what}.{sensor}": _rendered_depth for what in SUBJECTS for sensor in SENSORS},
    "hand_snap": _snap,
    **dict.fromkeys(("nyu", "icvl", "msra", "hands2017", "itop_front", "itop_top"), _public),
    "depth_folder": _depth_folder,
}


def open_dataset(options: Options, part: str) -> PoseDataset:
    """The `part` ("train" or "test") of a dataset. Raises ValueError for unknown names and missing folders."""
    if options.name not in DATASETS:
        near = difflib.get_close_matches(options.name, DATASETS, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(f"no dataset {options.name!r}; known: {', '.join(DATASETS)}.{hint}")
    for key in ("centers", "cube"):
        if getattr(options, key) is not None and DATASETS[options.name] in (_rendered, _snap):
            raise ValueError(f"{key}={getattr(options, key)} is of depth datasets; {options.name} gives pictures")
    dataset = DATASETS[options.name](options, part)
    return CenterTask(dataset) if options.joints == "center" else dataset
