"""Predictions over a dataset, the scores made from them, and the one score that needs no labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..datasets.sample import Labeled, Unlabeled, transform
from ..datasets.skeleton import Skeleton
from ..models.pose_model import PoseModel
from . import metrics
from .files import write_whole
from .mean_teacher import carry


@dataclass
class Predictions:
    """Predictions and truth for N crops in dataset order, in file pixels."""

    points: Tensor
    """(N, K, 2)"""
    confidence: Tensor
    """(N, K)"""
    truth: Tensor
    """(N, K, 2)"""
    annotated: Tensor
    """(N, K) bool: known and inside the crop."""
    visible: Tensor
    """(N, K) bool"""
    side: Tensor
    """(N,) the crop's side."""
    sequence: tuple[str, ...]
    id: tuple[str, ...]

    def save(self, path: Path) -> None:
        arrays = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
        write_whole(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Predictions:
        with np.load(path) as arrays:
            values: dict[str, Any] = {name: arrays[name] for name in arrays.files}
        for name, value in values.items():
            named = name in ("sequence", "id")
            values[name] = tuple(str(v) for v in value) if named else torch.from_numpy(value)
        return cls(**values)

    def errors(self) -> Tensor:
        """Distances as fractions of the crop's side: (N, K)."""
        return metrics.relative_errors(self.points, self.truth, self.side)


@torch.no_grad()
def predict(model: PoseModel, batches: Iterable[Labeled], device: torch.device) -> Predictions:
    """Evaluate `model` in evaluation mode; its mode is restored."""
    mode = model.training
    model.eval()
    parts: dict[str, list[Any]] = {f.name: [] for f in fields(Predictions)}
    for batch in batches:
        moved = batch.to(device)
        points, confidence = model.decode(model(moved), moved)
        size = points.new_tensor(moved.image.shape[:1:-1])
        inside = ((moved.keypoints >= 0) & (moved.keypoints < size)).all(-1)
        found = {
            "points": transform(moved.to_file, points),
            "confidence": confidence,
            "truth": transform(moved.to_file, moved.keypoints),
            "annotated": moved.annotated & inside,
            "visible": moved.visible & inside,
            "side": moved.side,
        }
        for name, value in found.items():
            parts[name].append(value.cpu())
        parts["sequence"] += batch.sequence
        parts["id"] += batch.id
    model.train(mode)
    whole: dict[str, Any] = {n: tuple(v) if n in ("sequence", "id") else torch.cat(v) for n, v in parts.items()}
    return Predictions(**whole)


def scores(predictions: Predictions, skeleton: Skeleton, threshold: float) -> dict[str, Any]:
    """PCK at `threshold` of the crop's side, its area under the curve to 0.2, EPE in file px; joints and groups."""
    errors, mask = predictions.errors(), predictions.annotated
    joints = metrics.pck_per_joint(errors, mask, threshold)
    return {
        "pck": float(metrics.pck(errors, mask, threshold)),
        "pck_visible": float(metrics.pck(errors, mask & predictions.visible, threshold)),
        "epe": float(metrics.epe(predictions.points, predictions.truth, mask)),
        "auc": float(metrics.auc(errors, mask)),
        "groups": metrics.group_means(joints, skeleton.groups),
        "joints": dict(zip(skeleton.keypoints, joints.tolist(), strict=True)),
    }


@torch.no_grad()
def agreement(
    model: PoseModel, batches: Iterable[Unlabeled], flip: list[int], device: torch.device, threshold: float = 0.05
) -> float:
    """The label-free score: the share of keypoints that are predicted at the same place, to `threshold` of the crop's
    side, in two known warps of an image.

    A network that collapsed to constant answers does not turn with the image, so it scores low here, while it
    scores high on entropy or confidence.
    """
    mode = model.training
    model.eval()
    same = total = 0.0
    for batch in batches:
        first = batch.to(device)
        (second,) = first.views
        here = model.decode(model(second), second)[0]
        there = carry(model.decode(model(first), first)[0], first, second, flip)
        size = here.new_tensor(second.image.shape[:1:-1])
        inside = ((there >= 0) & (there < size)).all(-1)
        close = torch.linalg.vector_norm(here - there, dim=-1) <= threshold * size.max()
        same += float((close & inside).sum())
        total += float(inside.sum())
    model.train(mode)
    return same / total if total else float("nan")
