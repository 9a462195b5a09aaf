"""SSA: a stream's features are drawn to the source's, in the directions that count for the source and the head.

Adachi et al., "Test-time adaptation for regression by subspace alignment", ICLR 2025; kzkadc/regression-tta @ c1c72f1
(utils/{loss,pca_basis}.py, tta/tta_engine.py), written from its description. Of the source there are the mean m and
covariance of the features, averaged over their places, in evaluation mode; b_1 .. b_n are the eigenvectors of the n
largest eigenvalues v_1 .. v_n. Of a batch z, normalised by its own statistics,

    f_d = (z - m) . b_d,    M_d, V_d = mean and variance of f_d over the batch (n - 1)
    loss = sum_d a_d [KL(N(M_d, V_d) || N(0, v_d)) + KL(N(0, v_d) || N(M_d, V_d))],    a_d = |W b_d| + 1
    KL(N(m1, v1) || N(m2, v2)) = (log v2 - log v1 + (v1 + (m2 - m1)^2) / (v2 + 1e-8) - 1) / 2

and one step of Adam (1e-3) on weight and bias of the batch-norm layers below the head follows the answers.

What differs: the reference has one output, W its weights. Here W (outputs, channels) is the head's first layer that
reads the features, a convolution summed over its kernel, and |.| the norm over its outputs; of a head without such a
layer a_d = 1. Directions in which the source hardly varies are left out, where the reference divides by nothing.

Where a run opens a source (`compare`, after pretraining), the statistics are made from it, without labels, before the
first update. Else they are a file: `keyshift statistics RUN` writes it, `ssa.statistics=FILE` reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...datasets.options import FILE, option
from ...datasets.reading.files import from_home
from ...datasets.sample import Labeled, Unlabeled
from ...models.pose_model import PoseModel
from ...models.saved import load_checkpoint, save_checkpoint
from ..alignment import pooled
from ..online import NormLearner
from ..processes import joined
from ..strategy import Update

FORMAT = "keyshift feature statistics 1"
LEAST = 1e-6
"""Share of the largest variance under which a direction is left out."""
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Moments(NamedTuple):
    """Of features (n, C)."""

    mean: Tensor
    """(C,)"""
    covariance: Tensor
    """(C, C), with n - 1."""


class Subspace(NamedTuple):
    """The n directions in which features vary most, ascending."""

    mean: Tensor
    """(C,)"""
    basis: Tensor
    """(C, n) unit vectors; their signs are arbitrary."""
    variances: Tensor
    """(n,)"""


class SSA(NormLearner):
    """The network is evaluated and shipped as the last batch left it."""

    @dataclass(frozen=True)
    class Options(NormLearner.Options):
        components: int = option(100, "directions of the source's features (the paper's tables: 5)", low=1)
        statistics: str | None = option(
            None, "file of the source's features, which `keyshift statistics RUN` writes", tags=(FILE,)
        )

    title = "SSA"
    about = "features drawn to the source's in its significant directions, by batch norm's weight and bias"
    cost = 0.7
    besides = "statistics of the source (the run's own, or a file of `keyshift statistics`)"
    mean: Tensor
    basis: Tensor
    variances: Tensor
    importance: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        channels = self.model.feature_shape()[0]
        count = min(self.options.components, channels)
        sizes = {"mean": (channels,), "basis": (channels, count), "variances": (count,), "importance": (count,)}
        for name, size in sizes.items():
            self.register_buffer(name, torch.zeros(size))
        if self.options.statistics is not None:
            self.know(load_moments(from_home(self.options.statistics), channels))

    def learning(self) -> list[nn.Module]:
        return [part for name, part in self.model.named_children() if name != "head"]

    def see_source(self, batches: Callable[[], Iterable[Unlabeled]] | None) -> None:
        if self.options.statistics is not None:
            return
        if batches is None:
            raise ValueError(
                "ssa knows nothing of the source that the given model learned from: write the statistics of its "
                "features with keyshift statistics RUN, and say ssa.statistics=FILE"
            )
        self.know(moments(features_of(self.model, batches())))

    def know(self, source: Moments) -> None:
        """Keep what the loss needs of the source."""
        space = subspace(source, len(self.variances))
        weights = reading_weights(self.model.head, len(self.mean))
        importance = torch.ones(len(space.variances)) if weights is None else significance(weights, space.basis)
        varies = space.variances > LEAST * space.variances[-1]
        values = {"variances": space.variances.where(varies, torch.ones(())), "importance": importance * varies}
        for name, value in (space._asdict() | values).items():
            getattr(self, name).copy_(value)

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        with self.statistics("target"):
            features = self.model.features(target)
            votes = self.model.votes(features, target)
        self.answer(votes, target)
        batch = joined(pooled(features).float())
        forward, backward = divergences(batch, Subspace(self.mean, self.basis, self.variances))
        yield {"alignment": (self.importance * (forward + backward)).sum()}, ("norms",)


def gaussian_kl(m1: Tensor, v1: Tensor, m2: Tensor, v2: Tensor) -> Tensor:
    """KL(N(m1, v1) || N(m2, v2)) of each of any number of means and variances."""
    return (v2.log() - v1.log() + (v1 + (m2 - m1).square()) / (v2 + 1e-8) - 1) / 2


def divergences(features: Tensor, source: Subspace) -> tuple[Tensor, Tensor]:
    """Of features (B, C) from the source along each direction, and of the source from them: two of (n,). Of a single
    sample, which has no variance, the mean alone counts."""
    along = project(features, source)
    mean = along.mean(0)
    variance = along.var(0).clamp_min(1e-12) if len(along) > 1 else source.variances
    zero = torch.zeros_like(mean)
    return gaussian_kl(mean, variance, zero, source.variances), gaussian_kl(zero, source.variances, mean, variance)


def project(features: Tensor, source: Subspace) -> Tensor:
    """Features (B, C) along the directions: (B, n)."""
    return (features - source.mean) @ source.basis


def subspace(source: Moments, components: int) -> Subspace:
    """The eigenvectors of the largest eigenvalues."""
    values, vectors = torch.linalg.eigh(source.covariance)
    return Subspace(source.mean, vectors[:, -components:], values[-components:].clamp_min(0))


def significance(weights: Tensor, basis: Tensor) -> Tensor:
    """How much a layer's weights (outputs, C) see of each direction of a basis (C, n): (n,), from 1 on."""
    return torch.linalg.vector_norm(weights @ basis, dim=0) + 1


def reading_weights(head: nn.Module, channels: int) -> Tensor | None:
    """The weights (outputs, channels) of the head's first layer that reads the features, None where there is none."""
    for layer in head.modules():
        if isinstance(layer, LAYERS) and layer.weight.shape[1] == channels:
            return layer.weight.detach().cpu().flatten(1).view(len(layer.weight), channels, -1).sum(-1)
    return None


def moments(parts: Iterable[Tensor]) -> Moments:
    """Of features that come in parts (b, C). Raises ValueError where there are fewer than two."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for part in parts:
        exact = part.cpu().double()
        count, total, squares = count + len(exact), total + exact.sum(0), squares + exact.mT @ exact
    if count < 2:
        raise ValueError(f"features of {count} samples have no covariance: give the statistics more of the source")
    mean = total / count
    return Moments(mean.float(), ((squares - count * mean[:, None] * mean) / (count - 1)).float())


@torch.no_grad()
def features_of(model: PoseModel, batches: Iterable[Unlabeled]) -> Iterator[Tensor]:
    """The features (b, C) of each batch, averaged over their places, in evaluation mode, which is restored."""
    mode, device = model.training, next(model.parameters()).device
    model.eval()
    for batch in batches:
        yield pooled(model.features(batch.to(device))).float()
    model.train(mode)


def save_moments(path: Path, source: Moments) -> None:
    """Write the file that `load_moments` reads."""
    save_checkpoint(path, {"format": FORMAT, **source._asdict()})


def load_moments(path: Path, channels: int) -> Moments:
    """Raises ValueError for another file, or of another number of channels."""
    remedy = "Statistics are what keyshift statistics RUN writes"
    state = load_checkpoint(path, ("format", "mean", "covariance"), remedy)
    if state["format"] != FORMAT or tuple(state["covariance"].shape) != (channels, channels):
        raise ValueError(
            f"{path}: expected {FORMAT!r} of {channels} channels, as the model's features have, found "
            f"{state['format']!r} of {len(state['mean'])}: write it anew with keyshift statistics RUN"
        )
    return Moments(state["mean"], state["covariance"])
