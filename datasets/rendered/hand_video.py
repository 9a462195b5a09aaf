"""What a video of rendered hands is: hands that go from gesture to gesture while they turn and drift, before one camera
that may sway.

Angles of joints follow `video.stepped` between drawn poses, so that they stay within the limits of all joints; turns
and places follow `video.drifting`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from .hand_anatomy import forward, sample_pose, sample_subject, within_limits
from .hand_flesh import Flesh, flesh
from .hand_group import Placed, group_camera, long_armed, place_hand, spheres_of
from .hand_picture import Drawn
from .hand_scene import (
    Draws,
    Hand,
    Style,
    draw_camera,
    draw_cloth,
    draw_colours,
    draw_skin,
    draw_surroundings,
    draws_of,
    generator,
    held,
    sleeve_of,
    turned,
    view,
)
from .occluders import OCCLUDERS, draw_occluders
from .video import Bars, Video, drifting, instants, normals, panned, stepped, turns

Array = np.ndarray
GESTURE, DRIFT = 14.0, 10.0
"""Frames from a pose to the next, and from a key value of turns and places to the next."""
TURN = np.deg2rad([20.0, 17.0, 18.0])
"""Standard deviations of key values about y, x and z."""
WAY = np.array([38.0, 38.0, 22.0])
"""mm, the same of places."""
MOST = 0.92
"""Share of the picture that the joints of all frames of a single hand take at most."""


class MovingHand:
    """A hand in all frames of a video, and what is its own; times are in frames."""

    def __init__(self, own: np.random.Generator, draws: Draws, look: Style, video: Video, right: bool | None) -> None:
        """`own` draws what belongs to the subject, `draws` the rest."""
        self.video, self.subject = video, sample_subject(own, look.anatomy)
        self.skin, self.cloth = draw_skin(own, look), draw_cloth(own)
        rng = draws("pose")
        self.keys = np.stack([sample_pose(rng, self.subject, look.poses)[0] for _ in range(video.keys(GESTURE))])
        either = bool(draws("side").random() < 0.5)
        self.right = either if right is None else right
        self.sleeve = sleeve_of(draws("sleeve"), look)
        self.turn = view(draws("view"), look) * np.array([1.0 if self.right else -1.0, 1.0, 1.0])
        rng, keys = draws("motion"), video.keys(DRIFT)
        self.start = rng.random()
        self.turning, self.going = TURN * normals(rng, keys, 3), WAY * normals(rng, keys, 3)
        self.key = np.array(draws("noise").integers(-(2**31), 2**31), dtype=np.int32)

    def angles(self, times: Array) -> Array:
        """(N, 23) radians."""
        places = self.video.places(times, GESTURE) + self.start
        return np.stack([within_limits(angles) for angles in stepped(self.keys, places)])

    def axes(self, times: Array) -> Array:
        """(N, 3, 3) from the hand's frame to the camera's."""
        return turns(drifting(self.turning, self.video.places(times, DRIFT))) @ self.turn

    def ways(self, times: Array) -> Array:
        """(N, 3) mm from where it is placed to the wrist."""
        return drifting(self.going, self.video.places(times, DRIFT))

    def joints(self, times: Array) -> Array:
        """(N, 21, 3) mm from where it is placed."""
        joints = forward(self.subject, self.angles(times)).joints
        return joints @ self.axes(times).swapaxes(1, 2) + self.ways(times)[:, None]

    def at(self, time: float) -> Hand:
        """Its wrist at the origin, without its way."""
        now = np.array([time])
        pose, turn = forward(self.subject, self.angles(now)[0]), self.axes(now)[0]
        body = flesh(self.subject, pose, self.sleeve)
        a, b, back = (turned(vectors, turn) for vectors in (body.a, body.b, body.back))
        return Hand("video", self.right, turn, turned(pose.joints, turn), Flesh(a, b, body.radii, back))


class PlacedHand:
    """A moving hand at its place before the camera, with what stands and passes before it."""

    def __init__(self, hand: MovingHand, shift: Array, draws: Draws, look: Style, long: bool) -> None:
        times = np.arange(hand.video.frames, dtype=float)
        self.hand, self.shift, self.long = hand, shift, long
        self.points = hand.joints(times) + shift
        """(T, 21, 3) mm in the camera's frame."""
        before = draw_occluders(draws("occluders"), look.occlusion, self.points[len(times) // 2])
        self.standing, self.bars = before, Bars(draws("passing"), hand.video.passing, self.points)
        painted = look.occlusion or hand.video.passing
        self.paint = draw_colours(draws("paint"), OCCLUDERS) if painted else np.zeros((OCCLUDERS, 3))

    def at(self, time: float) -> dict[str, Any]:
        """What a picture holds of it."""
        hand, passing = self.hand.at(time), self.bars.there[:, None]
        if self.long:
            hand = replace(hand, flesh=long_armed(hand.flesh))
        pairs = zip(self.bars.at(time), self.standing, strict=True)
        a, b, radii = (np.where(passing, bar, still) for bar, still in pairs)
        shift = self.shift + self.hand.ways(np.array([time]))[0]
        made = held(hand, shift, (a, b, radii), self.hand.cloth["sleeve"], self.paint)
        return {**made, **self.hand.skin, "weave": self.hand.cloth["weave"], "key": self.hand.key}

    def pixels(self, frame: int, camera: Array) -> float:
        """How far its fastest joint moves in the picture in the frame's time, or half as far as the fastest bar."""
        points = self.hand.joints(frame + np.array([-0.5, 0.5])) + self.shift
        seen = points[..., :2] / points[..., 2:] * camera[:2]
        return float(max(np.linalg.norm(seen[1] - seen[0], axis=-1).max(), self.bars.pixels(camera[0]) / 2))


def frame_moving(rng: np.random.Generator, look: Style, joints: Array, size: int) -> tuple[Array, Array]:
    """As for single pictures, of a hand with `joints` (T, 21, 3) in all frames: in most it fills the picture as
    single pictures do, and in none do its joints lie farther out than they do there."""
    distance = rng.uniform(*look.distance)
    off = look.off_axis * rng.uniform(-1, 1, 2)
    middle = (joints.min(1) + joints.max(1)).mean(0) / 2
    shift = np.array([off[0], off[1], 1.0]) * distance - middle
    points = joints + shift
    seen = points[..., :2] / points[..., 2:]
    low, high = seen.min((0, 1)), seen.max((0, 1))
    all_of, each = (high - low).max(), np.ptp(seen, axis=1).max(-1).mean()
    focal = min(rng.uniform(*look.fill) / each, (MOST + 2 * look.cut) / all_of) * size
    room = max((size - focal * all_of) / 2 - 0.03 * size, 0) + look.cut * size
    centre = size / 2 + room * rng.uniform(-1, 1, 2) - focal * (low + high) / 2
    return np.array([focal, focal, *centre]), shift


def draw_video(
    look: Style, seed: int, number: int, size: int, pictures: tuple[str, ...], video: Video, count: int | None = None
) -> list[list[Drawn]]:
    """All frames of a video, each as what is seen at the instants of its exposure, an odd number, of which the middle
    one is the frame's time. Each has `count` hands (see `hand_group.draw_group`); None: one, which fills the picture.
    """
    name = f"{look.name}/video" if count is None else f"{look.name}/videos of hands"
    draws = draws_of(name, seed, number, True)
    placed = partial(_single, name) if count is None else partial(_several, name, count)
    camera, hands = placed(look, seed, number, size, video)
    around, lens = draw_surroundings(draws, look, size, pictures), draw_camera(draws, look, size)
    sway = look.shake * normals(draws("sway"), video.keys(DRIFT), 2)
    frames = []
    for frame in range(video.frames):
        key = generator(name, seed, 10, number * video.frames + frame).integers(-(2**31), 2**31)
        noise = {**lens, "key": np.array(key, dtype=np.int32)}
        fastest = max(hand.pixels(frame, camera) for hand in hands)
        exposed: list[Drawn] = []
        for time in instants(frame, video.length(name, seed, number, frame), fastest):
            pan = drifting(sway, video.places(np.array([time]), DRIFT))[0]
            behind = panned(around, pan) if look.shake else around
            drawn = [hand.at(time) for hand in hands]
            if count == 0:
                drawn[0]["radii"] = np.zeros_like(drawn[0]["radii"])
            exposed.append(({"camera": camera + np.array([0, 0, *(pan * size)]), **behind, **noise}, drawn))
        frames.append(exposed)
    return frames


def _hand(
    name: str, look: Style, seed: int, number: int, video: Video, slot: int, right: bool | None
) -> tuple[Draws, MovingHand]:
    """The hand of a slot, and what the rest of it is drawn from; two hands share a subject."""
    own = generator(f"{name}/subject{slot // 2}", seed, 1, number)
    draws = draws_of(f"{name}/hand{slot}", seed, number, True)
    return draws, MovingHand(own, draws, look, video, right)


def _single(name: str, look: Style, seed: int, number: int, size: int, video: Video) -> tuple[Array, list[PlacedHand]]:
    """The camera (4,) and the one hand that fills the picture."""
    draws, hand = _hand(name, look, seed, number, video, 0, None)
    joints = hand.joints(np.arange(video.frames, dtype=float))
    camera, shift = frame_moving(draws("frame"), look, joints, size)
    return camera, [PlacedHand(hand, shift, draws, look, False)]


def _several(
    name: str, count: int, look: Style, seed: int, number: int, size: int, video: Video
) -> tuple[Array, list[PlacedHand]]:
    """The camera (4,) and several hands, placed so that they leave each other room at first, in the middle, at last."""
    camera = group_camera(draws_of(name, seed, number, True)("frame"), look, size, count)
    times = np.array([0.0, video.frames // 2, video.frames - 1])
    hands: list[PlacedHand] = []
    placed: list[Placed] = []
    for slot in range(max(count, 1)):
        right = None if slot % 2 == 0 else not hands[-1].hand.right
        draws, hand = _hand(name, look, seed, number, video, slot, right)
        ways, still = hand.ways(times), hand.at(times[1])
        along = [spheres_of(long_armed(hand.at(time).flesh)) for time in times]
        centres = np.concatenate([one + way - ways[1] for (one, _), way in zip(along, ways, strict=True)])
        radii = np.concatenate([one for _, one in along])
        placed.append(place_hand(draws("frame"), look, still, (centres, radii), camera, size, placed))
        hands.append(PlacedHand(hand, placed[-1].shift - ways[1], draws, look, True))
    return camera, hands
