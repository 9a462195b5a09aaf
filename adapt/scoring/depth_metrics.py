"""Metrics of hands and bodies in depth: pure functions on tensors with a mask, in millimetres.

`errors` (N, K) are distances between predicted and true joints (`metrics.distances` of points (N, K, 3) mm in the
camera's frame), `mask` (N, K) bool says which of them count. A frame counts when one of its joints does. What nothing
counts for is NaN. The mean error is `metrics.mean(errors, mask)`, of each joint `metrics.mean_per_joint`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import metrics


def worst_joint_curve(errors: Tensor, mask: Tensor, thresholds: Tensor) -> Tensor:
    """Share of frames with no joint farther off than each of `thresholds` (T,) mm: (T,).

    Taylor, Shotton, Sharp, Fitzgibbon, CVPR 2012; "max-frame" in xinghaochen/awesome-hand-pose-estimation @ e297a6e.
    """
    return metrics.pck_curve(*_worst(errors, mask), thresholds)


def mean_frame_curve(errors: Tensor, mask: Tensor, thresholds: Tensor) -> Tensor:
    """Share of frames whose mean error is at most each of `thresholds` (T,) mm: (T,). "mean-frame" there."""
    mean = errors.double().masked_fill(~mask, 0).sum(1) / mask.sum(1)
    return metrics.pck_curve(mean[:, None], mask.any(1)[:, None], thresholds)


def joint_curve(errors: Tensor, mask: Tensor, thresholds: Tensor) -> Tensor:
    """Share of joints that are off by at most each of `thresholds` (T,) mm: (T,). "joint" there."""
    return metrics.pck_curve(errors, mask, thresholds)


def worst_joint_auc(errors: Tensor, mask: Tensor, highest: float = 80.0) -> Tensor:
    """Area under `worst_joint_curve` from 0 to `highest` mm, as a share of the whole: exact, no sampling."""
    return metrics.auc(*_worst(errors, mask), highest)


def awr_auc(errors: Tensor, mask: Tensor, highest: float = 50.0, samples: int = 100) -> Tensor:
    """AWR's AUC: the trapezoid under each joint's share within `samples` thresholds from 0 to `highest` mm, averaged
    over the joints that count.

    Elody-07/AWR-Adaptive-Weighting-Regression, util/eval_tool.py @ 1d0e440.
    """
    thresholds = torch.linspace(0, highest, samples, dtype=torch.float64, device=errors.device)
    reached = torch.searchsorted(thresholds, errors.double().contiguous())
    # A hit from the threshold i on is a ramp from i - 1 to i, then the whole; from the first on, or never, has no ramp.
    area = ((samples - 0.5 - reached) / (samples - 1)).clamp(0, 1)
    return metrics.mean_per_joint(area, mask).nanmean()


def accuracy_per_joint(errors: Tensor, mask: Tensor, limit: float = 100.0) -> Tensor:
    """Share of each joint's errors below `limit` mm, the limit itself not among them: (K,).

    zhangboshen/A2J, src/itop_side.py @ 4c332f0 (ITOP's 10 cm rule). Tables that average left and right are
    `metrics.group_means` of it.
    """
    return metrics.mean_per_joint((errors < limit).double(), mask)


def mean_average_precision(errors: Tensor, mask: Tensor, limit: float = 100.0) -> Tensor:
    """ITOP's mAP at 10 cm: the mean of `accuracy_per_joint` over the joints that count."""
    return accuracy_per_joint(errors, mask, limit).nanmean()


def pdj(
    predicted: Tensor, truth: Tensor, mask: Tensor, ratio: float, torso: tuple[int, int, int] = (1, 9, 12)
) -> Tensor:
    """Percentage of detected joints as a share: those nearer to the truth than `ratio` of the torso's diameter.

    Points (N, K, 2) px. The diameter reaches from joint `torso[0]` to the middle of the other two (K2HPD's indices);
    frames in which it is not known, or 0, do not count. zhangboshen/A2J, src/k2hpd.py @ 4c332f0.
    """
    neck, left, right = torso
    diameter = metrics.distances(truth[:, neck], (truth[:, left] + truth[:, right]) / 2)
    known = mask[:, list(torso)].all(1) & (diameter > 0)
    errors = metrics.relative_errors(predicted, truth, diameter)
    return metrics.mean((errors < ratio).double(), mask & known[:, None])


def _worst(errors: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The largest error of each frame, (N, 1), and which frames count, (N, 1)."""
    return errors.masked_fill(~mask, 0).amax(1, keepdim=True), mask.any(1, keepdim=True)
