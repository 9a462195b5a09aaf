"""Centres of a depth dataset by a network that was trained with `joints: center` (datasets/depth/center_task.py)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from ...adapt.scoring.evaluation import predict
from ...models.saved import load_model
from ...datasets.depth.center_task import CENTER, CenterTask, Recentered
from ...datasets.loading import UNUSABLE, EvaluationBatches
from ...datasets.sample import PoseDataset
from ..config import Config


def recenter(dataset: PoseDataset, weights: Path, config: Config, device: torch.device) -> Recentered:
    """`dataset` cut around the centres that the network of `weights`, trained under `config`, finds in it.

    Raises ValueError where the weights are another network's.
    """
    model, keypoints = load_model(weights)
    if tuple(keypoints) != CENTER.keypoints:
        raise ValueError(
            f"centers={weights.parent}: its network predicts {', '.join(keypoints[:3])} and so on; train one with "
            "source.joints=center target.joints=center"
        )
    width, height = config.model.input_size
    batches = EvaluationBatches(CenterTask(dataset), 64, (width, height), config.crop)
    found = predict(model.to(device), (batches[i] for i in range(len(batches))), device)
    centers = found.points[:, 0].double().numpy()
    centers[np.array(found.sequence) == UNUSABLE] = np.nan
    return Recentered(dataset, centers, hashlib.sha256(weights.read_bytes()).hexdigest()[:16])
