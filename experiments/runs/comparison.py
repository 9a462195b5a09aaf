"""Strategies times seeds under one budget, then results.json, the table and the report: one experiment or several."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from ...adapt.strategies import STRATEGIES
from ...adapt.strategy import source_free
from ...datasets.reading.files import write_json
from ..config import Config, of_comparison, seeds
from .device import threads
from .engine import Engine
from .folder import opened, world_size
from .job import Job, jobs_of, work
from .many import Crew, Many
from .precision import settled
from .progress import Reporter
from .results import collect, guarded, print_table
from .task import check_target, files_of, prepare


def compare(
    experiments: Sequence[tuple[Config, Path]],
    reporter: Reporter,
    overwrite: bool = False,
    crew: Crew | None = None,
    cpus: int | None = None,
) -> bool:
    """`keyshift compare`: of every experiment every strategy with every seed, in its folder, whose finished runs are
    kept; one after another with `cpus` threads, or by a `crew`. Whether nothing failed.

    Raises ValueError under torchrun: a comparison is many runs, of which each may use several processes.
    """
    if world_size() > 1:
        raise ValueError("compare runs in one process; under torchrun train the runs one by one: keyshift train")
    check_apart([folder for _, folder in experiments])
    comparisons = [Comparison(config, folder, overwrite, reporter) for config, folder in experiments]
    with threads(cpus if crew is None else crew.cpus), ExitStack() as stack:
        for comparison in comparisons:
            stack.enter_context(comparison.opened())
        if crew is not None:
            return done_by(crew, comparisons, reporter)
        for comparison in comparisons:
            for job in list(comparison.left):
                work(job, comparison.task, comparison.engine.stage(job.seed), reporter.say)
                comparison.ended(job)
    return True


def done_by(crew: Crew, comparisons: Sequence[Comparison], reporter: Reporter) -> bool:
    """Whether nothing failed."""
    jobs = {job.folder: (job, comparison) for comparison in comparisons for job in comparison.left}

    def seen(job: Job) -> None:
        jobs[job.folder][1].engine.mirror.notify()

    def ended(job: Job) -> None:
        for comparison in comparisons:
            comparison.ended(job)

    if not jobs:
        return True
    many = Many([job for job, _ in jobs.values()], crew, reporter, seen, ended)
    many.do()
    for comparison in comparisons:
        if comparison.left:
            reporter.say(f"{comparison.folder} is not finished: there is no report")
    return many.failed == 0


def check_apart(folders: Sequence[Path]) -> None:
    """Raises ValueError where two experiments would be written into one folder."""
    for folder in folders:
        if [one.resolve() for one in folders].count(folder.resolve()) > 1:
            raise ValueError(
                f"two experiments would be written into {folder}: give them different names (name=, in their YAMLs), "
                "or run them by commands of their own, each with its output=FOLDER"
            )


class Comparison:
    """One experiment of the command: its data, its folder, and its jobs that are `left` to do."""

    def __init__(self, config: Config, folder: Path, overwrite: bool, reporter: Reporter) -> None:
        self.config = settled(with_given(config), folder, overwrite, reporter.say)
        self.folder, self.overwrite, self.reporter = folder, overwrite, reporter
        check_target(self.config, self.config.strategies, "a comparison")
        self.task = prepare(self.config, self.config.strategies)
        self.left: list[Job] = []
        for line in self.task.describe():
            reporter.say(line)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hold its folder, see what is left to do, and conclude it where that is nothing."""
        identity = self.task.identity() | files_of(self.config, self.config.strategies)
        with ExitStack() as self.held:
            self.held.enter_context(opened(self.folder, of_comparison(self.config), identity, self.overwrite))
            self.engine = self.held.enter_context(Engine(self.task, self.folder, self.reporter))
            jobs = jobs_of(self.task, self.folder, seeds(self.config))
            for job in jobs:
                if job.strategy is not None and job.done:
                    self.engine.do(job)  # says where it is another run
            needed = {job.after for job in jobs if job.strategy is not None and not job.done}
            self.left = [job for job in jobs if not job.done and (job.strategy is not None or job.folder in needed)]
            if not self.left:
                self.reporter.say(f"{self.folder} is finished: nothing is trained")
                self.conclude()
            yield

    def ended(self, job: Job) -> None:
        """Know that a job is done, of this one or of another; the last one leads to the results."""
        if job in self.left:
            self.left.remove(job)
            if not self.left:
                self.conclude()

    def conclude(self) -> None:
        """Write the results, leave the folder, and say what they are."""
        results = collect(self.folder, self.config.strategies, seeds(self.config), self.config.threshold)
        write_json(self.folder / "results.json", results)
        from ..report.page import write as write_report  # matplotlib with it

        page = write_report(self.folder, self.task.target[1])
        self.held.close()
        say, tracked = self.reporter.say, self.engine.tracked
        print_table(results, self.reporter)
        for line in guarded(results["strategies"]):
            say(line)
        say(f"results: {self.folder / 'results.json'}")
        say(f"report:  {page}")
        if tracked:
            say(f"tracked: MLFLOW_DISABLE_TELEMETRY=true mlflow ui --backend-store-uri {shlex.quote(tracked)}")


def with_given(config: Config) -> Config:
    """The given model joins strategies that are measured against it: those without a source."""
    free = any(source_free(STRATEGIES[name]) for name in config.strategies)
    if not free or "given" in config.strategies:
        return config
    return replace(config, strategies=["given", *config.strategies])
