"""All samples of a dataset, each looked at by itself, on all cores, in their order."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import connection, get_context, parent_process
from tempfile import NamedTemporaryFile
from typing import Any, TypeVar

import cv2

from ..sample import PoseDataset
from ..views import innermost
from .files import cores
from .people import PictureSet
from .turns import in_turn
from .video import is_frame

MANY = 2000
"""Samples from which processes are worth their start of some seconds; fewer are shared among threads."""
MOST = 32
"""Processes, of some hundred MB each, or threads."""
AT_ONCE, FILMED = 16, 64
"""Samples that one process takes at once; frames of videos, which are decoded in their order from a key frame."""
T = TypeVar("T")
_work: Callable[[int], Any]


@contextmanager
def shared_out(work: Callable[[int], T], dataset: PoseDataset, rows: range) -> Iterator[Iterator[T]]:
    """work(row) of all `rows` of a dataset, in their order; for each core no more than FILMED are ahead of the reader.
    Of large sets processes do it: `work` must be a function of a module, or a `partial` of one. Raises what `work`
    raises."""
    inner = innermost(dataset)
    film = isinstance(inner, PictureSet) and any(map(is_frame, inner.people.pictures))
    apart = len(rows) >= MANY and cores() > 1
    with NamedTemporaryFile() as file:  # through a pipe, each process would wait until the one before it had started
        executor, run = _processes(work, file) if apart else _threads(work, 1 if film else _workers())
        try:
            yield _in_order(executor, run, rows, FILMED if film else AT_ONCE)
        finally:
            executor.shutdown(cancel_futures=True)


Run = Callable[[range], list[Any]]


def _threads(work: Callable[[int], T], threads: int) -> tuple[Executor, Run]:
    return ThreadPoolExecutor(threads), partial(_each, work)


def _processes(work: Callable[[int], T], file: Any) -> tuple[Executor, Run]:
    pickle.dump(work, file)
    file.flush()
    return ProcessPoolExecutor(_workers(), get_context("spawn"), _begin, (file.name,)), _run


def _begin(path: str) -> None:
    """Get ready in a process that leaves interrupts to the one that started it, and ends with that one."""
    global _work
    with open(path, "rb") as file:
        _work = pickle.load(file)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _run(rows: range) -> list[Any]:
    return _each(_work, rows)


def _each(work: Callable[[int], T], rows: range) -> list[T]:
    return [work(row) for row in rows]


def _in_order(executor: Executor, run: Run, rows: range, at_once: int) -> Iterator[Any]:
    some = (executor.submit(run, rows[start : start + at_once]) for start in range(0, len(rows), at_once))
    for made in in_turn(some, _workers()):
        yield from made


def _workers() -> int:
    return min(cores(), MOST)
