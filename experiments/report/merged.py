"""Several finished comparisons together: ranks of strategies over domain pairs, and what they cost.

Ranks are of the strategies that all pairs have run, for a rank among few and one among many say different things; those
that a pair lacks are shown without one. Whether ranks differ at all is asked by Friedman's test, and by how much two of
them have to by Nemenyi's (Demšar, JMLR 2006); both count a pair as one observation.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from ...adapt.scoring.selection import Headline
from ...datasets.reading.annotations import mapping, read_json
from ..config import load_folder, seeds
from ..config import read as read_config
from .data import Comparison, dig, read
from .registry import adapts, place

ALPHA = 0.05


@dataclass(frozen=True)
class Merged:
    """Comparisons by the names that they are told apart by."""

    pairs: dict[str, Comparison]

    @cached_property
    def strategies(self) -> list[str]:
        """All, in the registry's order."""
        return sorted({name for pair in self.pairs.values() for name in pair.runs}, key=place)

    @cached_property
    def means(self) -> dict[str, dict[str, float]]:
        """By pair, the target's headline of those that adapt and have one."""
        known = {key: {n: dig(c.summary, n, "target", "mean") for n in c.runs} for key, c in self.pairs.items()}
        return {key: {n: v for n, v in own.items() if v is not None and adapts(n)} for key, own in known.items()}

    @cached_property
    def common(self) -> list[str]:
        """The strategies that are ranked: those that have a mean in every pair."""
        return [name for name in self.strategies if all(name in own for own in self.means.values())]

    @cached_property
    def ranks(self) -> dict[str, list[float]]:
        """Of each that is ranked its rank in every pair."""
        each = [
            ranked(self.pairs[key].headline, {name: own[name] for name in self.common})
            for key, own in self.means.items()
        ]
        return {name: [ranks[name] for ranks in each] for name in self.common}

    def mean_rank(self, name: str) -> float | None:
        return statistics.mean(self.ranks[name]) if name in self.ranks else None

    def count(self, name: str) -> int:
        """Pairs in which an adapting strategy has a mean."""
        return sum(name in own for own in self.means.values())

    @property
    def left_out(self) -> dict[str, int]:
        """Strategies that adapt and are not ranked, with the pairs that have them."""
        return {n: self.count(n) for n in self.strategies if adapts(n) and n not in self.common}

    @property
    def friedman(self) -> float | None:
        """The probability of ranks that are so unlike if all were alike; None where there is too little to say."""
        ranks = np.array(list(self.ranks.values()))  # (strategies, pairs)
        if min(len(ranks), len(self.pairs)) < 3 or (ranks == ranks[0]).all():
            return None
        return float(friedmanchisquare(*ranks).pvalue)

    @property
    def critical_difference(self) -> float | None:
        """By how much two mean ranks have to differ, by Nemenyi's test; None with fewer than two of either."""
        count, pairs = len(self.common), len(self.pairs)
        if count < 2 or pairs < 2:
            return None
        quantile = float(studentized_range.ppf(1 - ALPHA, count, np.inf)) / math.sqrt(2)
        return quantile * math.sqrt(count * (count + 1) / (6 * pairs))

    def time(self, name: str) -> float | None:
        """Seconds of a step over those of source_only in the same comparison, loading included: the median over the
        pairs that have both."""
        ratios = []
        for pair in self.pairs.values():
            own, base = (pair.values(each, "seconds_per_iteration") for each in (name, "source_only"))
            if own and any(base):
                ratios.append(statistics.median(own) / statistics.median(base))
        return statistics.median(ratios) if ratios else None


def ranked(headline: Headline, means: Mapping[str, float]) -> dict[str, float]:
    """The rank of each, 1 being the best; equal ones share the mean of theirs."""
    ranks = rankdata([-headline.improvement(value, 0.0) for value in means.values()])
    return dict(zip(means, map(float, ranks), strict=True))


def merged(folders: Sequence[Path]) -> Merged:
    """The comparisons in `folders`. Raises ValueError for a folder that holds none, or is named twice."""
    places = Counter(folder.resolve() for folder in folders)
    twice = next((place for place, count in places.items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is named twice: every comparison counts once")
    comparisons = [finished(folder) for folder in folders]
    names = Counter(folder.resolve().name for folder in folders)
    keys = [f.resolve().name if names[f.resolve().name] == 1 else str(f) for f in folders]
    return Merged(dict(zip(keys, comparisons, strict=True)))


def finished(folder: Path) -> Comparison:
    """The comparison in a folder. Raises ValueError where there is none, or one that is not finished."""
    path, config = folder / "results.json", folder / "config.yaml"
    if path.is_file():
        mapping(read_json(path), path, "", "the content", ("metric", "summary", "strategies"))
        return read(folder)
    expected = "expected results.json, as keyshift compare writes it"
    if not config.is_file():
        raise ValueError(f"{folder} holds no finished comparison: {expected}")
    if "strategies" not in read_config(config):
        raise ValueError(f"{folder} holds a single run and no comparison: {expected}")
    planned = load_folder(folder)
    runs = [folder / f"{name}-seed{seed}" for name in planned.strategies for seed in seeds(planned)]
    done = sum((run / "result.json").is_file() for run in runs)
    raise ValueError(
        f"{folder} holds no finished comparison: {done} of its {len(runs)} runs are done. The command that began it "
        "goes on with it"
    )
