"""Keypoint metrics: pure functions on tensors with a mask, pooled over everything they are given.

Points are (N, K, D), masks (N, K) bool, lengths that normalise (N,) or (N, K). A metric of nothing is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...datasets.constants import constants


def distances(predicted: Tensor, truth: Tensor) -> Tensor:
    """Euclidean distances (N, K) in the points' unit."""
    return torch.linalg.vector_norm(predicted - truth, dim=-1)


def relative_errors(predicted: Tensor, truth: Tensor, length: Tensor) -> Tensor:
    """Distances as fractions of `length` (N,) or (N, K): the crop's side, the head's or torso's size."""
    return distances(predicted, truth) / (length if length.dim() == 2 else length[:, None])


def mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (N, K) over the masked keypoints."""
    return values.double().masked_fill(~mask, 0).sum() / mask.sum()


def mean_per_joint(values: Tensor, mask: Tensor) -> Tensor:
    """The same for each keypoint: (K,), NaN where the mask leaves none."""
    return values.double().masked_fill(~mask, 0).sum(0) / mask.sum(0)


def epe(predicted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Mean end-point error over the masked keypoints, in the points' unit (pixels)."""
    return mean(distances(predicted, truth), mask)


def pck(errors: Tensor, mask: Tensor, threshold: float) -> Tensor:
    """Share of masked keypoints whose relative error (N, K) is at most `threshold`."""
    return mean((errors <= threshold).double(), mask)


def pck_per_joint(errors: Tensor, mask: Tensor, threshold: float) -> Tensor:
    """The same for each keypoint: (K,), NaN where the mask leaves none."""
    hits = ((errors <= threshold) & mask).sum(0).double()
    return hits / mask.sum(0)


def pck_curve(errors: Tensor, mask: Tensor, thresholds: Tensor) -> Tensor:
    """PCK at each of `thresholds` (T,): (T,)."""
    kept = errors[mask].sort().values.contiguous()
    return torch.searchsorted(kept, thresholds.to(kept).contiguous(), right=True).double() / len(kept)


def auc(errors: Tensor, mask: Tensor, highest: float = 0.2) -> Tensor:
    """Area under the PCK curve from 0 to `highest`, as a share of the whole: exact, no sampling of thresholds."""
    return mean((1 - errors.double() / highest).clamp_min(0), mask)


def group_means(per_joint: Tensor, groups: dict[str, tuple[int, ...]]) -> dict[str, float]:
    """Means over the joints of each group that are not NaN; NaN where none is left."""
    return {name: float(per_joint[list(members)].nanmean()) for name, members in groups.items()}


def tllib_pck(maps: Tensor, truth_maps: Tensor, threshold: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
    """TLLib's PCK of one batch of heatmaps (B, K, H, W): (per joint (K,), mean over valid joints, predictions).

    For comparison with published numbers alone. A prediction is the cell of the maximum, (0, 0) where no value is
    positive; truth is read off the label's heatmap and counts only right of and below cell 1; distances are in
    units of a tenth of the map. -1 for a joint without a valid sample.
    TLLib, tllib/utils/metric/keypoint_detection.py accuracy @ c4aa59e.
    """
    predicted, truth = _cells(maps), _cells(truth_maps)
    size = constants([maps.shape[3], maps.shape[2]], maps) / 10
    valid = (truth > 1).all(-1)
    hits = ((torch.linalg.vector_norm(predicted / size - truth / size, dim=-1) < threshold) & valid).sum(0)
    count = valid.sum(0)
    per_joint = torch.where(count > 0, hits / count.clamp_min(1), -1.0)
    scored = count > 0
    return per_joint, (per_joint * scored).sum() / scored.sum().clamp_min(1), predicted


def tllib_pool(batches: Sequence[tuple[Tensor, int]], groups: dict[str, tuple[int, ...]]) -> dict[str, float]:
    """TLLib's mean over batches [(per joint (K,), batch size)], weighted by batch size; -1 enters as a number."""
    total = sum(size for _, size in batches)
    return {
        name: float(sum(per_joint[list(members)].mean() * size for per_joint, size in batches) / total)
        for name, members in groups.items()
    }


def _cells(maps: Tensor) -> Tensor:
    value, cell = maps.flatten(2).max(-1)
    xy = torch.stack([cell % maps.shape[3], cell // maps.shape[3]], -1).to(maps.dtype)
    return xy * (value > 0).unsqueeze(-1)
