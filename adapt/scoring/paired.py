"""How much better one model is than another on the same samples, from what both have in each block of frames: a
recording, or pictures that lie beside each other in a file."""

from __future__ import annotations

import numpy as np

Totals = tuple[np.ndarray, np.ndarray]
"""(blocks,) each: a value summed over the keypoints of a block that count, and how many these are."""


def paired(before: Totals, after: Totals) -> tuple[float, float]:
    """The difference of the two means and its standard error over blocks: that of a difference of two ratios,
    linearised (Cochran, Sampling Techniques, 6.3). The error is NaN of a single block."""
    means = [total.sum() / count.sum() for total, count in (before, after)]
    parts = [(total - m * count) / count.sum() for (total, count), m in zip((before, after), means, strict=True)]
    away, blocks = parts[1] - parts[0], len(before[0])
    error = np.sqrt(blocks / (blocks - 1) * np.square(away).sum()) if blocks > 1 else np.nan
    return float(means[1] - means[0]), float(error)


def interval(difference: float, error: float, blocks: int, level: float = 0.95) -> tuple[float, float]:
    """Student's interval of a difference with its standard error over so many blocks: few of them show little of how
    much blocks differ, which it allows for; NaN of a single one."""
    from scipy.stats import t as student

    reach = student.ppf((1 + level) / 2, blocks - 1) * error if blocks > 1 else np.nan
    return float(difference - reach), float(difference + reach)
