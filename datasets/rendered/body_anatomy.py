"""The upper body's bones: lengths, joint limits and forward kinematics.

The body's own frame: x to the body's left, y up, z forward out of the chest, millimetres, the pelvis (the middle of the
hip joints) at the origin. Angles are radians in the order of `BODY_DOF`. The limbs are worked out once, for the left
side; the right side is the mirror image (x negated), so that equal angles on both sides are a symmetric pose.

Sources: segment lengths as shares of stature after Drillis and Contini, "Body segment parameters", 1966, as in Winter,
"Biomechanics and motor control of human movement", 4th edition, fig. 4.1; joint centres of shoulder and hip lie inside
the breadths given there. Ranges of motion after the American Academy of Orthopaedic Surgeons' tables.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..depth.sets import ITOP

Array = np.ndarray

UPPER_BODY = replace(ITOP.select(ITOP.keypoints[:11]), name="upper_body11")
"""ITOP's joints above the knees, in ITOP's order."""

SEGMENTS = {
    "hip": 0.052,
    "loin": 0.140,
    "chest": 0.165,
    "head": 0.100,
    "shoulder": 0.105,
    "shoulder_drop": 0.017,
    "upper_arm": 0.186,
    "forearm": 0.146,
    "hand": 0.108,
    "thigh": 0.245,
}
"""Shares of stature: pelvis to hip joint; pelvis to torso; torso to neck; neck to the head's middle; neck to shoulder
sideways and downwards; and the limbs' bones. The hand reaches from the wrist to the fingertips."""
LIMBS = ("upper_arm", "forearm", "hand", "thigh")

_ARM = ("plane", "elevation", "rotation", "elbow", "pronation")
BODY_DOF = (
    *("lean", "spine_flexion", "spine_side", "spine_twist", "neck_flexion", "neck_side", "neck_turn"),
    *(f"{side}_{dof}" for side in ("right", "left") for dof in _ARM),
    *(f"{side}_{dof}" for side in ("right", "left") for dof in ("hip_flexion", "hip_abduction")),
)
"""`lean` tips the pelvis forward over the hips; `side` is positive to the right, `twist` and `turn` to the left. The
upper arm's direction is an `elevation` from hanging down, in a `plane` that is 0 sideways and 90 degrees forwards;
`rotation` about it is positive outwards (the forearm of a hanging arm swings from forward to sideways). `pronation` is
0 with the thumb on the side that the elbow bends to. The hips' angles are against the vertical."""

ARMS = (slice(7, 12), slice(12, 17))
"""The angles of the right and of the left arm."""

BODY_LIMITS = np.deg2rad(
    [[-15, 60], [-25, 60], [-35, 35], [-45, 45], [-45, 45], [-45, 45], [-60, 60]]
    + [[-90, 135], [0, 180], [-200, 200], [0, 150], [-80, 80]] * 2
    + [[-15, 60], [-10, 40]] * 2
)
"""(21, 2) lowest and highest angle of each degree of freedom, radians; `elevation_limit` and `rotation_range` are
narrower."""


@dataclass(frozen=True)
class Body:
    """One person."""

    stature: float
    """mm."""
    girth: float
    """Thickness of flesh against the mean person of that stature."""
    lengths: dict[str, float]
    """mm, the names of `SEGMENTS`."""


@dataclass(frozen=True)
class BodyPose:
    """A body's joints and what its flesh is built on, in the body's frame. Pairs are right, left."""

    joints: Array
    """(11, 3) mm in the order of `UPPER_BODY`."""
    wrists: Array
    """(2, 3) mm."""
    tips: Array
    """(2, 3) mm, the fingertips."""
    thumbs: Array
    """(2, 3) unit vectors across the hand to the thumb's side."""
    knees: Array
    """(2, 3) mm."""
    frames: Array
    """(3, 3, 3) rotations from the pelvis', chest's and head's own axes (as the body's) to the body's frame."""


def sample_body(rng: np.random.Generator, unusual: float = 0.0) -> Body:
    """Draw a person: stature (1.70 m, sd 0.09 m), girth (sd 10 %), and each segment's own length (sd 3 %).

    `unusual`, 0 to 1, widens all of them (stature to sd 0.18 m around 1.45 m, segments to sd 7 %); small people are
    then children, with shorter limbs.
    """
    stature = 1700 + (90 + 90 * unusual) * _normal(rng, ()) - 250 * unusual
    girth = 1 + (0.1 + 0.06 * unusual) * _normal(rng, ())
    own = 1 + (0.03 + 0.04 * unusual) * _normal(rng, (len(SEGMENTS),))
    own[[name in LIMBS for name in SEGMENTS]] *= 1 - 0.3 * unusual * (1 - stature / 1700)
    lengths = {name: float(stature * share * s) for (name, share), s in zip(SEGMENTS.items(), own, strict=True)}
    return Body(float(stature), float(girth), lengths)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal numbers cut at two and a half standard deviations, so that nobody leaves the human range."""
    return np.clip(rng.standard_normal(shape), -2.5, 2.5)


def elevation_limit(plane: Array) -> Array:
    """The highest elevation (radians) in a plane: 60 degrees backwards, 180 sideways and forwards, less across."""
    return np.deg2rad(np.interp(np.rad2deg(plane), [-90, -45, 0, 90, 135], [60, 90, 180, 180, 110]))


def rotation_range(plane: Array, elevation: Array) -> tuple[Array, Array]:
    """The rotations (radians) of an arm: 70 degrees inwards to 90 outwards up to the horizontal.

    An arm straight up has one posture whatever plane it was raised in: its elbow bends over the head or behind it.
    `rotation` counts from the plane, so that its range shifts by twice the plane's angle.
    """
    up = np.clip(elevation / (np.pi / 2) - 1, 0, 1)
    low, high = np.deg2rad([-70.0, 90.0])
    shift = 2 * plane
    return low + up * (np.deg2rad(70) - shift - low), high + up * (np.deg2rad(200) - shift - high)


def within_body_limits(angles: Array) -> Array:
    """The nearest angles that a body can take: (21,) radians in and out. Raises ValueError on another shape."""
    angles = np.clip(_checked(angles), BODY_LIMITS[:, 0], BODY_LIMITS[:, 1])
    for arm in ARMS:
        plane, elevation, rotation = angles[arm][:3]
        elevation = min(elevation, elevation_limit(plane))
        angles[arm][1:3] = elevation, np.clip(rotation, *rotation_range(plane, elevation))
    return angles


def _checked(angles: Array) -> Array:
    if angles.shape != (len(BODY_DOF),):
        raise ValueError(f"a body's angles have shape {angles.shape}, not ({len(BODY_DOF)},): one row, as BODY_DOF")
    return angles


def forward_body(body: Body, angles: Array) -> Array:
    """The joints (11, 3) mm, in the order of `UPPER_BODY`, of (21,) radians. Raises ValueError on another shape."""
    return place_body(body, angles).joints


def place_body(body: Body, angles: Array) -> BodyPose:
    """As `forward_body`, with all that the flesh is built on."""
    angles = _checked(angles)
    size = body.lengths
    pelvis = _turn(angles[0], 0.0, 0.0)
    chest = pelvis @ _turn(*angles[1:4])
    skull = chest @ _turn(*angles[4:7])
    torso = pelvis @ np.array([0, size["loin"], 0])
    neck = torso + chest @ np.array([0, size["chest"], 0])
    head = neck + skull @ np.array([0, size["head"], 0])
    sides = np.array([[-1.0, 1, 1], [1, 1, 1]])
    arms = [(side * _arm(size, angles[arm])) @ chest.T for side, arm in zip(sides, ARMS, strict=True)]
    shoulder, elbow, wrist, hand, tip = np.stack([arm[:5] for arm in arms], 1) + neck
    hip = sides * np.array([size["hip"], 0, 0])
    knee = hip + size["thigh"] * sides * np.stack([_leg(angles[17:19]), _leg(angles[19:21])])
    joints = np.stack([head, neck, *shoulder, *elbow, *hand, torso, *hip])
    thumbs = np.stack([arm[5] for arm in arms])
    return BodyPose(joints, wrist, tip, thumbs, knee, np.stack([pelvis, chest, skull]))


def _turn(forwards: float, side: float, twist: float) -> Array:
    """(3, 3): bend forwards, then to the right, then turn to the left."""
    (sf, ss, st), (cf, cs, ct) = np.sin([forwards, side, twist]), np.cos([forwards, side, twist])
    about_x = np.array([[1, 0, 0], [0, cf, -sf], [0, sf, cf]])
    about_z = np.array([[cs, -ss, 0], [ss, cs, 0], [0, 0, 1]])
    about_y = np.array([[ct, 0, st], [0, 1, 0], [-st, 0, ct]])
    return about_y @ about_z @ about_x


def _arm(size: dict[str, float], angles: Array) -> Array:
    """(6, 3) in the chest's axes from the neck, left side: shoulder, elbow, wrist, hand, fingertips, and the thumb's
    direction."""
    (sp, se, sr, sb, so), (cp, ce, cr, cb, co) = np.sin(angles), np.cos(angles)
    lift = collar_lift(angles[1])
    out, drop = size["shoulder"], size["shoulder_drop"]
    shoulder = np.array([out * np.cos(lift) + drop * np.sin(lift), out * np.sin(lift) - drop * np.cos(lift), 0])
    upper = np.array([se * cp, -ce, se * sp])
    # The forward axis as the shortest turn from hanging down carries it.
    ahead = np.array([-sp * cp * (1 - ce), se * sp, 1 - sp * sp * (1 - ce)])
    bend = cr * ahead + sr * np.cross(ahead, upper)
    fore = cb * upper + sb * bend
    radial = cb * bend - sb * upper
    thumb = co * radial + so * np.cross(fore, radial)
    elbow = shoulder + size["upper_arm"] * upper
    wrist = elbow + size["forearm"] * fore
    return np.stack([shoulder, elbow, wrist, wrist + size["hand"] / 2 * fore, wrist + size["hand"] * fore, thumb])


def collar_lift(elevation: Any) -> Any:
    """By how much (radians) the collarbone lifts the shoulder with the arm (the scapulohumeral rhythm): past 30 degrees
    of an elevation in radians, a number or an array."""
    return np.deg2rad(25) * np.clip((elevation - np.pi / 6) / (5 * np.pi / 6), 0, 1)


def _leg(angles: Array) -> Array:
    """(3,) unit vector from the left hip to the knee."""
    (sf, sa), (cf, ca) = np.sin(angles), np.cos(angles)
    return np.array([sa, -ca * cf, ca * sf])
