"""What a comparison found: `results.json`, a stable format, and the intervals in it.

{"schema": 1, "metric": "pck@0.1",
 "strategies": {NAME: {SEED: {"target": {"pck", "epe", "auc", "groups", "joints"}, "source": {the same},
                              "selected": {RULE: {"step", "target"}}, "seconds_per_iteration"}}},
 "summary": {NAME: {"target": {"mean", "std"}, "gain": {"mean", "interval": [lo, hi]},
                    "gain_over_bn_control": {the same}, "gap_closed": {the same}}}}

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
    return {
        "schema": 1,
        "metric": f"pck@{threshold:g}",
        "strategies": found,
        "summary": summarize(hits, counts),
    }


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

    def gain(name: str, base: str) -> dict[str, Any]:
        if name == base or base not in pck:
            return _undefined()
        return {"mean": float(np.mean(pck[name] - pck[base])), "interval": _interval(drawn[name] - drawn[base])}

    def closed(name: str) -> dict[str, Any]:
        if name in ("source_only", "oracle") or not {"source_only", "oracle"} <= set(pck):
            return _undefined()
        gap = drawn["oracle"] - drawn["source_only"]
        low, high = _interval(gap)
        if low <= 0 <= high:
            return _undefined()
        share = np.mean(pck[name] - pck["source_only"]) / np.mean(pck["oracle"] - pck["source_only"])
        return {"mean": float(share), "interval": _interval((drawn[name] - drawn["source_only"]) / gap)}

    return {
        name: {
            "target": {"mean": float(value.mean()), "std": float(value.std(ddof=1)) if seeds > 1 else None},
            "gain": gain(name, "source_only"),
            "gain_over_bn_control": gain(name, "bn_control") if name != "source_only" else _undefined(),
            "gap_closed": closed(name),
        }
        for name, value in pck.items()
    }


def _interval(drawn: np.ndarray) -> list[float]:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return [float(low), float(high)]


def _undefined() -> dict[str, Any]:
    return {"mean": None, "interval": [None, None]}
