"""Strategies times seeds under one budget, then results.json, the table and the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ...adapt.strategies import STRATEGIES
from ...adapt.strategy import source_free
from ...datasets.reading.files import write_json
from ..config import Config, of_comparison, seeds
from ..report.page import write as write_report
from .engine import Job, carry_out, open_mirror
from .folder import check_folder, describe, locked, world_size
from .progress import Reporter
from ...adapt.scoring.selection import Headline
from .results import collect
from .task import prepare


def compare(config: Config, folder: Path, reporter: Reporter, overwrite: bool = False) -> dict[str, Any]:
    """`keyshift compare`: every strategy with every seed; finished runs in `folder` are kept.

    Raises ValueError under torchrun: a comparison is many runs, of which each may use several processes.
    """
    if world_size() > 1:
        raise ValueError("compare runs in one process; under torchrun train the runs one by one: keyshift train")
    config = with_given(config)
    task = prepare(config, config.strategies)
    for line in task.describe():
        reporter.say(line)
    said = of_comparison(config)
    jobs = [Job.of(config, name, seed, folder / f"{name}-seed{seed}") for seed in seeds(config) for name in config.strategies]
    with locked(folder, overwrite):
        check_folder(folder, said)
        describe(folder, said, task.identity(), torch.device("cpu"))
        mirror = open_mirror(config, folder, reporter)
        try:
            carry_out(jobs, task, reporter, mirror)
            results = collect(folder, config.strategies, seeds(config), config.threshold)
            write_json(folder / "results.json", results)
            page = write_report(folder, task.target_test)
        finally:
            complete = mirror.close()
    print_table(results, reporter)
    reporter.say(f"results: {folder / 'results.json'}")
    reporter.say(f"report:  {page}")
    if complete and config.tracking != "off":
        reporter.say(f"tracked: MLFLOW_DISABLE_TELEMETRY=true mlflow ui --backend-store-uri {mirror.uri}")
    return results


def with_given(config: Config) -> Config:
    """The given model joins strategies that are measured against it: those without a source."""
    free = any(source_free(STRATEGIES[name]) for name in config.strategies)
    if not free or "given" in config.strategies:
        return config
    return replace(config, strategies=["given", *config.strategies])


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


