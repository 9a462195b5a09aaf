"""The share of keypoints that are predicted at the same place, to 0.05 of the crop, in plain pictures and known warps.

A network that collapsed to constant answers does not turn with the picture; one whose answers became smooth agrees with
itself without being right.
"""

from __future__ import annotations

from ..evidence import Evidence, Views

NEAR = 0.05


def score(evidence: Evidence) -> float:
    return agreed(evidence.views)


def agreed(views: Views) -> float:
    """The share of keypoints that a view has at the place where the plain one has them, over the other views."""
    near = (views.points[1:] - views.points[:1]).norm(dim=-1) <= NEAR
    shown = views.shown[1:] & views.shown[:1]
    return float(near[shown].float().mean())
