"""Maps taken a few at a time, so that what is made of them on the way is small beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

IN_CACHE = 2**18
"""Cells of a block on the CPU: a volume of 64^3, 1 MB, stays in a core's cache."""
PARTS = 32
"""Blocks that a GPU takes maps in, at most: enough cells in each to be busy, and each 3 % of the whole."""


def blocks(maps: Tensor) -> Iterator[tuple[slice, list[slice]]]:
    """Maps (B, K, *shape) as (images, [keypoints, ...]): several images with all of their keypoints, or one image in
    parts. A map is never cut."""
    images, keypoints = maps.shape[:2]
    cells = max(math.prod(maps.shape[2:]), 1)
    most = max(IN_CACHE if maps.device.type == "cpu" else max(IN_CACHE, maps.numel() // PARTS), cells) // cells
    several = max(most // max(keypoints, 1), 1)
    parts = [slice(first, min(first + most, keypoints)) for first in range(0, keypoints, most)]
    for first in range(0, images, several):
        yield slice(first, min(first + several, images)), parts


def working(maps: Tensor) -> torch.dtype:
    """What numbers are computed in: float64 for maps of it, else float32."""
    return torch.float64 if maps.dtype == torch.float64 else torch.float32


def copied(maps: Tensor) -> Tensor:
    """Maps in memory of their own, (B, K, *shape) contiguous in `working`'s precision."""
    return maps.to(working(maps), copy=True, memory_format=torch.contiguous_format)
