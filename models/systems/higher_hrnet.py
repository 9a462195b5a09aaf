"""HigherHRNet: everybody in a picture from the bottom up, heatmaps at a quarter and at half of the input's resolution,
and at a quarter a tag for each keypoint, by which keypoints are put together to people.

Cheng et al., "HigherHRNet: Scale-Aware Representation Learning for Bottom-Up Human Pose Estimation", CVPR 2020;
HRNet/HigherHRNet-Human-Pose-Estimation @ aa23881. Agrees with it numerically: the network, targets, losses, how maps of
both resolutions, of mirror images and of several scales become one, and grouping. Keys of its checkpoints are ours
behind `backbone.` and, of `final_layers` and `deconv_layers`, `head.`.

The grid: a label's cell is int(x / stride), so that cell j is drawn for labels from j to j + 1 strides, and what is
read from it is (j + 0.5) strides: there cell j stands, with coordinates as here, 0 at the picture's corner.

Against the reference:
- the input is one of the letterboxed sizes of `input_size` (there its shorter side is 512, `multi_scale_size`), and
  further scales are made of it (there of the file's picture);
- losses are `loss_weight` times as large;
- convolutions of the head's blocks begin as torch's do, not with a standard deviation of 0.001;
- all people of a picture take part in the tags' loss; the reference keeps room for 30 and fails on the 31st;
- without `project` further scales are brought to the half resolution of the input (there: of the largest scale).

On another backbone, `small` on CPUs, transposed convolutions bring its features to a quarter of the input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock

from ...datasets.options import option
from ...datasets.sample import MASK, Labeled, Unlabeled
from .. import grouping
from ..grouping import Rules, people_in
from ..heatmaps import LOSS_WEIGHT, SCALES, SHARPNESS, further, hidden_layers, small, upsampling
from ..output import Grid, Poses, Votes
from ..parts.backbones import ABOUT, build_backbone
from ..parts.maxima import local_maxima
from ..parts.tag_losses import PUSHES, cells_of, drawn_maps, mask_of, masked_error, tag_losses
from ..pose_model import Outside, PoseModel, mirrored, normalize
from ..released import loaded, read_released

COARSE, FINE = 4, 2
"""Pixels between the cells of the maps of the first and of the second stage."""


class HigherHRNet(PoseModel):
    """Votes are 20 times the mean of both stages' heatmaps, on the finer grid."""

    @dataclass(frozen=True)
    class Options(PoseModel.Options):
        input_size: list[int] = option([512, 512], "width, height", low=1, high=8192, size=2)
        backbone: str = option("hrnet_w32", f"the network below the head: {ABOUT}")
        channels: int = option(
            32, "of the transposed convolutions above a backbone whose stride is more than 4, and of the head", low=1
        )
        blocks: int = option(4, "residual blocks of the head at half the input's resolution", low=0)
        sigma: float = option(
            2.0, "of the Gaussians that heatmaps learn, cells of either resolution", low=0.1, high=100
        )
        loss_weight: float = option(1000.0, LOSS_WEIGHT, low=0)
        push: float = option(0.001, "weight of the loss that drives the tags of two people apart", low=0)
        pull: float = option(0.001, "weight of the loss that draws the tags of one person together", low=0)
        push_kind: str = option("exp", "how it falls with the distance of two people's tags", choices=PUSHES)
        project: bool = option(
            True, "people are read from maps enlarged to the input's size, as published; false: from those of the half"
        )
        pool: int = option(5, "cells of the square in which a candidate is the highest; odd", low=1, high=99)
        most: int = option(30, "candidates of a keypoint, and people that further ones are compared with", low=1)
        threshold: float = option(0.1, "height of a candidate that takes part", low=0)
        tag_distance: float = option(1.0, "of a candidate's tag from a person's, from which on they are two", low=0)
        adjust: bool = option(True, "points move a quarter of a cell to the higher neighbour")
        refine: bool = option(True, "keypoints that a person lacks are searched for by the person's tag")
        scales: list[float] = option([1.0], SCALES, low=0.05)

    single = False
    outside = Outside(grouping.people_of, (grouping,), ("heat", "tags"))
    options: Options

    def __init__(self, keypoints: int, options: Options) -> None:
        super().__init__(keypoints, options)
        self.backbone = build_backbone(options.backbone, options.weights, self.input_size)
        check_sizes(options, self.backbone.stride)
        doublings = int(math.log2(self.backbone.stride / COARSE))
        self.upsampling = upsampling(self.backbone.channels, options.channels, doublings)
        self.channels = options.channels if doublings else self.backbone.channels
        self.grid = self.grid_of(FINE)
        self.head = self.new_head()

    def grid_of(self, stride: int) -> Grid:
        width, height = self.input_size
        return Grid((height // stride, width // stride), (float(stride),) * 2, (stride / 2,) * 2)

    def new_head(self, layers: int | None = None) -> nn.Module:
        return TwoStages(self.channels, self.keypoints, layers or self.options.head_layers, self.options.blocks)

    def features(self, sample: Unlabeled) -> Tensor:
        """(B, C, H/4, W/4)."""
        image = normalize(sample.image)
        self.check_size(image)
        return self.pictured(image)

    def pictured(self, image: Tensor) -> Tensor:
        return self.upsampling(self.backbone(image))

    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        """`extra` holds both stages' heatmaps `coarse` (B, K, H/4, W/4) and `fine` (B, K, H/2, W/2), and what people
        are read from: `heat`, for each scale the mean of both at its finer resolution, and `tags` (B, K, T, H/4, W/4),
        T being 1, and 2 with a mirror image's."""
        both, fine = (answer.float() for answer in (self.head if head is None else head)(features))
        coarse, tags = both.tensor_split([self.keypoints], 1)
        heat = (resized(coarse, fine.shape[-2:]) + fine) / 2
        extra = {"coarse": coarse, "fine": fine, "heat": (heat,), "tags": tags.unsqueeze(2)}
        return Votes.from_maps(self.grid, SHARPNESS * heat, **extra)

    def forward(self, sample: Unlabeled) -> Votes:
        votes = super().forward(sample)
        if self.training:
            return votes
        scaled = (self.scaled(sample, scale) for scale in further(self.options.scales))
        more = [self.votes(self.pictured(image), sample).extra["heat"] for image in scaled]
        return replace(votes, extra={**votes.extra, "heat": sum(more, votes.extra["heat"])})

    def scaled(self, sample: Unlabeled, scale: float) -> Tensor:
        """The pictures, normalised, at another scale."""
        width, height = self.input_size
        return resized(normalize(sample.image), (round(height * scale), round(width * scale)))

    def with_mirrored(self, votes: Votes, sample: Unlabeled, flip: Sequence[int]) -> Votes:
        there, order = self(mirrored(sample)), list(flip)
        pairs = zip(votes.extra["heat"], there.extra["heat"], strict=True)
        heat = tuple((one + other.flip(-1)[:, order]) / 2 for one, other in pairs)
        tags = torch.cat([votes.extra["tags"], there.extra["tags"].flip(-1)[:, order]], 2)
        merged = Votes.from_maps(votes.grid, SHARPNESS * heat[0])
        return replace(merged, extra={**votes.extra, "heat": heat, "tags": tags})

    @torch.no_grad()
    def peaks(self, votes: Votes) -> Peaks:
        """The maps that people are read from and the candidates in them: all that grouping needs. Traceable."""
        width, height = self.input_size
        size = (height, width) if self.options.project else self.grid.shape
        each = [resized(maps, size) for maps in votes.extra["heat"]]
        heat, tags = reduce(torch.add, each) / len(each), votes.extra["tags"]
        tags = resized(resized(tags.flatten(1, 2), self.grid.shape), size).unflatten(1, tags.shape[1:3])
        return candidates(heat, tags, self.options.pool, self.options.most)

    def outputs(self, votes: Votes, sample: Unlabeled) -> dict[str, Tensor]:
        return self.peaks(votes)._asdict()

    def notes(self) -> dict[str, Any]:
        width, _ = self.input_size
        columns = width if self.options.project else self.grid.shape[1]
        return {"people": {"rules": asdict(self.rules), "stride": width / columns}}

    @property
    def rules(self) -> Rules:
        options = self.options
        return Rules(options.threshold, options.tag_distance, options.most, options.adjust, options.refine)

    def decode(self, votes: Votes, sample: Unlabeled) -> Poses:
        """Points of keypoints that were not found stand in the middle of the person's others, with confidence 0."""
        peaks = self.peaks(votes)
        pictures = zip(*(part.cpu().numpy() for part in peaks), strict=True)
        groups = [people_in(heat, tags, scores, cells, at, self.rules) for heat, tags, scores, cells, at in pictures]
        people, score = (np.concatenate(part) for part in zip(*groups, strict=True))
        index = np.repeat(np.arange(len(groups)), [len(each) for each, _ in groups])
        stride = self.input_size[0] / peaks.heat.shape[-1]
        poses = Poses(*map(torch.from_numpy, (people[..., :2] * np.float32(stride), people[..., 2], index, score)))
        return replace(poses, confidence=poses.confidence.clamp(0, 1)).each(lambda part: part.to(votes.logits.device))

    def counted(self, sample: Labeled) -> Tensor:
        return self.cells(sample, COARSE)[1]

    def cells(self, sample: Labeled, stride: int) -> tuple[Tensor, Tensor]:
        """The cells (P, K, 2) of people's keypoints on maps of a stride, and which of them count (P, K)."""
        cells, inside = cells_of(sample.keypoints, self.grid_of(stride).shape, stride)
        return cells, sample.annotated & inside

    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        options, people, losses = self.options, sample.image_index, {}
        coarse, fine = (self.cells(sample, stride) for stride in (COARSE, FINE))
        for name, stride, cells in (("coarse", COARSE, coarse), ("fine", FINE, fine)):
            size = self.grid_of(stride).shape
            target = drawn_maps(*cells, people, len(sample), size, options.sigma)
            losses[name] = masked_error(votes.extra[name], target, mask_of(sample.inputs.get(MASK), size)).mean()
        push, pull = tag_losses(votes.extra["tags"][:, :, 0], *coarse, people, options.push_kind)
        losses |= {"push": options.push * push.mean(), "pull": options.pull * pull.mean()}
        return {name: options.loss_weight * loss for name, loss in losses.items()}


class TwoStages(nn.Module):
    """The head: features (B, C, h, w) to heatmaps and tags (B, 2 K, h, w), and of both to finer heatmaps (B, K, 2 h,
    2 w). Of several `layers` the first ones are 3x3 convolutions."""

    def __init__(self, channels: int, keypoints: int, layers: int, blocks: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(*hidden_layers(channels, layers - 1))
        self.final_layers = nn.ModuleList(nn.Conv2d(channels, count * keypoints, 1) for count in (2, 1))
        for layer in self.final_layers:
            small(layer)  # type: ignore[arg-type]
        wider = upsampling(channels + 2 * keypoints, channels, 1)
        each = (nn.Sequential(BasicBlock(channels, channels)) for _ in range(blocks))
        self.deconv_layers = nn.ModuleList([nn.Sequential(wider, *each)])

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        features = self.hidden(features)
        coarse = self.final_layers[0](features)
        return coarse, self.final_layers[1](self.deconv_layers[0](torch.cat([features, coarse], 1)))


class Peaks(NamedTuple):
    """What people are read from."""

    heat: Tensor
    """(B, K, H, W)"""
    tags: Tensor
    """(B, K, T, H, W)"""
    scores: Tensor
    """(B, K, M) of the candidates, falling."""
    cells: Tensor
    """(B, K, M, 2) int64, x first."""
    at: Tensor
    """(B, K, M, T) their tags."""


def candidates(heat: Tensor, tags: Tensor, pool: int, most: int) -> Peaks:
    """The `most` highest cells of each map that no cell in a square of `pool` cells exceeds; 0 stands for others."""
    width = heat.shape[-1]
    scores, place = local_maxima(heat, pool).flatten(2).topk(min(most, heat.shape[-2] * width))
    at = tags.flatten(3).gather(3, place.unsqueeze(2).expand(-1, -1, tags.shape[2], -1)).mT
    return Peaks(heat, tags, scores, torch.stack([place % width, place // width], -1), at)


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (B, C, H, W) of another `size` (rows, columns), bilinear."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return functional.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)


def check_sizes(options: HigherHRNet.Options, stride: int) -> None:
    """Raises ValueError for an input, or another scale of it, that is no multiple of the backbone's stride, and for
    what else does not go together."""
    if options.pool % 2 == 0:
        raise ValueError(f"model.pool={options.pool} must be odd: a candidate stands in its middle")
    for scale in (1, *further(options.scales)):
        width, height = (side * scale for side in options.input_size)
        if stride < COARSE or width % stride or height % stride:
            raise ValueError(
                f"model.input_size {width:g}x{height:g} at scale {scale:g} must be a multiple of the backbone's stride "
                f"{stride}, and that at least {COARSE}"
            )


def multi_scale_size(
    width: int, height: int, side: int = 512, scale: float = 1.0, least: float = 1.0
) -> tuple[int, int]:
    """The width and height of the published input for a picture: its shorter side is `side` times `scale`, the longer
    one a multiple of 64 at the `least` of the scales. lib/utils/transforms.py, get_multi_scale_size."""
    shorter, longer = sorted((width, height))
    first = int((least * side + 63) // 64 * 64)
    short = int(first * scale / least)
    long = int(int((first / shorter * longer + 63) // 64 * 64) * scale / least)
    return (short, long) if width < height else (long, short)


def load_reference(state: Mapping[str, Tensor], input_size: Sequence[int] = (512, 512)) -> HigherHRNet:
    """A HigherHRNet from a released checkpoint of W32 or W48, for COCO or CrowdPose, in evaluation mode. Raises
    ValueError where it is none."""
    wanted = ("conv1.weight", "final_layers.0.weight", "final_layers.1.weight", "deconv_layers.0.0.0.weight")
    ours = {"final_layers.": "head.final_layers.", "deconv_layers.": "head.deconv_layers.", "": "backbone."}
    renamed = read_released(state, HigherHRNet, wanted, ours)
    keypoints, width = renamed["head.final_layers.1.weight"].shape[:2]
    options = HigherHRNet.Options(backbone=f"hrnet_w{width}", input_size=list(input_size))
    return loaded(HigherHRNet(keypoints, options), renamed)
