"""What EPIC adds to RegDA (FG 2025; davidpengucf/EPIC @ 13e0db5, loss.py), as functions of maps (B, K, *cells).

Of an image the K maps of one head and the K of another are 2K points, whose kernels are DAN's (adapt/alignment.py),
their width being made of the distances off the diagonal. With M = K_yy + K_aa - K_ya - K_ay (K x K),
    mmd = mean over images and entries of M.
The entropy terms take q, the softmax over cells of the maps averaged over keypoints, and p, that of each keypoint:
    spread = mean over images of sum over cells of q log q    (low where keypoints lie everywhere),
    with `each` plus the mean over images and keypoints of -sum over cells of p log p    (low where each is sure).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .alignment import kernel


def map_mmd(maps: Tensor, others: Tensor, weight: Tensor | None = None, reference: bool = False) -> Tensor:
    """Discrepancy of two heads' maps, each image for itself. `weight` (B, K): a pair of keypoints counts by the product
    of its two. `reference`: by the row's alone, and all is divided by K once more than a mean is."""
    count = maps.shape[1]
    kernels = kernel(torch.cat([maps, others], 1).flatten(2), diagonal=False)
    own, across = kernels[:, :count], kernels[:, count:]
    pairs = own[..., :count] + across[..., count:] - own[..., count:] - across[..., :count]
    if weight is not None:
        rows = weight.flatten(1)
        pairs = pairs * (rows[:, :, None] if reference else rows[:, :, None] * rows[:, None])
    return pairs.mean() / (count if reference else 1)


def map_entropy(maps: Tensor, each: bool = False, reference: bool = False) -> Tensor:
    """Negative entropy of logits averaged over keypoints; `each` adds the mean entropy of each keypoint's (the
    reference's `mi`). `reference`: means over the cells in place of sums, so that a weight depends on their number."""
    value = -_entropy(maps.mean(1).flatten(1))
    if each:
        value = value + _entropy(maps.flatten(2))
    return value / maps[0, 0].numel() if reference else value


def _entropy(logits: Tensor) -> Tensor:
    logs = logits.log_softmax(-1)
    return -(logs.exp() * logs).sum(-1).mean()
