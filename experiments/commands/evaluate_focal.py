"""`keyshift evaluate RUN --refocus F,F`: what another focal length alone does to a root's distance, and what k makes of
it.

The run's own test samples are shown as a camera of F times the focal length would have taken them from the same place
(datasets/cameras.py): nobody stands elsewhere, so the true distances stay. RootNet's answer is gamma * k, and k follows
the camera: what is left of the error with the new camera is what the network makes of other pictures. With the k of the
old camera, which is what a user gets who does not say the focal length, all distances are off by the factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ...adapt.scoring import metrics
from ...adapt.scoring.evaluation import Predictions
from ...datasets.cameras import Cameras, another, known
from ...datasets.sample import Item, PoseDataset
from ...datasets.views import InSpace, View
from ...models.pose_model import PoseModel
from ...models.saved import load_model
from ..config import load_folder
from ..runs.conclusion import predicted
from ..runs.device import choose_device
from ..runs.progress import Reporter
from ..runs.task import Task, prepare
from .evaluate import labelled, ships, weights_of

COLUMNS = ("focal length", "samples", "root off, k of the new camera", "of the old", "along z, new", "along z, old")


class Refocused(View):
    """A dataset's samples by a camera of `factor` times the focal length; they are `said` to be by the old one, where
    that is so."""

    def __init__(self, dataset: PoseDataset, factor: float, said: bool) -> None:
        super().__init__(dataset, focal=factor, said=said)
        self.factor, self.said = factor, said

    def __getitem__(self, index: int, /) -> Item:
        item = self.dataset[index]
        if not known(item):
            raise ValueError(f"--refocus: {item.id} of {self.name} has no camera whose focal length could change")
        shown = another(item, Cameras(focal=[self.factor, self.factor]), np.random.default_rng(0))
        camera = shown.camera.copy()
        if self.said:
            camera[:2] = item.camera[:2]
        return replace(shown, camera=camera)


def evaluate_focal(run: Path, words: list[str], factors: Sequence[float], reporter: Reporter) -> None:
    """Print a table for each side of a run that has labels. Raises ValueError for factors that are none, and as
    `focal_rows` does."""
    if not all(0.05 <= factor <= 20 for factor in factors):
        raise ValueError(f"--refocus {','.join(f'{f:g}' for f in factors)}: factors of the focal length, 0.05 to 20")
    config = load_folder(run, words)
    task = prepare(config, [config.strategy], training=False)
    model, device = load_model(weights_of(run, config, ships(run, words)))[0], choose_device(config.device)
    for side, dataset in labelled(task).items():
        rows = focal_rows(model.to(device), task, dataset, factors, device)
        reporter.table(f"{run.name}, {side}, by cameras of other focal lengths", list(COLUMNS), rows)


def focal_rows(
    model: PoseModel, task: Task, dataset: PoseDataset, factors: Sequence[float], device: torch.device
) -> list[list[str]]:
    """A row for each focal length, factors of the dataset's own, in the order of COLUMNS. Raises ValueError for a
    system that answers no distance, and for data without cameras."""
    if "k" not in model.reads or not isinstance(dataset, InSpace):
        raise ValueError(
            f"--refocus: {type(model).__name__} answers no distance from the camera; take a run of RootNet"
        )
    rows = []
    for factor in factors:
        sets = [InSpace(Refocused(dataset.dataset, factor, said), dataset.rooted) for said in (False, True)]
        new, old = (errors_of(predicted(model, task, seen, device), seen) for seen in sets)
        values = [float(value) for pair in zip(new[:2], old[:2], strict=True) for value in pair]
        rows.append([f"x {factor:g}", str(new[2]), *(f"{value:.0f} mm" for value in values)])
    return rows


def errors_of(predictions: Predictions, dataset: InSpace) -> tuple[float, float, int]:
    """How far off roots are in mm, how far along z, and how many count. The true camera places them both times."""
    root, mask = max(predictions.root, 0), predictions.annotated
    answered = predictions.points[:, root].clone()
    if predictions.own_depth is not None:
        answered[:, 2] = predictions.own_depth
    truth = predictions.truth[:, root].clone()
    if predictions.depth is not None:
        truth[:, 2] = predictions.depth
    factor = dataset.dataset.factor if isinstance(dataset.dataset, Refocused) and dataset.dataset.said else 1.0
    camera = predictions.camera * torch.tensor([factor, factor, 1.0, 1.0])
    places = [
        torch.cat([(points[:, :2] - camera[:, 2:]) / camera[:, :2] * points[:, 2:], points[:, 2:]], -1)
        for points in (answered, truth)
    ]
    counted = mask[:, root, None]
    away = metrics.distances(*(place[:, None] for place in places))
    along = (answered[:, 2:] - truth[:, 2:]).abs()
    return float(metrics.mean(away, counted)), float(metrics.mean(along, counted)), int(counted.sum())
