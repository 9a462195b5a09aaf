"""How far two domains are apart, as functions of tensors: what the alignment strategies draw to 0.

Features `source` (n, d) and `target` (m, d) are vectors of samples; logits (n, C) are of classes, for keypoints of the
grid's cells, one row for each keypoint. Formulas of thuml/Transfer-Learning-Library @ c4aa59e (tllib/alignment,
tllib/modules), as far as nothing else is said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

SCALES = (0.125, 0.25, 0.5, 1.0, 2.0)
"""Widths of the Gaussian kernels over the mean squared distance (DAN: 2^k, k = -3..1)."""


def pooled(features: Tensor) -> Tensor:
    """Feature maps (B, C, ...) as one vector for each sample, their mean over the places: (B, C)."""
    return features.flatten(2).mean(-1) if features.dim() > 2 else features


def kernel(points: Tensor, scales: Sequence[float] = SCALES, sigma: float | None = None) -> Tensor:
    """Sums of Gaussian kernels exp(-D / (2 v)) between points (n, d): (n, n). v is the mean of all squared distances D
    times each scale, which takes no gradient; with a fixed `sigma` one kernel of that width."""
    distance = (points[:, None] - points[None]).square().sum(-1)
    mean = distance.detach().mean()
    widths = [mean * scale for scale in scales] if sigma is None else [distance.new_tensor(sigma**2)]
    return torch.stack([torch.exp(-distance / (2 * width)) for width in widths]).sum(0)


def discrepancy(kernels: Tensor, count: int, linear: bool = False) -> Tensor:
    """The maximum mean discrepancy, squared, of a kernel matrix (n + m, n + m) whose first `count` rows are the source:
    without bias, so that it may fall below 0. `linear`: from neighbouring pairs alone (n = m). DAN, Long et al., ICML
    2015; the reference adds 2 / (n - 1), which no gradient sees and which does not keep it positive."""
    source, target, across = kernels[:count, :count], kernels[count:, count:], kernels[:count, count:]
    if linear:
        place = torch.arange(count, device=kernels.device)
        after = (place + 1) % count
        return (source + target)[place, after].mean() - (across[place, after] + across[after, place]).mean()
    return _off_diagonal(source) + _off_diagonal(target) - 2 * across.mean()


def _off_diagonal(kernels: Tensor) -> Tensor:
    count = len(kernels)
    return (kernels.sum() - kernels.diagonal().sum()) / (count * (count - 1))


def mmd(source: Tensor, target: Tensor, linear: bool = False) -> Tensor:
    """Multi-kernel maximum mean discrepancy between features: see `discrepancy`."""
    return discrepancy(kernel(torch.cat([source, target])), len(source), linear)


def joint_mmd(layers: Sequence[tuple[Tensor, Tensor, float | None]], linear: bool = False) -> Tensor:
    """Discrepancy of several layers together, under the product of their kernels; each (source, target, fixed width or
    None). JAN, Long et al., ICML 2017."""
    product = torch.stack([kernel(torch.cat([s, t]), sigma=width) for s, t, width in layers]).prod(0)
    return discrepancy(product, len(layers[0][0]), linear)


def coral(source: Tensor, target: Tensor, means: bool = False) -> Tensor:
    """Distance of covariances, ||C_s - C_t||^2 / (4 d^2): Sun and Saenko, ECCV workshops 2016. With `means` what TLLib
    computes: four times that, and the mean squared difference of the means."""
    difference = covariance(source) - covariance(target)
    if not means:
        return difference.square().mean() / 4
    return difference.square().mean() + (source.mean(0) - target.mean(0)).square().mean()


def covariance(features: Tensor) -> Tensor:
    """(d, d), without bias."""
    centred = features - features.mean(0)
    return centred.mT @ centred / (len(features) - 1)


def spectral(*features: Tensor) -> Tensor:
    """The sum of the largest singular values of features, squared. BSP, Chen et al., ICML 2019."""
    return torch.stack([torch.linalg.matrix_norm(one, 2).square() for one in features]).sum()


def outer(features: Tensor, probabilities: Tensor) -> Tensor:
    """Features (n, d) under each class of probabilities (n, C), which take no gradient: (n, C * d). CDAN, Long et al.,
    NeurIPS 2018."""
    return (probabilities.detach()[:, :, None] * features[:, None]).flatten(1)


def random_outer(features: Tensor, probabilities: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """`outer` in expectation by random projections (d, e) and (C, e), where it would be too large: (n, e)."""
    return (features @ first) * (probabilities.detach() @ second) / math.sqrt(first.shape[1])


def entropy(logits: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Of the softmax over the last dimension."""
    probabilities = logits.softmax(-1)
    return -(probabilities * (probabilities + epsilon).log()).sum(-1)


def sureness(logits: Tensor) -> Tensor:
    """Weights 1 + exp(-H) of rows of logits (n, C), which sum to n and take no gradient."""
    weights = 1 + torch.exp(-entropy(logits.detach()))
    return weights * (len(weights) / weights.sum())


def domain_loss(logits: Tensor, source: int, weights: Tensor | None = None) -> Tensor:
    """Binary cross entropy of domain logits (n, 1), of which the first `source` rows are the source's: the mean of both
    domains' means."""
    truth = torch.zeros_like(logits)
    truth[:source] = 1
    each = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    each = each if weights is None else each * weights.view(-1, 1)
    return (each[:source].mean() + each[source:].mean()) / 2


def disagreement(first: Tensor, second: Tensor) -> Tensor:
    """How far two heads' probabilities (..., C) are apart, summed over the C: 0 to 2. MCD, Saito et al., CVPR 2018;
    TLLib takes the mean over them instead, C times less."""
    return (first - second).abs().sum(-1).mean()


def balance(logits: Tensor) -> Tensor:
    """Cross entropy of equally frequent classes to those of the softmax of logits (n, C): low where all are used. MCD's
    code."""
    return -(logits.softmax(-1).mean(0) + 1e-6).log().mean()


def regression_disparity(
    source: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor], margin: float, squared: bool = False
) -> Tensor:
    """What an adversarial regressor lowers: its distance from the main head on the source, times `margin`, less that on
    the target. Each domain is (main head's coordinates, the adversary's), the former without gradient. The disparity
    discrepancy of TLLib's regression form (mdd.py); the sign is that of a loss."""
    near, far = ((main.detach() - adversary).abs() for main, adversary in (source, target))
    if squared:
        near, far = near.square(), far.square()
    return margin * near.mean() - far.mean()


class Discriminator(nn.Sequential):
    """Tells domains by features: two hidden layers with batch norm, one logit; source is 1. Both domains pass in one
    batch (TLLib, domain_discriminator.py)."""

    def __init__(self, features: int, width: int = 1024) -> None:
        layers: list[nn.Module] = []
        for inputs in (features, width):
            layers += [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU()]
        super().__init__(*layers, nn.Linear(width, 1))
