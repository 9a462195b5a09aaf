"""Where runs are carried out: here, one after another. Several at once: many.py, by processes of this machine
(processes.py) or by the nodes of a Ray cluster (cluster.py)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from ..tracking.background import OFF, Mirror, default_uri
from .folder import home, rank
from .job import Job
from .progress import Callback, Reporter
from .task import Task
from .training import Stage, train


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
        if self.mirror.close() and self.mirror.uri.lower() not in OFF:
            from ..tracking.mirror import store_uri

            self.tracked = store_uri(self.mirror.uri)

    def do(self, job: Job) -> dict[str, Any]:
        """Train one run, in a folder that is held."""
        assert job.strategy is not None
        folder = Path(job.folder)
        cache, stage = home(folder) / "pretrained", self.stage(job.seed)
        return train(self.task, job.strategy, job.seed, folder, cache, stage, self.reporter.say)

    def stage(self, seed: int) -> Stage:
        @contextmanager
        def opened(title: str, steps: int) -> Iterator[Callback]:
            with self.reporter.stage(f"{title} seed {seed}", steps) as show:

                def step(done: int, metrics: dict[str, float]) -> None:
                    show(done, metrics)
                    if metrics:
                        self.mirror.notify()

                yield step

        return opened
