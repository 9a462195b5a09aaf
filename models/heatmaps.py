"""What systems of heatmaps share: one map a keypoint, read by a spatial softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..datasets.constants import constants
from ..datasets.options import option
from ..datasets.sample import Labeled, Unlabeled
from .output import Grid, Poses, Votes, spatial_kl
from .parts.backbones import ABOUT, build_backbone
from .pose_model import PoseModel, normalize

SHARPNESS = 20.0
"""Votes of maps that learned Gaussians of peak 1 are softmax(20 * map): a maximum of 1 is then a sure vote, one of 0.3
among 3,000 cells an unsure one."""

CELL = 4
"""Pixels between the cells of maps that learn by their squared error."""
SCALES = "of the input that are looked at where nothing learns, 1 among them; published: [0.5,1,2]"
LOSS_WEIGHT = (
    "of all its losses: means over cells that are nearly all empty, beside which a strategy's own would be hundreds of "
    "times as large; published: 1"
)
"""The options of these names, of systems that find several people."""


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


class DrawnMaps(HeatmapModel):
    """Maps, one cell every `CELL` pixels, that learn Gaussians of peak 1 by their squared error; votes read them
    SHARPNESS times as high.

    Labels are exact and the error of a map is summed over its cells, so that it weighs against strategies' losses as
    the divergence of other heatmaps does. With `reference` they are as AlphaPose and DCPose have them: the label's
    centre is rounded to a cell, the Gaussian cut at 3 sigma and counted where any of it lies in the map, the error is
    the mean over cells, a peak is moved by a quarter of a cell towards the higher neighbour, cell j stands at pixel
    4j + 0.5, and the peak's height is the confidence.
    """

    @dataclass(frozen=True)
    class Options(HeatmapModel.Options):
        reference: bool = option(False, "labels, loss and decoding as published, for comparison")

    options: Options
    factor: ClassVar[float] = 1.0
    """Of the squared error."""

    def set_grid(self, stride: int) -> None:
        """The grid of this input's size, and where labels are cut. Raises ValueError where the size is no multiple of
        the backbone's stride, or that is too small."""
        width, height = self.input_size
        if stride < CELL or width % stride or height % stride:
            raise ValueError(
                f"model.input_size {width}x{height} must be a multiple of the backbone's stride {stride}, and that at "
                f"least {CELL}"
            )
        origin, self.cut = (0.5, 3 * self.options.sigma) if self.options.reference else (CELL / 2, None)
        self.grid = Grid((height // CELL, width // CELL), (float(CELL), float(CELL)), (origin, origin))

    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        return Votes.from_maps(self.grid, SHARPNESS * (self.head if head is None else head)(features))

    def decode(self, votes: Votes, sample: Unlabeled) -> Poses:
        if not self.options.reference:
            return super().decode(votes, sample)
        return Poses.of_crops(quarter_on(votes), (votes.logits.amax(1).float() / SHARPNESS).clamp(0, 1))

    def labels(self, sample: Labeled) -> tuple[Tensor, Tensor]:
        if self.cut is None:
            return super().labels(sample)
        cells = (self.grid.to_cells(sample.keypoints) + 0.5).trunc()
        last = constants(self.grid.shape[::-1], cells) - 1
        reached = ((cells >= -self.cut) & (cells <= last + self.cut)).all(-1)
        return self.grid.to_points(cells), sample.annotated & reached

    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        return {"heatmap": self.error(votes.maps.float() / SHARPNESS, sample)}

    def error(self, maps: Tensor, sample: Labeled) -> Tensor:
        """The squared error of maps (B, K, H, W), the mean over all keypoints, those that do not count included."""
        points, counted = self.labels(sample)
        target = self.grid.target(points, self.options.sigma, self.cut)
        each = (maps[sample.image_index] - target).square().flatten(2)
        each = each.mean(-1) if self.options.reference else each.sum(-1)
        return self.factor * (each * counted).mean()


def quarter_on(votes: Votes) -> Tensor:
    """The strongest cell of maps and a quarter of a cell from there towards the higher of its neighbours, on each axis,
    (B, K, 2) px; the cell itself where it is one of the map's first two or its last on either axis."""
    maps = votes.maps.flatten(2)
    rows, columns = votes.grid.shape
    best = maps.argmax(-1, keepdim=True)
    x, y = best % columns, best // columns
    inner = (x > 1) & (x < columns - 1) & (y > 1) & (y < rows - 1)
    last = maps.shape[-1] - 1  # neighbours beyond the map are not looked at
    pairs = [((best + step).clamp_max(last), (best - step).clamp_min(0)) for step in (1, columns)]
    slopes = [maps.gather(-1, after) - maps.gather(-1, before) for after, before in pairs]
    cells = torch.cat([x, y], -1) + 0.25 * torch.cat(slopes, -1).sign() * inner
    return votes.grid.to_points(cells.float())


class UpsampledMaps(HeatmapModel):
    """Heatmaps of a backbone, transposed convolutions above it, and a head.

    The input's and the heatmap's sizes are (width, height); their ratio is a power of two, and the input a multiple of
    the backbone's stride. Raises ValueError for sizes that do not divide.
    """

    @dataclass(frozen=True)
    class Options(HeatmapModel.Options):
        backbone: str = option("resnet101", f"the network below the head: {ABOUT}")
        heatmap_size: list[int] = option([64, 64], "width, height", low=1, high=8192, size=2)
        channels: int = option(256, "channels of the layers before the head", low=1)

    options: Options

    def __init__(self, keypoints: int, options: Options) -> None:
        super().__init__(keypoints, options)
        self.backbone = build_backbone(options.backbone, options.weights, self.input_size)
        stride = _stride(options.input_size, options.heatmap_size, self.backbone.stride)
        columns, rows = options.heatmap_size
        self.grid = Grid((int(rows), int(columns)), (stride, stride), (stride / 2, stride / 2))
        doublings = int(math.log2(self.backbone.stride / stride))
        self.upsampling = upsampling(self.backbone.channels, options.channels, doublings)
        self.channels = options.channels if doublings else self.backbone.channels
        self.head = self.new_head()

    def new_head(self, layers: int | None = None) -> nn.Module:
        """A head of `layers` convolutions: hidden 3x3 ones with batch norm, then 1x1 to K maps. Weights std 0.001."""
        final = nn.Conv2d(self.channels, self.keypoints, 1)
        hidden = hidden_layers(self.channels, (layers or self.options.head_layers) - 1)
        small(final)
        return nn.Sequential(*hidden, final) if hidden else final

    def features(self, sample: Unlabeled) -> Tensor:
        image = normalize(sample.image)
        self.check_size(image)
        return self.upsampling(self.backbone(image))


def _stride(input_size: Sequence[int], heatmap_size: Sequence[int], deepest: int) -> int:
    (width, height), (columns, rows) = input_size, heatmap_size
    stride = width // max(columns, 1)
    fits = columns > 0 and rows > 0 and stride * columns == width and stride * rows == height
    if not fits or stride & (stride - 1) or stride > deepest:
        raise ValueError(
            f"model.heatmap_size {columns}x{rows} does not divide model.input_size {width}x{height}: input / heatmap "
            f"must be the same power of two on both axes, at most {deepest} (for example "
            f"{max(width // 4, 1)}x{max(height // 4, 1)})"
        )
    if width % deepest or height % deepest:
        raise ValueError(f"model.input_size {width}x{height} must be a multiple of the backbone's stride {deepest}")
    return stride


def further(scales: Sequence[float]) -> list[float]:
    """The scales but 1. Raises ValueError where 1 is not among them, or one of them twice."""
    if 1 not in scales or len(set(scales)) < len(scales):
        raise ValueError(f"model.scales={scales} must differ, and 1 be among them: others are measured by it")
    return [scale for scale in scales if scale != 1]


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
