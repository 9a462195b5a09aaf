"""People in the camera's space, drawn: the picture with their skeletons, and beside it the same people from the side
and from above, in metres. Both views have one scale, and share the axis that leads away from the camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from ...datasets.reading.video import file_of
from ...datasets.skeleton import Skeleton
from .drawing import DARK, PAPER, WHITE, Colour, draw

if TYPE_CHECKING:
    from ..runs.prediction_files import Predicted

PEOPLE: tuple[Colour, ...] = (
    *((214, 69, 65), (38, 110, 186), (46, 139, 87), (222, 140, 30), (131, 82, 168)),
    *((0, 148, 160), (196, 78, 138), (122, 92, 62), (110, 120, 20), (70, 80, 110)),
)
GRID: Colour = (222, 222, 218)
INK: Colour = (90, 90, 90)
LOWEST, HIGHEST = 600, 960
"""Pixels of a drawing's height; pictures beyond are drawn smaller or larger."""
LEAST = 2500.0
"""mm of each axis that are shown at least."""
FINE = 2
"""Views are drawn so many times larger and averaged down: OpenCV's thin lines and letters are ragged."""
MARGIN = 0.12
STEPS = (250.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 20000.0, 50000.0)
"""mm between lines of the grid."""


class Stage(NamedTuple):
    """What is shown of the camera's space: low and high (3,) mm."""

    low: np.ndarray
    high: np.ndarray

    @staticmethod
    def around(points: np.ndarray) -> Stage:
        """All `points` (N, K, 3), but for single wild ones among many, and the camera where it is near."""
        flat = points.reshape(-1, 3).astype(np.float64)
        if not len(flat):
            flat = np.array([[-1500.0, -1500.0, 0.0], [1500.0, 1500.0, 4000.0]])
        low, high = np.quantile(flat, [0.002, 0.998], axis=0)
        if low[2] < 1.5 * max(high[2] - low[2], LEAST):
            low[2] = min(low[2], 0.0)
        extent = np.maximum((high - low) * (1 + MARGIN), LEAST)
        middle = (low + high) / 2
        return Stage(middle - extent / 2, middle + extent / 2)


class StageDrawing:
    """Draws the people of one picture after the other. The frames of a video share one stage, and who is who in it
    (`tracks` (N,), -1 in pictures) keeps a colour."""

    def __init__(self, names: Sequence[str], skeleton: Skeleton, tracks: np.ndarray) -> None:
        self.files, self.skeleton, self.tracks = [file_of(name) for name in names], skeleton, tracks
        self.spans: dict[str, tuple[int, int]] = {}
        for place, file in enumerate(self.files):
            self.spans[file] = self.spans.get(file, (place, 0))[0], place + 1
        self.last: tuple[str, Stage] | None = None

    def __call__(self, picture: np.ndarray, predicted: Predicted, place: int) -> np.ndarray:
        points, rows = predicted.points3d, predicted.people(place)
        assert points is not None
        chosen, file = slice(rows.start, rows.stop), self.files[place]
        if self.last is None or self.last[0] != file:
            start, end = (int(predicted.first[end]) for end in self.spans[file])
            self.last = file, Stage.around(points[start:end])
        tracks = self.tracks[chosen]
        numbers = np.where(tracks < 0, np.arange(len(rows)), tracks).tolist()
        colours = [PEOPLE[number % len(PEOPLE)] for number in numbers]
        return draw_stage(picture, predicted.points[chosen], points[chosen], self.last[1], self.skeleton, colours)


def draw_stage(
    picture: np.ndarray,
    points: np.ndarray,
    points3d: np.ndarray,
    stage: Stage,
    skeleton: Skeleton,
    colours: Sequence[Colour],
) -> np.ndarray:
    """The picture with people's `points` (P, K, 2) px, and beside it the two views of `points3d` (P, K, 3) mm."""
    height = int(np.clip(picture.shape[0], LOWEST, HIGHEST)) // 4 * 4
    scale = height / picture.shape[0]
    size = (max(round(picture.shape[1] * scale / 2) * 2, 2), height)
    shown = picture
    if size != picture.shape[1::-1]:
        shown = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    share = np.array(size) / picture.shape[1::-1]
    for person, colour in zip(points, colours, strict=True):
        reach = float(np.ptp(person, 0).max()) * scale
        weight = np.clip(reach / 300, 0.6, 1.5) / max(height / 192, 0.5)
        shown = draw(shown, person * share, skeleton.edges, colour, halo=WHITE, weight=weight)
    return np.concatenate([shown, views(points3d, stage, skeleton, colours, height)], 1)


def views(points: np.ndarray, stage: Stage, skeleton: Skeleton, colours: Sequence[Colour], height: int) -> np.ndarray:
    """People `points` (P, K, 3) mm from the side, above, and from above, below: (height, W, 3)."""
    width = height * 9 // 10 // 2 * 2
    half = height // 2
    extent = stage.high - stage.low
    room = np.array([width - 70, half - 62])
    scale = min(room[0] / extent[2], room[1] / extent[1], room[1] / extent[0])
    side = _view(points, stage, skeleton, colours, (width, half), scale, 1)
    above = _view(points, stage, skeleton, colours, (width, half), scale, 0)
    return np.concatenate([side, above])


def _view(
    points: np.ndarray,
    stage: Stage,
    skeleton: Skeleton,
    colours: Sequence[Colour],
    size: tuple[int, int],
    scale: float,
    down: int,
) -> np.ndarray:
    """One view: z to the right, the axis `down` downwards; `scale` px a mm."""
    width, height = size
    frame = np.array([54, 28, width - 16, height - 34]) * FINE
    canvas = np.full((height * FINE, width * FINE, 3), PAPER, np.uint8)
    middle = (stage.low + stage.high)[[2, down]] / 2
    scale *= FINE

    def place(values: np.ndarray) -> np.ndarray:
        """(..., 2) mm along z and `down` as px."""
        return (values - middle) * scale + (frame[:2] + frame[2:]) / 2

    cv2.rectangle(canvas, frame[:2].tolist(), frame[2:].tolist(), WHITE, cv2.FILLED)
    _grid(canvas, frame, middle, scale)
    inner = canvas[frame[1] : frame[3], frame[0] : frame[2]]
    _camera(inner, place(np.zeros(2)) - frame[:2])
    people = [place(person[:, [2, down]].astype(np.float64)) - frame[:2] for person in points]
    drawn = inner.copy()
    for person, colour in zip(people, colours, strict=True):
        weight = np.clip(scale / FINE * 12, 0.5, 1.2) * FINE / max(inner.shape[0] / 192, 0.5)
        drawn = draw(drawn, person, skeleton.edges, colour, halo=WHITE, weight=weight)
    inner[:] = drawn
    cv2.rectangle(canvas, frame[:2].tolist(), frame[2:].tolist(), INK, FINE, cv2.LINE_AA)
    title = "from the side: y, down" if down else "from above: x, to the right of the camera"
    _write(canvas, f"{title} (m)", (frame[0], frame[1] - 9 * FINE), DARK, 0.42)
    _write(canvas, "z, away from the camera (m)", (frame[0], canvas.shape[0] - 5 * FINE), DARK, 0.42)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)


def _grid(canvas: np.ndarray, frame: np.ndarray, middle: np.ndarray, scale: float) -> None:
    """Lines of whole steps with their metres."""
    step = next((step for step in STEPS if step * scale >= 44 * FINE), STEPS[-1])
    half = (frame[2:] - frame[:2]) / 2 / scale
    for axis in (0, 1):
        first, last = np.ceil((middle - half)[axis] / step), np.floor((middle + half)[axis] / step)
        for number in range(int(first), int(last) + 1):
            at = round((number * step - middle[axis]) * scale + (frame[axis] + frame[axis + 2]) / 2)
            ends = ((at, frame[1]), (at, frame[3])) if axis == 0 else ((frame[0], at), (frame[2], at))
            start, end = ((int(x), int(y)) for x, y in ends)
            cv2.line(canvas, start, end, GRID, FINE)
            text = f"{number * step / 1000:g}"
            wide = 7 * FINE * len(text)
            where = (at - wide // 2, frame[3] + 14 * FINE) if axis == 0 else (frame[0] - wide - 5 * FINE, at + 4 * FINE)
            _write(canvas, text, where, INK, 0.38)


def _camera(inner: np.ndarray, at: np.ndarray) -> None:
    """Where the camera is in view, a dot and the two sides of what it sees, to the right."""
    size = 26 * FINE
    ends = np.array([[size, -size / 2], [0, 0], [size, size / 2]]) + at
    cv2.polylines(inner, [ends.round().astype(np.int32)], False, INK, FINE, cv2.LINE_AA)
    cv2.circle(inner, [int(value) for value in at.round()], 5 * FINE, INK, cv2.FILLED, cv2.LINE_AA)


def _write(canvas: np.ndarray, text: str, at: tuple[int, int], colour: Colour, size: float) -> None:
    place = (int(at[0]), int(at[1]))
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size * FINE, colour, FINE, cv2.LINE_AA)
