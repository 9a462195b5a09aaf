"""Strategies times seeds under one budget, then results.json, the table and the report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ...adapt.processes import leave
from ...adapt.scoring.selection import PCK, Headline
from ...datasets.reading.files import write_json
from ...datasets.reading.people import LEAKS
from ..report import page as report
from . import results
from ..config import Config, plain, seeds
from .progress import Callback, Reporter
from .run import Task, check_labels, locked, open_folder, prepare, rank, train, world_size
from ..tracking.mirror import Mirror, default_uri


def tracking_uri(config: Config, folder: Path) -> str:
    """The store of a run; of several processes the first mirrors it."""
    return "off" if rank() > 0 else config.tracking or default_uri(home(folder))


def home(folder: Path) -> Path:
    """Where the runs lie, with the store and the pretrained weights that they share; a run of a comparison lies one
    folder deeper."""
    return folder.parent.parent if (folder.parent / "config.yaml").exists() else folder.parent


def train_one(config: Config, folder: Path, reporter: Reporter, overwrite: bool = False) -> dict[str, Any]:
    """`keyshift train`: one strategy, one seed, in `folder`."""
    task = prepare(config)
    if config.strategy == "oracle":
        check_labels(task.target_train)
    _tell(task, reporter)
    with locked(folder, overwrite):
        mirror = Mirror(folder, tracking_uri(config, folder), say=reporter.say)
        try:
            found = run_one(task, config.strategy, config.seed, folder, reporter, mirror)
        finally:
            mirror.close()
    reporter.say(f"{config.strategy}: target {_scored(found['target'], config.threshold)}")
    reporter.say(f"run: {folder}")
    leave()
    return found


def compare(config: Config, folder: Path, reporter: Reporter, overwrite: bool = False) -> dict[str, Any]:
    """`keyshift compare`: every strategy with every seed; finished runs in `folder` are kept.

    Raises ValueError under torchrun: a comparison is many runs, of which each may use several processes.
    """
    if world_size() > 1:
        raise ValueError("compare runs in one process; under torchrun train the runs one by one: keyshift train")
    task = prepare(config)
    if "oracle" in config.strategies:
        check_labels(task.target_train)
    _tell(task, reporter)
    with locked(folder, overwrite):
        told = {key: value for key, value in plain(config).items() if key not in ("strategy", "seed")}
        open_folder(folder, told, task, torch.device("cpu"))
        mirror = Mirror(folder, tracking_uri(config, folder), say=reporter.say)
        try:
            for seed in seeds(config):
                for name in config.strategies:
                    run = folder / f"{name}-seed{seed}"
                    with locked(run):
                        run_one(task, name, seed, run, reporter, mirror)
            found = results.collect(folder, config.strategies, seeds(config), config.threshold)
            write_json(folder / "results.json", found)
            page = report.write(folder, task.target_test)
        finally:
            complete = mirror.close()
    print_table(found, reporter)
    reporter.say(f"results: {folder / 'results.json'}")
    reporter.say(f"report:  {page}")
    if complete and config.tracking != "off":
        where = tracking_uri(config, folder)
        reporter.say(f"tracked: MLFLOW_DISABLE_TELEMETRY=true mlflow ui --backend-store-uri {where}")
    return found


def run_one(task: Task, name: str, seed: int, folder: Path, reporter: Reporter, mirror: Mirror) -> dict[str, Any]:
    """Train one run with progress and tracking."""

    @contextmanager
    def stage(title: str, steps: int) -> Iterator[Callback]:
        with reporter.stage(f"{title} seed {seed}", steps) as show:

            def step(done: int, metrics: dict[str, float]) -> None:
                show(done, metrics)
                if metrics:
                    mirror.notify()

            yield step

    return train(task, name, seed, folder, home(folder) / "pretrained", stage)


def print_table(found: dict[str, Any], reporter: Reporter) -> None:
    headline, rows = Headline.named(found["metric"]), []
    for name, summary in found["summary"].items():
        runs = list(found["strategies"][name].values())
        target = summary["target"]
        spread = f" ± {headline.bare(target['std'])}" if target["std"] is not None else ""
        source = sum(run["source"][headline.key] for run in runs) / len(runs)
        mean = "no labels" if target["mean"] is None else headline.bare(target["mean"])
        rows.append(
            [
                name,
                f"{mean}{spread}",
                headline.bare(source),
                _signed(summary["gain"], headline),
                _signed(summary["gain_over_bn_control"], headline),
                _percent(summary["gap_closed"]),
            ]
        )
    columns = ["strategy", "target", "source", "gain [95 %]", "over bn_control", "gap closed"]
    count = len(next(iter(found["strategies"].values())))
    reporter.table(f"{headline.heading}, {count} seed{'s' if count > 1 else ''}", columns, rows)


def _scored(score: dict[str, Any], threshold: float) -> str:
    headline = Headline.among(score, threshold=threshold) or PCK
    if score[headline.key] is None:
        return "holds no annotated joint: there is no score"
    return f"{headline.heading} {headline.bare(score[headline.key])}, EPE {score['epe']:.2f} px"


def _signed(value: dict[str, Any], headline: Headline) -> str:
    if value["mean"] is None:
        return "–"
    mean, ends = headline.bare(value["mean"], sign=True), [end for end in value["interval"] if end is not None]
    return f"{mean} [{', '.join(headline.bare(end, sign=True) for end in ends)}]" if ends else mean


def _percent(value: dict[str, Any]) -> str:
    if value["mean"] is None:
        return "–"
    low, high = value["interval"]
    return f"{value['mean']:.0%} [{low:.0%}, {high:.0%}]"


def _tell(task: Task, reporter: Reporter) -> None:
    config = task.config
    reporter.say(
        f"{config.name}: {config.source.name} ({len(task.source_train)} labelled) -> {config.target.name} "
        f"({len(task.target_train)} unlabelled, {len(task.target_test)} to test), {len(task.skeleton)} keypoints"
    )
    for dataset, keys in ((task.source_train, ("centers",)), (task.target_train, ("centers", "boxes"))):
        for key in keys:
            if dataset.identity.get(key) in LEAKS:
                told = f"{key}={dataset.identity[key]}"
                reporter.say(f"leak: {dataset.name} is cut around its true joints ({told}), in training and test")
        if "licence" in dataset.identity:
            reporter.say(f"licence of {dataset.name}: {dataset.identity['licence']}")
    if task.left_out:
        reporter.say(f"left out, because only one side has them: {', '.join(task.left_out)}")
