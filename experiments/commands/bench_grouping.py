"""`keyshift bench grouping`: candidates to people, against the published form step by step. Both leave the assignment
to scipy, so that what differs is the rest; the people are the same (tests/models/test_grouping.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...models.grouping import Rules, group, place, refine
from ...models.grouping_exact import adjust_exact, group_exact, refine_exact

PEOPLE, KEYPOINTS, SIDE = 30, 17, 512
TIMES = 20
"""That a grouping is repeated between two looks at the clock."""
LACKING = 0.2
"""Share of the keypoints that a person lacks, where these are searched for."""


def rows(alternate: Callable[..., dict[str, float]]) -> list[tuple[str, str, str]]:
    """Grouping alone, with a mirror image's tags too, and what follows in maps of the input's size."""
    table, what = [], f"{PEOPLE} people x {KEYPOINTS} keypoints"
    for dims, name in ((1, what), (2, f"{what}, tags of a mirror image too")):
        given = candidates(np.random.default_rng(0), dims)
        sides = {"ours": repeated(group, *given), "exact": repeated(group_exact, *given)}
        seconds = alternate(sides, rounds=15)
        table += [
            (f"{name}: step by step / grouping", f"{seconds['exact'] / seconds['ours']:.1f}", "at least 3"),
            (f"{name}: grouping, ms", f"{1000 * seconds['ours'] / TIMES:.2f}", ""),
        ]
    return table + _in_maps(alternate)


def candidates(rng: np.random.Generator, dims: int) -> tuple[Any, Any, Any]:
    """Scores (K, M), cells (K, M, 2) and tags (K, M, T) of people whose tags are 1.5 apart."""
    order = np.stack([rng.permutation(PEOPLE) for _ in range(KEYPOINTS)])
    tags = 1.5 * order[..., None] + rng.normal(0, 0.1, (*order.shape, dims))
    scores = -np.sort(-rng.uniform(0.2, 1, order.shape), 1)
    cells = rng.integers(0, SIDE, (*order.shape, 2))
    return scores.astype(np.float32), cells, tags.astype(np.float32)


def repeated(form: Callable[..., object], *given: Any) -> Callable[[], None]:
    def run() -> None:
        for _ in range(TIMES):
            form(*given, Rules())

    return run


def _in_maps(alternate: Callable[..., dict[str, float]]) -> list[tuple[str, str, str]]:
    """Where missing keypoints are searched for: each person has a region of her own in each map of tags."""
    rng = np.random.default_rng(1)
    scores, cells, at = candidates(rng, 1)
    middles = cells[np.arange(KEYPOINTS)[:, None], np.argsort(at[..., 0], 1)]
    y, x = np.mgrid[:SIDE, :SIDE]
    near = [
        ((x - a[:, None, None]) ** 2 + (y - b[:, None, None]) ** 2).argmin(0) for a, b in middles.transpose(0, 2, 1)
    ]
    tags = (1.5 * np.stack(near) + rng.normal(0, 0.1, (KEYPOINTS, SIDE, SIDE))).astype(np.float32)[:, None]
    heat = rng.normal(0, 0.02, (KEYPOINTS, SIDE, SIDE)).astype(np.float32)
    heat[np.arange(KEYPOINTS)[:, None], cells[..., 1], cells[..., 0]] = scores
    people = group(scores, cells, at, Rules())
    people[rng.random(people.shape[:2]) < LACKING] = 0
    placed = people.copy()
    place(placed, heat, adjust=True)
    sides = {
        "place": lambda: place(people.copy(), heat, adjust=True),
        "exact place": lambda: adjust_exact(people.copy(), heat),
        "refine": lambda: refine(placed.copy(), heat, tags, cells, adjust=True),
        "exact refine": lambda: refine_exact(placed.copy(), heat, tags),
    }
    seconds = alternate(sides, rounds=3)
    return [
        ("quarters of a cell: step by step / ours", f"{seconds['exact place'] / seconds['place']:.1f}", "at least 3"),
        (
            f"{LACKING:.0%} missing keypoints, maps of {SIDE} x {SIDE}: step by step / ours",
            f"{seconds['exact refine'] / seconds['refine']:.1f}",
            "at least 3",
        ),
        ("the same, ms", f"{1000 * seconds['refine']:.0f}", ""),
    ]
