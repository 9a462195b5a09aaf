"""How good a network truly is on a pair: in one unit everywhere, points, so that pairs can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...adapt.scoring import metrics
from ...adapt.scoring.evaluation import hits, predict
from ...adapt.scoring.evidence import Evidence
from ...adapt.scoring.paired import paired
from ...adapt.scoring.resampling import blocked
from ...adapt.scoring.scores import source
from ...datasets.sample import Labeled

Truth = Mapping[str, Any]
"""{"hits", "counts": by block of target frames, "mm": mean error of 3D points, "source": share of hits; or null}"""


def truth(evidence: Evidence, tested: Sequence[Labeled], threshold: float) -> dict[str, Any]:
    """Of the network of `evidence`, on labelled target batches `tested`, and on the held-out source that is looked at.

    A hit is a keypoint within `threshold` of its place, in shares of the crop's side, of 3D points of the cube's edge.
    """
    looks = evidence.looks
    predictions = predict(evidence.model, tested, looks.device, skeleton=looks.skeleton)
    totals, counts = blocked(predictions, hits(predictions, tested, threshold))
    errors = predictions.errors()
    known = predictions.annotated & errors.isfinite()
    return {
        "hits": totals.tolist(),
        "counts": counts.tolist(),
        "mm": float(metrics.mean(errors, known)) if predictions.dims == 3 else None,
        "source": source.score(evidence) if evidence.looks.source is not None else None,
    }


def points(truth: Truth) -> float:
    """The share of hits in percent."""
    return 100 * sum(truth["hits"]) / sum(truth["counts"])


def gain(before: Truth, after: Truth) -> tuple[float, float]:
    """By how many points `after` is better, and the standard error of that, over blocks of frames that are the same in
    both."""
    totals = ((np.array(one["hits"]), np.array(one["counts"])) for one in (before, after))
    difference, error = paired(*totals)
    return 100 * difference, 100 * error
