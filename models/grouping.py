"""Candidates of keypoints, put together to people by their tags (associative embedding), and what is done with people.

Newell et al., NIPS 2017, in the form of HRNet/HigherHRNet-Human-Pose-Estimation @ aa23881, lib/core/group.py: keypoint
by keypoint the candidates are assigned to the people so far by the distance of their tags to the person's mean, in
whole numbers, and among equals by their scores. grouping_exact.py has the same step by step, of which the people here
are the same to the bit; what differs is the time. Whole numbers make ties of the cost common, not rare: two candidates
and two people whose tags lie within a half change places at no cost. Which of the two is taken depends on who solves
the assignment, here and there scipy on the same matrix; the published code asks the package munkres.

Needs numpy and scipy alone, and nothing else of keyshift: a program that runs an exported network can take this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
ORDER = (0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16)
"""COCO's keypoints as they are grouped: head, shoulders, hips, then limbs."""
UNWANTED = 1e10
"""What it costs to leave a candidate to nobody, where there are more of them than people."""
COARSE = 4
"""Where a missing keypoint is searched for, one cell in so many is looked at first along either axis."""


@dataclass(frozen=True)
class Rules:
    """How candidates become people."""

    threshold: float = 0.1
    """Candidates of a score above it take part."""
    apart: float = 1.0
    """Distance of a candidate's tag from a person's mean, from which on they are two people."""
    most: int = 30
    """People that later candidates are compared with, those found first; there may be more."""
    adjust: bool = True
    """Points are moved by a quarter of a cell to the higher neighbour."""
    refine: bool = True
    """Keypoints that a person lacks are searched for in the maps."""


def keypoint_order(count: int) -> list[int]:
    """The order in which `count` keypoints are grouped: `ORDER` as far as it goes, then the rest. Of CrowdPose's 14 it
    is the published one too."""
    return [k for k in ORDER if k < count] + list(range(len(ORDER), count))


def people_in(
    heat: Array, tags: Array, scores: Array, cells: NDArray[np.int64], at: Array, rules: Rules
) -> tuple[Array, Array]:
    """The people of one picture: (P, K, 3), x and y in cells of the maps, whose middles stand at +0.5, and a score, 0
    of keypoints that were not found; and the people's scores (P,).

    `heat` (K, H, W), `tags` (K, T, H, W); the candidates' `scores` (K, M), `cells` (K, M, 2), x first, and tags `at`
    (K, M, T). A person's score is the mean of the keypoints' before missing ones are searched for. A keypoint that was
    not found stands in the middle of the person's others; the reference leaves it at the corner.
    """
    people = group(scores, cells, at, rules)
    certain = people[..., 2].mean(1)
    place(people, heat, rules.adjust)
    if rules.refine:
        refine(people, heat, tags, cells, rules.adjust)
    points, known = people[..., :2], people[..., 2:3] > 0
    middle = (points * known).sum(1, keepdims=True) / np.maximum(known.sum(1, keepdims=True), 1)
    return np.concatenate([np.where(known, points, middle), people[..., 2:3]], -1, dtype=np.float32), certain


def people_of(outputs: Mapping[str, Any], notes: Mapping[str, Any]) -> tuple[Array, Array, Array]:
    """`people_in` one picture, of what an exported network gives for it, each (1, ...): points (P, K, 2) in pixels of
    the input, confidence (P, K) and score (P,). `notes` are what the network's file says under `people`."""
    heat, tags, scores, cells, at = (outputs[name][0] for name in ("heat", "tags", "scores", "cells", "at"))
    people, score = people_in(heat, tags, scores, cells, at, Rules(**notes["rules"]))
    return people[..., :2] * np.float32(notes["stride"]), people[..., 2].clip(0, 1), score


def group(scores: Array, cells: NDArray[np.int64], tags: Array, rules: Rules) -> Array:
    """People (P, K, 3 + T): x and y of the cell, score, tag; zeros of keypoints that were not found. Of candidates by
    keypoint: `scores` (K, M), `cells` (K, M, 2), `tags` (K, M, T)."""
    count = len(scores)
    sure, wide = scores.astype(np.float64), tags.astype(np.float64)
    kept = sure > rules.threshold
    crowd = _Crowd(int(kept.sum()), count, tags.shape[2])
    for k in keypoint_order(count):
        mine = kept[k].nonzero()[0]
        if not len(mine):
            continue
        compared = min(len(crowd.index), rules.most)
        if not compared:
            crowd.enter(k, mine, tags[k, mine], np.full(len(mine), -1))
            continue
        away = distances(wide[k, mine], crowd.means(compared))
        row, person = assigned(np.rint(away) * 100 - sure[k, mine, None])
        known = person < compared
        known[known] = away[row[known], person[known]] < rules.apart
        crowd.enter(k, mine, tags[k, mine], np.where(known, person, -1))
    return crowd.people(np.concatenate([cells, scores[..., None], tags], -1, dtype=np.float32))


def distances(tags: NDArray[np.float64], means: Array) -> NDArray[np.float64]:
    """Of tags (N, T) from means (P, T): (N, P)."""
    if tags.shape[1] == 1:
        return np.abs(tags - means.T)
    return np.sqrt(sum(np.square(tag[:, None] - mean) for tag, mean in zip(tags.T, means.T, strict=True)))


def assigned(cost: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All rows and their columns at the least cost; columns beyond the matrix where it has fewer than rows."""
    from scipy.optimize import linear_sum_assignment

    candidates, people = cost.shape
    if candidates > people:
        cost = np.concatenate([cost, np.full((candidates, candidates - people), UNWANTED)], 1)
    return linear_sum_assignment(cost)


class _Crowd:
    """The people so far, in arrays with room for `most`: whose candidates are whose, and what their tags add up to.

    Who is new is known by the first number of the tag; where that is somebody's already, the keypoint is that
    person's, and the tag the only one that the person has from then on.
    """

    def __init__(self, most: int, keypoints: int, dims: int) -> None:
        self.taken = np.full((most, keypoints), -1)
        self.sums, self.counts = np.zeros((most, dims), np.float32), np.zeros((most, 1), np.float32)
        self.index: dict[float, int] = {}

    def means(self, count: int) -> Array:
        """The mean tags of the first `count`: (count, T)."""
        return self.sums[:count] / self.counts[:count]

    def people(self, rows: Array) -> Array:
        """What is said of the candidates, (K, M, ...), by person, zeros where nobody's: (P, K, ...)."""
        taken = self.taken[: len(self.index)]
        return rows[np.arange(len(rows)), taken] * (taken >= 0)[..., None]

    def enter(self, k: int, candidates: NDArray[np.int64], tags: Array, person: NDArray[np.int64]) -> None:
        """Candidates (N,) of keypoint k with their tags (N, T), and whose they are (N,), -1 where somebody's who is
        new."""
        new, first = person < 0, len(self.index)
        keys = tags[new, 0].tolist()
        if len(set(keys)) < len(keys) or not self.index.keys().isdisjoint(keys):
            self.enter_each(k, candidates, tags, person)
            return
        self.index.update(zip(keys, range(first, first + len(keys)), strict=True))
        person[new] = np.arange(first, len(self.index))
        self.taken[person, k] = candidates
        self.sums[person] += tags
        self.counts[person] += 1

    def enter_each(self, k: int, candidates: NDArray[np.int64], tags: Array, person: NDArray[np.int64]) -> None:
        """The same one after the other: somebody new may be somebody known by the tag."""
        for candidate, tag, who in zip(candidates.tolist(), tags, person.tolist(), strict=True):
            if who < 0:
                who = self.index.setdefault(float(tag[0]), len(self.index))
                self.sums[who], self.counts[who] = 0, 0
            self.taken[who, k] = candidate
            self.sums[who] += tag
            self.counts[who] += 1


def place(people: Array, heat: Array, adjust: bool) -> None:
    """Moves the points of `people` (P, K, 3 + T) from cells to the cells' middles, and with `adjust` a quarter of a
    cell to the higher neighbour, to the lower one of equals. What was not found stays."""
    keypoint = np.broadcast_to(np.arange(people.shape[1]), people.shape[:2])
    x, y = people[..., 0].astype(np.int64), people[..., 1].astype(np.int64)
    points = np.stack([x, y], -1) + 0.5
    if adjust:
        points += quarters(heat, keypoint, x, y)
    people[..., :2] = np.where(people[..., 2:3] > 0, points, people[..., :2])


def quarters(
    heat: Array, keypoint: NDArray[np.int64], x: NDArray[np.int64], y: NDArray[np.int64]
) -> NDArray[np.float64]:
    """A quarter of a cell towards the higher neighbour in `heat` (K, H, W), x and y: (..., 2)."""
    height, width = heat.shape[1:]
    right = heat[keypoint, y, np.minimum(x + 1, width - 1)] > heat[keypoint, y, np.maximum(x - 1, 0)]
    below = heat[keypoint, np.minimum(y + 1, height - 1), x] > heat[keypoint, np.maximum(y - 1, 0), x]
    return np.where(np.stack([right, below], -1), 0.25, -0.25)


def refine(people: Array, heat: Array, tags: Array, cells: NDArray[np.int64], adjust: bool) -> None:
    """Gives `people` (P, K, 3 + T) the keypoints that they lack: where heat less the rounded distance of the tag from
    the person's mean is highest, if the heat there is above 0.

    What is highest among the candidates (K, M, 2) and among few of the cells bounds it from below, and since distances
    are not negative, cells of less heat than the bound cannot be it: they are not looked at.
    """
    means = mean_tags(people, tags)
    for k in np.flatnonzero((people[..., 2] == 0).any(0)).tolist():
        missing = np.flatnonzero(people[:, k, 2] == 0)
        x, y = strongest(heat[k], tags[k], means[missing], cells[k])
        score = heat[k, y, x]
        there = score > 0
        missing, x, y = missing[there], x[there], y[there]
        points = np.stack([x, y], -1) + 0.5
        people[missing, k, :2] = points + quarters(heat, np.full_like(x, k), x, y) if adjust else points
        people[missing, k, 2] = score[there]


def mean_tags(people: Array, tags: Array) -> Array:
    """The means (P, T) of the tags (K, T, H, W) at the keypoints that were found, which are added in their order."""
    keypoint = np.arange(people.shape[1])
    known = people[..., 2:3] > 0
    x, y = people[..., 0].astype(np.int64), people[..., 1].astype(np.int64)
    own = np.where(known, tags[keypoint, :, y, x], np.float32(0))
    total = np.cumsum(own, 1, np.float32)[:, -1]
    return total / np.maximum(known.sum(1), 1).astype(np.float32)


def strongest(
    heat: Array, tags: Array, means: Array, cells: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The cells x (P,) and y (P,) where `heat` (H, W) less the rounded distance of `tags` (T, H, W) from each of the
    `means` (P, T) is highest, the first of equals; `cells` (M, 2) are likely ones."""
    width, few = heat.shape[1], (slice(None, None, COARSE),) * 2
    x, y = cells.T
    likely = worth(heat[y, x], tags[:, y, x], means).max(1)
    bound = np.maximum(likely, worth(heat[few].ravel(), tags[:, *few].reshape(len(tags), -1), means).max(1))
    some = np.flatnonzero(heat.ravel() >= bound.min())
    flat, spread = heat.ravel()[some], tags.reshape(len(tags), -1)[:, some]
    best = np.empty(len(means), np.int64)
    for person, least in enumerate(bound):
        chosen = np.flatnonzero(flat >= least)
        best[person] = some[chosen[worth(flat[chosen], spread[:, chosen], means[person, None])[0].argmax()]]
    return best % width, best // width


def worth(heat: Array, tags: Array, means: Array) -> Array:
    """`heat` (N,) less the rounded distances of `tags` (T, N) from `means` (P, T): (P, N)."""
    away = sum(np.square(tag - mean[:, None]) for tag, mean in zip(tags, means.T, strict=True))
    return heat - np.rint(np.sqrt(away))
