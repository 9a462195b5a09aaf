"""What a sample is: one item as a dataset reads it, and the batches that models and strategies see.

Coordinates are (x, y[, z]), x first. In images they are pixels with pixel centres at +0.5: the top left corner of
the image is (0, 0), the middle of the first pixel (0.5, 0.5). z and 3D points are millimetres in the camera's frame,
x right, y down, z forward. A camera is (fx, fy, cx, cy) in file pixels under the same convention.

A depth sample's keypoints are (x px, y px, z mm). In the file z is the distance along the optical axis; in the model's
input it is counted from the crop's centre, and grows and shrinks with the crop as x and y do.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from .skeleton import Skeleton

Batch = TypeVar("Batch", bound="Unlabeled")


@dataclass(frozen=True)
class Item:
    """One crop as a dataset reads it from its files, in file pixels."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB, or (H, W) float32 depth: mm along the optical axis, 0 where nothing returned."""
    box: np.ndarray
    """(4,) left, top, right, bottom of the square crop, file pixels. Input data, never made from target labels
    unless the dataset says `boxes=truth`."""
    id: str
    sequence: str
    """Frames of one sequence are neighbours in time; intervals resample whole sequences."""
    frame: int
    camera: np.ndarray
    """(4,) fx, fy, cx, cy in file pixels; NaN-free, zeros where unknown."""
    keypoints: np.ndarray
    """(K, 2) file pixels; of a depth sample (K, 3), x and y in file pixels, z in mm."""
    visible: np.ndarray
    """(K,) bool: the camera sees the keypoint."""
    annotated: np.ndarray
    """(K,) bool: the position is known, seen or hidden. Losses and metrics count these."""
    points: np.ndarray | None = None
    """(K, 3) mm in the camera's frame, where the dataset has them."""
    center: np.ndarray | None = None
    """(3,) of a depth sample: the middle of what is looked at, x and y in file pixels, z in mm."""
    cube: np.ndarray | None = None
    """(3,) of a depth sample: edges in mm of the box around it, along x, y and z."""
    to_file: np.ndarray | None = None
    """(2, 3) from pixels of `image` to the file's, where `image` is a part of it kept at another scale."""
    mirrored: bool = False
    """The network sees the crop mirrored: a right hand that is to look like a left one."""

    @property
    def depth(self) -> bool:
        """Whether the image is depth, cut by a cube around a centre."""
        return self.cube is not None


class PoseDataset(Protocol):
    """A picklable map-style dataset. `identity` is plain data that names exactly what it holds."""

    name: str
    skeleton: Skeleton
    identity: dict[str, Any]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Item: ...


@dataclass(frozen=True)
class Unlabeled:
    """A batch of B crops without labels: it has no field in which a label could travel."""

    image: Tensor
    """(B, 3, H, W) uint8 or float; of depth (B, 1, H, W) float32 mm from the crop's centre, `reach` in the void."""
    id: tuple[str, ...]
    sequence: tuple[str, ...]
    frame: Tensor
    """(B,) int64."""
    camera: Tensor
    """(B, 4)."""
    to_file: Tensor
    """(B, D, D+1): maps points of the model's input to the file's; undoes crop and augmentation, scaled depth too."""
    side: Tensor
    """(B,) the crop's side in file pixels, the length that PCK is normalised by."""
    reach: Tensor | None = None
    """(B,) of depth: half the cube's edge along z in mm of the input; nothing in the image is farther from 0."""
    views: tuple[Unlabeled, ...] = ()
    """The same images under other known warps."""

    def __len__(self) -> int:
        return self.image.shape[0]

    def to(self: Batch, device: torch.device | str, **how: Any) -> Batch:
        """The same batch with every tensor on `device`."""

        def move(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.to(device, **how)
            if isinstance(value, tuple) and value and isinstance(value[0], Unlabeled):
                return tuple(view.to(device, **how) for view in value)
            return value

        return replace(self, **{f.name: move(getattr(self, f.name)) for f in fields(self)})

    def pin_memory(self: Batch) -> Batch:
        """The hook by which torch's loader pins a batch."""
        pinned = {
            f.name: getattr(self, f.name).pin_memory()
            for f in fields(self)
            if isinstance(getattr(self, f.name), Tensor)
        }
        return replace(self, **pinned, views=tuple(view.pin_memory() for view in self.views))


@dataclass(frozen=True, kw_only=True)
class Labeled(Unlabeled):
    """A batch with labels, flat over P people; a batch of crops is the case P = B."""

    keypoints: Tensor
    """(P, K, D) in pixels of the model's input; a keypoint outside the frame keeps its place."""
    visible: Tensor
    """(P, K) bool: the camera sees the keypoint."""
    annotated: Tensor
    """(P, K) bool: the position is known, seen or hidden; losses and metrics count these."""
    image_index: Tensor
    """(P,) int64: the image that a person stands in."""

    def without_labels(self) -> Unlabeled:
        return Unlabeled(**{f.name: getattr(self, f.name) for f in fields(Unlabeled)})


def transform(matrix: Tensor, points: Tensor) -> Tensor:
    """Apply affines (B, D, D+1) to points (B, ..., D); of depth also to (x, y) alone."""
    dims = points.shape[-1]
    lead = (len(matrix),) + (1,) * (points.dim() - 2)
    linear, shift = matrix[:, :dims, :dims], matrix[:, :dims, -1]
    turned = (points.unsqueeze(-2) * linear.view(*lead, dims, dims)).sum(-1)
    return turned + shift.view(*lead, dims)


def to_space(points: Tensor, camera: Tensor) -> Tensor:
    """(B, ..., 3) x and y in file pixels and z in mm to mm in the camera's frame; camera (B, 4)."""
    lead = (len(camera),) + (1,) * (points.dim() - 2)
    focal, middle = camera[:, :2].reshape(*lead, 2), camera[:, 2:].reshape(*lead, 2)
    return torch.cat([(points[..., :2] - middle) / focal * points[..., 2:], points[..., 2:]], -1)


def to_pixels(points: Tensor, camera: Tensor) -> Tensor:
    """The inverse of `to_space`."""
    lead = (len(camera),) + (1,) * (points.dim() - 2)
    focal, middle = camera[:, :2].reshape(*lead, 2), camera[:, 2:].reshape(*lead, 2)
    return torch.cat([points[..., :2] / points[..., 2:] * focal + middle, points[..., 2:]], -1)


def invert(matrix: Tensor) -> Tensor:
    """The inverse affines of (B, D, D+1), in the same form."""
    dims = matrix.shape[-2]
    linear = torch.linalg.inv(matrix[..., :dims])
    shift = (linear * matrix[..., dims:].transpose(-1, -2)).sum(-1, keepdim=True)  # exact under autocast too
    return torch.cat([linear, -shift], dim=-1)
