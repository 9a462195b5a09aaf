"""What rendered scenes of several people or hands share: boxes around what is seen of each, and rendering ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

from ..reading.files import cores
from ..reading.turns import in_turn

Array = np.ndarray
Made = TypeVar("Made")
LEAST = 24
"""Pixels of a person or hand that a box is drawn around; of fewer, the box is around all of it."""


def in_order(make: Callable[[int], Made], numbers: Iterable[int]) -> Iterator[Made]:
    """What is made of each number, in their order, by one thread for each core, a few ahead; within one scene,
    operations are too small to be shared among cores."""
    threads, many = torch.get_num_threads(), cores()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(many) as pool:
            yield from in_turn((pool.submit(make, number) for number in numbers), 4 * many)
    finally:
        torch.set_num_threads(threads)


def seen_boxes(owner: Array, whole: Array) -> tuple[Array, Array]:
    """(P, 4) px around the pixels that each of P owns in `owner` (S, S), its box of `whole` (P, 4) where these are
    fewer than LEAST; and how many they are, (P,)."""
    boxes, counts = whole.copy(), np.zeros(len(whole), np.int64)
    for slot in range(len(whole)):
        mask = owner == slot
        counts[slot] = mask.sum()
        if counts[slot] >= LEAST:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            boxes[slot] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes, counts


def padded(values: Array, most: int) -> Array:
    """(P, ...) with zeros to (most, ...)."""
    return np.concatenate([values, np.zeros((most - len(values), *values.shape[1:]), values.dtype)])
