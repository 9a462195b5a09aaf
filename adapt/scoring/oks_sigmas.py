"""The fall-offs (sigmas) of object keypoint similarity for any skeleton, and in words where they are from."""

from __future__ import annotations

from ...datasets.bodies.skeletons import BODY_SIGMAS, COCO17
from ...datasets.skeleton import Skeleton

UNPUBLISHED = sorted(COCO17.sigmas)[len(COCO17) // 2]
"""The median of COCO's, 0.072: for keypoints of which no fall-off is published, of hands and animals say."""


def fall_offs(skeleton: Skeleton) -> tuple[float, ...]:
    """(K,): the skeleton's own, else by the keypoints' names those of COCO and CrowdPose, and UNPUBLISHED elsewhere."""
    return skeleton.sigmas or tuple(BODY_SIGMAS.get(name, UNPUBLISHED) for name in skeleton.keypoints)


def said(skeleton: Skeleton) -> str:
    """Which ones `fall_offs` gives, in words."""
    if skeleton.sigmas:
        return f"those of {skeleton.name}"
    made_up = [name for name in skeleton.keypoints if name not in BODY_SIGMAS]
    if len(made_up) == len(skeleton):
        return f"{UNPUBLISHED:g} for all keypoints, the median of COCO's: none are published for {skeleton.name}"
    named = f"by name those of COCO and CrowdPose, none being published for {skeleton.name}"
    return f"{named}; {UNPUBLISHED:g}, the median of COCO's, for {', '.join(made_up)}" if made_up else named
