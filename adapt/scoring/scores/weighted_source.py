"""Minus the risk on held-out source keypoints, those that look like the target weighing more: deep embedded validation.
You et al., ICML 2019; errors as misses, weights by a linear domain classifier on the features. NaN
without a source, or with few pictures."""

from __future__ import annotations

import math

import torch

from ..density import controlled_risk
from ..distance import density_ratio
from ..evidence import Evidence


def score(evidence: Evidence) -> float:
    judged, source, target = evidence.judged, evidence.source, evidence.target
    if judged is None or source is None:
        return math.nan
    groups = [f"source/{name}" for name in source.sequence] + [f"target/{name}" for name in target.sequence]
    ratio = density_ratio(source.features.numpy(), target.features.numpy(), groups)
    if ratio is None:
        return math.nan
    error = -torch.from_numpy(evidence.hits)
    weight = torch.from_numpy(ratio)[judged.row, None].expand_as(error)
    counted = judged.annotated
    return -float(controlled_risk(weight[counted], error[counted]))
