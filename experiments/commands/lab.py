"""`keyshift lab`: every candidate on every domain pair, its checkpoints judged by truth and by label-free scores."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...adapt.scoring import rule
from ...datasets.reading.files import cores
from ..lab.duel import duel
from ..lab.fit import fit_rule, rule_table
from ..lab.grid import FAILED, Run, runs_of, work
from ..lab.plan import Plan
from ..lab.points import collect, write_points
from ..lab.table import table
from ..runs.processes import SPAWN, apart, inherited
from ..runs.progress import Reporter

POINTS = "points.csv"


def lab(plan: Plan, output: Path, jobs: int, reporter: Reporter) -> bool:
    """Do what is missing of the plan in `jobs` processes, then write points.csv; whether nothing failed."""
    plan.check()
    with beside(plan, output, jobs - 1):
        work(plan, output, progress(plan, output, reporter.say))
    write(output, reporter)
    every = [run for group in runs_of(plan, output) for run in group]
    failed = [run for run in every if (run.folder / FAILED).exists() and not run.complete()]
    for run in failed:
        reporter.say(f"failed: {run.title}: {(run.folder / FAILED).read_text().splitlines()[-1]}")
    return not failed


def write(output: Path, reporter: Reporter) -> None:
    """points.csv of what lies in `output`."""
    rows = collect(output)
    write_points(output / POINTS, rows)
    reporter.say(f"{output / POINTS}: {len(rows)} points of {len({row['pair'] for row in rows})} pairs")


def print_table(output: Path) -> None:
    print(table(collect(output)))


def print_duel(plan: Plan, output: Path, candidate: str) -> None:
    print(duel(output, candidate, list(plan.pairs), list(plan.candidates), plan.seeds))


def fit(plan: Plan, output: Path, reporter: Reporter) -> None:
    """Fit the rule of `adapt` to the points, and write it where keyshift reads it."""
    fitted = fit_rule(plan, collect(output))
    fitted.save(rule.RULE)
    print(rule_table(fitted))
    reporter.say(f"written: {rule.RULE}")


def progress(plan: Plan, output: Path, say: Callable[[str], None]) -> Callable[[Run, str], None]:
    """Says a line about each run that is done here, with how many are done by all processes, and how long the others
    will take."""
    left = [run for group in runs_of(plan, output) for run in group if not run.complete()]
    total, began = len(left), time.monotonic()

    def line(run: Run, text: str) -> None:
        left[:] = [one for one in left if not (one.complete() or (one.folder / FAILED).exists())]
        done = total - len(left)
        seconds = (time.monotonic() - began) / max(done, 1) * len(left)
        say(f"[{done}/{total}, {_duration(seconds)} left] {run.title}: {text}")

    return line


@contextmanager
def beside(plan: Plan, output: Path, others: int) -> Iterator[None]:
    """Within it, `others` more processes work on the plan; the cores are shared among all. Left by an exception, they
    are stopped, and write their checkpoints."""
    processes = [SPAWN.Process(target=helper, args=(plan, output)) for _ in range(others)]
    with inherited({"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // (others + 1))))}):
        for process in processes:
            process.start()
    try:
        yield
    except BaseException:
        for process in processes:
            process.terminate()
        raise
    finally:
        for process in processes:
            process.join()


def helper(plan: Plan, output: Path) -> None:
    """The work of another process."""
    apart()
    reporter = Reporter()
    with suppress(KeyboardInterrupt):
        work(plan, output, progress(plan, output, reporter.say))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
