"""What a 2D detector makes of true keypoints over time: noise that drifts, misses, sides mistaken, joints lost.

All errors are shares of the person's size in the picture, the longer side of the box around the joints, and come and go
over `memory` frames, as those of detectors do: neighbouring frames look alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

Array = np.ndarray
HARD = {"wrist": 1.6, "elbow": 1.2, "ankle": 1.4, "knee": 1.1}
"""How much noisier than others some joints are."""
TAIL = 0.5
"""Standard deviation of the logarithm of how far misses go: beside most stand a few that are far off."""
TRUST = 4.0
"""By how much the confidence falls with the error, in the person's size."""


@dataclass(frozen=True)
class Detector:
    noise: float = 0.0
    """Standard deviation of a joint's place along each axis."""
    memory: float = 0.0
    """Frames over which errors stay alike, the standard deviation of a Gaussian window; 0: each frame has its own."""
    missed: float = 0.0
    """Share of joints that are found elsewhere, with low confidence."""
    reach: float = 0.25
    """How far off these are along each axis, about: the distances have a heavy tail."""
    swapped: float = 0.0
    """Share of frames in which left and right arms, or legs, are taken for each other, with confidence."""
    lost: float = 0.0
    """Share of joints that are not found: their confidence is 0, and they stay where they were last seen."""

    def times(self, factor: float) -> Detector:
        """The same with `factor` times its noise and shares; 0: an exact one."""
        shares = {name: min(factor * getattr(self, name), 0.5) for name in ("missed", "swapped", "lost")}
        return replace(self, noise=factor * self.noise, **shares)

    def detect(self, keypoints: Array, size: tuple[int, int], names: Sequence[str], rng: np.random.Generator) -> Array:
        """(T, K, 3) px and confidence of true keypoints (T, K, 2) called `names`, in a picture of width and height
        `size`: joints that are not in it, or not in front of the camera (NaN), are lost."""
        visible: Array = np.all((keypoints >= 0) & (keypoints < size), axis=-1)
        places = np.where(visible[..., None], keypoints, _middle(keypoints, visible))
        person = np.ptp(places, axis=1).max(-1).clip(1)[:, None, None]
        hard = np.array([HARD.get(name.rpartition("_")[2], 1.0) for name in names])[:, None]
        shape = places.shape
        error = self.noise * hard * drifting(rng, shape, self.memory)
        tail = np.exp(TAIL * drifting(rng, shape[:2], self.memory))[..., None]
        wrong = self.reach * tail * drifting(rng, shape, self.memory)
        error = np.where(self.now(rng, shape[:2], self.missed)[..., None], wrong, error)
        unsure = 2 * self.noise * np.abs(rng.standard_normal(shape[:2]))
        confidence = (1 - TRUST * np.linalg.norm(error, axis=-1) - unsure).clip(0.05, 1)
        seen = np.concatenate([(places + person * error).clip(0, size), confidence[..., None]], -1)
        for limbs in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")):
            mistaken = self.now(rng, (len(seen), 1), self.swapped)[..., None]
            seen = np.where(mistaken, exchanged(seen, names, limbs), seen)
        return held(seen, ~visible | self.now(rng, shape[:2], self.lost))

    def now(self, rng: np.random.Generator, shape: tuple[int, ...], share: float) -> Array:
        """(T, ...) bool: what befalls a `share` of all, for a while at a time."""
        from scipy.special import ndtri

        return drifting(rng, shape, self.memory) > (-ndtri(share) if share > 0 else np.inf)


def drifting(rng: np.random.Generator, shape: tuple[int, ...], memory: float) -> Array:
    """(T, ...) normal numbers of deviation 1 that change over `memory` frames, the first axis."""
    from scipy.ndimage import gaussian_filter1d

    if memory <= 0:
        return rng.standard_normal(shape)
    pad = int(4 * memory) + 1
    smooth = gaussian_filter1d(rng.standard_normal((shape[0] + 2 * pad, *shape[1:])), memory, axis=0)
    window = gaussian_filter1d(np.arange(-pad, pad + 1) == 0, memory, output=np.float64)
    drift: Array = smooth[pad : pad + shape[0]] / np.linalg.norm(window)
    return drift


def exchanged(keypoints: Array, names: Sequence[str], limbs: Sequence[str]) -> Array:
    """Keypoints (T, K, 3) with those of left and right `limbs` in each other's place."""
    order = list(range(len(names)))
    for side, other in (("left", "right"), ("right", "left")):
        for limb in limbs:
            if {f"{side}_{limb}", f"{other}_{limb}"} <= set(names):
                order[list(names).index(f"{side}_{limb}")] = list(names).index(f"{other}_{limb}")
    return keypoints[:, order]


def held(keypoints: Array, lost: Array) -> Array:
    """Keypoints (T, K, 3) where those that are `lost` (T, K) stay where they were last seen, before that where they are
    first seen, with confidence 0."""
    times = np.arange(len(keypoints))[:, None]
    last = np.maximum.accumulate(np.where(lost, -1, times), axis=0)
    first = np.where(lost.all(0), 0, np.argmin(lost, axis=0))
    places = np.take_along_axis(keypoints, np.where(last < 0, first, last)[..., None], 0)
    return np.concatenate([places[..., :2], np.where(lost, 0.0, keypoints[..., 2])[..., None]], -1)


def _middle(keypoints: Array, visible: Array) -> Array:
    """(T, 1, 2) the middle of the visible keypoints of each frame, of a frame without any 0."""
    total = np.where(visible[..., None], keypoints, 0).sum(1, keepdims=True)
    return total / visible.sum(1).clip(1)[:, None, None]
