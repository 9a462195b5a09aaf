"""The accuracy on the target that is predicted from what is known of the source: the expected share of keypoints within
the threshold, in shares of the crop, of depth and in space of the cube or of a person's length.

A logistic regression tells hits from misses of single keypoints on held-out source samples made harder in known ways
(see corruption.py), those of the network and of the given one together. What it sees of a keypoint needs no label: how
far its place moves in a known warp, confidence, spread of its density, their means over the person, how the person's
bones and angles leave their usual ranges, and how far the pose is from poses that exist. The target's keypoints are
then read off. NaN without a source, and of a network that finds several people.

The idea is that of Deng and Zheng (CVPR 2021, accuracy by regression over altered copies of a labelled set), here for
each keypoint by itself.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...methods.anatomy import Ranges
from ..evidence import Answers, Evidence, Trial, Views
from .anatomy import WIDTH, usual
from .drift import distance
from .pose_density import to_nearest

LEAST = 1e-3
"""Added to lengths, in shares of the crop, before their logarithm is taken."""
FARTHEST = 10.0
"""Deviations beyond a range that count, at most."""


def score(evidence: Evidence) -> float:
    trials = [*evidence.tried.values(), *evidence.given.tried.values()]
    return read_off(evidence, trials, evidence.target, evidence.views) if trials else math.nan


def deviation(evidence: Evidence) -> float:
    """The standard deviation of the score, as a share: of what is predicted of each change from all the others, less
    the truth. It is what the ladder spans; a target beyond it can be farther off. NaN where the score is."""
    own, given = evidence.tried, evidence.given.tried
    errors = []
    for name, trial in own.items():
        others = [part[other] for part in (own, given) for other in part if other != name]
        if others:
            truth = float(hits(trial, evidence.looks.threshold).mean())
            errors.append(read_off(evidence, others, trial.answers, trial.views, trial.annotated) - truth)
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else math.nan


def hits(trial: Trial, threshold: float) -> np.ndarray:
    """(M,) float, of the keypoints that are annotated."""
    return (trial.errors <= threshold)[trial.annotated].double().numpy()


def read_off(
    evidence: Evidence, trials: list[Trial], answers: Answers, views: Views, among: Tensor | None = None
) -> float:
    """The mean probability, learned from `trials`, that keypoints are hits: of all, or `among` (P, K) bool."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    ranges = usual(evidence)
    known = [signs(evidence, ranges, trial.answers, trial.views)[trial.annotated] for trial in trials]
    hit = np.concatenate([hits(trial, evidence.looks.threshold) for trial in trials])
    asked = signs(evidence, ranges, answers, views)
    asked = asked.flatten(0, 1) if among is None else asked[among]
    if len(np.unique(hit)) < 2 or not len(asked):
        return float(hit.mean()) if len(hit) else math.nan
    learner = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    return float(learner.fit(torch.cat(known).numpy(), hit).predict_proba(asked.numpy())[:, 1].mean())


def signs(evidence: Evidence, ranges: Ranges, answers: Answers, views: Views) -> Tensor:
    """What is seen of keypoints without their labels: (P, K, F)."""
    away = distance(replace(views, points=views.points[:2], shown=views.shown[:2]))
    away = torch.where(away.isnan(), away.nanmedian().nan_to_num(0.0), away)
    own = torch.stack([(away + LEAST).log(), answers.confidence, (answers.spread + LEAST).log()], -1)
    beyond, outside = (ranges.beyond(answers.points, width) for width in (1.0, WIDTH))
    members = joints_of(ranges, own.shape[1]).to(beyond.dtype)
    members = members / members.sum(0).clamp_min(1)
    nearest = to_nearest(evidence, answers.points)
    person = [(outside > 0).float().sum(-1) / max(outside.shape[-1], 1)]
    person += [] if nearest is None else [(nearest + LEAST).log()]
    whole = torch.cat([own.mean(1), torch.stack(person, -1)], -1)
    bodily = torch.stack([(outside > 0).float() @ members, beyond.clamp_max(FARTHEST) @ members], -1)
    return torch.cat([own, bodily, whole[:, None].expand(-1, own.shape[1], -1)], -1)


def joints_of(ranges: Ranges, keypoints: int) -> Tensor:
    """Which keypoints each of the numbers that describe a pose is made from: (M, keypoints) of 0 and 1."""
    groups = ranges.bones, ranges.bones[ranges.sides].flatten(1), ranges.corners
    return torch.cat(
        [F.one_hot(rows, keypoints).amax(1) for rows in groups if len(rows)] or [torch.zeros(0, keypoints)]
    )
