"""What persons wear: materials of a person, and which material each part of the flesh shows where.

Each cone shows one of two materials, parted by a plane: `low` where t = (point - origin) . along is negative, else
`high`. t and s = (point - origin) . aside are also what stripes and checks are counted in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .hand_scene import TONES
from .person_anatomy import PLACE, SIDES, Person, PersonPose, cross
from .person_flesh import PART, PERSON_PARTS

Array = np.ndarray
MATERIALS = ("skin", "lips", "eye", "hair", "top", "bottom", "shoe", "hat")
SKIN, LIPS, EYE, HAIR, TOP, BOTTOM, SHOE, HAT = range(len(MATERIALS))
PLAIN, STRIPES, UPRIGHT, CHECKS = range(4)
HAIRS = np.array(
    [[0.04, 0.03, 0.03], [0.1, 0.06, 0.04], [0.2, 0.12, 0.07], [0.4, 0.26, 0.13], [0.62, 0.48, 0.28], [0.5, 0.5, 0.5]]
)
"""Reflectance of hair, RGB."""


@dataclass(frozen=True)
class Outfit:
    """The looks of one person."""

    colours: Array
    """(M, 3) reflectance of each of `MATERIALS`."""
    seconds: Array
    """(M, 3) the other colour of stripes and checks."""
    patterns: Array
    """(M,) PLAIN, STRIPES, UPRIGHT or CHECKS."""
    periods: Array
    """(M,) mm."""
    sleeves: float
    """How far down the arm they reach: 0 to the shoulder, 1 to the wrist."""
    legs: float
    """How far down the leg trousers reach, 1 to the ankle."""
    hem: float
    """mm above the hips where the top ends."""
    collar: float
    """Share of the neck that the top covers."""
    loose: tuple[float, float, float]
    """How much wider than the flesh: trunk, sleeves, trousers."""
    hair: float
    """As `person_cones`; below 0 bald."""
    skirt: float
    """As `person_cones`; of a tunic too."""
    tunic: bool
    """The top hangs over the trousers."""
    beard: bool
    hat: bool


def sample_outfit(rng: np.random.Generator, tone: tuple[float, float], varied: float = 1.0) -> Outfit:
    """Draw skin, hair and clothes. `tone` is the range of skin tones, 0 light to 1 dark; `varied`, 0 to 1, is how much
    clothes differ in length, pattern and colour."""
    uniform = rng.random(24)
    colours = np.zeros((len(MATERIALS), 3))
    place = (tone[0] + (tone[1] - tone[0]) * uniform[0]) * (len(TONES) - 1.001)
    skin = TONES[int(place)] + (place - int(place)) * (TONES[int(place) + 1] - TONES[int(place)])
    colours[SKIN] = skin * (1 + np.array([0.03, 0.03, 0.05]) * rng.uniform(-1, 1, 3))
    colours[LIPS] = colours[SKIN] * [0.82, 0.52, 0.52]
    colours[EYE] = [0.07, 0.05, 0.05]
    dark = place / (len(TONES) - 1)
    colours[HAIR] = HAIRS[min(int(uniform[1] * len(HAIRS) * (1 - 0.75 * dark)), len(HAIRS) - 1)] * (
        0.7 + 0.6 * uniform[2]
    )
    for material in (TOP, BOTTOM, SHOE, HAT):
        colours[material] = _cloth(rng, material in (BOTTOM, SHOE) and rng.random() < 0.7, varied)
    if uniform[3] < 0.08 * varied:
        colours[SHOE] = colours[SKIN]
    seconds = np.stack([_cloth(rng, False, varied) for _ in MATERIALS])
    patterned = (rng.random(len(MATERIALS)) < 0.45 * varied) & np.isin(np.arange(len(MATERIALS)), (TOP, BOTTOM, HAT))
    patterned[BOTTOM] &= uniform[4] < 0.4
    kinds = rng.integers(1, 4, len(MATERIALS)) * patterned
    woman, dress = uniform[5] < 0.5, uniform[6] < 0.22 * varied
    short_sleeves = uniform[7] < 0.5
    sleeves = 0.22 + 0.24 * uniform[8] if short_sleeves else 0.9 + 0.12 * uniform[8]
    if uniform[9] < 0.12 * varied:
        sleeves = 0.02
    legs = 0.98 if uniform[10] > 0.3 * varied else 0.24 + 0.36 * uniform[11]
    skirt = (0.35 + 0.6 * uniform[12]) * (dress and woman)
    tunic = bool(not skirt and uniform[13] < 0.55)
    if skirt and uniform[13] < 0.6:
        colours[BOTTOM], seconds[BOTTOM] = colours[TOP], seconds[TOP]
        kinds[BOTTOM] = kinds[TOP]
    if skirt:
        legs = 0.12
    hair = (0.2 + 0.8 * uniform[14] if uniform[15] < 0.7 else 1.5) if woman else (0.0 if uniform[15] < 0.85 else -1.0)
    wide = 1 + 0.4 * varied
    return Outfit(
        colours,
        seconds,
        kinds,
        30 + 130 * rng.random(len(MATERIALS)) ** 2,
        sleeves,
        legs,
        60 + 50 * uniform[16],
        0.1 + 0.75 * (uniform[17] < 0.15),
        (1 + 0.06 * uniform[18] * wide, 1.02 + 0.16 * uniform[19] * wide, 1.02 + 0.18 * uniform[20] * wide),
        hair,
        skirt or (0.06 + 0.28 * uniform[23]) * tunic,
        tunic,
        bool(not woman and uniform[21] < 0.25),
        bool(uniform[22] < 0.12 * varied),
    )


def _cloth(rng: np.random.Generator, muted: bool, varied: float) -> Array:
    """(3,) reflectance of a fabric; muted ones are dark, grey, blue or brown."""
    light = rng.uniform(0.03, 0.3) if muted else rng.uniform(0.04, 0.85)
    chroma = 0.25 if muted else (0.25 + 0.65 * varied) * rng.random()
    hue = rng.uniform(-1, 1, 3)
    return np.clip(light * (1 + chroma * (hue - hue.mean())), 0.02, 0.92)


def dress(person: Person, pose: PersonPose, outfit: Outfit) -> dict[str, Array]:
    """By cone of `person_cones`, in the person's frame: `low`, `high` (N,) materials, `origin`, `along` and `aside`
    (N, 3), and `wider` (N, 2), by which the radii grow at both ends."""
    count = len(PERSON_PARTS)
    made: dict[str, Any] = {
        "low": np.full(count, SKIN),
        "high": np.full(count, SKIN),
        "origin": np.zeros((count, 3)),
        "along": np.tile([0.0, 1.0, 0.0], (count, 1)),
        "aside": np.tile([1.0, 0.0, 0.0], (count, 1)),
        "wider": np.ones((count, 2)),
    }

    def wear(names: tuple[str, ...], low: int, high: int, origin: Array, along: Array, aside: Array) -> None:
        rows = [PART[name] for name in names]
        made["low"][rows], made["high"][rows] = low, high
        made["origin"][rows], made["along"][rows], made["aside"][rows] = origin, along, aside

    _trunk(person, pose, outfit, wear, made["wider"])
    for side in (0, 1):
        _limbs(person, pose, outfit, side, wear, made["wider"])
    _head(person, pose, outfit, wear)
    return made


def _trunk(person: Person, pose: PersonPose, outfit: Outfit, wear: Any, wider: Array) -> None:
    k, upper = person.body.stature / 1700, pose.upper
    hem, chest = np.array([0, (-200 if outfit.tunic else outfit.hem) * k, 0]), upper.frames[1]
    torso, neck = pose.joints[PLACE["spine"]], pose.joints[PLACE["neck"]]
    low = ("pelvis", "loin_right", "loin_left", "belly")
    wear(low, BOTTOM, TOP, hem, np.array([0, 1.0, 0]), np.array([1.0, 0, 0]))
    sides = tuple(f"{part}_{side}" for part in ("ribs", "collar", "armpit") for side in SIDES)
    high = ("breast", "shoulder_blades", *sides)
    wear(high, BOTTOM, TOP, torso + chest @ (hem - torso), chest[:, 1], chest[:, 0])
    top = neck + chest[:, 1] * k * (8 + 70 * outfit.collar)
    wear(("neck",), TOP, SKIN, top, chest[:, 1], chest[:, 0])
    wider[[PART[name] for name in (*low, *high)]] = outfit.loose[0]


def _limbs(person: Person, pose: PersonPose, outfit: Outfit, side: int, wear: Any, wider: Array) -> None:
    """Sleeves and trousers end at a length along the limb, counted through the joint."""
    name, size = SIDES[side], person.body.lengths
    arm = ("shoulder", "elbow", "wrist"), ("deltoid", "upper_arm"), ("forearm_near", "forearm_far"), TOP
    leg = ("hip", "knee", "ankle"), ("buttock", "thigh", "thigh_low"), ("knee", "calf", "shin"), BOTTOM
    ends = outfit.sleeves * (size["upper_arm"] + size["forearm"]), outfit.legs * (size["thigh"] + size["shank"])
    for (joints, first, second, cloth), end, loose in zip((arm, leg), ends, outfit.loose[1:], strict=True):
        start, middle, far = (pose.joints[PLACE[f"{name}_{joint}"]] for joint in joints)
        reached = 0.0
        for parts, p, q in ((first, start, middle), (second, middle, far)):
            length = float(np.linalg.norm(q - p))
            along = (q - p) / length
            aside = cross(along, np.array([0.0, 0.3, 1.0]))
            aside /= np.linalg.norm(aside)
            wear(tuple(f"{part}_{name}" for part in parts), cloth, SKIN, p + along * (end - reached), along, aside)
            rows = [PART[f"{part}_{name}"] for part in parts]
            if end > reached + 0.8 * length:
                wider[rows] = loose
            elif end > reached:
                wider[rows] = 1 + 0.5 * (loose - 1)
            if not reached:  # at shoulder and hip cloth lies close
                wider[rows[:2], 0] = min(loose, 1.03)
            reached += length
    shoes = tuple(f"{part}_{name}" for part in ("heel", "instep", "foot_out", "foot_in"))
    wear(shoes, SHOE, SHOE, pose.ankles[side], np.array([0, 1.0, 0]), pose.across[side])
    over = TOP if outfit.tunic else BOTTOM
    if outfit.tunic:
        wear((f"buttock_{name}",), TOP, TOP, np.zeros(3), np.array([0, 1.0, 0]), np.array([1.0, 0, 0]))
    wear((f"skirt_{name}",), over, over, np.zeros(3), np.array([0, -1.0, 0]), np.array([1.0, 0, 0]))


def _head(person: Person, pose: PersonPose, outfit: Outfit, wear: Any) -> None:
    scale, skull = person.skull * person.body.stature / 1700, pose.upper.frames[2]
    head, bald = pose.joints[PLACE["head"]], outfit.hair < 0 and not outfit.hat
    scalp = SKIN if bald else HAT if outfit.hat else HAIR
    # From the forehead down to the nape.
    line = head + skull @ (scale * np.array([0, 72.0, 75.0]))
    wear(("cranium", "face", "hair"), SKIN, scalp, line, skull @ np.array([0, 0.78, -0.62]), skull[:, 0])
    wear(("hair_back", "hair_left", "hair_right", "bun"), HAIR, HAIR, head, skull[:, 1], skull[:, 0])
    wear(("brow_left", "brow_right"), HAIR, HAIR, head, skull[:, 1], skull[:, 0])
    wear(("eye_left", "eye_right"), EYE, EYE, head, skull[:, 1], skull[:, 0])
    wear(("mouth",), LIPS, LIPS, head, skull[:, 1], skull[:, 0])
    if outfit.beard:
        chin = head + skull @ (scale * np.array([0, -40.0, 0]))
        wear(("jaw",), HAIR, SKIN, chin, skull[:, 1], skull[:, 0])
