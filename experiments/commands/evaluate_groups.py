"""Scores by sequence or by action: `keyshift evaluate ... --by sequence|action`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...adapt.scoring.evaluation import Predictions, scores
from ...datasets.bodies import human36m, mupots
from ...datasets.options import choose
from ...datasets.skeleton import Skeleton
from ..runs.progress import Reporter
from ..runs.results import tables_of, told

BY = ("sequence", "action")
MEAN = "mean of actions"


class NoGroups(ValueError):
    """The samples of a set are of no such groups."""


def group_names(sequences: Sequence[str], by: str) -> list[str]:
    """What each sample's sequence is called in tables by `by`: of MuPoTS-3D TS1 to TS20, of another set the sequence
    itself; its action, which Human3.6M alone has. Raises NoGroups for another set's actions, ValueError for another
    `by`."""
    choose("--by", by, list(BY))
    if by == "action":
        try:
            known = {name: human36m.action(name) for name in set(sequences)}
        except ValueError as error:
            raise NoGroups(str(error)) from error
    else:
        known = {name: mupots.recording(name) if name.startswith("mupots/") else name for name in set(sequences)}
    return [known[name] for name in sequences]


def in_order(names: Sequence[str]) -> list[str]:
    """Each name once: actions in the order of their numbers, others sorted, TS2 before TS10."""
    if set(names) <= set(human36m.ACTIONS):
        return [name for name in human36m.ACTIONS if name in set(names)]

    def key(name: str) -> tuple[str, int]:
        stem = name.rstrip("0123456789")
        return stem, int(name[len(stem) :] or 0)

    return sorted(set(names), key=key)


def mean_of(scored: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The mean of each number over groups, of those that have it."""
    values = {key: [one[key] for one in scored] for key, value in scored[0].items() if not isinstance(value, dict)}
    known = {key: [value for value in own if value is not None and value == value] for key, own in values.items()}
    return {key: sum(own) / len(own) if own else float("nan") for key, own in known.items()}


def print_groups(
    title: str, predictions: Predictions, skeleton: Skeleton, threshold: float, by: str, reporter: Reporter
) -> dict[str, dict[str, float]]:
    """A row of scores for each group of the people that count, of actions one of their means, as Human3.6M's numbers
    are published, and one for all of them. Gives the scores by group."""
    headline = predictions.headline(threshold)
    named = dict(zip(predictions.sequence, group_names(predictions.sequence, by), strict=True))
    names, counted = np.array([named[one] for one in predictions.sequence]), predictions.annotated.any(1).numpy()
    groups = {name: (names == name) & counted for name in in_order(names[counted].tolist())}
    by_group = {
        name: predictions.of_sequences({sequence for sequence, own in named.items() if own == name}) for name in groups
    }
    by_name = {name: scores(own, skeleton, threshold) for name, own in by_group.items()}
    whole = scores(predictions, skeleton, threshold)
    means = {MEAN: mean_of(list(by_name.values()))} if by == "action" and by_name else {}
    shown = by_name | means | {"all": whole}
    every = {key: said for table in tables_of(headline).values() for key, said in table.items()}
    extra = told(every, [whole])
    counts = [*(str(int(rows.sum())) for rows in groups.values()), *("" for _ in means), str(int(counted.sum()))]
    lines = [
        [name, count, headline.bare(values[headline.key], more=1), f"{values['epe']:.2f}"]
        + [said.show(values[key]) for key, said in extra.items()]
        for (name, values), count in zip(shown.items(), counts, strict=True)
    ]
    columns = [by, "people", headline.heading, "EPE px", *(said.heading for said in extra.values())]
    reporter.table(title, columns, lines)
    return by_name
