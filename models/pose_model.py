"""What a pose model is to the rest of keyshift."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..datasets.sample import Labeled, Unlabeled
from .output import Votes

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PoseModel(nn.Module, ABC):
    """Features, then a head that votes. A strategy may hold further heads from `new_head()`.

    `head` is the main head; everything else that has parameters belongs to the features.
    """

    reads: ClassVar[str] = "pictures"
    """pictures, or depth: what a batch's `image` holds."""
    head: nn.Module
    architecture: dict[str, Any]
    """Plain arguments that build this network again, without downloading anything."""

    @abstractmethod
    def features(self, sample: Unlabeled) -> Tensor:
        """Features of a batch; pictures are uint8 (normalised here) or float (taken as normalised), depth is mm."""

    @abstractmethod
    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        """The votes of `head`, the main head unless another is given."""

    @abstractmethod
    def decode(self, votes: Votes, sample: Unlabeled) -> tuple[Tensor, Tensor]:
        """Points (B, K, D) in pixels (z: mm) of the input and confidence (B, K) in [0, 1]."""

    @abstractmethod
    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        """Supervised losses by name, already weighted against each other."""

    @abstractmethod
    def weight(self, sample: Labeled) -> Tensor:
        """Which keypoints take part in losses: (P, K) bool."""

    @abstractmethod
    def new_head(self, layers: int | None = None) -> nn.Module:
        """A fresh head of the main head's form, or with another number of layers."""

    def restart_head(self, layers: int) -> None:
        """Replace the main head by a fresh one."""
        self.head = self.new_head(layers)
        self.architecture["head_layers"] = layers

    def forward(self, sample: Unlabeled) -> Votes:
        return self.votes(self.features(sample), sample)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """All parameters by the child that holds them, the main head under "head"."""
        return {name: list(child.parameters()) for name, child in self.named_children()}


def normalize(image: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 images (B, 3, H, W) to ImageNet's normalised range; float images pass unchanged."""
    if image.dtype != torch.uint8:
        return image
    mean = torch.tensor(IMAGENET_MEAN, device=image.device, dtype=dtype).view(1, 3, 1, 1) * 255
    std = torch.tensor(IMAGENET_STD, device=image.device, dtype=dtype).view(1, 3, 1, 1) * 255
    return (image.to(dtype) - mean) / std


def reach_of(sample: Unlabeled) -> Tensor:
    """`reach` (B, 1, 1, 1) of a depth batch. Raises ValueError for a batch of pictures."""
    if sample.reach is None:
        raise ValueError(
            f"this network reads depth, mm around a centre, not pictures of {sample.image.shape[1]} channels; "
            "choose a depth dataset, or model.name=pose_resnet"
        )
    return sample.reach.view(-1, 1, 1, 1)
