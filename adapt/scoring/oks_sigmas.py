"""The fall-offs (sigmas) of object keypoint similarity for any skeleton, and in words where they are from."""

from __future__ import annotations

from ...datasets.bodies.skeletons import COCO17, published_sigma
from ...datasets.skeleton import Skeleton

UNPUBLISHED = sorted(COCO17.sigmas)[len(COCO17) // 2]
"""The median of COCO's, 0.072: for keypoints of which no fall-off is published, of hands and animals say."""


def fall_offs(skeleton: Skeleton) -> tuple[float, ...]:
    """(K,): the skeleton's own, else by the keypoints' names those of COCO and CrowdPose, and UNPUBLISHED elsewhere."""
    return skeleton.sigmas or tuple(published_sigma(name) or UNPUBLISHED for name in skeleton.keypoints)


def said(skeleton: Skeleton) -> str:
    """Which ones `fall_offs` gives, in words."""
    if skeleton.sigmas:
        return f"those of {skeleton.name}"
    lacking = [name for name in skeleton.keypoints if published_sigma(name) is None]
    if len(lacking) == len(skeleton):
        return f"{UNPUBLISHED:g} for all keypoints, the median of COCO's: none are published for {skeleton.name}"
    named = f"by name those of COCO and CrowdPose, none being published for {skeleton.name}"
    return f"{named}; {UNPUBLISHED:g}, the median of COCO's, for {', '.join(lacking)}" if lacking else named
