"""The tree of a skeleton: which keypoint hangs on which. Edges alone are no tree: those of bodies draw the outline of
the trunk, which closes circles and leaves the pelvis apart."""

from __future__ import annotations

import numpy as np

from .skeleton import Skeleton

INNER = (
    *(("pelvis", "left_hip"), ("pelvis", "right_hip"), ("pelvis", "spine1"), ("spine1", "spine2")),
    *(("spine2", "spine3"), ("spine3", "neck"), ("spine3", "left_collar"), ("spine3", "right_collar")),
    *(("left_collar", "left_shoulder"), ("right_collar", "right_shoulder")),
    *((middle, f"{side}_shoulder") for middle in ("thorax", "neck") for side in ("left", "right")),
)
"""Bones within the trunk of bodies, by name, that are not drawn."""
CORNERS = {f"{side}_{limb}" for side in ("left", "right") for limb in ("shoulder", "hip")}
"""Between which edges are the trunk's outline."""


def parents(skeleton: Skeleton) -> tuple[int, ...]:
    """The parent of each keypoint, -1 of a top: on the shortest way to it from the root (without one from keypoint 0)
    along the edges and the trunk's inner bones, along its outline only where there is no other. What cannot be reached
    so makes trees of its own, each from its first keypoint."""
    from scipy.sparse.csgraph import dijkstra

    count, place = len(skeleton), {name: k for k, name in enumerate(skeleton.keypoints)}
    length = np.zeros((count, count))
    for a, b in skeleton.edges:
        length[a, b] = count if {skeleton.keypoints[a], skeleton.keypoints[b]} <= CORNERS else 1
    for one, other in INNER:
        if one in place and other in place:
            length[place[one], place[other]] = 1
    above, reached = np.full(count, -1), np.zeros(count, bool)
    for top in (skeleton.root or 0, *range(count)):
        if not reached[top]:
            before = dijkstra(length, directed=False, indices=top, return_predecessors=True)[1]
            above = np.where(before >= 0, before, above)
            reached |= (before >= 0) | (np.arange(count) == top)
    return tuple(above.tolist())
