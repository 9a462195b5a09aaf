"""Videos of rendered subjects: their options, smooth motion, exposure, and clips of frames that follow each other.

Frame t of a video is what stands at time t; everything is a function of (seed, video, time), so that a frame can be
exposed over the times around it. Bars that pass, and how long each frame is exposed, change from frame to frame so
much that neighbours show what one frame hides or smears.
"""

from __future__ import annotations

from copy import copy
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from ..options import BadOption, option
from .hand_scene import generator
from .options import RenderedOptions

Array = np.ndarray
VERSION = 1
"""Raise it when any pixel or label of videos changes: cached sets of another version are rendered anew."""
MARGIN = 8.0
"""Frames before the first and after the last in which motion goes on: the longest exposure."""
STEP = 1.5
"""Pixels that the fastest joint moves from one instant of an exposure to the next, up to `INSTANTS`."""
INSTANTS = 13
BARS = 2
"""The most that pass before one subject."""


@dataclass(frozen=True)
class Video:
    """What the options of videos say, where there are any."""

    frames: int
    speed: float
    smeared: float
    exposure: float
    passing: float

    @property
    def named(self) -> dict[str, Any]:
        """What it adds to a set's identity."""
        return {"video": asdict(self) | {"version": VERSION}}

    def places(self, times: Array, interval: float) -> Array:
        """Where along a row of key values, each an `interval` of frames after the other at speed 1, times lie; from 0
        to `keys(interval)` - 4."""
        return (times + MARGIN) * self.speed / interval

    def keys(self, interval: float) -> int:
        """How many key values a video takes."""
        return int(np.ceil((self.frames - 1 + 2 * MARGIN) * self.speed / interval)) + 4

    def length(self, name: str, seed: int, number: int, frame: int) -> float:
        """For how long (frames) a frame of video `number` of the set `name` is exposed; 0: an instant."""
        rng = generator(name, seed, 9, number * self.frames + frame)
        smeared, share = rng.random() < self.smeared, rng.uniform(0.5, 1)
        return float(self.exposure * share * smeared)


@dataclass(frozen=True)
class VideoOptions(RenderedOptions):
    """Base of the options of rendered sets that come as videos too."""

    video: int = option(
        0,
        "frames of each video: one subject in one place, before one camera and in one light, moves; `train` and `test` "
        "then count frames. 0: pictures that do not follow each other",
        low=0,
        high=100_000,
    )
    speed: float = option(
        1.0, "of videos: how fast subjects move; 1: as people do at 25 frames a second", low=0, high=8
    )
    smeared: float = option(
        0.0, "of videos: share of frames, drawn for each by itself, that motion smears", low=0, high=1
    )
    exposure: float = option(
        1.5,
        "of videos: for how many frames smeared ones are exposed, at most; at least half of it. Labels are of the "
        "middle of that time",
        low=0,
        high=MARGIN,
    )
    passing: float = option(
        0.0,
        f"of videos: share of {BARS} bars that pass before each subject, so fast that what one frame hides its "
        "neighbours show",
        low=0,
        high=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("speed", "smeared", "exposure", "passing"):
            if getattr(self, name) != getattr(type(self), name) and not self.video:
                raise BadOption(
                    f"{name}={getattr(self, name)} is of videos: say how long they are, for example video=16"
                )

    @property
    def moving(self) -> Video | None:
        if not self.video:
            return None
        return Video(self.video, self.speed, self.smeared, self.exposure, self.passing)


def stepped(values: Array, places: Array) -> Array:
    """(N, D) at `places` (N,) along a row of values (K, D): from each to the next in the way in which limbs move from
    one posture to another, with the least jerk. In between lie mixtures of two neighbours alone.

    Flash and Hogan, "The coordination of arm movements", Journal of Neuroscience 5(7), 1985.
    """
    low = np.clip(places.astype(int), 0, len(values) - 2)
    x = np.clip(places - low, 0, 1)[:, None]
    return values[low] + x**3 * (10 - 15 * x + 6 * x**2) * (values[low + 1] - values[low])


def drifting(values: Array, places: Array) -> Array:
    """(N, D) at `places` (N,), from 0 to K - 4, along a row of values (K, D): a uniform cubic B-spline, which never
    stands still; what lies between the values is their mixture."""
    low = np.clip(places.astype(int), 0, len(values) - 4)
    x = (places - low)[:, None]
    weights = ((1 - x) ** 3, 3 * x**3 - 6 * x**2 + 4, 1 + 3 * x + 3 * x**2 - 3 * x**3, x**3)
    return np.sum([weight / 6 * values[low + i] for i, weight in enumerate(weights)], axis=0)


def normals(rng: np.random.Generator, count: int, size: int) -> Array:
    """(count, size) normal numbers cut at two standard deviations: key values of `drifting`."""
    return rng.standard_normal((count, size)).clip(-2, 2)


def turns(angles: Array) -> Array:
    """(N, 3, 3) of (N, 3) radians: about y, then x, then z."""
    (sy, sx, sz), (cy, cx, cz), zero = np.sin(angles).T, np.cos(angles).T, np.zeros(len(angles))
    one = zero + 1
    about_y = np.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], -1).reshape(-1, 3, 3)
    about_x = np.stack([one, zero, zero, zero, cx, -sx, zero, sx, cx], -1).reshape(-1, 3, 3)
    about_z = np.stack([cz, -sz, zero, sz, cz, zero, zero, zero, one], -1).reshape(-1, 3, 3)
    return about_z @ about_x @ about_y


def instants(time: float, length: float, pixels: float) -> Array:
    """The times at which a frame is seen that is exposed for `length` frames around `time`, in which the fastest joint
    moves `pixels` a frame: an odd number, the middle one is `time`."""
    if not length:
        return np.array([time])
    half = int(np.clip(np.ceil(length * pixels / STEP / 2), 1, INSTANTS // 2))
    return time + length * np.linspace(-0.5, 0.5, 2 * half + 1)


class Bars:
    """Round bars that pass before a subject again and again, each across its own length and by more than its width a
    frame; `scale` is the subject's size against a hand's."""

    def __init__(self, rng: np.random.Generator, share: float, points: Array, scale: float = 1.0) -> None:
        """`points` (T, K, 3) mm, the joints in all frames."""
        self.there = rng.random(BARS) < share
        nearest, middle = points[..., 2].min(), points.mean((0, 1))
        depth = np.maximum(nearest - scale * rng.uniform(30, 70, BARS), 0.6 * nearest)
        span = np.ptp(points[..., :2], axis=1).max(-1).mean()
        angle = rng.uniform(0, np.pi, BARS)
        radii = scale * rng.uniform(9, 19, BARS)
        along = np.stack([np.cos(angle), np.sin(angle), rng.uniform(-0.15, 0.15, BARS)], -1)
        self.across = np.stack([-np.sin(angle), np.cos(angle), np.zeros(BARS)], -1)
        self.path = span * rng.uniform(1.3, 1.9, BARS) * depth / middle[2]
        self.pace = 2 * radii * rng.uniform(1.3, 2.2, BARS) * rng.choice([-1.0, 1.0], BARS) / self.path
        self.start = rng.random(BARS)
        self.half = along * span * rng.uniform(0.3, 0.8, (BARS, 1))
        self.middle = middle * (depth / middle[2])[:, None] + 0.3 * span * rng.uniform(-1, 1, (BARS, 1)) * along
        self.radii = np.tile(radii[:, None], 2) * self.there[:, None]

    def pixels(self, focal: float) -> float:
        """How far the fastest moves in the picture in the time of a frame."""
        return float((np.abs(self.pace) * self.path / self.middle[:, 2] * self.there).max() * focal)

    def at(self, time: float) -> tuple[Array, Array, Array]:
        """Ends a, b (BARS, 3) and radii (BARS, 2) mm, 0 of what is not there."""
        way = ((self.start + time * self.pace) % 1 - 0.5) * self.path
        middle = self.middle + way[:, None] * self.across
        return middle - self.half, middle + self.half, self.radii


def panned(around: dict[str, Array], pan: Array) -> dict[str, Array]:
    """What stands behind a subject, as `shading.background` paints it or as a photo, moved by `pan` (2,), shares of the
    picture."""
    from scipy.ndimage import shift

    x, y = pan
    made = dict(around)
    for name in ("wall", "grain", "photo"):
        if name in made and made[name].size:
            cells = made[name].shape[-1] - 1
            made[name] = shift(made[name], (0, y * cells, x * cells), order=1, mode="mirror")
    shapes = made["shapes"].copy()
    shapes[:, :2] += pan
    return made | {"shapes": shapes}


class Filmed:
    """What rendered sets share that may come as videos; rows of their arrays are frames, those of a video together."""

    name: str
    identity: dict[str, Any]
    first: int
    count: int
    video: Video | None
    frames: int = 0
    """Of clips; 0: single pictures."""

    def scene_of(self, row: int) -> tuple[int, int]:
        """The number of the scene that a row shows, of videos that of the video, and which of its frames."""
        if self.video is None:
            return self.first + row, 0
        video, frame = divmod(row, self.video.frames)
        return self.first + video, frame

    def unique(self, row: int) -> int:
        """A number of a row's frame that no other frame has, in whatever part."""
        scene, frame = self.scene_of(row)
        return scene if self.video is None else scene * self.video.frames + frame

    def videos(self) -> range:
        """The numbers of the set's videos; the last may have fewer frames than others."""
        assert self.video is not None
        return range(self.first, self.first - (-self.count // self.video.frames))

    def ordered(self, rows: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """(row, subject) so that of a video the frames of one subject follow each other."""
        if self.video is None:
            return rows
        length = self.video.frames
        return sorted(rows, key=lambda one: (one[0] // length, one[1], one[0]))

    def clips(self, frames: int) -> Self:
        """The same set in clips of `frames` frames (see views.as_clips). Raises ValueError without videos."""
        if self.video is None:
            raise ValueError(
                f"{self.name}: its pictures do not follow each other, so that it gives no clips of {frames} frames. "
                "Say how long its videos are, for example source.video=16 or target.video=16"
            )
        made = copy(self)
        made.frames, made.identity = frames, self.identity | {"frames": frames}
        return made

    def shown(self, images: Array, row: int) -> tuple[Array, dict[str, Array]]:
        """The picture of a row, or the clip around it with its margins."""
        if not self.frames or self.video is None:
            return np.array(images[row]), {}
        start = row - row % self.video.frames
        end = min(start + self.video.frames, self.count)
        around = row + np.arange(self.frames) - self.frames // 2
        return np.array(images[around.clip(start, end - 1)]), {"margins": np.ones(self.frames - 1, np.float32)}
