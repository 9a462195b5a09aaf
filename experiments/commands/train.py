"""`keyshift train`: one strategy with one seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ...adapt.processes import leave
from ...adapt.scoring.selection import PCK, Headline
from ..config import Config
from ..runs.engine import Engine
from ..runs.folder import locked
from ..runs.job import Job
from ..runs.precision import settled
from ..runs.progress import Reporter
from ..runs.task import prepare


def train(config: Config, folder: Path, reporter: Reporter, overwrite: bool = False) -> dict[str, Any]:
    """Train the configuration's strategy and seed in `folder`, or go on with it."""
    config = settled(config, folder, overwrite, reporter.say)
    task = prepare(config, [config.strategy])
    for line in task.describe():
        reporter.say(line)
    with locked(folder, overwrite), Engine(task, folder, reporter) as engine:
        alone = replace(config, strategies=[config.strategy])
        result = engine.do(Job.of(alone, config.strategy, config.seed, folder))
    reporter.say(f"{config.strategy}: {task.judged} {_scored(result[task.judged], config.threshold)}")
    reporter.say(f"run: {folder}")
    leave()
    return result


def _scored(score: dict[str, Any], threshold: float) -> str:
    headline = Headline.among(score, threshold=threshold) or PCK
    if score[headline.key] is None:
        return "holds no annotated joint: there is no score"
    away = "" if score["epe"] is None else f", EPE {score['epe']:.2f} px"
    people = [f", {score[name]} people {name}" for name in ("missed", "invented") if name in score]
    return f"{headline.heading} {headline.bare(score[headline.key])}{away}{''.join(people)}"
