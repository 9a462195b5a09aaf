"""What a video of rendered people is: persons who walk, run, go from pose to pose of one family, or do what a BVH clip
says, before one camera that may sway, in one room and light.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np

from .hand_scene import generator
from .motion import LIFTED, Motion, motion_stance, rotations, sampled
from .people_room import casters_of
from .people_scene import draw_setting, gathered
from .people_stage import Standing, View, draw_places, people_in, stand, yawed
from .people_styles import PeopleStyle
from .person_anatomy import LEGS, Person, place_person, sample_person, within_person_limits
from .person_clothes import Outfit, sample_outfit
from .person_flesh import PERSON_PARTS
from .person_poses import GAIT, STRIDE, Stance, clear_of_flesh, draw_family, draw_stride, stance_of
from .video import BARS, Bars, Video, drifting, instants, normals, panned, stepped

Array = np.ndarray
RATE = 25.0
"""Frames a second at speed 1."""
POSE, DRIFT = 18.0, 12.0
"""Frames from a pose to the next, and from a key value of what never rests to the next."""
RESTLESS, TURNING = np.deg2rad(2.0), np.deg2rad(10.0)
"""Standard deviations of key values of all joints, and of where a person faces."""
PERIOD, LENGTH, RADIUS = {False: 27.0, True: 19.0}, {False: 1350.0, True: 1900.0}, {False: 900.0, True: 1700.0}
"""Of a stride, walking and running: frames, and mm of somebody of 1.70 m; and mm of the circle of who goes far."""
STRAIGHT = 2500.0
"""mm that somebody goes nearly straight on; who goes farther does so in a circle, to stay before the camera."""
TRIES, MOVED, ROLLED = 8, np.deg2rad(6.0), np.deg2rad(60.0)
"""Draws of a next pose, of which the first is taken to which the way leads past the body: where flesh is in the way,
joints are moved by more than MOVED. The trunk turns by no more than ROLLED."""
SCALE = 6.0
"""A person against a hand."""
LOW = ("pelvis", "buttock", "thigh", "knee", "calf", "shin", "heel", "instep", "foot")
SETTLED = ("stand", "gesture", "sit", "floor", "kneel", "lie")
"""Families whose feet and pelvis stay where they are, while trunk, head and arms move."""
BEARING = np.array([name.split("_")[0] in LOW for name in PERSON_PARTS])
"""(N,) the parts of their flesh that stand on the floor: a hand on its way beneath it lifts nobody."""


@cache
def curves() -> dict[str, Callable[[float], np.ndarray]]:
    """`GAIT` by name, smooth: degrees at a phase."""
    from scipy.interpolate import CubicSpline

    return {name: CubicSpline(STRIDE, values, bc_type="periodic") for name, values in GAIT.items()}


class Act(Protocol):
    """What a person does; times are frames."""

    def stance(self, time: float) -> Stance: ...

    def facing(self, time: float) -> float:
        """Radians about the vertical, from where the person faces."""
        ...

    def way(self, time: float) -> Array:
        """(2,) x and z mm from where the person stands in the mean."""
        ...


class Striding:
    """Walking or running, straight on or in a circle."""

    def __init__(self, rng: np.random.Generator, person: Person, video: Video, running: bool) -> None:
        self.person, self.stride = person, draw_stride(rng, running)
        pace = video.speed / PERIOD[running]
        self.pace, self.length = pace, LENGTH[running] * self.stride.size * person.body.stature / 1700
        far = self.length * pace * video.frames
        self.radius = rng.choice([-1, 1]) * (3000 + 6000 * rng.random() if far < STRAIGHT else RADIUS[running])
        self.middle = np.zeros(2)
        self.middle = np.mean([self.way(time) for time in range(video.frames)], axis=0)

    def stance(self, time: float) -> Stance:
        stride, phase = self.stride, self.stride.phase + time * self.pace
        angles = stride.angles(phase, lambda at, name: float(curves()[name](at)))
        # Runners leave the floor twice a stride.
        lift = stride.lift * (1 - np.cos(4 * np.pi * phase)) / 2
        pose = place_person(self.person, within_person_limits(angles))
        return Stance(pose, stride.root, float(lift), False, "run" if stride.running else "walk")

    def facing(self, time: float) -> float:
        return float(time * self.pace * self.length / self.radius)

    def way(self, time: float) -> Array:
        angle = self.facing(time)
        return self.radius * np.array([-np.cos(angle), np.sin(angle)]) - self.middle


class Posing:
    """From pose to pose of one family, never quite at rest."""

    def __init__(self, rng: np.random.Generator, person: Person, video: Video, family: str) -> None:
        self.person, self.video, self.family = person, video, family
        keys = [stance_of(rng, person, family)]
        while len(keys) < video.keys(POSE):
            keys.append(_next_stance(rng, person, keys[-1]))
        self.seat = keys[0].seat
        self.keys = np.stack([np.concatenate([key.angles, key.root.ravel(), [key.lift]]) for key in keys])
        sizes = np.append(np.full(26, RESTLESS), TURNING)
        if family in SETTLED:
            sizes[LEGS[0].start :] = 0
        self.restless = normals(rng, video.keys(DRIFT), 27) * sizes
        self.start = rng.random()

    def _drift(self, time: float) -> Array:
        return drifting(self.restless, self.video.places(np.array([time]), DRIFT))[0]

    def stance(self, time: float) -> Stance:
        (now,) = stepped(self.keys, self.video.places(np.array([time]), POSE) + self.start)
        angles = within_person_limits(now[:26] + self._drift(time)[:26])
        root = rotations(now[26:35].reshape(3, 3))
        return Stance(place_person(self.person, angles), root, float(now[35]), self.seat, self.family, angles)

    def facing(self, time: float) -> float:
        return float(self._drift(time)[26])

    def way(self, time: float) -> Array:
        return np.zeros(2)


def _next_stance(rng: np.random.Generator, person: Person, last: Stance) -> Stance:
    """A pose of the same family to which limbs come past the body, as far as `TRIES` draws find it; else the last."""
    least, best = np.inf, last
    for _ in range(TRIES):
        other = _settled(person, last, stance_of(rng, person, last.family))
        moved = _in_the_way(person, last, other)
        if moved < least:
            least, best = moved, other
        if moved < MOVED:
            break
    return best


def _settled(person: Person, last: Stance, other: Stance) -> Stance:
    """The other pose, of `SETTLED` families with the last one's pelvis and legs; the last where flesh is in the way."""
    if last.family not in SETTLED:
        return other
    assert last.angles is not None
    assert other.angles is not None
    upper, legs = slice(0, LEGS[0].start), slice(LEGS[0].start, None)
    angles = clear_of_flesh(person, np.concatenate([other.angles[upper], last.angles[legs]]))
    return last if angles is None else replace(last, angles=angles, pose=place_person(person, angles))


def _in_the_way(person: Person, last: Stance, other: Stance) -> float:
    """By how much (radians) some joint must be moved between two poses, as flesh is in its way; infinite where that
    does not do, or the trunk turns over."""
    assert last.angles is not None
    assert other.angles is not None
    if np.trace(last.root.T @ other.root) < 1 + 2 * np.cos(ROLLED):
        return np.inf
    moved = 0.0
    for share in (0.3, 0.5, 0.7):
        between = within_person_limits(last.angles + share * (other.angles - last.angles))
        clear = clear_of_flesh(person, between)
        moved = max(moved, np.inf if clear is None else float(np.abs(clear - between).max()))
    return moved


class Captured:
    """A part of a BVH clip, at the clip's own rate; whom a clip leads far about walks in smaller steps. A clip that is
    shorter than the video stands still at its end."""

    def __init__(self, rng: np.random.Generator, person: Person, video: Video, clips: tuple[Motion, ...]) -> None:
        self.person, self.clip = person, clips[int(rng.integers(len(clips)))]
        self.pace, end = video.speed / RATE, (len(self.clip) - 1) * self.clip.seconds
        self.start = rng.uniform(0, max(end - (video.frames - 1) * self.pace, 0))
        self.leg = person.body.lengths["thigh"] + person.body.lengths["shank"]
        ways = self.at(np.arange(video.frames)).place[:, [0, 2]] * self.leg
        self.share, self.middle = min(1.0, STRAIGHT / max(np.ptp(ways, axis=0).max(), 1.0)), ways.mean(0)

    def at(self, times: Array) -> Motion:
        """The clip at times of the video (F,)."""
        return sampled(self.clip, (self.start + times * self.pace).clip(0))

    def stance(self, time: float) -> Stance:
        now = self.at(np.array([time]))
        made = motion_stance(self.person, now, 0)
        # Of single frames what is no jump stands on the floor; here nobody is to be lifted all at once.
        return replace(made, lift=max(float(now.lift[0]) * self.leg - LIFTED, 0.0))

    def facing(self, time: float) -> float:
        return 0.0

    def way(self, time: float) -> Array:
        return self.share * (self.at(np.array([time])).place[0, [0, 2]] * self.leg - self.middle)


def draw_act(
    rng: np.random.Generator, person: Person, look: PeopleStyle, video: Video, clips: tuple[Motion, ...]
) -> Act:
    """What a person does in a video: what a clip says, where there are any, else a family of the style's poses."""
    if clips:
        return Captured(rng, person, video, clips)
    family = draw_family(rng, look.poses)
    if family in ("walk", "run"):
        return Striding(rng, person, video, family == "run")
    return Posing(rng, person, video, family)


class Actor(NamedTuple):
    """A person in a video."""

    person: Person
    outfit: Outfit
    act: Act
    yaw: float
    spot: Array
    """(2,) x and z mm."""

    def at(self, time: float) -> Standing:
        way = self.act.way(time)
        x, _, z = yawed(self.yaw) @ np.array([way[0], 0, way[1]])
        facing, stance = self.yaw + self.act.facing(time), self.act.stance(time)
        bearing = BEARING if stance.family in SETTLED else None
        return stand(self.person, self.outfit, stance, facing, self.spot + np.array([x, z]), bearing)


def draw_actors(
    look: PeopleStyle, seed: int, number: int, focal: tuple[float, float], clips: tuple[Motion, ...], video: Video
) -> tuple[View, list[Actor]]:
    """The camera and the people of a video."""
    name, drawn = f"people.{look.name}/video", []
    for slot in range(people_in(look, seed, number)):
        rng = generator(name, seed, 32 + slot, number)
        person, outfit = sample_person(rng, look.children), sample_outfit(rng, look.tone, look.varied)
        drawn.append((person, outfit, draw_act(rng, person, look, video, clips)))
    rng = generator(name, seed, 2, number)
    stances = [act.stance(video.frames // 2) for *_, act in drawn]
    view, spots = draw_places(rng, look, seed, focal, stances)
    return view, [Actor(*one, rng.uniform(-np.pi, np.pi), spot) for one, spot in zip(drawn, spots, strict=True)]


class Exposed(NamedTuple):
    """A frame of a video."""

    instants: list[dict[str, Any]]
    """What is to be seen while it is exposed, an odd number, of which the middle one is the frame's time; as
    `people_scene.draw_scene`."""
    key: Array
    """Of the camera's noise; those of the instants are of what does not change, as cloth."""


class Film:
    """All that the frames of a video share, and what is to be seen at any time of it."""

    def __init__(
        self,
        look: PeopleStyle,
        seed: int,
        number: int,
        size: int,
        focal: tuple[float, float],
        zoom: float,
        pictures: tuple[str, ...],
        clips: tuple[Motion, ...],
        video: Video,
    ) -> None:
        """As `people_scene.draw_scene`."""
        self.name, self.seed, self.number = f"people.{look.name}/video", seed, number
        self.view, self.actors = draw_actors(look, seed, number, focal, clips, video)
        self.video, self.size, self.focal = video, size, self.view.focal * zoom * size
        people = [actor.at(video.frames // 2) for actor in self.actors]
        self.things, self.shared = draw_setting(self.name, look, seed, number, size, self.view, people, pictures)
        rng = generator(self.name, seed, 11, number)
        self.sway = look.shake * normals(rng, video.keys(DRIFT), 2)
        times = range(video.frames)
        tracks = [np.stack([self.joints(actor, time) for time in times]) for actor in self.actors]
        self.bars = [Bars(rng, video.passing, points, SCALE) for points in tracks] if video.passing else []

    def joints(self, actor: Actor, time: float) -> Array:
        """(29, 3) mm in the camera's frame."""
        one = actor.at(time)
        return self.view.points(one.world(one.stance.pose.joints))

    def pixels(self, frame: int) -> float:
        """How far the fastest joint moves in the picture in a frame's time, or half as far as the fastest bar."""
        ends = (np.stack([self.joints(actor, frame + half) for actor in self.actors]) for half in (-0.5, 0.5))
        first, last = (points[..., :2] / points[..., 2:].clip(100) * self.focal for points in ends)
        bars = (bar.pixels(self.focal) / 2 for bar in self.bars)
        return float(max(np.linalg.norm(last - first, axis=-1).max(), *bars, 0))

    def at(self, time: float) -> dict[str, Any]:
        """All that a picture of an instant is made from."""
        people = [actor.at(time) for actor in self.actors]
        cones, worn = gathered(self.view, people, BARS * len(self.bars))
        bars = zip(*(bar.at(time) for bar in self.bars), strict=True) if self.bars else ([], [], [])
        for key, thing, bar in zip(("a", "b", "radii"), self.things, bars, strict=True):
            cones[key] = np.concatenate([cones[key], thing, *bar])
        pan = drifting(self.sway, self.video.places(np.array([time]), DRIFT))[0]
        return {
            **(panned(self.shared, pan) if pan.any() else self.shared),
            **cones,
            **worn,
            "points": np.stack([self.view.points(one.world(one.stance.pose.joints)) for one in people]),
            "camera": np.array([self.focal, self.focal, *(self.size / 2 + pan * self.size)]),
            "casters": casters_of(people),
        }

    def frames(self) -> Iterator[Exposed]:
        """All frames, in their order."""
        for frame in range(self.video.frames):
            rng = generator(self.name, self.seed, 10, self.number * self.video.frames + frame)
            length = self.video.length(self.name, self.seed, self.number, frame)
            times = instants(frame, length, self.pixels(frame) if length else 0.0)
            key = np.array(rng.integers(-(2**31), 2**31), dtype=np.int32)
            yield Exposed([self.at(time) for time in times], key)
