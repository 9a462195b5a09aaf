"""One candidate against all others on the laboratory's pairs: what the last checkpoints of their runs truly are, with
intervals over blocks of target frames and seeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...adapt.scoring.selection import PCK
from ..runs.results import summarize
from .records import GIVEN, RUN, Checkpoint, Record
from .table import ABSENT, markdown
from .truth import Truth, points

ORACLE = "oracle"
"""The candidate that learns from target labels."""
Truths = Mapping[int, Sequence[Truth]]
"""By seed, those of a run's checkpoints, the last one last."""


def duel(output: Path, name: str, pairs: Sequence[str], candidates: Sequence[str], seeds: Collection[int]) -> str:
    """By how much candidate `name` is better than the given model and each other of `candidates`, the share of the
    oracle's gain that it reaches, and how far the last checkpoint of its worst run is behind the best one. Of `seeds`
    those that both have. Raises ValueError where no pair has a run of it."""
    known = {pair: truths_of(output / pair, seeds) for pair in pairs}
    known = {pair: truths for pair, truths in known.items() if name in truths}
    if not known:
        raise ValueError(f"{output} has no run of candidate {name!r} on these pairs; keyshift lab trains it")
    shown = {n for truths in known.values() for n in truths} - {name, "given", ORACLE}
    others = ["given", *(n for n in candidates if n in shown)]
    ranks = [ranked(truths, name, others) for truths in known.values()]
    lines = []
    for pair, truths in known.items():
        gains = [over(truths, name, other)["gain_over_given"] if other in truths else None for other in others]
        closed = over(truths, name, "given", ORACLE)["gap_closed"] if ORACLE in truths else None
        before = np.mean([points(run[-1]) for run in truths["given"].values()])
        behind = max(points_behind(run) for run in truths[name].values())
        cells = [f"{pair} ({len(truths[name])})", f"{before:.1f}", *map(with_interval, gains)]
        lines.append([*cells, with_interval(closed), f"{behind:.1f}"])
    lines.append([f"mean rank, {name}: {mean_rank(ranks, name)}", "", *(mean_rank(ranks, n) for n in others), "", ""])
    heads = ["pair (seeds)", "given", *(f"over {other}" for other in others), "gap closed, %", "last behind best"]
    return markdown(heads, lines)


def truths_of(folder: Path, seeds: Collection[int]) -> dict[str, dict[int, list[Truth]]]:
    """By candidate and seed the truths of the checkpoints of a pair's runs; of the given model too."""
    truths: dict[str, dict[int, list[Truth]]] = {}
    for path in sorted([*folder.glob(f"seed*/{GIVEN}"), *folder.glob(f"seed*/*/{RUN}")]):
        record = Record.load(path)
        known = [(one, entry["truth"]) for one, entry in sorted(record.checkpoints.items()) if "truth" in entry]
        own = [truth for one, truth in known if one == Checkpoint(one.step)]
        if own and record.about["seed"] in seeds:
            name = "given" if path.name == GIVEN else path.parent.name
            truths.setdefault(name, {})[record.about["seed"]] = own
    return truths


def over(truths: Mapping[str, Truths], name: str, other: str, *more: str) -> dict[str, Any]:
    """The summary of `name` where `other` stands for the given model, over the seeds that all of them have."""
    runs = {"ours": truths[name], "given": truths[other]} | {n: truths[n] for n in more}
    seeds = sorted(set.intersection(*(set(run) for run in runs.values())))
    if not seeds:
        return {"gain_over_given": None, "gap_closed": None}
    totals, counts = (
        {n: np.array([run[seed][-1][key] for seed in seeds]) for n, run in runs.items()} for key in ("hits", "counts")
    )
    summary: dict[str, Any] = summarize(totals, counts, PCK)["ours"]
    return summary


def ranked(truths: Mapping[str, Truths], name: str, others: Sequence[str]) -> dict[str, float]:
    """The rank of `name` and of those of `others` that have all its seeds, from 1, the best; equal ones share one."""
    from scipy.stats import rankdata

    seeds = set(truths[name])
    names = [name, *(n for n in others if seeds <= set(truths.get(n, {})))]
    means = [np.mean([points(truths[n][seed][-1]) for seed in seeds]) for n in names]
    return dict(zip(names, rankdata(-np.array(means)), strict=True))


def points_behind(run: Sequence[Truth]) -> float:
    """By how much the last checkpoint of a run is behind its best one."""
    return max(points(truth) for truth in run) - points(run[-1])


def mean_rank(ranks: Sequence[Mapping[str, float]], name: str) -> str:
    """Over the pairs that rank it, with how many these are."""
    own = [rank[name] for rank in ranks if name in rank]
    return f"{np.mean(own):.1f} ({len(own)})" if own else ABSENT


def with_interval(gain: Mapping[str, Any] | None) -> str:
    """In points, or percent."""
    if gain is None or gain["mean"] is None:
        return ABSENT
    ends = ", ".join(f"{100 * end:+.1f}" for end in gain["interval"] if end is not None)
    return f"{100 * gain['mean']:+.1f}" + (f" [{ends}]" if ends else "")
