"""Frames of video files, decoded by OpenCV (FFmpeg inside)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from .images import UnreadableImage

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")


def is_frame(name: str) -> bool:
    """Whether `name` is of the form clip.mp4#12."""
    video, _, number = name.rpartition("#")
    return video.lower().endswith(VIDEOS) and number.isdigit()


def read_frame(path: Path, number: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB of frame `number`, counted from 0. Raises UnreadableImage naming file and frame.

    Frames asked for in their order are decoded once; another order seeks.
    """
    reader = _reader(str(path), path.stat().st_mtime_ns if path.is_file() else 0)
    return reader.frame(number)


class _Reader:
    def __init__(self, path: str) -> None:
        self.path, self.next = path, 0
        self.capture = cv2.VideoCapture(path)
        if not self.capture.isOpened():
            raise UnreadableImage(f"cannot read the video {path}. Restore the file or remove its entry")

    def frame(self, number: int) -> np.ndarray:
        if number < self.next or number > self.next + 64:
            self.capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            self.next = number
        while True:
            fine, image = self.capture.read()
            if not fine:
                self.next = 1 << 62  # whatever comes next seeks
                raise UnreadableImage(f"cannot read frame {number} of the video {self.path}: it ends or breaks before")
            self.next += 1
            if self.next > number:
                return np.ascontiguousarray(image[..., ::-1])


@lru_cache(maxsize=8)
def _reader(path: str, changed: int) -> _Reader:
    return _Reader(path)
