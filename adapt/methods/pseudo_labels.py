"""RegDA's pseudo labels: where the adversary should look (ground truth) and where it should not (ground false)."""

from __future__ import annotations

import torch
from torch import Tensor

from ...models.output import Poses, Votes, per_image

VARIANTS = ("fast", "lookup")


def ground_truth(votes: Votes, poses: Poses, sigma: float = 2.0, variant: str = "fast") -> tuple[Tensor, ...]:
    """Gaussians of peak 1 at the predicted keypoints, those of an image's people summed and clipped: (B, K, *shape) on
    each of the grid's marginals, without gradient.

    `fast`: values up to 0.01 are set to 0 (FastPseudoLabelGenerator2d).
    `lookup`: cut to 6 cells each way at sigma 2, and placed at cell 0 where no logit is positive, a quirk of
    the reference's PseudoLabelGenerator2d that is kept for comparison only. TLLib, alignment/regda.py @ c4aa59e.
    """
    if variant == "fast":
        maps = tuple(torch.where(part > 0.01, part, 0.0) for part in votes.grid.targets(poses.points, sigma))
    elif variant == "lookup":
        positive = (votes.logits.detach().amax(1) > 0)[poses.image_index]
        corner = poses.points.new_tensor([value for grid in votes.grid.marginals() for value in grid.origin])
        maps = votes.grid.targets(torch.where(positive.unsqueeze(-1), poses.points, corner), sigma, cut=3 * sigma)
    else:
        raise ValueError(f"pseudo_labels={variant!r} is not known; choose one of {', '.join(VARIANTS)}")
    return tuple(per_image(part, poses.image_index, votes.logits.shape[0]) for part in maps)


def ground_false(truth: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The places of all *other* keypoints: sum of their maps (B, K, *shape), clipped to [0, 1].

    An adversary drawn here imitates the mistake that keypoint models make: a confident peak on a wrong joint.
    """
    return tuple((maps.sum(1, keepdim=True) - maps).clamp(0, 1) for maps in truth)
