"""Persons and the camera in the world: y up, the floor at 0, millimetres."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .hand_scene import generator
from .motion import Motion, sample_motion
from .people_styles import BLOCK, CAMERAS, STYLES, PeopleStyle
from .person_anatomy import Person, sample_person
from .person_clothes import Outfit, dress, sample_outfit
from .person_flesh import PERSON_PARTS, person_cones
from .person_poses import Stance, sample_stance

Array = np.ndarray


@dataclass(frozen=True)
class View:
    """A camera in the world."""

    place: Array
    """(3,) mm."""
    turn: Array
    """(3, 3) from the world's axes to the camera's."""
    focal: float
    """Share of the picture's width."""

    def points(self, world: Array) -> Array:
        """(..., 3) mm of the world in the camera's frame."""
        return (world - self.place) @ self.turn.T


@dataclass(frozen=True)
class Standing:
    """A person in the world."""

    person: Person
    stance: Stance
    outfit: Outfit
    turn: Array
    """(3, 3) from the person's axes to the world's."""
    place: Array
    """(3,) mm, where the pelvis is."""
    cones: tuple[Array, Array, Array]
    """a (N, 3), b (N, 3), radii (N, 2), in the person's frame, dressed."""
    worn: dict[str, Array]

    def world(self, points: Array) -> Array:
        """(..., 3) mm of the person's frame in the world."""
        return points @ self.turn.T + self.place


def looking(place: Array, yaw: float, pitch: float, roll: float, focal: float) -> View:
    """A camera that looks to `yaw` (0 along the world's z) and down by `pitch`, turned by `roll`, radians."""
    ahead = np.array([np.sin(yaw) * np.cos(pitch), -np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    right = np.cross(ahead, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    down = np.cross(ahead, right)
    turned = np.cos(roll) * right + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * right
    return View(place, np.stack([*turned, ahead]), focal)


def people_in(look: PeopleStyle, seed: int, index: int) -> int:
    """How many people a scene has."""
    rng = generator(f"people.{look.name}", seed, 1, index)
    return 1 + int(rng.choice(len(look.people), p=look.people))


@lru_cache(maxsize=64)
def _subject(name: str, seed: int, number: int, slot: int) -> tuple[Person, Outfit]:
    """A subject of a fixed cast."""
    rng, look = generator(f"people.{name}", seed, 16 + slot, number), STYLES[name]
    return sample_person(rng, look.children), sample_outfit(rng, look.tone, look.varied)


def yawed(angle: float) -> Array:
    """(3, 3): turned about the vertical, from z towards x."""
    s, c = np.sin(angle), np.cos(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def stand(
    person: Person, outfit: Outfit, stance: Stance, yaw: float, spot: Array, bearing: Array | None = None
) -> Standing:
    """A person turned by `yaw` about the vertical at `spot` (2,) x, z of the pelvis, the lowest flesh on the floor, or
    of that what is `bearing` (N,)."""
    worn = dress(person, stance.pose, outfit)
    a, b, radii = person_cones(person, stance.pose, max(outfit.hair, 0), outfit.skirt)
    if outfit.hair < 0 and not outfit.hat:
        radii[[PERSON_PARTS.index("hair")]] = 0
    radii = radii * worn.pop("wider")
    turn = yawed(yaw) @ stance.root
    lowest = radii > 0 if bearing is None else (radii > 0) & bearing[:, None]
    low = min(float(((ends @ turn[1]) - radii[:, i])[lowest[:, i]].min()) for i, ends in enumerate((a, b)))
    place = np.array([spot[0], stance.lift - low, spot[1]])
    return Standing(person, stance, outfit, turn, place, (a, b, radii), worn)


def draw_people(
    look: PeopleStyle, seed: int, index: int, focal: tuple[float, float], clips: tuple[Motion, ...] = ()
) -> tuple[View, list[Standing]]:
    """The camera and the people of a scene, in the poses of `clips` where there are any."""
    name, count = f"people.{look.name}", people_in(look, seed, index)
    drawn = []
    for slot in range(count):
        rng = generator(name, seed, 32 + slot, index)
        if look.fixed:
            person, outfit = _subject(look.name, seed, index // BLOCK, slot)
        else:
            person, outfit = sample_person(rng, look.children), sample_outfit(rng, look.tone, look.varied)
        stance = sample_motion(rng, person, clips) if clips else sample_stance(rng, person, look.poses)
        drawn.append((person, outfit, stance))
    rng = generator(name, seed, 2, index)
    view, spots = draw_places(rng, look, seed, focal, [stance for *_, stance in drawn])
    people = []
    for (person, outfit, stance), spot in zip(drawn, spots, strict=True):
        people.append(stand(person, outfit, stance, rng.uniform(-np.pi, np.pi), spot))
    return view, people


def draw_places(
    rng: np.random.Generator, look: PeopleStyle, seed: int, focal: tuple[float, float], stances: list[Stance]
) -> tuple[View, Array]:
    """The camera, and where before it people stand, (P, 2) x and z."""
    if look.fixed:
        view = _lab_camera(look, seed, int(rng.integers(CAMERAS)), focal)
        return view, _scattered(rng, look, len(stances))
    height = rng.uniform(*look.height)
    share = np.exp(rng.uniform(*np.log(focal)))
    spots = _before_camera(rng, look, share, stances)
    middle = np.mean([_middle(stance) for stance in stances])
    pitch = np.arctan2(height - middle, np.mean(spots[:, 1])) + np.deg2rad(look.aim * rng.standard_normal())
    roll = np.deg2rad(look.roll * rng.standard_normal())
    return looking(np.array([0, height, 0]), 0.0, float(pitch), float(roll), float(share)), spots


def _middle(stance: Stance) -> float:
    """mm, how high the middle of a person's joints is."""
    heights = stance.pose.joints @ stance.root[1]
    return float(heights.mean() - heights.min() + stance.lift)


def _breadth(stance: Stance) -> float:
    """mm from the pelvis to the farthest joint, along the floor."""
    return float(np.linalg.norm((stance.pose.joints @ stance.root.T)[:, [0, 2]], axis=1).max())


def _lab_camera(look: PeopleStyle, seed: int, number: int, focal: tuple[float, float]) -> View:
    rng = generator(f"people.{look.name}", seed, 3, number)
    around = np.pi / 2 * number + rng.uniform(-0.3, 0.3)
    distance, height = rng.uniform(*look.distance), rng.uniform(*look.height)
    place = np.array([-np.sin(around) * distance, height, -np.cos(around) * distance])
    pitch = np.arctan2(height - 850, distance)
    return looking(place, around, float(pitch), 0.0, float(rng.uniform(*focal)))


def _scattered(rng: np.random.Generator, look: PeopleStyle, count: int) -> Array:
    """(count, 2) x and z about the middle of the room, at least 0.75 m apart."""
    spots: list[Array] = []
    while len(spots) < count:
        spot = rng.uniform(-look.reach, look.reach, 2)
        if all(np.linalg.norm(spot - other) > 750 for other in spots):
            spots.append(spot)
    return np.array(spots)


def _before_camera(rng: np.random.Generator, look: PeopleStyle, focal: float, stances: list[Stance]) -> Array:
    """(count, 2) x and z before a camera that looks along z, apart from each other and not wholly hidden: of 40 draws
    for each person the first that is so, else the one that is nearest to it."""
    spots: list[Array] = []
    # Nobody is taller than the picture by much, nor too small to be told apart.
    depths = np.clip(np.array([1700.0, 5200.0]) * focal, *look.distance)
    for stance in stances:
        best, room = np.zeros(2), -np.inf
        wide = 100 + _breadth(stance)
        for _ in range(40):
            z = np.exp(rng.uniform(*np.log(depths)))
            # The nearer, the more of the picture a person takes: it stays nearer to the middle.
            most, bearing = max(0.5 / focal * look.reach - 150 / z, 0.05), rng.uniform(-1, 1)
            if spots and rng.random() < look.crowded:
                beside = spots[int(rng.integers(len(spots)))]
                x = np.clip(z * beside[0] / beside[1] + 500 * bearing, -most * z, most * z)
            else:
                x = most * z * bearing
            spot = np.array([x, z])
            gaps = [_gap(spot, other, wide) for other in spots]
            if min(gaps, default=1.0) > room:
                best, room = spot, min(gaps, default=1.0)
            if room >= 1:
                break
        spots.append(best)
    return np.array(spots)


def _gap(spot: Array, other: Array, wide: float) -> float:
    """1 or more where two people neither touch nor hide one another."""
    near = min(spot[1], other[1])
    seen = abs(spot[0] / spot[1] - other[0] / other[1]) * near / 150
    return float(min(np.linalg.norm(spot - other) / (wide + 350), seen))
