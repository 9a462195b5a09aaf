"""FastPose: a ResNet with squeeze and excitation, pixel shuffles, and a head of heatmaps.

Fang et al., "AlphaPose: Whole-Body Regional Multi-Person Pose Estimation and Tracking in Real-Time", TPAMI 2022; DUC is
of Wang et al., WACV 2018, squeeze and excitation of Hu et al., CVPR 2018, the deformable variant of Zhu et al., CVPR
2019. The published code (MVIG-SJTU/AlphaPose @ c60106d) is for non-commercial use alone: no part of it is here, and its
checkpoints are not read. This network has as many weights as it, in as many tensors.

Maps learn Gaussians of peak 1 by their squared error, which votes read as 20 times the map. Against the published one,
unless `reference` says so: pictures are normalised as ImageNet's weights ask for, where it takes means in the order of
BGR from RGB and divides by no deviation; labels are exact; the squared error of a map is summed over its cells, not
averaged, so that it weighs against strategies' losses as the divergence of other heatmaps does. The symmetric integral,
of whole bodies with faces and hands, is not here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from ...datasets.constants import constants
from ...datasets.options import choose, option
from ...datasets.sample import Unlabeled
from ..heatmaps import CELL, DrawnMaps, hidden_layers, small
from ..parts.backbones import ABOUT, build_backbone
from ..parts.deformable import DeformConv
from ..pose_model import intensities, normalize

SQUEEZED = tuple(f"se_resnet{depth}" for depth in (18, 34, 50, 101, 152))
REFERENCE_MEAN = 0.406, 0.457, 0.480
"""What AlphaPose takes from red, green and blue of 0 to 1."""


class FastPose(DrawnMaps):
    """Maps of K keypoints, one cell every 4 pixels.

    Input sizes are multiples of the backbone's stride; raises ValueError for others, and for unknown backbones.
    """

    @dataclass(frozen=True)
    class Options(DrawnMaps.Options):
        backbone: str = option(
            "se_resnet50", f"the network below the head: {', '.join(SQUEEZED)} (50 to 152 are published), {ABOUT}"
        )
        input_size: list[int] = option([192, 256], "width, height", low=1, high=8192, size=2)
        deformable: bool = option(
            False,
            "of a ResNet, the published DCN variant: the 3x3 convolutions of its last three levels are deformable",
        )
        reference: bool = option(
            False,
            "AlphaPose's input, labels, loss and decoding, for comparison: means of BGR for RGB; the label's centre "
            "rounded to a cell, the Gaussian cut to 13 x 13 at sigma 2, and counted where any of it lies in the map; "
            "the mean over cells; a quarter of a cell towards the higher neighbour; cell j at pixel 4j + 0.5; the peak "
            "of the map for confidence",
        )

    options: Options
    factor = 0.5

    def __init__(self, keypoints: int, options: Options) -> None:
        super().__init__(keypoints, options)
        name = options.backbone
        if name.startswith("se_"):
            choose("model.backbone", name, SQUEEZED)
        self.backbone = build_backbone(name.removeprefix("se_"), options.weights, self.input_size)
        if name in SQUEEZED:
            squeeze(self.backbone)
        if options.deformable:
            deform(self.backbone, name)
        self.set_grid(self.backbone.stride)
        self.upsampling, self.channels = shuffles(self.backbone.channels, int(math.log2(self.backbone.stride // CELL)))
        self.head = self.new_head()

    def new_head(self, layers: int | None = None) -> nn.Module:
        """A head of `layers` 3x3 convolutions, with batch norm between them. Weights std 0.001."""
        final = nn.Conv2d(self.channels, self.keypoints, 3, 1, 1)
        small(final)
        hidden = hidden_layers(self.channels, (layers or self.options.head_layers) - 1)
        return nn.Sequential(*hidden, final) if hidden else final

    def features(self, sample: Unlabeled) -> Tensor:
        self.check_size(sample.image)
        image = less_mean(sample.image) if self.options.reference else normalize(sample.image)
        return self.upsampling(self.backbone(image))


def squeeze(backbone: nn.Module) -> None:
    """Put squeeze and excitation, without a narrower layer in between, into the first block of a ResNet's four levels:
    behind its last batch norm, before the sum."""
    for level in range(1, 5):
        block = backbone.get_submodule(f"layer{level}.0")
        last = max(name for name, _ in block.named_children() if name.startswith("bn"))
        norm = block.get_submodule(last)
        assert isinstance(norm, nn.BatchNorm2d)
        channels = norm.num_features
        block.set_submodule(last, nn.Sequential(norm, SqueezeExcitation(channels, channels)))


class Deformed(DeformConv):
    """A convolution whose taps move and are weighed as another says, of zeros at first, that sees the same: (dy, dx) of
    each tap, then a number for each whose sigmoid it is weighed by."""

    def __init__(self, plain: nn.Conv2d) -> None:
        form: dict[str, Any] = {name: getattr(plain, name) for name in ("stride", "padding", "dilation")}
        sides: Any = plain.kernel_size
        super().__init__(plain.in_channels, plain.out_channels, sides, groups=plain.groups, bias=False, **form)
        self.weight = plain.weight
        self.taps = math.prod(sides)
        self.offset = nn.Conv2d(plain.in_channels, 3 * self.taps, sides, **form)
        nn.init.zeros_(self.offset.weight)
        assert self.offset.bias is not None
        nn.init.zeros_(self.offset.bias)

    def forward(self, image: Tensor) -> Tensor:  # type: ignore[override]
        offset, weights = self.offset(image).split([2 * self.taps, self.taps], 1)
        return super().forward(image, offset, weights.sigmoid())


def deform(backbone: nn.Module, name: str) -> None:
    """Make the second convolution of each block in a ResNet's last three levels deformable, as Zhu et al. do. Raises
    ValueError for another network."""
    levels = [getattr(backbone, f"layer{level}", None) for level in (2, 3, 4)]
    blocks: list[Any] = [block for level in levels if isinstance(level, nn.Sequential) for block in level]
    if not all(levels) or not all(isinstance(getattr(block, "conv2", None), nn.Conv2d) for block in blocks):
        raise ValueError(f"model.deformable=true is of ResNets; model.backbone={name!r} is none")
    for block in blocks:
        block.conv2 = Deformed(block.conv2)


def shuffles(inputs: int, doublings: int) -> tuple[nn.Sequential, int]:
    """Layers that double height and width each, and their channels: the last two by dense upsampling convolutions, 3x3
    with batch norm to twice as many channels and a pixel shuffle; those before by the shuffle alone."""
    plain, channels = max(doublings - 2, 0), inputs // 4 ** max(doublings - 2, 0)
    if inputs % 4**plain or channels % 2:
        raise ValueError(f"FastPose cannot shuffle the {inputs} channels of this model.backbone; choose another")
    layers: list[nn.Module] = [nn.PixelShuffle(2) for _ in range(plain)]
    for _ in range(doublings - plain):
        wider = nn.Conv2d(channels, 2 * channels, 3, 1, 1, bias=False)
        layers += [wider, nn.BatchNorm2d(2 * channels), nn.ReLU(inplace=True), nn.PixelShuffle(2)]
        channels //= 2
    return nn.Sequential(*layers), channels


def less_mean(image: Tensor) -> Tensor:
    """Images (B, 3, H, W), uint8 or floats as ImageNet normalises them, as AlphaPose's network sees them."""
    shares = intensities(image) / 255
    return shares - constants(REFERENCE_MEAN, shares).view(3, 1, 1)
