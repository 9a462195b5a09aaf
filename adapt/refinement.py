"""Networks that exist in training only: what refines features for a second head, and what tells domains by maps.

In the form of chaneyddtt/UDA-Animal-Pose @ 36ef846 (pose/models/refinenet_multilayer_da.py), whose keys `RefineNet`
(less the prefix `refinenet.`) and `DomainClassifier` bear.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Narrow(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with batch norm, `width` channels between them."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)

    def forward(self, maps: Tensor) -> Tensor:
        maps = functional.relu(self.bn1(self.conv1(maps)))
        maps = functional.relu(self.bn2(self.conv2(maps)))
        return self.bn3(self.conv3(maps))


class Bottleneck(Narrow):
    """Beside a projection by a 1x1 convolution."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__(inputs, width, outputs)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, maps: Tensor) -> Tensor:
        return functional.relu(super().forward(maps) + self.downsample(maps))


class RefineNet(nn.Module):
    """The reference's, for networks whose levels are at hand: (B, channels, h, w) from the coarsest to the finest.

    Level i of n passes n - 1 - i bottlenecks and is resized to `shape`; all are concatenated, and two branches answer.
    """

    def __init__(
        self, channels: int, shape: tuple[int, int], keypoints: int, levels: int = 4, width: int = 128
    ) -> None:
        super().__init__()
        self.shape = shape
        self.cascade = nn.ModuleList(
            nn.Sequential(*(Bottleneck(channels, width, channels) for _ in range(levels - 1 - level)))
            for level in range(levels)
        )
        self.final_predict, self.final_predict_2 = (
            nn.Sequential(Bottleneck(levels * channels, width, channels), nn.Conv2d(channels, keypoints, 3, padding=1))
            for _ in range(2)
        )

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Both branches' maps (B, K, *shape), and the concatenated features (B, n * channels, *shape)."""
        resized = [
            functional.interpolate(blocks(level), self.shape, mode="bilinear", align_corners=True)
            for blocks, level in zip(self.cascade, levels, strict=True)
        ]
        features = torch.cat(resized, 1)
        return self.final_predict(features), self.final_predict_2(features), features


class Refinement(Narrow):
    """Features (B, C, ...) of any form, refined: they go on as they are, and what is added to them begins at 0."""

    def __init__(self, channels: int, width: int = 128) -> None:
        super().__init__(channels, min(width, channels), channels)
        nn.init.zeros_(self.bn3.weight)

    def forward(self, features: Tensor) -> Tensor:
        return features + super().forward(as_maps(features)).view_as(features)


class DomainClassifier(nn.Sequential):
    """Tells domains by features (B, channels, ...): logits (B, 1, h, w), source is 1.

    Convolutions 4x4 of stride 2, as many as features of `side` cells allow (the reference's 64: five), of width, 2 *
    width, ... channels, then one of 2x2.
    """

    def __init__(self, channels: int, width: int = 64, side: int = 64) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        count = min(max(side.bit_length() - 2, 0), 5)
        for level in range(count):
            layers[f"conv{level + 1}"] = nn.Conv2d(channels, width * 2**level, 4, 2, 1, bias=False)
            layers[f"relu{level + 1}"] = nn.LeakyReLU(0.1)
            channels = width * 2**level
        layers[f"conv{count + 1}"] = nn.Conv2d(channels, 1, min(side, 2), bias=False)
        super().__init__(layers)

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(as_maps(features))


def as_maps(features: Tensor) -> Tensor:
    """Features (B, C, ...) as maps (B, C, h, w): vectors are of one cell, of volumes the last axes are one."""
    return features.reshape(*features.shape[:3], -1) if features.dim() > 2 else features[..., None, None]


def side_of(shape: Sequence[int]) -> int:
    """The smaller side of features (C, ...) as maps."""
    return min(as_maps(torch.empty(1, *shape, device="meta")).shape[2:])
