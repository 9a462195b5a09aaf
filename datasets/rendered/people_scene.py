"""What a scene of rendered people is, for each (style, seed, index): all that its picture is made from."""

from __future__ import annotations

from typing import Any

import numpy as np

from .backgrounds import random_crop
from .hand_scene import draw_camera, generator
from .people_room import THINGS, casters_of, draw_lamp, draw_room, draw_things
from .people_stage import Standing, View, draw_people
from .people_styles import MOST, PeopleStyle
from .person_flesh import PERSON_PARTS

Array = np.ndarray
PARTS = len(PERSON_PARTS)
"""Cones of one person."""


def draw_scene(
    look: PeopleStyle,
    seed: int,
    index: int,
    size: int,
    focal: tuple[float, float],
    zoom: float = 1.0,
    pictures: tuple[str, ...] = (),
) -> dict[str, Any]:
    """All that one picture is made from, as small arrays, by name; people in slots, cones of people and then of things.

    `zoom` multiplies the camera's focal length and changes nothing else.
    """
    name = f"people.{look.name}"
    view, people = draw_people(look, seed, index, focal)
    cones, worn = _gathered(view, people)
    things, colours = draw_things(generator(name, seed, 4, index), look, view, people)
    for key, value in zip(("a", "b", "radii"), things, strict=True):
        cones[key] = np.concatenate([cones[key], value])
    rest = THINGS
    palette = np.zeros((MOST + 1, len(people[0].outfit.colours), 3))
    seconds, patterns, periods = palette.copy(), np.zeros(palette.shape[:2]), np.ones(palette.shape[:2])
    for slot, one in enumerate(people):
        palette[slot], seconds[slot] = one.outfit.colours, one.outfit.seconds
        patterns[slot], periods[slot] = one.outfit.patterns, one.outfit.periods
    palette[MOST, :6] = colours
    light = draw_lamp(generator(name, seed, 5, index), look, view)
    room = draw_room(
        generator(name, seed, 3 if look.fixed else 6, 99 if look.fixed else index), look, view, people, size
    )
    if pictures:
        crop = random_crop(generator(name, seed, 7, index), pictures, size)
        room["photo"] = np.ascontiguousarray(crop.transpose(2, 0, 1))
    rng = generator(name, seed, 8, index)
    things_rows = np.arange(rest)
    filler: dict[str, Array] = {
        "origin": np.zeros((rest, 3)),
        "along": np.zeros((rest, 3)),
        "aside": np.zeros((rest, 3)),
    }
    filler |= {"low": things_rows % 6, "high": things_rows % 6, "owner": np.full(rest, MOST)}
    focal_px = view.focal * zoom * size
    return {
        **cones,
        **{key: np.concatenate([worn[key], value]) for key, value in filler.items()},
        "points": np.stack([view.points(one.world(one.stance.pose.joints)) for one in people]),
        "camera": np.array([focal_px, focal_px, size / 2, size / 2]),
        "view_turn": view.turn,
        "view_place": view.place,
        "palette": palette,
        "seconds": seconds,
        "patterns": patterns,
        "periods": periods,
        "casters": casters_of(people),
        **light,
        **room,
        **draw_camera(lambda stage: rng, look, size),
    }


def _gathered(view: View, people: list[Standing]) -> tuple[dict[str, Array], dict[str, Array]]:
    """The cones of all people and what they wear, in the camera's frame."""
    cones: dict[str, list[Array]] = {"a": [], "b": [], "radii": []}
    worn: dict[str, list[Array]] = {key: [] for key in ("low", "high", "origin", "along", "aside", "owner")}
    for slot, one in enumerate(people):
        a, b, radii = one.cones
        for key, value in (("a", view.points(one.world(a))), ("b", view.points(one.world(b))), ("radii", radii)):
            cones[key].append(value)
        turn = (view.turn @ one.turn).T
        worn["origin"].append(view.points(one.world(one.worn["origin"])))
        worn["along"].append(one.worn["along"] @ turn)
        worn["aside"].append(one.worn["aside"] @ turn)
        for key in ("low", "high"):
            worn[key].append(one.worn[key])
        worn["owner"].append(np.full(len(a), slot))
    joined = ({key: np.concatenate(value) for key, value in group.items()} for group in (cones, worn))
    return next(joined), next(joined)
