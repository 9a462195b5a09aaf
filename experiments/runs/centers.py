"""Centres of a depth dataset by a network that was trained with `joints: center` (datasets/depth/center_task.py)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ...adapt.scoring.evaluation import predict
from ...datasets.catalog import open_dataset
from ...datasets.depth.center_task import CENTER, CenterTask, Recentered
from ...datasets.depth.options import DepthOptions
from ...datasets.loading import UNUSABLE, EvaluationBatches
from ...datasets.options import Options
from ...datasets.reading.files import from_home
from ...datasets.sample import PoseDataset
from ...datasets.skeleton import Skeleton
from ...models.saved import load_model
from ..config import Config, load_folder
from .device import choose_device
from .folder import locate


def open_centered(
    name: str, options: Options, part: str, skeleton: Skeleton | None = None, device: str = "auto"
) -> PoseDataset:
    """The part of a dataset as `open_dataset` opens it; where `centers` is a run folder, cut around the centres that
    the run's network finds on `device`."""
    place = choose_device(device)
    return centered(options, lambda options: open_dataset(name, options, part, skeleton), place)


def centered(options: Options, open: Callable[[Options], PoseDataset], device: torch.device) -> PoseDataset:
    """What `open` gives for the options; where their `centers` is a run folder, cut around those that its network
    finds."""
    if not isinstance(options, DepthOptions) or not is_run(options.centers):
        return open(options)
    run = from_home(str(options.centers))
    return recenter(open(replace(options, centers="threshold")), locate(run)[0], load_folder(run), device)


def is_run(centers: str | None) -> bool:
    """Whether the option `centers` names a run folder."""
    return centers is not None and (from_home(centers) / "config.yaml").is_file()


def recenter(dataset: PoseDataset, weights: Path, config: Config, device: torch.device) -> Recentered:
    """`dataset` cut around the centres that the network of `weights`, trained under `config`, finds in it.

    Raises ValueError where the weights are another network's.
    """
    model, own = load_model(weights)
    if own.keypoints != CENTER.keypoints:
        raise ValueError(
            f"centers={weights.parent}: its network predicts {', '.join(own.keypoints[:3])} and so on; train one with "
            "source.joints=center target.joints=center"
        )
    batches = EvaluationBatches(CenterTask(dataset), 64, model.input_size, config.crop)
    predictions = predict(model.to(device), (batches[i] for i in range(len(batches))), device)
    centers = predictions.points[:, 0].double().numpy()
    centers[np.array(predictions.sequence) == UNUSABLE] = np.nan
    return Recentered(dataset, centers, hashlib.sha256(weights.read_bytes()).hexdigest()[:16])
