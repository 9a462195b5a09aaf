"""PoseTrack's average precision of joints: people found in pictures against labelled ones (leonid-pishchulin/poseval
@ 60cd97e, py/evaluateAP.py and eval_helpers.py).

A joint is right within half of a head's size, HEAD of the diagonal of its box. Of the labelled people in its picture a
predicted person is paired with the one of whose joints the largest share is right, the first of equals, and a labelled
one with the best of those predicted people, where any joint is right; so each has one partner at most. Joints of a
person without a partner are false, and so are those that the partner has no label of. Of each joint all predictions are
sorted by their own scores, precision is made to fall from the end on, and AP is the area below it over recall. The
number that is published is the mean over joints; that of the head is over nose, neck and head_top.

MOTA, which counts tracks, is not built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...models.output import Poses
from .matching import CHUNK, by_image
from .metrics import distances

HEAD = 0.6
"""A head's size over the diagonal of its box."""
_LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
WITHIN = 0.5
"""Of a head's size."""
PARTS = {
    "head": ("nose", "neck", "head_top"),
    **{f"{limb}s": (f"left_{limb}", f"right_{limb}") for limb in _LIMBS},
}
"""What published tables show, besides the mean of all joints."""


@dataclass(frozen=True)
class HeadedPeople:
    """P labelled people in pictures."""

    points: Tensor
    """(P, K, 2) file px; of joints that are not annotated anything finite."""
    annotated: Tensor
    """(P, K) bool"""
    heads: Tensor
    """(P, 4) left, top, right, bottom, file px. Nothing is right of people whose box has no size."""
    image_index: Tensor
    """(P,) int64, numbered as the predictions'."""


def posetrack_ap(predicted: Poses, truth: HeadedPeople, counted: Tensor | None = None) -> Tensor:
    """AP of each joint (K,), shares of 1, NaN of those that nobody is labelled with.

    `predicted` has the scores of joints as its `confidence` (Q, K); of these joints `counted` (Q, K) bool take part.
    None: all do.
    """
    counted = torch.ones_like(predicted.confidence, dtype=torch.bool) if counted is None else counted
    return precision(right_joints(predicted, truth, counted), predicted.confidence, counted, truth.annotated.sum(0))


def right_joints(predicted: Poses, truth: HeadedPeople, counted: Tensor) -> Tensor:
    """Which joints of the predicted people are right: (Q, K) bool."""
    made = torch.zeros_like(counted)
    images = torch.cat([predicted.image_index, truth.image_index]).unique()
    if not len(predicted.image_index) or not len(truth.image_index):
        return made
    rows, columns = (
        by_image(torch.searchsorted(images, own.contiguous()), len(images)).split(CHUNK)
        for own in (predicted.image_index, truth.image_index)
    )
    size = HEAD * (truth.heads[:, 2:] - truth.heads[:, :2]).double().norm(dim=1)
    for row, column in zip(rows, columns, strict=True):
        here, there = row.clamp_min(0), column.clamp_min(0)
        points, true = predicted.points[here][..., :2].double(), truth.points[there].double()
        reach = WITHIN * size[there][:, None, :, None]
        near = (distances(points.unsqueeze(2), true.unsqueeze(1)) <= reach) & (reach > 0)
        both = ((row >= 0).unsqueeze(2) & (column >= 0).unsqueeze(1)).unsqueeze(-1)
        labelled = truth.annotated[there].unsqueeze(1)
        hits = near & both & labelled & counted[here].unsqueeze(2)
        share = hits.sum(-1) / labelled.sum(-1).clamp_min(1)
        made[here[row >= 0]] = (hits & partners(share).unsqueeze(-1)).any(2)[row >= 0]
    return made


def partners(share: Tensor) -> Tensor:
    """Who is paired with whom, (..., M, N) bool, by the shares (..., M, N) of joints of N labelled people that M
    predicted ones have right."""
    people, others = (torch.arange(count, device=share.device) for count in share.shape[-2:])
    best = others == share.argmax(-1, keepdim=True)
    kept = share.where(best, torch.zeros_like(share))
    chosen = people.unsqueeze(-1) == kept.argmax(-2, keepdim=True)
    return chosen & (kept > 0)


def precision(right: Tensor, score: Tensor, counted: Tensor, labelled: Tensor) -> Tensor:
    """AP (K,) of joints (Q, K) that are right or false, with their scores, of which `counted` take part, where so many
    are `labelled` (K,). NaN where none is."""
    order = score.double().masked_fill(~counted, -torch.inf).argsort(dim=0, descending=True, stable=True)
    right, counted = (part.gather(0, order).double() for part in (right & counted, counted))
    exact = right.cumsum(0) / counted.cumsum(0).clamp_min(1)
    falling = exact.masked_fill(counted == 0, 0).flip(0).cummax(0).values.flip(0) if len(exact) else exact
    return (falling * right).sum(0) / labelled.double().where(labelled > 0, torch.nan)


def by_part(ap: Tensor, keypoints: Sequence[str]) -> dict[str, float]:
    """The numbers of published tables: means over the joints of PARTS of which any is there, and over all joints,
    `total`. Joints that are NaN are left out."""
    made: dict[str, float] = {}
    for part, names in PARTS.items():
        members = [keypoints.index(name) for name in names if name in keypoints]
        made |= {part: float(ap[members].nanmean())} if members else {}
    return made | {"total": float(ap.nanmean())}
