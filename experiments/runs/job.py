"""A run as plain data, so that any process or machine can do it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Config, build, plain
from .folder import home, locked
from .task import Task, prepare
from .training import Say, Stage, make_fabric, pretrained, pretraining_folder, train


@dataclass(frozen=True)
class Job:
    """One run as plain data: a configuration, a strategy, a seed, and the folder that it is trained in; or the
    pretraining of a seed, which has no strategy."""

    config: dict[str, Any]
    strategy: str | None
    seed: int
    folder: str
    after: str | None = None
    """The folder of the pretraining whose weights it needs."""

    @staticmethod
    def of(config: Config, strategy: str, seed: int, folder: Path, after: Path | None = None) -> Job:
        said = plain(config) | {"strategy": strategy, "seed": seed}
        return Job(said, strategy, seed, str(folder), None if after is None else str(after))

    @staticmethod
    def pretraining(config: Config, seed: int, folder: Path) -> Job:
        return Job(plain(config), None, seed, str(folder))

    @property
    def title(self) -> str:
        return f"{self.strategy or 'pretraining'} seed {self.seed}"

    @property
    def done(self) -> bool:
        return (Path(self.folder) / ("done" if self.strategy is None else "result.json")).exists()

    def shared(self) -> str:
        """What it has in common with the jobs that work on the same task."""
        return json.dumps(self.config | {"strategy": None, "seed": None}, sort_keys=True)

    def task(self) -> Task:
        """What it works on, opened anew: what the whole comparison works on, a source included where any other of its
        strategies needs one, so that it is scored on the same sets wherever it is done."""
        config = build(self.config)
        return prepare(config, config.strategies)


def jobs_of(task: Task, folder: Path, seeds: list[int]) -> list[Job]:
    """Every strategy of the task's configuration with every seed, each in a folder of its own below `folder`; before
    those of a seed its pretraining, where they need one."""
    config, jobs = task.config, list[Job]()
    for seed in seeds:
        start = pretraining_folder(task, seed, home(folder / "run") / "pretrained")
        if start is not None:
            jobs.append(Job.pretraining(config, seed, start))
        names = config.strategies
        jobs += [Job.of(config, name, seed, folder / f"{name}-seed{seed}", start) for name in names]
    return jobs


def work(job: Job, task: Task, stage: Stage, say: Say, wait: bool = False) -> None:
    """Do a job on its task. Raises ValueError where another process holds its folder; or waits for that, with `wait`:
    then it may be done already."""
    folder = Path(job.folder)
    if job.strategy is None:
        pretrained(task, job.seed, folder.parent, make_fabric(task.config), stage)
        return
    with locked(folder, wait=wait):
        train(task, job.strategy, job.seed, folder, home(folder) / "pretrained", stage, say)
