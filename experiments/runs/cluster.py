"""Jobs by the nodes of a Ray cluster (the extra `cluster`). Ray places them by what they need of CPUs and GPUs.

A node that sees the run folder, on storage that it shares with this process, works there. Any other works in a
temporary folder: what is there already is sent to it through Ray's object store, and what it writes comes back the same
way, at checkpoints and at the end, so that another node goes on where it dies.
"""

from __future__ import annotations

import logging
import os
import pickle
import platform
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ...datasets.reading.files import write_whole
from .job import Job
from .progress import Reporter, counted
from .worker import Done, Failed, Lost, Message, Step, Worker

SENT_EVERY = 60.0
"""Seconds between checkpoints that come back from a node without shared storage."""
ANSWERS = 10.0
"""Seconds that a cluster has to answer."""
PROBED = 60.0
"""Seconds that a node has to say what it sees."""
LAST = ("checkpoint.pt", "result.json", "done")
"""Files that say that others are there."""
HINT = "the data and files that the configuration names must lie under the same paths on every node"
Contents = dict[str, bytes]
"""Files of a folder, by name."""


@dataclass(frozen=True)
class Asked:
    """What a node is to do, and what it has to know of the process that asks."""

    job: Job
    attempt: str
    cpus: int
    mark: str
    every: float
    place: str
    environment: dict[str, str]


@dataclass(frozen=True)
class Files:
    """What a node without shared storage wrote since it sent the last ones, and what it deleted."""

    changed: Contents
    gone: set[str]


class Cluster:
    """A crew of a Ray cluster's nodes. Each job has `cpus` CPUs and computes with as many threads, and has the share
    `gpus` of a GPU: by default a whole one where the cluster has GPUs and the job's `device` is not cpu.

    Raises ValueError where there is no Ray, or no cluster at the address.
    """

    room = True  # what no node has room for waits in Ray

    def __init__(self, address: str, reporter: Reporter, cpus: int = 1, gpus: float | None = None) -> None:
        self.address, self.reporter, self.cpus, self.gpus = address, reporter, cpus, gpus
        self.mark, self.marked = f".keyshift-{uuid.uuid4().hex}", set[Path]()
        self.running: dict[Any, tuple[Job, str]] = {}
        """By what Ray will answer: the job, and the name of the attempt."""
        self.blind: bool | None = None
        """Whether there are nodes that do not see run folders; None before they are asked."""

    def __str__(self) -> str:
        nodes, resources = self.nodes(), self.ray.cluster_resources()
        has = f"{counted(int(resources.get('CPU', 0)), 'CPU')} and {counted(int(resources.get('GPU', 0)), 'GPU')}"
        return (
            f"Ray cluster at {self.address}: {counted(len(nodes), 'node')} with {has}; each run has "
            f"{counted(self.cpus, 'CPU')}, as threads"
        )

    def __enter__(self) -> Self:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
            from ray.util.queue import Queue
        except ImportError as error:
            raise ValueError("--ray needs Ray: pip install 'keyshift[cluster]'") from error
        host, _, port = self.address.removeprefix("ray://").rpartition(":")
        try:
            if port.isdigit():  # Ray would try for minutes
                socket.create_connection((host, int(port)), ANSWERS).close()
            ray.init(self.address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"no Ray cluster at {self.address}: {' '.join(str(error).split())[:200]}; start one (ray start --head) "
                "and give the address that it says"
            ) from error
        self.ray = ray
        self.queue = Queue(actor_options={"num_cpus": 0, **self.on(ray.get_runtime_context().get_node_id())})
        self.serve = ray.remote(serve)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for folder in self.marked:
            (folder / self.mark).unlink(missing_ok=True)
        self.ray.shutdown()

    def nodes(self) -> list[dict[str, Any]]:
        """Those that may do jobs."""
        return [one for one in self.ray.nodes() if one["Alive"] and one["Resources"].get("CPU", 0) > 0]

    def on(self, node: str) -> dict[str, Any]:
        """The option of Ray that binds something to a node."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}

    def start(self, job: Job) -> None:
        folder = Path(job.folder).absolute()
        self.sign(folder.parent)
        if self.blind is None:
            self.blind = self.ask(folder.parent)
        there = replace(job, folder=str(folder))
        attempt = uuid.uuid4().hex
        environment = {key: value for key, value in os.environ.items() if key.startswith("KEYSHIFT_")}
        asked = Asked(there, attempt, self.cpus, self.mark, SENT_EVERY, os.getcwd(), environment)
        sent = [self.ray.put((contents(folder), self.pretrained(job)))] if self.blind else []
        gpus = self.share(job)
        task = self.serve.options(num_cpus=self.cpus, num_gpus=gpus, max_retries=0)
        self.running[task.remote(asked, self.queue, sent)] = job, attempt
        fits = [self.cpus <= n["Resources"]["CPU"] and gpus <= n["Resources"].get("GPU", 0) for n in self.nodes()]
        if not any(fits):
            self.reporter.say(f"no node has {self.cpus} CPUs and {gpus:g} GPUs: {job.title} waits for one that has")

    def sign(self, folder: Path) -> None:
        """Leave a file there that a node sees where it shares the storage."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.mark).touch()
        self.marked.add(folder)

    def share(self, job: Job) -> float:
        """Of a GPU."""
        if self.gpus is not None:
            return self.gpus
        return float(job.config["device"] != "cpu" and self.ray.cluster_resources().get("GPU", 0) > 0)

    def pretrained(self, job: Job) -> Contents:
        """The weights that it starts from, without what is needed to go on with their training."""
        files = {} if job.after is None else contents(Path(job.after))
        return {name: content for name, content in files.items() if name != "checkpoint.pt"}

    def ask(self, folder: Path) -> bool:
        """Ask each node whether it sees `folder`, and say it. Raises ValueError where one has another keyshift."""

        def seen(path: str) -> tuple[str, bool, str]:  # without keyshift, which may not be there
            import os
            import platform
            from importlib.metadata import PackageNotFoundError, version

            try:
                return platform.node(), os.path.exists(path), version("keyshift")
            except PackageNotFoundError:
                return platform.node(), os.path.exists(path), "none"

        from ray.exceptions import TaskUnschedulableError

        task, path = self.ray.remote(seen), str(folder / self.mark)
        asked = [task.options(num_cpus=0, **self.on(node["NodeID"])).remote(path) for node in self.nodes()]
        answered, silent = self.ray.wait(asked, num_returns=len(asked), timeout=PROBED) if asked else ([], [])
        answers = []
        for one in answered:
            with suppress(TaskUnschedulableError):  # the node has gone since Ray listed it
                answers.append(self.ray.get(one))
        for host, _, installed in answers:
            if installed != version("keyshift"):
                raise ValueError(
                    f"node {host} has keyshift {installed}, this process {version('keyshift')}: install the same one "
                    "on all nodes, in the Python that Ray runs there"
                )
        blind = sorted({host for host, sees, _ in answers if not sees})
        if answers and not blind and not silent:
            self.reporter.say(f"{folder} is on storage that all nodes share")
            return False
        names = ", ".join(blind) or "nodes that did not answer"
        self.reporter.say(
            f"no shared storage: {folder} is not seen by {names}. What runs write there comes back through Ray's "
            f"object store, at checkpoints, at most every {SENT_EVERY:g} s, and at the end; a node that dies takes "
            "with it what came after"
        )
        return True

    def messages(self, wait: float) -> Iterator[tuple[Job, Message]]:
        from ray.exceptions import RayError

        try:
            ready, _ = self.ray.wait(list(self.running), num_returns=1, timeout=wait)
            count = self.queue.qsize()  # all that was sent before what is ready ended
            mail = self.queue.get_nowait_batch(count) if count else []
        except RayError as error:
            raise ConnectionError(f"the Ray cluster at {self.address} is gone; the same command goes on") from error
        attempts = {attempt: job for job, attempt in self.running.values()}
        for attempt, message in map(pickle.loads, mail):
            job = attempts.get(attempt)
            if job is None:  # given up, though its node lives
                continue
            if isinstance(message, Files):
                write_files(Path(job.folder), message)
            else:
                yield job, message
        for answer in ready:
            job, _ = self.running.pop(answer)
            yield job, self.outcome(answer)

    def outcome(self, answer: Any) -> Message:
        from ray import exceptions

        try:
            outcome = self.ray.get(answer)
        except exceptions.TaskCancelledError:
            return Lost("its node stopped it")
        except exceptions.RayTaskError as error:
            return Failed(str(error))
        except exceptions.RayError as error:
            return Lost(f"its worker is gone ({type(error).__name__})")
        return outcome

    def stop(self) -> None:
        for answer in self.running:
            self.ray.cancel(answer)  # as Ctrl-C where it runs


@cache
def worker() -> Worker:
    """One for each process of Ray's, which does job after job."""
    return Worker()


def serve(asked: Asked, queue: Any, sent: list[Any]) -> Done | Failed:
    """The work of a node: a job, in its folder where that is seen here."""
    import ray

    os.environ.update(asked.environment)
    with suppress(OSError):
        os.chdir(asked.place)

    def send(message: Message | Files) -> None:
        queue.put(pickle.dumps((asked.attempt, message)))

    job = asked.job
    if (Path(job.folder).parent / asked.mark).exists():
        return named(worker().do(job, asked.cpus, send))
    with tempfile.TemporaryDirectory(prefix="keyshift-") as temporary:
        place, name = Path(temporary), Path(job.folder).name
        folder = place / "pretrained" / name if job.strategy is None else place / name
        own, pretrained = ray.get(sent)[0] if sent else ({}, {})
        write_files(folder, Files(own, set()))
        if job.after is not None:
            write_files(place / "pretrained" / Path(job.after).name, Files(pretrained, set()))
        back = Back(folder, send, asked.every)
        try:
            return named(worker().do(replace(job, folder=str(folder)), asked.cpus, back.then), f" ({HINT})")
        finally:
            back.send()


def named(outcome: Done | Failed, hint: str = "") -> Done | Failed:
    """An error says where."""
    return Failed(f"on node {platform.node()}: {outcome.text}{hint}") if isinstance(outcome, Failed) else outcome


class Back:
    """Sends back what is new in a folder."""

    def __init__(self, folder: Path, send: Any, every: float) -> None:
        self.folder, self.sender, self.every = folder, send, every
        self.known, self.sent = stamps(folder), time.monotonic()

    def then(self, message: Message) -> None:
        """Send a message, before it what is new where there is a new checkpoint and time has passed."""
        new = stamps(self.folder).get(LAST[0]) != self.known.get(LAST[0])
        if isinstance(message, Step) and new and time.monotonic() - self.sent > self.every:
            self.send()
        self.sender(message)

    def send(self) -> None:
        now = stamps(self.folder)
        changed = {name: (self.folder / name).read_bytes() for name in now if now[name] != self.known.get(name)}
        self.sender(Files(changed, self.known.keys() - now.keys()))
        self.known, self.sent = now, time.monotonic()


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """What changes when a file of the folder is written anew, by name."""
    files = [path for path in folder.glob("[!.]*") if path.is_file()]
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def contents(folder: Path) -> Contents:
    return {name: (folder / name).read_bytes() for name in stamps(folder)}


def write_files(folder: Path, files: Files) -> None:
    """Those that say that others are there last, so that the folder can be gone on with at any moment."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(files.changed, key=lambda name: (name in LAST, name)):
        write_whole(folder / name, lambda file, name=name: file.write(files.changed[name]))  # type: ignore[misc]
    for name in files.gone:
        (folder / name).unlink(missing_ok=True)
