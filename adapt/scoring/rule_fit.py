"""How the rule of `adapt` (rule.py) is fitted to points, models whose truth is known, and how good it is on pairs that
were not used.

Half a of the domain pairs is for finding it. Each pair weighs the same, a point less where its gain is noisy. Features
of the scores that follow the truth within a pair are chosen one by one, as long as the error on pairs left out falls.
All of that is done again without each pair; the errors of these predictions give the interval, and the
least gain, in standard errors, from which on at most HARM of the models that were truly worse would have been shipped.
Half b shows what this is worth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .neighbours import known_pairs, left_out_error
from .rule import CLIP, FALL, TRAINED, Rule, features, hard, soft

HARM = 0.05
WORSE, BETTER = -1.0, 2.0
"""Gains in points: what lies below was truly worse, above truly better."""
LEVEL = 0.8
MARGINS = np.arange(0, 3.01, 0.05)
RIDGES = (0.01, 0.03, 0.1, 0.3)
MOST = 6
"""Features."""
FOLLOWS = 0.2
"""The least mean rank correlation within a pair of a score that may be read: what hardly follows the truth fits it by
chance."""
FALLS = 0.01
"""Share of the error that another feature must take off."""
USUAL = 2.0
"""Points of error that a point's truth has beside its noise: bounds what exact points weigh."""
BINS = 4
TEXTS = ("pair", "half", "kind", "candidate", "seed")


@dataclass(frozen=True)
class Points:
    """N checkpoints of candidates and mixtures of them with the given weights, whose truth is known."""

    text: dict[str, np.ndarray]
    """(N,) each of TEXTS."""
    step: np.ndarray
    share: np.ndarray
    """(N,) of the way from the given weights to the checkpoint's."""
    gain: np.ndarray
    """(N,) points, the candidate's over the given network's."""
    noise: np.ndarray
    """(N,) standard error of `gain`; 0 where not known."""
    before: dict[str, np.ndarray]
    """(N,) each score of the given network, NaN where not measured."""
    after: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.gain)

    @property
    def changes(self) -> dict[str, np.ndarray]:
        return {name: self.after[name] - before for name, before in self.before.items()}

    @property
    def run(self) -> np.ndarray:
        """(N,) numbers: points of one number are checkpoints of one run."""
        names = ["/".join(row) for row in zip(*(self.text[k] for k in ("pair", "candidate", "seed")), strict=True)]
        return np.unique(names, return_inverse=True)[1]

    def select(self, rows: np.ndarray) -> Points:
        parts: dict[str, Any] = {name: getattr(self, name)[rows] for name in ("step", "share", "gain", "noise")}
        for name in ("text", "before", "after"):
            parts[name] = {key: values[rows] for key, values in getattr(self, name).items()}
        return replace(self, **parts)

    def half(self, name: str) -> Points:
        return self.select(self.text["half"] == name)


def points_of(rows: Sequence[Mapping[str, Any]]) -> Points:
    """From the laboratory's rows (experiments/lab/points.py says their columns); None is NaN, and points without a gain
    are left out."""

    def numbers(name: str) -> np.ndarray:
        return np.array([row.get(name) for row in rows], float)  # None becomes NaN

    def scores(side: str) -> dict[str, np.ndarray]:
        names = sorted({name for row in rows for name in row if name.startswith(side)})
        return {name.removeprefix(side): numbers(name) for name in names}

    text = {name: np.array([str(row[name]) for row in rows]) for name in TEXTS}
    noise = np.nan_to_num(numbers("gain_se"))
    share = np.nan_to_num(numbers("share"), nan=1.0)
    points = Points(text, numbers("step"), share, numbers("gain"), noise, scores("before."), scores("after."))
    return points.select(np.isfinite(points.gain))


@dataclass(frozen=True)
class Sums:
    """Of P pairs, each with weight 1, over its points: of F features what of them is measured, 0 else."""

    products: np.ndarray
    """(P, F, F)"""
    both: np.ndarray
    """(P, F, F) the weight of points that have both features."""
    answers: np.ndarray
    """(P, F) with the soft gain."""
    each: np.ndarray
    """(P, F)"""
    squares: np.ndarray
    """(P,) of the soft gain."""

    def select(self, pairs: np.ndarray) -> Sums:
        return Sums(*(getattr(self, name)[pairs] for name in self.__dataclass_fields__))


def fit(points: Points, systems: Sequence[str] = ()) -> Rule:
    """The rule for models of `systems`, as `reading` of experiments/runs/shipping.py names them; none named is any.
    Raises ValueError where half a has fewer than three pairs, or no score is measured there.

    Pairs on which all candidates gain exactly the same are left out: their metric is at its floor or ceiling, so that a
    gain of 0 is no measurement.
    """
    pairs = np.unique(points.text["pair"])
    still = [str(pair) for pair in pairs if np.ptp(points.gain[points.text["pair"] == pair]) == 0]
    points = points.select(~np.isin(points.text["pair"], still))
    ours, others = points.half("a"), points.half("b")
    pairs, number = np.unique(ours.text["pair"], return_inverse=True)
    if len(pairs) < 3:
        raise ValueError(f"half a has {len(pairs)} pairs, and a rule needs three pairs: extend the laboratory")
    rule = regression(ours)
    gain, error = np.full((2, len(ours)), np.nan)
    for pair in range(len(pairs)):
        rows = number == pair
        gain[rows], error[rows] = regression(ours.select(~rows)).soft_gains(ours.select(rows).changes)
    low, high = interval(ours, gain, error)
    rule = replace(rule, low=low, high=high, margin=margin(ours, gain, error))
    basis: dict[str, Any] = {"systems": list(systems)} if systems else {}
    basis |= {"left_out": still} if still else {}
    basis["found"] = judged(ours, gain, error, rule)
    if len(others):
        basis["shown"] = judged(others, *rule.soft_gains(others.changes), rule)
    known = known_pairs(points)
    return replace(rule, basis=basis | {"dry": left_out_error(known)}, pairs=known)


def usable(points: Points) -> tuple[list[str], np.ndarray]:
    """The features that may be chosen, and their scales: of scores that change in at least half of the pairs, and that
    follow the truth within them. Raises ValueError without any."""
    pairs, changes = points.text["pair"], points.changes
    names, scales = [TRAINED], [1.0]
    for name in [score for score in changes if follows(points, score)]:
        for feature in (name, name + FALL):
            size = np.abs(features([feature], changes)[:, 0])
            moved = np.nan_to_num(size) > 0
            if 2 * len(set(pairs[moved])) >= len(set(pairs)):
                names.append(feature)
                scales.append(float(np.quantile(size[moved], 0.9)))
    if len(names) < 2:
        raise ValueError("no score changes with the truth on half a: a rule needs one; extend the laboratory")
    return names, np.array(scales)


def follows(points: Points, score: str) -> bool:
    """Whether the rank correlation of its change with the gain within a pair is at least FOLLOWS, on average over the
    pairs where it changes."""
    from scipy.stats import spearmanr

    pairs, change = points.text["pair"], points.changes[score]
    ranked = []
    for pair in np.unique(pairs):
        rows = (pairs == pair) & np.isfinite(change)
        if len(set(change[rows])) > 1 and len(set(points.gain[rows])) > 1:
            ranked.append(spearmanr(change[rows], points.gain[rows]).statistic)
    return bool(ranked) and float(np.mean(ranked)) >= FOLLOWS


def sums_of(points: Points, names: Sequence[str], scales: np.ndarray) -> Sums:
    pair = np.unique(points.text["pair"], return_inverse=True)[1]
    values = (features(names, points.changes) / scales).clip(-CLIP, CLIP)
    known, values, answer = ~np.isnan(values) * 1.0, np.nan_to_num(values), soft(points.gain)
    weight = 1 / (USUAL**2 + points.noise**2)
    weight = weight / np.bincount(pair, weight)[pair]
    rows = [np.flatnonzero(pair == number) for number in range(pair.max() + 1)]

    def summed(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return np.stack([(left[own] * weight[own, None]).T @ right[own] for own in rows])

    one, answers = np.ones((len(answer), 1)), answer[:, None]
    return Sums(
        summed(values, values),
        summed(known, known),
        summed(values, answers)[..., 0],
        summed(known, one)[..., 0],
        summed(answers, answers)[:, 0, 0],
    )


def regression(points: Points) -> Rule:
    """The features and the ridge with the least error on pairs left out; its interval is not known yet."""
    names, scales = usable(points)
    sums = sums_of(points, names, scales)
    _, chosen, ridge = min((*forward(sums, ridge), ridge) for ridge in RIDGES)
    moments, answers = means(sums.products.sum(0), sums.both.sum(0)), means(sums.answers.sum(0), sums.each.sum(0))
    own = moments[np.ix_(chosen, chosen)] + ridge * np.eye(len(chosen))
    square = float(sums.squares.mean())
    listed = own.tolist(), answers[chosen].tolist()
    return Rule(
        [names[i] for i in chosen], scales[chosen].tolist(), *listed, square, math.nan, math.nan, LEVEL, math.nan
    )


def forward(sums: Sums, ridge: float) -> tuple[float, list[int]]:
    """The error and the features of forward selection. The first is of a score: feature 0 is TRAINED."""
    chosen: list[int] = []
    least = math.inf
    while len(chosen) < MOST:
        rest = [i for i in range(0 if chosen else 1, sums.each.shape[1]) if i not in chosen]
        errors = [left_out(sums, [*chosen, i], ridge) for i in rest]
        if not errors or min(errors) > (1 - FALLS) * least:
            break
        least = min(errors)
        chosen.append(rest[int(np.argmin(errors))])
    return least, chosen


def left_out(sums: Sums, chosen: list[int], ridge: float) -> float:
    """The mean square error on each pair of the regression on the others."""
    square = np.ix_(range(len(sums.squares)), chosen, chosen)
    products, both = sums.products[square], sums.both[square]
    answers, each = sums.answers[:, chosen], sums.each[:, chosen]
    moments = means(products.sum(0) - products, both.sum(0) - both) + ridge * np.eye(len(chosen))
    weights = np.linalg.solve(moments, means(answers.sum(0) - answers, each.sum(0) - each)[..., None])[..., 0]
    fitted = np.einsum("pf,pfg,pg->p", weights, products, weights)
    return float((sums.squares - 2 * (weights * answers).sum(1) + fitted).mean())


def means(sums: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return sums / np.maximum(weights, 1e-9)


def interval(points: Points, gain: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """The ends of the interval, in standard errors, from predictions that were made without each point's own pair."""
    known = np.isfinite(gain)
    off = (soft(points.gain[known]) - gain[known]) / error[known]
    _, pair, count = np.unique(points.text["pair"][known], return_inverse=True, return_counts=True)
    order = np.argsort(off)
    below = np.cumsum((1 / count[pair])[order]) / len(count)

    def quantile(share: float) -> float:
        return float(off[order][min(np.searchsorted(below, share), len(off) - 1)])

    return min(quantile((1 - LEVEL) / 2), 0.0), max(quantile((1 + LEVEL) / 2), 0.0)


def margin(points: Points, gain: np.ndarray, error: np.ndarray) -> float:
    """The least of MARGINS at which such predictions ship at most HARM of what was truly worse, over all points and, on
    average, of a pair; the last where none does."""
    worse = points.gain < WORSE
    _, pair, count = np.unique(points.text["pair"][worse], return_inverse=True, return_counts=True)
    for value in MARGINS:
        harm = (gain > value * error)[worse]
        # The one more makes up for so few points: conformal risk control (Angelopoulos et al., ICLR 2024).
        if harm.sum() + 1 <= HARM * (len(harm) + 1) and (harm / count[pair]).sum() <= HARM * len(count):
            break
    return float(value)


def judged(points: Points, gain: np.ndarray, error: np.ndarray, rule: Rule) -> dict[str, Any]:
    """What predictions (N,) and their errors are worth: the rates, how often the truth was in the interval, and what it
    was on average where the least was predicted, up to where the most was."""
    low, high = gain + rule.low * error, gain + rule.high * error
    known = np.isfinite(gain)
    true = soft(points.gain)
    covered = (low <= true) & (true <= high)
    parts = np.array_split(np.flatnonzero(known)[np.argsort(gain[known])], BINS)
    return {
        "pairs": sorted(set(points.text["pair"].tolist())),
        "count": len(points),
        "inside": float(covered[known].mean()) if known.any() else None,
        "bins": [[float(hard(gain[own]).mean()), float(points.gain[own].mean())] for own in parts if len(own)],
        **rates(points, gain, gain > rule.margin * error),
    }


def rates(points: Points, gain: np.ndarray, ships: np.ndarray) -> dict[str, Any]:
    """Of all points, and of runs by the checkpoint of each that `gain` is highest of: how many are truly worse, and of
    these shipped (`harm`), truly better, and of these held back (`missed`). `lost`: what the runs' best checkpoints, or
    the given model where it is better, have over what is shipped, in points, on average."""
    run = points.run
    order = np.lexsort((-points.step, np.nan_to_num(gain, nan=-np.inf), run))
    picked = order[np.flatnonzero(np.r_[run[order][1:] != run[order][:-1], True])]  # the last of each run
    best = np.zeros(len(picked))
    np.maximum.at(best, run, points.gain)
    own = np.where(ships[picked], points.gain[picked], 0.0)
    return {
        "points": counted(points.gain, ships),
        "runs": counted(points.gain[picked], ships[picked]) | {"lost": float((best - own).mean())},
    }


def counted(gain: np.ndarray, ships: np.ndarray) -> dict[str, int]:
    worse, better = gain < WORSE, gain > BETTER
    return {
        "all": len(gain),
        "shipped": int(ships.sum()),
        "worse": int(worse.sum()),
        "harm": int((worse & ships).sum()),
        "better": int(better.sum()),
        "missed": int((better & ~ships).sum()),
    }
