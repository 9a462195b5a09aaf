"""Strategies times seeds under one budget, then results.json, the table and the report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from ..adapt.files import write_json
from ..adapt.trainer import Callback
from . import report, results
from .config import Config, plain, seeds
from .progress import Reporter
from .run import Task, locked, open_folder, prepare, train
from .tracking import Mirror, default_uri


def tracking_uri(config: Config, folder: Path) -> str:
    return config.tracking or default_uri(folder.parent)


def train_one(config: Config, folder: Path, reporter: Reporter) -> dict[str, Any]:
    """`keyshift train`: one strategy, one seed, in `folder`."""
    task = prepare(config)
    _tell(task, reporter)
    mirror = Mirror(folder, tracking_uri(config, folder), say=reporter.say)
    with locked_when_new(folder):
        try:
            found = run_one(task, config.strategy, config.seed, folder, reporter, mirror)
        finally:
            mirror.close()
    score = found["target"]
    reporter.say(f"{config.strategy}: target PCK@{config.threshold:g} {score['pck']:.3f}, EPE {score['epe']:.2f} px")
    reporter.say(f"run: {folder}")
    return found


def compare(config: Config, folder: Path, reporter: Reporter) -> dict[str, Any]:
    """`keyshift compare`: every strategy with every seed; finished runs in `folder` are kept."""
    task = prepare(config)
    _tell(task, reporter)
    with locked_when_new(folder, plain(config), task):
        mirror = Mirror(folder, tracking_uri(config, folder), say=reporter.say)
        try:
            for seed in seeds(config):
                for name in config.strategies:
                    run_one(task, name, seed, folder / f"{name}-seed{seed}", reporter, mirror)
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
    ends: list[Callable[[], None]] = []
    current: list[Callback] = []
    config = task.config

    def step(done: int, metrics: dict[str, float]) -> None:
        if done == 1 or not current:
            for end in ends:
                end()
            pretraining = not (folder / "config.yaml").exists()
            title = f"pretraining seed {seed}" if pretraining else f"{name} seed {seed}"
            callback, end = reporter.stage(title, config.pretrain_steps if pretraining else config.steps)
            current[:], ends[:] = [callback], [end]
        current[0](done, metrics)
        if metrics:
            mirror.notify()

    with ExitStack() as stack:
        stack.callback(lambda: [end() for end in ends])
        return train(task, name, seed, folder, [step])


def locked_when_new(folder: Path, config: dict[str, Any] | None = None, task: Task | None = None) -> Any:
    """The lock of `folder`; of a comparison, its own files too."""
    stack = ExitStack()
    stack.enter_context(locked(folder))
    if config is not None and task is not None:
        open_folder(folder, config, task, torch.device("cpu"))
    return stack


def print_table(found: dict[str, Any], reporter: Reporter) -> None:
    rows = []
    for name, summary in found["summary"].items():
        runs = list(found["strategies"][name].values())
        target = summary["target"]
        spread = f" ± {target['std']:.3f}" if target["std"] is not None else ""
        rows.append(
            [
                name,
                f"{target['mean']:.3f}{spread}",
                f"{sum(r['source']['pck'] for r in runs) / len(runs):.3f}",
                _signed(summary["gain"]),
                _signed(summary["gain_over_bn_control"]),
                _percent(summary["gap_closed"]),
            ]
        )
    columns = ["strategy", "target", "source", "gain [95 %]", "over bn_control", "gap closed"]
    count = len(next(iter(found["strategies"].values())))
    reporter.table(f"{found['metric']}, {count} seed{'s' if count > 1 else ''}", columns, rows)


def _signed(value: dict[str, Any]) -> str:
    if value["mean"] is None:
        return "–"
    low, high = value["interval"]
    return f"{value['mean']:+.3f} [{low:+.3f}, {high:+.3f}]"


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
    if task.left_out:
        reporter.say(f"left out, because only one side has them: {', '.join(task.left_out)}")
