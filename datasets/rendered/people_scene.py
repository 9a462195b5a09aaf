"""What a scene of rendered people is, for each (style, seed, index): all that its picture is made from."""

from __future__ import annotations

from typing import Any

import numpy as np

from .backgrounds import random_crop
from .hand_scene import draw_camera, generator
from .motion import Motion
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
    clips: tuple[Motion, ...] = (),
) -> dict[str, Any]:
    """All that one picture is made from, as small arrays, by name; people in slots, cones of people and then of things.

    `zoom` multiplies the camera's focal length and changes nothing else.
    """
    name = f"people.{look.name}"
    view, people = draw_people(look, seed, index, focal, clips)
    cones, worn = gathered(view, people)
    things, setting = draw_setting(name, look, seed, index, size, view, people, pictures)
    for key, value in zip(("a", "b", "radii"), things, strict=True):
        cones[key] = np.concatenate([cones[key], value])
    focal_px = view.focal * zoom * size
    return {
        **cones,
        **worn,
        **setting,
        "points": np.stack([view.points(one.world(one.stance.pose.joints)) for one in people]),
        "camera": np.array([focal_px, focal_px, size / 2, size / 2]),
        "casters": casters_of(people),
    }


def draw_setting(
    name: str,
    look: PeopleStyle,
    seed: int,
    index: int,
    size: int,
    view: View,
    people: list[Standing],
    pictures: tuple[str, ...],
) -> tuple[tuple[Array, Array, Array], dict[str, Any]]:
    """The things that stand about in scene `index` of the set `name`, a (N, 3), b (N, 3) and radii (N, 2) in the
    camera's frame; and room, light, camera and what all is made of."""
    things, colours = draw_things(generator(name, seed, 4, index), look, view, people)
    # The lab is one room.
    room = draw_room(generator(name, seed, 6, 0 if look.fixed else index), look, people)
    if pictures:
        crop = random_crop(generator(name, seed, 7, index), pictures, size)
        room["photo"] = np.ascontiguousarray(crop.transpose(2, 0, 1))
    noise = generator(name, seed, 8, index)
    return things, {
        **_materials(people, colours),
        "view_turn": view.turn,
        "view_place": view.place,
        **draw_lamp(generator(name, seed, 5, index), look, view),
        **room,
        **draw_camera(lambda stage: noise, look, size),
    }


def _materials(people: list[Standing], colours: Array) -> dict[str, Array]:
    """Colours and patterns by owner, MOST people and then the things, and material."""
    outfits = [one.outfit for one in people]
    palette = np.zeros((MOST + 1, *outfits[0].colours.shape))
    made = {"palette": palette, "seconds": palette.copy(), "patterns": palette[..., 0].copy()}
    made["periods"] = np.ones(palette.shape[:2])
    for slot, outfit in enumerate(outfits):
        made["palette"][slot], made["seconds"][slot] = outfit.colours, outfit.seconds
        made["patterns"][slot], made["periods"][slot] = outfit.patterns, outfit.periods
    palette[MOST, : len(colours)] = colours
    return made


def gathered(view: View, people: list[Standing], bars: int = 0) -> tuple[dict[str, Array], dict[str, Array]]:
    """The cones of all people, and what they, things and bars before them are clad in, in the camera's frame."""
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
    more = THINGS + bars
    filler: dict[str, Array] = {key: np.zeros((more, 3)) for key in ("origin", "along", "aside")}
    filler |= {"low": np.arange(more) % 6, "high": np.arange(more) % 6, "owner": np.full(more, MOST)}
    for key, value in filler.items():
        worn[key].append(value)
    joined = ({key: np.concatenate(value) for key, value in group.items()} for group in (cones, worn))
    return next(joined), next(joined)
