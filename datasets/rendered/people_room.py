"""What is about the people of a scene: the room, round things, the lamp, and what throws shadows."""

from __future__ import annotations

import numpy as np

from .hand_scene import draw_colours, draw_light
from .people_stage import Standing, View
from .people_styles import MOST, PeopleStyle
from .person_anatomy import PLACE

Array = np.ndarray
THINGS = 10
"""Most round things (stools, poles, balls) in a scene."""


def draw_things(
    rng: np.random.Generator, look: PeopleStyle, view: View, people: list[Standing]
) -> tuple[tuple[Array, Array, Array], Array]:
    """Stools beneath who sits, and round things about; cones in the camera's frame and six colours."""
    a, b, radii = np.zeros((THINGS, 3)), np.zeros((THINGS, 3)), np.zeros((THINGS, 2))
    for slot, one in enumerate(people):
        if one.stance.seat:
            top = max(one.place[1] - 100 * one.person.body.stature / 1700, 60.0)
            wide = min(150.0, top * 0.8)
            middle = one.place + one.turn @ np.array([0, 0, -30.0])
            a[slot], b[slot] = [middle[0], top - wide, middle[2]], [middle[0], wide * 0.5, middle[2]]
            radii[slot] = wide, wide * 1.15
    for n in range(MOST, MOST + look.things):
        z = np.exp(rng.uniform(np.log(1600), np.log(9000)))
        x = z * rng.uniform(-1, 1) * 0.6 / view.focal
        kind, r = rng.choice(3, p=[0.4, 0.35, 0.25]), rng.uniform(40, 160)
        near = min(np.hypot(x - one.place[0], z - one.place[2]) for one in people)
        tall = (0.0, rng.uniform(300, 1100), rng.uniform(1200, 2600))[kind]
        r = (1.6 * r, r, 0.35 * r)[kind]
        if near > 500 + r and rng.random() < 0.45 and z > 2300:
            a[n], b[n], radii[n] = [x, r, z], [x, r + tall, z], (r, r * rng.uniform(0.8, 1.1))
    there = (radii > 0).any(1)
    a[there], b[there] = view.points(a[there]), view.points(b[there])
    return (a, b, radii), draw_colours(rng, 6)


def draw_lamp(rng: np.random.Generator, look: PeopleStyle, view: View) -> dict[str, Array]:
    """As of hands, but the lamp stands well above the floor, whose shadows it throws; `sun` is its way in the world."""
    light = draw_light(rng, look)
    world = light["light"] @ view.turn
    world[0, 1] = max(world[0, 1], 0.55)
    world /= np.linalg.norm(world, axis=-1, keepdims=True)
    light["light"] = world @ view.turn.T
    return {**light, "sun": world[0]}


def _dulled(colour: Array, share: float) -> Array:
    """A colour with `share` of its saturation, neither black nor white."""
    return (colour.mean() + share * (colour - colour.mean())).clip(0.1, 0.8)


def _way(angle: float) -> tuple[float, float]:
    return np.cos(angle), np.sin(angle)


def draw_room(rng: np.random.Generator, look: PeopleStyle, people: list[Standing]) -> dict[str, Array]:
    """Bounds of the room (2, 3) mm, colours and patterns of floor and walls, and clutter before the walls."""
    far = 1500 + max(abs(one.place[i]) for one in people for i in (0, 2))
    if look.fixed:
        bounds = np.array([[-6200.0, 0, -6200], [6200, 3200, 6200]])
        floor, wall = 0.32 + 0.12 * rng.random(3), 0.55 + 0.2 * rng.random() + rng.uniform(-0.05, 0.05, 3)
        kind, tile = 0, 600.0
    else:
        high = rng.uniform(2600, 4000) if rng.random() < 0.6 else 60000.0
        side = far + (rng.uniform(0, 3500) if high < 9000 else rng.uniform(3000, 40000))
        bounds = np.array([[-side, 0, -9000.0], [side, high, max(far, side)]])
        floor, wall = _dulled(draw_colours(rng, 1)[0], 0.5), _dulled(draw_colours(rng, 1)[0], 0.6)
        kind, tile = int(rng.integers(4)), rng.uniform(120, 900)
    grain = rng.uniform(-0.1, 0.1, (1, 22, 22)) + rng.uniform(-0.03, 0.03, (3, 22, 22))
    room = {
        "bounds": bounds,
        "floor": floor,
        "floor_second": floor * rng.uniform(0.55, 0.95, 3),
        "walls": np.stack([wall, wall * 0.93, wall * 1.05]),
        "rough": np.array(0.03 if look.fixed else rng.uniform(0.03, 0.12)),
        "tiles": np.array([kind, tile, *_way(rng.uniform(0, np.pi))]),
    }
    if not look.clutter:
        return {**room, "wall": np.zeros((3, 2, 2)), "grain": np.zeros((3, 0, 0)), "shapes": np.zeros((0, 8))} | {
            "shape_colours": np.zeros((0, 3))
        }
    n = look.clutter
    angle = rng.normal(0, 0.15, n) + np.pi / 2 * rng.integers(0, 2, n)
    half = np.array([0.05, 0.05]) + np.array([0.25, 0.2]) * rng.random((n, 2)) ** 2
    kind_of = (rng.random(n) < 0.25).astype(float)
    stripes = np.where(rng.random(n) < 0.4, rng.uniform(2, 7, n), 0.0)
    centre = np.stack([rng.uniform(-0.05, 1.05, n), rng.uniform(0, 0.6, n)])
    shapes = np.stack([*centre, np.cos(angle), np.sin(angle), 1 / half[:, 0], 1 / half[:, 1], kind_of, stripes], 1)
    light = rng.uniform(-0.2, 0.2, (1, 4, 4)) + rng.uniform(-0.06, 0.06, (3, 4, 4))
    return {**room, "wall": light, "grain": grain, "shapes": shapes, "shape_colours": draw_colours(rng, n)}


CASTERS = (
    *(("pelvis", "neck", 135), ("neck", "head", 75)),
    *(
        (f"{side}_{start}", f"{side}_{end}", radius)
        for side in ("left", "right")
        for start, end, radius in (
            *(("hip", "knee", 70), ("knee", "ankle", 48), ("ankle", "toe", 40)),
            *(("shoulder", "elbow", 48), ("elbow", "hand", 40)),
        )
    ),
)
"""What throws shadows on the floor: from a joint to another, mm thick."""


def casters_of(people: list[Standing]) -> Array:
    """(C, 7) both ends in the world and the radius."""
    rows = []
    for one in people:
        joints, k = one.world(one.stance.pose.joints), one.person.body.stature / 1700
        rows += [[*joints[PLACE[start]], *joints[PLACE[end]], radius * k] for start, end, radius in CASTERS]
    return np.array(rows)
