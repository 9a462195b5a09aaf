"""The share of keypoints that are predicted at the same place, to 0.05 of the crop, in plain pictures and known warps.

A network that collapsed to constant answers does not turn with the picture; one whose answers became smooth agrees with
itself without being right. Where several people are found, one whom a warp shows and the network does not find there
does not agree; whom it finds in neither is not seen.
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
    if views.lost is None:
        return float(near[shown].float().mean())
    asked = shown | (views.lost[1:] & views.shown[:1])
    return float((near & shown)[asked].float().mean())
