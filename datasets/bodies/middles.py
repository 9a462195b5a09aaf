"""Joints that a set does not have, in the middle of two that it has: what 3DMPPE adds, so that sets share more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..reading.people import People, project
from ..skeleton import Skeleton

SHOULDERS = ("left_shoulder", "right_shoulder")
HIPS = ("left_hip", "right_hip")


def with_middles(people: People, skeleton: Skeleton, between: Mapping[str, tuple[str, str]]) -> People:
    """`people` with further joints, in the order of `skeleton`: each lies between two. It is annotated where both are,
    and visible where both are. With points and a camera it is their middle in space, projected; else their middle in
    the picture, which that of someone who stands slantwise is not.
    """
    names = people.skeleton.keypoints
    assert skeleton.keypoints == (*names, *between)
    ends = np.array([[names.index(joint) for joint in pair] for pair in between.values()])  # (M, 2)
    keypoints, points = people.keypoints[:, ends].mean(2), None
    if people.points is not None and people.camera is not None:
        middles = people.points[:, ends].mean(2)
        keypoints, points = project(middles, people.camera), np.concatenate([people.points, middles], 1)
    return replace(
        people,
        skeleton=skeleton,
        keypoints=np.concatenate([people.keypoints, keypoints], 1),
        annotated=np.concatenate([people.annotated, people.annotated[:, ends].all(2)], 1),
        visible=np.concatenate([people.visible, people.visible[:, ends].all(2)], 1),
        points=points,
    )
