"""Average precision and recall of predictions that were judged right or false, of all pictures or of pictures drawn
again and again: what a bootstrap asks for.

Precision over recall is made to fall by taking, at each recall, the best precision from there on, and is averaged over
101 steps of recall, as COCO does (cocoapi, PythonAPI/pycocotools/cocoeval.py accumulate @ 8c9bcc3). Only right
predictions raise recall, so that all of the curve is known from them and from the number of false ones before each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Of object keypoint similarity."""
RECALLS = np.linspace(0, 1, 101)
AT_ONCE = 2**22
"""Numbers that stand in memory for one threshold."""


@dataclass(frozen=True)
class Judged:
    """D predictions in pictures, from the highest score on."""

    state: np.ndarray
    """(thresholds, D) int8: 1 who is right, 0 who is false, -1 who does not count."""
    image: np.ndarray
    """(D,) the picture of each, of any number."""
    people: np.ndarray
    """(P,) the picture of each labelled person who counts."""


def average_precision(judged: Judged) -> np.ndarray:
    """(thresholds,); NaN where nobody counts."""
    return weighted_precision(judged, *in_one_block(judged), np.ones((1, 1)))[:, 0]


def average_recall(judged: Judged) -> np.ndarray:
    """The share of people who are found, (thresholds,); NaN where nobody counts."""
    if not len(judged.people):
        return np.full(len(judged.state), np.nan)
    return np.asarray((judged.state == 1).sum(1) / len(judged.people))


def in_one_block(judged: Judged) -> tuple[np.ndarray, np.ndarray]:
    """The block of each prediction and of each person where there is one."""
    return np.zeros(len(judged.image), np.int64), np.zeros(len(judged.people), np.int64)


def weighted_precision(judged: Judged, block: np.ndarray, people: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AP (thresholds, R) where each of B blocks of pictures is there `weights` (R, B) times: that of predictions in
    blocks (D,) and of people in blocks (P,). NaN where nobody counts.

    Copies of a prediction stand beside each other, and the best precision is that behind the last of them: counts may
    be added up as if they were one.
    """
    from scipy.sparse import csr_array

    total = weights @ np.bincount(people, minlength=weights.shape[1])
    made = np.empty((len(judged.state), len(weights)))
    for state, row in zip(judged.state, made, strict=True):
        right = np.flatnonzero(state == 1)
        false = np.flatnonzero(state == 0)
        false = false[: np.searchsorted(false, right[-1]) if len(right) else 0]
        before = np.searchsorted(right, false)
        # what each block adds to the counts at each right prediction
        hits, misses = (
            csr_array((np.ones(len(at)), (at, block[own])), (len(right), weights.shape[1]))
            for at, own in ((np.arange(len(right)), right), (before, false))
        )
        step = max(1, AT_ONCE // max(len(right), 1))
        for start in range(0, len(weights), step):
            part = slice(start, start + step)
            own = weights[part].T
            row[part] = _under_curve((hits @ own).cumsum(0), (misses @ own).cumsum(0), total[part])
    return made


def _under_curve(right: np.ndarray, false: np.ndarray, people: np.ndarray) -> np.ndarray:
    """AP (R,) of how many are right and false (N, R) up to each right prediction, of `people` (R,)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = right / people
    precision = right / (right + false + np.spacing(1))
    best = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(RECALLS, recall, side="right")
    steps = np.diff(reached, axis=0, prepend=0)
    return np.where(people > 0, (best * steps).sum(0) / len(RECALLS), np.nan)
