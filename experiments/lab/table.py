"""What the points say about scores and candidates, as Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np

from .points import Row, score_names

WORSE, BETTER = -1.0, 2.0
"""Points below which a model is truly worse, and above which it is truly better."""
NOISE = 1.96
"""Standard errors within which a gain has no sign."""
FEWEST = 4
"""Points of a pair that a rank correlation says something of."""
ABSENT = "–"


def table(rows: Sequence[Row]) -> str:
    """Of each score, then of each candidate. Raises ValueError without a row."""
    if not rows:
        raise ValueError("there is no point yet: nothing of the plan is trained and scored")
    halves = sorted({row["half"] for row in rows})
    heads = [f"rank correlation, {half}" for half in (*halves, "all")]
    heads += ["sign right", "harm shipped", "gain missed", "behind the best", "measured"]
    lines = [[name, *score_cells(rows, name, halves)] for name in score_names(rows)]
    shares = sorted({row["share"] for row in rows} - {1})
    candidates = sorted({row["candidate"] for row in rows})
    columns = ["runs", "gain of the last", *(f"at share {share:g}" for share in shares)]
    about = f"{len(rows)} points of {len({row['pair'] for row in rows})} pairs."
    return "\n\n".join(
        [
            about,
            markdown(["score", *heads], lines),
            markdown(
                ["candidate", *columns, "of the best", "last behind best", "truly worse"],
                [[name, *candidate_cells([r for r in rows if r["candidate"] == name], shares)] for name in candidates],
            ),
        ]
    )


def score_cells(rows: Sequence[Row], name: str, halves: Sequence[str]) -> list[str]:
    """Of a score: mean rank correlation within a pair for each half and over all, then what shipping does where the
    score rises."""
    known = [row for row in rows if not math.isnan(change(row, name))]
    by_half = [[row for row in known if row["half"] == half] for half in halves]
    cells = [_number(correlation(part, name)) for part in (*by_half, known)]
    harm, missed = rates(known, lambda row: change(row, name) > 0)
    cells += [_share(sign_right(known, name)), _share(harm), _share(missed)]
    behind = behind_best(known, lambda row: row[f"after.{name}"])
    return [*cells, _number(behind), _share(len(known) / len(rows))]


def candidate_cells(rows: Sequence[Row], shares: Sequence[float]) -> list[str]:
    """Of a candidate: mean gains of its last checkpoints, of their mixtures with the given weights at each of `shares`,
    and of the best checkpoints, and the share of checkpoints that are truly worse."""
    whole = [row for row in rows if row["share"] == 1]
    runs = runs_of(whole)
    last = np.mean([max(run, key=lambda row: row["step"])["gain"] for run in runs])
    between = [[row["gain"] for row in rows if row["share"] == share] for share in shares]
    cells = [f"{np.mean(gains):+.1f}" if gains else ABSENT for gains in between]
    best = np.mean([max(row["gain"] for row in run) for run in runs])
    worse = np.mean([row["gain"] < WORSE for row in whole])
    return [str(len(runs)), f"{last:+.1f}", *cells, f"{best:+.1f}", f"{best - last:.1f}", f"{worse:.0%}"]


def change(row: Row, name: str) -> float:
    """By how much a score rose; NaN where it was not measured."""
    before, after = row.get(f"before.{name}"), row.get(f"after.{name}")
    return math.nan if before is None or after is None else after - before


def correlation(rows: Sequence[Row], name: str) -> float:
    """Spearman's of a score's change with the true gain within a pair, averaged over pairs; NaN where no pair has
    points enough that differ."""
    from scipy.stats import spearmanr

    values = []
    for _, own in groupby(sorted(rows, key=lambda row: row["pair"]), lambda row: row["pair"]):
        changes, gains = zip(*((change(row, name), row["gain"]) for row in own), strict=True)
        if len(gains) >= FEWEST and len(set(changes)) > 1 and len(set(gains)) > 1:
            values.append(spearmanr(changes, gains).statistic)
    return float(np.mean(values)) if values else math.nan


def sign_right(rows: Sequence[Row], name: str) -> float:
    """The share of points, gains within noise left out, at which a score rose exactly where the model became better."""
    right = [(change(row, name) > 0) == (row["gain"] > 0) for row in rows if abs(row["gain"]) > NOISE * row["gain_se"]]
    return float(np.mean(right)) if right else math.nan


def rates(rows: Sequence[Row], ships: Callable[[Row], bool]) -> tuple[float, float]:
    """Harm shipped, the share of truly worse models that a rule ships, and gain missed, the share of truly better ones
    that it holds back."""
    harm = [ships(row) for row in rows if row["gain"] < WORSE]
    missed = [not ships(row) for row in rows if row["gain"] > BETTER]
    return (float(np.mean(harm)) if harm else math.nan, float(np.mean(missed)) if missed else math.nan)


def behind_best(rows: Sequence[Row], value: Callable[[Row], float]) -> float:
    """By how many points the checkpoint of a run that has the highest `value` is behind the run's best one, on
    average."""
    runs = runs_of(rows)
    behind = [max(row["gain"] for row in run) - max(run, key=value)["gain"] for run in runs]
    return float(np.mean(behind)) if behind else math.nan


def runs_of(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each run."""

    def run(row: Row) -> tuple[str, str, int]:
        return row["pair"], row["candidate"], row["seed"]

    return [list(own) for _, own in groupby(sorted(rows, key=run), run)]


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = ["| " + " | ".join(line) + " |" for line in (head, *lines)]
    return "\n".join([rows[0], "|" + " --- |" * len(head), *rows[1:]])


def _number(value: float) -> str:
    return ABSENT if math.isnan(value) else f"{value:.2f}"


def _share(value: float) -> str:
    return ABSENT if math.isnan(value) else f"{value:.0%}"
