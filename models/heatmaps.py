"""What systems of heatmaps share: one map a keypoint, read by a spatial softmax."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ..datasets.options import option
from ..datasets.sample import Labeled, Unlabeled
from .output import Grid, Poses, Votes, spatial_kl
from .pose_model import PoseModel


class HeatmapModel(PoseModel):
    """Logits on `grid` for K keypoints of one person; the labels are Gaussians, beyond `cut` cells 0."""

    @dataclass(frozen=True)
    class Options(PoseModel.Options):
        sigma: float = option(2.0, "of the Gaussians that heatmaps learn, cells", low=0.1, high=100)

    options: Options
    grid: Grid
    cut: float | None = None

    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        return Votes.from_maps(self.grid, (self.head if head is None else head)(features))

    def decode(self, votes: Votes, sample: Unlabeled) -> Poses:
        return Poses.of_crops(votes.peak(), votes.confidence())

    def labels(self, sample: Labeled) -> tuple[Tensor, Tensor]:
        """Where the labels are drawn (P, K, 2) px, and which of them count (P, K) bool: known and on the grid."""
        return sample.keypoints, sample.annotated & self.grid.contains(sample.keypoints)

    def counted(self, sample: Labeled) -> Tensor:
        return self.labels(sample)[1]

    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        points, counted = self.labels(sample)
        target = self.grid.target(points, self.options.sigma, self.cut)
        return {"heatmap": spatial_kl(votes.log_density()[sample.image_index], target, counted)}


def hidden_layers(channels: int, count: int) -> list[nn.Module]:
    """`count` 3x3 convolutions with batch norm, weights of std 0.001: what a deeper head has before its last layer."""
    layers: list[nn.Module] = []
    for _ in range(count):
        layers += [nn.Conv2d(channels, channels, 3, 1, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            small(layer)
    return layers


def upsampling(inputs: int, channels: int, doublings: int) -> nn.Sequential:
    """Transposed convolutions with batch norm that double height and width each, weights of std 0.001."""
    layers: list[nn.Module] = []
    for i in range(doublings):
        wider = nn.ConvTranspose2d(channels if i else inputs, channels, 4, 2, 1, bias=False)
        nn.init.normal_(wider.weight, std=0.001)
        layers += [wider, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def small(layer: nn.Conv2d) -> None:
    """Weights of standard deviation 0.001, no bias."""
    nn.init.normal_(layer.weight, std=0.001)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
