"""Residual steps blocks: a map's channels in four parts, each of which looks again at what the parts before it saw.

Cai et al., "Learning Delicate Local Representations for Multi-Person Pose Estimation", ECCV 2020, in the form of DCPose
(Liu et al., CVPR 2021; Pose-Group/DCPose @ 8d90d88, which has no licence: written from its description). Keys are
DCPose's.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

PARTS = 4
WIDTH = 26, 64
"""Channels of a part as a share of those that a block reads, rounded down."""


class ResidualSteps(nn.Module):
    """Maps (B, `inputs`, H, W) to (B, `outputs`, H, W), not negative.

    Part i of four passes i 3x3 convolutions. Each but the first reads what stood at its place in the part before, added
    to it; the last ones stand behind one another and a 1x1 convolution joins them.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        width = max(inputs * WIDTH[0] // WIDTH[1], 1)
        self.conv_bn_relu1 = layer(inputs, PARTS * width, 1)
        for part in range(1, PARTS + 1):
            for step in range(1, part + 1):
                self.add_module(f"conv_bn_relu2_{part}_{step}", layer(width, width, 3))
        self.conv_bn_relu3 = layer(PARTS * width, outputs, 1, relu=False)
        self.downsample: nn.Module = nn.Identity() if inputs == outputs else layer(inputs, outputs, 1, relu=False)

    def forward(self, maps: Tensor) -> Tensor:
        before: list[Tensor] = []
        ends = []
        for number, part in enumerate(self.conv_bn_relu1(maps).chunk(PARTS, 1), 1):
            steps: list[Tensor] = []
            for step in range(number):
                seen = steps[-1] if steps else part
                seen = seen + before[step] if step < len(before) else seen
                steps.append(self.get_submodule(f"conv_bn_relu2_{number}_{step + 1}")(seen))
            before = steps
            ends.append(steps[-1])
        return functional.relu(self.conv_bn_relu3(torch.cat(ends, 1)) + self.downsample(maps))


class Chain(nn.Module):
    """Several blocks, the first of which changes the number of channels."""

    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__()
        widths = [inputs, *[outputs] * (blocks - 1)]
        self.layers = nn.Sequential(*(ResidualSteps(width, outputs) for width in widths))

    def forward(self, maps: Tensor) -> Tensor:
        return self.layers(maps)


def layer(inputs: int, outputs: int, side: int, relu: bool = True) -> nn.Sequential:
    """A convolution with bias, weights of std 0.001, and batch norm, rectified."""
    convolution = nn.Conv2d(inputs, outputs, side, padding=side // 2)
    nn.init.normal_(convolution.weight, std=0.001)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    parts: dict[str, nn.Module] = {"conv": convolution, "bn": nn.BatchNorm2d(outputs)}
    return nn.Sequential(OrderedDict(parts | ({"relu": nn.ReLU(inplace=True)} if relu else {})))
