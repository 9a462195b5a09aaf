"""How flat the network lies: the share of keypoints that copies of it, whose weights carry a little noise, predict at
the same place, to 0.05 of the crop."""

from __future__ import annotations

from copy import deepcopy

import torch

from ....models.pose_model import PoseModel
from ..evidence import Evidence
from .agreement import agreed

COPIES = 2
NOISE = 0.1
"""Its standard deviation, as a share of that of a layer's weights."""


def score(evidence: Evidence) -> float:
    return agreed(evidence.beside([noisy(evidence.model, seed) for seed in range(COPIES)]))


@torch.no_grad()
def noisy(model: PoseModel, seed: int) -> PoseModel:
    """A copy whose weights, biases and those of norms apart, carry Gaussian noise: the same at each call."""
    copy, generator = deepcopy(model), torch.Generator().manual_seed(seed)
    for weight in copy.parameters():
        if weight.dim() > 1:
            noise = torch.randn(weight.shape, generator=generator).to(weight)
            weight.add_(NOISE * weight.std(correction=0) * noise)
    return copy
