"""Where runs are carried out. A job is plain data, so that another process or machine can do it; here they are done one
after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Config, build, of_run
from ..tracking.mirror import Mirror, default_uri
from .folder import home, locked, rank
from .progress import Callback, Reporter
from .task import Task, prepare
from .training import train


@dataclass(frozen=True)
class Job:
    """One run as plain data: a configuration, a strategy, a seed, and the folder that it is trained in."""

    config: dict[str, Any]
    strategy: str
    seed: int
    folder: str

    @staticmethod
    def of(config: Config, strategy: str, seed: int, folder: Path) -> Job:
        said = of_run(config, strategy, seed) | {"strategies": list(config.strategies)}
        return Job(said, strategy, seed, str(folder))

    def task(self) -> Task:
        """What it works on, opened anew: what the whole comparison works on, a source included where any other of its
        strategies needs one, so that it is scored on the same sets wherever it is done."""
        config = build(self.config)
        return prepare(config, config.strategies)


def open_mirror(config: Config, folder: Path, reporter: Reporter) -> Mirror:
    """The store of a run or comparison; of several processes the first mirrors it."""
    uri = "off" if rank() > 0 else config.tracking or default_uri(home(folder))
    return Mirror(folder, uri, say=reporter.say)


def carry_out(jobs: Iterable[Job], task: Task, reporter: Reporter, mirror: Mirror) -> list[dict[str, Any]]:
    """Do the jobs one after another on a task that is open already; finished ones are passed over."""
    results = []
    for job in jobs:
        folder = Path(job.folder)
        with locked(folder):
            results.append(run(job, task, reporter, mirror))
    return results


def run(job: Job, task: Task, reporter: Reporter, mirror: Mirror) -> dict[str, Any]:
    """Train one run, in a folder that is held, with progress and tracking."""

    @contextmanager
    def stage(title: str, steps: int) -> Iterator[Callback]:
        with reporter.stage(f"{title} seed {job.seed}", steps) as show:

            def step(done: int, metrics: dict[str, float]) -> None:
                show(done, metrics)
                if metrics:
                    mirror.notify()

            yield step

    folder = Path(job.folder)
    return train(task, job.strategy, job.seed, folder, home(folder) / "pretrained", stage)
