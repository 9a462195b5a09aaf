"""What `keyshift predict` reads of pictures that follow each other: for systems of clips the frames around each one
(datasets/clips.py), and where shots begin. Pictures are read once, in their order.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np

from ...datasets.clips import SMALL, Window, is_cut
from ...datasets.reading.video import file_of, is_frame, read_named
from .prediction_inputs import Inputs, Seen


@dataclass
class OrderedInputs(Inputs):
    """Inputs whose `read` is called place by place, in their order."""

    frames: int = 0
    """Of a clip, an odd number; 0: single pictures."""
    shots: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """(P,) numbers from 0, rising, of the shots of pictures that have been read; -1 of others. Pictures of two videos
    or folders are of two shots."""

    ordered = True

    def __post_init__(self) -> None:
        self.shots = np.full(len(self.names), -1)
        self.window = Window(self.root, max(self.frames, 1))
        self.shot, self.last = -1, ("", (0, 0), np.zeros((SMALL, SMALL), np.float32))

    def read(self, place: int) -> Seen:
        name = self.names[place]
        clip, margins = self.window.around(name, lambda one: read_named(self.root, one, self.white))
        middle = clip[len(clip) // 2]
        recording, shape, grey = self.last
        self.last = recording_of(name), middle.image.shape[:2], middle.grey
        self.shot += self.last[:2] != (recording, shape) or is_cut(grey, middle.grey)
        self.shots[place] = self.shot
        return Seen([frame.image for frame in clip], margins if self.frames else None)


def recording_of(name: str) -> str:
    """What pictures that follow each other share: the video of a frame, the folder of a picture."""
    return file_of(name) if is_frame(name) else name.rpartition("/")[0] + "/"


def in_order(inputs: Inputs, frames: int) -> OrderedInputs:
    """The same pictures as clips of `frames` frames, or with 0 alone, read in their order."""
    given = {one.name: getattr(inputs, one.name) for one in fields(Inputs)}
    return OrderedInputs(**given, frames=frames)
