"""RegDA's pseudo labels: where the adversary should look (ground truth) and where it should not (ground false)."""

from __future__ import annotations

import torch
from torch import Tensor

from ...datasets.constants import constants
from ...datasets.sample import Unlabeled
from ...models.output import Grid, Poses, Votes, on_images
from ...models.parts.lazy_maps import Maps, each_image

VARIANTS = ("fast", "lookup")
NOBODY = 0.5
"""Peak of a map below which nobody stands on it: his Gaussian reaches in from outside."""


def ground_truth(votes: Votes, poses: Poses, sigma: float = 2.0, variant: str = "fast") -> tuple[Maps, ...]:
    """Gaussians of peak 1 at the predicted keypoints, those of an image's people summed and clipped: (B, K, *shape) on
    each of the grid's marginals, without gradient; of volumes lazy.

    `fast`: values up to 0.01 are set to 0 (FastPseudoLabelGenerator2d).
    `lookup`: cut to 6 cells each way at sigma 2, and placed at cell 0 where no logit is positive, a quirk of
    the reference's PseudoLabelGenerator2d that is kept for comparison only. TLLib, alignment/regda.py @ c4aa59e.
    """
    if variant not in VARIANTS:
        raise ValueError(f"pseudo_labels={variant!r} is not known; choose one of {', '.join(VARIANTS)}")
    points = poses.points
    if variant == "lookup":
        positive = (votes.logits.detach().amax(1) > 0)[poses.image_index]
        corner = constants([value for grid in votes.grid.marginals() for value in grid.origin], points)
        points = torch.where(positive.unsqueeze(-1), points, corner)

    def maps(grid: Grid, points: Tensor) -> Maps:
        def people(some: slice) -> Tensor:
            if variant == "lookup":
                return grid.target(points[some], sigma, cut=3 * sigma)
            part = grid.target(points[some], sigma)
            return torch.where(part > 0.01, part, 0.0)

        return on_images(grid, people, poses.image_index, votes.logits.shape[0])

    return tuple(maps(*pair) for pair in zip(votes.grid.marginals(), votes.grid.split(points), strict=True))


def ground_false(truth: tuple[Maps, ...]) -> tuple[Maps, ...]:
    """The places of all *other* keypoints: sum of their maps (B, K, *shape), clipped to [0, 1].

    An adversary drawn here imitates the mistake that keypoint models make: a confident peak on a wrong joint.
    """
    return tuple(each_image(maps, lambda own: (own.sum(1, keepdim=True) - own).clamp_(0, 1)) for maps in truth)


def ground_false_alone(truth: tuple[Maps, ...], others: Tensor | None = None) -> tuple[Maps, ...]:
    """The same for a network of a single keypoint, RootNet, which has no other joint to mistake it for.

    What it mistakes a root for is another person's: in the picture's plane ground false is `others` (B, *shape), where
    other people's roots are. Where nobody else is, and on a depth's axis, where nothing tells how far away others are,
    nothing is known but that the truth is not false: 1 - truth.
    """
    plane, *rest = (each_image(maps, lambda own: 1 - own.clamp(0, 1)) for maps in truth)
    if others is not None:
        assert isinstance(plane, Tensor)
        anyone = (others.flatten(1).amax(1) > NOBODY).view(-1, *(1,) * (plane.dim() - 1))
        plane = torch.where(anyone, others.unsqueeze(1), plane)
    return plane, *rest


def others_of(sample: Unlabeled, grid: Grid, sigma: float) -> Tensor | None:
    """Gaussians of peak 1 on a grid of the picture's plane where a sample says that other people are, summed and
    clipped: (B, *shape). Its input `others` (B, M, 3) holds the middles of their boxes, x and y in px of the input and
    1, or 0 where there is nobody; None where it has none. Boxes are input data of the target too."""
    if "others" not in sample.inputs:
        return None
    others = sample.inputs["others"].float()
    there = others[..., 2] > 0
    return (grid.target(others[..., :2], sigma) * there.view(*there.shape, 1, 1)).sum(1).clamp_max(1)
