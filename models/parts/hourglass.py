"""Stacked hourglasses for depth images, after Newell et al., ECCV 2016, in the form that AWR uses.

Elody-07/AWR-Adaptive-Weighting-Regression @ 1d0e440, model/hourglass.py. Agrees with it numerically.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Hourglasses(nn.Module):
    """N hourglasses, each looking at what the one before it saw and answered.

    (B, 1, H, W) to (B, N * channels, H/2, W/2), the features of all stacks, the last stack's last. `outputs` are the
    answering layers of the earlier stacks; the last stack's is the model's head. H and W are multiples of 32.
    """

    stride = 2
    depth = 4
    """How often an hourglass halves its input."""

    def __init__(self, channels: int, outputs: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        self.channels = channels
        self.stem = nn.Sequential(
            nn.Conv2d(1, 64, 5, padding=2),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            Residual(64, 128),
            nn.MaxPool2d(2),
            Residual(128, 256),
            Residual(256, channels),
        )
        self.outputs = nn.ModuleList(outputs)
        self.stacks = nn.ModuleList(Hourglass(self.depth, channels) for _ in range(len(outputs) + 1))
        self.features = nn.ModuleList(_features(channels) for _ in range(len(outputs) + 1))
        self.merge_features = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in outputs)
        self.merge_maps = nn.ModuleList(nn.Conv2d(output.out_channels, channels, 1) for output in outputs)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        features = [self.features[0](self.stacks[0](x))]
        for i, output in enumerate(self.outputs):
            x = x + self.merge_maps[i](output(features[i])) + self.merge_features[i](features[i])
            features.append(self.features[i + 1](self.stacks[i + 1](x)))
        return torch.cat(features, 1)

    def answers(self, features: Tensor) -> tuple[Tensor, ...]:
        """The maps that the earlier stacks answered with, from what `forward` returned."""
        parts = features.split(self.channels, 1)
        return tuple(output(part) for output, part in zip(self.outputs, parts, strict=False))


class Hourglass(nn.Module):
    """Down by 2 ** depth and up again, with a branch at each resolution: (B, C, H, W) to the same."""

    def __init__(self, depth: int, channels: int) -> None:
        super().__init__()
        self.up1, self.low1 = Residual(channels, channels), Residual(channels, channels)
        self.low2 = Hourglass(depth - 1, channels) if depth > 1 else Residual(channels, channels)
        self.low3 = Residual(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        low = self.low3(self.low2(self.low1(F.max_pool2d(x, 2))))
        return self.up1(x) + F.interpolate(low, scale_factor=2.0, mode="nearest")


class Residual(nn.Module):
    """Bottleneck with batch norm and ReLU before each convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        inner = outputs // 2
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, inner, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(inner), nn.Conv2d(inner, inner, 3, padding=1)
        self.bn3, self.conv3 = nn.BatchNorm2d(inner), nn.Conv2d(inner, outputs, 1)
        self.skip_layer = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        y = self.conv3(F.relu(self.bn3(y)))
        return y + (x if self.skip_layer is None else self.skip_layer(x))


def _features(channels: int) -> nn.Sequential:
    final = nn.Conv2d(channels, channels, 1)
    return nn.Sequential(Residual(channels, channels), final, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


RENAMED = (
    (r"^pre\.0\.conv\.", "stem.0."),
    (r"^pre\.0\.bn\.", "stem.1."),
    (r"^pre\.1\.", "stem.3."),
    (r"^pre\.3\.", "stem.5."),
    (r"^pre\.4\.", "stem.6."),
    (r"^hgs\.(\d+)\.0\.", r"stacks.\1."),
    (r"^features\.(\d+)\.1\.conv\.", r"features.\1.1."),
    (r"^features\.(\d+)\.1\.bn\.", r"features.\1.2."),
    (r"^merge_features\.(\d+)\.conv\.conv\.", r"merge_features.\1."),
    (r"^merge_preds\.(\d+)\.conv\.conv\.", r"merge_maps.\1."),
    (r"\.(conv[123]|skip_layer)\.conv\.", r".\1."),
)


def hourglass_state(state: Mapping[str, Tensor], trunk: nn.Module) -> dict[str, Tensor]:
    """A reference checkpoint under the keys of a model that holds `trunk` as `backbone` beside its `head`.

    The two output layers of a stack, vectors and closeness, become one. Raises KeyError where one of them is missing.
    """
    ours, known = {}, set(trunk.state_dict())
    last = sum(re.fullmatch(r"outs_2\.\d+\.weight", key) is not None for key in state) - 1
    for key, value in state.items():
        name = renamed(key)
        if key.startswith("outs_1."):
            _, place, leaf = key.split(".")
            name = f"head.{leaf}" if int(place) == last else f"backbone.outputs.{place}.{leaf}"
            ours[name] = torch.cat([value, state[key.replace("outs_1", "outs_2")]])
        elif not key.startswith("outs_2.") and (name in known or ".skip_layer." not in name):
            ours[f"backbone.{name}"] = value
    return ours


def renamed(key: str) -> str:
    """Our key in `Hourglasses` for the reference's."""
    for pattern, replacement in RENAMED:
        key = re.sub(pattern, replacement, key)
    return key
