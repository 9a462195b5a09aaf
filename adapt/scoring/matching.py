"""Which predicted person is which labelled one: the one place where people are matched.

By object keypoint similarity (COCO): exp(-d^2 / (2 s^2 k^2)) averaged over the labelled keypoints, d the distance, k a
fall-off, here one for all keypoints, and s^2 the mean squared side of the labelled keypoints' box (COCO takes the area
of a segment, which labels need not have). A person of whom one keypoint is labelled has no such box: nobody counts as
smaller than a share of what the input shows. As COCO does, predictions choose in the order of their scores, each the
most similar person of its image that is left.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...datasets.sample import IN_MM, Unlabeled, known_ends
from ...models.output import Poses

FALL_OFF = 0.2
"""COCO's k is 0.05 to 0.21, by the joint."""
LEAST = 0.1
"""Similarity below which two people are not the same."""
SMALLEST = 0.05
"""What s is at least, as a share of the input's longer side, in mm of SPAN_MM."""
SPAN_MM = 2000.0
"""About the length of a person."""
CHUNK = 256
"""Images whose people are compared at once."""


def span(sample: Unlabeled) -> float:
    """The length in which points of a sample are judged: the input's longer side in px, of 3D points in mm."""
    return SPAN_MM if sample.space in IN_MM else float(max(sample.image.shape[-2:]))


def similarity(predicted: Tensor, truth: Tensor, counted: Tensor, smallest: float) -> Tensor:
    """OKS of predicted people (..., Q, K, D) with labelled ones (..., P, K, D) of whose keypoints (..., P, K) count:
    (..., Q, P), 0 where none does. s is `smallest` or more."""
    low, high = known_ends(truth, counted)
    area = (high - low).clamp_min(0).square().sum(-1) / truth.shape[-1]
    scale = area.nan_to_num(0.0, 0.0, 0.0).clamp_min(smallest**2)
    away = (predicted.unsqueeze(-3) - truth.unsqueeze(-4)).square().sum(-1)
    each = torch.exp(-away / (2 * scale[..., None, :, None] * FALL_OFF**2)) * counted.unsqueeze(-3)
    return each.sum(-1) / counted.sum(-1).clamp_min(1).unsqueeze(-2)


def match(poses: Poses, truth: Tensor, counted: Tensor, image_index: Tensor, sample: Unlabeled) -> Tensor:
    """For each labelled person (P, K, D) in images (P,) of a sample the predicted one: places in `poses` (P,), -1 for
    nobody."""
    return match_within(
        poses.points, poses.image_index, poses.score, truth, counted, image_index, SMALLEST * span(sample)
    )


def unmatched(place: Tensor, count: int) -> Tensor:
    """Which of `count` predicted people no labelled person was matched with, `place` (P,) being what `match` answers:
    (count,) bool."""
    alone = torch.ones(count, dtype=torch.bool, device=place.device)
    alone[place[place >= 0]] = False
    return alone


def match_within(
    points: Tensor,
    image_index: Tensor,
    score: Tensor,
    truth: Tensor,
    counted: Tensor,
    truth_index: Tensor,
    smallest: float,
    least: float = LEAST,
) -> Tensor:
    """The same of any number of images, by their parts: predicted people (Q, K, D) in images (Q,) with scores (Q,),
    labelled ones (P, K, D) in images (P,). `smallest` is what s is at least, in the points' unit; people less similar
    than `least` are not the same."""

    def alike(predicted: Tensor, labelled: Tensor) -> Tensor:
        return similarity(points[predicted], truth[labelled], counted[labelled], smallest)

    order = score.argsort(descending=True, stable=True)
    chosen = choose(lambda rows, labelled: alike(order[rows], labelled), image_index[order], truth_index, least)
    place = torch.full((len(truth),), -1, dtype=torch.int64, device=truth.device)
    place[chosen[chosen >= 0]] = order[chosen >= 0]
    return place


def choose(liking: Callable[[Tensor, Tensor], Tensor], choosers: Tensor, candidates: Tensor, least: float) -> Tensor:
    """Each of the choosers in images (A,), in their order, takes of the candidates in images (B,) the one of its image
    that it likes best of those that are left, the first of equals: places (A,), -1 where it likes none by `least`.

    `liking` gives what the choosers in a table of places (images, M) think of the candidates in one of (images, N):
    (images, M, N).
    """
    choice = torch.full((len(choosers),), -1, dtype=torch.int64, device=choosers.device)
    if not len(choosers) or not len(candidates):
        return choice
    images, joint = torch.cat([choosers, candidates]).unique(return_inverse=True)
    rows = by_image(joint[: len(choosers)], len(images)).split(CHUNK)
    columns = by_image(joint[len(choosers) :], len(images)).split(CHUNK)
    for row, column in zip(rows, columns, strict=True):
        both = (row >= 0).unsqueeze(2) & (column >= 0).unsqueeze(1)
        likes = torch.where(both, liking(row.clamp_min(0), column.clamp_min(0)).double(), -torch.inf)
        taken = greedy(likes, least)
        place = torch.where(taken >= 0, column.gather(1, taken.clamp_min(0)), -1)
        choice[row[row >= 0]] = place[row >= 0]
    return choice


def by_image(image_index: Tensor, images: int) -> Tensor:
    """The places of people in images (P,) by image, in their order: (images, most in one), -1 where there are fewer."""
    order = image_index.argsort(stable=True)
    count = torch.bincount(image_index, minlength=images)
    rank = torch.arange(len(order), device=order.device) - (count.cumsum(0) - count)[image_index[order]]
    table = torch.full((images, int(count.max())), -1, dtype=torch.int64, device=order.device)
    table[image_index[order], rank] = order
    return table


def greedy(likes: Tensor, least: float) -> Tensor:
    """The rows of each table (..., M, N), one after the other, take the column that they like best of those that are
    left: (..., M), -1 where that is less than `least`."""
    columns = torch.arange(likes.shape[-1], device=likes.device)
    choices = []
    for row in range(likes.shape[-2]):
        best, column = likes[..., row, :].max(-1)
        column = torch.where(best >= least, column, -1)
        choices.append(column)
        likes = likes.masked_fill((columns == column.unsqueeze(-1)).unsqueeze(-2), -torch.inf)
    return torch.stack(choices, -1)
