"""A person's surface: the body's round cones, legs, feet, face, hair and skirts; whose joint each part is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .body_flesh import BODY_PARTS, HAND_PARTS, flesh_cones
from .person_anatomy import PERSON, PLACE, SIDES, Person, PersonPose, cross

Array = np.ndarray

LEG_PARTS = ("thigh_low", "knee", "calf", "shin", "heel", "instep", "foot_out", "foot_in")
FACE_PARTS = ("jaw", "nose", "mouth", "eye_left", "eye_right", "brow_left", "brow_right", "ear_left", "ear_right")
HAIR_PARTS = ("hair", "hair_back", "hair_left", "hair_right", "bun")
OVER_PARTS = ("skirt_right", "skirt_left")
PERSON_PARTS = (
    *BODY_PARTS,
    *(f"{part}_{side}" for side in SIDES for part in LEG_PARTS),
    *FACE_PARTS,
    *HAIR_PARTS,
    *OVER_PARTS,
)
"""The cones' names in the order of `person_cones`."""
PART = {name: n for n, name in enumerate(PERSON_PARTS)}

_FACE = (
    ("jaw", (0, -48, 26), (0, -70, 40), 44, 33),
    ("nose", (0, 10, 88), (0, -20, 104), 9, 13),
    ("mouth", (-15, -56, 72), (15, -56, 72), 7, 7),
    ("eye_left", (30, 14, 76), (32, 14, 76), 12, 12),
    ("eye_right", (-30, 14, 76), (-32, 14, 76), 12, 12),
    ("brow_left", (18, 36, 86), (44, 34, 73), 4, 4),
    ("brow_right", (-18, 36, 86), (-44, 34, 73), 4, 4),
    ("ear_left", (76, 22, -6), (73, -10, 0), 13, 10),
    ("ear_right", (-76, 22, -6), (-73, -10, 0), 13, 10),
)
"""Each row: name, both ends from the head's middle in the skull's axes, radii; mm of a person of 1.70 m."""
SKULL_PARTS = ("cranium", "face", *FACE_PARTS, *HAIR_PARTS)
"""What a larger head makes larger."""


def person_cones(person: Person, pose: PersonPose, hair: float = 0.0, skirt: float = 0.0) -> tuple[Array, Array, Array]:
    """Round cones a (N, 3), b (N, 3) and radii (N, 2), mm, in the person's frame, in the order of `PERSON_PARTS`; radii
    of absent parts are 0.

    `hair` is its length: 0 short, 1 to the shoulders; above 1 a bun. `skirt` is how far down the legs it reaches, as a
    share of the thigh, or the hem of what is worn over trousers; 0 for none.
    """
    body = person.body
    k, g = body.stature / 1700, body.girth * body.stature / 1700
    a, b, radii = flesh_cones(body, pose.upper)
    limbs = [PART[name] for name in BODY_PARTS if name.startswith(("thigh", "upper_arm", "forearm"))]
    radii[limbs] *= person.muscle
    radii[[PART[f"deltoid_{side}"] for side in SIDES], 0] *= 0.9
    rows: list[tuple[Array, Array, float, float]] = []
    for side in (0, 1):
        rows += _leg(person, pose, side, k, g * person.muscle)
    head, skull = pose.joints[PLACE["head"]], pose.upper.frames[2]

    def at(place: tuple[float, ...]) -> Array:
        return head + skull @ (k * np.array(place))

    rows += [(at(start), at(end), k * ra, k * rb) for _, start, end, ra, rb in _FACE]
    rows += _hair(at, k, hair)
    rows += _skirt(pose, k, g, skirt)
    a, b = np.concatenate([a, [row[0] for row in rows]]), np.concatenate([b, [row[1] for row in rows]])
    radii = np.concatenate([radii, [row[2:] for row in rows]])
    grown = [PART[name] for name in SKULL_PARTS]
    a[grown], b[grown] = (head + person.skull * (ends[grown] - head) for ends in (a, b))
    radii[grown] *= person.skull
    return a, b, radii


Row = tuple[Array, Array, float, float]


def _leg(person: Person, pose: PersonPose, side: int, k: float, g: float) -> list[Row]:
    hip, knee, ankle = pose.joints[[PLACE[f"{SIDES[side]}_{name}"] for name in ("hip", "knee", "ankle")]]
    heel, ball, toe, across = pose.heels[side], pose.balls[side], pose.toes[side], pose.across[side]
    calf = knee + 0.27 * (ankle - knee)
    # Muscle lies behind the bones: away from where the knee points.
    back = 12 * k * cross(across, (knee - ankle) / np.linalg.norm(knee - ankle))
    wide = 15 * k * across
    return [
        (hip + 0.35 * (knee - hip), knee, 79 * g, 57 * g),
        (knee - 0.3 * back, knee + 0.12 * (ankle - knee), 55 * g, 51 * g),
        (knee + 0.05 * (ankle - knee), calf - back, 50 * g, 54 * g),
        (calf - back, ankle, 54 * g, 33 * g),
        (ankle, heel, 34 * k, 30 * k),
        (ankle, ball + 0.2 * (ankle - heel), 36 * k, 26 * k),
        (heel + 0.3 * wide, ball + wide, 29 * k, 29 * k),
        (ball - 0.9 * wide, toe - 0.3 * wide, 29 * k, 22 * k),
    ]


def _hair(at: Callable[[tuple[float, ...]], Array], k: float, hair: float) -> list[Row]:
    """A cap over the cranium and what hangs down from it."""
    long = float(np.clip(hair, 0, 1)) * (hair <= 1)
    nothing = (at((0, 0, 0)), at((0, 0, 0)), 0.0, 0.0)
    rows = [(at((0, 44, -22)), at((0, 42, 12)), 81 * k, 77 * k)]
    if long > 0.15:
        rows.append((at((0, 30, -34)), at((0, 20 - 190 * long, -62)), 76 * k, (68 - 12 * long) * k))
        for side in (1, -1):
            low = at((side * 62, 10 - 150 * long, -20))
            rows.append((at((side * 52, 34, -14)), low, 38 * k, (34 - 8 * long) * k))
    else:
        rows += [nothing] * 3
    rows.append((at((0, 40, -100)), at((0, 52, -108)), 42 * k, 36 * k) if hair > 1 else nothing)
    return rows


def _skirt(pose: PersonPose, k: float, g: float, skirt: float) -> list[Row]:
    rows = []
    for side in (0, 1):
        hip, knee = pose.joints[PLACE[f"{SIDES[side]}_hip"]], pose.upper.knees[side]
        hem = hip + skirt * (knee - hip)
        waist = hip * 0.8 + np.array([0, 20 * k, 0])
        there = g * (skirt > 0)
        rows.append((waist, hem, 110 * there, (104 + 14 * skirt) * there))
    return rows


_LIMB_OWNERS = {
    "deltoid": (("shoulder",), ("shoulder", "elbow")),
    "upper_arm": (("elbow",), ("elbow",)),
    "forearm_near": (("elbow",), ("elbow",)),
    "forearm_far": ((), ("wrist",)),
    **dict.fromkeys(HAND_PARTS, (("wrist", "hand"), ("hand",))),
    "buttock": (("hip",), ("hip",)),
    "thigh": (("hip",), ("knee",)),
    "thigh_low": ((), ("knee",)),
    "knee": (("knee",), ("knee",)),
    "calf": (("knee",), ("knee",)),
    "shin": ((), ("ankle",)),
    "heel": (("ankle",), ("ankle",)),
    "instep": (("ankle",), ("foot",)),
    "foot_out": ((), ("foot",)),
    "foot_in": (("foot",), ("foot", "toe")),
    "skirt": (("hip",), ("knee",)),
    "collar": (("neck", "thorax"), ("shoulder",)),
    "armpit": (("thorax",), ("shoulder",)),
}
_BOTH_HIPS = ("left_hip", "right_hip")
_TRUNK_OWNERS = {
    "pelvis": (("pelvis", *_BOTH_HIPS), ("pelvis", *_BOTH_HIPS)),
    "loin_right": (("pelvis", "right_hip"), ("spine", "pelvis")),
    "loin_left": (("pelvis", "left_hip"), ("spine", "pelvis")),
    "belly": (("pelvis", "spine"), ("spine",)),
    "ribs_right": (("spine",), ("neck", "thorax", "right_shoulder")),
    "ribs_left": (("spine",), ("neck", "thorax", "left_shoulder")),
    "breast": (("spine",), ("neck", "thorax")),
    "shoulder_blades": (("neck", "thorax", "right_shoulder"), ("neck", "thorax", "left_shoulder")),
    "neck": (("neck", "thorax"), ("neck", "head")),
    "cranium": (("head", "head_top"), ("head", "head_top")),
    "face": (("head",), ("head",)),
    "jaw": (("head",), ("head",)),
    "nose": (("nose", "head"), ("nose", "head")),
    "mouth": (("head",), ("head",)),
    "hair": (("head", "head_top"), ("head", "head_top")),
    "hair_back": (("head", "head_top"), ("neck",)),
    "bun": (("head",), ("head",)),
    **{f"brow_{side}": (("head",), ("head",)) for side in SIDES},
    **{f"hair_{side}": (("head",), ()) for side in SIDES},
    **{f"eye_{side}": (("head", f"{side}_eye"), ("head", f"{side}_eye")) for side in SIDES},
    **{f"ear_{side}": (("head", f"{side}_ear"), ("head", f"{side}_ear")) for side in SIDES},
}


def _owners() -> Array:
    owns = np.zeros((2, len(PERSON_PARTS), len(PERSON)), bool)
    whole = ("neck", "thorax", "pelvis", "spine")
    for n, name in enumerate(PERSON_PARTS):
        part, _, side = name.rpartition("_")
        for half in (0, 1):
            if name in _TRUNK_OWNERS:
                joints = _TRUNK_OWNERS[name][half]
            else:
                joints = tuple(j if j in whole else f"{side}_{j}" for j in _LIMB_OWNERS[part][half])
            owns[half, n, [PLACE[joint] for joint in joints]] = True
    return owns


OWNS = _owners()
"""(2, N, 29) whether the first and the last half of a cone are the joint's own surroundings."""
