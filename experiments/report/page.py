"""The report of a comparison: one HTML page that needs no network, no script and no other file.

It is made from the comparison folder alone, and from the target test set where pictures are asked for
(`report.pictures: all | blurred | none` in the config).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...adapt.scoring import evaluation
from ...adapt.scoring.selection import Headline
from ...datasets.reading.files import write_text
from ...datasets.reading.people import LEAKS
from ...datasets.sample import PoseDataset
from ..runs.results import guarded, means_of, oks_of, tables_of
from ..tracking.addresses import masked
from . import registry
from . import words as words
from .charts import NARROW, Chart, Line, bars, lines
from .crops import gallery
from .data import RULES, Comparison, Predictions, curves, dig, predictions, read
from .pages import template


def write(folder: Path, target_test: PoseDataset) -> Path:
    """Write `folder`/report.html for a finished comparison, in one piece or not at all, and return its path.

    Raises FileNotFoundError without results.json, ValueError when the predictions are not of `target_test`.
    """
    file = Path(folder) / "report.html"
    write_text(file, render(read(Path(folder)), target_test))
    return file


def render(comparison: Comparison, target_test: PoseDataset) -> str:
    """The page as text."""
    headline, names = comparison.headline, list(comparison.runs)
    filters = {"number": words.number, "seconds": words.seconds, "shown": lambda value: words.shown(value, headline)}
    return template("report.html", **filters).render(
        c=comparison,
        headline=headline,
        by_joint=headline.by_joint,
        texts=words.TEXTS[headline.key],
        metric=words.metric(headline),
        source=_mapping(comparison.config.get("source")),
        target=_mapping(comparison.config.get("target")),
        finding=words.finding(comparison),
        others=words.others(comparison),
        guarded=guarded(comparison.runs),
        basis=words.basis(comparison),
        looks=comparison.looks,
        explained=registry.about(names),
        several=any(len(seeds) > 1 for seeds in comparison.runs.values()),
        rows=strategy_rows(comparison),
        columns=columns(comparison),
        beside=beside(comparison),
        oks=oks_of(comparison.runs),
        rules=rules(comparison),
        rule_rows=rule_rows(comparison),
        groups=score_table(comparison, "groups"),
        joints=score_table(comparison, "joints"),
        group_chart=group_chart(comparison),
        joint_charts=joint_charts(comparison),
        threshold_chart=threshold_chart(comparison),
        training=training_charts(comparison),
        gallery=gallery(comparison, target_test),
        leak=_leak(comparison),
        licences=_licences(comparison),
        identity=[(role, flat(what)) for role, what in comparison.identity.items()],
        environment=flat(comparison.environment),
        updates=updates(comparison),
        pretrained=dig(comparison.config, "pretrain_steps"),
        total_seconds=total_seconds(comparison),
        absent=words.ABSENT,
    )


def _leak(comparison: Comparison) -> str | None:
    """How the target's crops were made from its labels, if they were."""
    boxes = _mapping(comparison.identity.get("target_test")).get("boxes")
    return boxes if boxes in LEAKS else None


def _licences(comparison: Comparison) -> dict[str, list[str]]:
    """The datasets under each licence."""
    licences: dict[str, list[str]] = {}
    for side in ("source_train", "target_train"):
        identity = _mapping(comparison.identity.get(side))
        if "licence" in identity:
            licences.setdefault(str(identity["licence"]), []).append(str(identity.get("name", side)))
    return licences


def columns(comparison: Comparison) -> set[str]:
    """The columns that not every comparison has: source where one was opened, over_given beside gains over
    source_only, people where there are several in a picture."""
    runs = [result for seeds in comparison.runs.values() for result in seeds.values() if result]
    opened = any(result.get("source", True) for result in runs)
    counted = any(dig(result, "target", what) for result in runs for what in ("missed", "invented"))
    several = comparison.headline.key == "ap" or counted
    given = "given" in comparison.runs and comparison.bases != {"given"}
    return {name for name, has in (("source", opened), ("over_given", given), ("people", several)) if has}


def rules(comparison: Comparison) -> dict[str, str]:
    """The selection rules that the comparison could use, with what they mean."""
    without = {"source"} - columns(comparison) - {comparison.rule}
    return {rule: what for rule, what in RULES.items() if rule not in without}


def strategy_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """The main table: one row for each strategy, numbers as text."""
    rows, headline = [], comparison.headline
    longest = _end(comparison, [comparison.mean(name, "target", headline.key) for name in comparison.runs])
    for name, seeds in comparison.runs.items():
        target = comparison.mean(name, "target", headline.key)
        spread = dig(comparison.summary, name, "target", "std")
        gain, given, share = (
            words.estimate(comparison, name, what) for what in ("gain", "gain_over_given", "gap_closed")
        )
        mixed = len(comparison.bases) > 1 and gain.mean is not None and comparison.base(name) == "given"
        rows.append(
            {
                "name": name,
                "target": words.shown(target, headline),
                "std": "" if spread is None else f"± {words.number(headline.scale * spread, 1)}",
                "bar": 0 if target is None else round(100 * headline.scale * target / longest, 1),
                "epe": words.number(comparison.mean(name, "target", "epe")),
                "source": words.shown(comparison.mean(name, "source", headline.key), headline),
                "gain": words.difference(gain, headline, unit=False),
                "base": "over given" if mixed else "",
                "over_given": words.difference(given, headline, unit=False),
                "missed": words.number(_people(comparison, name, "missed"), 1),
                "invented": words.number(_people(comparison, name, "invented"), 1),
                "share": words.portion(share),
                "seconds": words.seconds(comparison.mean(name, "seconds_per_iteration")),
                "seeds": len(seeds),
                "which": ", ".join(seeds),
            }
        )
    return rows


def _people(comparison: Comparison, name: str, what: str) -> float:
    """Mean over the seeds; results of earlier versions name only what is not zero."""
    numbers = [dig(result, "target", what) or 0.0 for result in comparison.runs[name].values()]
    return sum(numbers) / max(1, len(numbers))


def beside(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Of each of `tables_of` that there are scores for: columns, rows and what the columns mean."""
    results = {n: [(r or {}).get("target") or {} for r in seeds.values()] for n, seeds in comparison.runs.items()}
    made = {}
    for title, shown in tables_of(comparison.headline).items():
        means = means_of(results, shown)
        if means:
            made[title] = {
                "columns": [(shown[key].title, shown[key].unit) for key in means],
                "rows": {name: [shown[key].show(own[name]) for key, own in means.items()] for name in comparison.runs},
                "meanings": [(shown[key].title, shown[key].meaning) for key in means],
            }
    return made


def rule_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """The target's headline of each strategy under each selection rule, with the steps that the rule chose."""
    rows = []
    for name in comparison.runs:
        cells = []
        for rule in rules(comparison):
            steps = sorted({round(step) for step in comparison.values(name, "selected", rule, "step")})
            span = f"{steps[0]}–{steps[-1]}" if len(steps) > 1 else f"{steps[0]}" if steps else ""
            value = comparison.mean(name, "selected", rule, "target", comparison.headline.key)
            cells.append({"rule": rule, "target": words.shown(value, comparison.headline), "steps": span})
        rows.append({"name": name, "cells": cells})
    return rows


def score_table(comparison: Comparison, kind: str) -> dict[str, dict[str, tuple[float | None, float | None]]]:
    """{strategy: {group or joint: (mean, std over seeds)}}; std is None with one seed."""
    table: dict[str, dict[str, tuple[float | None, float | None]]] = {}
    for name in comparison.runs:
        row = {}
        for label in _labels(comparison, kind):
            values = comparison.values(name, "target", kind, label)
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
            row[label] = (float(np.mean(values)) if values else None, spread)
        table[name] = row
    return table


def group_chart(comparison: Comparison) -> Chart | None:
    labels = _labels(comparison, "groups")
    return _bars(comparison, "group of joints", "groups", labels) if labels else None


def joint_charts(comparison: Comparison) -> list[Chart]:
    """One chart, or two of equal length that stand side by side."""
    labels = _labels(comparison, "joints")
    if len(labels) <= 8:
        return [_bars(comparison, "joint", "joints", labels)] if labels else []
    half = -(-len(labels) // 2)
    parts = {"joint": labels[:half], "joint, continued": labels[half:]}
    return [_bars(comparison, what, "joints", part) for what, part in parts.items()]


def _bars(comparison: Comparison, what: str, kind: str, labels: list[str]) -> Chart:
    headline, table = comparison.headline.by_joint, score_table(comparison, kind)
    ends = [mean + (std or 0) for row in table.values() for mean, std in row.values() if mean is not None]
    title = _capital(f"{headline.noun} by {what}")
    return bars(title, table, labels, _axis(headline), headline.scale, _end(comparison, list(ends)), comparison.looks)


def _end(comparison: Comparison, values: list[float | None]) -> float:
    """Where the axis of the headline ends: all of it for PCK, the longest bar for an error."""
    known = [value for value in values if value]
    return 100.0 if comparison.headline.sign > 0 or not known else max(known)


def _axis(headline: Headline) -> str:
    return f"{headline.noun}, {headline.unit}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def threshold_chart(comparison: Comparison) -> Chart | None:
    """The share within each threshold from each run's predictions; None where no run left any."""
    headline, texts = comparison.headline.by_joint, words.TEXTS[comparison.headline.key]
    thresholds = np.linspace(0, headline.highest, 81)
    series: dict[str, list[Line]] = {}
    notes: dict[str, str] = {}
    for name, seeds in comparison.runs.items():
        stored = [p for p in (predictions(comparison.run(name, seed)) for seed in seeds) if p is not None]
        stored = [p for p in stored if p.counted.any()]
        if stored:
            series[name] = [(thresholds, _curve(headline, p, thresholds)) for p in stored]
            area = float(np.mean([_area(headline, p) for p in stored]))
            notes[name] = f"AUC {words.number(area, 3)}"
    mark = headline.threshold
    if not series:
        return None
    return lines(texts.curve, series, texts.curve_axes, comparison.looks, percent=True, mark=mark, notes=notes)


def training_charts(comparison: Comparison) -> list[Chart]:
    """One chart for each metric that a reader of training curves looks for, then one for each loss."""
    logged = {name: [curves(comparison.run(name, seed)) for seed in seeds] for name, seeds in comparison.runs.items()}
    metrics = {metric for seeds in logged.values() for seed in seeds for metric in seed}
    losses = sorted(metric for metric in metrics if metric.startswith("loss/"))
    judged = dict.fromkeys((comparison.headline, comparison.headline.by_joint))
    titles = (
        {
            f"{side}/{one.key}": (f"{_capital(side)} {one.noun} while training", _axis(one))
            for one in judged
            for side in ("target", "source")
        }
        | {
            "target/score": ("Target score, which needs no labels", "score"),
        }
        | {loss: (f"Loss: {loss.removeprefix('loss/')}", "loss") for loss in losses}
    )
    charts = []
    for metric, (title, unit) in titles.items():
        series = {name: [seed[metric] for seed in seeds if metric in seed] for name, seeds in logged.items()}
        series = {name: drawn for name, drawn in series.items() if drawn}
        if series:
            percent = unit.endswith("%")
            charts.append(lines(title, series, ("step", unit), comparison.looks, percent=percent, width=NARROW))
    return charts


def total_seconds(comparison: Comparison) -> float | None:
    """Seconds per iteration times updates, over all runs that train; None where one does not say."""
    total = 0.0
    for name, seeds in _trained(comparison).items():
        for seed, result in seeds.items():
            steps, each = _last_step(comparison, name, seed), dig(result, "seconds_per_iteration")
            if steps is None or each is None:
                return None
            total += steps * each
    return total


def updates(comparison: Comparison) -> dict[str, str]:
    """{strategy: updates of its runs}, read from what was logged and not from what was planned."""
    spans = {}
    for name, seeds in _trained(comparison).items():
        steps = sorted({s for s in (_last_step(comparison, name, seed) for seed in seeds) if s is not None})
        if steps:
            spans[name] = f"{steps[0]}" if len(steps) == 1 else f"{steps[0]}–{steps[-1]}"
    return spans


def _trained(comparison: Comparison) -> dict[str, dict[str, dict[str, Any]]]:
    return {name: seeds for name, seeds in comparison.runs.items() if registry.trains(name)}


def flat(tree: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested plain data as (dotted key, text) pairs, without passwords."""
    if isinstance(tree, dict):
        return [pair for key, value in tree.items() for pair in flat(value, f"{prefix}.{key}" if prefix else str(key))]
    text = tree if isinstance(tree, str) else json.dumps(tree, ensure_ascii=False)
    return [(prefix, masked(text))]


def _last_step(comparison: Comparison, name: str, seed: str) -> int | None:
    return max((int(x[-1]) for x, _ in curves(comparison.run(name, seed)).values()), default=None)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _labels(comparison: Comparison, kind: str) -> list[str]:
    """Group or joint names in the order in which results list them; names without a number left out."""
    seen: dict[str, None] = {}
    for seeds in comparison.runs.values():
        for result in seeds.values():
            entries = ((result or {}).get("target") or {}).get(kind) or {}
            seen |= {label: None for label in entries if dig(entries, label) is not None}
    return list(seen)


def _curve(headline: Headline, p: Predictions, thresholds: np.ndarray) -> np.ndarray:
    errors, mask = torch.from_numpy(p.errors), torch.from_numpy(p.counted)
    return evaluation.curve(headline, errors, mask, torch.from_numpy(thresholds)).numpy()


def _area(headline: Headline, p: Predictions) -> float:
    return evaluation.area(headline, torch.from_numpy(p.errors), torch.from_numpy(p.counted))
