"""Whether adaptation moved what was doubtful: the share of keypoints that are now predicted elsewhere, beyond 0.05 of
the crop, among the half that the given network saw at different places in different known warps, less the share among
the half that it saw at one place. Moving sure ones is bad, doubtful ones good.

0 of the given network. Of a network that finds several people NaN: who is who is not known.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..evidence import Evidence, Views
from .agreement import NEAR


def score(evidence: Evidence) -> float:
    if not evidence.model.single:
        return math.nan
    given = evidence.given
    moved = ((evidence.target.points - given.target.points).norm(dim=-1) > NEAR).float()
    away = distance(given.views)
    sure = away <= away.nanmedian()
    return float(moved[~sure & ~away.isnan()].mean() - moved[sure].mean())


def distance(views: Views) -> Tensor:
    """The mean distance (P, K) of keypoints from the plain view's, in shares of the crop, over the warps that show
    them; NaN of those that none does."""
    away = (views.points[1:] - views.points[:1]).norm(dim=-1)
    return torch.where(views.shown[1:], away, torch.nan).nanmean(0)
