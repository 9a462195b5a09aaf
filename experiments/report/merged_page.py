"""The page that merges finished comparisons: like a comparison's report it needs no network, no script and no other
file, and each pair leads to its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...datasets.reading.files import write_text
from . import words
from .charts import Chart, forest, scatter
from .data import Comparison, dig
from .looks import looks
from .merged import ALPHA, Merged
from .pages import template
from .registry import adapts, title


@dataclass(frozen=True)
class Row:
    """A strategy in the table of ranks."""

    name: str
    rank: str
    pairs: int
    better: int
    """Pairs in which its gain's interval is above zero."""
    worse: int
    closed: str
    time: str


def write(together: Merged, file: Path) -> None:
    """Write the page, in one piece or not at all."""
    write_text(file, render(together, file.parent))


def render(together: Merged, place: Path) -> str:
    """The page as text, for the folder `place`: links go from there."""
    adapting = [name for name in together.strategies if adapts(name)]
    by_rank = sorted(adapting, key=lambda name: together.mean_rank(name) or len(adapting) + 1)
    shown = looks(together.strategies)
    costs = {name: (together.time(name), together.mean_rank(name)) for name in adapting}
    points = {name: (time, rank) for name, (time, rank) in costs.items() if time is not None and rank is not None}
    return template("merged.html").render(
        pairs=[about(key, pair, place) for key, pair in together.pairs.items()],
        names=together.strategies,
        titles={name: title(name) for name in together.strategies},
        looks=shown,
        rows=[row(name, together) for name in by_rank],
        ranked=together.common,
        left_out=together.left_out,
        sure=certainty(together),
        cells={name: {key: cell(name, pair) for key, pair in together.pairs.items()} for name in together.strategies},
        cost=cost_chart(points, shown) if points else None,
        gains=[chart for key, pair in together.pairs.items() if (chart := gain_chart(key, pair, shown))],
        absent=words.ABSENT,
    )


def row(name: str, together: Merged) -> Row:
    gains = [words.estimate(pair, name, "gain") for pair in together.pairs.values()]
    closed = [words.estimate(pair, name, "gap_closed").mean for pair in together.pairs.values()]
    shares = [share for share in closed if share is not None]
    rank, time = together.mean_rank(name), together.time(name)
    return Row(
        name=name,
        rank=words.number(rank),
        pairs=together.count(name),
        better=sum(gain.above_zero for gain in gains),
        worse=sum(gain.below_zero for gain in gains),
        closed=f"{100 * sum(shares) / len(shares):.0f} % ({len(shares)})" if shares else words.ABSENT,
        time=words.number(time, 1),
    )


def certainty(together: Merged) -> list[str]:
    """What can be said of differences between the ranks, a sentence each."""
    chance, least = together.friedman, together.critical_difference
    said = []
    if chance is None:
        said.append("Whether ranks differ is not asked: Friedman's test takes three pairs and three unlike strategies")
    else:
        verdict = "they differ" if chance < ALPHA else "that they differ at all is not shown"
        said.append(f"Were all alike, the probability of ranks so unlike is {chance:.2g} (Friedman): {verdict}")
    if least is not None:
        most = len(together.common) - 1
        never = f", and they cannot, being at most {most} apart: too few pairs" if least > most else ""
        said.append(f"Two mean ranks have to differ by {least:.2f} to be told apart at 5 % (Nemenyi){never}")
    return said


def about(key: str, pair: Comparison, place: Path) -> dict[str, Any]:
    """A comparison in the table of pairs."""
    sides = [pair.config.get(side) for side in ("source", "target")]
    names = [str(side["name"]) for side in sides if isinstance(side, dict) and side.get("name")]
    page = pair.folder / "report.html"
    return {
        "key": key,
        "what": " → ".join(names),
        "metric": pair.headline.heading,
        "seeds": max((len(runs) for runs in pair.runs.values()), default=0),
        "strategies": len(pair.runs),
        "date": pair.date,
        "link": Path(os.path.relpath(page.resolve(), place.resolve())).as_posix() if page.is_file() else None,
    }


def cell(name: str, pair: Comparison) -> tuple[str, str]:
    """A strategy's mean, and its gain with the interval."""
    mean = dig(pair.summary, name, "target", "mean")
    gain = words.difference(words.estimate(pair, name, "gain"), pair.headline, unit=False)
    return words.shown(mean, pair.headline), "" if gain == words.ABSENT else gain


def cost_chart(points: dict[str, tuple[float, float]], look: Any) -> Chart:
    axes = "seconds of a step, times those of source only", "mean rank"
    return scatter("Rank beside cost: the best and cheapest at the top left", points, axes, look)


def gain_chart(key: str, pair: Comparison, look: Any) -> Chart | None:
    """The gains of a pair with their intervals; None where it has none."""
    gains = {name: words.estimate(pair, name, "gain") for name in pair.runs if adapts(name)}
    scale = pair.headline.scale
    ends = {
        name: tuple(scale * (gain.mean if end is None else end) for end in (gain.mean, gain.low, gain.high))
        for name, gain in gains.items()
        if gain.mean is not None
    }
    return forest(key, ends, f"gain, {pair.headline.points}", look) if ends else None
