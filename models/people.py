"""What the systems of people in the camera's space share: a backbone below transposed convolutions, and the extent of
what is looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..datasets.constants import constants
from ..datasets.options import option
from ..datasets.sample import ROOT_MM, Labeled, Unlabeled
from ..datasets.skeleton import Skeleton
from .output import Grid
from .parts.backbones import ABOUT, build_backbone, resnet_of
from .pose_model import IMAGENET_MEAN, IMAGENET_STD, PoseModel, normalize
from .released import read_released

CELL = 4
"""Pixels between the cells of the maps."""
DEPTH_CELLS = 64
CORNER = 0.5
"""Where the reference's cell 0 stands: its pixels are counted from the middle of the first one."""


class PersonModel(PoseModel):
    """Reads a picture cut around one person, and answers in pixels and mm.

    `extent` is the edge of the square that holds a whole person or hand, that of the skeleton where the options leave
    it open. Raises ValueError for an input that is no multiple of the backbone's stride.
    """

    @dataclass(frozen=True)
    class Options(PoseModel.Options):
        backbone: str = option("resnet50", f"the network below the head: {ABOUT}")
        channels: int = option(256, "channels of the transposed convolutions", low=1)
        extent: float | None = option(
            None, "mm, edge of the square that holds a whole person or hand; null: the skeleton's (2000, 300)", low=1
        )
        reference: bool = option(
            False,
            "the released networks' input and grid, for their weights: pixels 0 to 255 less the mean of 0 to 1, cell j "
            "at pixel 4j + 0.5; ours is normalised as ImageNet's weights ask for, and cell j is centred at 4j + 2",
        )

    options: Options

    def __init__(self, keypoints: int, options: Options) -> None:
        super().__init__(keypoints, options)
        self.backbone = build_backbone(options.backbone, options.weights, self.input_size)
        stride, (width, height) = self.backbone.stride, self.input_size
        if stride < CELL or width % stride or height % stride:
            raise ValueError(
                f"model.input_size {width}x{height} must be a multiple of the backbone's stride {stride}, and that at "
                f"least {CELL}"
            )
        self.doublings = int(math.log2(stride / CELL))
        self.width = options.channels if self.doublings else self.backbone.channels  # of what the last layers read
        origin = CORNER if options.reference else CELL / 2
        self.plane = (height // CELL, width // CELL), (float(CELL), float(CELL)), (origin, origin)

    @property
    def extent(self) -> float:
        """mm; that of a body until the skeleton is known."""
        return self.options.extent or 2000.0

    def know(self, skeleton: Skeleton) -> Self:
        if self.options.extent is None and skeleton.extent > 0:
            self.options = replace(self.options, extent=skeleton.extent)
            self.measure()
        return self

    def measure(self) -> None:
        """Lay the grid out for the extent."""

    def notes(self) -> dict[str, Any]:
        notes = notes_of_space(self.space, self.extent, self.root)
        if "k" in self.reads:
            notes["k"] = (
                "(B,) mm: extent * sqrt(fx * fy / area), fx and fy in pixels of the file, area that of the whole input "
                "in square pixels of the file"
            )
        return notes

    def pictured(self, sample: Unlabeled) -> Tensor:
        """The backbone's features of the picture."""
        image = raw_range(sample.image) if self.options.reference else normalize(sample.image)
        self.check_size(image)
        return self.backbone(image)

    def check(self, sample: Unlabeled, giver: str, cube: str | None = None) -> None:
        super().check(sample, giver)
        check_extent(type(self).__name__, self.extent, sample, giver)


def notes_of_space(space: str, extent: float, root: int) -> dict[str, Any]:
    """What `PoseModel.notes` says of answers in the camera's space, z among them."""
    origin = "the skeleton's root" if space == ROOT_MM else "the camera"
    notes: dict[str, Any] = {"z": f"mm along the optical axis, counted from {origin}", "extent": extent}
    return notes | ({"root": root} if root >= 0 else {})


def check_extent(system: str, built: float, sample: Unlabeled, giver: str) -> None:
    """Raises ValueError where the extent of a sample is not that which a system is built for."""
    extent = float(sample.inputs["extent"].max())
    if abs(extent - built) > 1e-3 * built:
        raise ValueError(
            f"{system} is built for an extent of {built:g} mm; {giver} has {extent:g} mm. "
            f"Choose model.extent={extent:g}, or data that fits"
        )


def raw_range(image: Tensor) -> Tensor:
    """Images (B, 3, H, W), uint8 or floats as ImageNet normalises them (strategies that restyle make such), as the
    released networks see them: (p - mean) / std of p from 0 to 255, with the mean and std of 0 to 1."""
    if image.dtype == torch.uint8:
        return normalize(image, white=1.0)
    shift = [254 * mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    return 255 * image + constants(shift, image).view(3, 1, 1)


def depth_axis(extent: float) -> Grid:
    """The grid of distances from the camera, on which densities of one depth are read: DEPTH_CELLS cells of an eighth
    of the extent, to 16 m for people."""
    cell = extent / 8
    return Grid((DEPTH_CELLS,), (cell,), (cell / 2,))


def need_root(system: str, skeleton: Skeleton) -> int:
    """The index of the skeleton's root. Raises ValueError where it has none."""
    if skeleton.root is None:
        raise ValueError(
            f"{system} needs a root; skeleton {skeleton.name!r} has none: {', '.join(skeleton.keypoints)}. Both sides "
            "need the same root, a pelvis or wrist, or root= in a skeleton's YAML"
        )
    return skeleton.root


def need_camera(system: str, sample: Unlabeled, giver: str) -> None:
    """Raises ValueError where a camera of the sample is not known."""
    if not bool((sample.inputs["k"] > 0).all()):
        raise ValueError(
            f"{system} reads image and camera, fx and fy above 0; {giver} gives no camera. Say what the focal length "
            "is, or choose data that has cameras"
        )


def has_camera(sample: Labeled) -> Tensor:
    """Of whom the camera is known, (P, 1) bool: a distance is gamma * k, and k is 0 elsewhere."""
    return (sample.inputs["k"] > 0)[sample.image_index, None]


def read_reference(
    state: Mapping[str, Tensor], kind: type[PersonModel], wanted: tuple[str, ...], keys: Mapping[str, str]
) -> dict[str, Tensor]:
    """`read_released`. Raises ValueError for another backbone than a ResNet too."""
    ours = read_released(state, kind, wanted, keys)
    if resnet_of(ours) is None:
        raise ValueError(f"not a {kind.__name__} checkpoint: what stands under backbone.* is no ResNet-18 to 152")
    return ours


def point_layer(inputs: int, hidden: int, outputs: int, layers: int) -> nn.Sequential:
    """`layers` 1x1 convolutions, weights of std 0.001, batch norm and ReLU between them."""
    made: list[nn.Module] = []
    for layer in range(layers - 1):
        made += [nn.Conv2d(hidden if layer else inputs, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU(inplace=True)]
    made.append(nn.Conv2d(hidden if layers > 1 else inputs, outputs, 1))
    for layer_made in made:
        if isinstance(layer_made, nn.Conv2d):
            nn.init.normal_(layer_made.weight, std=0.001)
            nn.init.zeros_(layer_made.bias)  # type: ignore[arg-type]
    return nn.Sequential(*made)
