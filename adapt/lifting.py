"""What a lifted pose says of itself: bones that keep their lengths, two sides alike, and where it would be seen.

Pure functions of points (P, K, 3) mm, of whatever head they come from; what they answer is a share of a bone, or of the
person's mean bone, so that one weight fits children and adults.

Where a pose counted from its root stands before the camera follows from where its joints are seen: with a ray
(u, v, 1) to each joint (X, Y, Z) of weight c, the root (x, y, z) is wanted such that X + x = u (Z + z) and
Y + y = v (Z + z). In the sense of least squares, m(.) being the mean over joints with weights c,
    r = u Z - X,    s = v Z - Y,    du = u - m(u),    dv = v - m(v)
    z = -(m(du r) + m(dv s)) / (m(du u) + m(dv v)),    x = m(r) + m(u) z,    y = m(s) + m(v) z
which is differentiable and needs no solver (the linear form of Mehta et al., "Monocular 3D human pose estimation in the
wild", 3DV 2017, with perspective).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .anatomy import COINCIDENT
from .consistency import huber

NEAREST = 100.0
"""mm: joints that would stand nearer to the camera than this were not located."""
SPREAD = 1e-6
"""Variance of rays under which all joints are seen in one place, which says no distance."""
TYPICAL = 0.1
"""Share of a bone from which on a residual counts by its size, not by its square."""


def soft(residual: Tensor) -> Tensor:
    """Huber's loss of residuals that are shares of a bone, in units of TYPICAL: any shape."""
    return TYPICAL * huber(residual.abs() / TYPICAL)


def changing(lengths: Tensor, own: Tensor, others: Tensor, keys: Tensor) -> Tensor:
    """How far the lengths (P, E) of bones of people `own` (P,) are from the mean of the same person's, as a share of
    it: (P, E). Those are the lengths `others` (Q, E), without gradient, of people `keys` (Q,)."""
    same = (own[:, None] == keys).to(lengths.dtype)
    mean = (same @ others.detach()) / same.sum(1, keepdim=True).clamp_min(1)
    return (lengths - mean) / mean.clamp_min(COINCIDENT)


def beyond(lengths: Tensor, mean: Tensor, deviation: Tensor, width: float) -> Tensor:
    """How far lengths (P, E) are outside of mean +- width deviations (E,), as a share of the mean: (P, E)."""
    outside = ((lengths - mean).abs() - width * deviation).clamp_min(0)
    return outside / mean.clamp_min(COINCIDENT)


def rays(pixels: Tensor, lens: Tensor) -> Tensor:
    """Places in a picture (P, K, 2) px of cameras (P, 4) as (x / z, y / z); an unknown camera's are those of focal
    length 1."""
    focal = torch.where(lens[:, None, :2] > 0, lens[:, None, :2], 1.0)
    return (pixels - lens[:, None, 2:]) / focal


def rooted(points: Tensor, rays: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Where the roots of points (P, K, 3) mm stand in the camera's frame, seen along rays (P, K, 2) with weights (P, K):
    (P, 3) mm, and whether the rays say so: (P,) bool, with all joints before the camera."""
    share = (weight / weight.sum(1, keepdim=True).clamp_min(1e-6)).unsqueeze(-1)
    shift = rays * points[..., 2:] - points[..., :2]
    middle = (share * rays).sum(1, keepdim=True)
    away = share * (rays - middle)
    variance = (away * rays).sum((1, 2))
    apart = variance > SPREAD
    depth = -(away * shift).sum((1, 2)) / torch.where(apart, variance, 1.0)
    flat = (share * shift).sum(1) + middle[:, 0] * depth[:, None]
    return torch.cat([flat, depth[:, None]], -1), apart & (depth + points[..., 2].amin(1) > NEAREST)


def unseen(points: Tensor, rays: Tensor) -> Tensor:
    """How far points (P, K, 3) mm in the camera's frame are from the rays (P, K, 2) that should meet them, in mm at
    their distance: (P, K)."""
    depth = points[..., 2:].clamp_min(NEAREST)
    away = (points[..., :2] / depth - rays) * depth.detach()
    return (away.square().sum(-1) + 1e-12).sqrt()
