"""Work that executors do ahead of who uses it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_turn(submitted: Iterator[Future[T]], ahead: int) -> Iterator[T]:
    """What futures give, in their order; `ahead` of them are submitted before one is waited for."""
    waiting: deque[Future[T]] = deque()
    for future in submitted:
        waiting.append(future)
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
