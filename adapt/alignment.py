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

from ..datasets.constants import constants

SCALES = (0.125, 0.25, 0.5, 1.0, 2.0)
"""Widths of the Gaussian kernels over the mean squared distance (DAN: 2^k, k = -3..1)."""


def pooled(features: Tensor) -> Tensor:
    """Feature maps (B, C, ...) as one vector for each sample, their mean over the places: (B, C)."""
    return features.flatten(2).mean(-1) if features.dim() > 2 else features


def kernel(
    points: Tensor, scales: Sequence[float] = SCALES, sigma: float | None = None, diagonal: bool = True
) -> Tensor:
    """Sums of Gaussian kernels exp(-D / (2 v)) between points (..., n, d): (..., n, n). v are `widths`; with a fixed
    `sigma` one kernel of that width. `diagonal`: a point's distance from itself counts in the mean that makes v."""
    distance = squared_distances(points)
    widest = widths(distance, scales, diagonal) if sigma is None else constants([sigma**2], distance)
    return torch.exp(-distance[..., None, :, :] / (2 * widest[..., None, None])).sum(-3)


def squared_distances(points: Tensor) -> Tensor:
    """Of points (..., n, d): (..., n, n). Nothing of size n * n * d is built, and nothing in half precision."""
    with torch.autocast(points.device.type, enabled=False):
        points = points.float()
        centred = points - points.detach().mean(-2, keepdim=True)
        square = centred.square().sum(-1)
        distance = square[..., :, None] + square[..., None, :] - 2 * centred @ centred.mT
    same = torch.eye(points.shape[-2], dtype=torch.bool, device=points.device)
    return distance.clamp_min(0).masked_fill(same, 0)


def widths(distance: Tensor, scales: Sequence[float] = SCALES, diagonal: bool = True) -> Tensor:
    """The kernels' variances v for squared distances (..., n, n): their mean times each scale, (..., scales), without
    gradient. `diagonal`: zeros on it count. Where all points are one they are tiny, so that each kernel is 1."""
    count = distance.shape[-1]
    mean = distance.detach().mean((-2, -1)) * (1 if diagonal else count / (count - 1))
    return (mean[..., None] * constants(scales, mean)).clamp_min(1e-12)


def discrepancy(kernels: Tensor, count: int, linear: bool = False, constant: bool = False) -> Tensor:
    """The maximum mean discrepancy, squared, of a kernel matrix (n + m, n + m) whose first `count` rows are the source:
    without bias, so that it may fall below 0. `linear`: from neighbouring pairs alone (n = m). `constant`: the
    reference's value, which is 2 / (n - 1) more; no gradient sees it, and with several kernels it does not keep the
    value positive as it is meant to. DAN, Long et al., ICML 2015."""
    source, target, across = kernels[:count, :count], kernels[count:, count:], kernels[:count, count:]
    more = 2 / (count - 1) if constant else 0.0
    if linear:
        place = torch.arange(count, device=kernels.device)
        after = (place + 1) % count
        return (source + target)[place, after].mean() - (across[place, after] + across[after, place]).mean() + more
    return _off_diagonal(source) + _off_diagonal(target) - across.mean() - kernels[count:, :count].mean() + more


def _off_diagonal(kernels: Tensor) -> Tensor:
    count = _several(kernels)
    return (kernels.sum() - kernels.diagonal().sum()) / (count * (count - 1))


def mmd(source: Tensor, target: Tensor, linear: bool = False, constant: bool = False) -> Tensor:
    """Multi-kernel maximum mean discrepancy between features (n, d) and (m, d): see `discrepancy`."""
    return discrepancy(kernel(torch.cat([source, target])), len(source), linear, constant)


def joint_mmd(
    layers: Sequence[tuple[Tensor, Tensor, float | None]], linear: bool = False, constant: bool = False
) -> Tensor:
    """Discrepancy of several layers together, under the product of their kernels; each (source (n, d), target (m, d),
    fixed width or None). JAN, Long et al., ICML 2017."""
    product = torch.stack([kernel(torch.cat([s, t]), sigma=width) for s, t, width in layers]).prod(0)
    return discrepancy(product, len(layers[0][0]), linear, constant)


def coral(source: Tensor, target: Tensor, means: bool = False) -> Tensor:
    """Distance of covariances, ||C_s - C_t||^2 / (4 d^2): Sun and Saenko, ECCV workshops 2016. With `means` what TLLib
    computes: four times that, and the mean squared difference of the means."""
    difference = covariance(source) - covariance(target)
    if not means:
        return difference.square().mean() / 4
    return difference.square().mean() + (source.mean(0) - target.mean(0)).square().mean()


def covariance(features: Tensor) -> Tensor:
    """(d, d), without bias."""
    count, centred = _several(features), features - features.mean(0)
    return centred.mT @ centred / (count - 1)


def _several(rows: Tensor) -> int:
    """How many samples there are. Raises ValueError for one, of which no spread is known."""
    if len(rows) < 2:
        raise ValueError(
            f"how two domains are spread is compared by 2 samples or more of each in a batch, found {len(rows)}: "
            "raise batch"
        )
    return len(rows)


def spectral(*features: Tensor) -> Tensor:
    """The sum of the largest singular values of features, squared. BSP, Chen et al., ICML 2019."""
    return torch.stack([torch.linalg.matrix_norm(one, 2).square() for one in features]).sum()


def outer(features: Tensor, probabilities: Tensor) -> Tensor:
    """Features (n, d) under each class of probabilities (n, C), which take no gradient: (n, C * d), class by class. Of
    features (n, d, P) and probabilities (n, C, P) of places the sum over these. CDAN, Long et al., NeurIPS 2018."""
    places = (one.flatten(2) if one.dim() > 2 else one[..., None] for one in (features, probabilities.detach()))
    return torch.einsum("ndp,ncp->ncd", *places).flatten(1)


def random_outer(features: Tensor, probabilities: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """`outer` in expectation by random projections (d, e) and (C, e), where it would be too large: (n, e)."""
    return (features @ first) * (probabilities.detach() @ second) / math.sqrt(first.shape[1])


def entropy(logits: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Of the softmax over the last dimension."""
    probabilities = logits.softmax(-1)
    return -(probabilities * (probabilities + epsilon).log()).sum(-1)


def sureness(logits: Tensor) -> Tensor:
    """Weights 1 + exp(-H) of rows of logits (n, C), as shares of their mean: they sum to n, and take no gradient."""
    weights = 1 + torch.exp(-entropy(logits.detach()))
    return weights / weights.mean()


def domain_losses(logits: Tensor, source: int, weights: Tensor | None = None) -> Tensor:
    """Cross entropy of domain logits (n, 1), or (n, 2) of target and source, of which the first `source` rows are the
    source's: (n,), times weights of n entries."""
    logit = logits[:, -1] - logits[:, 0] if logits.shape[1] > 1 else logits[:, 0]
    truth = (torch.arange(len(logit), device=logit.device) < source).to(logit.dtype)
    each = functional.binary_cross_entropy_with_logits(logit, truth, reduction="none")
    return each if weights is None else each * weights.flatten()


def domain_loss(logits: Tensor, source: int, weights: Tensor | None = None) -> Tensor:
    """The mean of both domains' means of `domain_losses`."""
    each = domain_losses(logits, source, weights)
    return (each[:source].mean() + each[source:].mean()) / 2


def disagreement(first: Tensor, second: Tensor, classes: bool = False) -> Tensor:
    """How far two heads' probabilities (..., C) are apart: their total variation, 0 to 1, averaged over all else.
    `classes`: the mean over the C too, 2 / C of that, as the reference has it. MCD, Saito et al., CVPR 2018."""
    apart = (first - second).abs()
    return apart.mean() if classes else apart.sum(-1).mean() / 2


def balance(logits: Tensor) -> Tensor:
    """Cross entropy of equally frequent classes to those of the softmax of logits (n, C): low where all are used. MCD's
    code calls it an entropy."""
    return -(logits.softmax(-1).mean(0) + 1e-6).log().mean()


def regression_disparity(
    source: tuple[Tensor, Tensor],
    target: tuple[Tensor, Tensor],
    margin: float,
    squared: bool = False,
    weights: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """What an adversarial regressor lowers: its distance from the main head on the source, times `margin`, less that on
    the target, as means over all entries. Each domain is (main head's coordinates, the adversary's), of one shape, the
    former without gradient; `weights` of each domain broadcast over them. The disparity discrepancy of TLLib's
    regression form (mdd.py), which is this times -1 and is subtracted there."""
    near, far = ((main.detach() - adversary).abs() for main, adversary in (source, target))
    if squared:
        near, far = near.square(), far.square()
    if weights is not None:
        near, far = near * weights[0], far * weights[1]
    return margin * near.mean() - far.mean()


def class_disparities(source: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor], margin: float) -> Tensor:
    """What an adversarial classifier lowers, for each sample (n,): its cross entropy to the main head's class on the
    source, times `margin`, less the log of how improbable the main head's class is to it on the target. Each domain is
    (main head's logits (n, C), the adversary's). The classification form of MDD, Zhang et al., ICML 2019; TLLib's
    value is this times -1."""
    (main, adversary), (other, others) = source, target
    near = functional.cross_entropy(adversary, main.detach().argmax(-1), reduction="none")
    sure = others.softmax(-1).gather(-1, other.detach().argmax(-1, keepdim=True)).squeeze(-1)
    return margin * near - (1 - sure + 1e-6).clamp_max(1).log()


class Discriminator(nn.Sequential):
    """Tells domains by features: two hidden layers with batch norm, one logit, high for the source; or two, of target
    and source. Both domains pass in one batch (TLLib, domain_discriminator.py)."""

    sees_all = True  # the batches of all processes

    def __init__(self, features: int, width: int = 1024, outputs: int = 1) -> None:
        layers: list[nn.Module] = []
        for inputs in (features, width):
            layers += [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU()]
        super().__init__(*layers, nn.Linear(width, outputs))
