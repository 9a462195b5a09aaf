"""What stands before a subject: round bars, short or long, between it and the camera."""

from __future__ import annotations

import numpy as np

Array = np.ndarray
OCCLUDERS = 2
"""The most that stand before one subject."""


def draw_occluders(
    rng: np.random.Generator, share: float, points: Array, scale: float = 1.0
) -> tuple[Array, Array, Array]:
    """Round cones a, b (N, 3) and radii (N, 2) in mm, N = `OCCLUDERS`, each there with probability `share` (else its
    radii are 0), on the rays of some of the joints `points` (K, 3) mm. `scale` is the subject's size against a hand's.
    """
    if not share:
        return np.zeros((OCCLUDERS, 3)), np.zeros((OCCLUDERS, 3)), np.zeros((OCCLUDERS, 2))
    there = rng.random(OCCLUDERS) < share
    hidden = points[rng.integers(len(points), size=OCCLUDERS)]
    nearest = points[:, 2].min()
    depth = np.maximum(nearest - scale * rng.uniform(35, 80, OCCLUDERS), 0.6 * nearest)
    middle = hidden * (depth / hidden[:, 2])[:, None]
    way = rng.standard_normal((OCCLUDERS, 3)) * np.array([1.0, 1.0, 0.15])
    way = way / np.sqrt((way * way).sum(-1, keepdims=True))
    half = way * scale * rng.uniform(2, 70, (OCCLUDERS, 1))
    radii = scale * rng.uniform(7, 15, (OCCLUDERS, 2)) * there[:, None]
    return middle - half, middle + half, radii
