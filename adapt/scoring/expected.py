"""The mean error in mm that is to be expected on the target, without a label of it: for systems that see people in the
camera's space, whose errors the rule of `adapt` does not tell in their own unit.

A regression tells a keypoint's error in mm from what is seen of it without a label (see scores/predicted.py), on
held-out source samples made harder in known ways (corruption.py), those of a network and of the given one together. The
target's keypoints are then read off, no error beyond those that were seen. It knows the errors that the ladder makes: a
target whose pictures err in another way, a distance that every picture misjudges alike say, can be farther off.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ...datasets.views import spread
from .corruption import changed, ladder
from .evaluation import predict
from .evidence import TRIED, Evidence
from .scores.anatomy import usual
from .scores.predicted import signs

LEAST = 1.0
"""mm: a smaller error counts as this."""
FEWEST = 100
"""Known errors, of keypoints of trials, that are learned from."""


def expected_error(evidence: Evidence) -> float:
    """Mean over the target's keypoints, mm in the camera's frame, relative to the root where the network answers so.
    NaN without a source whose labels have a depth, and of a network that finds several people."""
    from sklearn.linear_model import GammaRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    ranges, parts = usual(evidence), []
    for one in dict.fromkeys((evidence, evidence.given)):
        for name, (errors, known) in trial_errors(one).items():
            trial = one.tried[name]
            parts.append((signs(evidence, ranges, trial.answers, trial.views)[known], errors[known]))
    if not parts or sum(len(errors) for _, errors in parts) < FEWEST:
        return math.nan
    seen, far = (torch.cat(list(values)).double().numpy() for values in zip(*parts, strict=True))
    far = far.clip(LEAST)
    asked = signs(evidence, ranges, evidence.target, evidence.views).flatten(0, 1).double().numpy()
    learner = make_pipeline(StandardScaler(), GammaRegressor(alpha=1e-2, max_iter=1000))
    learner.fit(seen, far / far.mean())
    return float(np.mean((learner.predict(asked) * far.mean()).clip(far.min(), far.max())))


def trial_errors(evidence: Evidence) -> dict[str, tuple[Tensor, Tensor]]:
    """Of each of `evidence.tried`, by its name: errors (P, K) in mm and which are known (P, K)."""
    looks = evidence.looks
    if looks.source is None or not evidence.tried:
        return {}
    plain = list(looks.batches(spread(looks.source, TRIED)))
    made = {}
    for name, change in ladder(plain[0]).items():
        batches = [changed(batch, looks.shown, change) for batch in plain]
        predictions = predict(evidence.model, batches, looks.device)
        made[name] = predictions.errors(), predictions.annotated
    return made
