"""What persons do: families of poses within the limits of all joints, with limbs kept out of the body.

Curves of walking after Winter, "Biomechanics and motor control of human movement", 4th edition, chapter 3 (hip, knee
and ankle over a stride), by a few places of each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .body_anatomy import Body, BodyPose, place_body
from .body_flesh import ARM_POSES, draw_arm, keep_clear
from .person_anatomy import (
    LEGS,
    UPPER,
    Person,
    PersonPose,
    cross,
    leg_axes,
    place_person,
    upper_angles,
    within_person_limits,
)

Array = np.ndarray
ARMS = (slice(6, 11), slice(11, 16))
"""The angles of the right and of the left arm in `PERSON_DOF`."""

STRIDE = np.array([0, 0.12, 0.25, 0.4, 0.5, 0.6, 0.73, 0.86, 1.0])
"""Shares of a stride, from one heel strike to the next."""
GAIT = {
    "hip": np.array([28, 25, 14, -4, -11, -3, 18, 31, 28.0]),
    "knee": np.array([4, 18, 14, 5, 10, 38, 60, 28, 4.0]),
    "ankle": np.array([0, -5, 5, 10, 6, -16, -4, 2, 0.0]),
}
"""Degrees."""

LAB = {"walk": 0.6, "stand": 0.25, "gesture": 0.15}
WILD = {
    **{"walk": 0.14, "stand": 0.1, "gesture": 0.18, "run": 0.08, "sit": 0.11, "floor": 0.06, "squat": 0.07},
    **{"kneel": 0.05, "bend": 0.06, "lie": 0.05, "jump": 0.05, "lunge": 0.03, "kick": 0.02},
}
"""Shares of the families."""


@dataclass(frozen=True)
class Stance:
    """A pose and how it stands in the world."""

    pose: PersonPose
    root: Array = field(default_factory=lambda: np.eye(3))
    """(3, 3) from the person's axes to the world's (y up), before the person is turned about y."""
    lift: float = 0.0
    """mm between the lowest flesh and the floor."""
    seat: bool = False
    """It needs something beneath the pelvis."""
    family: str = ""
    angles: Array | None = None
    """(26,) radians, None of a pose that is not made of angles."""


def pitched(forwards: float, side: float = 0.0) -> Array:
    """(3, 3): tipped forwards, then to the left, degrees."""
    (sf, ss), (cf, cs) = np.sin(np.deg2rad([forwards, side])), np.cos(np.deg2rad([forwards, side]))
    about_x = np.array([[1, 0, 0], [0, cf, -sf], [0, sf, cf]])
    about_z = np.array([[cs, ss, 0], [-ss, cs, 0], [0, 0, 1]])
    return about_z @ about_x


def sample_stance(rng: np.random.Generator, person: Person, shares: dict[str, float]) -> Stance:
    """Draw one of the families of `shares`: angles within all limits, forearms and hands out of the flesh, legs apart.

    Raises RuntimeError when 60 draws of a family all end in the body.
    """
    family = draw_family(rng, shares)
    return stance_of(rng, person, family)


def draw_family(rng: np.random.Generator, shares: dict[str, float]) -> str:
    names = tuple(shares)
    return names[rng.choice(len(names), p=np.array(list(shares.values())) / sum(shares.values()))]


def stance_of(rng: np.random.Generator, person: Person, family: str) -> Stance:
    """One pose of a family, as `sample_stance`."""
    for _ in range(60):
        angles, root, lift, seat = FAMILIES[family](rng, person)
        clear = clear_of_flesh(person, within_person_limits(angles))
        if clear is not None:
            return Stance(place_person(person, clear), root, lift, seat, family, clear)
    raise RuntimeError(f"60 draws of the pose {family!r} all end inside the person")


def clear_of_flesh(person: Person, angles: Array) -> Array | None:
    """The angles with legs spread until they are apart and arms pushed out of the flesh; None where that fails."""
    for _ in range(12):
        pose = place_person(person, angles)
        if legs_apart(person, pose):
            break
        angles = angles.copy()
        for leg in LEGS:
            angles[leg.start + 1] += np.deg2rad(3)
        angles = within_person_limits(angles)
    else:
        return None
    knees = pose.upper.knees

    def place(body: Body, upper: Array) -> BodyPose:
        made = place_body(body, upper)
        return BodyPose(made.joints, made.wrists, made.tips, made.thumbs, knees, made.frames)

    upper = keep_clear(person.body, upper_angles(angles), place)
    return None if upper is None else np.concatenate([upper[UPPER], angles[16:]])


def legs_apart(person: Person, pose: PersonPose) -> bool:
    """Whether knees, shins and feet of the two legs do not run into each other: by places along them."""
    share = np.linspace(0, 1, 7)[:, None]
    k = person.body.stature / 1700
    lines = []
    for side in (0, 1):
        knee, ankle, ball = pose.upper.knees[side], pose.ankles[side], pose.balls[side]
        lines.append(np.concatenate([knee + share * (ankle - knee), ankle + share[2::2] * (ball - ankle)]))
    thickness = np.concatenate([np.interp(share[:, 0], [0, 0.3, 1], [50, 50, 33]), np.full(3, 36.0)])
    gap = np.linalg.norm(lines[0][:, None] - lines[1][None], axis=-1)
    room = k * (thickness[:, None] + thickness[None]) * person.muscle * 0.92
    return bool((gap > room).all())


def leg_to(person: Person, ankle: Array, splay: float = 0.0, lengths: bool = True) -> Array:
    """(4,) flexion, abduction and rotation of the hip and the knee's angle, radians, that bring a left leg's ankle to
    `ankle` (3,) mm from the hip in the pelvis' axes, or as near as the leg reaches; `splay` turns the knee outwards.
    """
    first, second = person.body.lengths["thigh"], person.body.lengths["shank"]
    far = np.linalg.norm(ankle)
    d = np.clip(far, abs(first - second) + 60, first + second - 1)
    way = ankle / far
    flexion = np.arctan2(way[2], -way[1])
    ahead = np.array([0, np.sin(flexion), np.cos(flexion)])
    ahead = ahead - way * (way @ ahead)
    ahead /= np.linalg.norm(ahead)
    ahead = np.cos(splay) * ahead + np.sin(splay) * cross(ahead, way)
    knee = np.pi - np.arccos(np.clip((first**2 + second**2 - d**2) / (2 * first * second), -1, 1))
    lead = np.arccos(np.clip((first**2 + d**2 - second**2) / (2 * first * d), -1, 1))
    thigh = np.cos(lead) * way + np.sin(lead) * ahead
    kneecap = np.cos(lead) * ahead - np.sin(lead) * way
    hip = np.arctan2(thigh[2], -thigh[1])
    straight = np.array([0, np.sin(hip), np.cos(hip)])
    rotation = np.arctan2(kneecap @ cross(straight, thigh), kneecap @ straight)
    return np.array([hip, np.arcsin(np.clip(thigh[0], -1, 1)), rotation, knee])


Drawn = tuple[Array, Array, float, bool]


def _trunk(rng: np.random.Generator, flexion: float = 4.0, spread: float = 1.0) -> Array:
    """(26,) radians: spine and neck drawn, the rest 0."""
    mean = np.array([flexion, 0, 0, 5 - 0.4 * flexion, 0, 0])
    noise = np.array([6, 5, 10, 9, 7, 24]) * rng.standard_normal(6).clip(-2, 2)
    angles = np.zeros(26)
    angles[:6] = np.deg2rad(mean + spread * noise)
    return angles


def _arms(rng: np.random.Generator, angles: Array, kinds: tuple[str, str]) -> None:
    for arm, kind in zip(ARMS, kinds if rng.random() < 0.5 else kinds[::-1], strict=True):
        angles[arm] = MORE_ARMS[kind](rng) if kind in MORE_ARMS else draw_arm(rng, kind)


def _near(mean: tuple[float, ...], spread: tuple[float, ...]) -> Callable[[np.random.Generator], Array]:
    return lambda rng: np.deg2rad(np.array(mean) + np.array(spread) * rng.standard_normal(5).clip(-2, 2))


MORE_ARMS = {
    "phone": _near((50, 48, 5, 138, 20), (10, 7, 8, 5, 20)),
    "carry": _near((75, 28, -5, 85, 30), (12, 10, 12, 12, 25)),
    "reach": _near((85, 75, 10, 20, 30), (12, 20, 20, 15, 30)),
    "hang": _near((85, 70, 0, 15, 30), (8, 15, 15, 10, 25)),
    "prop": _near((-70, 35, 10, 15, 0), (15, 10, 15, 8, 20)),
    "lap": _near((80, 35, -10, 55, 40), (10, 10, 10, 18, 20)),
    "thigh": _near((80, 48, 0, 35, 50), (10, 10, 10, 12, 20)),
}
"""Arms that `ARM_POSES` does not have, by what they do."""
GESTURES = ("raised", "point", "wave", "hips", "tee", "phone", "carry", "reach", "free", "free", "any")


def _swing(angle: float, aside: float) -> tuple[float, float]:
    """Plane and elevation (radians) of an upper arm that swings forwards by `angle` and stands off by `aside`."""
    way = np.array([np.sin(aside), -np.cos(angle) * np.cos(aside), np.sin(angle) * np.cos(aside)])
    return float(np.arctan2(way[2], way[0])), float(np.arccos(np.clip(-way[1], -1, 1)))


@dataclass(frozen=True)
class Stride:
    """How somebody walks or runs; the pose follows from the phase, which is 1 after a stride of both legs."""

    running: bool
    phase: float
    size: float
    """Of steps, against those of `GAIT`."""
    trunk: Array
    """(26,) radians: spine and neck."""
    noise: Array
    """(2, 5) degrees by which right and left leg differ from `GAIT`."""
    arms: Array
    """(2, 4): degrees that they swing more forwards, that they stand off, bend and turn."""
    busy: tuple[slice, Array] | None
    """An arm that does something else, and its angles in radians."""
    root: Array
    lift: float

    def angles(self, phase: float, curve: Callable[[float, str], float]) -> Array:
        """(26,) radians; `curve` gives the degrees of `GAIT` by phase and name."""
        angles, size = self.trunk.copy(), self.size
        angles[2] += np.deg2rad(6 * size * np.sin(2 * np.pi * phase))
        for side, (leg, noise) in enumerate(zip(LEGS, self.noise, strict=True)):
            hip, knee, ankle = (curve((phase + 0.5 * side) % 1, name) for name in ("hip", "knee", "ankle"))
            if self.running:
                hip, knee, ankle = 1.35 * hip + 4, 1.5 * knee + 12, 1.5 * ankle
            bent = [size * hip, 2 + 0.4 * abs(noise[1]), 4 + noise[2], size * knee, ankle]
            angles[leg] = np.deg2rad(np.array(bent) + noise * [1, 0, 0, 1, 1])
        elbow, swing = (85.0, 38.0) if self.running else (18.0, 24.0)
        for side, (arm, (more, aside, bent_by, turned)) in enumerate(zip(ARMS, self.arms, strict=True)):
            forth = swing * size * np.cos(2 * np.pi * (phase + 0.5 * (1 - side))) + more
            plane, elevation = _swing(np.deg2rad(forth), np.deg2rad(aside))
            bend = np.deg2rad(elbow + 0.3 * forth + bent_by)
            # The forearm bends forwards whatever plane the upper arm is in.
            angles[arm] = plane, elevation, np.deg2rad(turned), bend, np.deg2rad(30)
        if self.busy is not None:
            angles[self.busy[0]] = self.busy[1]
        return angles


def draw_stride(rng: np.random.Generator, running: bool) -> Stride:
    """A way to walk or run."""
    phase, size = rng.random(), rng.uniform(0.9, 1.3) if running else rng.uniform(0.55, 1.15)
    trunk = _trunk(rng, 12.0 if running else 4.0, 0.7)
    noise = np.stack([3 * rng.standard_normal(5).clip(-2, 2) for _ in LEGS])
    arms = [[rng.normal(0, 4), rng.uniform(6, 14), 8 * rng.standard_normal(), rng.normal(-5, 8)] for _ in ARMS]
    busy = None
    if not running and rng.random() < 0.2:
        busy = _one_arm(rng, ("phone", "carry", "wave"))
    root = pitched((8.0 if running else 1.5) + rng.normal(0, 2), rng.normal(0, 1.5))
    lift = rng.uniform(0, 90) * running
    return Stride(running, phase, size, trunk, noise, np.array(arms), busy, root, lift)


def _stride(rng: np.random.Generator, person: Person, running: bool) -> Drawn:
    stride = draw_stride(rng, running)
    angles = stride.angles(stride.phase, lambda phase, name: float(np.interp(phase, STRIDE, GAIT[name])))
    return angles, stride.root, stride.lift, False


def _one_arm(rng: np.random.Generator, kinds: tuple[str, ...]) -> tuple[slice, Array]:
    """An arm and its angles (5,) in radians."""
    arm, kind = ARMS[int(rng.integers(2))], kinds[int(rng.integers(len(kinds)))]
    return arm, MORE_ARMS[kind](rng) if kind in MORE_ARMS else draw_arm(rng, kind)


def _planted(
    rng: np.random.Generator, person: Person, angles: Array, root: Array, height: float, feet: Array, splay: float
) -> Array:
    """The angles with both ankles put to `feet` (2, 3) mm (right, left), which are x, y above the sole's height and z
    from below the pelvis, whose height is `height` mm; the soles are level where ankles allow it."""
    size = person.body.lengths
    for side, leg in enumerate(LEGS):
        mirror = np.array([-1.0 if side == 0 else 1.0, 1, 1])
        ankle = root.T @ (feet[side] + np.array([0, size["ankle"] - height, 0])) * mirror
        angles[leg][:4] = leg_to(person, ankle - np.array([size["hip"], 0, 0]), splay)
    limited = within_person_limits(angles)
    for side, leg in enumerate(LEGS):
        mirror = np.array([-1.0 if side == 0 else 1.0, 1, 1])
        front, up = ((root @ (axis * mirror))[1] for axis in leg_axes(limited[leg])[2:])
        limited[leg.start + 4] -= np.arctan2(front, up)
    return within_person_limits(limited)


def _reach_of(person: Person) -> float:
    """mm from the hip to the sole of a straight leg."""
    return sum(person.body.lengths[name] for name in ("thigh", "shank", "ankle"))


def _stand(rng: np.random.Generator, person: Person, arms: tuple[str, str] | None = None, spread: float = 1.0) -> Drawn:
    angles = _trunk(rng, 3.0, 0.8)
    _arms(rng, angles, arms or (("down", "down") if rng.random() < 0.7 else ("over", "under")))
    root = pitched(rng.normal(1, 2), rng.normal(0, 2))
    tall, k = _reach_of(person), person.body.stature / 1700
    wide = k * (85 + 60 * spread * rng.random() ** 2 + 160 * (spread - 1))
    shift = np.array([rng.normal(0, 22), 0, rng.normal(0, 12)])
    fore = 50 * spread * rng.standard_normal()
    feet = np.array([[-wide, 0, fore], [wide, 0, -fore]]) * np.array([1, 1, k]) + shift
    height = tall * rng.uniform(0.965, 0.993)
    return _planted(rng, person, angles, root, height, feet, np.deg2rad(rng.uniform(3, 14))), root, 0.0, False


def _gesture(rng: np.random.Generator, person: Person) -> Drawn:
    first, second = (GESTURES[int(rng.integers(len(GESTURES)))] for _ in range(2))
    return _stand(rng, person, (first, second if rng.random() < 0.6 else "rest"), rng.uniform(1, 2))


def _sit(rng: np.random.Generator, person: Person) -> Drawn:
    k, tall = person.body.stature / 1700, _reach_of(person)
    angles = _trunk(rng, rng.uniform(0, 25))
    pairs = (("lap", "lap"), ("thigh", "thigh"), ("thigh", "phone"), ("lap", "carry"), ("carry", "carry"))
    _arms(rng, angles, pairs[int(rng.integers(len(pairs)))])
    root = pitched(rng.uniform(-18, 12))
    height = tall * rng.uniform(0.5, 0.66)
    wide, out = k * rng.uniform(80, 230), k * rng.uniform(300, 500)
    feet = np.array([[-wide, 0, out], [wide, 0, out + 90 * rng.standard_normal()]])
    return _planted(rng, person, angles, root, height, feet, np.deg2rad(rng.uniform(0, 15))), root, 0.0, True


def _floor(rng: np.random.Generator, person: Person) -> Drawn:
    k = person.body.stature / 1700
    angles = _trunk(rng, rng.uniform(8, 40))
    pairs = (("prop", "prop"), ("thigh", "thigh"), ("lap", "lap"), ("prop", "thigh"))
    _arms(rng, angles, pairs[int(rng.integers(len(pairs)))])
    root = pitched(rng.uniform(-28, 0))
    if rng.random() < 0.35:  # cross-legged
        for leg, more in zip(LEGS, (0, 14), strict=True):
            angles[leg] = np.deg2rad([82 + more, 42, 42, 118 - more, -10])
        return angles, root, 0.0, False
    wide, out = k * rng.uniform(80, 200), k * rng.uniform(430, 800)
    feet = np.array([[-wide, 0, out], [wide, 0, out + 130 * rng.standard_normal()]])
    return _planted(rng, person, angles, root, 105 * k, feet, np.deg2rad(rng.uniform(0, 25))), root, 0.0, False


def _squat(rng: np.random.Generator, person: Person) -> Drawn:
    k, tall = person.body.stature / 1700, _reach_of(person)
    deep = rng.uniform(0.32, 0.75)
    root = pitched(12 + 45 * (1 - deep) * rng.uniform(0.5, 1))
    angles = _trunk(rng, rng.uniform(5, 25))
    pairs = (("reach", "reach"), ("thigh", "thigh"), ("reach", "rest"), ("carry", "carry"), ("hang", "hang"))
    _arms(rng, angles, pairs[int(rng.integers(len(pairs)))])
    wide = k * rng.uniform(130, 270)
    feet = np.array([[-wide, 0, 40], [wide, 0, 40]]) + np.array([0, 0, rng.normal(0, 40)])
    return _planted(rng, person, angles, root, deep * tall, feet, np.deg2rad(rng.uniform(8, 25))), root, 0.0, False


def _kneel(rng: np.random.Generator, person: Person) -> Drawn:
    angles = _trunk(rng, rng.uniform(0, 20))
    _arms(rng, angles, (GESTURES[int(rng.integers(len(GESTURES)))], "rest" if rng.random() < 0.5 else "carry"))
    root = pitched(rng.uniform(-3, 12))
    down, up = LEGS if rng.random() < 0.5 else LEGS[::-1]
    sink = rng.uniform(0, 60)
    angles[down] = np.deg2rad([sink - 5, 5, 5, 88 + sink * 0.9, -40])
    angles[up] = angles[down] * [1, 1.4, 1, 1, 1] if rng.random() < 0.5 else np.deg2rad([86, 8, 5, 86, 0])
    return angles, root, 0.0, False


def _bend(rng: np.random.Generator, person: Person) -> Drawn:
    k, tall = person.body.stature / 1700, _reach_of(person)
    lean = rng.uniform(30, 80)
    root = pitched(lean)
    angles = _trunk(rng, rng.uniform(10, 40))
    angles[3] -= np.deg2rad(0.3 * lean)
    _arms(rng, angles, ("hang", "hang") if rng.random() < 0.7 else ("hang", "hips"))
    wide = k * rng.uniform(90, 200)
    behind = k * 1.2 * lean
    feet = np.array([[-wide, 0, behind], [wide, 0, behind + rng.normal(0, 60)]])
    return _planted(rng, person, angles, root, tall * rng.uniform(0.85, 0.97), feet, np.deg2rad(6)), root, 0.0, False


def _lie(rng: np.random.Generator, person: Person) -> Drawn:
    angles = _trunk(rng, 2.0, 0.8)
    _arms(rng, angles, (("down", "raised", "free", "tee")[int(rng.integers(4))], "down"))
    side = rng.random() < 0.3
    back = rng.random() < 0.6
    for leg in LEGS:
        bend = rng.uniform(0, 60) * (rng.random() < 0.6)
        angles[leg] = np.deg2rad([bend * (back or side), rng.uniform(3, 16), 5, 1.5 * bend, -25])
    roll = np.pi / 2 * (rng.choice([-1, 1]) if side else 0) + np.deg2rad(rng.normal(0, 8))
    turn = np.array([[np.cos(roll), 0, np.sin(roll)], [0, 1, 0], [-np.sin(roll), 0, np.cos(roll)]])
    return angles, pitched(-90 if back or side else 90) @ turn, 0.0, False


def _jump(rng: np.random.Generator, person: Person) -> Drawn:
    angles = _trunk(rng, rng.uniform(-10, 20), 1.3)
    _arms(rng, angles, (("raised", "free", "tee", "any")[int(rng.integers(4))], "free"))
    star = rng.random() < 0.4
    for leg in LEGS:
        hip, knee = (rng.uniform(-5, 10), rng.uniform(5, 20)) if star else (rng.uniform(0, 70), rng.uniform(20, 110))
        angles[leg] = np.deg2rad([hip, rng.uniform(22, 38) if star else rng.uniform(3, 15), 10, knee, -25])
    return angles, pitched(rng.normal(0, 8), rng.normal(0, 6)), rng.uniform(60, 420), False


def _lunge(rng: np.random.Generator, person: Person) -> Drawn:
    k, tall = person.body.stature / 1700, _reach_of(person)
    angles = _trunk(rng, 8.0)
    _arms(rng, angles, (GESTURES[int(rng.integers(len(GESTURES)))], "any"))
    root = pitched(rng.uniform(0, 25))
    front = k * rng.uniform(250, 430) * rng.choice([-1, 1])
    feet = np.array([[-100 * k, 0, front], [100 * k, 0, -front]])
    return _planted(rng, person, angles, root, tall * rng.uniform(0.68, 0.85), feet, 0.1), root, 0.0, False


def _kick(rng: np.random.Generator, person: Person) -> Drawn:
    angles, root, _, _ = _stand(rng, person, ("free", "tee"))
    leg = LEGS[int(rng.integers(2))]
    angles[leg] = np.deg2rad([rng.uniform(40, 95), rng.uniform(2, 25), 0, rng.uniform(5, 100), -15])
    return angles, root, 0.0, False


FAMILIES: dict[str, Callable[[np.random.Generator, Person], Drawn]] = {
    "walk": lambda rng, person: _stride(rng, person, False),
    "run": lambda rng, person: _stride(rng, person, True),
    "stand": _stand,
    "gesture": _gesture,
    "sit": _sit,
    "floor": _floor,
    "squat": _squat,
    "kneel": _kneel,
    "bend": _bend,
    "lie": _lie,
    "jump": _jump,
    "lunge": _lunge,
    "kick": _kick,
}
"""Each draws (angles, root, lift, seat)."""
assert set(ARM_POSES).isdisjoint(MORE_ARMS)
