"""The hand's bones: lengths, joint limits, synergies, gestures and forward kinematics.

The hand's own frame is a right hand seen from its back with the fingers up: x to the little finger's side (ulnar),
y along the fingers (distal), z out of the back (dorsal), millimetres, the wrist at the origin. A left hand is the
mirror image (x negated). Angles are radians in the order of `DOF`; positive flexion bends towards the palm.

Everything here works on one hand at a time, with leading dimensions only where a solver asks for them: arrays then have
the same shape whatever batch a hand is drawn in, and so the same bits.

Sources: phalanges and metacarpals after Alexander and Viktor, "Proportions of hand segments", Int. J. Morphol. 28(3),
2010, with 4 mm of soft tissue at the tip; ranges of motion after the American Academy of Orthopaedic Surgeons' tables;
DIP follows PIP by about two thirds (Rijpkema and Girard, SIGGRAPH 1991).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray

DOF = (
    *(f"{finger}_{dof}" for finger in ("index", "middle", "ring", "little") for dof in ("mcp", "spread", "pip", "dip")),
    "thumb_radial",
    "thumb_palmar",
    "thumb_turn",
    "thumb_mcp",
    "thumb_ip",
    "wrist_flexion",
    "wrist_deviation",
)
"""`spread` is positive towards the little finger; `thumb_radial` and `thumb_palmar` swing the thumb's metacarpal away
from the index finger within and out of the palm's plane; `thumb_turn` is the pronation that goes with opposition."""

LIMITS = np.deg2rad(
    [[-20, 90], [-20, 20], [0, 105], [-5, 80]] * 4
    + [[-10, 60], [0, 60], [15, 80], [-5, 60], [-15, 80], [-60, 60], [-20, 30]]
)
"""(23, 2) lowest and highest angle of each degree of freedom, radians."""

NEIGHBOUR_LIMIT = np.deg2rad([80.0, 65.0, 50.0])
"""Most that the MCP flexions of index and middle, middle and ring, ring and little finger differ by."""

SEGMENTS = np.array(
    [[46.2, 31.6, 25.0], [39.8, 22.4, 19.5], [44.6, 26.3, 21.0], [41.4, 25.7, 21.0], [32.7, 18.1, 19.0]]
)
"""(5, 3) mm: thumb metacarpal, proximal and distal phalanx; then proximal, middle and distal phalanx of each finger."""

RADII = np.array(
    [[13.5, 11.6, 9.8, 7.2], [10.4, 9.2, 7.8, 5.9], [10.6, 9.4, 8.0, 6.1], [10.0, 8.8, 7.5, 5.8], [8.9, 7.7, 6.6, 5.2]]
)
"""(5, 4) mm: half the finger's thickness at its four keypoints, thumb to little finger."""

KNUCKLES = np.array(
    [[-21.0, 24.0, -9.0], [-24.0, 89.0, -0.5], [-2.5, 91.0, 2.0], [17.0, 85.0, 0.5], [34.5, 76.0, -4.0]]
)
"""(5, 3) mm: the thumb's CMC joint and the four MCP joints in the hand's frame."""

CARPUS = np.array([[-12.0, 26.0, 0.0], [-3.0, 27.0, 2.0], [6.0, 26.0, 1.0], [14.0, 24.0, -2.0]])
"""(4, 3) mm: where the metacarpals of the four fingers begin."""

SPLAY = np.deg2rad([-7.0, -1.0, 4.0, 9.0])
ROLL = np.deg2rad([-4.0, 0.0, 8.0, 15.0])
"""Rest direction of each finger in the palm's plane, and the roll of the palm's arch, by which fingers converge."""

GESTURES: dict[str, tuple[float, tuple[float, float, float, float], float, str]] = {
    "open": (0.12, (0, 0, 0, 0), 1.0, "out"),
    "flat": (0.06, (0, 0, 0, 0), 0.1, "side"),
    "fist": (0.12, (1, 1, 1, 1), 0.0, "across"),
    "point": (0.11, (0, 1, 1, 1), 0.2, "across"),
    "victory": (0.06, (0, 0, 1, 1), 0.8, "across"),
    "three": (0.04, (0, 0, 0, 1), 0.8, "across"),
    "four": (0.03, (0, 0, 0, 0), 0.7, "across"),
    "thumb_up": (0.05, (1, 1, 1, 1), 0.0, "out"),
    "gun": (0.04, (0, 1, 1, 1), 0.2, "out"),
    "call": (0.03, (1, 1, 1, 0), 0.2, "out"),
    "pinch": (0.12, (0.5, 0.4, 0.35, 0.3), 0.3, "pinch"),
    "grip": (0.07, (0.5, 0.52, 0.54, 0.56), 0.3, "opposed"),
    "relaxed": (0.07, (0.2, 0.27, 0.32, 0.34), 0.3, "side"),
    "free": (0.08, (0.5, 0.5, 0.5, 0.5), 0.5, "free"),
}
"""Family: its share, how far each finger is curled (0 straight, 1 in the palm), the spread, and the thumb's pose."""

THUMBS = {
    "out": (48, 12, 25, 2, -3),
    "side": (22, 14, 30, 10, 8),
    "across": (12, 48, 55, 25, 30),
    "pinch": (22, 44, 55, 15, 30),
    "opposed": (32, 46, 60, 15, 22),
    "free": (28, 28, 42, 20, 25),
}


@dataclass(frozen=True)
class Subject:
    """One person's hand."""

    segments: Array
    """(5, 3) mm, as `SEGMENTS`."""
    radii: Array
    """(5, 4) mm, as `RADII`."""
    knuckles: Array
    """(5, 3) mm, as `KNUCKLES`."""
    carpus: Array
    """(4, 3) mm, as `CARPUS`."""
    scale: float
    """Overall size against the mean hand."""
    girth: float
    """Thickness of flesh against the mean hand of that size."""


@dataclass(frozen=True)
class Pose:
    """A hand's joints and the frames of its bones, in the hand's frame."""

    joints: Array
    """(..., 21, 3) mm in the order of `skeleton.HAND`."""
    dorsal: Array
    """(..., 5, 3, 3) unit vectors out of the back of each segment (where a nail would be)."""
    forearm: Array
    """(..., 3) unit vector from the wrist to the elbow."""


def sample_subject(rng: np.random.Generator, unusual: float = 0.0) -> Subject:
    """Draw a hand: overall size (sd 6 %), palm width, thickness, and each segment's own length (sd 3 %).

    `unusual`, 0 to 1, widens all of them (size to sd 16 % around 85 %, fingers to sd 12 %, thickness to 20 %); small
    hands are then children's, with shorter fingers and wider, thicker palms.
    """
    scale = 1 + (0.06 + 0.1 * unusual) * _normal(rng, ()) - 0.15 * unusual
    small = unusual * (1 - scale)
    finger = (1 + (0.03 + 0.09 * unusual) * _normal(rng, (5, 1))) * (1 - 0.4 * small)
    segment = 1 + (0.03 + 0.06 * unusual) * _normal(rng, (5, 3))
    wide, high = 1 + (0.05 + 0.07 * unusual) * _normal(rng, ()), 1 + (0.03 + 0.03 * unusual) * _normal(rng, ())
    width = np.array([wide * (1 + 0.3 * small), high, 1.0])
    girth = (1 + (0.07 + 0.13 * unusual) * _normal(rng, ())) * (1 + 0.6 * small)
    return Subject(
        SEGMENTS * scale * finger * segment,
        RADII * scale * girth * (1 + (0.03 + 0.05 * unusual) * _normal(rng, (5, 1))),
        KNUCKLES * scale * width,
        CARPUS * scale * width,
        float(scale),
        float(girth),
    )


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal numbers cut at two standard deviations, so that no hand leaves the human range."""
    return np.clip(rng.standard_normal(shape), -2, 2)


def forward(subject: Subject, angles: Array) -> Pose:
    """Place all joints: (..., 23) radians to a `Pose`. Each finger bends in one plane, so that its joints follow from
    the running sums of its flexions."""
    lead = angles.shape[:-1]
    fingers = angles[..., :16].reshape(*lead, 4, 4)
    turn = SPLAY + fingers[..., 1]
    sine, cosine = np.sin(turn), np.cos(turn)
    along = np.stack([sine, cosine, np.zeros_like(sine)], -1)
    roll_s, roll_c = np.broadcast_to(np.sin(ROLL), sine.shape), np.broadcast_to(np.cos(ROLL), sine.shape)
    # `back` is the dorsal axis, tilted about the finger so that bent fingers meet over the palm.
    back = np.stack([roll_s * cosine, -roll_s * sine, roll_c], -1)
    thumb_along, thumb_back = _thumb_axes(angles[..., 16:19])
    along = np.concatenate([thumb_along[..., None, :], along], -2)[..., None, :]
    back = np.concatenate([thumb_back[..., None, :], back], -2)[..., None, :]
    thumb = np.concatenate([np.zeros((*lead, 1)), angles[..., 19:21]], -1)
    bend = np.concatenate([thumb[..., None, :], fingers[..., [0, 2, 3]]], -2).cumsum(-1)[..., None]
    sine, cosine = np.sin(bend), np.cos(bend)
    steps = (cosine * along - sine * back) * subject.segments[..., None]
    base = np.broadcast_to(subject.knuckles, (*lead, 5, 3))[..., None, :]
    chains = np.concatenate([base, base + steps.cumsum(-2)], -2)
    joints = np.concatenate([np.zeros((*lead, 1, 3)), chains.reshape(*lead, 20, 3)], -2)
    flexion, deviation = angles[..., 21], angles[..., 22]
    # Turning the hand to its palm by `flexion` turns the arm to its back, seen from the hand.
    arm = [np.sin(deviation) * np.cos(flexion), -np.cos(deviation) * np.cos(flexion), -np.sin(flexion)]
    return Pose(joints, sine * along + cosine * back, np.stack(arm, -1))


def _thumb_axes(swing: Array) -> tuple[Array, Array]:
    """The metacarpal's direction and its dorsal axis from (..., 3) radial, palmar and turn."""
    sine, cosine = np.sin(swing), np.cos(swing)
    zero = np.zeros_like(sine[..., 0])
    along = np.stack([-sine[..., 0] * cosine[..., 1], cosine[..., 0] * cosine[..., 1], -sine[..., 1]], -1)
    bend = np.stack([cosine[..., 2], zero, -sine[..., 2]], -1)
    bend = bend - along * (along * bend).sum(-1, keepdims=True)
    return along, -bend / np.sqrt((bend * bend).sum(-1, keepdims=True))


def within_limits(angles: Array) -> Array:
    """The nearest angles that a hand can take: (23,) radians in and out.

    Neighbouring fingers pull each other along, spreading ends as the knuckle bends, DIP follows PIP, and the thumb
    turns as it opposes.
    """
    angles = np.clip(angles, LIMITS[:, 0], LIMITS[:, 1])
    fingers = angles[:16].reshape(4, 4)
    for near, far, most in ((1, 0, 0), (1, 2, 1), (2, 3, 2)):
        low, high = fingers[near, 0] - NEIGHBOUR_LIMIT[most], fingers[near, 0] + NEIGHBOUR_LIMIT[most]
        fingers[far, 0] = min(max(fingers[far, 0], low), high)
    room = spread_limit(fingers[:, 0])
    fingers[:, 1] = np.clip(fingers[:, 1], -room, room)
    # Neighbours may close up but not cross.
    fingers[1:, 1] = np.maximum(fingers[1:, 1], fingers[:-1, 1] - np.deg2rad(5))
    fingers[:, 3] = np.clip(fingers[:, 3], *dip_range(fingers[:, 2]))
    angles[18] = np.clip(angles[18], *turn_range(angles[17]))
    return np.clip(angles, LIMITS[:, 0], LIMITS[:, 1])


def spread_limit(mcp: Array) -> Array:
    """The most a finger spreads (radians) at a given MCP flexion: 20 degrees when straight, 3 in a fist."""
    return np.deg2rad(20 - 17 * np.clip(mcp / np.deg2rad(85), 0, 1))


def dip_range(pip: Array) -> tuple[Array, Array]:
    """The DIP angles that go with a PIP angle: two thirds of it, give or take 12 degrees."""
    middle = np.minimum(2 / 3 * pip, np.deg2rad(66))
    return np.maximum(middle - np.deg2rad(12), np.deg2rad(-5)), middle + np.deg2rad(12)


def turn_range(palmar: Array) -> tuple[Array, Array]:
    """The thumb's turn that goes with its palmar swing."""
    middle = np.deg2rad(22) + 0.75 * palmar
    return middle - np.deg2rad(12), middle + np.deg2rad(12)


def family_shares(common: Sequence[float], unusual: float) -> Array:
    """The shares of families of poses from `common` ones (`unusual` 0) to those where the rarest is the most common
    (1): their inverse squares."""
    shares = np.array(common)
    swapped = shares**-2.0
    return (1 - unusual) * shares + unusual * swapped / swapped.sum()


def sample_pose(rng: np.random.Generator, subject: Subject, unusual: float = 0.0) -> tuple[Array, str]:
    """Draw one pose: (23,) angles within all limits, and the name of its gesture family.

    `unusual`, 0 to 1, makes rare families common (see `family_shares`), and doubles how far poses stray from theirs.
    """
    names = tuple(GESTURES)
    shares = np.cumsum(family_shares([GESTURES[name][0] for name in names], unusual))
    name = names[min(int(np.searchsorted(shares, rng.random() * shares[-1], side="right")), len(names) - 1)]
    _, curls, spread, thumb = GESTURES[name]
    noise, curl = (1 + unusual) * _normal(rng, (23,)), np.array(curls, dtype=float)
    uniform = rng.random(8)
    if name == "free":
        # Half of the flexion is shared by all fingers, half is each finger's own.
        curl = 0.5 * uniform[0] + 0.5 * uniform[1:5]
    if name == "pinch" and uniform[0] < 0.4:
        curl[1:] = (0.05, 0.02, 0.0)  # the "OK" sign
    wobble = 4.0 + 3.0 * (curl > 0.05) * (curl < 0.95) + 9.0 * (name == "free")
    fingers = np.empty((4, 4))
    fingers[:, 0] = 2 + 78 * curl + wobble * noise[0:4]
    fingers[:, 1] = spread * (0.6 + 0.5 * uniform[5]) * np.array([-9.0, -1.0, 6.0, 14.0]) + 2 * noise[4:8]
    fingers[:, 2] = 5 + 93 * curl + wobble * noise[8:12]
    if name == "pinch":
        fingers[0, [0, 2]] = 44 + 7 * noise[0], 50 + 8 * noise[8]
    fingers[:, 3] = fingers[:, 2] * 2 / 3 + 5 * noise[12:16]
    swing = np.array(THUMBS[thumb]) + np.array([5, 5, 5, 5, 7]) * noise[16:21] * (2.2 if thumb == "free" else 1.0)
    wrist = np.array([16.0, 7.0]) * noise[21:23]
    angles = within_limits(np.deg2rad(np.concatenate([fingers.ravel(), swing, wrist])))
    if thumb in ("pinch", "across"):
        angles = _reach(subject, angles, thumb, float(uniform[6]))
    return angles, name


def _reach(subject: Subject, angles: Array, thumb: str, where: float) -> Array:
    """Bring the thumb's tip onto the index finger's pad, or across the bent fingers, by damped Gauss-Newton steps."""
    pose = forward(subject, angles)
    if thumb == "pinch":
        finger, segment, share, side, touch = 1, 2, 1.0, -1.0, 0.9
    else:
        bent = [f for f in (1, 2, 3) if angles[4 * f - 2] > np.deg2rad(60)] or [4]
        finger, segment, side, touch = bent[min(int(where * 2), len(bent) - 1)], 1, 1.0, 1.0
        share = 0.5
    near, far = subject.radii[finger, segment : segment + 2]
    radius = subject.radii[0, 3] + near + share * (far - near)
    start, end = pose.joints[1 + 4 * finger + segment], pose.joints[2 + 4 * finger + segment]
    if angles[4 * finger - 2] > np.deg2rad(60) or thumb == "pinch":
        target = start + share * (end - start) + side * touch * radius * pose.dorsal[finger, segment]
    else:  # no finger is bent: the thumb folds into the palm, before the ring finger's knuckle
        target = pose.joints[13] + np.array([-4.0, -14.0, -24.0]) * subject.scale
    moved = np.array([16, 17, 19, 20] + ([0, 2] if thumb == "pinch" else []))
    step = 1e-4 * np.eye(23)[moved]
    for _ in range(6):
        both = forward(subject, np.concatenate([angles[None], angles + step]))
        tip = both.joints[:, 4]
        if thumb == "pinch":  # the pad moves with the index finger
            tip = tip - (both.joints[:, 8] - touch * radius * both.dorsal[:, 1, 2])
            miss = -tip[0]
        else:
            miss = target - tip[0]
        jacobian = (tip[1:] - tip[0]).T / 1e-4
        pull = np.linalg.solve(jacobian @ jacobian.T + 30.0 * np.eye(3), miss)
        angles = angles.copy()
        angles[moved] += np.clip(jacobian.T @ pull, -0.3, 0.3)
        angles[18] = np.deg2rad(22) + 0.75 * angles[17]
        angles = within_limits(angles)
    return angles
