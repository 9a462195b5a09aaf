"""The datasets by name. A new one is a file beside this one and a line in this dict.

An opener's parameters say which options of the configuration it takes; the others are refused where they are set.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .bodies import coco, human36m, lsp, mpi_inf_3dhp, mpii, surreal
from .depth.center_task import CenterTask
from .depth.hands2017 import Hands2017
from .depth.icvl import IcvlHands
from .depth.itop import ItopBodies
from .depth.msra import MsraHands
from .depth.nyu import NyuHands
from .depth.sets import HANDS2017, ICVL, ITOP, MSRA, NYU
from .hands import freihand, h3d, interhand, onehand10k, panoptic_hands, rhd
from .hands.hand_snap import ORIGIN as SNAP
from .hands.hand_snap import SnapHands
from .own import pictures as own_pictures
from .own.depth_folder import DepthFolder
from .reading.origin import MissingData, Origin
from .reading.prepared import given, is_prepared, open_prepared, spelled
from .rendered.body_anatomy import UPPER_BODY
from .rendered.depth import SUBJECTS, RenderedDepth
from .rendered.hands import STYLES, RenderedHands
from .rendered.sensors import SENSORS
from .sample import PoseDataset
from .skeleton import HAND, Skeleton

OWN_DEPTH = Origin(
    "the frames of your own depth camera",
    "yours",
    "your disk",
    "camera.yaml beside them; see datasets/own/depth_folder.py",
)
RENDERED = ("train", "test", "size", "scenes")
"""Options that say how much is rendered. They may stay where another set takes a rendered one's place."""
TEST_SCENES = 1_000_000
"""Index of the first test scene of a rendered set: train and test share no scene."""


@dataclass(frozen=True)
class Entry:
    """How a dataset is opened, `open(part=..., **options)`, and where it comes from."""

    open: Callable[..., PoseDataset]
    origin: Origin | None = None
    depth: bool = False

    @property
    def options(self) -> list[str]:
        """The configuration's keys that it takes."""
        own = ("part", "default_skeleton")
        return [name for name in inspect.signature(self.open).parameters if name not in own]


def _counted(part: str, train: int, test: int) -> tuple[int, int]:
    """How many scenes a part of a rendered set has, and the index of the first."""
    count, first = (train, 0) if part == "train" else (test, TEST_SCENES)
    if count < 1:
        raise ValueError(f"{part}={count} must be at least 1")
    return count, first


def _rendered(style: str) -> Entry:
    def opened(part: str, train: int, test: int, size: int, scenes: int, root: str | None = None) -> PoseDataset:
        count, first = _counted(part, train, test)
        return RenderedHands(style, count, scenes, size, first, backgrounds=root)

    return Entry(opened)


def _rendered_depth(what: str, sensor: str) -> Entry:
    def opened(
        part: str, train: int, test: int, size: int, scenes: int, centers: str | None = None, cube: Any = None
    ) -> PoseDataset:
        count, first = _counted(part, train, test)
        return RenderedDepth(what, sensor, count, scenes, size, first, centers, cube)

    return Entry(opened, depth=True)


def _snap(root: str, part: str, block: int) -> PoseDataset:
    return SnapHands(root, part, block)


def _public_depth(kind: Any, **more: Any) -> Entry:
    """A public depth dataset in its raw layout."""

    def opened(root: str, part: str, centers: str | None = None, cube: Any = None) -> PoseDataset:
        made: PoseDataset = kind(root, part, centers, cube, **more)
        return made

    return Entry(opened, _depth_origin(kind), depth=True)


def _depth_origin(kind: Any) -> Origin:
    return Origin(kind.source.about, "research only", "its publisher", kind.source.layout)


def _msra(root: str, part: str, subject: int, centers: str | None = None, cube: Any = None) -> PoseDataset:
    return MsraHands(root, part, centers, cube, subject=f"P{subject}")


def _depth_folder(
    root: str, part: str, block: int, centers: str | None = None, skeleton: str | None = None
) -> PoseDataset:
    skeletons = {known.name: known for known in (HAND, UPPER_BODY, NYU, ICVL, MSRA, HANDS2017, ITOP)}
    if (skeleton or HAND.name) not in skeletons:
        raise ValueError(f"skeleton={skeleton!r} is not known; choose one of {', '.join(skeletons)}")
    return DepthFolder(root, skeletons[skeleton or HAND.name], part, centers, block=block)


DATASETS: dict[str, Entry] = {
    **{f"hands.{style}": _rendered(style) for style in STYLES},
    **{f"depth_{what}.{sensor}": _rendered_depth(what, sensor) for what in SUBJECTS for sensor in SENSORS},
    "hand_snap": Entry(_snap, SNAP),
    "rhd": Entry(rhd.rhd, rhd.ORIGIN),
    "h3d": Entry(h3d.h3d, h3d.ORIGIN),
    "freihand": Entry(freihand.freihand, freihand.ORIGIN),
    "interhand": Entry(interhand.interhand, interhand.ORIGIN),
    "onehand10k": Entry(onehand10k.onehand10k, onehand10k.ORIGIN),
    "panoptic_hands": Entry(panoptic_hands.panoptic_hands, panoptic_hands.ORIGIN),
    "surreal": Entry(surreal.surreal, surreal.ORIGIN),
    "human36m": Entry(human36m.human36m, human36m.ORIGIN),
    "mpi_inf_3dhp": Entry(mpi_inf_3dhp.mpi_inf_3dhp, mpi_inf_3dhp.ORIGIN),
    "lsp": Entry(lsp.lsp, lsp.ORIGIN),
    "lspet": Entry(lsp.lspet, lsp.EXTENDED),
    "mpii": Entry(mpii.mpii, mpii.ORIGIN),
    "coco": Entry(coco.coco, coco.ORIGIN),
    "coco_json": Entry(coco.coco_json, coco.OWN),
    "pictures": Entry(own_pictures.own_pictures, own_pictures.ORIGIN),
    "nyu": _public_depth(NyuHands),
    "icvl": _public_depth(IcvlHands),
    "msra": Entry(_msra, _depth_origin(MsraHands), depth=True),
    "hands2017": _public_depth(Hands2017),
    "itop_front": _public_depth(ItopBodies, view="front"),
    "itop_top": _public_depth(ItopBodies, view="top"),
    "depth_folder": Entry(_depth_folder, OWN_DEPTH, depth=True),
}


def entry_of(name: str) -> Entry:
    """Raises ValueError for a name that is not known, with the nearest."""
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(f"no dataset {name!r}; known: {', '.join(DATASETS)}.{hint}")
    return DATASETS[name]


def open_dataset(options: Any, part: str, default_skeleton: Skeleton | None = None) -> PoseDataset:
    """The `part` ("train" or "test") of a dataset; `options` is the configuration's Data (experiments/config.py).

    `default_skeleton` is what a set without labels takes where it is told none. Raises ValueError for unknown names,
    options that the dataset does not take, and missing folders.
    """
    entry = entry_of(options.name)
    parameters = inspect.signature(entry.open).parameters
    for key in fields(options):
        value = getattr(options, key.name)
        if key.name not in ("name", "joints", *RENDERED, *parameters) and value != key.default:
            raise ValueError(
                f"{key.name}={value} is no option of {options.name}, which takes {', '.join(entry.options) or 'none'}"
            )
    needed = entry.origin is not None and options.name != "coco_json" and "root" in parameters
    if needed and (options.root is None or not Path(options.root).expanduser().exists()):
        assert entry.origin is not None
        raise entry.origin.missing(options.name, options.root, " " + spelled(given(options)))
    for file in options.labels if isinstance(options.labels, list | tuple) else [options.labels]:
        if isinstance(file, str) and not Path(file).expanduser().exists():
            raise MissingData(
                f"there is no {file}. {options.name} reads a COCO keypoint JSON of yours, labels=FILE, and its "
                "pictures, root=FOLDER; where an experiment names them, the head of its YAML says what they are and "
                f"where to get them. Then: keyshift data check {options.name}"
                + (f" root={options.root}" if options.root else "")
                + " "
                + spelled(given(options))
            )
    if is_prepared(options.root):
        return open_prepared(options.root, part, options.name, given(options))
    told = {key: getattr(options, key) for key in parameters if hasattr(options, key)}
    if "default_skeleton" in parameters:
        told["default_skeleton"] = default_skeleton
    dataset = entry.open(part=part, **told)
    return CenterTask(dataset) if options.joints == "center" else dataset
