"""One answer for each person, where a picture's candidates answer for somebody several times.

Parametric pose NMS (Fang et al., RMPE, ICCV 2017; AlphaPose, TPAMI 2022), written from a description: the authors' code
is for non-commercial use. How alike a candidate j is to the pick i is, over joints n of confidences c at distance d,

    f = sum_n [d_n <= 1] tanh(c_in / delta1) tanh(c_jn / delta1) + mu * sum_n exp(-d_n / delta2).

The pick is the candidate of the highest mean confidence. All whose f is above gamma are removed with it and merged into
it, and the next pick is made of the rest; where none is, the pick alone is removed. Confidences of 0 count as 1e-5. A
joint is the mean of the group's joints within a radius of the pick's, weighted by confidence. A pick without a joint of
confidence `least`, before or after, is left out: 0.3 in both papers' code, where confidence is the peak of a heatmap.
Ours comes of the votes' entropy and is below that for everyone where maps are small, so nobody is left out by default.
The score is mean(c) + the box's score + 1.25 max(c).

OKS NMS keeps who is no more alike than a threshold to everyone kept before, in the order of scores, by COCO's object
keypoint similarity, of which the area is the mean of both boxes'.

Candidates alike in their mean confidence, or score, are picked in the order in which they are given; else that order
makes no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..datasets.options import Options, option
from .output import Poses

TENTH = 0.1
"""Of the longer side of a box: the length in which boxes measure distances."""
FLOOR = 1e-5
"""Confidences of 0 count as this."""


@dataclass(frozen=True)
class PoseNMS(Options):
    """The defaults are those of RMPE's release, but for `least`."""

    delta1: float = option(0.01, "a confidence is saturated where it is several times this", low=1e-9)
    delta2: float = option(2.08, "the distance at which exp(-d / delta2) has fallen to 1/e", low=1e-9)
    mu: float = option(2.08, "weight of distances beside confidences", low=0)
    gamma: float = option(22.48, "candidates above this similarity are the pick's", low=0)
    joints: int = option(16, "keypoints that gamma and matches are for: both scale with those of a skeleton", low=1)
    unit: str = option(
        "box", "of distances: a tenth of the pick's box's longer side, or pixels", choices=("box", "pixels")
    )
    squared: bool = option(False, "exp(-d^2 / delta2), as RMPE's paper writes it and its code does not")
    matches: int = option(0, "so many joints within `near` make a candidate the pick's too; 0: none do", low=0)
    near: float = option(7.0, "px, and a tenth of the pick's box at most, in which matches are counted", low=0)
    radius: float | None = option(
        None, "px at most within which joints are merged; null: a tenth of the pick's box", low=0
    )
    highest: bool = option(True, "a merged joint has the highest confidence of its parts; else their weighted mean")
    least: float = option(0.0, "a person of whom no joint has this confidence is left out", low=0, high=1)


@dataclass(frozen=True)
class OksNMS(Options):
    threshold: float = option(0.9, "candidates above this OKS to one who is kept are dropped", low=0, high=1)


RMPE = PoseNMS(least=0.3)
ALPHAPOSE = PoseNMS(
    delta1=1.0, delta2=2.65, mu=1.7, joints=17, unit="pixels", matches=5, radius=15.0, highest=False, least=0.3
)
"""For bodies; its third row, means over parts of a whole body, is not here."""
PRESETS: dict[str, PoseNMS | OksNMS] = {"pose": PoseNMS(), "rmpe": RMPE, "alphapose": ALPHAPOSE, "oks": OksNMS()}
"""By the name that `keyshift predict --nms` takes."""


class OneEach(NamedTuple):
    """Q people, whom P candidates are taken for."""

    poses: Poses
    """Of pictures in their order, the surest of each first."""
    rows: Tensor
    """(Q,) int64, the candidate that each was picked as."""
    weak: int
    """How many picks were left out for want of confidence."""


def one_each(
    poses: Poses,
    options: PoseNMS | OksNMS,
    boxes: Tensor | None = None,
    box_scores: Tensor | None = None,
    sigmas: Sequence[float] = (),
) -> OneEach:
    """Candidates of any number of images, on the CPU, to one answer for each person, in float64.

    `boxes` (P, 4) are left, top, right, bottom of what a detector saw, in the points' pixels, by default the keypoints'
    own; `box_scores` (P,) by default the poses' scores; `sigmas` (K,) COCO's fall-offs, for OksNMS alone. The D
    coordinates of points are merged alike, and compared by x and y. Pictures are ascending in
    `poses.image_index`. Raises ValueError where they are not, for parts that do not fit, and for a single keypoint
    without boxes, which is no measure of how large somebody is: then give them, or unit pixels and a radius.
    """
    people, joints = poses.confidence.shape
    points, confidence, score = poses.points.double(), poses.confidence.double(), poses.score.double()
    flat = points[..., :2]
    boxes = torch.cat([flat.amin(1), flat.amax(1)], 1) if boxes is None else boxes.double()
    box_scores = score if box_scores is None else box_scores.double()
    for name, value, shape in (("boxes", boxes, (people, 4)), ("box_scores", box_scores, (people,))):
        if value.shape != shape:
            raise ValueError(f"{name} are of shape {tuple(value.shape)}; {people} candidates ask for {shape}")
    if isinstance(options, OksNMS) and len(sigmas) != joints:
        raise ValueError(f"OKS needs a sigma for each of {joints} keypoints; there are {len(sigmas)}")
    if joints == 1 and people and (boxes[:, 2:] == boxes[:, :2]).all():
        boxes = _boundless(boxes, options)
    steps = poses.image_index.diff()
    if (steps < 0).any():
        row = int((steps < 0).nonzero()[0, 0])
        before, after = poses.image_index[row : row + 2].tolist()
        raise ValueError(
            f"candidates {row} and {row + 1} are of pictures {before} and {after}: image_index must be ascending. Sort "
            "them first: poses.each(lambda value: value[order]), order = poses.image_index.argsort(stable=True)"
        )
    parts, weak = [], 0
    _, counts = poses.image_index.unique_consecutive(return_counts=True)
    for rows in torch.arange(people).split(counts.tolist()):
        own = points[rows], confidence[rows], score[rows], boxes[rows], box_scores[rows]
        made = _by_oks(*own[:4], options, sigmas) if isinstance(options, OksNMS) else _by_pose(*own, options)
        weak += made.weak
        order = made.score.argsort(descending=True, stable=True)
        parts.append([made.points[order], made.confidence[order], made.score[order], rows[made.picks[order]]])
    empty = [points[:0], confidence[:0], score[:0], torch.zeros(0, dtype=torch.int64)]
    made_points, made_confidence, made_score, picked = map(torch.cat, zip(empty, *parts, strict=True))
    return OneEach(Poses(made_points, made_confidence, poses.image_index[picked], made_score), picked, weak)


def _boundless(boxes: Tensor, options: PoseNMS | OksNMS) -> Tensor:
    """Boxes (P, 4) without bounds in place of a single keypoint's, where nothing needs to be measured by them."""
    if isinstance(options, OksNMS) or options.unit != "pixels" or options.radius is None:
        remedy = "" if isinstance(options, OksNMS) else ", or unit=pixels and a radius"
        raise ValueError(
            f"how large a person of one keypoint is, is not known, and nobody is merged: give boxes{remedy}"
        )
    return boxes.new_tensor([-torch.inf, -torch.inf, torch.inf, torch.inf]).expand_as(boxes)


class _Picture(NamedTuple):
    """The people of one image."""

    points: Tensor
    confidence: Tensor
    score: Tensor
    picks: Tensor
    weak: int = 0


def _by_pose(
    points: Tensor, confidence: Tensor, score: Tensor, boxes: Tensor, box_scores: Tensor, options: PoseNMS
) -> _Picture:
    confidence = torch.where(confidence == 0, FLOOR, confidence)
    away = torch.linalg.vector_norm(points[:, None, :, :2] - points[None, ..., :2], dim=-1)
    reach = TENTH * (boxes[:, 2:] - boxes[:, :2]).amax(1).clamp_min(1e-9)
    picks, members = groups(confidence.mean(1), alike(confidence, away, reach, options))
    radius = reach if options.radius is None else reach.clamp_max(options.radius)
    merged, sure = merge(points, confidence, members, away[picks] <= radius[picks, None, None], options.highest)
    strong = torch.minimum(confidence[picks].amax(1), sure.amax(1)) >= options.least
    merged, sure, picks = merged[strong], sure[strong], picks[strong]
    proposal = sure.mean(1) + box_scores[picks] + 1.25 * sure.amax(1)
    return _Picture(merged, sure, proposal, picks, int((~strong).sum()))


def _by_oks(
    points: Tensor, confidence: Tensor, score: Tensor, boxes: Tensor, options: OksNMS, sigmas: Sequence[float]
) -> _Picture:
    picks, _ = groups(score, keypoint_similarity(points[..., :2], boxes, sigmas) > options.threshold)
    return _Picture(points[picks], confidence[picks], score[picks], picks)


def alike(confidence: Tensor, away: Tensor, reach: Tensor, options: PoseNMS) -> Tensor:
    """Whether each candidate of an image is the same person as each pick: (pick, candidate) bool.

    `confidence` (n, K); `away` (n, n, K) px between the joints of two; `reach` (n,) px, a tenth of the pick's box.
    """
    share = confidence.shape[1] / options.joints
    same = similarity(confidence, away / reach[:, None, None] if options.unit == "box" else away, options)
    result = same > options.gamma * share
    if options.matches:
        close = (away <= reach.clamp_max(options.near)[:, None, None]).sum(-1)
        result |= close >= options.matches * share
    return result


def similarity(confidence: Tensor, distance: Tensor, options: PoseNMS) -> Tensor:
    """f of confidences (n, K) and distances (n, n, K) in the options' unit: (n, n)."""
    sure = torch.tanh(confidence / options.delta1)
    apart = distance.square() if options.squared else distance
    return ((distance <= 1) * sure[:, None] * sure + options.mu * torch.exp(-apart / options.delta2)).sum(-1)


def keypoint_similarity(points: Tensor, boxes: Tensor, sigmas: Sequence[float]) -> Tensor:
    """OKS between the candidates (n, K, 2) of an image, over all joints, with the mean of the areas of their boxes
    (n, 4): (n, n)."""
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    scale = (area[:, None] + area) / 2 + np.spacing(1)
    away = (points[:, None] - points).square().sum(-1)
    return torch.exp(-away / (2 * points.new_tensor(sigmas)).square() / scale[..., None] / 2).mean(-1)


def groups(order: Tensor, same: Tensor) -> tuple[Tensor, Tensor]:
    """Who is picked, by the highest of `order` (n,) that is left, and with each pick whoever is left and is the `same`
    person (pick, candidate): picks (Q,) int64 and members (Q, n) bool, the picks among them."""
    table, left = same.numpy(), np.ones(len(order), bool)
    picks, members = [], []
    for pick in order.argsort(descending=True, stable=True).tolist():
        if left[pick]:
            group = left & table[pick]
            group[pick] = True
            left &= ~group
            picks.append(pick)
            members.append(group)
    rows = np.array(members, bool).reshape(-1, len(order))
    return torch.tensor(picks, dtype=torch.int64), torch.from_numpy(rows)


def merge(points: Tensor, confidence: Tensor, members: Tensor, within: Tensor, highest: bool) -> tuple[Tensor, Tensor]:
    """Points (Q, K, D) and confidence (Q, K) of groups `members` (Q, n) of candidates (n, K, D), of whose joints those
    `within` (Q, n, K) count."""
    counted = confidence * (members.unsqueeze(-1) & within)
    weight = counted / counted.sum(1, keepdim=True)
    sure = counted.amax(1) if highest else (weight * confidence).sum(1)
    return torch.einsum("qnk,nkd->qkd", weight, points), sure
