"""Joints that a set does not have, in the middle of two that it has: what 3DMPPE adds, so that sets share more; and
what stands for a lifter's joints where a 2D model has others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


_TRUNK = (*HIPS, *SHOULDERS)
MADE: dict[str, tuple[dict[str, float], ...]] = {
    "pelvis": (dict.fromkeys(HIPS, 0.5),),
    "thorax": ({"neck": 1.0}, dict.fromkeys(SHOULDERS, 0.5)),
    "neck": ({"thorax": 1.0}, dict.fromkeys(SHOULDERS, 0.5)),
    "spine": (*({"pelvis": 0.5, end: 0.5} for end in ("neck", "thorax")), dict.fromkeys(_TRUNK, 0.25)),
    "head": (dict.fromkeys(("left_ear", "right_ear"), 0.5), {"neck": 0.5, "head_top": 0.5}, {"nose": 1.0}),
    "nose": ({"neck": 0.5, "head_top": 0.5}, {"head": 1.0}),
    "head_top": (
        {"head": 1.5, "neck": -0.5},
        {"left_eye": 0.75, "right_eye": 0.75, "left_shoulder": -0.25, "right_shoulder": -0.25},
        {"nose": 1.5, "neck": -0.5},
    ),
}
"""What stands for a body's joint that is not among the given ones: weights of those, which add up to 1, the first of
which all are there. A weight below 0 leads beyond what was seen: the top of a head is half as far above the eyes as
these are above the shoulders."""


def joints_like(
    keypoints: np.ndarray, names: Sequence[str], wanted: Sequence[str]
) -> tuple[np.ndarray, dict[str, tuple[str, ...]], list[str]]:
    """2D keypoints (..., K, 3), x, y and a confidence, of joints `names` as those of joints `wanted`, (..., M, 3);
    which of these are made of which others; and which there is nothing for.

    A made joint is as sure as the least sure one that it is made of, one beyond what was seen has confidence 0, and so
    has one that there is nothing for, which stands in the middle of the others. Raises ValueError where there is
    nothing for any.
    """
    matrix = np.zeros((len(wanted), len(names)))
    made: dict[str, tuple[str, ...]] = {}
    for row, joint in enumerate(wanted):
        ways = ({joint: 1.0}, *MADE.get(joint, ()))
        weights = next((way for way in ways if set(way) <= set(names)), {})
        matrix[row, [names.index(name) for name in weights]] = list(weights.values())
        if weights and joint not in weights:
            made[joint] = tuple(weights)
    there = np.abs(matrix).sum(1) > 0
    if not there.any():
        raise ValueError(f"of the keypoints {', '.join(wanted)} none can be had of {', '.join(names)}")
    matrix[~there] = matrix[there].mean(0)
    sure = np.where(matrix > 0, keypoints[..., None, :, 2], np.inf).min(-1)
    sure = np.where(there & (matrix >= 0).all(1), sure, 0.0)
    lacking = [joint for joint, known in zip(wanted, there.tolist(), strict=True) if not known]
    return np.concatenate([matrix @ keypoints[..., :2], sure[..., None]], -1), made, lacking
