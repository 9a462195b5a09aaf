"""Rendered depth: hands and upper bodies as three kinds of depth camera see them, with exact joints.

Everything is a function of (what, sensor, seed, index). Blocks of 20 neighbouring indices show one subject. A frame is
the window of the camera's picture around the subject. Its centre stands for a detector's: the mean joint, as far off as
the public centre files of real sets are (21 mm on NYU). `centers=threshold` finds it in the depth instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..depth.center import find_center
from ..depth.crop import cube_box
from ..depth.options import CubeOptions
from ..sample import Item
from ..skeleton import HAND, Skeleton
from .body_anatomy import UPPER_BODY, forward_body, sample_body
from .body_flesh import body_cones, sample_body_pose
from .cache import CachedSet
from .hand_anatomy import forward, sample_pose, sample_subject
from .hand_flesh import flesh
from .hand_scene import BLOCK, Draws, draws_of, generator, short_of_camera, turned, view
from .occluders import draw_occluders
from .options import RenderedOptions
from .raycast import Cones, raycast
from .sensors import SENSORS, Sensor
from .several import in_order

VERSION = 2
"""Raise it when any depth or label changes: cached sets of another version are rendered anew."""
CHUNK = 8
Array = np.ndarray


@dataclass(frozen=True)
class Subject:
    """What is rendered."""

    skeleton: Skeleton
    draw: Callable[[np.random.Generator, Draws, Sensor], tuple[Array, Array, Array, Array]]
    """(generator of the subject, those of the picture, sensor) to joints (K, 3), and cones a, b (N, 3), radii (N, 2),
    mm, seen from the camera's direction, around the origin."""
    binned: float
    """A picture's pixel is this many of the sensor's wide."""
    farther: float
    """Its distances against a hand's."""
    larger: float
    """What stands before it against what stands before a hand."""
    miss: float
    """mm, standard deviation of a centre along each axis."""
    cube: float
    """mm"""
    flesh: float
    """A joint is seen if no surface lies more than this before it, mm."""


def _hand(own: np.random.Generator, draws: Draws, sensor: Sensor) -> tuple[Array, Array, Array, Array]:
    subject = sample_subject(own, sensor.anatomy)
    angles, _ = sample_pose(draws("pose"), subject, sensor.poses)
    pose = forward(subject, angles)
    body = flesh(subject, pose, np.inf)
    turn = view(draws("view"), sensor) * np.array([draws("side").choice([1.0, -1.0]), 1.0, 1.0])
    return turned(pose.joints, turn), turned(body.a, turn), turned(body.b, turn), body.radii[:, :2]


def _body(own: np.random.Generator, draws: Draws, sensor: Sensor) -> tuple[Array, Array, Array, Array]:
    body = sample_body(own, sensor.anatomy)
    angles = sample_body_pose(draws("pose"), body, sensor.poses)
    joints = forward_body(body, angles)
    a, b, radii = body_cones(body, angles)
    look = replace(sensor, turn=(sensor.turn[0], 0.3 * sensor.turn[1], 0.1 * sensor.turn[2]), any_yaw=0.0)
    turn = view(draws("view"), look, both_sides=False)
    return turned(joints, turn), turned(a, turn), turned(b, turn), radii


SUBJECTS = {
    "hands": Subject(HAND, _hand, 1.0, 1.0, 1.0, 13.0, 240.0, 25.0),
    "bodies": Subject(UPPER_BODY, _body, 2.0, 3.6, 5.0, 50.0, 1900.0, 170.0),
}


def draw_scene(what: str, look: Sensor, seed: int, index: int, size: int) -> dict[str, Array]:
    """One subject before one camera: points (K, 3) mm, camera (4,) px, cones, and the distance of what is behind."""
    subject, name = _subject(what), f"depth.{what}.{look.name}"
    draws = draws_of(name, seed, index, look.dials is not None)
    joints, a, b, radii = subject.draw(generator(name, seed, 1, index // BLOCK), draws, look)
    rng = draws("frame")
    distance = rng.uniform(*look.distance) * subject.farther
    place = np.array([*(look.off_axis * rng.uniform(-1, 1, 2)), 1.0]) * distance
    middle = (joints.min(0) + joints.max(0)) / 2
    joints, a, b = (values - middle + place for values in (joints, a, b))
    focal = look.focal * size / 128 / subject.binned
    corner = size * (0.5 + rng.uniform(-0.05, 0.05, 2)) - focal * place[:2] / place[2]
    wall = np.array(distance + subject.farther * rng.uniform(150, 900))
    near = joints.mean(0) + subject.miss * rng.standard_normal(3).clip(-2.5, 2.5)
    before = draw_occluders(draws("occluders"), look.occlusion, joints, subject.larger)
    cones = zip((a, short_of_camera(a, b), radii), before, strict=True)
    a, b, radii = (np.concatenate(pair) for pair in cones)
    return {
        "points": joints,
        "center": np.array([*(near[:2] / near[2] * focal + corner), near[2]]),
        "camera": np.array([focal, focal, *corner]),
        "a": a,
        "b": b,
        "radii": radii,
        "wall": wall,
    }


def _subject(what: str) -> Subject:
    return SUBJECTS[_known("subject", what, SUBJECTS)]


def _sensor(name: str | Sensor) -> Sensor:
    return name if isinstance(name, Sensor) else SENSORS[_known("sensor", name, SENSORS)]


def _known(kind: str, name: str, known: dict[str, Any]) -> str:
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(f"rendered depth has no {kind} {name!r}; choose one of {', '.join(known)}.{hint}")
    return name


def render_depth(
    what: str,
    sensor: str | Sensor,
    seed: int,
    indices: Sequence[int],
    size: int = 128,
    device: torch.device | str = "cpu",
) -> dict[str, Array]:
    """B frames by index: `depth` (B, S, S) float32 mm as the sensor reports it, 0 for none; `exact` the same without
    sensor; `camera` (B, 4), `points` (B, K, 3) mm, `keypoints` (B, K, 3) px, px, mm, `visible` (B, K), `center` (B, 3).
    """
    look = _sensor(sensor)
    scenes = [draw_scene(what, look, seed, int(index), size) for index in indices]
    both = {name: np.stack([scene[name] for scene in scenes]).astype(np.float32) for name in scenes[0]}
    a, b, radii, camera = (torch.from_numpy(both[name]).to(device) for name in ("a", "b", "radii", "camera"))
    hits = raycast(Cones(a, b, radii[..., 0].contiguous(), radii[..., 1].contiguous()), camera, size)
    exact, normal = hits.depth.cpu().numpy(), hits.normal.cpu().numpy()
    hit = exact > 0
    exact = np.where(hit, exact, both["wall"][:, None, None])
    cosine = np.where(hit, _cosine(normal, both["camera"], size), 1.0)
    noise = (generator(f"depth.{what}.{look.name}", seed, 3, int(index)) for index in indices)
    measure, binned = look.measure, _subject(what).binned
    frames = zip(exact, cosine, both["camera"][:, 0], noise, strict=True)
    depth = np.stack([measure(d, c, f, binned, rng) for d, c, f, rng in frames]).astype(np.float32)
    points, focal, corner = both["points"], both["camera"][:, None, :2], both["camera"][:, None, 2:]
    keypoints = np.concatenate([points[..., :2] / points[..., 2:] * focal + corner, points[..., 2:]], -1)
    return {
        "depth": depth,
        "exact": exact,
        "camera": both["camera"],
        "points": points,
        "keypoints": keypoints,
        "visible": _visible(keypoints, exact, _subject(what).flesh),
        "center": both["center"],
    }


def _cosine(normal: Array, camera: Array, size: int) -> Array:
    """(B, S, S) of the angle between the surface's normal and the ray."""
    place = np.arange(size) + 0.5
    x = (place[None, None] - camera[:, 2, None, None]) / camera[:, 0, None, None]
    y = (place[None, :, None] - camera[:, 3, None, None]) / camera[:, 1, None, None]
    along = np.abs(normal[..., 0] * x + normal[..., 1] * y + normal[..., 2])
    return along / np.sqrt(x**2 + y**2 + 1)


def _visible(keypoints: Array, exact: Array, flesh: float) -> Array:
    """(B, K) in the frame, and no surface more than `flesh` mm before the joint."""
    size = exact.shape[-1]
    inside = ((keypoints[..., :2] >= 0) & (keypoints[..., :2] < size)).all(-1)
    x, y = np.clip(keypoints[..., :2].astype(int), 0, size - 1).transpose(2, 0, 1)
    surface = exact[np.arange(len(exact))[:, None], y, x]
    return inside & (keypoints[..., 2] - surface < flesh)


@dataclass(frozen=True)
class Options(CubeOptions, RenderedOptions):
    """The options of rendered depth."""


def rendered_depth(options: Options, part: str, what: str, sensor: str | Sensor) -> RenderedDepth:
    """The part of a subject before a sensor, in the cache that the environment names."""
    count, first = options.scenes_of(part)
    return RenderedDepth(what, sensor, count, options.scenes, options.size, first, options.centers, options.cube)


class RenderedDepth(CachedSet):
    """A `PoseDataset` of `count` rendered depth frames, from index `first` on: `what` is hands or bodies, `sensor`
    ideal, structured_light or time_of_flight.

    Rendered once, when the first item is asked for, into memory maps under `cache` (see `cache.cache_root`).
    Every joint is annotated, hidden ones too. Raises ValueError for an unknown subject or sensor, or an empty set.
    """

    def __init__(
        self,
        what: str,
        sensor: str | Sensor,
        count: int,
        seed: int,
        size: int = 128,
        first: int = 0,
        centers: str | None = None,
        cube: float | Sequence[float] | None = None,
        cache: str | Path | None = None,
    ) -> None:
        self.subject, self.sensor = _subject(what), _sensor(sensor)
        if count < 1 or first < 0 or size < 32:
            raise ValueError(f"rendered depth needs count >= 1, first >= 0, size >= 32; got {count}, {first}, {size}")
        if centers not in (None, "threshold", "truth"):
            raise ValueError(
                f"centers={centers!r}: rendered depth has its own (null), threshold, truth, and runs that predict them"
            )
        self.what, self.seed, self.size, self.first = what, seed, size, first
        self.centers, self.skeleton = centers, self.subject.skeleton
        self.cube = np.array(np.broadcast_to(np.asarray(cube or self.subject.cube, float), 3))
        identity = {"name": f"depth_{what}.{self.sensor.name}", "seed": seed, "first": first, "count": count}
        dials = {} if self.sensor.dials is None else {"dials": dict(self.sensor.dials)}
        super().__init__(identity | {"size": size, "version": VERSION} | dials, count, cache)
        self.identity = self.identity | {"centers": centers, "cube": self.cube.tolist()}

    def chunks(self) -> Iterator[dict[str, Array]]:
        numbers = range(self.first, self.first + self.count)

        def make(start: int) -> dict[str, Array]:
            return render_depth(self.what, self.sensor, self.seed, numbers[start : start + CHUNK], self.size)

        for made in in_order(make, range(0, self.count, CHUNK)):
            made["depth"] = (made["depth"] * 5).round().astype(np.uint16)  # fifths of a mm reach 13 m
            yield {name: value for name, value in made.items() if name != "exact"}

    def __getitem__(self, index: int, /) -> Item:
        self.check(index)
        arrays, number = self.arrays(), self.first + index
        keypoints, camera = np.array(arrays["keypoints"][index]), np.array(arrays["camera"][index])
        center = np.array(arrays["center"][index])
        image = arrays["depth"][index].astype(np.float32) / 5
        if self.centers == "truth":
            center = keypoints.mean(0)
        elif self.centers == "threshold":
            center = find_center(image, camera, self.cube, far=8000.0)
        return Item(
            image=image,
            box=cube_box(center, self.cube, camera),
            id=f"{self.name}/{self.seed}/{number:05d}",
            sequence=f"{self.name}/{self.seed}/subject{number // BLOCK:04d}",
            frame=number,
            camera=camera,
            keypoints=keypoints,
            visible=np.array(arrays["visible"][index]),
            annotated=np.ones(len(keypoints), bool),
            points=np.array(arrays["points"][index]),
            center=center,
            cube=self.cube,
        )
