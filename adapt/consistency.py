"""What teachers share: poses that travel from one known view to another, which of them are trusted, and the loss that
draws a student to them; and a robust loss of distances."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..datasets.sample import Labeled, Unlabeled, carry, renamed, swaps
from ..models.output import Grid, Poses, Votes, divergence, on_images, per_image
from ..models.parts.lazy_maps import Maps
from .processes import gather


def carried(poses: Poses, start: Unlabeled, goal: Unlabeled, flip: list[int]) -> Poses:
    """Poses of one view in another of the same images; where exactly one of the two is mirrored, keypoints change
    places by the permutation `flip`."""
    points = carry(poses.points, start, goal, flip, poses.image_index)
    confidence = renamed(poses.confidence, flip, swaps(start, goal)[poses.image_index])
    return replace(poses, points=points, confidence=confidence)


def confident(poses: Poses, masked: float | Tensor, ragged: bool = False) -> Tensor:
    """All but the share `masked` of the keypoints, the least confident of all processes: (P, K) bool. `ragged`: these
    may have different numbers of people."""
    everyone = gather(poses.confidence, ragged)
    if not everyone.numel():
        return torch.zeros_like(poses.confidence, dtype=torch.bool)
    return poses.confidence >= everyone.float().quantile(masked)


def drawn(
    grid: Grid, points: Tensor, keep: Tensor, image_index: Tensor, sigma: float, images: int
) -> tuple[tuple[Maps, ...], Tensor]:
    """Gaussians at the points (P, K, D) of people in images (P,), of the keypoints (P, K) to keep: on each of the
    grid's marginals (images, K, *shape), of volumes lazy, and which keypoints any of an image's people has, (images, K)
    float."""

    def maps(one: Grid, places: Tensor) -> Maps:
        kept = keep.view(*keep.shape, *(1,) * len(one.shape))
        return on_images(one, lambda some: one.target(places[some], sigma) * kept[some], image_index, images)

    pairs = zip(grid.marginals(), grid.split(points), strict=True)
    return tuple(maps(*pair) for pair in pairs), per_image(keep.float(), image_index, images)


def drawn_to(votes: Votes, points: Tensor, keep: Tensor, image_index: Tensor, sigma: float) -> Tensor:
    """The divergence of votes from Gaussians at the points (P, K, D) of people in images (P,), of the keypoints (P, K)
    to keep."""
    return divergence(votes, *drawn(votes.grid, points, keep, image_index, sigma, votes.logits.shape[0]))


def labelled(sample: Unlabeled, poses: Poses, keep: Tensor, single: bool) -> Labeled:
    """The batch with poses in its coordinates for labels, the keypoints to keep (P, K) as the annotated ones: so that a
    system's own loss learns from them. Of a network that is `single` each image has one person, of whom nothing is
    annotated where no pose stands there."""
    points, image_index = poses.points.detach(), poses.image_index
    if single:
        everyone = points.new_zeros(len(sample), *points.shape[1:])
        points = everyone.index_copy(0, image_index, points)
        keep = keep.new_zeros(len(sample), keep.shape[1]).index_copy(0, image_index, keep)
        image_index = torch.arange(len(sample), device=points.device)
    given = {field.name: getattr(sample, field.name) for field in fields(Unlabeled)}
    return Labeled(**given, keypoints=points, visible=keep, annotated=keep, image_index=image_index)


def huber(distances: Tensor) -> Tensor:
    """Huber's loss of distances: r^2 / 2 below 1, from there on r - 1/2; 0 below 0."""
    beyond = distances.clamp_min(0)
    return F.huber_loss(beyond, torch.zeros_like(beyond), reduction="none")
