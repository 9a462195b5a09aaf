"""RegDA's pseudo labels: where the adversary should look (ground truth) and where it should not (ground false)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models.output import Votes

VARIANTS = ("fast", "lookup")


def ground_truth(votes: Votes, sigma: float = 2.0, variant: str = "fast") -> Tensor:
    """Gaussians of peak 1 at the predicted keypoints: (B, K, *grid.shape), without gradient.

    `fast`: at the strongest candidate, values up to 0.01 set to 0 (FastPseudoLabelGenerator2d).
    `lookup`: cut to 6 cells each way at sigma 2, and placed at cell 0 where no logit is positive, a quirk of
    the reference's PseudoLabelGenerator2d that is kept for comparison only. TLLib, alignment/regda.py @ c4aa59e.
    """
    points = votes.peak()
    if variant == "fast":
        maps = votes.grid.target(points, sigma)
        return torch.where(maps > 0.01, maps, 0.0)
    if variant == "lookup":
        positive = votes.logits.detach().amax(1) > 0
        points = torch.where(positive.unsqueeze(-1), points, points.new_tensor(votes.grid.origin))
        return votes.grid.target(points, sigma, cut=3 * sigma)
    raise ValueError(f"pseudo_labels={variant!r} is not known; choose one of {', '.join(VARIANTS)}")


def ground_false(truth: Tensor) -> Tensor:
    """The places of all *other* keypoints: sum of their maps (B, K, *shape), clipped to [0, 1].

    An adversary drawn here imitates the mistake that keypoint models make: a confident peak on a wrong joint.
    """
    return (truth.sum(1, keepdim=True) - truth).clamp(0, 1)
