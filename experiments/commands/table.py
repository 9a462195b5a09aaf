"""`keyshift table`: finished comparisons beside each other, as Markdown: accuracy, ranks and cost of each strategy, and
one of them against the others."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...adapt.scoring.selection import Headline
from ...datasets.options import choose
from ...datasets.reading.annotations import mapping, read_json
from ..lab.table import markdown
from ..report.registry import adapts, place, title
from ..runs.results import ABSENT, against, behind

Comparison = tuple[str, dict[str, Any]]


def table(folders: Sequence[Path]) -> str:
    """The comparisons in `folders`, one a column. Raises ValueError for a folder that holds none."""
    comparisons = [(folder.name, _results(folder)) for folder in folders]
    names = sorted({name for _, results in comparisons for name in results["summary"]}, key=place)
    heads = [f"{name}, {Headline.named(results['metric']).heading}" for name, results in comparisons]
    lines = [["strategy", *heads, "mean rank (pairs)", "time"]]
    ranks = [ranked(results) for _, results in comparisons]
    for name in names:
        cells = [cell(name, results) for _, results in comparisons]
        own = [rank[name] for rank in ranks if name in rank]
        pairs = f"{statistics.mean(own):.1f} ({len(own)})" if own else ABSENT
        lines.append([title(name), *cells, pairs, time(name, comparisons)])
    return markdown(lines[0], lines[1:])


def duel(folders: Sequence[Path], name: str) -> str:
    """By how much strategy `name` is better than each of the others, and how far its last checkpoint is behind its best
    one in the worst run. Raises ValueError for a comparison without it."""
    comparisons = [(folder, _results(folder)) for folder in folders]
    for folder, results in comparisons:
        choose(f"{folder} has no such strategy: --against", name, list(results["strategies"]))
    gains = [against(folder, results, name) for folder, results in comparisons]
    lines = [
        [title(other), *(difference(gain.get(other), r) for gain, (_, r) in zip(gains, comparisons, strict=True))]
        for other in sorted({other for gain in gains for other in gain}, key=place)
    ]
    last = [(behind(results, name), Headline.named(results["metric"])) for _, results in comparisons]
    lines.append(["its last behind its best", *(ABSENT if off is None else h.bare(off) for off, h in last)])
    return markdown([f"{title(name)} over", *(folder.name for folder in folders)], lines)


def difference(gain: dict[str, Any] | None, results: dict[str, Any]) -> str:
    """With its interval."""
    if gain is None or gain["mean"] is None:
        return ABSENT
    headline = Headline.named(results["metric"])
    ends = ", ".join(headline.bare(end, sign=True) for end in gain["interval"] if end is not None)
    return headline.bare(gain["mean"], sign=True) + (f" [{ends}]" if ends else "")


def _results(folder: Path) -> dict[str, Any]:
    path = folder / "results.json"
    if not path.is_file():
        raise ValueError(f"{folder} holds no finished comparison: expected results.json, as keyshift compare writes it")
    return dict(mapping(read_json(path), path, "", "the content", ("metric", "summary", "strategies")))


def cell(name: str, results: dict[str, Any]) -> str:
    """A strategy's mean over seeds, and its gain with the interval."""
    row = results["summary"].get(name)
    if row is None or row["target"]["mean"] is None:
        return ABSENT
    headline, gain = Headline.named(results["metric"]), row["gain"]
    mean = headline.bare(row["target"]["mean"])
    return mean if gain["mean"] is None else f"{mean}, {difference(gain, results)}"


def ranked(results: dict[str, Any]) -> dict[str, float]:
    """The rank of each strategy that adapts, 1 being the best; equal ones share the mean of theirs."""
    headline = Headline.named(results["metric"])
    values = {name: row["target"]["mean"] for name, row in results["summary"].items() if adapts(name)}
    known = {name: value for name, value in values.items() if value is not None}

    def rank(name: str) -> float:
        better = [headline.improvement(other, known[name]) for key, other in known.items() if key != name]
        return 1 + sum(gain > 0 for gain in better) + sum(gain == 0 for gain in better) / 2

    return {name: rank(name) for name in known}


def time(name: str, comparisons: Sequence[Comparison]) -> str:
    """The median seconds of a step over those of source_only in the same comparison, loading included."""
    ratios = []
    for _, results in comparisons:
        runs = results["strategies"]
        pairs = [(runs.get(n) or {}).values() for n in (name, "source_only")]
        own, base = ([run["seconds_per_iteration"] for run in of if run["seconds_per_iteration"]] for of in pairs)
        if own and base:
            ratios.append(statistics.median(own) / statistics.median(base))
    return f"{statistics.median(ratios):.1f}" if ratios else ABSENT
