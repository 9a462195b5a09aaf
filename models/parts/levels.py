"""Maps of several resolutions, brought to one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def joined(levels: Sequence[Tensor]) -> Tensor:
    """Levels (B, C, H, W) behind one another, those that are smaller enlarged to the first's height and width."""
    size = levels[0].shape[-2:]
    wider = [
        level if level.shape[-2:] == size else functional.interpolate(level, size, mode="bilinear") for level in levels
    ]
    return wider[0] if len(wider) == 1 else torch.cat(wider, 1)
