"""`keyshift adapt --dry`: whether adaptation is worth it, from the given model alone, before anything is trained."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...adapt.methods.adabn import AdaBN
from ...adapt.scoring.distance import separability
from ...adapt.scoring.evaluation import scores
from ...adapt.scoring.evidence import Evidence
from ...adapt.scoring.label_free import SCORES, measured
from ...adapt.scoring.neighbours import Neighbour, nearest
from ...adapt.scoring.rule import Rule
from ...datasets.reading.files import write_json
from ...models.pose_model import PoseModel
from ..report.adapt import number
from ..runs.before_training import looks_of
from ..runs.device import choose_device
from ..runs.progress import Reporter
from ..runs.shipping import Forecaster, beforehand, borrowed, points, reading
from ..runs.task import Task

WORTH = 2.0
"""Points of expected gain from which on adaptation is recommended where it was a loss on none of the nearest pairs."""


def dry_run(
    task: Task, start: PoseModel, strategy: str, rule: Rule, file: Path | None, overwrite: bool, reporter: Reporter
) -> dict[str, Any]:
    """What is seen of the given model, what adaptation did where models looked like that, and a recommendation; also
    written to `file`, if any. Raises ValueError where it is there already."""
    if file is not None and file.exists() and not overwrite:
        raise ValueError(f"{file} is there already: choose another --output, or pass --overwrite")
    device = choose_device(task.config.device)
    given = Evidence(start.to(device), looks_of(task, device))
    known = sorted({name for pair in rule.pairs.values() for name in pair["scores"]} & set(SCORES))
    of_given = measured(given, known)
    near = nearest(rule.pairs, of_given, strategy)
    agreement, count = SCORES["agreement"](given), len(task.target[0])
    lent = borrowed(type(start), task.config.threshold, rule.basis)
    decision = beforehand(agreement, count, reading(type(start)), rule.basis, bool(lent))
    seen = shift(given) | {"agreement on the target": agreement, "agreement on the source": on_source(given, task)}
    outcome = {
        "strategy": strategy,
        "pictures": count,
        "seen": seen,
        "batch_norm_alone": batch_norm_alone(given, task, rule),
        "scores": of_given,
        "nearest": [asdict(row) for row in near],
        "expected": expected(near),
        "error": rule.basis.get("dry"),
        "borrowed": lent,
        "recommendation": recommend(near, strategy, rule.basis.get("dry")) if decision is None else decision.why,
    }
    for line in lines(outcome):
        reporter.say(line)
    if file is not None:
        write_json(file, outcome)
    return outcome


def shift(given: Evidence) -> dict[str, float | None]:
    """How the target differs from the held-out source for the given network; None without a source."""
    target, source = given.target, given.source
    spreads: dict[str, float | None] = {"spread of votes on the target": float(target.spread.mean())}
    if not given.model.single:
        spreads["people found in a picture of the target"] = len(target.points) / len(given.looks.target)
    if source is None or given.judged is None:
        return spreads
    groups = [f"source/{name}" for name in source.sequence] + [f"target/{name}" for name in target.sequence]
    apart = separability(source.features.numpy(), target.features.numpy(), groups)
    headline = given.judged.headline(given.looks.threshold)
    accuracy = scores(given.judged, given.looks.skeleton, given.looks.threshold)[headline.key]
    return {
        "domain classifier (0.5: not to be told apart)": apart,
        **spreads,
        "spread of votes on the source": float(source.spread.mean()),
        f"{headline.heading} on the held-out source": accuracy,
    }


def on_source(given: Evidence, task: Task) -> float | None:
    """The given network's agreement with itself on the held-out source; None without one."""
    if task.source_test is None:
        return None
    looks = looks_of(replace(task, target_train=task.source_test), given.looks.device)
    return SCORES["agreement"](Evidence(given.model, looks))


def batch_norm_alone(given: Evidence, task: Task, rule: Rule) -> dict[str, Any] | None:
    """What the rule predicts of the given network with batch norm's statistics of the target; None without any."""
    try:
        strategy = AdaBN(deepcopy(given.model), task.skeleton, task.config.optimization, "target", AdaBN.Options())
    except ValueError:
        return None
    strategy.train()
    for batch in given.looks.batches(given.looks.target):
        list(strategy.step(None, batch.without_labels()))  # type: ignore[arg-type]
    return Forecaster(rule, given).predict(strategy.predictor)[1]


def expected(near: list[Neighbour]) -> dict[str, float] | None:
    """The gain on the nearest pairs, in points."""
    gains = [row.gain for row in near]
    return {"gain": float(np.mean(gains)), "low": min(gains), "high": max(gains)} if gains else None


def recommend(near: list[Neighbour], strategy: str, error: float | None) -> str:
    gain = expected(near)
    if gain is None:
        return "nothing can be expected, for the rule knows no pair to compare with: adapt, and see what it predicts"
    missed = (
        "" if error is None else f"; such an expectation missed by {error:.1f} points on average where it was tried"
    )
    basis = f"{strategy} brought {points(gain['gain'])} on pairs like this one, from {points(gain['low'])} to "
    basis += f"{points(gain['high'])}{missed}"
    if gain["gain"] >= WORTH and gain["low"] >= 0:
        return f"adaptation is probably worth it: {basis}"
    if gain["gain"] <= 0:
        return f"leave the model as it is, or try another strategy: {basis}"
    return f"adaptation may be worth a try, and adapt judges what comes of it: {basis}"


def lines(outcome: dict[str, Any]) -> list[str]:
    """For a terminal."""
    said = [f"dry run: nothing is trained; {outcome['pictures']} target pictures, no label of them is read"]
    said += [f"  {name}: {number(value)}" for name, value in outcome["seen"].items()]
    alone = outcome["batch_norm_alone"]
    if alone is not None and "gain" in alone:
        said.append(f"batch norm's statistics of the target alone: {points(alone['gain'])}, predicted without labels")
    for row in outcome["nearest"]:
        said.append(
            f"like {row['name']} ({row['kind']}; {row['distance']:.1f} standard deviations away): there "
            f"{points(row['gain'])}"
        )
    said += [outcome["borrowed"]] if outcome["borrowed"] else []
    return [*said, f"expected, not measured: {outcome['recommendation']}"]
