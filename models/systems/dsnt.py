"""DSNT: maps read by their expected coordinate, which the loss is of, and a regulariser of the maps' spread.

Nibali, He, Morgan and Prendergast, "Numerical Coordinate Regression with Convolutional Neural Networks",
arXiv 1801.07372; anibali/dsntnn @ 779631f, with which losses and regularisers agree numerically. Losses are in
normalised coordinates: cell i of n stands at (2i - (n - 1)) / n, -1 and 1 being the outer edges of the first and the
last cell. Regularisers count in cells, so that a spread is the same of every grid. Against the reference: the distance
has a gradient where it is 0 (none, not NaN), and of a label whose z is not known z stands where the map has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...datasets import options as owned
from ...datasets.constants import constants
from ...datasets.options import option
from ...datasets.sample import Labeled, Unlabeled
from ..heatmaps import UpsampledMaps
from ..output import Grid, Poses, Votes
from ..parts.blocks import softmax
from ..parts.soft_argmax import lines_of
from ..pose_model import PoseModel
from .pose_net import PoseNet

TINY = 1e-24
"""What the reference adds to densities before their logarithm."""
FAINT = 1e-12
"""The least of a rectified cell: those of a volume of 64^3 have less than 1e-6 together. A least one, for onnxruntime
leaves out what is added and as small."""
LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "euclidean": lambda away: torch.linalg.vector_norm(away, dim=-1),
    "l1": lambda away: away.abs().mean(-1),
    "mse": lambda away: away.square().mean(-1),
}
"""Of differences (..., D), normalised."""
RECTIFICATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda maps: maps,
    "abs": lambda maps: maps.float().abs().clamp_min(FAINT).log(),
    "relu": lambda maps: maps.float().clamp_min(FAINT).log(),
    "sigmoid": lambda maps: F.logsigmoid(maps.float()),
}
"""Maps as logits: their softmax is what the rectified map is, divided by its sum."""


@dataclass(frozen=True)
class Numerical(owned.Options):
    """How expected coordinates are learned, on maps of any number of axes."""

    loss: str = option("euclidean", "of the expected coordinate, normalised to -1..1", choices=tuple(LOSSES))
    regulariser: str = option("js", "of a map's spread", choices=("js", "kl", "variance", "none"))
    regulariser_weight: float = option(
        1.0, "beside the loss; of a variance choose 1e-3 or so, its unit is cells^4", low=0
    )
    sigma: float = option(1.0, "of the Gaussian that the regulariser wants, cells", low=0.1, high=100)
    rectification: str = option("softmax", "what makes a map a density", choices=tuple(RECTIFICATIONS))


class Expected(PoseModel):
    """Of another system's maps or volumes, before which it is inherited: they are rectified, and learned by their
    mean."""

    options: Any

    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        return rectified(super().votes(features, sample, head), self.options)  # type: ignore[safe-super]

    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        return losses(votes, sample, self.counted(sample), self.options)


class DSNT(Expected, UpsampledMaps):
    """Maps for K keypoints, each read by its mean."""

    @dataclass(frozen=True)
    class Options(Numerical, UpsampledMaps.Options):
        pass

    options: Options

    def decode(self, votes: Votes, sample: Unlabeled) -> Poses:
        return Poses.of_crops(votes.mean(), votes.confidence())


class DSNT3D(Expected, PoseNet):
    """Volumes: (x px, y px, z mm from the root), each read by its mean."""

    @dataclass(frozen=True)
    class Options(Numerical, PoseNet.Options):
        pass

    options: Options


def rectified(votes: Votes, options: Numerical) -> Votes:
    """The votes of maps with logits whose softmax is the rectified maps."""
    return replace(votes, logits=RECTIFICATIONS[options.rectification](votes.logits))


def losses(votes: Votes, sample: Labeled, counted: Tensor, options: Numerical) -> dict[str, Tensor]:
    """The loss of the expected coordinates, and the regulariser: each the mean over the counted (P, K) keypoints."""
    mean = votes.mean()[sample.image_index]
    known = torch.stack([sample.annotated, sample.annotated, sample.whole], -1)[..., : mean.shape[-1]]
    goal = torch.where(known, sample.keypoints, mean.detach())
    away = normalized(votes.grid, mean) - normalized(votes.grid, goal)
    named = {"coordinates": average(LOSSES[options.loss](away), counted)}
    if options.regulariser != "none":
        each = spreads(votes.grid, votes.maps[sample.image_index], goal, options)
        named["spread"] = options.regulariser_weight * average(each, counted)
    return named


def normalized(grid: Grid, points: Tensor) -> Tensor:
    """Points (..., D) px as shares of the grid from its middle, x first: -1 and 1 are its outer edges."""
    return (2 * grid.to_cells(points) + 1) / constants(grid.shape[::-1], points) - 1


def spreads(grid: Grid, maps: Tensor, goal: Tensor, options: Numerical) -> Tensor:
    """The regulariser (P, K) of logits (P, K, *shape) around points (P, K, D) px.

    Made again when the gradient is wanted, of volumes a person at a time: beside the logits stands one person's.
    """

    def spread(maps: Tensor, goal: Tensor) -> Tensor:
        density = softmax(maps)
        if options.regulariser == "variance":
            return variance(density, options.sigma)
        return {"js": js, "kl": kl}[options.regulariser](density, gaussian(grid, goal, options.sigma))

    size = 1 if grid.volume else max(len(maps), 1)
    parts = zip(maps.split(size), goal.split(size), strict=True)
    return torch.cat([checkpoint(spread, *part, use_reentrant=False, preserve_rng_state=False) for part in parts])


def gaussian(grid: Grid, points: Tensor, sigma: float) -> Tensor:
    """Densities (P, K, *shape) about points (P, K, D) px, `sigma` in cells."""
    target = grid.target(points, sigma)
    total = target.flatten(2).sum(-1) + TINY
    return target / total.view(*total.shape, *(1,) * len(grid.shape))


def kl(density: Tensor, other: Tensor) -> Tensor:
    """KL(density || other) of maps (P, K, *shape): (P, K)."""
    return (density * (torch.log(density + TINY) - torch.log(other + TINY))).flatten(2).sum(-1)


def js(density: Tensor, other: Tensor) -> Tensor:
    """The Jensen-Shannon divergence of maps (P, K, *shape), 0 to log 2: (P, K)."""
    middle = (density + other) / 2
    return (kl(density, middle) + kl(other, middle)) / 2


def variance(density: Tensor, sigma: float) -> Tensor:
    """(Variance - sigma^2)^2 of maps (P, K, *shape), cells, summed over the axes: (P, K)."""
    total = density.new_zeros(density.shape[:2])
    for line in lines_of(density):
        index = torch.arange(line.shape[-1], device=line.device, dtype=line.dtype)
        mean = (line * index).sum(-1, keepdim=True)
        total = total + ((line * (index - mean).square()).sum(-1) - sigma**2).square()
    return total


def average(each: Tensor, counted: Tensor) -> Tensor:
    """The mean of (P, K) over the mask `counted`; 0 where it is empty."""
    return (each * counted).sum() / counted.sum().clamp_min(1)
