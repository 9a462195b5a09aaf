"""What a pose model is to the rest of keyshift."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..datasets import options as owned
from ..datasets.constants import constants
from ..datasets.options import option, plain_options
from ..datasets.sample import PIXELS, PIXELS_AND_MM, ROOT_MM, Labeled, Unlabeled, check_reads
from ..datasets.skeleton import Skeleton
from .output import Grid, Poses, Votes, per_image
from .parts.adapters import adapted, add_adapters, merge_adapters

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WEIGHTS = "published ones by name (torchvision's IMAGENET1K_V1, a tag of timm's), a local state_dict, or null: random"


@dataclass(frozen=True)
class Outside:
    """How people are made of what an exported network gives: by numpy and scipy alone, for a file that needs no
    keyshift."""

    maker: Callable[[Mapping[str, np.ndarray], Mapping[str, Any]], tuple[np.ndarray, np.ndarray, np.ndarray]]
    """Takes `PoseModel.outputs` of one picture, each (1, ...), and what `PoseModel.notes` say under `people`; gives
    points (P, K, 2) in px of the input, confidence (P, K) and score (P,)."""
    parts: tuple[ModuleType | Callable[..., Any], ...]
    """The modules and functions that it is made of, itself among them, in an order in which they can stand in a
    file."""
    compared: tuple[str, ...]
    """The outputs that an exported network has to give as PyTorch does; the others are read off these, and say which of
    nearly equal cells were taken."""


class PoseModel(nn.Module, ABC):
    """Features, then a head that votes. A strategy may hold further heads from `new_head()`.

    `head` is the main head; everything else that has parameters belongs to the features. A system's class takes the
    number of keypoints and its own `Options`.
    """

    @dataclass(frozen=True)
    class Options(owned.Options):
        """What every system has."""

        input_size: list[int] = option([256, 256], "width, height", low=1, high=8192, size=2)
        weights: str | None = option(None, WEIGHTS)
        head_layers: int = option(1, "layers of the head", low=1)
        adapters: int = option(
            0, "rank of the change of the backbone's layers that learns, with its norms; 0: all weights learn", low=0
        )

        @property
        def freezes(self) -> str:
            """The option, NAME=VALUE, by which weights stay that are random, if any."""
            return f"adapters={self.adapters}" if self.adapters and self.weights is None else ""

    reads: ClassVar[tuple[str, ...]] = ("image",)
    """The inputs of a sample that the network reads, by name; `camera` among them where it needs that."""
    space: ClassVar[str] = PIXELS
    """What the coordinates of its answers are, of those that datasets/sample.py names."""
    frames: ClassVar[int] = 0
    """How many frames of a clip or of 2D keypoints it reads; 0: a picture, or keypoints of any number of frames."""
    any_keypoints: ClassVar[bool] = True
    """It can be built for any number of keypoints; false where a file of the user's says how many."""
    single: ClassVar[bool] = True
    """It answers each image with one person, that of the crop."""
    fixed: Mapping[str, str] = MappingProxyType({})
    """What its votes hold besides that no affine of the input moves, each with the option, NAME=VALUE, that leaves it
    out, or ""."""
    outside: ClassVar[Outside | None] = None
    """How people are made of what an exported network gives; None: poses are decoded in it."""
    root: int = -1
    """The keypoint that z is counted from, of answers relative to it."""
    head: nn.Module
    options: Options
    frozen: frozenset[str] = frozenset()
    """Names of the batch-norm layers whose statistics stay, in training too."""
    held: tuple[str, ...] = ()
    """Names of the parts that stay as they were given, with their statistics, whatever a strategy does."""

    def __init__(self, keypoints: int, options: Options) -> None:
        super().__init__()
        self.keypoints, self.options = keypoints, options

    @property
    def architecture(self) -> dict[str, Any]:
        """The options, plain, that build this network again without downloading anything."""
        return plain_options(self.options) | {"weights": None}

    @property
    def input_size(self) -> tuple[int, int]:
        width, height = self.options.input_size
        return width, height

    @classmethod
    def identity(cls, options: Options) -> dict[str, Any]:
        """Plain data that names exactly what `options` build: pretrained weights are known by it."""
        return plain_options(options)

    @classmethod
    def rebuild(cls, keypoints: int, options: Options) -> Self:
        """The network of a checkpoint, before its weights are loaded."""
        return cls(keypoints, options)

    @classmethod
    def learns(cls, skeleton: Skeleton) -> Skeleton:
        """Which of the keypoints it is trained on. Raises ValueError where it cannot be."""
        return skeleton

    @classmethod
    def vote_cells(cls, options: Options, keypoints: int) -> int:
        """Numbers in the votes for one sample, of systems whose votes are large; else 0."""
        return 0

    @classmethod
    def in_space(cls) -> bool:
        """Whether it sees people in the camera's space, in mm, in pictures."""
        return cls.space in (PIXELS_AND_MM, ROOT_MM) and "reach" not in cls.reads

    def know(self, skeleton: Skeleton) -> Self:
        """This network, with what it takes from its skeleton: what published weights know of keypoints by their names,
        an extent in mm."""
        return self

    @abstractmethod
    def features(self, sample: Unlabeled) -> Tensor:
        """Features of a batch; pictures are uint8 (normalised here) or float (normalised for ImageNet), depth is mm."""

    @abstractmethod
    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        """The votes of `head`, the main head unless another is given."""

    def carried(self, extra: Mapping[str, Any], affine: Tensor) -> dict[str, Any]:
        """What its votes hold besides, where the input's pixels are moved by affines (B, 2, 3). Raises ValueError for
        what cannot be moved."""
        if extra:
            raise ValueError(f"{type(self).__name__}'s votes hold {', '.join(extra)} besides, which cannot be moved")
        return {}

    @abstractmethod
    def decode(self, votes: Votes, sample: Unlabeled) -> Poses:
        """The people of each image, in the coordinates that `sample.space` names."""

    def root_distance(self, votes: Votes) -> Tensor | None:
        """(B,) mm along the optical axis to the root that z is counted from, of a system that answers it too."""
        return None

    def with_mirrored(self, votes: Votes, sample: Unlabeled, flip: Sequence[int]) -> Votes:
        """`votes` for a sample together with what the network says of its mirror images, in which keypoints change
        places by the permutation `flip`; of systems that find several people, whose answers cannot be averaged person
        by person. Raises ValueError where a system has no way to do so."""
        raise ValueError(f"flip_test: {type(self).__name__} does not bring what it says of mirror images together")

    @abstractmethod
    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        """Supervised losses by name, already weighted against each other."""

    @abstractmethod
    def counted(self, sample: Labeled) -> Tensor:
        """Which keypoints take part in losses: (P, K) bool."""

    @abstractmethod
    def new_head(self, layers: int | None = None) -> nn.Module:
        """A fresh head of the main head's form, or with another number of layers."""

    def restart_head(self, layers: int) -> None:
        """Replace the main head by a fresh one."""
        self.head = self.new_head(layers)
        self.options = replace(self.options, head_layers=layers)
        self.frozen = frozenset(name for name in self.frozen if not name.startswith("head."))

    def forward(self, sample: Unlabeled) -> Votes:
        return self.votes(self.features(sample), sample)

    def plain(self) -> PoseModel:
        """The same network in a form that exporters trace; it answers `forward` and `decode` alone."""
        return self.merged()

    def with_adapters(self, rank: int) -> Self:
        """This network, its backbone frozen but for its norms and for adapters of `rank`, where that is above 0 and it
        has none. Raises ValueError for a system without a backbone."""
        backbone: Any = getattr(self, "backbone", None)
        if rank and not isinstance(backbone, nn.Module):
            raise ValueError(f"model.adapters={rank}: {type(self).__name__} has no part `backbone`; leave it at 0")
        if rank and not any(adapted(self)):
            add_adapters(backbone, rank)
            self.options = replace(self.options, adapters=rank)
        return self

    def resumed(self, options: Options) -> Self:
        """This network as a run of these options goes on with it: with their adapters."""
        return self.with_adapters(options.adapters)

    def merged(self) -> Self:
        """The same network with its adapters in its weights, a copy where it has any."""
        if not any(adapted(self)):
            return self
        copy = deepcopy(self)
        merge_adapters(copy)
        copy.options = replace(copy.options, adapters=0)
        return copy

    def outputs(self, votes: Votes, sample: Unlabeled) -> dict[str, Tensor]:
        """What an exported network gives in place of poses, by name, each (B, ...); of systems with an `outside`."""
        raise ValueError(f"{type(self).__name__} decodes poses itself, and gives nothing in their place")

    def example(self, name: str, batch: int) -> Tensor:
        """An input `name` for a batch, to try an exported network on; of systems that read more than images."""
        raise ValueError(f"{type(self).__name__} gives no example of its input {name!r}, so that it cannot be exported")

    def notes(self) -> dict[str, Any]:
        """What a reader of its answers must know besides, as plain data, for files that are exported."""
        return {}

    def empty(self) -> Unlabeled:
        """A batch of one empty sample of what it reads, on the CPU."""
        width, height = self.input_size
        clip = (self.frames,) if self.frames else ()
        given = {"image": torch.zeros(1, *clip, 3, height, width, dtype=torch.uint8)}
        if "reach" in self.reads:
            given = {"image": torch.zeros(1, 1, height, width), "reach": torch.full((1,), 100.0)}
        inputs = {n: given[n] if n in given else self.example(n, 1) for n in self.reads if n != "camera"}
        one, dims = torch.ones(1), 2 if self.space == PIXELS else 3
        sample = Unlabeled(inputs, ("",), ("",), one.long(), torch.ones(1, 4), torch.eye(dims, dims + 1)[None], one)
        return replace(sample, space=self.space)

    @torch.no_grad()
    def feature_shape(self) -> tuple[int, ...]:
        """The shape of one sample's features, (C, ...): the empty one is passed, in evaluation mode."""
        training = self.training
        features = self.eval().features(self.empty().to(next(self.parameters()).device))
        self.train(training)
        return tuple(features.shape[1:])

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """All parameters that learn by the child that holds them, the main head under "head"."""
        children = self.named_children()
        return {name: [one for one in child.parameters() if one.requires_grad] for name, child in children}

    def freeze_statistics(self) -> None:
        """Keep the batch statistics that were learned, in training too; layers that have none yet learn theirs."""
        self.frozen |= frozenset(
            name for name, norm in _norms(self) if norm.num_batches_tracked is not None and norm.num_batches_tracked > 0
        )
        self.train(self.training)

    def hold(self, names: Sequence[str]) -> None:
        """Keep these parts, and no others, as they are: they learn nothing, and are in evaluation mode in training
        too."""
        for name in names:
            self.get_submodule(name).requires_grad_(False)
        self.held = tuple(names)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for name, norm in _norms(self):
            if name in self.frozen:
                norm.eval()
        for name in self.held:
            self.get_submodule(name).eval()
        return self

    def check(self, sample: Unlabeled, giver: str, cube: str | None = None) -> None:
        """Raises ValueError, naming both sides, where the network cannot read what the dataset `giver` gives, or
        answers in other coordinates than its. `cube` is the option by which depth can be cut to fit a network that is
        trained; None before training, when the network can still be chosen to fit."""
        name = type(self).__name__
        check_reads(name, self.reads, giver, sample.gives)
        given = self.frames
        if "image" in self.reads:
            given = sample.image.shape[1] if sample.image.dim() == 5 else 0
        elif "keypoints2d" in self.reads and self.frames:
            given = sample.inputs["keypoints2d"].shape[1]
        if given != self.frames:
            reads, gives = (f"clips of {count} frames" if count else "single frames" for count in (self.frames, given))
            raise ValueError(f"{name} reads {reads}; {giver} gives {gives}. Choose a system and data that fit")
        if sample.space != self.space:
            raise ValueError(
                f"{name} answers in {self.space}; {giver} has {sample.space}. Choose a system and data that fit"
            )

    def check_size(self, image: Tensor) -> None:
        """Raises ValueError for images (..., H, W) of another size than the network was built for."""
        width, height = self.input_size
        if image.shape[-1] != width or image.shape[-2] != height:
            raise ValueError(
                f"{type(self).__name__} was built for inputs of {width}x{height} (width x height), "
                f"got {image.shape[-1]}x{image.shape[-2]}"
            )


class DepthModel(PoseModel):
    """A system that reads depth images cut by a cube, and may vote for z on an axis of its own."""

    @dataclass(frozen=True)
    class Options(PoseModel.Options):
        depth_reach: float = option(
            150.0, "mm on either side of the centre on which densities of depth are read", low=1e-3, high=1e5
        )

    reads = ("image", "reach")
    space = PIXELS_AND_MM
    options: Options

    def depth_axis(self, columns: int) -> Grid:
        """The grid of z, with as many cells as x has."""
        reach = self.options.depth_reach
        cell = 2 * reach / columns
        return Grid((columns,), (cell,), (cell / 2 - reach,))

    def check(self, sample: Unlabeled, giver: str, cube: str | None = None) -> None:
        super().check(sample, giver)
        covered, reach = self.options.depth_reach, float(sample.inputs["reach"].max())
        if covered < reach:
            remedy = (
                "set it to that or more"
                if cube is None
                else f"a trained network keeps its reach: choose {cube}={2 * covered:g} or less, or train another with "
                f"model.depth_reach={reach:g} or more"
            )
            raise ValueError(
                f"model.depth_reach={covered:g} does not cover the cubes of {giver}, which reach {reach:g} mm to "
                f"either side; {remedy}"
            )


def reach_of(sample: Unlabeled) -> Tensor:
    """`reach` (B, 1, 1, 1) of a depth batch."""
    return sample.inputs["reach"].view(-1, 1, 1, 1)


def _norms(model: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    return ((name, module) for name, module in model.named_modules() if isinstance(module, _BatchNorm))


def mirrored(sample: Unlabeled) -> Unlabeled:
    """The same batch with its pictures mirrored, and nothing else."""
    return replace(sample, inputs={**sample.inputs, "image": sample.image.flip(-1)})


def mirrored_sequences(sample: Unlabeled, width: int, flip: Sequence[int]) -> Unlabeled:
    """The same batch with its 2D sequences in an input `width` px wide, and the camera that sees them, mirrored;
    keypoints change places by the permutation `flip`."""
    inputs = dict(sample.inputs)
    for name in inputs.keys() & {"keypoints2d", "random2d"}:
        there = inputs[name][..., constants(flip, inputs[name], torch.int64), :]
        inputs[name] = torch.cat([width - there[..., :1], there[..., 1:]], -1)
    if "lens" in inputs:
        fx, fy, cx, cy = inputs["lens"].unbind(-1)
        inputs["lens"] = torch.stack([fx, fy, torch.where(fx > 0, width - cx, cx), cy], -1)
    return replace(sample, inputs=inputs)


def counted_per_image(mask: Tensor, sample: Labeled) -> Tensor:
    """Which keypoints count in each image, being counted (P, K) for one of its people: (B, K) float."""
    return per_image(mask.float(), sample.image_index, len(sample))


def normalize(image: Tensor, dtype: torch.dtype = torch.float32, white: float = 255.0) -> Tensor:
    """uint8 images (B, 3, H, W) to ImageNet's normalised range, `white` being 1; float images pass unchanged."""
    if image.dtype != torch.uint8:
        return image
    mean, std = (constants(values, image, dtype).view(1, 3, 1, 1) * white for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (image.to(dtype) - mean) / std


def intensities(image: Tensor) -> Tensor:
    """Pictures (..., 3, H, W) as floats of 0 to 255: uint8 ones, or float ones as ImageNet normalises them."""
    if image.dtype == torch.uint8:
        return image.float()
    mean, std = _constants(image)
    return (image * std + mean) * 255


def normalized(image: Tensor) -> Tensor:
    """Pictures (..., 3, H, W) of floats 0 to 255 as ImageNet normalises them."""
    mean, std = _constants(image)
    return (image / 255 - mean) / std


def _constants(like: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = (constants(values, like).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return mean, std
