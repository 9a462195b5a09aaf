"""RootNet and PoseNet in one network: both branches on one backbone, trained together.

What Moon, Chang and Lee (ICCV 2019, the table of joint and disjoint training) compare the separate networks with: "the
RootNet and PoseNet share the backbone". No code of it is published; the branches and the losses here are those of
root_net.py and pose_net.py, the losses added up. Separate training is better in the paper, and the default here. What
`decode` answers, and an exported file, is relative to the root, as PoseNet's; the root's distance is in the votes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...datasets.sample import Labeled, Unlabeled
from ..heatmaps import upsampling
from ..output import Grid, Votes
from ..people import depth_axis, has_camera, need_camera
from .pose_net import PoseNet, pose_layers
from .root_net import RootHead, example_k, root_loss


class RootPoseNet(PoseNet):
    """PoseNet's votes, with RootNet's for the root's place and distance as `extra["root"]`."""

    reads = ("image", "k")

    def __init__(self, keypoints: int, options: PoseNet.Options) -> None:
        super().__init__(keypoints, options)
        self.upsampling = nn.Sequential()  # each branch has its own, on the backbone's features

    def measure(self) -> None:
        super().measure()
        self.root_grid = Grid(*self.plane, depth_axis(self.extent))

    def new_head(self, layers: int | None = None) -> nn.Module:
        count, channels = layers or self.options.head_layers, self.width
        outputs = self.keypoints * self.options.depth_cells
        pose = nn.Sequential(
            upsampling(self.backbone.channels, channels, self.doublings), *pose_layers(channels, outputs, count)
        )
        return nn.ModuleDict(
            {"pose": pose, "root": RootHead(self.backbone.channels, channels, 1, count, self.doublings)}
        )

    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        branches: nn.Module = self.head if head is None else head
        assert isinstance(branches, nn.ModuleDict)
        plane, gamma = branches["root"](features)
        root = Votes.at_depth(self.root_grid, plane, gamma * sample.inputs["k"].view(-1, 1))
        maps = branches["pose"](features).unflatten(1, (self.keypoints, self.options.depth_cells))
        return Votes.from_maps(self.grid, maps, root=root)

    def root_distance(self, votes: Votes) -> Tensor:
        return votes.extra["root"].mean()[:, 0, 2]

    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        """Both losses. The root's place is learned where it is annotated, its distance where the set knows it and the
        camera."""
        truth = sample.keypoints[:, self.root, None]
        z = truth[..., 2:] * 0 if sample.points is None else sample.points[:, self.root, None, 2:]
        known = sample.annotated[:, self.root, None]
        deep = known & (z[..., 0] > 0) & has_camera(sample)
        root = root_loss(votes.extra["root"], torch.cat([truth[..., :2], z], -1), known, deep, sample.image_index)
        return super().loss(votes, sample) | root

    def check(self, sample: Unlabeled, giver: str, cube: str | None = None) -> None:
        super().check(sample, giver)
        need_camera(type(self).__name__, sample, giver)

    def notes(self) -> dict[str, Any]:
        return super().notes() | {"distance": "the root's distance from the camera is not among the answers"}

    def example(self, name: str, batch: int) -> Tensor:
        return example_k(batch) if name == "k" else super().example(name, batch)
