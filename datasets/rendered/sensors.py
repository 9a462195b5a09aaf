"""How depth cameras see: an ideal sensor, structured light and time of flight, as functions of an exact depth picture.

Structured light: disparity to a projector beside the camera is found in a window and rounded to an eighth of a pixel
(Khoshelham and Elberink, "Accuracy and Resolution of Kinect Depth Data", Sensors 2012; the quadratic growth of noise
and steps with distance follows from it), nothing is found where the projector's light is blocked or the surface is
grazed (Landau et al., "Simulating Kinect Infrared and Depth Images", IEEE Trans. Cybernetics 2016). Time of flight:
noise that falls with the returned light, pixels on an edge that report a mixture of both sides, a bias from light that
comes back by way of other surfaces, and the wiggle of the modulation (Foix et al., "Lock-in Time-of-Flight Cameras: A
Survey", IEEE Sensors Journal 2011; Freedman et al., "SRA", ECCV 2014).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

Array = np.ndarray
BASE = 75.0
"""mm"""
SUBPIXELS = 8
"""Disparity is rounded to 1/8 pixel."""


Measure = Callable[[Array, Array, float, float, np.random.Generator], Array]
"""(depth (S, S) mm, cosine (S, S) of the surface to the ray, focal length in the picture's pixels, how many of the
sensor's pixels one of the picture's is, generator) to (S, S) mm, 0 for none."""


@dataclass(frozen=True)
class Sensor:
    """A depth camera and from where it looks. Pairs are (lowest, highest)."""

    name: str
    focal: float
    """Pixels, for a picture of 128 pixels."""
    distance: tuple[float, float]
    """mm to a hand; a body stands farther, and its picture's pixels are larger."""
    off_axis: float
    """Highest tangent of the angle to the optical axis."""
    turn: tuple[float, float, float]
    """Standard deviations in degrees of yaw, pitch and roll."""
    pitch: float
    """Mean pitch in degrees; positive tips the fingers, or the head, to the camera."""
    any_yaw: float
    """Share seen from any side."""
    measure: Measure
    occlusion: float = 0.0
    """Share of the `OCCLUDERS` that stand before the subject."""
    anatomy: float = 0.0
    """How unusual subjects are, 0 to 1."""
    poses: float = 0.0
    """How common rare poses are, 0 to 1."""
    dials: Mapping[str, Any] | None = None
    """What the sensor is made from, where it is made from numbers; see `Style`."""


def weakened(
    measure: Measure, share: float, depth: Array, cosine: Array, focal: float, binned: float, rng: np.random.Generator
) -> Array:
    """What `measure` sees with a `share` of its errors, 0 to 1, and of the pixels that it loses."""
    seen = measure(depth, cosine, focal, binned, rng)
    kept = (seen > 0) | (rng.random(depth.shape) >= share)
    return np.where(kept, (1 - share) * depth + share * np.where(seen > 0, seen, depth), 0.0)


def ideal(depth: Array, cosine: Array, focal: float, binned: float, rng: np.random.Generator) -> Array:
    """Every pixel as it is."""
    return depth


def structured_light(depth: Array, cosine: Array, focal: float, binned: float, rng: np.random.Generator) -> Array:
    """Depth from the disparity to a projector `BASE` mm right of the camera."""
    disparity = focal * BASE / depth
    lit = lit_by_projector(disparity)
    # A block is matched as a whole: its middle wanders, most visibly at edges.
    wander = cv2.GaussianBlur(rng.standard_normal((2, *depth.shape)).transpose(1, 2, 0), (0, 0), 1.0) * 3.5
    seen = _displaced(np.where(lit, disparity, 0.0), wander * 1.1)
    noise = 0.36 / binned * cv2.GaussianBlur(rng.standard_normal(depth.shape), (0, 0), 1.2)
    steps = np.round((seen + noise) * SUBPIXELS * binned) / (SUBPIXELS * binned)
    grazed = cosine < rng.uniform(0.12, 0.35, depth.shape)
    speckle = cv2.GaussianBlur(rng.standard_normal(depth.shape), (0, 0), 1.5) * 5.3 > 2.6
    measured = lit & ~grazed & ~speckle & (seen > 0) & (steps > 0)
    return np.where(measured, focal * BASE / np.maximum(steps, 1e-6), 0.0)


def lit_by_projector(disparity: Array) -> Array:
    """(S, S) bool: the light of a projector right of the camera reaches the pixel's surface.

    A surface at column u lies at the projector's column u - disparity. A nearer surface, whose disparity is larger,
    blocks that column from further right in the picture: shadows lie left of what throws them.
    """
    columns = np.arange(disparity.shape[1]) - disparity
    blocked = np.minimum.accumulate(columns[:, ::-1], axis=1)[:, ::-1]
    beside = np.concatenate([blocked[:, 1:], np.full((len(columns), 1), np.inf)], 1)
    return columns < beside


def _displaced(values: Array, way: Array) -> Array:
    """Each pixel's value taken from `way` (S, S, 2) pixels off, nearest."""
    there = np.indices(values.shape).transpose(1, 2, 0) + way
    rows, columns = (np.clip(np.rint(there[..., a]), 0, values.shape[a] - 1).astype(int) for a in (0, 1))
    return values[rows, columns]


def time_of_flight(depth: Array, cosine: Array, focal: float, binned: float, rng: np.random.Generator) -> Array:
    """Depth from the phase of modulated light."""
    picture = depth.astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    near, far = cv2.erode(picture, kernel), cv2.dilate(picture, kernel)
    edge = far - near > 25
    mixed = near + rng.random(depth.shape) ** 1.5 * (far - near).clip(0, 400)
    seen = np.where(edge & (rng.random(depth.shape) < 0.75), mixed, picture)
    # Light by way of nearer surfaces around lengthens the path: hollows look deeper and rounder than they are.
    around = cv2.GaussianBlur(np.minimum(picture, near + 150), (0, 0), 0.05 * len(depth))
    seen = seen + 0.25 * (seen - around).clip(0, 60) + 6.0
    seen = seen + 4.0 * np.sin(2 * np.pi * seen / 190.0 + rng.uniform(0, 2 * np.pi))
    light = cosine.clip(0.08, 1) * (600.0 * binned**2 / seen) ** 2  # a sensor for rooms shines brighter
    seen = seen + 2.2 * binned / np.sqrt(light) * rng.standard_normal(depth.shape)
    return np.where(light > 0.05 * rng.random(depth.shape), seen, 0.0)


_SENSORS = (
    Sensor("ideal", 300.0, (600.0, 800.0), 0.1, (28.0, 24.0, 30.0), 0.0, 0.1, ideal),
    Sensor("structured_light", 285.0, (580.0, 950.0), 0.25, (36.0, 28.0, 45.0), 8.0, 0.15, structured_light),
    Sensor("time_of_flight", 183.0, (400.0, 650.0), 0.35, (40.0, 30.0, 50.0), 15.0, 0.2, time_of_flight),
)
SENSORS = {sensor.name: sensor for sensor in _SENSORS}
