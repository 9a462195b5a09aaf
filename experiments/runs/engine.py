"""Where runs are carried out. A job is plain data, so that another process or machine can do it; here they are done one
after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..config import Config, build, plain
from ..tracking.mirror import Mirror, default_uri, store_uri
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
        return Job(plain(config) | {"strategy": strategy, "seed": seed}, strategy, seed, str(folder))

    def task(self) -> Task:
        """What it works on, opened anew: what the whole comparison works on, a source included where any other of its
        strategies needs one, so that it is scored on the same sets wherever it is done."""
        config = build(self.config)
        return prepare(config, config.strategies)


class Engine:
    """Does jobs in this process, on a task that is open already, with progress and tracking of `folder`; used by
    `with`, at whose end the tracking is brought up to date."""

    def __init__(self, task: Task, folder: Path, reporter: Reporter) -> None:
        tracking = task.config.tracking
        uri = "off" if rank() > 0 else tracking or default_uri(home(folder))
        self.task, self.folder, self.reporter = task, folder, reporter
        self.mirror = Mirror(folder, uri, say=reporter.say)
        self.tracked: str | None = None
        """The store, where it has everything."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        complete = self.mirror.close()
        self.tracked = store_uri(self.mirror.uri or "") if complete and self.task.config.tracking != "off" else None

    def compare(self, strategies: Iterable[str], seeds: Iterable[int]) -> None:
        """Train every strategy with every seed, each in a folder of its own; finished ones are passed over."""
        names = list(strategies)
        for seed in seeds:
            for name in names:
                run = self.folder / f"{name}-seed{seed}"
                with locked(run):
                    self.do(Job.of(self.task.config, name, seed, run))

    def do(self, job: Job) -> dict[str, Any]:
        """Train one run, in a folder that is held."""

        @contextmanager
        def stage(title: str, steps: int) -> Iterator[Callback]:
            with self.reporter.stage(f"{title} seed {job.seed}", steps) as show:

                def step(done: int, metrics: dict[str, float]) -> None:
                    show(done, metrics)
                    if metrics:
                        self.mirror.notify()

                yield step

        folder = Path(job.folder)
        return train(self.task, job.strategy, job.seed, folder, home(folder) / "pretrained", stage, self.reporter.say)
