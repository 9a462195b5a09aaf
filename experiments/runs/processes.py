"""Jobs by processes of this machine, each with its own cores, and where there are several GPUs with one of them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self, cast

import torch

from ...datasets.reading.files import cores
from .job import Job
from .progress import counted
from .worker import Done, Failed, Lost, Message, Worker

SPAWN = get_context("spawn")
GPUS = "CUDA_VISIBLE_DEVICES"


class Processes:
    """A crew of `count` processes. Each computes with `cpus` threads, by default its part of the cores, and has the
    share `gpus` of a GPU where that is said, so that fewer work at once where the GPUs do not suffice.

    Raises ValueError for what this machine does not have.
    """

    def __init__(self, count: int, cpus: int | None = None, gpus: float | None = None) -> None:
        seen = gpus_here()
        if gpus is not None:
            if not seen:
                raise ValueError("--gpus: torch sees no GPU here; leave it out")
            count = min(count, len(seen) * int(1 / gpus))
        self.count, self.cpus = count, cpus or max(1, cores() // count)
        self.gpus = seen if len(seen) > 1 else []
        self.slots: list[Slot] = []

    def __str__(self) -> str:
        gpus = f", on {len(self.gpus)} GPUs in turn" if self.gpus else ""
        return f"{self.count} runs at once, each with {counted(self.cpus, 'thread')}{gpus} ({cores()} cores here)"

    @property
    def room(self) -> bool:
        return sum(slot.job is not None for slot in self.slots) < self.count

    def start(self, job: Job) -> None:
        idle = next((slot for slot in self.slots if slot.job is None), None)
        if idle is None:
            number = min(set(range(self.count)) - {slot.number for slot in self.slots})
            gpu = {GPUS: self.gpus[number % len(self.gpus)]} if self.gpus else {}
            self.slots.append(idle := Slot(number, self.cpus, gpu))
        idle.give(job)

    def messages(self, wait: float) -> Iterator[tuple[Job, Message]]:
        busy = [slot for slot in self.slots if slot.job is not None]
        ready = connection.wait([place for slot in busy for place in (slot.pipe, slot.process.sentinel)], wait)
        for slot in busy:
            if slot.pipe in ready or slot.process.sentinel in ready:
                job, message = slot.receive()
                if isinstance(message, Lost):
                    self.slots.remove(slot)
                yield job, message

    def stop(self) -> None:
        for slot in self.slots:
            slot.process.terminate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for slot in self.slots:
            slot.pipe.close()  # an idle one ends by that
            if error is not None:
                slot.process.terminate()
        for slot in self.slots:
            slot.process.join()


class Slot:
    """One process, and the job that it does."""

    def __init__(self, number: int, cpus: int, environment: dict[str, str]) -> None:
        self.number, self.job = number, cast(Job | None, None)
        self.pipe, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=serve, args=(theirs, cpus))
        with inherited({"OMP_NUM_THREADS": str(cpus)} | environment):
            self.process.start()
        theirs.close()

    def give(self, job: Job) -> None:
        self.job = job
        with suppress(OSError):  # it is gone, which is noticed when it is listened to
            self.pipe.send(job)

    def receive(self) -> tuple[Job, Message]:
        """The next message of its job, which must be there, or that the process is gone."""
        assert self.job is not None
        job = self.job
        try:
            message = self.pipe.recv() if self.pipe.poll() else Lost(self.end())
        except (EOFError, OSError):
            message = Lost(self.end())
        if isinstance(message, Done | Failed | Lost):
            self.job = None
        return job, message

    def end(self) -> str:
        self.process.join()
        code = self.process.exitcode or 0
        return f"its process was killed ({signal.Signals(-code).name})" if code < 0 else "its process ended"


@contextmanager
def inherited(environment: dict[str, str]) -> Iterator[None]:
    """A process that starts within it has these variables, and is deaf to Ctrl-C."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def serve(pipe: Connection, cpus: int) -> None:
    """The work of a process: jobs out of a pipe, until that is closed."""
    apart()
    worker = Worker()

    def send(message: Message) -> None:
        with suppress(OSError):  # the one who asked is gone, and so soon is this process
            pipe.send(message)

    with suppress(EOFError, ConnectionError, KeyboardInterrupt):
        while True:
            send(worker.do(pipe.recv(), cpus, send))


def apart() -> None:
    """Make this a process that Ctrl-C of a terminal does not reach: the one that started it asks it to stop, by
    SIGTERM. It stops too where that one is gone."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()


def gpus_here() -> list[str]:
    """As CUDA_VISIBLE_DEVICES names them."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = [one for one in os.environ.get(GPUS, "").split(",") if one]
    return (named or [str(number) for number in range(count)])[:count]
