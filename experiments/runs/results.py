"""What a comparison found: `results.json`, a stable format, and the intervals in it.

{"schema": 1, "metric": "pck@0.1" or "mm",
 "strategies": {NAME: {SEED: {"target": {"pck" or "mm", "epe", "auc", "groups", "joints"}, "source": {the same},
                              "selected": {RULE: {"step", "target"}}, "seconds_per_iteration"}}},
 "summary": {NAME: {"target": {"mean", "std"}, "gain": {"mean", "interval": [lo, hi]},
                    "gain_over_bn_control": {the same}, "gap_closed": {the same},
                    "selected": {RULE: {"target", "gain", "gap_closed"}}}}}

Numbers are fractions, EPE is in file pixels; null where undefined. `gain` is over source_only; `gap_closed` is the gain
as a share of the oracle's, null where the oracle's own interval includes zero. Intervals are 95 %, by a bootstrap over
seeds and blocks of frames, paired: all strategies are resampled alike.

Of depth the metric is "mm": targets, groups and joints are mean errors in mm, where lower is better; beside them stand
"map", the share within 100 mm averaged over the joints, and an "auc" of worst joints (see `scores`). A gain is positive
where the strategy is better under either metric: what it adds to PCK, what it takes off the error.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ...adapt.scoring.evaluation import Predictions
from ...adapt.scoring.selection import PCK, RULES, Headline

RESAMPLES = 4000


def collect(folder: Path, strategies: list[str], seeds: list[int], threshold: float) -> dict[str, Any]:
    """The results of the finished runs `folder/STRATEGY-seedN`."""
    runs = {name: {seed: folder / f"{name}-seed{seed}" for seed in seeds} for name in strategies}
    found = {n: {str(s): json.loads((r / "result.json").read_text()) for s, r in of.items()} for n, of in runs.items()}
    totals, counts, headline = {}, np.empty(0), PCK
    for name, of in runs.items():
        loaded = [Predictions.load(run / "predictions.npz") for run in of.values()]
        headline = loaded[0].headline(threshold)
        rows = [block_totals(predictions, headline) for predictions in loaded]
        totals[name] = np.stack([total for total, _ in rows])
        counts = rows[0][1]
    summary = summarize(totals, counts, headline)
    for name, rules in by_rule(found, headline).items():
        summary[name]["selected"] = rules
    return {"schema": 1, "metric": headline.name, "strategies": found, "summary": summary}


def by_rule(found: dict[str, Any], headline: Headline) -> dict[str, dict[str, Any]]:
    """For each strategy and selection rule the means over seeds of target, gain and share of the gap closed, every
    strategy's checkpoint being chosen by that rule."""

    def mean(name: str, rule: str) -> float | None:
        chosen = [run["selected"].get(rule) for run in found.get(name, {}).values()]
        values = [run["target"][headline.key] for run in chosen if run is not None]
        return float(np.mean(values)) if values and None not in values else None

    def entry(name: str, rule: str) -> dict[str, float | None]:
        own, base, top = (mean(n, rule) for n in (name, "source_only", "oracle"))
        gain = None if own is None or base is None or name == "source_only" else headline.improvement(own, base)
        gap = None if base is None or top is None or name == "oracle" else headline.improvement(top, base)
        return {"target": own, "gain": gain, "gap_closed": gain / gap if gain is not None and gap and gap > 0 else None}

    return {n: {rule: entry(n, rule) for rule in RULES} for n in found}


def block_totals(predictions: Predictions, headline: Headline) -> tuple[np.ndarray, np.ndarray]:
    """The headline's values summed over the counted keypoints of each block of frames, and how many these are:
    (blocks,) each, in the blocks' order."""
    counted = predictions.annotated.numpy()
    values = np.where(counted, headline.values(predictions), 0)
    _, block = np.unique(np.array(predictions.sequence), return_inverse=True)
    totals, counts = np.bincount(block, values.sum(1)), np.bincount(block, counted.sum(1).astype(float))
    some = counts > 0  # a block without labels would be drawn and leave nothing to divide by
    return (totals[some], counts[some]) if some.any() else (totals, counts)


def summarize(
    totals: dict[str, np.ndarray], counts: np.ndarray, headline: Headline = PCK, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Means and intervals from the headline's totals (seeds, blocks) of each strategy and counts (blocks,); all null
    where nothing counts, the target's test part having no labels."""
    if not counts.sum():
        nothing = {key: _undefined() for key in ("gain", "gain_over_bn_control", "gap_closed")}
        return {name: {"target": {"mean": None, "std": None}} | nothing for name in totals}
    seeds, blocks = next(iter(totals.values())).shape
    rng = np.random.default_rng(0)
    drawn_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    drawn_blocks = rng.multinomial(blocks, np.full(blocks, 1 / blocks), resamples)
    total = drawn_blocks @ counts * seeds
    drawn = {n: np.einsum("rs,sb,rb->r", drawn_seeds, own, drawn_blocks) / total for n, own in totals.items()}
    means = {name: own.sum(1) / counts.sum() for name, own in totals.items()}
    better = headline.improvement

    single = seeds * blocks < 2  # nothing to resample

    def interval(values: np.ndarray) -> list[float | None]:
        if single:
            return [None, None]
        low, high = np.quantile(values, [0.025, 0.975])
        return [float(low), float(high)]

    def gain(name: str, base: str) -> dict[str, Any]:
        if name == base or base not in means:
            return _undefined()
        own = better(means[name], means[base])
        return {"mean": float(np.mean(own)), "interval": interval(better(drawn[name], drawn[base]))}

    def closed(name: str) -> dict[str, Any]:
        if name in ("source_only", "oracle") or not {"source_only", "oracle"} <= set(means):
            return _undefined()
        gap = better(drawn["oracle"], drawn["source_only"])
        low = interval(gap)[0]
        if low is None or not low > 0:
            return _undefined()
        base, top = means["source_only"], means["oracle"]
        share = np.mean(better(means[name], base)) / np.mean(better(top, base))
        return {"mean": float(share), "interval": interval(better(drawn[name], drawn["source_only"]) / gap)}

    return {
        name: {
            "target": {"mean": float(value.mean()), "std": float(value.std(ddof=1)) if seeds > 1 else None},
            "gain": gain(name, "source_only"),
            "gain_over_bn_control": gain(name, "bn_control") if name != "source_only" else _undefined(),
            "gap_closed": closed(name),
        }
        for name, value in means.items()
    }


def _undefined() -> dict[str, Any]:
    return {"mean": None, "interval": [None, None]}
