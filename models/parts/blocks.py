"""Maps taken a few at a time, so that what is made of them on the way is small beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

PARTS = 32
"""Blocks that many maps are taken in: each is 3 % of the whole."""
FEW = 2**16
"""Cells of the smallest block: below, calls cost more than cells."""
IN_CACHE = 2**18
"""Cells of a block for each thread of a CPU: a volume of 64^3, 1 MB, stays in a core's cache."""


def blocks(maps: Tensor) -> Iterator[tuple[slice, list[slice]]]:
    """Maps (B, K, *shape) as (images, [keypoints, ...]): several images with all of their keypoints, or one image in
    parts. A map is never cut."""
    images, keypoints = maps.shape[:2]
    cells = max(math.prod(maps.shape[2:]), 1)
    size = max(maps.numel() // PARTS, FEW)
    if maps.device.type == "cpu":
        size = min(size, IN_CACHE * torch.get_num_threads())
    most = max(size // cells, 1)
    several = max(most // max(keypoints, 1), 1)
    parts = [slice(first, min(first + most, keypoints)) for first in range(0, keypoints, most)]
    for first in range(0, images, several):
        yield slice(first, min(first + several, images)), parts


def working(maps: Tensor) -> torch.dtype:
    """What numbers are computed in: float64 for maps of it, else float32."""
    return torch.float64 if maps.dtype == torch.float64 else torch.float32


def softmax(maps: Tensor) -> Tensor:
    """The softmax of each map, along contiguous memory of its own: (B, K, *shape) in `working`'s precision."""
    # Along contiguous memory a softmax over thousands of candidates sums to 1 ten times nearer, and is faster.
    return maps.flatten(2).contiguous().softmax(-1, dtype=working(maps)).unflatten(2, maps.shape[2:])
