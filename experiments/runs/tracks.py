"""Who is who over a video: each person keeps a number from frame to frame.

The people of a frame are given to those who were seen last so that the sum of their likenesses is highest (the
Hungarian method, scipy's). Likeness is COCO's object keypoint similarity, a mean over keypoints of exp(-d^2 / (2 s^2
k^2)), with the last pose moved on by the person's velocity, and k^2 widened by what a person may move beyond that in
the time between: keypoints need no detector's features for it, and no library. Well-kept ones were looked at: those
that are free to use (supervision, norfair, trackers) match boxes with Kalman filters, and ask for more packages than
these lines; those that learn appearance ask for networks and licences. People who look alike and cross while one of
them is hidden for longer than GAP frames get new numbers, and so does everyone after a cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...adapt.scoring.oks_sigmas import fall_offs
from ...datasets.skeleton import Skeleton
from .prediction_clips import OrderedInputs, recording_of

Array = np.ndarray
RECENT = 0.98
"""What likeness with someone is worth for each frame in which they were not found."""
LEAST = 0.1
"""Likeness of poses, 0 to 1, that can be one person's."""
GAP = 10
"""Frames in a row in which a person may not be found."""
DRIFT, START = 0.08, 0.2
"""What a person moves in a frame beyond a steady motion, share of their size; the same of those who were seen once,
whose motion is not known."""
STEADY = 0.5
"""Weight of the velocity before, in that of now."""


@dataclass
class Seen:
    """M people as they were seen last."""

    points: Array
    """(M, K, 2)"""
    known: Array
    """(M, K) bool"""
    velocity: Array
    """(M, 2) px a frame; NaN of those who were seen once."""
    track: Array
    place: Array
    """(M,) where they were seen, in frames that were looked at."""
    number: Array
    """(M,) the same in frames of the video."""

    def some(self, rows: Array) -> Seen:
        return Seen(**{name: values[rows] for name, values in vars(self).items()})

    def and_more(self, others: Seen) -> Seen:
        return Seen(**{name: np.concatenate([values, vars(others)[name]]) for name, values in vars(self).items()})


class Tracker:
    """Follows the people of one video, frame by frame; it holds those alone who may come again."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.count = 0
        self.sigmas = np.array(fall_offs(skeleton))
        self.forget()

    def forget(self) -> None:
        """Nobody goes on, as after a cut."""
        nobody, keypoints = np.zeros(0, np.int64), len(self.sigmas)
        self.seen = Seen(np.zeros((0, keypoints, 2)), np.zeros((0, keypoints), bool), np.zeros((0, 2)), *3 * [nobody])

    def follow(self, points: Array, known: Array, place: int, number: int) -> Array:
        """The numbers (P,) of the people of a frame, from 0: their `points` (P, K, 2) px, of which some are `known`
        (P, K). `place` counts the frames that are looked at, `number` those of the video; both rise from call to
        call."""
        from scipy.optimize import linear_sum_assignment

        seen = self.seen = self.seen.some(place - self.seen.place <= GAP + 1)
        steps, settled = number - seen.number, np.isfinite(seen.velocity[:, 0])
        moved = seen.points + (np.nan_to_num(seen.velocity) * steps[:, None])[:, None]
        wide = np.where(settled, DRIFT, START) * steps
        alike = likeness(points, known, moved, seen.known, self.sigmas, wide)
        alike *= RECENT ** (place - seen.place - 1)  # of two who would stand here, the one who was not hidden
        mine, theirs = linear_sum_assignment(-alike)
        right = alike[mine, theirs] >= LEAST
        mine, theirs = mine[right], theirs[right]
        track, velocity = np.full(len(points), -1), np.full((len(points), 2), np.nan)
        track[mine] = seen.track[theirs]
        velocity[mine] = self.velocity(points[mine], known[mine], seen.some(theirs), steps[theirs])
        new = np.flatnonzero(track < 0)
        track[new] = self.count + np.arange(len(new))
        self.count += len(new)
        now = Seen(points, known, velocity, track, np.full(len(points), place), np.full(len(points), number))
        self.seen = seen.some(np.setdiff1d(np.arange(len(steps)), theirs)).and_more(now)
        return track

    def velocity(self, points: Array, known: Array, seen: Seen, steps: Array) -> Array:
        """(P, 2) px a frame: of keypoints that are known now and were then."""
        both = (known & seen.known)[..., None]
        moved = ((points - seen.points) * both).sum(1) / np.maximum(both.sum(1), 1) / steps[:, None]
        before = np.where(np.isfinite(seen.velocity), seen.velocity, moved)
        return STEADY * before + (1 - STEADY) * moved


def likeness(points: Array, known: Array, others: Array, others_known: Array, sigmas: Array, wide: Array) -> Array:
    """(P, M) similarity of poses `points` (P, K, 2) and `others` (M, K, 2), 0 to 1, by the keypoints that are known of
    both; `wide` (M,) is added to the others' fall-offs, share of their size."""
    square = np.square(points[:, None] - others[None]).sum(-1)
    area = np.maximum((areas(points, known)[:, None] + areas(others, others_known)[None]) / 2, 1.0)
    spread = np.square(2 * sigmas) + np.square(wide)[:, None]
    both = known[:, None] & others_known[None]
    alike = np.exp(-square / (2 * area[..., None] * spread)) * both
    made: Array = alike.sum(-1) / np.maximum(both.sum(-1), 1)
    return made


def areas(points: Array, known: Array) -> Array:
    """(P,) square px: of a box around the known of `points` (P, K, 2), as wide at least as a quarter of its height, and
    the other way round, for people seen from the side."""
    low = np.where(known[..., None], points, np.inf).min(1, initial=np.inf)
    high = np.where(known[..., None], points, -np.inf).max(1, initial=-np.inf)
    sides = np.where(known.any(1, keepdims=True), high - low, 0.0)
    made: Array = np.maximum(sides, sides[:, ::-1] / 4).prod(1)
    return made


class Following:
    """Numbers the people of one picture after the other, from 0 in each video or folder."""

    def __init__(self, inputs: OrderedInputs, skeleton: Skeleton) -> None:
        self.inputs, self.skeleton = inputs, skeleton
        self.tracker, self.recording, self.shot = Tracker(skeleton), "", -1

    def __call__(self, place: int, rows: Array) -> Array:
        """(P,) of the people `rows` (see `row_type`) of a picture that was read, and comes behind those before."""
        here, shot = recording_of(self.inputs.names[place]), int(self.inputs.shots[place])
        if here != self.recording:
            self.tracker = Tracker(self.skeleton)
        elif shot != self.shot:
            self.tracker.forget()
        self.recording, self.shot = here, shot
        points, known = rows["points"].astype(np.float64), rows["confidence"] > 0
        return self.tracker.follow(points, known, place, self.inputs.numbers[place])
