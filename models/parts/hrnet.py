"""HRNet: branches of four resolutions side by side, each of which reads all others again and again.

Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition", PAMI 2020; the body of the pose
networks of Sun et al., CVPR 2019, of HigherHRNet (HRNet/HigherHRNet-Human-Pose-Estimation @ aa23881), of DEKR
(HRNet/DEKR @ 7a30313), of DCPose and of PRTR. Agrees with them numerically, and its keys are theirs. Here a
branch is enlarged to the size of the one that reads it, so that inputs of any size pass; of multiples of 32 this is
their fixed factor. Random weights are those of the networks of classification: normal, by the fan out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock, Bottleneck

from ...datasets.reading.weights import fitting, read_content
from .hub import weights_file
from .levels import joined


class Form(NamedTuple):
    """Channels of the finest branch, blocks of each branch of a module (and of layer1), modules of stages 2 to 4; where
    timm publishes what it learned of ImageNet."""

    width: int
    blocks: int
    modules: tuple[int, int, int]
    published: str


HRNETS = {
    "hrnet_w18_small": Form(18, 2, (1, 3, 2), "timm/hrnet_w18_small_v2.ms_in1k"),  # W18-Small-v2
    "hrnet_w32": Form(32, 4, (1, 4, 3), "timm/hrnet_w32.ms_in1k"),
    "hrnet_w48": Form(48, 4, (1, 4, 3), "timm/hrnet_w48.ms_in1k"),
}
BRANCHES = 4
HEADS = (
    *("incre_modules.", "downsamp_modules.", "final_layer", "classifier."),
    *("deconv_layers.", "transition_heatmap.", "head_heatmap."),
    *("transition_offset.", "offset_feature_layers.", "offset_final_layer."),
)
"""What stands beside the body in checkpoints: of classification, PRTR and pose, of HigherHRNet, of DEKR."""


class HRNet(nn.Module):
    """A picture (B, 3, H, W) to its finest branch, (B, `channels`, H/4, W/4).

    With `levels` above 1 the next coarser branches are enlarged and put behind it, and `channels` are those of each.
    `branches` gives them as they are. `weights` is None (random), ms_in1k (ImageNet's, downloaded), or a local file
    that holds the body of this name. Raises ValueError for impossible downloads and foreign files.
    """

    stride = 4

    def __init__(self, name: str, weights: str | None = None, levels: int = 1) -> None:
        super().__init__()
        width, blocks, modules, _ = HRNETS[name]
        widths = [width * 2**branch for branch in range(BRANCHES)]
        self.channels = width if levels == 1 else tuple(widths[:levels])
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64)
        self.conv2, self.bn2 = nn.Conv2d(64, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64)
        first = Bottleneck(64, 64, downsample=_layer(64, 256, 1, relu=False))
        self.layer1 = nn.Sequential(first, *(Bottleneck(256, 64) for _ in range(blocks - 1)))
        self.transition1 = nn.ModuleList([_layer(256, width), _halved(256, widths[1])])
        self.stage2 = _stage(widths[:2], blocks, modules[0])
        self.transition2 = nn.ModuleList([nn.Identity(), nn.Identity(), _halved(*widths[1:3])])
        self.stage3 = _stage(widths[:3], blocks, modules[1])
        self.transition3 = nn.ModuleList([nn.Identity(), nn.Identity(), nn.Identity(), _halved(*widths[2:])])
        self.stage4 = _stage(widths, blocks, modules[2], levels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if weights is not None:
            self.load(name, weights, levels)

    def load(self, name: str, weights: str, levels: int) -> None:
        """Take the weights that are named; what stands beside the body stays as it is where they have none of it."""
        state = _fitting(name, weights, self.state_dict(), levels)
        self.load_state_dict(state, strict=False)  # files without counts of batches are taken

    def branches(self, image: Tensor) -> list[Tensor]:
        """The branches that the last stage ends in, finest first: (B, C, H/4, W/4), (B, 2C, H/8, W/8), ..."""
        image = functional.relu(self.bn1(self.conv1(image)))
        maps = [self.layer1(functional.relu(self.bn2(self.conv2(image))))]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            maps = stage([step(maps[min(branch, len(maps) - 1)]) for branch, step in enumerate(transition)])
        return maps

    def forward(self, image: Tensor) -> Tensor:
        return joined(self.branches(image))


def _fitting(name: str, weights: str, wanted: Mapping[str, Tensor], levels: int) -> dict[str, Tensor]:
    """Of the weights that are named what a network has that ends in `levels` branches."""
    _, _, modules, published = HRNETS[name]
    coarser = tuple(f"stage4.{modules[2] - 1}.fuse_layers.{branch}." for branch in range(levels, BRANCHES))
    path = weights_file(weights, {published.partition(".")[2]: published})
    try:
        return fitting(read_content(path), wanted, weights, more=(*HEADS, *coarser), absent=HEADS)
    except ValueError as error:
        raise ValueError(f"model.weights={weights}: not weights of {name}: {error}") from error


class Exchange(nn.Module):
    """Basic blocks on each branch; then each of the first `outputs` branches adds all others to itself, brought to its
    resolution and channels."""

    def __init__(self, widths: Sequence[int], blocks: int, outputs: int) -> None:
        super().__init__()
        rows = [nn.Sequential(*(BasicBlock(width, width) for _ in range(blocks))) for width in widths]
        self.branches = nn.ModuleList(rows)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_fusing(widths, giver, reader) for giver in range(len(widths))) for reader in range(outputs)
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(one) for branch, one in zip(self.branches, maps, strict=True)]
        return [_summed(layers, maps, maps[reader].shape[-2:]) for reader, layers in enumerate(self.fuse_layers)]


def _summed(layers: Any, maps: list[Tensor], size: Sequence[int]) -> Tensor:
    """The sum of all branches after the layers of one reader, whose maps have `size`."""
    total = layers[0](maps[0])
    for layer, one in zip(layers[1:], maps[1:], strict=True):
        part = layer(one)
        total = total + (part if part.shape[-2:] == size else functional.interpolate(part, size))
    return functional.relu(total)


def _stage(widths: Sequence[int], blocks: int, modules: int, outputs: int | None = None) -> nn.Sequential:
    """Modules that give all branches, the last one `outputs`, or all."""
    count = len(widths)
    each = [count] * (modules - 1) + [outputs or count]
    return nn.Sequential(*(Exchange(widths, blocks, given) for given in each))


def _fusing(widths: Sequence[int], giver: int, reader: int) -> nn.Module:
    """What brings one branch to the channels of another, and where that is coarser to its resolution."""
    if giver == reader:
        return nn.Identity()
    if giver > reader:
        return _layer(widths[giver], widths[reader], 1, relu=False)
    width, steps = widths[giver], reader - giver
    halved = [_layer(width, width, stride=2) for _ in range(steps - 1)]
    return nn.Sequential(*halved, _layer(width, widths[reader], stride=2, relu=False))


def _halved(inputs: int, outputs: int) -> nn.Sequential:
    """A new branch, under the published key."""
    return nn.Sequential(_layer(inputs, outputs, stride=2))


def _layer(inputs: int, outputs: int, side: int = 3, stride: int = 1, relu: bool = True) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), *[nn.ReLU(inplace=True)] * relu)
