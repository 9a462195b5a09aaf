"""Where the other people of a picture are, told by their boxes: what RegDA on the root alone takes for a mistake."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

OTHERS = 8
"""Places of other people in `Item.inputs["others"]`."""


def others(boxes: np.ndarray, slot: int) -> np.ndarray:
    """(8, 3) float32: x and y of the middle of each other person's box (P, 4), and 1; zeros where there is nobody. Of
    more than 8 others the nearest."""
    made = np.zeros((OTHERS, 3), np.float32)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    rest = np.delete(middles, slot, 0)
    if len(rest) > OTHERS:
        near = np.argsort(np.linalg.norm(rest - middles[slot], axis=1), kind="stable")[:OTHERS]
        rest = rest[np.sort(near)]
    made[: len(rest), :2], made[: len(rest), 2] = rest, 1
    return made


def by_picture(pictures: Sequence[str]) -> dict[str, list[int]]:
    """The rows of each picture, in their order."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, picture in enumerate(pictures):
        rows[picture].append(row)
    return dict(rows)
