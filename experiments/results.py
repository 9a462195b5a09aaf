"""What a comparison found: `results.json`, a stable format, and the intervals in it.

{"schema": 1, "metric": "pck@0.1",
 "strategies": {NAME: {SEED: {"target": {"pck", "epe", "auc", "groups", "joints"}, "source": {the same},
                              "selected": {RULE: {"step", "target"}}, "seconds_per_iteration"}}},
 "summary": {NAME: {"target": {"mean", "std"}, "gain": {"mean", "interval": [lo, hi]},
                    "gain_over_bn_control": {the same}, "gap_closed": {the same},
                    "selected": {RULE: {"target", "gain", "gap_closed"}}}}}

Numbers are fractions, EPE is in file pixels; null where undefined. `gain` is over source_only; `gap_closed` is the gain
as a share of oracle - source_only, null where that gap's own interval includes zero. Intervals are 95 %, by a
bootstrap over seeds and blocks of frames, paired: all strategies are resampled alike.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..adapt.evaluation import Predictions
from ..adapt.selection import RULES

RESAMPLES = 4000


def collect(folder: Path, strategies: list[str], seeds: list[int], threshold: float) -> dict[str, Any]:
    """The results of the finished runs `folder/STRATEGY-seedN`."""
    runs = {name: {seed: folder / f"{name}-seed{seed}" for seed in seeds} for name in strategies}
    found = {n: {str(s): json.loads((r / "result.json").read_text()) for s, r in of.items()} for n, of in runs.items()}
    hits, counts = {}, np.empty(0)
    for name, of in runs.items():
        rows = [block_hits(Predictions.load(run / "predictions.npz"), threshold) for run in of.values()]
        hits[name] = np.stack([hit for hit, _ in rows])
        counts = rows[0][1]
    summary = summarize(hits, counts)
    for name, rules in by_rule(found).items():
        summary[name]["selected"] = rules
    return {"schema": 1, "metric": f"pck@{threshold:g}", "strategies": found, "summary": summary}


def by_rule(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """For each strategy and selection rule the means over seeds of target, gain and share of the gap closed, every
    strategy's checkpoint being chosen by that rule."""

    def mean(name: str, rule: str) -> float | None:
        values = [
            run["selected"][rule]["target"]["pck"] for run in found.get(name, {}).values() if rule in run["selected"]
        ]
        return float(np.mean(values)) if values else None

    def entry(name: str, rule: str) -> dict[str, float | None]:
        own, base, top = (mean(n, rule) for n in (name, "source_only", "oracle"))
        gain = None if own is None or base is None or name == "source_only" else own - base
        gap = None if base is None or top is None or name == "oracle" else top - base
        return {"target": own, "gain": gain, "gap_closed": gain / gap if gain is not None and gap and gap > 0 else None}

    return {n: {rule: entry(n, rule) for rule in RULES} for n in found}


def block_hits(predictions: Predictions, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Correct keypoints and counted keypoints of each block of frames, (blocks,) each, in the blocks' order."""
    right = (predictions.errors() <= threshold) & predictions.annotated
    _, block = np.unique(np.array(predictions.sequence), return_inverse=True)
    return (
        np.bincount(block, right.sum(1).double().numpy()),
        np.bincount(block, predictions.annotated.sum(1).double().numpy()),
    )


def summarize(hits: dict[str, np.ndarray], counts: np.ndarray, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Means and intervals from hits (seeds, blocks) of each strategy and counts (blocks,)."""
    seeds, blocks = next(iter(hits.values())).shape
    rng = np.random.default_rng(0)
    drawn_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    drawn_blocks = rng.multinomial(blocks, np.full(blocks, 1 / blocks), resamples)
    total = drawn_blocks @ counts * seeds
    drawn = {name: np.einsum("rs,sb,rb->r", drawn_seeds, hit, drawn_blocks) / total for name, hit in hits.items()}
    pck = {name: hit.sum(1) / counts.sum() for name, hit in hits.items()}

    single = seeds * blocks < 2  # nothing to resample

    def interval(values: np.ndarray) -> list[float | None]:
        if single:
            return [None, None]
        low, high = np.quantile(values, [0.025, 0.975])
        return [float(low), float(high)]

    def gain(name: str, base: str) -> dict[str, Any]:
        if name == base or base not in pck:
            return _undefined()
        return {"mean": float(np.mean(pck[name] - pck[base])), "interval": interval(drawn[name] - drawn[base])}

    def closed(name: str) -> dict[str, Any]:
        if name in ("source_only", "oracle") or not {"source_only", "oracle"} <= set(pck):
            return _undefined()
        gap = drawn["oracle"] - drawn["source_only"]
        low = interval(gap)[0]
        if low is None or low <= 0:
            return _undefined()
        share = np.mean(pck[name] - pck["source_only"]) / np.mean(pck["oracle"] - pck["source_only"])
        return {"mean": float(share), "interval": interval((drawn[name] - drawn["source_only"]) / gap)}

    return {
        name: {
            "target": {"mean": float(value.mean()), "std": float(value.std(ddof=1)) if seeds > 1 else None},
            "gain": gain(name, "source_only"),
            "gain_over_bn_control": gain(name, "bn_control") if name != "source_only" else _undefined(),
            "gap_closed": closed(name),
        }
        for name, value in pck.items()
    }


def _undefined() -> dict[str, Any]:
    return {"mean": None, "interval": [None, None]}
