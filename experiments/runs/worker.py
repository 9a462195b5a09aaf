"""What a worker does with jobs, on this machine or another, and what it sends of them to the process that is asked by
the user: messages, plain data."""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from ..failures import line_of
from .device import threads
from .job import Job, work
from .progress import Callback
from .task import Task
from .training import Stage

EVERY = 0.2
"""Seconds between messages about progress, but for those with metrics."""


@dataclass(frozen=True)
class Step:
    """How far a job is."""

    done: int
    steps: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Said:
    """A line for the user."""

    text: str


@dataclass(frozen=True)
class Done:
    pass


@dataclass(frozen=True)
class Failed:
    """An error ended a job: it would do so again."""

    text: str


@dataclass(frozen=True)
class Lost:
    """The worker is gone, and with it what the job did since its last checkpoint."""

    why: str


Message = Step | Said | Done | Failed | Lost
Send = Callable[[Message], None]


class Worker:
    """Does jobs. The task of the last one stays open for the next."""

    def __init__(self) -> None:
        self.shared, self.task = "", cast(Task | None, None)

    def do(self, job: Job, cpus: int, send: Send) -> Done | Failed:
        """Do a job with `cpus` threads, sending what goes on; gives what it ended in. What ends it from outside
        (KeyboardInterrupt) is not caught."""
        try:
            with threads(cpus), sent_warnings(send):
                work(job, self.opened(job), sending(send), lambda text: send(Said(text)), wait=True)
        except Exception as error:
            line = str(error) if isinstance(error, ArithmeticError) else line_of(error)
            return Failed(line or "".join(traceback.format_exception(error)).rstrip())
        return Done()

    def opened(self, job: Job) -> Task:
        if self.task is None or self.shared != job.shared():
            with warnings.catch_warnings():  # what may be wrong with the data was said when the command began
                warnings.simplefilter("ignore")
                self.task = job.task()
                self.shared = job.shared()
        return self.task


def sending(send: Send) -> Stage:
    """Stages whose progress is sent."""

    @contextmanager
    def stage(title: str, steps: int) -> Iterator[Callback]:
        sent = time.monotonic()
        send(Step(0, steps, {}))

        def step(done: int, metrics: dict[str, float]) -> None:
            nonlocal sent
            if metrics or time.monotonic() - sent > EVERY:
                sent = time.monotonic()
                send(Step(done, steps, metrics))

        yield step

    return stage


@contextmanager
def sent_warnings(send: Send) -> Iterator[None]:
    """Within it warnings are sent, each text once."""
    seen = set[str]()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        text = " ".join(str(message).split())
        if text not in seen:
            seen.add(text)
            send(Said(f"warning: {text}"))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
