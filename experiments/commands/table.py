"""`keyshift table`: finished comparisons beside each other, as Markdown: accuracy, ranks and cost of each strategy, and
one of them against the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...adapt.scoring.selection import Headline
from ...datasets.options import choose
from ..lab.table import markdown
from ..report.data import Comparison, dig
from ..report.merged import Merged, merged
from ..report.registry import place, title
from ..runs.results import ABSENT, against, behind


def table(folders: Sequence[Path]) -> str:
    """The comparisons in `folders`, one a column. Raises ValueError for a folder that holds none."""
    together = merged(folders)
    heads = [f"{name}, {pair.headline.heading}" for name, pair in together.pairs.items()]
    cells = {name: [cell(name, pair) for pair in together.pairs.values()] for name in together.strategies}
    lines = [[title(name), *own, rank(name, together), time(name, together)] for name, own in cells.items()]
    return markdown(["strategy", *heads, "mean rank (pairs)", "time"], lines)


def rank(name: str, together: Merged) -> str:
    """With the number of pairs; of a strategy that not all pairs have that number alone."""
    mean, count = together.mean_rank(name), together.count(name)
    return f"{ABSENT if mean is None else f'{mean:.1f}'} ({count})" if count else ABSENT


def time(name: str, together: Merged) -> str:
    ratio = together.time(name)
    return ABSENT if ratio is None else f"{ratio:.1f}"


def duel(folders: Sequence[Path], name: str) -> str:
    """By how much strategy `name` is better than each of the others, and how far its last checkpoint is behind its best
    one in the worst run. Raises ValueError for a comparison without it."""
    pairs = merged(folders).pairs
    for pair in pairs.values():
        choose(f"{pair.folder} has no such strategy: --against", name, list(pair.runs))
    results = {key: {"metric": pair.headline.name, "strategies": pair.runs} for key, pair in pairs.items()}
    gains = {key: against(pair.folder, results[key], name) for key, pair in pairs.items()}
    lines = [
        [title(other), *(difference(gains[key].get(other), pair.headline) for key, pair in pairs.items())]
        for other in sorted({other for gain in gains.values() for other in gain}, key=place)
    ]
    last = [(behind(results[key], name), pair.headline) for key, pair in pairs.items()]
    lines.append(["its last behind its best", *(ABSENT if off is None else h.bare(off) for off, h in last)])
    return markdown([f"{title(name)} over", *pairs], lines)


def difference(gain: dict[str, Any] | None, headline: Headline) -> str:
    """With its interval."""
    if gain is None or gain["mean"] is None:
        return ABSENT
    ends = ", ".join(headline.bare(end, sign=True) for end in gain["interval"] if end is not None)
    return headline.bare(gain["mean"], sign=True) + (f" [{ends}]" if ends else "")


def cell(name: str, pair: Comparison) -> str:
    """A strategy's mean over seeds, and its gain with the interval."""
    mean = dig(pair.summary, name, "target", "mean")
    if mean is None:
        return ABSENT
    said, gain = pair.headline.bare(mean), pair.summary[name]["gain"]
    return said if gain["mean"] is None else f"{said}, {difference(gain, pair.headline)}"
