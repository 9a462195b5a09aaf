"""PoseNet: the pose of a person relative to its root, by a softmax over a volume of each joint.

Moon, Chang and Lee, "Camera Distance-aware Top-down Approach for 3D Multi-person Pose Estimation from a Single RGB
Image", ICCV 2019, after Sun et al., "Integral Human Pose Regression", ECCV 2018; mks0601/3DMPPE_POSENET_RELEASE
@ dd025c5, main/model.py. Agrees with it numerically. Keys of its checkpoints: `head.deconv_layers` is `upsampling`,
`head.final_layer` is `head.0`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ...datasets.constants import constants
from ...datasets.options import option
from ...datasets.sample import ROOT_MM, Labeled, Unlabeled
from ...datasets.skeleton import Skeleton
from ..heatmaps import hidden_layers, small, upsampling
from ..output import Grid, Poses, Votes
from ..parts.backbones import resnet_of
from ..people import CELL, PersonModel, need_root, read_reference
from ..pose_model import PoseModel
from ..released import loaded


class PoseNet(PersonModel):
    """Votes of a volume's cells for each joint: (x px, y px, z mm from the root)."""

    @dataclass(frozen=True)
    class Options(PersonModel.Options):
        depth_cells: int = option(64, "cells of the volume along z, which covers the extent", low=2, high=1024)

    reads: ClassVar[tuple[str, ...]] = ("image",)
    space = ROOT_MM
    options: Options

    def __init__(self, keypoints: int, options: Options) -> None:
        super().__init__(keypoints, options)
        self.upsampling = upsampling(self.backbone.channels, self.width, self.doublings)
        self.measure()
        self.head = self.new_head()

    @classmethod
    def learns(cls, skeleton: Skeleton) -> Skeleton:
        """All keypoints. Raises ValueError for a skeleton without a root."""
        need_root(cls.__name__, skeleton)
        return skeleton

    @classmethod
    def vote_cells(cls, options: PoseModel.Options, keypoints: int) -> int:
        assert isinstance(options, PoseNet.Options)
        width, height = options.input_size
        return keypoints * options.depth_cells * (height // CELL) * (width // CELL)

    def know(self, skeleton: Skeleton) -> Self:
        self.root = -1 if skeleton.root is None else skeleton.root
        return super().know(skeleton)

    def measure(self) -> None:
        (rows, columns), (wide, high), (x, y) = self.plane
        cell = self.extent / self.options.depth_cells
        nearest = -self.extent / 2 + (0.0 if self.options.reference else cell / 2)
        shape = (self.options.depth_cells, rows, columns)
        self.grid = Grid(shape, (wide, high, cell), (x, y, nearest))

    def new_head(self, layers: int | None = None) -> nn.Module:
        outputs = self.keypoints * self.options.depth_cells
        return nn.Sequential(*pose_layers(self.width, outputs, layers or self.options.head_layers))

    def features(self, sample: Unlabeled) -> Tensor:
        return self.upsampling(self.pictured(sample))

    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        maps = (self.head if head is None else head)(features)
        return Votes.from_maps(self.grid, maps.unflatten(1, (self.keypoints, self.options.depth_cells)))

    def decode(self, votes: Votes, sample: Unlabeled) -> Poses:
        return Poses.of_crops(votes.mean(), votes.confidence())

    def counted(self, sample: Labeled) -> Tensor:
        return sample.annotated & self.grid.contains(sample.keypoints)

    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        """L1 in cells, the mean over all joints and axes; z where it is known."""
        off = (self.grid.to_cells(votes.mean()[sample.image_index]) - self.grid.to_cells(sample.keypoints)).abs()
        each = off[..., :2].sum(-1) + off[..., 2] * sample.whole
        return {"pose": (each * self.counted(sample)).mean() / 3}


def pose_layers(channels: int, outputs: int, layers: int) -> list[nn.Module]:
    """Hidden 3x3 convolutions, then 1x1 to the volumes' slices."""
    last = nn.Conv2d(channels, outputs, 1)
    small(last)
    return [*hidden_layers(channels, layers - 1), last]


def reference_flip(cells: Tensor, mirrored: Tensor, flip: Sequence[int], width: int = 64) -> Tensor:
    """The reference's flip test, for comparison: the mean of cells (B, K, 3), x first, that a network answers for
    pictures and for their mirror images, keypoints changed in place by `flip`, with x to `width` - x - 1.

    A cell j of the reference's grid stands at pixel 4j + 0.5 and a mirror image has pixel p at 256 - p, so that x goes
    to 63.75 - x: this mean is 3/8 of a cell, 1.5 px, too far left. `flip_test` mirrors pixels (with_mirror in
    adapt/scoring/evaluation.py). 3DMPPE_POSENET_RELEASE @ dd025c5, main/test.py.
    """
    other = mirrored[:, constants(flip, mirrored, torch.int64)]
    return (cells + torch.cat([width - other[..., :1] - 1, other[..., 1:]], -1)) / 2


KEYS = {"head.deconv_layers.": "upsampling.", "head.final_layer.": "head.0."}


def load_reference(
    state: Mapping[str, Tensor], input_size: Sequence[int] = (256, 256), reference: bool = True, **options: Any
) -> PoseNet:
    """A PoseNet from a released checkpoint (`snapshot_24.pth.tar`, or its `network`), in evaluation mode.

    `reference` is the released networks' input of 0 to 255 and their grid; `options` are PoseNet's own, depth_cells
    where they are not 64. Raises ValueError, naming keys, for other checkpoints.
    """
    ours = read_reference(state, PoseNet, ("head.final_layer.weight", "head.deconv_layers.0.weight"), KEYS)
    chosen: dict[str, Any] = {
        "backbone": resnet_of(ours),
        "input_size": list(input_size),
        "channels": ours["head.0.weight"].shape[1],
        "reference": reference,
        "extent": 2000.0,
    }
    made = PoseNet.Options(**(chosen | options))
    return loaded(PoseNet(ours["head.0.weight"].shape[0] // made.depth_cells, made), ours)
