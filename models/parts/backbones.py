"""Backbones by name: torchvision's, timm's, HRNet, and a small one for CPUs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from .hrnet import HRNETS, HRNet
from .levels import joined
from .timm_backbone import TimmBackbone
from .torchvision_backbone import TorchvisionBackbone, halves, measured

ABOUT = (
    f"small, {', '.join(HRNETS)}, a network of torchvision's (resnet101, convnext_tiny), timm:NAME, or timm:NAME@STRIDE"
)
TIMM = "timm:"
DILATED = ("small", "resnet50", "resnet101", "resnet152")
"""Those whose last level is dilated where two are looked at."""


class SmallResNet(nn.Module):
    """Two basic blocks that halve and two that do not, 24 to 96 channels, stride 8: for CPUs and small images."""

    stride = 8

    def __init__(self) -> None:
        super().__init__()
        self.channels = 96
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU(inplace=True))
        self.levels = nn.Sequential(_block(24, 48, 2), _block(48, 96, 2), _block(96, 96, 1), _block(96, 96, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self.levels(self.stem(image))


def _block(inner: int, outer: int, stride: int) -> BasicBlock:
    if inner == outer and stride == 1:
        return BasicBlock(inner, outer)
    shortcut = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))
    return BasicBlock(inner, outer, stride, shortcut)


class TwoLevels(nn.Module):
    """A backbone's last two levels at one resolution, channels of the earlier first: what A2J's heads look at.

    A ResNet's layer4 is dilated instead of strided: (B, 3, H, W) to (B, 1024 + 2048, H/16, W/16). `small`: (B, 96 + 96,
    H/8, W/8). Of another the last level is enlarged to the one before it.
    """

    def __init__(self, name: str, weights: str | None = None) -> None:
        super().__init__()
        if name == "small":
            small = build_backbone(name, weights)
            self.stride, self.channels = small.stride, (small.channels, small.channels)
            self.early = nn.Sequential(small.stem, *small.levels[:-1])
            self.late: nn.Module = small.levels[-1]
            return
        network = TorchvisionBackbone(name, weights, dilated=name in DILATED)
        if name in DILATED:
            parts = OrderedDict(network.named_children())
            self.stride, self.late = 16, parts.pop("layer4")
            self.early = nn.Sequential(parts)
        else:
            self.stride = network.stride // 2
            self.early, self.late = halves(network, name)
        self.channels = (measured([self.early])[0][0], network.channels)

    def forward(self, image: Tensor) -> Tensor:
        early = self.early(image)
        return joined([early, self.late(early)])


def build_backbone(name: str, weights: str | None = None, size: tuple[int, int] = (256, 256)) -> Any:
    """A backbone by name: `small`, an HRNet, a network of torchvision's, or timm:NAME, timm:NAME@STRIDE for an earlier
    level.

    It maps (B, 3, H, W) to (B, `channels`, H/`stride`, W/`stride`); `size` is the input's width and height. `weights`
    is None (random), a published name (downloaded), or the path of a local state_dict. Raises ValueError for unknown
    names, impossible downloads and foreign files.
    """
    if name.startswith(TIMM):
        return TimmBackbone(name.removeprefix(TIMM), weights, size)
    if name in HRNETS:
        return HRNet(name, weights)
    if name != "small":
        return TorchvisionBackbone(name, weights)
    if weights is not None:
        raise ValueError(f"model.weights={weights!r}: the backbone 'small' has no published weights; use null")
    return SmallResNet()


def build_levels(name: str, weights: str | None = None, size: tuple[int, int] = (256, 256)) -> Any:
    """The same of the last two levels together, of an HRNet the two finest; `channels` are those of each."""
    if name.startswith(TIMM):
        return TimmBackbone(name.removeprefix(TIMM), weights, size, levels=2)
    if name in HRNETS:
        return HRNet(name, weights, levels=2)
    return TwoLevels(name, weights)


def resnet_of(state: Mapping[str, Tensor]) -> str | None:
    """The name of the ResNet whose tensors stand under `backbone.`; None of another network."""
    blocks: tuple[int, ...] = tuple(
        len({key.split(".")[2] for key in state if key.startswith(f"backbone.layer{level}.")}) for level in range(1, 5)
    )
    depths: dict[tuple[int, ...], int] = {(2, 2, 2, 2): 18, (3, 4, 6, 3): 34, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}
    depth = depths.get(blocks)
    if depth == 34 and "backbone.layer1.0.conv3.weight" in state:
        depth = 50
    return None if depth is None else f"resnet{depth}"
