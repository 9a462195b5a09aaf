"""The headline of runs on test sets drawn again and again by blocks of frames: of it intervals and errors are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from ...datasets.sample import block_of
from .paired import paired
from .people_ap import judged_people, sequences
from .precision import Judged, weighted_precision
from .predictions import Predictions
from .selection import Headline


class Runs(Protocol):
    """The runs of one strategy, one of each seed, on the same blocks."""

    @property
    def shape(self) -> tuple[int, int]:
        """How many seeds and blocks."""

    @property
    def counts(self) -> bool:
        """Whether anything that is labelled counts."""

    def drawn(self, seeds: np.ndarray, blocks: np.ndarray) -> np.ndarray:
        """(R,) the headline where each seed (R, S) and block (R, B) is there so often; NaN where nothing counts."""

    def means(self) -> np.ndarray:
        """(S,) that of each seed."""

    def over(self, before: Self) -> tuple[float, float]:
        """The difference to the headline of other runs on the same blocks, and its standard error over blocks; NaN of a
        single one."""


@dataclass(frozen=True)
class Ratios:
    """Of a mean over keypoints: values summed and counted in each block, (S, B) each, pooled over seeds."""

    total: np.ndarray
    count: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        seeds, number = self.total.shape
        return seeds, number

    @property
    def counts(self) -> bool:
        return bool(self.count.sum())

    def drawn(self, seeds: np.ndarray, blocks: np.ndarray) -> np.ndarray:
        return ratio(*(np.einsum("rs,sb,rb->r", seeds, own, blocks) for own in (self.total, self.count)))

    def means(self) -> np.ndarray:
        return ratio(self.total.sum(1), self.count.sum(1))

    def over(self, before: Ratios) -> tuple[float, float]:
        return paired(*((own.total.sum(0), own.count.sum(0)) for own in (before, self)))


@dataclass(frozen=True)
class Precisions:
    """AP of each seed, averaged over seeds. It is no mean over keypoints: that of drawn blocks is made anew of the
    predictions in them."""

    runs: tuple[tuple[Judged, np.ndarray, np.ndarray], ...]
    """Of each seed its predictions, and the blocks that these and the labelled people are in."""
    blocks: int

    @staticmethod
    def of(predictions: Sequence[Predictions]) -> Precisions:
        """Raises ValueError for predictions of crops."""
        judged = [judged_people(own) for own in predictions]
        first = predictions[0].answers
        assert first is not None
        names, block = sequences(first)
        place = np.zeros(int(first.picture.max()) + 1, np.int64)
        place[first.picture.numpy()] = block
        return Precisions(tuple((own, place[own.image], place[own.people]) for own in judged), len(names))

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.runs), self.blocks

    @property
    def counts(self) -> bool:
        return any(len(people) for _, _, people in self.runs)

    def drawn(self, seeds: np.ndarray, blocks: np.ndarray) -> np.ndarray:
        each = [weighted_precision(*run, blocks.astype(float)).mean(0) for run in self.runs]
        return np.einsum("rs,sr->r", seeds, np.stack(each)) / seeds.sum(1)

    def means(self) -> np.ndarray:
        whole = np.ones((1, self.blocks))
        return np.concatenate([weighted_precision(*run, whole).mean(0) for run in self.runs])

    def over(self, before: Precisions) -> tuple[float, float]:
        """The error is from what the difference is without each block in turn: the jackknife (Efron and Tibshirani, An
        Introduction to the Bootstrap, chapter 11)."""
        weights = np.concatenate([np.ones((1, self.blocks)), 1 - np.eye(self.blocks)])
        each = np.ones((len(weights), len(self.runs)))
        whole, *without = self.drawn(each, weights) - before.drawn(each, weights)
        if self.blocks < 2:
            return float(whole), float("nan")
        spread = np.square(np.array(without) - np.mean(without)).sum()
        return float(whole), float(np.sqrt((self.blocks - 1) / self.blocks * spread))


def runs_of(predictions: Sequence[Predictions], headline: Headline) -> Runs:
    """One strategy's runs, judged by the headline."""
    if headline.key == "ap":
        return Precisions.of(predictions)
    rows = [block_totals(own, headline) for own in predictions]
    return Ratios(*(np.stack(part) for part in zip(*rows, strict=True)))


def block_totals(predictions: Predictions, headline: Headline) -> tuple[np.ndarray, np.ndarray]:
    """The headline's values summed over the counted keypoints of each block of frames, and how many these are:
    (blocks,) each, in the blocks' order. Those of missed people count where a miss has a value, as in PCK."""
    return blocked(predictions, headline.values(predictions))


def blocked(predictions: Predictions, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of `values` (N, K), those that are not finite left out."""
    labelled = predictions.annotated.numpy()
    counted = labelled & np.isfinite(values)
    _, block = np.unique(np.array([block_of(name) for name in predictions.sequence]), return_inverse=True)
    totals = np.bincount(block, np.where(counted, values, 0).sum(1))
    counts = np.bincount(block, counted.sum(1).astype(float))
    some = np.bincount(block, labelled.sum(1)) > 0  # a block without labels would leave nothing to divide by
    return (totals[some], counts[some]) if some.any() else (totals, counts)


def ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """NaN where nothing counts."""
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
