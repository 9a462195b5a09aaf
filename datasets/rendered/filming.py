"""Cameras that watch someone move: on tripods around a room, high up, or held by someone who follows.

The world is in mm, y up, the floor at 0. A camera stands as far off as its style says, and farther where it would not
see the person all the time. Its frame is the house's: x right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..reading.bvh import about
from .detector import Detector, drifting

Array = np.ndarray
MARGIN = 0.9
"""The share of the picture within which the person is to stay."""
HELD = 0.6
"""Seconds over which a hand that holds a camera moves, and follows."""


@dataclass(frozen=True)
class Style:
    """A domain: where cameras stand, how they see, and by which detector keypoints are found."""

    size: tuple[int, int]
    """Width and height, px."""
    focal: tuple[float, float]
    """In widths of the picture's longer side, from and to."""
    height: tuple[float, float]
    """mm over the floor."""
    distance: tuple[float, float]
    """mm from the middle of the person's way along the floor."""
    detector: Detector
    ring: int = 0
    """How many cameras stand around the room, evenly, the same for all recordings; 0: each recording has its own."""
    room: float = 3000.0
    """mm that a person's way spans; a longer one is drawn together, and its feet slide."""
    aim: float = 0.0
    """Degrees, standard deviation of where a camera looks beside the person."""
    roll: float = 0.0
    """Degrees, standard deviation of how it is tilted."""
    sway: float = 0.0
    """mm that a hand sways, and two hundredths of it degrees; 0: a tripod. A held camera follows the person."""


@dataclass(frozen=True)
class Shot:
    """What a camera saw over T frames."""

    points: Array
    """(T, K, 3) mm in the camera's frame."""
    keypoints: Array
    """(T, K, 2) px, exact; NaN behind the camera."""
    camera: Array
    """(4,) fx, fy, cx, cy, px."""


def film(world: Array, style: Style, number: int, rate: float, rng: np.random.Generator) -> Shot:
    """A person's joints (T, K, 3), y up, by a camera of the style drawn from `rng`, of a ring its camera `number`;
    `rate` frames a second."""
    world = in_room(world, style.room)
    focal = rng.uniform(*style.focal) * max(style.size)
    camera = np.array([focal, focal, *(np.array(style.size) * rng.uniform(0.49, 0.51, 2))])
    azimuth = 2 * np.pi * (number % style.ring + 0.125) / style.ring if style.ring else rng.uniform(0, 2 * np.pi)
    toward = np.array([np.sin(azimuth), 0, np.cos(azimuth)])
    aims = aimed(world, style, rate)
    far = max(rng.uniform(*style.distance), enough(world - aims[:, None], camera, style.size))
    eye = far * toward + [0, rng.uniform(*style.height), 0]
    held = style.sway * drifting(rng, (len(world), 6), HELD * rate)
    turn = np.deg2rad(rng.standard_normal(3) * [style.aim, style.aim, style.roll] + held[:, 3:] / 50)
    rotation = about(2, turn[:, 2]) @ about(1, turn[:, 1]) @ about(0, turn[:, 0]) @ looking(aims - (eye + held[:, :3]))
    points = (world - (eye + held[:, :3])[:, None]) @ rotation.swapaxes(1, 2)
    ahead = points[..., 2:] > 1
    flat = points[..., :2] / np.where(ahead, points[..., 2:], 1) * focal + camera[2:]
    return Shot(points, np.where(ahead, flat, np.nan), camera)


def in_room(world: Array, room: float) -> Array:
    """Joints (T, K, 3) about the middle of their way, which is drawn together where it is longer than `room`."""
    way = world[:, :1] * [1, 0, 1]
    low, high = way.min(0), way.max(0)
    share = min(1.0, room / max(float(np.linalg.norm(high - low)), 1e-6))
    return world - way + share * (way - (low + high) / 2)


def aimed(world: Array, style: Style, rate: float) -> Array:
    """(T, 3) what the camera looks at: from a tripod one place, from a hand where the person is, a little late."""
    from scipy.ndimage import gaussian_filter1d

    middle = (world.min(1) + world.max(1)) / 2
    if not style.sway:
        return np.broadcast_to((middle.min(0) + middle.max(0)) / 2, middle.shape)
    return gaussian_filter1d(middle, HELD * rate, axis=0, mode="nearest")


def enough(around: Array, camera: Array, size: tuple[int, int]) -> float:
    """mm from which a camera sees all joints (T, K, 3), given from where it looks, however it stands around them."""
    aside = float(np.linalg.norm(around[..., [0, 2]], axis=-1).max())
    high = float(np.abs(around[..., 1]).max())
    half = MARGIN * np.array(size) / (2 * camera[:2])
    return aside + max(aside / half[0], high / half[1])


def looking(way: Array) -> Array:
    """(T, 3, 3) from the world to cameras that look along `way` (T, 3), upright: rows are right, down, forward."""
    forward = way / np.linalg.norm(way, axis=-1, keepdims=True)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    return np.stack([right, np.cross(forward, right), forward], 1)
