"""The grouping of the published code step by step, candidate by candidate: what grouping.py is held against, and what
`keyshift bench` compares it with.

After HRNet/HigherHRNet-Human-Pose-Estimation, lib/core/group.py (MIT licence), written anew. Two choices are ours:
scipy solves the assignment, on the published matrix, and means are sums in the order of entering, in float32, by their
number (numpy's mean adds eight and more single numbers in another order, which may change the last bit).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .grouping import Array, Rules, keypoint_order


def group_exact(scores: Array, cells: NDArray[np.int64], tags: Array, rules: Rules) -> Array:
    """As grouping.py's `group`."""
    from scipy.optimize import linear_sum_assignment

    count, _, dims = tags.shape
    people: dict[Any, NDArray[np.float64]] = {}
    entered: dict[Any, list[Array]] = {}
    for k in keypoint_order(count):
        rows = np.concatenate((cells[k], scores[k, :, None], tags[k]), 1)
        mask = rows[:, 2] > rules.threshold
        own, rows = tags[k][mask], rows[mask]
        if not len(rows):
            continue
        if not people:
            for tag, row in zip(own, rows, strict=True):
                people.setdefault(tag[0], np.zeros((count, 3 + dims)))[k] = row
                entered[tag[0]] = [tag]
            continue
        keys = list(people)[: rules.most]
        means = np.array([mean(entered[key]) for key in keys])
        away = np.linalg.norm(rows[:, None, 3:] - means[None], ord=2, axis=2)
        cost = np.round(away) * 100 - rows[:, 2:3]
        more = len(rows) - len(keys)
        if more > 0:
            cost = np.concatenate((cost, np.zeros((len(rows), more)) + 1e10), axis=1)
        for row, column in zip(*linear_sum_assignment(cost), strict=True):
            if column < len(keys) and away[row, column] < rules.apart:
                people[keys[column]][k] = rows[row]
                entered[keys[column]].append(own[row])
            else:
                key = own[row][0]
                people.setdefault(key, np.zeros((count, 3 + dims)))[k] = rows[row]
                entered[key] = [own[row]]
    return np.array(list(people.values())).reshape(-1, count, 3 + dims).astype(np.float32)


def mean(tags: list[Array]) -> Array:
    total = tags[0]
    for tag in tags[1:]:
        total = total + tag
    return total / np.float32(len(tags))


def adjust_exact(people: Array, heat: Array) -> None:
    """As grouping.py's `place` with `adjust`."""
    for person in people:
        for k, row in enumerate(person):
            if row[2] > 0:
                x, y = row[:2]
                row[:2] = x + 0.5 + _quarter(heat[k], int(x), int(y)), y + 0.5 + _quarter(heat[k].T, int(y), int(x))


def _quarter(heat: Array, x: int, y: int) -> float:
    right, left = heat[y, min(x + 1, heat.shape[1] - 1)], heat[y, max(x - 1, 0)]
    return 0.25 if right > left else -0.25


def refine_exact(people: Array, heat: Array, tags: Array) -> None:
    """As grouping.py's `refine` with `adjust`: every keypoint of every person is searched for in the whole map."""
    for person in people:
        own = mean([tags[k, :, int(y), int(x)] for k, (x, y, score) in enumerate(person[:, :3]) if score > 0])
        for k, row in enumerate(person):
            away = ((tags[k].transpose(1, 2, 0) - own) ** 2).sum(axis=2) ** 0.5
            y, x = map(int, np.unravel_index(np.argmax(heat[k] - np.round(away)), heat[k].shape))
            score = heat[k, y, x]
            if row[2] == 0 and score > 0:
                row[:2] = x + 0.5 + _quarter(heat[k], x, y), y + 0.5 + _quarter(heat[k].T, y, x)
                row[2] = score
