"""Convolutional backbones: torchvision's ResNets, and a small one for CPUs."""

from __future__ import annotations

import urllib.error
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_weight
from torchvision.models.resnet import BasicBlock

from ...datasets.reading.files import from_home
from ...datasets.reading.weights import fitting, read_content

DILATED = ("small", "resnet50", "resnet101", "resnet152")
"""Those whose last level can be dilated."""
RESNETS = {"resnet18": 512, "resnet34": 512, "resnet50": 2048, "resnet101": 2048, "resnet152": 2048}


class ResNet(nn.Module):
    """torchvision's ResNet up to layer4: (B, 3, H, W) to (B, channels, H/32, W/32), under torchvision's key names."""

    stride = 32

    def __init__(self, name: str, weights: str | None = None) -> None:
        super().__init__()
        self.channels = RESNETS[name]
        network = get_model(name, weights=None)
        if weights is not None:
            network.load_state_dict(read_weights(name, weights), strict=False)  # fc is not used
        for part, module in network.named_children():
            if part not in ("avgpool", "fc"):
                self.add_module(part, module)

    def forward(self, image: Tensor) -> Tensor:
        for module in self.children():
            image = module(image)
        return image


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

    A ResNet's layer4 is dilated instead of strided, its first block not yet (torchvision's
    replace_stride_with_dilation): (B, 3, H, W) to (B, 1024 + 2048, H/16, W/16). `small`: (B, 96 + 96, H/8, W/8).
    """

    def __init__(self, name: str, weights: str | None = None) -> None:
        super().__init__()
        if name == "small":
            small = build_backbone(name, weights)
            assert isinstance(small, SmallResNet)
            self.stride, self.channels = small.stride, (small.channels, small.channels)
            self.early = nn.Sequential(small.stem, *small.levels[:-1])
            self.late: nn.Module = small.levels[-1]
        elif name in DILATED:
            network = get_model(name, weights=None, replace_stride_with_dilation=[False, False, True])
            if weights is not None:
                network.load_state_dict(read_weights(name, weights), strict=False)  # fc is not used
            self.stride, self.channels = 16, (1024, 2048)
            parts = dict(network.named_children())
            names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
            self.early = nn.Sequential(OrderedDict((part, parts[part]) for part in names))
            self.late = parts["layer4"]
        else:
            raise ValueError(f"model.backbone={name!r} cannot be dilated for A2J; choose one of {', '.join(DILATED)}")

    def forward(self, image: Tensor) -> Tensor:
        early = self.early(image)
        return torch.cat([early, self.late(early)], 1)


def build_backbone(name: str, weights: str | None = None) -> ResNet | SmallResNet:
    """A backbone by name: `small` or resnet18, 34, 50, 101, 152.

    `weights` is None (random), a torchvision name such as IMAGENET1K_V1 (downloaded), or the path of a local
    state_dict. Raises ValueError for unknown names, impossible downloads and foreign files.
    """
    if name == "small":
        if weights is not None:
            raise ValueError(f"model.weights={weights!r}: the backbone 'small' has no published weights; use null")
        return SmallResNet()
    if name not in RESNETS:
        raise ValueError(f"model.backbone={name!r} is not known; choose one of small, {', '.join(RESNETS)}")
    return ResNet(name, weights)


def read_weights(name: str, weights: str) -> dict[str, Tensor]:
    path = from_home(weights)
    if path.is_file():
        network = get_model(name, weights=None).state_dict()
        wanted = {key: value for key, value in network.items() if not key.startswith("fc.")}
        try:
            return fitting(read_content(path), wanted, weights, more="fc.")
        except ValueError as error:
            raise ValueError(f"model.weights={weights}: not weights of torchvision's {name}: {error}") from error
    if path.suffix or "/" in weights:
        raise ValueError(f"model.weights={weights}: no such file. Give a state_dict's path, a torchvision name or null")
    family = {"resnet18": "ResNet18", "resnet34": "ResNet34"}.get(name, name.replace("resnet", "ResNet")) + "_Weights"
    try:
        entry = get_weight(f"{family}.{weights}")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"model.weights={weights!r}: torchvision's {name} has no weights of that name") from error
    try:
        return dict(entry.get_state_dict(progress=False, check_hash=True))
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise ValueError(
            f"model.weights={weights}: cannot download {entry.url} ({error}). Download it elsewhere and give its "
            "path as model.weights, or start from random weights with model.weights=null"
        ) from error
