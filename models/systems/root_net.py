"""RootNet: how far away the root of a person is, from one picture cut around the person and its camera.

Moon, Chang and Lee, "Camera Distance-aware Top-down Approach for 3D Multi-person Pose Estimation from a Single RGB
Image", ICCV 2019; mks0601/3DMPPE_ROOTNET_RELEASE @ 735ce21, main/model.py and common/nets/. Agrees with it numerically.
    k = extent * sqrt(fx fy / area of the crop in the picture),    depth = gamma * k,
gamma from the mean of the backbone's features, x and y from the softmax of a map. k is made anew for every crop, so
that zoom and another focal length change it as they change the picture: what gamma must tell stays the same. Keys of
its checkpoints: `root.deconv_layers` is `head.upsampling`, `root.xy_layer` is `head.plane.0` and `root.depth_layer` is
`head.depth.0`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...datasets.sample import PIXELS_AND_MM, Labeled, Unlabeled
from ...datasets.skeleton import Skeleton
from ..heatmaps import hidden_layers, small, upsampling
from ..output import Grid, Poses, Votes
from ..parts.backbones import resnet_of
from ..people import (
    PersonModel,
    depth_axis,
    has_camera,
    need_camera,
    need_root,
    point_layer,
    read_reference,
)
from ..released import loaded


class RootNet(PersonModel):
    """Votes of a map's cells for the root, with one depth for all of them: (x px, y px, z mm from the camera)."""

    reads = ("image", "k")
    space = PIXELS_AND_MM
    any_keypoints = True

    def __init__(self, keypoints: int, options: PersonModel.Options) -> None:
        super().__init__(keypoints, options)
        self.measure()
        self.head = self.new_head()

    @classmethod
    def learns(cls, skeleton: Skeleton) -> Skeleton:
        """The root alone. Raises ValueError for a skeleton without one."""
        return skeleton.select((skeleton.keypoints[need_root(cls.__name__, skeleton)],))

    def measure(self) -> None:
        self.grid = Grid(*self.plane, depth_axis(self.extent))

    def new_head(self, layers: int | None = None) -> nn.Module:
        count = layers or self.options.head_layers
        return RootHead(self.backbone.channels, self.width, self.keypoints, count, self.doublings)

    def features(self, sample: Unlabeled) -> Tensor:
        return self.pictured(sample)

    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        plane, gamma = (self.head if head is None else head)(features)
        return Votes.at_depth(self.grid, plane, gamma * sample.inputs["k"].view(-1, 1))

    def decode(self, votes: Votes, sample: Unlabeled) -> Poses:
        return Poses.of_crops(votes.mean(), votes.confidence())

    def counted(self, sample: Labeled) -> Tensor:
        return sample.annotated & self.grid.marginals()[0].contains(sample.keypoints[..., :2])

    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        deep = sample.whole & has_camera(sample)
        return root_loss(votes, sample.keypoints, self.counted(sample), deep, sample.image_index)

    def check(self, sample: Unlabeled, giver: str, cube: str | None = None) -> None:
        super().check(sample, giver)
        need_camera(type(self).__name__, sample, giver)

    def example(self, name: str, batch: int) -> Tensor:
        return example_k(batch) if name == "k" else super().example(name, batch)


def root_loss(votes: Votes, truth: Tensor, counted: Tensor, deep: Tensor, image_index: Tensor) -> dict[str, Tensor]:
    """L1 of x and y in cells and of z in mm from roots (P, 1, 3) that count (P, 1), z where it is `deep` (P, 1):
    unweighted, as in the reference. A root outside the map does not count."""
    points, plane = votes.mean()[image_index], votes.grid.marginals()[0]
    counted = counted & plane.contains(truth[..., :2])
    flat = (plane.to_cells(points[..., :2]) - plane.to_cells(truth[..., :2])).abs().sum(-1)
    z = (points[..., 2] - truth[..., 2]).abs() * deep
    return {"plane": (flat * counted).mean() / 3, "depth": (z * counted).mean() / 3}


def example_k(batch: int) -> Tensor:
    """Distances k (B,) mm of people, to try an exported network on."""
    return torch.linspace(3000.0, 9000.0, batch)


class RootHead(nn.Module):
    """Features (B, C, h, w) to a map of logits (B, K, H, W) and gamma (B, K)."""

    def __init__(self, inputs: int, channels: int, keypoints: int, layers: int, doublings: int) -> None:
        super().__init__()
        self.upsampling = upsampling(inputs, channels, doublings)
        last = nn.Conv2d(channels, keypoints, 1)
        small(last)
        self.plane = nn.Sequential(*hidden_layers(channels, layers - 1), last)
        self.depth = point_layer(inputs, channels, keypoints, layers)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        plane = self.plane(self.upsampling(features))
        pooled = features.float().mean((2, 3), keepdim=True)
        if not torch.is_autocast_enabled(features.device.type):
            return plane, self.depth(pooled).flatten(1)
        with torch.autocast(features.device.type, enabled=False):  # in bf16 a step of gamma is 15 mm at 4 m
            return plane, self.depth(pooled).flatten(1)


KEYS = {
    "root.deconv_layers.": "head.upsampling.",
    "root.xy_layer.": "head.plane.0.",
    "root.depth_layer.": "head.depth.0.",
}


def load_reference(
    state: Mapping[str, Tensor], input_size: Sequence[int] = (256, 256), reference: bool = True, **options: Any
) -> RootNet:
    """A RootNet from a released checkpoint (`snapshot_19.pth.tar`, or its `network`), in evaluation mode.

    `reference` is the released networks' input of 0 to 255 and their grid; `options` are RootNet's own, extent=300 of
    hands. Raises ValueError, naming keys, for other checkpoints.
    """
    ours = read_reference(state, RootNet, ("root.xy_layer.weight", "root.depth_layer.weight"), KEYS)
    chosen: dict[str, Any] = {
        "backbone": resnet_of(ours),
        "input_size": list(input_size),
        "channels": ours["head.plane.0.weight"].shape[1],
        "reference": reference,
        "extent": 2000.0,
    }
    keypoints = ours["head.plane.0.weight"].shape[0]
    return loaded(RootNet(keypoints, RootNet.Options(**(chosen | options))), ours)
