"""Centres of a depth dataset by a network that was trained with `joints: center` (datasets/depth/center_task.py)."""

from __future__ import annotations

import hashlib
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
    run = Path((options.centers if isinstance(options, DepthOptions) else None) or "")
    if not isinstance(options, DepthOptions) or not (run / "config.yaml").is_file():
        return open_dataset(name, options, part, skeleton)
    weights, _ = locate(run)
    raw = open_dataset(name, replace(options, centers="threshold"), part, skeleton)
    return recenter(raw, weights, load_folder(run), choose_device(device))


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
