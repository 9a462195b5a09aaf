"""Parameters of pose NMS from data: a search by pairs for the highest average precision on labelled pictures.

As RMPE does (Fang et al., ICCV 2017, section 3.4): two of the four are held while the other two are searched, and in
turn. Here each pair is tried on a grid of factors about the best so far, which is narrowed round by round; a value is
taken where it is better, of equals the one that changes least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from ...models.output import Poses
from ...models.pose_nms import OksNMS, PoseNMS, one_each
from .oks_ap import FlatPeople, oks_ap

PAIRS = (("mu", "gamma"), ("delta1", "delta2"))
STEPS = sorted(product((-2, -1, 0, 1, 2), repeat=2), key=lambda step: (abs(step[0]) + abs(step[1]), step))[1:]
ROUNDS = 3
TRIALS = ROUNDS * len(PAIRS) * len(STEPS)


@dataclass(frozen=True)
class Candidates:
    """P candidates, as `one_each` takes them."""

    poses: Poses
    boxes: Tensor
    """(P, 4)"""
    box_scores: Tensor
    """(P,)"""

    def of(self, images: Tensor) -> Candidates:
        """Those of some images."""
        rows = torch.isin(self.poses.image_index, images)
        return Candidates(self.poses.each(lambda value: value[rows]), self.boxes[rows], self.box_scores[rows])


def precision_of(
    candidates: Candidates, options: PoseNMS | OksNMS | None, truth: FlatPeople, sigmas: Sequence[float]
) -> tuple[float, int]:
    """OKS-AP of the people that candidates are put together to, and how many they are; None: of the candidates
    themselves. Both have the same K joints, whose fall-offs are `sigmas`."""
    poses = candidates.poses
    if options is not None:
        poses = one_each(poses, options, candidates.boxes, candidates.box_scores, sigmas).poses
    return float(oks_ap(poses, truth, sigmas).mean()), len(poses)


def fit(
    start: PoseNMS, score: Callable[[PoseNMS], float], count: Callable[[int], object] = lambda done: None
) -> PoseNMS:
    """The parameters of the highest `score` that the search meets from `start`; `count` is told each of TRIALS."""
    best, highest, done = start, score(start), 0
    for narrowed in range(ROUNDS):
        ratio = 2 ** (0.5**narrowed)
        for pair in PAIRS:
            middle = best
            for step in STEPS:
                values = {name: getattr(middle, name) * ratio**power for name, power in zip(pair, step, strict=True)}
                tried = replace(middle, **values)
                reached = score(tried)
                if reached > highest:
                    best, highest = tried, reached
                done += 1
                count(done)
    return best
