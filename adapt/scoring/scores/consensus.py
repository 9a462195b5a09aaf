"""Whether the network or the given one is nearer to what both of them see in all known views: the share of keypoints
within 0.05 of the crop from the median of all these places, less the given network's.

0 of the given network. Of a network that finds several people NaN: who is who is not known.
"""

from __future__ import annotations

import math

import torch

from ..evidence import Evidence
from .agreement import NEAR


def score(evidence: Evidence) -> float:
    if not evidence.model.single:
        return math.nan
    own, given = evidence.views, evidence.given.views
    shown = torch.cat([given.shown, own.shown])[..., None]
    median = torch.cat([given.points, own.points]).where(shown, torch.nan).nanmedian(0).values
    near = [(views.points[0] - median).norm(dim=-1) <= NEAR for views in (own, given)]
    return float(near[0].float().mean() - near[1].float().mean())
