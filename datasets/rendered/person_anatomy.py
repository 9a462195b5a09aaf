"""Whole persons: bones from head to toes, joint limits and forward kinematics.

The upper body is that of `body_anatomy`; this adds legs with knees, ankles and feet, and the points of the face. The
person's own frame is the pelvis': x to the person's left, y up, z forward, millimetres, the pelvis at the origin.
Angles are radians in the order of `PERSON_DOF`; equal angles on both sides are a symmetric pose.

Sources: shares of stature after Drillis and Contini as in `body_anatomy`; ranges of motion after the American Academy
of Orthopaedic Surgeons' tables.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..bodies.skeletons import H36M17, body
from .body_anatomy import BODY_DOF, BODY_LIMITS, SEGMENTS, Body, BodyPose, place_body, within_body_limits

Array = np.ndarray
SIDES = ("right", "left")

PERSON = body(
    "person29",
    (
        *H36M17.keypoints,
        *("thorax", "head", "left_eye", "right_eye", "left_ear", "right_ear", "left_hand", "right_hand"),
        *("left_foot", "right_foot", "left_toe", "right_toe"),
    ),
)
"""Human3.6M's 17 joints in its order, then more. `thorax` is the middle of the shoulders, `head` the skull's middle,
`foot` the ball of the foot."""
PLACE = {name: k for k, name in enumerate(PERSON.keypoints)}

LEG_SEGMENTS = {"shank": 0.246, "ankle": 0.039, "foot": 0.152}
"""Shares of stature: knee to ankle, the ankle's height above the floor, heel to toe."""
FACE = {
    "nose": (0, -20, 104),
    "head_top": (0, 112, 0),
    "left_eye": (31, 15, 77),
    "right_eye": (-31, 15, 77),
    "left_ear": (75, 8, -2),
    "right_ear": (-75, 8, -2),
}
"""mm from the head's middle, in the skull's axes, of a person of 1.70 m."""

_LEG = ("hip_flexion", "hip_abduction", "hip_rotation", "knee", "ankle")
UPPER = slice(1, 17)
"""Of `BODY_DOF`: spine, neck and arms."""
PERSON_DOF = (*BODY_DOF[UPPER], *(f"{side}_{dof}" for side in SIDES for dof in _LEG))
"""`hip_flexion` lifts the thigh forwards, `hip_rotation` turns the toes outwards, `knee` bends backwards, `ankle` lifts
the toes; all against the bone above."""
LEGS = (slice(16, 21), slice(21, 26))
"""The angles of the right and of the left leg."""
PERSON_LIMITS = np.concatenate(
    [BODY_LIMITS[UPPER], np.deg2rad([[-25, 125], [-20, 45], [-35, 45], [0, 145], [-45, 25]] * 2)]
)
"""(26, 2) lowest and highest angle of each degree of freedom, radians; those of arms are narrower, as in
`body_anatomy`."""


@dataclass(frozen=True)
class Person:
    """One person's bones and build."""

    body: Body
    """With the lengths of `LEG_SEGMENTS` too."""
    skull: float
    """Size of the head against an adult's of that stature."""
    muscle: float
    """Thickness of legs and arms against the trunk's."""


@dataclass(frozen=True)
class PersonPose:
    """Where everything is, in the person's frame. Pairs are right, left."""

    joints: Array
    """(29, 3) mm in the order of `PERSON`."""
    upper: BodyPose
    """Trunk, head, arms and knees."""
    ankles: Array
    """(2, 3) mm."""
    heels: Array
    """(2, 3) mm, as `balls` and `toes` the middle of the flesh there."""
    balls: Array
    toes: Array
    across: Array
    """(2, 3) unit vectors across the feet, to the person's left when standing."""


def sample_person(rng: np.random.Generator, children: float = 0.0) -> Person:
    """Draw a person: stature (1.70 m, sd 0.11 m, from 1.45 to 2.00), build, and each segment's own length (sd 4 %).

    With probability `children` a child of 1.05 to 1.45 m, with a larger head and shorter limbs.
    """
    normal = rng.standard_normal(24).clip(-2.2, 2.2)
    child, young = bool(rng.random() < children), rng.random()
    stature = 1050 + 400 * young if child else np.clip(1705 + 115 * normal[0], 1450, 2000)
    small = float(1450 - stature) / 400 * child
    girth = np.clip(1 + 0.12 * normal[1] + 0.06 * small, 0.78, 1.35)
    own = 1 + 0.04 * normal[2 : 2 + len(SEGMENTS) + len(LEG_SEGMENTS)]
    shares = SEGMENTS | LEG_SEGMENTS
    limbs = ("upper_arm", "forearm", "hand", "thigh", "shank")
    lengths = {
        name: float(stature * share * s * (1 - 0.12 * small * (name in limbs)))
        for (name, share), s in zip(shares.items(), own, strict=True)
    }
    build = 0.06 * normal[20]  # broad shoulders go with narrow hips
    lengths["shoulder"] *= 1 + build
    lengths["hip"] *= 1 - 0.5 * build
    lengths["shoulder_drop"] *= 1.35 + 0.25 * normal[23]
    skull = 1 + 0.03 * normal[21] + 0.25 * small + 0.06 * child
    return Person(Body(float(stature), float(girth), lengths), float(skull), float(1 + 0.06 * normal[22]))


def within_person_limits(angles: Array) -> Array:
    """The nearest angles that a person can take: (26,) radians in and out. Raises ValueError on another shape."""
    angles = _checked(angles)
    legs = np.clip(angles[16:], PERSON_LIMITS[16:, 0], PERSON_LIMITS[16:, 1])
    return np.concatenate([within_body_limits(upper_angles(angles))[UPPER], legs])


def upper_angles(angles: Array) -> Array:
    """(21,) angles of `BODY_DOF` whose pelvis and hips are straight."""
    return np.concatenate([[0.0], _checked(angles)[:16], np.zeros(4)])


def _checked(angles: Array) -> Array:
    if angles.shape != (len(PERSON_DOF),):
        raise ValueError(f"a person's angles have shape {angles.shape}, not ({len(PERSON_DOF)},): as PERSON_DOF")
    return angles


def place_person(person: Person, angles: Array) -> PersonPose:
    """All points of (26,) radians. Raises ValueError on another shape."""
    legs = np.stack([leg_axes(_checked(angles)[leg]) for leg in LEGS])
    legs[0] *= np.array([-1.0, 1, 1])
    return assemble(person, place_body(person.body, upper_angles(angles)), legs)


def assemble(person: Person, upper: BodyPose, legs: Array) -> PersonPose:
    """A person of an upper body and the legs' directions (2, 4, 3): thigh, shank, foot and the sole's normal, upwards,
    unit vectors for right and left."""
    size, k = person.body.lengths, person.body.stature / 1700
    hips = upper.joints[9:11]
    thigh, shank, foot, up = legs.transpose(1, 0, 2)
    knees = hips + size["thigh"] * thigh
    ankles = knees + size["shank"] * shank
    low = (size["ankle"] - 28 * k) * up
    heels = ankles - 0.2 * size["foot"] * foot - low
    balls = ankles + 0.45 * size["foot"] * foot - low - 1 * k * up
    toes = ankles + 0.67 * size["foot"] * foot - low - 7 * k * up
    upper = replace(upper, knees=knees)
    points = _joints(person, upper, ankles, balls, toes)
    return PersonPose(points, upper, ankles, heels, balls, toes, cross(up, foot))


def _joints(person: Person, upper: BodyPose, ankles: Array, balls: Array, toes: Array) -> Array:
    known = dict(
        zip(
            ("head", "neck", "right_shoulder", "left_shoulder", "right_elbow", "left_elbow", "right_hand", "left_hand"),
            upper.joints,
            strict=False,
        )
    )
    known |= {"spine": upper.joints[8], "pelvis": upper.joints[9:11].mean(0)}
    pairs = {"hip": upper.joints[9:11], "knee": upper.knees, "ankle": ankles, "wrist": upper.wrists}
    pairs |= {"foot": balls, "toe": toes}
    known |= {f"{side}_{name}": pair[s] for name, pair in pairs.items() for s, side in enumerate(SIDES)}
    known["thorax"] = upper.joints[2:4].mean(0)
    scale = person.skull * person.body.stature / 1700
    for name, place in FACE.items():
        known[name] = known["head"] + upper.frames[2] @ (scale * np.array(place))
    return np.stack([known[name] for name in PERSON.keypoints])


def cross(p: Array, q: Array) -> Array:
    """(..., 3) as np.cross, which takes ten times as long for single vectors."""
    (a, b, c), (d, e, f) = p.T, q.T
    return np.array([b * f - c * e, c * d - a * f, a * e - b * d]).T


def leg_axes(angles: Array) -> Array:
    """(4, 3) in the pelvis' axes, left side: directions of thigh, shank and foot, and the sole's normal upwards."""
    (sf, sa, sr, sk, sd), (cf, ca, cr, ck, cd) = np.sin(angles), np.cos(angles)
    thigh = np.array([sa, -ca * cf, ca * sf])
    # The kneecap's direction of an unturned thigh lies in the plane of flexion.
    ahead = np.array([0, sf, cf])
    kneecap = cr * ahead + sr * cross(ahead, thigh)
    shank = ck * thigh - sk * kneecap
    front = ck * kneecap + sk * thigh
    foot = cd * front - sd * shank
    return np.stack([thigh, shank, foot, -cd * shank - sd * front])
