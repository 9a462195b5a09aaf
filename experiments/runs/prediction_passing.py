"""What becomes of the people of one picture after the other while `keyshift predict` goes on: they get the scores of
their boxes, NMS, and their numbers in a video, and are drawn, on the very pictures that the network saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import Full, Queue
from types import TracebackType

import numpy as np

from ...datasets.skeleton import Skeleton
from .people_nms import Picking
from .prediction_files import Gathering, Predicted, draw_people, widened, write_drawn
from .prediction_inputs import Inputs
from .tracks import Following

WAITING = 16
"""Pictures that wait for the drawing thread before the network waits for it."""


class Painter:
    """A thread that draws. What goes wrong there is raised where the block ends, after the predictions are written; an
    error of the block leaves no video that is cut."""

    def __init__(self, folder: Path, inputs: Inputs, skeleton: Skeleton) -> None:
        self.inputs, self.skeleton = inputs, skeleton
        self.given: Queue[tuple[int, np.ndarray] | BaseException | None] = Queue(WAITING)
        self.thread = ThreadPoolExecutor(1)
        self.work = self.thread.submit(write_drawn, folder, inputs, self.drawn())

    def __enter__(self) -> Painter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.put(error)
        self.thread.shutdown()
        if error is None:
            self.work.result()

    def put(self, given: tuple[int, np.ndarray] | BaseException | None) -> None:
        """A picture's place and its people; an error, or None, is the last."""
        while not self.work.done():
            try:
                self.given.put(given, timeout=1)
                return
            except Full:
                continue

    def drawn(self) -> Iterator[tuple[int, np.ndarray]]:
        while (given := self.given.get()) is not None:
            if isinstance(given, BaseException):
                raise given
            place, rows = given
            yield place, draw_people(self.inputs.picture(place, rows), rows, self.skeleton)


class Passing:
    """Takes candidates as they come, and pictures in their order once all of theirs are there."""

    def __init__(
        self,
        inputs: Inputs,
        keypoints: int,
        crops: bool,
        picking: Picking | None = None,
        following: Following | None = None,
        painter: Painter | None = None,
    ) -> None:
        self.inputs, self.picking, self.following, self.painter = inputs, picking, following, painter
        more = [name for name, known in (("box_score", inputs.boxes), ("track", following)) if known is not None]
        self.people, self.place = Gathering(inputs, keypoints, crops, more), 0
        self.candidates = Gathering(inputs, keypoints, crops)
        self.candidates.expected = 1  # few wait

    def up_to(self, end: int) -> None:
        """All pictures before the place `end`."""
        waiting, row = self.candidates, 0
        places = waiting.rows["place"][: waiting.count]
        for place in range(self.place, end):
            first, row = row, int(np.searchsorted(places, place, "right"))
            if waiting.sizes[place, 0]:
                self.take(place, waiting.rows[first:row])
        waiting.forget(row)
        self.place = max(self.place, end)

    def take(self, place: int, rows: np.ndarray) -> None:
        if self.inputs.boxes is not None and len(rows):
            rows = widened(rows, box_score=self.inputs.boxes[self.inputs.names[place]][:, 4])
        if self.picking is not None:
            rows = self.picking(rows)
        if self.following is not None:
            rows = widened(rows, track=self.following(place, rows))
        if len(rows):
            self.people.add(**{name: rows[name] for name in rows.dtype.names or ()})
        if self.painter is not None:
            self.painter.put((place, rows.copy()))

    def predicted(self) -> Predicted:
        made = self.candidates.predicted()
        return replace(made, rows=self.people.rows[: self.people.count])
