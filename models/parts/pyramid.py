"""The levels of a backbone, each at its own resolution."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from .backbones import TIMM, build_backbone
from .hrnet import BRANCHES, HRNETS, HRNet
from .timm_backbone import TimmBackbone
from .torchvision_backbone import layers_of, measured


class Pyramid(nn.Module):
    """A picture (B, 3, H, W) to the last `count` levels of the backbone `name`, finest first: (B, C, H/s, W/s) each.

    A level is what the network has before it halves the resolution again, and at its end; of an HRNet its coarsest
    branches. `channels` and `strides` are those of each. Names, weights and errors are build_backbone's; raises
    ValueError for a network with fewer levels.
    """

    def __init__(self, name: str, weights: str | None, size: tuple[int, int], count: int) -> None:
        super().__init__()
        self.count = count
        if name.startswith(TIMM):
            self.network: Any = TimmBackbone(name.removeprefix(TIMM), weights, size, levels=count)
            info: Any = self.network.network.feature_info
            self.channels, self.strides = info.channels(), self.network.strides
        elif name in HRNETS:
            self.network = HRNet(name, weights, levels=BRANCHES)
            self.channels, self.strides = self.network.channels[-count:], (4, 8, 16, 32)[-count:]
        else:
            self.network, rows = _stages(name, build_backbone(name, weights, size), count)
            self.channels, self.strides = zip(*rows, strict=True)

    def forward(self, image: Tensor) -> list[Tensor]:
        if isinstance(self.network, HRNet):
            return self.network.branches(image)[-self.count :]
        if isinstance(self.network, TimmBackbone):
            return self.network.maps(image)
        levels = []
        for stage in self.network:
            image = stage(image)
            levels.append(image)
        return levels


def _stages(name: str, backbone: nn.Module, count: int) -> tuple[nn.ModuleList, list[tuple[int, int]]]:
    """A network of layers one behind the other, cut behind the last `count` levels; channels and stride of each."""
    parts = layers_of(backbone)
    rows = measured(parts)
    strides = [stride for _, stride in rows]
    last = [i for i, (now, then) in enumerate(pairwise([*strides, 0])) if now and now != then]
    if len(last) < count:
        raise ValueError(
            f"model.levels={count}: the backbone {name!r} has levels of strides {[strides[i] for i in last]}; choose "
            "fewer, or another backbone"
        )
    cuts = [0, *(end + 1 for end in last[-count:])]
    stages = nn.ModuleList(nn.Sequential(*parts[first:stop]) for first, stop in pairwise(cuts))
    return stages, [rows[end] for end in last[-count:]]
