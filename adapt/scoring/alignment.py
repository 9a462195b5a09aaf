"""Predicted poses laid on the true ones before they are compared: at the root, by a rigid motion, by a similarity.

Points are (N, K, 3) in one unit, masks (N, K) bool. Joints outside of the mask take no part in finding the motion, and
are moved with the others. A person of whom nothing is in the mask stays where it is. Everything is in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor


def root_aligned(points: Tensor, root: int) -> Tensor:
    """Points counted from each person's joint `root`."""
    return points.double() - points[:, root : root + 1].double()


def rigid_aligned(predicted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Predicted poses (N, K, 3) turned and shifted on the true ones by least squares, never mirrored nor scaled.

    This is the "PA" of mks0601/3DMPPE_POSENET_RELEASE, common/utils/pose_utils.py rigid_align @ dd025c5.
    """
    rotation, _, here, there = _motion(predicted, truth, mask)
    return (predicted.double() - here) @ rotation.transpose(1, 2) + there


def similarity_aligned(predicted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """The same with the scale that fits best: what the literature means by PA-MPJPE.

    A pose whose joints in the mask are all at one place keeps its size.
    facebookresearch/VideoPose3D, common/loss.py p_mpjpe.
    """
    rotation, spread, here, there = _motion(predicted, truth, mask)
    size = _masked(predicted.double() - here, mask).square().sum((1, 2))
    scale = torch.where(size > 0, spread / size, 1.0)
    return scale[:, None, None] * (predicted.double() - here) @ rotation.transpose(1, 2) + there


def scaled(predicted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Predicted poses (N, K, 3) times the factor that brings each nearest to the true one, about the origin.

    VideoPose3D, common/loss.py n_mpjpe, whose poses are counted from the root. A pose of zeros stays so.
    """
    inside, size = _masked(predicted.double(), mask), _masked(predicted.double(), mask).square().sum((1, 2))
    scale = torch.where(size > 0, (inside * _masked(truth.double(), mask)).sum((1, 2)) / size, 1.0)
    return scale[:, None, None] * predicted.double()


def _masked(points: Tensor, mask: Tensor) -> Tensor:
    return points.masked_fill(~mask.unsqueeze(-1), 0)


def _motion(predicted: Tensor, truth: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best rotations (N, 3, 3), how much of the truth lies along the turned poses (N,), and both centres (N, 1, 3):
    Kabsch's. Where mirroring would fit better, the axis with the least spread is turned back."""
    known = mask.any(1)[:, None, None]
    count = mask.sum(1).clamp_min(1)[:, None, None]
    predicted, truth = _masked(predicted.double(), mask), _masked(truth.double(), mask)
    here, there = predicted.sum(1, keepdim=True) / count, truth.sum(1, keepdim=True) / count
    covariance = _masked(predicted - here, mask).transpose(1, 2) @ (truth - there)
    u, spread, vh = torch.linalg.svd(covariance)
    sign = torch.ones_like(spread)
    sign[:, 2] = torch.where(torch.linalg.det(u @ vh) < 0, -1.0, 1.0)
    rotation = (u * sign.unsqueeze(1) @ vh).transpose(1, 2)
    rotation = torch.where(known, rotation, torch.eye(3, dtype=rotation.dtype, device=rotation.device))
    return rotation, (sign * spread).sum(1), here, there
