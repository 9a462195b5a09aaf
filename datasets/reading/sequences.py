"""Sets of 2D keypoints over time, with or without 3D labels: what systems read that lift poses into space.

A sample is a frame of a recording. It has no picture; its box is the whole one, so that the input is the picture,
scaled. Labels are mm along the camera's axes, counted from the skeleton's root (BODY_MM), `points` the same from the
camera. Recordings are kept whole; windows and other frames are cut from them when a sample is read.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from ..options import Options, option
from ..sample import Item
from ..skeleton import Skeleton

Array = np.ndarray
RANDOM = 50
"""Frames that Anatomy3D looks at for the lengths of bones (Chen et al., TCSVT 2021)."""


@dataclass(frozen=True)
class SequenceOptions(Options):
    """Base of the options of sets of 2D sequences."""

    random: int = option(
        RANDOM, "other frames of the recording that a sample shows besides, for the lengths of bones", low=0, high=1e4
    )
    every: int = option(1, "every how many-th frame is a sample; its neighbours in time stay all frames", low=1)


@dataclass(frozen=True)
class Recording:
    """What one camera saw of one person over T frames. Raises ValueError where the arrays do not fit together."""

    name: str
    """The samples' `sequence`."""
    keypoints2d: Array
    """(T, K, 3) x and y in px of the picture and a confidence, 0 where nothing was found."""
    size: tuple[int, int]
    """Width and height of the picture, px."""
    points: Array | None = None
    """(T, K, 3) mm in the camera's frame; None where nobody knows them."""
    camera: Array = field(default_factory=lambda: np.zeros(4))
    """(4,) fx, fy, cx, cy in px, zeros where unknown."""
    frames: Array | None = None
    """(T,) the frames' numbers, rising; None: 0 to T - 1."""

    def __post_init__(self) -> None:
        shape = self.keypoints2d.shape
        fits = len(shape) == 3 and shape[2] == 3 and len(self) > 0
        fits = fits and (self.points is None or self.points.shape == shape)
        if not fits or self.camera.shape != (4,) or (self.frames is not None and self.frames.shape != shape[:1]):
            labels = "no points" if self.points is None else f"points {self.points.shape}"
            raise ValueError(
                f"{self.name}: keypoints2d {shape}, {labels} and camera {self.camera.shape} do not fit together: "
                "(T, K, 3), (T, K, 3) and (4,) are wanted, T at least 1"
            )

    def __len__(self) -> int:
        return len(self.keypoints2d)


class Sequences:
    """A dataset of recordings. `identity` is plain data that names their content exactly."""

    def __init__(
        self,
        name: str,
        skeleton: Skeleton,
        recordings: Sequence[Recording],
        options: SequenceOptions,
        identity: Mapping[str, Any],
    ) -> None:
        """Raises ValueError for labels of a skeleton without a root, and for no recordings."""
        if not recordings:
            raise ValueError(f"{name} holds no recording")
        if skeleton.root is None and any(one.points is not None for one in recordings):
            raise ValueError(f"{name}: poses are counted from a root, and the skeleton {skeleton.name!r} has none")
        self.name, self.skeleton, self.recordings = name, skeleton, tuple(recordings)
        self.random, self.every, self.frames = options.random, options.every, 1
        self.identity: dict[str, Any] = {**identity, "random": self.random, "every": self.every}
        self.starts = np.cumsum([0, *(-(-len(one) // self.every) for one in recordings)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int, /) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self.starts, index, "right")) - 1
        recording, t = self.recordings[number], int(index - self.starts[number]) * self.every
        frame = t if recording.frames is None else int(recording.frames[t])
        width, height = recording.size
        keypoints, known = self.labels(recording, [t])
        return Item(
            image=np.zeros((0, 0, 3), np.uint8),
            box=np.array([0, 0, width, height], np.float32),
            id=f"{recording.name}/{frame:06d}",
            sequence=recording.name,
            frame=frame,
            camera=recording.camera.astype(np.float32),
            keypoints=keypoints[0],
            visible=known & (recording.keypoints2d[t, :, 2] > 0),
            annotated=known,
            points=None if recording.points is None else recording.points[t],
            inputs=self.inputs(recording, t),
            in_camera=True,
            rooted=True,
        )

    def labels(self, recording: Recording, times: Sequence[int] | Array) -> tuple[Array, Array]:
        """Of frames `times` (T,) the poses (T, K, 3) mm from the root, and which keypoints are known (K,)."""
        if recording.points is None:
            return np.zeros((len(times), len(self.skeleton), 3)), np.zeros(len(self.skeleton), bool)
        points = recording.points[times]
        return points - points[:, self.skeleton.root, None], np.ones(len(self.skeleton), bool)

    def inputs(self, recording: Recording, t: int) -> dict[str, Array]:
        """The window around frame `t`, at the recording's ends its last frame again and again, and random frames, which
        are drawn by the recording's name and `t` alone."""
        half = self.frames // 2
        window = np.arange(t - half, t + half + 1).clip(0, len(recording) - 1)
        inputs = {"keypoints2d": recording.keypoints2d[window]}
        if self.random:
            rng = np.random.default_rng([zlib.crc32(recording.name.encode()), t])
            chosen = rng.choice(len(recording), self.random, replace=len(recording) < self.random)
            inputs["random2d"] = recording.keypoints2d[chosen]
            inputs["random3d"] = self.labels(recording, chosen)[0]
        return inputs

    def clips(self, frames: int) -> Self:
        """The same samples with windows of `frames` frames, an odd number."""
        made = copy(self)
        made.frames, made.identity = frames, self.identity | {"frames": frames}
        return made

    def cameras(self) -> Array:
        """(N, 4) the samples' cameras, zeros where unknown."""
        return np.repeat(np.stack([one.camera for one in self.recordings]), np.diff(self.starts), axis=0)
