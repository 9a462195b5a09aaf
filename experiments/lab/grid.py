"""The runs of a plan: trained and scored where anything of them is missing. All runs of a pair and a seed are a group,
which one process holds at a time; several share the groups."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from ...adapt.scoring.evidence import Evidence
from ...adapt.scoring.label_free import SCORES
from ...datasets.depth.files import sha256
from ...datasets.reading.files import Busy, only_one, write_text
from ..config import of_run
from ..runs.folder import check_folder, open_folder
from ..runs.progress import Callback
from ..runs.task import check_required, files_of
from ..runs.training import adaptation, fit, make_fabric, started
from .bench import PICTURES, Bench
from .plan import Plan, check_start
from .records import GIVEN, RUN, Checkpoint, Record
from .truth import gain, truth

WAIT = 2.0
"""Seconds between two looks at what other processes hold."""
DONE, FAILED = "done", "failed.txt"

Say = Callable[["Run", str], None]
"""Called after each run with one line about it."""


@dataclass(frozen=True)
class Run:
    plan: Plan
    pair: str
    seed: int
    candidate: str
    group: Path

    @property
    def folder(self) -> Path:
        return self.group / self.candidate

    @property
    def strategy(self) -> str:
        return self.plan.candidates[self.candidate].strategy

    @property
    def title(self) -> str:
        return f"{self.pair} seed {self.seed} {self.candidate}"

    def about(self) -> dict[str, Any]:
        pair, said = self.plan.pairs[self.pair], self.plan.said(self.pair, self.candidate)
        names = {"pair": pair.name, "half": pair.half, "kind": pair.kind, "candidate": self.candidate}
        return names | {"strategy": self.strategy, "seed": self.seed, "said": said}

    def weights(self) -> dict[int, Path]:
        """By step, the kept weights of every evaluation."""
        return {int(path.stem.partition("-")[2]): path for path in sorted(self.folder.glob("weights-*.pt"))}

    @cached_property
    def shares(self) -> list[float]:
        return self.plan.shares_of(self.pair, self.candidate)

    def checkpoints(self) -> dict[Checkpoint, Path]:
        """What is scored, and of which weights it is made: those of every evaluation and, of a run that is trained to
        its end, the mixtures of its last ones with the given ones."""
        weights = self.weights()
        kept = {Checkpoint(step): path for step, path in weights.items()}
        if not weights or not (self.folder / DONE).exists():
            return kept
        last = max(weights)
        return kept | {Checkpoint(last, share): weights[last] for share in self.shares}

    def complete(self) -> bool:
        record = Record.load(self.folder / RUN)
        if not (self.folder / DONE).exists() or record.about != self.about():
            return False
        given = Record.load(self.group / GIVEN).has([Checkpoint(0)], self.plan.scores)
        return given and record.has(self.checkpoints(), self.plan.scores)


def runs_of(plan: Plan, output: Path) -> list[list[Run]]:
    """The groups, seed after seed, so that all pairs have points early."""
    return [
        [Run(plan, pair, seed, candidate, output / pair / f"seed{seed}") for candidate in plan.candidates]
        for seed in plan.seeds
        for pair in plan.pairs
    ]


def work(plan: Plan, output: Path, say: Say) -> None:
    """Do what is missing of the plan. What fails leaves a text in its run's folder, and the others go on."""
    benches: dict[str, Bench] = {}
    groups = runs_of(plan, output)
    while groups:
        held = []
        for group in groups:
            if all(run.complete() for run in group):
                continue
            try:
                with only_one(group[0].group):
                    Group(group, benches, output / "pretrained", say).do()
            except Busy:
                held.append(group)
        if len(held) == len(groups):
            time.sleep(WAIT)
        groups = held


class Group:
    """The runs of a pair and a seed: they start from one given model, which is scored once."""

    def __init__(self, runs: list[Run], benches: dict[str, Bench], cache: Path, say: Say) -> None:
        self.runs, self.benches, self.cache, self.say = runs, benches, cache, say
        self.errors: list[Exception] = []
        self.plan, self.pair, self.seed, self.folder = runs[0].plan, runs[0].pair, runs[0].seed, runs[0].group

    def do(self) -> None:
        for run in self.runs:
            if run.complete():
                continue
            (run.folder / FAILED).unlink(missing_ok=True)
            began = time.monotonic()
            try:
                entries = self.do_run(run)
                better = ", ".join(
                    "{:+.1f} ± {:.1f}".format(*gain(self.before["truth"], entry["truth"])) + f" at {checkpoint}"
                    for checkpoint, entry in sorted(entries.items())
                )
                self.say(run, f"{time.monotonic() - began:.0f} s, points gained: {better}")
            except Exception as error:
                run.folder.mkdir(parents=True, exist_ok=True)
                write_text(run.folder / FAILED, "".join(traceback.format_exception(error)))
                self.say(run, f"failed: {error}")

    @cached_property
    def bench(self) -> Bench:
        if self.pair not in self.benches:
            self.benches[self.pair] = Bench(self.plan, self.pair)
        return self.benches[self.pair]

    @cached_property
    def fabric(self) -> Fabric:
        return make_fabric(self.bench.config)

    @cached_property
    def start(self) -> Path:
        """The weights of the given model."""
        start = started(self.bench.task, self.seed, self.cache, self.fabric, _stage, evaluate=_unwatched)
        if start is None:
            raise ValueError(f"pair {self.pair} has no given model: say pretrain_steps, or start=RUN")
        return start

    @cached_property
    def given(self) -> Evidence:
        return self.bench.evidence(self.start)

    def evidence(self, weights: Path, share: float) -> Evidence:
        return self.bench.evidence(weights, self.given, share)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What scores hang on beside the weights: the given model, and how many pictures are looked at."""
        return {"given": sha256(self.start), "pictures": PICTURES}

    @cached_property
    def before(self) -> dict[str, Any]:
        """What is known of the given model."""
        record = Record.load(self.folder / GIVEN)
        record.about = {key: self.runs[0].about()[key] for key in ("pair", "half", "kind", "seed")}
        entry = record.entry(Checkpoint(0), {"weights": self.identity["given"], **self.identity})
        self.errors = self.fill(record, entry, lambda: self.given)
        return entry

    def do_run(self, run: Run) -> dict[Checkpoint, dict[str, Any]]:
        """Train and score; gives what is known of its checkpoints. Raises what went wrong, once all that could be done
        is done."""
        assert self.before  # scored before any checkpoint is
        errors, record = list(self.errors), Record.load(run.folder / RUN)
        try:
            self.train(run)
            record.about = run.about()
        except Exception as error:
            errors.append(error)
            record.about = record.about or run.about()  # a run that is refused stays what it was
        weights = run.weights()
        record.checkpoints = {one: entry for one, entry in record.checkpoints.items() if one.step in weights}
        for checkpoint, path in run.checkpoints().items():
            entry = record.entry(checkpoint, {"weights": sha256(path), **self.identity})
            errors += self.fill(record, entry, partial(self.evidence, path, checkpoint.share))
        if errors:
            raise errors[0]
        return record.checkpoints

    def train(self, run: Run) -> None:
        """In its folder, to the end."""
        config, strategy = self.plan.config(self.pair, run.candidate), run.strategy
        check_start(self.bench.config, config, f"pair {self.pair}", f"candidate {run.candidate}")
        check_required(config, [strategy])
        task = replace(self.bench.task, config=config)
        said, identity = of_run(config, strategy, self.seed), task.identity() | files_of(config, [strategy])
        if (run.folder / DONE).exists():
            check_folder(run.folder, said, identity)
            return
        open_folder(run.folder, said, identity, self.fabric.device)
        phase = adaptation(config, strategy, self.start)
        with _stage("", 0) as callback:
            fit(task, phase, self.seed, run.folder, self.fabric, callback, evaluate=_unwatched, keep_all=True)
        write_text(run.folder / DONE, "")
        (run.folder / "checkpoint.pt").unlink()  # three times the weights, of every run

    def fill(self, record: Record, entry: dict[str, Any], evidence_of: Callable[[], Evidence]) -> list[Exception]:
        """Compute what an entry of `record` lacks, and write it; gives what scores raised."""
        missing, errors = [name for name in self.plan.scores if name not in entry["scores"]], list[Exception]()
        if missing or "truth" not in entry:
            evidence = evidence_of()
            if "truth" not in entry:
                entry["truth"] = truth(evidence, self.bench.tested, self.bench.config.threshold)
            for name in missing:
                try:
                    entry["scores"][name] = float(SCORES[name](evidence))
                except Exception as error:
                    errors.append(ValueError(f"score {name}: {type(error).__name__}: {error}"))
                    errors[-1].__cause__ = error
        record.save()
        return errors


@contextmanager
def _stage(title: str, steps: int) -> Iterator[Callback]:
    """Shows nothing: a run is a line."""
    yield lambda done, metrics: None


def _unwatched(model: Any) -> dict[str, float]:
    """Kept weights are scored afterwards, and again when a score is added."""
    return {}
