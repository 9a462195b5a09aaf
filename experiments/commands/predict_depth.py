"""What `keyshift predict` reads for a model of depth: a camera's frames, each cut around what is looked at."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...adapt.strategies import STRATEGIES
from ...datasets.depth.center import NoCenter, UnusableDepth
from ...datasets.depth.center_task import CENTER, CenterTask
from ...datasets.depth.crop import CROPS
from ...datasets.depth.frame_file import SUFFIXES
from ...datasets.loading import check_item, collate, crop, empty_item
from ...datasets.options import Options, option
from ...datasets.own import depth_folder
from ...datasets.own.camera_file import read_keys
from ...datasets.own.depth_folder import DepthFolder
from ...datasets.own.depth_problems import camera_problems
from ...datasets.reading.files import from_home
from ...datasets.sample import PoseDataset
from ...datasets.skeleton import Skeleton
from ...datasets.views import Rows
from ...models.pose_model import PoseModel
from ..config import Config, load_folder
from ..report.drawing import depth_picture
from ..runs.centers import centered, is_run
from ..runs.folder import identity_of
from ..runs.prediction_inputs import Cut, Inputs, Seen, common_root
from ..runs.progress import Reporter
from .data_words import read_words

SAID_OTHERWISE = {
    "root": "predict takes PATH",
    "block": "predict reads all frames; --stride takes every N-th",
    "joints": "the model says what it predicts",
    "skeleton": "the model says what it predicts",
}
"""Options of the folder that the command says in another way."""


@dataclass(frozen=True)
class FrameOptions(Options):
    """Of `predict`, beside the folder's."""

    crop: str | None = option(None, "how frames are cut; null: as the model's training frames were", choices=CROPS)


@dataclass
class Trained:
    """How the frames were cut that a network was trained on."""

    crop: str
    cube: list[float] | None
    """mm along x, y and z; None where frames had several, or the run does not say."""
    centers: str | None
    """What they were cut around, as the option says it; None: the data's own centres."""
    usual: dict[str, Any]
    """Options of your own depth camera that the run names, save those of its own frames alone."""


def training_of(run: Path) -> Trained:
    """What a run folder says of the frames that its network was trained on."""
    config, identity = load_folder(run), identity_of(run)
    adapted = "target" in STRATEGIES[config.strategy].needs
    sides = [identity.get(side) or {} for side in ("target_train", "source_train")[:: 1 if adapted else -1]]
    cubes = np.atleast_2d(next((side["cube"] for side in sides if "cube" in side), np.zeros((0, 3))))
    chosen = config.target if adapted and config.target is not None else config.source
    cube = cubes[0].tolist() if len(cubes) == 1 else None
    return Trained(config.crop, cube, getattr(chosen.options, "centers", None), _usual(config))


def _usual(config: Config) -> dict[str, Any]:
    options = None if config.target is None else config.target.options
    if not isinstance(options, depth_folder.Options):
        return {}
    said = {key: getattr(options, key) for key in ("cube", "near", "far", "centers")}
    if said["centers"] != "threshold" and not is_run(said["centers"]):
        del said["centers"]  # a file is of its own frames
    return {key: value for key, value in said.items() if value is not None}


@dataclass
class DepthInputs(Inputs):
    """Depth frames below one folder, in order."""

    dataset: PoseDataset | None = None
    camera: tuple[float, ...] = ()
    """fx, fy, cx, cy in file pixels."""
    crop: str = "exact"
    centers: str = "threshold"
    """Where the centres come from."""

    def picture(self, place: int, rows: np.ndarray) -> np.ndarray:
        """The depth as grey, over the range of the cube."""
        assert self.dataset is not None
        middle, half = float(rows["center"][0, 2]), float(rows["cube"][0, 2] / 2)
        return depth_picture(self.dataset[place].image, (middle - half, middle + half))

    def about(self) -> dict[str, Any]:
        fx, fy, cx, cy = self.camera
        camera = [round(value, 4) for value in (fx, fy, cx - 0.5, cy - 0.5)]
        about = {"boxes": "cubes around centers", "camera": camera, "centers": self.centers, "crop": self.crop}
        return about | self.said

    def read(self, place: int) -> Seen:
        assert self.dataset is not None
        item = self.dataset[place]
        return Seen([item.image], item=item)

    def cut(self, place: int, seen: Seen, size: tuple[int, int], skeleton: Skeleton, mirror: bool) -> Cut:
        """Raises NoCenter for a frame that cannot be cut."""
        item = seen.item
        assert item is not None
        try:
            check_item(item)
        except UnusableDepth as error:
            raise NoCenter(str(error)) from error
        height, width = item.image.shape
        shown = replace(item, mirrored=mirror)
        return Cut(width, height, [self.views_of(shown, size, skeleton, [place], self.crop)])


def open_depth(
    paths: Sequence[Path],
    words: Sequence[str],
    model: PoseModel,
    skeleton: Skeleton,
    trained: Trained | None,
    stride: int | None,
    device: torch.device,
    reporter: Reporter,
) -> DepthInputs:
    """The depth frames of `paths`, which lie beside or below one camera.yaml, of each folder every `stride`-th.

    `words` are key=value of FrameOptions and of datasets/own/depth_folder.py. What they do not say is as the network
    was `trained`, save for a cube that camera.yaml says; where what is used is not what it was trained with, that is
    said. Raises ValueError for words, files and cubes that do not fit.
    """
    if stride is not None and stride < 1:
        raise ValueError(f"stride={stride} must be at least 1 frame")
    root, own, options = _options(paths, words, trained)
    files = [Path(os.path.relpath(path, root)).as_posix() for path in paths]
    opened: list[DepthFolder] = []

    def open(options: Options) -> PoseDataset:
        assert isinstance(options, depth_folder.Options)
        folder = DepthFolder(options, None, skeleton, files)
        opened.append(folder)
        for problem in camera_problems(folder):
            reporter.say(f"PROBLEM: {problem}")
        few = folder if stride is None else Rows(folder, every(folder, stride))
        return CenterTask(few) if skeleton.keypoints == CENTER.keypoints else few

    setup = depth_folder.setup_of(options)
    check_cube(model, setup.cube, str(root), "cube")
    form = own.crop or (trained.crop if trained is not None else "")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "left out of the metrics")  # they are listed with the other frames
        dataset = centered(options, open, device)
    (folder,) = opened
    for path, file in zip(paths, files, strict=True):
        if not any(depth_folder.lies_in(name, {file}) for name in folder.files):
            raise ValueError(f"{path} holds no depth frame; expected {', '.join(SUFFIXES)}")
    names = [folder.files[i] for i in every(folder, stride or 1)]
    if is_run(options.centers):
        centers = str(options.centers)
    else:
        boxes = folder.tables.get("boxes")
        centers = folder.identity["centers"] + ("" if boxes is None else f" within {setup.tables['boxes'].name}")
    _say_differences(setup.cube, form, str(options.centers or centers), trained, reporter)
    return DepthInputs(
        root,
        names,
        folders=[path for path in paths if path.is_dir()],
        dataset=dataset,
        camera=tuple(setup.camera.tolist()),
        crop=form,
        centers=centers,
    )


def every(folder: DepthFolder, stride: int) -> list[int]:
    """The places of every `stride`-th frame of each folder below."""
    return [i for i, number in enumerate(folder.frames) if number % stride == 0]


def _options(
    paths: Sequence[Path], words: Sequence[str], trained: Trained | None
) -> tuple[Path, FrameOptions, depth_folder.Options]:
    """The folder that the frames' names begin at, the command's own options, and those of the folder."""
    said = dict(word.split("=", 1) for word in words if "=" in word)
    for key in said:
        if key in SAID_OTHERWISE:
            raise ValueError(f"{key}={said[key]}: {SAID_OTHERWISE[key]}")
    root = common_root(paths) if "camera" in said else home_of(common_root(paths))
    usual = {} if trained is None else trained.usual
    camera = from_home(said["camera"]) if "camera" in said else root / "camera.yaml"
    if trained is not None and trained.cube is not None and "cube" not in read_keys(camera):
        usual = {"cube": trained.cube} | usual
    own, options = read_words("depth_folder", words, FrameOptions, usual | {"root": str(root)})
    assert isinstance(options, depth_folder.Options)
    if own.crop is None and trained is None:
        raise ValueError(
            "a weights file that lies outside of its run does not say how depth frames were cut for it: say crop=exact "
            "(keyshift's own, the default of training), crop=a2j or crop=awr"
        )
    return root, own, options


def home_of(folder: Path) -> Path:
    """The nearest folder with a camera.yaml, `folder` itself or one that it lies in; `folder` where there is none."""
    return next((one for one in (folder, *folder.absolute().parents) if (one / "camera.yaml").is_file()), folder)


def check_cube(model: PoseModel, cube: np.ndarray, giver: str, key: str) -> None:
    """Raises ValueError where a trained network cannot read depth frames that are cut by such a cube; `key` is the
    option that says it."""
    item = replace(empty_item(giver, model.keypoints, True), cube=cube)
    sample = collate([crop(item, model.input_size, None, None, range(model.keypoints))], labels=False)
    model.check(sample, giver, key)


def _say_differences(cube: np.ndarray, form: str, centers: str, trained: Trained | None, reporter: Reporter) -> None:
    if trained is None:
        return
    if trained.cube is not None and not np.allclose(cube, trained.cube):
        edges, before = (" x ".join(f"{edge:g}" for edge in edges) for edges in (cube.tolist(), trained.cube))
        reporter.say(
            f"frames are cut by a cube of {edges} mm; the network was trained on cubes of {before} mm (cube=...)"
        )
    if form != trained.crop:
        reporter.say(f"crop={form}; the network was trained on frames cut by crop={trained.crop}")
    if trained.centers is not None and centers != trained.centers:
        reporter.say(f"centers={centers}; the network was trained on frames cut around centers={trained.centers}")
