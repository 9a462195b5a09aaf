"""Predictions over a dataset, the scores made from them, and the one score that needs no labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...datasets.reading.files import write_whole
from ...datasets.sample import Labeled, Unlabeled, to_space, transform
from ...datasets.skeleton import Skeleton
from ...models.pose_model import PoseModel
from ..methods.mean_teacher import carry
from . import depth_metrics, metrics
from .selection import Headline


@dataclass
class Predictions:
    """Predictions and truth for N crops in dataset order, in file pixels; of depth also z in mm."""

    points: Tensor
    """(N, K, 2 or 3)"""
    confidence: Tensor
    """(N, K)"""
    truth: Tensor
    """(N, K, 2 or 3)"""
    annotated: Tensor
    """(N, K) bool: known and inside the crop."""
    visible: Tensor
    """(N, K) bool"""
    side: Tensor
    """(N,) the crop's side."""
    camera: Tensor
    """(N, 4) fx, fy, cx, cy in file pixels, zeros where unknown; 3D points need it."""
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
        values.setdefault("camera", torch.zeros(len(values["side"]), 4))  # files of version 0.1.0 hold none
        return cls(**values)

    @property
    def dims(self) -> int:
        return self.points.shape[-1]

    def headline(self, threshold: float) -> Headline:
        """What these are judged by, PCK at `threshold` where that is in pixels."""
        return Headline.of(self.dims, threshold)

    def errors(self) -> Tensor:
        """Distances (N, K): as fractions of the crop's side, or of 3D points in mm in the camera's frame. Raises
        ValueError for 3D points without a camera."""
        if self.dims == 2:
            return metrics.relative_errors(self.points, self.truth, self.side)
        blind = (self.camera[:, :2] == 0).any(1)
        if blind.any():
            raise ValueError(
                f"{int(blind.sum())} of {len(blind)} samples have no camera, {self.id[int(blind.int().argmax())]!r} "
                "first: errors in mm need fx and fy in file pixels; let the dataset give them"
            )
        return metrics.distances(to_space(self.points, self.camera), to_space(self.truth, self.camera))

    def pixels(self) -> Tensor:
        """Distances in the picture, file px: (N, K)."""
        return metrics.distances(self.points[..., :2], self.truth[..., :2])


@torch.no_grad()
def predict(model: PoseModel, batches: Iterable[Labeled], device: torch.device) -> Predictions:
    """Evaluate `model` in evaluation mode; its mode is restored."""
    mode = model.training
    model.eval()
    parts: dict[str, list[Any]] = {f.name: [] for f in fields(Predictions)}
    for batch in batches:
        moved = batch.to(device)
        points, confidence = model.decode(model(moved), moved)
        truth = moved.keypoints[..., : points.shape[-1]]
        # A picture's crop says what can be seen; a depth frame's cube only where to look: a joint beyond it is missed.
        inside = torch.ones_like(moved.annotated) if moved.reach is not None else _inside(truth, moved)
        found = {
            "points": transform(moved.to_file, points),
            "confidence": confidence,
            "truth": transform(moved.to_file, truth),
            "annotated": moved.annotated & inside,
            "visible": moved.visible & inside,
            "side": moved.side,
            "camera": moved.camera,
        }
        for name, value in found.items():
            parts[name].append(value.cpu())
        parts["sequence"] += batch.sequence
        parts["id"] += batch.id
    model.train(mode)
    whole: dict[str, Any] = {n: tuple(v) if n in ("sequence", "id") else torch.cat(v) for n, v in parts.items()}
    return Predictions(**whole)


def scores(predictions: Predictions, skeleton: Skeleton, threshold: float) -> dict[str, Any]:
    """The headline over all annotated, the seen, groups and joints; EPE in file px; the area under the curve.

    Of 2D points PCK at `threshold` of the crop's side, `auc` below its curve to 0.2. Of 3D points `mm`, the mean error;
    `auc` below the share of frames whose worst joint is within 0 to 80 mm; `map`, the share within 100 mm, ITOP's mAP.
    """
    headline = predictions.headline(threshold)
    errors, mask = predictions.errors(), predictions.annotated
    values = torch.from_numpy(headline.values(predictions))
    joints = metrics.mean_per_joint(values, mask)
    near = {"map": float(depth_metrics.mean_average_precision(errors, mask))} if headline.key == "mm" else {}
    return {
        headline.key: float(metrics.mean(values, mask)),
        f"{headline.key}_visible": float(metrics.mean(values, mask & predictions.visible)),
        "epe": float(metrics.mean(predictions.pixels(), mask)),
        "auc": area(headline, errors, mask),
        **near,
        "groups": metrics.group_means(joints, skeleton.groups),
        "joints": dict(zip(skeleton.keypoints, joints.tolist(), strict=True)),
    }


def curve(headline: Headline, errors: Tensor, mask: Tensor, thresholds: Tensor) -> Tensor:
    """The share within each of `thresholds` (T,): of PCK all keypoints count, of mm each frame's worst one. (T,)"""
    counted = metrics.pck_curve if headline.key == "pck" else depth_metrics.worst_joint_curve
    return counted(errors, mask, thresholds)


def area(headline: Headline, errors: Tensor, mask: Tensor) -> float:
    """The area under `curve` up to the headline's highest threshold, as a share of the whole."""
    found = metrics.auc if headline.key == "pck" else depth_metrics.worst_joint_auc
    return float(found(errors, mask, headline.highest))


@torch.no_grad()
def agreement(
    model: PoseModel, batches: Iterable[Unlabeled], flip: list[int], device: torch.device, threshold: float = 0.05
) -> float:
    """The label-free score: the share of keypoints that are predicted at the same place, to `threshold` of the crop's
    side (along z of the cube's edge), in two known warps of an image.

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
        inside = _inside(there, second)
        close = metrics.distances(here[..., :2], there[..., :2]) <= threshold * max(second.image.shape[2:])
        if second.reach is not None and here.shape[-1] == 3:
            close &= (here - there)[..., 2].abs() <= threshold * 2 * second.reach[:, None]
        same += float((close & inside).sum())
        total += float(inside.sum())
    model.train(mode)
    return same / total if total else float("nan")


def _inside(points: Tensor, batch: Unlabeled) -> Tensor:
    """Whether points (B, K, D) of the model's input lie in the picture, and of depth in the cube: (B, K)."""
    size = points.new_tensor(batch.image.shape[:1:-1])
    inside = ((points[..., :2] >= 0) & (points[..., :2] < size)).all(-1)
    deep = batch.reach is not None and points.shape[-1] == 3
    return inside & (points[..., 2].abs() <= batch.reach[:, None]) if deep else inside  # type: ignore[index]
