"""How good a network truly is on a pair: in one unit everywhere, points, so that pairs can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...adapt.scoring import metrics
from ...adapt.scoring.evaluation import Predictions, predict
from ...adapt.scoring.evidence import Evidence
from ...adapt.scoring.matching import SPAN_MM
from ...adapt.scoring.paired import paired
from ...datasets.sample import Labeled
from ..runs.results import blocked

Truth = Mapping[str, Any]
"""{"hits", "counts": by block of target frames, "mm": mean error of 3D points, "source": share of hits; or null}"""


def truth(evidence: Evidence, tested: Sequence[Labeled], threshold: float) -> dict[str, Any]:
    """Of the network of `evidence`, on labelled target batches `tested`, and on the held-out source that is looked at.

    A hit is a keypoint within `threshold` of its place, in shares of the crop's side, of 3D points of the cube's edge.
    """
    looks = evidence.looks
    predictions = predict(evidence.model, tested, looks.device)
    totals, counts = blocked(predictions, hits(predictions, tested, threshold))
    errors = predictions.errors()
    known = predictions.annotated & errors.isfinite()
    judged, source = evidence.judged, None
    if judged is not None and looks.source is not None:
        seen = hits(judged, list(looks.batches(looks.source)) if judged.dims == 3 else [], threshold)
        source = float(seen[judged.annotated.numpy()].mean())
    return {
        "hits": totals.tolist(),
        "counts": counts.tolist(),
        "mm": float(metrics.mean(errors, known)) if predictions.dims == 3 else None,
        "source": source,
    }


def hits(predictions: Predictions, batches: Sequence[Labeled], threshold: float) -> np.ndarray:
    """(N, K) float64, 1 for a keypoint within `threshold`; the `batches` that were predicted say the cubes' edges."""
    errors = predictions.errors()
    if predictions.dims == 3:
        errors = errors / torch.cat([edge(batch) for batch in batches])[predictions.row, None]
    return (errors <= threshold).double().numpy()


def edge(batch: Labeled) -> Tensor:
    """(B,) mm of the cube's edge; of a person in the camera's frame a person's length."""
    reach = batch.inputs.get("reach")
    return torch.full((len(batch),), SPAN_MM) if reach is None else 2 * reach.cpu().float()


def points(truth: Truth) -> float:
    """The share of hits in percent."""
    return 100 * sum(truth["hits"]) / sum(truth["counts"])


def gain(before: Truth, after: Truth) -> tuple[float, float]:
    """By how many points `after` is better, and the standard error of that, over blocks of frames that are the same in
    both."""
    totals = ((np.array(one["hits"]), np.array(one["counts"])) for one in (before, after))
    difference, error = paired(*totals)
    return 100 * difference, 100 * error
