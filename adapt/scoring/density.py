"""What label-free scores of classifiers say of probabilities p (..., n, C): of n samples, of C classes. Of keypoints a
class is a cell of the grid, the samples of one joint are the rows, and a score is averaged over the joints.

SND: Saito et al., ICCV 2021; VisionLearningGroup/SND @ 6aae970. Information: Liang et al., ICML 2020 (SHOT @ f7d555a).
Norms: Cui et al., CVPR 2020 (BNM), and its fast forms; cuishuhao/BNM @ 2d23c61. As validators: KevinMusgrave/
pytorch-adapt @ 1366df7. Risk: You et al., ICML 2019 (DEV).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from .evidence import Answers


def entropy(p: Tensor, epsilon: float = 0.0) -> Tensor:
    """-sum p log(p + epsilon) over the classes: (..., n), in nats. SND and SHOT take epsilon = 1e-5."""
    return -torch.special.xlogy(p, p + epsilon).sum(-1)


def diversity(p: Tensor, epsilon: float = 0.0) -> Tensor:
    """The entropy (...) of the mean over the samples: high where all classes are used."""
    return entropy(p.mean(-2), epsilon)


def information(p: Tensor, epsilon: float = 0.0) -> Tensor:
    """Diversity less mean entropy (...): how much an answer says of which sample it is for. SHOT's loss is minus this,
    epsilon = 1e-5."""
    return diversity(p, epsilon) - entropy(p, epsilon).mean(-1)


def neighbourhood_density(rows: Tensor, temperature: float = 0.05, own: float = -1.0, epsilon: float = 1e-5) -> Tensor:
    """The mean entropy (...) of how similar each of n samples is to the others, high where each has many neighbours, by
    the cosines of rows (..., n, C): probabilities, or features. `own` is what counts as a sample's cosine to itself:
    -1 in SND's code; -inf, with epsilon = 0, leaves it out as pytorch-adapt does."""
    unit = functional.normalize(rows, dim=-1)
    same = torch.eye(rows.shape[-2], dtype=torch.bool, device=rows.device)
    cosine = (unit @ unit.mT).masked_fill(same, own)
    return entropy((cosine / temperature).softmax(-1), epsilon).mean(-1)


def nuclear_norm(p: Tensor) -> Tensor:
    """The sum of the singular values (...): high for answers that are sure and various. pytorch-adapt divides it by n,
    BNM's script by min(n, C), and its read-me by nothing."""
    return torch.linalg.svdvals(p).sum(-1)


def column_norm(p: Tensor) -> Tensor:
    """The sum of the min(n, C) largest norms of columns (...), which approaches the nuclear norm: FBNM."""
    return torch.linalg.vector_norm(p, dim=-2).topk(min(p.shape[-2:])).values.sum(-1)


def frobenius_norm(p: Tensor) -> Tensor:
    """The root of the sum of squares (...); BFM divides it by the root of min(n, C)."""
    return torch.linalg.matrix_norm(p)


def controlled_risk(weight: Tensor, error: Tensor) -> Tensor:
    """The mean of errors (n,) under density ratios `weight` (n,), whose mean should be 1: how far it is from that is
    the control variate, which lowers the variance. DEV."""
    weighted = weight * error
    centred = weight - weight.mean()
    slope = -(centred * (weighted - weighted.mean())).sum() / centred.square().sum()
    return weighted.mean() + slope * (weight.mean() - 1)


def over_joints(answers: Answers, score: Callable[[Tensor], Tensor]) -> float:
    """The mean over the joints of what `score` gives for one's densities (N, cells). A joint at a time: similarities of
    all samples, and singular values, are large."""
    values = [score(answers.log_density[:, joint].exp()) for joint in range(answers.log_density.shape[1])]
    return float(torch.stack(values).mean()) if values else math.nan
