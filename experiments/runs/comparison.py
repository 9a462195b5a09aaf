"""Strategies times seeds under one budget, then results.json, the table and the report."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...adapt.strategies import STRATEGIES
from ...adapt.strategy import source_free
from ...datasets.reading.files import write_json
from ..config import Config, of_comparison, seeds
from ..report.page import write as write_report
from .engine import Engine
from .folder import opened, world_size
from .precision import settled
from .progress import Reporter
from .results import collect, guarded, print_table
from .task import check_target, files_of, prepare


def compare(config: Config, folder: Path, reporter: Reporter, overwrite: bool = False) -> dict[str, Any]:
    """`keyshift compare`: every strategy with every seed; finished runs in `folder` are kept.

    Raises ValueError under torchrun: a comparison is many runs, of which each may use several processes.
    """
    if world_size() > 1:
        raise ValueError("compare runs in one process; under torchrun train the runs one by one: keyshift train")
    config = settled(with_given(config), folder, overwrite, reporter.say)
    check_target(config, config.strategies, "a comparison")
    task = prepare(config, config.strategies)
    for line in task.describe():
        reporter.say(line)
    identity = task.identity() | files_of(config, config.strategies)
    with opened(folder, of_comparison(config), identity, overwrite), Engine(task, folder, reporter) as engine:
        if all(
            (folder / f"{name}-seed{seed}" / "result.json").exists()
            for name in config.strategies
            for seed in seeds(config)
        ):
            reporter.say(f"{folder} is finished: nothing is trained")
        engine.compare(config.strategies, seeds(config))
        results = collect(folder, config.strategies, seeds(config), config.threshold)
        write_json(folder / "results.json", results)
        page = write_report(folder, task.target[1])
    print_table(results, reporter)
    for line in guarded(results["strategies"]):
        reporter.say(line)
    reporter.say(f"results: {folder / 'results.json'}")
    reporter.say(f"report:  {page}")
    if engine.tracked:
        reporter.say(
            f"tracked: MLFLOW_DISABLE_TELEMETRY=true mlflow ui --backend-store-uri {shlex.quote(engine.tracked)}"
        )
    return results


def with_given(config: Config) -> Config:
    """The given model joins strategies that are measured against it: those without a source."""
    free = any(source_free(STRATEGIES[name]) for name in config.strategies)
    if not free or "given" in config.strategies:
        return config
    return replace(config, strategies=["given", *config.strategies])
