"""Losses that keep the easiest keypoints of each sample, the schedules that say how many and how much, and mixup.

The pure functions of UDA-Animal: formulas of chaneyddtt/UDA-Animal-Pose @ 36ef846 (pose/losses/jointsmseloss.py,
pose/utils/utils_mt.py, train/train_refinenet_mt.py). `epoch` is a tensor of any shape, whole numbers in the reference.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..models.output import Votes


def easiest(epoch: Tensor, keypoints: int = 18, fewest: int = 9, start: int = 2) -> Tensor:
    """How many keypoints of a sample are learned from: all until `start`, one less at each epoch, at least `fewest`."""
    return (keypoints - (epoch - start).clamp_min(0)).clamp_min(fewest)


def cosine_fall(epoch: Tensor, highest: float = 15.0, lowest: float = 8.0, length: int = 15) -> Tensor:
    """The pseudo labels' weight: half a cosine from `highest` to 0 at `length`, not below `lowest`."""
    share = epoch.clamp(0, length) / length
    return (highest * 0.5 * (torch.cos(math.pi * share) + 1)).clamp(lowest, highest)


def sigmoid_rise(epoch: Tensor, highest: float = 90.0, length: int = 10) -> Tensor:
    """The consistency's weight: highest * exp(-5 (1 - t)^2), t from 0 to 1 at `length`."""
    return highest * torch.exp(-5 * (1 - epoch.clamp(0, length) / length).square())


def teacher_decay(updates: Tensor, highest: float = 0.999) -> Tensor:
    """min(1 - 1 / (t + 1), highest) of the teacher's weights stay at update t, counted from 1."""
    return (1 - 1 / (updates + 1)).clamp_max(highest)


def map_errors(maps: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """0.5 * mean over the cells of ((maps - target) * weight)^2, of maps (B, K, ...) and weight (B, K): (B, K). Its
    mean is the reference's JointsMSELoss, without a weight its symmetric loss."""
    difference = (maps - target).flatten(2)
    if weight is not None:
        difference = difference * weight[..., None]
    return 0.5 * difference.square().mean(-1)


def smallest(losses: Tensor, counted: Tensor, count: Tensor | int) -> Tensor:
    """The `count` smallest losses of each sample's counted keypoints, summed, over count * B: a scalar. Losses (B, K),
    counted (B, K), 0 or 1. Where fewer than `count` are counted, the rest is 0. CurriculumLoss of the reference."""
    ranked = losses.detach().masked_fill(counted == 0, torch.inf).argsort(1)
    taken = torch.arange(losses.shape[1], device=losses.device) < count
    return ((losses * counted).gather(1, ranked) * taken).sum() / (count * len(losses))


def symmetric_divergence(first: Votes, second: Votes) -> Tensor:
    """Half of KL(p || q) + KL(q || p) between two heads' densities, averaged over keypoints and summed over the grid's
    marginals; gradients reach both."""
    pairs = zip(first.log_densities(), second.log_densities(), strict=True)
    each = [0.5 * ((p.exp() - q.exp()) * (p - q)).flatten(2).sum(-1).mean() for p, q in pairs]
    return torch.stack(each).sum()


def mixup(own: Tensor, other: Tensor, factor: Tensor | float) -> Tensor:
    """factor * own + (1 - factor) * other; tensors (B, ...), factor (B,) or a number. uint8 is rounded.

    The reference's factors are of Beta(0.8, 0.8): between two domains each keeps max(factor, 1 - factor) of itself,
    within one the partners are a permutation; weights of keypoints become the maximum of both.
    """
    if isinstance(factor, Tensor):
        factor = factor.view(-1, *(1,) * (own.dim() - 1))
    mixed = factor * own + (1 - factor) * other
    return mixed if own.dtype.is_floating_point else mixed.round().to(own.dtype)
