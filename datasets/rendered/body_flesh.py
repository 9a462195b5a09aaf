"""The body's surface, round cones around the bones, and poses whose arms stay out of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .body_anatomy import (
    ARMS,
    BODY_DOF,
    Body,
    BodyPose,
    elevation_limit,
    place_body,
    rotation_range,
    within_body_limits,
)
from .hand_anatomy import family_shares

Array = np.ndarray
Add = Callable[[Array, Array, float, float], None]

# Each row: frame (0 pelvis, 1 chest, 2 head) and place of both ends, their radii; mm for a stature of 1.70 m.
TRUNK = (
    ("pelvis", 0, (-70, 8, -8), 0, (70, 8, -8), 102, 102),
    ("loin_right", 0, (-66, 30, -5), 1, (-52, 0, 0), 98, 92),
    ("loin_left", 0, (66, 30, -5), 1, (52, 0, 0), 98, 92),
    ("ribs_right", 1, (-52, 0, 0), 1, (-76, 165, 0), 94, 91),
    ("ribs_left", 1, (52, 0, 0), 1, (76, 165, 0), 94, 91),
    ("breast", 1, (0, 20, 5), 1, (0, 160, 8), 98, 98),
    ("shoulder_blades", 1, (-95, 205, -14), 1, (95, 205, -14), 58, 58),
)
SKULL = (
    ("cranium", 2, (0, 38, -20), 2, (0, 36, 22), 78, 72),
    ("face", 2, (0, 22, 22), 2, (0, -62, 40), 70, 38),
)
ARM_RADII = (("deltoid", 59, 51), ("upper_arm", 50, 42), ("forearm_near", 41, 42), ("forearm_far", 42, 28))
HAND_PARTS = ("hand_index", "hand_middle", "hand_little", "thumb")
LEG_PARTS = ("buttock", "thigh")
SIDES = ("right", "left")

BODY_PARTS = (
    *(row[0] for row in (*TRUNK, *SKULL)),
    *("belly", "collar_right", "armpit_right", "collar_left", "armpit_left", "neck"),
    *(f"{part}_{side}" for side in SIDES for part in LEG_PARTS),
    *(f"{part}_{side}" for side in SIDES for part in (*(row[0] for row in ARM_RADII), *HAND_PARTS)),
)
"""The cones' names in the order of `body_cones`."""
FIRST_ARM = BODY_PARTS.index("deltoid_right")
ARM_CONES = len(ARM_RADII) + len(HAND_PARTS)

PROBES = np.array([41.0, 42.0, 38.0, 33.0, 28.0, 17.0, 13.0])
"""mm: half the arm's thickness where it is kept out of the body: elbow, three places on, wrist, hand, fingertips."""
SINK = 12.0
"""mm that flesh gives way."""
DEEP = 70.0
"""mm: an arm this far inside the body is drawn again instead of moved."""

POSES: dict[str, tuple[float, str, str]] = {
    "down": (0.20, "down", "down"),
    "raised": (0.10, "raised", "raised"),
    "point": (0.13, "point", "rest"),
    "wave": (0.10, "wave", "rest"),
    "crossed": (0.08, "over", "under"),
    "hips": (0.08, "hips", "hips"),
    "tee": (0.06, "tee", "tee"),
    "mixed": (0.10, "any", "any"),
    "free": (0.15, "free", "free"),
}
"""Family: its share, and what the two arms do; which of the two is the right arm is drawn."""

ARM_POSES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "down": ((20, 12, 0, 15, 35), (25, 6, 15, 11, 25)),
    "raised": ((50, 145, 50, 35, 0), (25, 18, 25, 22, 30)),
    "point": ((60, 85, 15, 8, 30), (35, 18, 25, 7, 30)),
    "wave": ((15, 65, 85, 85, 20), (20, 22, 12, 28, 25)),
    "over": ((80, 38, -48, 98, 20), (10, 6, 7, 8, 20)),
    "under": ((75, 28, -52, 100, 20), (10, 6, 7, 8, 20)),
    "hips": ((-12, 45, -62, 98, 30), (8, 6, 8, 8, 25)),
    "tee": ((2, 90, 30, 8, 0), (9, 7, 30, 6, 30)),
}
"""Mean and standard deviation in degrees of the angles of one arm."""


def body_cones(body: Body, angles: Array) -> tuple[Array, Array, Array]:
    """The flesh of a body in a pose of (21,) radians: round cones a (N, 3), b (N, 3) and radii (N, 2), mm, in the
    body's frame, in the order of `BODY_PARTS`. The legs end at the knees. Raises ValueError on another shape."""
    return flesh_cones(body, place_body(body, angles))


def flesh_cones(body: Body, pose: BodyPose) -> tuple[Array, Array, Array]:
    """As `body_cones`, of a pose that is placed."""
    k, g = body.stature / 1700, body.girth * body.stature / 1700
    head, neck, torso = pose.joints[[0, 1, 8]]
    origins = np.stack([np.zeros(3), torso, head])
    a, b, radii = [], [], []

    def add(start: Array, end: Array, first: float, second: float) -> None:
        a.append(start)
        b.append(end)
        radii.append((first, second))

    def at(frame: int, place: tuple[float, ...]) -> Array:
        return origins[frame] + pose.frames[frame] @ (k * np.array(place))

    for rows, scale in ((TRUNK, g), (SKULL, k)):
        for _, first, start, second, end, ra, rb in rows:
            add(at(first, start), at(second, end), scale * ra, scale * rb)
    paunch = 5 + 120 * max(body.girth - 1, 0)
    add(at(0, (0, 40, paunch)), at(1, (0, 20, paunch)), 100 * g, 97 * g)
    for side in (0, 1):
        shoulder, elbow = pose.joints[2 + side], pose.joints[4 + side]
        add(neck + 0.25 * (shoulder - neck) - pose.frames[1] @ (k * np.array([0, 38, 8])), shoulder, 58 * g, 52 * g)
        add(at(1, (-58 + 116 * side, 120, -5)), shoulder + 0.18 * (elbow - shoulder), 84 * g, 46 * g)
    add(neck - pose.frames[1] @ (k * np.array([0, 20, 6])), at(2, (0, -30, -6)), 60 * k, 54 * k)
    for side in (0, 1):
        hip, knee = pose.joints[9 + side], pose.knees[side]
        add(hip + k * np.array([0, 0, -28]), hip + 0.25 * (knee - hip) + k * np.array([0, 0, -14]), 84 * g, 78 * g)
        add(hip, knee, 86 * g, 56 * g)
    for side in (0, 1):
        _add_arm(pose, side, k, g, add)
    return np.stack(a), np.stack(b), np.array(radii)


def _add_arm(pose: BodyPose, side: int, k: float, g: float, add: Add) -> None:
    shoulder, elbow, wrist, tip = pose.joints[2 + side], pose.joints[4 + side], pose.wrists[side], pose.tips[side]
    across = pose.thumbs[side]
    bulge = elbow + 0.28 * (wrist - elbow)
    muscle = shoulder + 0.35 * (elbow - shoulder)
    ends = ((shoulder, muscle), (muscle, elbow), (elbow, bulge), (bulge, wrist))
    for (start, end), (_, first, second) in zip(ends, ARM_RADII, strict=True):
        add(start, end, first * g, second * g)
    short = tip - 0.1 * (tip - wrist)
    add(wrist + 10 * k * across, short + 17 * k * across, 22 * k, 12 * k)
    add(wrist, tip - 0.06 * (tip - wrist), 21 * k, 12 * k)
    add(wrist - 10 * k * across, short - 17 * k * across, 22 * k, 11 * k)
    add(wrist + 14 * k * across, wrist + 0.5 * (tip - wrist) + 50 * k * across, 17 * k, 9 * k)


def touch(points: Array, a: Array, b: Array, radii: Array) -> tuple[Array, Array]:
    """Signed distance (P,) of points (P, 3) from the union of round cones, negative inside, and the unit vectors (P, 3)
    away from the nearest cone's axis; by the sphere at each axis' nearest place (exact for equal radii, else slightly
    too far)."""
    axis = b - a
    share = ((points[:, None] - a) * axis).sum(-1) / np.maximum((axis * axis).sum(-1), 1e-9)
    share = share.clip(0, 1)
    away = points[:, None] - a - share[..., None] * axis
    length = np.sqrt((away * away).sum(-1))
    distance = length - radii[:, 0] - share * (radii[:, 1] - radii[:, 0])
    nearest = distance.argmin(1)
    rows = np.arange(len(points))
    return distance[rows, nearest], away[rows, nearest] / np.maximum(length[rows, nearest], 1e-9)[:, None]


def _places(pose: BodyPose, side: int) -> Array:
    """(7, 3) mm, where `PROBES` are taken."""
    elbow, wrist = pose.joints[4 + side], pose.wrists[side]
    along = elbow + np.array([0, 0.3, 0.6, 0.85, 1])[:, None] * (wrist - elbow)
    return np.concatenate([along, [pose.joints[6 + side], pose.tips[side]]])


def arm_clearance(body: Body, pose: BodyPose, side: int) -> tuple[Array, Array]:
    """How far seven places along the forearm and hand of a side (0 right, 1 left) lie from all flesh but their own
    arm's: distances (7,) in mm of the arm's surface and what flesh gives way, and unit vectors (7, 3) away from it."""
    a, b, radii = flesh_cones(body, pose)
    own = FIRST_ARM + side * ARM_CONES
    others = np.r_[:own, own + ARM_CONES : len(a)]
    distance, normal = touch(_places(pose, side), a[others], b[others], radii[others])
    return distance - PROBES * body.stature / 1700 + SINK, normal


def sample_body_pose(rng: np.random.Generator, body: Body, unusual: float = 0.0) -> Array:
    """Draw one pose: (21,) angles within all limits, of one of the families in `POSES` (see `family_shares`), whose
    forearms and hands stay out of trunk, head, legs and the other arm. Raises RuntimeError when 50 draws of a family
    all end in the body."""
    names = tuple(POSES)
    family = names[rng.choice(len(names), p=family_shares([POSES[name][0] for name in names], unusual))]
    for _ in range(50):
        angles = keep_clear(body, draw_body_angles(rng, family))
        if angles is not None:
            return angles
    raise RuntimeError(f"50 draws of the pose {family!r} all end inside the body of girth {body.girth:.2f}")


def draw_body_angles(rng: np.random.Generator, family: str) -> Array:
    """Draw (21,) angles of a family within the limits of each joint; an arm may still pass through the body."""
    kinds = list(POSES[family][1:])
    if rng.random() < 0.5:
        kinds.reverse()
    wide = 2.0 if rng.random() < 0.2 else 1.0
    means = np.array([4, 4, 0, 0, 6, 0, 0, *[0] * 10, 2, 5, 2, 5], dtype=float)
    spread = np.array([6, 6, 5, 10, 10, 7, 22, *[0] * 10, 6, 4, 6, 4], dtype=float)
    angles = np.deg2rad(means + wide * spread * rng.standard_normal(len(BODY_DOF)).clip(-2.5, 2.5))
    # One in six is caught on the way to another pose.
    between = rng.uniform(0.2, 0.8) if rng.random() < 1 / 6 else 0.0
    for arm, kind in zip(ARMS, kinds, strict=True):
        first, second = draw_arm(rng, kind), draw_arm(rng, "any")
        angles[arm] = first + between * (second - first)
    return within_body_limits(angles)


def draw_arm(rng: np.random.Generator, kind: str) -> Array:
    """(5,) radians of one arm in a pose of `ARM_POSES`, `rest`, `any` or `free`; limits are not yet kept."""
    if kind == "rest":
        kind = "down" if rng.random() < 0.7 else "hips"
    if kind == "any":
        kind = tuple(ARM_POSES)[rng.integers(len(ARM_POSES))]
    noise, uniform = rng.standard_normal(5).clip(-2.5, 2.5), rng.random(5)
    if kind != "free":
        mean, spread = np.array(ARM_POSES[kind])
        return np.deg2rad(mean + spread * noise)
    plane = np.deg2rad(-40 + 170 * uniform[0])
    elevation = uniform[1] * elevation_limit(plane)
    low, high = rotation_range(plane, elevation)
    elbow, pronation = np.deg2rad([145 * uniform[3], -80 + 160 * uniform[4]])
    return np.array([plane, elevation, low + uniform[2] * (high - low), elbow, pronation])


def keep_clear(body: Body, angles: Array, place: Callable[[Body, Array], BodyPose] = place_body) -> Array | None:
    """Push forearms and hands out of the flesh along its normal, by damped Gauss-Newton steps of the arm's angles.

    `place` puts the body, with its knees, into a pose of the angles. Returns None when an arm is more than `DEEP`
    inside or does not come free in 10 steps.
    """
    for step in range(10):
        pose = place(body, angles)
        stuck = False
        moved = angles.copy()
        for side, arm in enumerate(ARMS):
            room, normal = arm_clearance(body, pose, side)
            worst = int(room.argmin())
            if step == 0 and room[worst] < -DEEP:
                return None
            if room[worst] < 0:
                stuck = True
                push = (3 - room[worst]) * normal[worst]
                moved[arm] += _pull(body, angles, arm, side, worst, push)
        if not stuck:
            return angles
        angles = within_body_limits(moved)
    return None


def _pull(body: Body, angles: Array, arm: slice, side: int, place: int, push: Array) -> Array:
    """(5,) the change of an arm's angles that moves one of its places by `push` (3,) mm."""
    start, jacobian = _places(place_body(body, angles), side)[place], np.zeros((3, 5))
    for n in range(4):
        nudged = angles.copy()
        nudged[arm.start + n] += 1e-4
        jacobian[:, n] = (_places(place_body(body, nudged), side)[place] - start) / 1e-4
    change: Array = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 400.0 * np.eye(3), push)
    return change.clip(-0.3, 0.3)
