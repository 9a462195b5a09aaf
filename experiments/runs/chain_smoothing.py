"""The roots of a video's people over time: who is who from frame to frame, and a median of each one's distance.

RootNet sees single pictures, and what it tells jitters along the optical axis (users of the reference code ask for a
filter: 3DMPPE_POSENET_RELEASE, issue 36). The median of a person's distance is taken, and each joint moves along its
own ray: where it is in the picture stays as it was.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np

from ...datasets.reading.video import file_of, is_frame

REACH = 1000.0
"""mm that the root of one person moves at most from one frame to the next, RootNet's errors included."""
PATIENCE = 5
"""Frames that a person may be missing."""


def track(roots: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Numbers from 0 of the people whose `roots` (N, 3) mm were seen in `frames` (N,), rising: (N,).

    A frame's people are those of whom the sum of distances to where they were seen last is least, none above REACH.
    """
    from scipy.optimize import linear_sum_assignment

    tracks, last, seen = np.zeros(len(roots), np.int64), np.zeros((0, 3)), np.zeros(0, np.int64)
    for frame in np.unique(frames):
        rows = np.flatnonzero(frames == frame)
        alive = np.flatnonzero(frame - seen <= PATIENCE + 1)
        away = np.linalg.norm(roots[rows, None] - last[alive], axis=-1)
        mine, theirs = linear_sum_assignment(np.minimum(away, REACH))
        near = away[mine, theirs] < REACH
        number = np.full(len(rows), -1)
        number[mine[near]] = alive[theirs[near]]
        new = np.flatnonzero(number < 0)
        number[new] = len(last) + np.arange(len(new))
        last, seen = np.pad(last, ((0, len(new)), (0, 0))), np.pad(seen, (0, len(new)))
        tracks[rows], last[number], seen[number] = number, roots[rows], frame
    return tracks


def running_median(values: np.ndarray, frames: np.ndarray, width: int) -> np.ndarray:
    """The medians of one person's `values` (N,) over the `width` (odd) frames about each of `frames` (N,), rising; of
    those in which the person was seen."""
    half, first = width // 2, int(frames[0])
    line = np.full(int(frames[-1]) - first + 1 + 2 * half, np.nan)
    line[frames - first + half] = values
    windows = np.lib.stride_tricks.sliding_window_view(line, width)[frames - first]
    return np.nanmedian(windows, 1)


def tracks_of(names: list[str], places: np.ndarray, roots: np.ndarray) -> np.ndarray:
    """(N,) the numbers of people in their video, whose `roots` (N, 3) were seen in the pictures `places` (N,), rising;
    -1 in pictures."""
    tracks = np.full(len(places), -1, np.int64)
    for first, last in videos(names):
        rows = slice(*np.searchsorted(places, (first, last)))
        tracks[rows] = track(roots[rows], places[rows])
    return tracks


def smoothed(places: np.ndarray, tracks: np.ndarray, depths: np.ndarray, names: list[str], width: int) -> np.ndarray:
    """`depths` (N,) mm with each person's running median in videos; those in pictures stay."""
    result = np.array(depths, np.float64)
    for first, last in videos(names):
        start, end = np.searchsorted(places, (first, last))
        for number in np.unique(tracks[start:end]):
            rows = start + np.flatnonzero(tracks[start:end] == number)
            result[rows] = running_median(result[rows], places[rows], width)
    return result


def videos(names: list[str]) -> list[tuple[int, int]]:
    """The first frame of each video among pictures, and the one behind its last."""
    spans, place = [], 0
    for _, group in groupby(names, file_of):
        count = sum(1 for _ in group)
        if is_frame(names[place]):
            spans.append((place, place + count))
        place += count
    return spans
