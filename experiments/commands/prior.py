"""`keyshift prior`: a prior of poses from labels, for those who adapt without them (strategy=post)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...adapt.prior import PosePrior, PriorOptions, directions_of, fit, save_prior, separation
from ...datasets.catalog import DATASETS, options_of
from ...datasets.options import make
from ...datasets.reading.files import check_output
from ...datasets.reading.images import UnreadableImage
from ...datasets.sample import Item, PoseDataset, to_space
from ...datasets.words import command_words
from ..config import load, load_folder
from ..runs.centers import open_centered
from ..runs.progress import Reporter
from ..runs.task import prepare

ORIGIN = "the command line"
FEWEST = 20
"""Poses from which a prior is trained."""


def train_prior(name: str, words: Sequence[str], output: Path | None, reporter: Reporter, overwrite: bool) -> Path:
    """Train a prior on the source labels of the experiment or run `name`, or on those of the dataset of that name, and
    write it to `output` (default: NAME.prior.pt). Of `words` those that begin with prior. are PriorOptions.

    Raises ValueError for bad input, for a skeleton without bones, and where fewer than FEWEST poses are whole.
    """
    own = {key: value for key, _, value in (w.partition("=") for w in words) if key.startswith("prior.")}
    rest = [word for word in words if word.partition("=")[0] not in own]
    own_words = [f"{key.removeprefix('prior.')}={value}" for key, value in own.items()]
    options = make(PriorOptions, command_words(own_words), ORIGIN, "prior.")
    output = output or Path(f"{Path(name).name.removesuffix('.yaml')}.prior.pt")
    check_output(output, overwrite)
    train, test = parts(name, rest)
    skeleton = train.skeleton
    if not skeleton.edges:
        raise ValueError(f"{train.name} says no bones, and a prior reads their directions: name its edges")
    with reporter.counted("poses", min(options.poses, len(train))) as count:
        poses = whole_poses(train, options.poses, count)
    held = whole_poses(test, max(options.poses // 4, FEWEST))
    if len(poses) < FEWEST or not len(held):
        raise ValueError(
            f"a prior needs {FEWEST} poses of which all joints with a bone are annotated, and one to test: "
            f"{train.name} has {len(poses)}, {test.name} {len(held)}. Choose a set with whole poses"
        )
    torch.manual_seed(options.seed)
    prior = PosePrior(skeleton.edges, poses.shape[-1], options.width)
    with reporter.counted("updates", options.updates) as count:
        fit(prior, directions_of(prior, poses), options, count)
    clean, noisy, farther = separation(prior, directions_of(prior, held), options)
    save_prior(output, prior, skeleton)
    reporter.say(
        f"{output}: {len(skeleton.edges)} bones of {len(poses)} poses. Of {len(held)} held-out poses the distance is "
        f"{clean:.3f}, perturbed {noisy:.3f}; a perturbed one is farther in {100 * farther:.1f} % of pairs"
    )
    reporter.say(f"use it: strategy=post post.prior={output}")
    return output


def parts(name: str, words: Sequence[str]) -> tuple[PoseDataset, PoseDataset]:
    """The labelled training and test part: of a dataset, or of the source of an experiment or run, by its joints."""
    if name in DATASETS:
        options = options_of(name, command_words(words), ORIGIN)
        return open_centered(name, options, "train"), open_centered(name, options, "test")
    folder = Path(name)
    config = load_folder(folder, words) if (folder / "config.yaml").is_file() else load(name, words)
    task = prepare(config, ["source_only"], training=False)
    assert task.source_train is not None
    assert task.source_test is not None
    return task.source_train, task.source_test


def whole_poses(dataset: PoseDataset, most: int, count: Callable[[int], object] = lambda done: None) -> Tensor:
    """Poses (P, K, D) of up to `most` samples spread over a dataset, of which all joints with a bone are annotated; in
    file pixels, in 3D mm in the camera's frame."""
    joints = sorted({joint for bone in dataset.skeleton.edges for joint in bone})
    parts = []
    for done, index in enumerate(np.linspace(0, len(dataset) - 1, min(most, len(dataset))).round().astype(int)):
        with suppress(UnreadableImage):
            item = dataset[int(index)]
            annotated = torch.from_numpy(item.annotated.reshape(-1, item.annotated.shape[-1]))
            parts.append(in_space(item)[annotated[:, joints].all(1)])
        count(done + 1)
    return torch.cat(parts)[:most] if parts else torch.zeros(0, len(dataset.skeleton), 2)


def in_space(item: Item) -> Tensor:
    """An item's people (P, K, D) in file pixels, those of depth in mm in the camera's frame."""
    points = torch.from_numpy(np.asarray(item.keypoints, np.float32)).reshape(-1, *item.keypoints.shape[-2:])
    if not item.depth:
        return points
    return to_space(points, torch.from_numpy(np.asarray(item.camera, np.float32)).expand(len(points), 4))
