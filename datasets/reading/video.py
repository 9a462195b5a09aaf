"""Frames of video files, decoded by OpenCV (FFmpeg inside), turned as a phone's rotation tag says.

A frame's number is its place among the frames that decoding from the start gives. Neither the container's count nor
OpenCV's seeking is to be trusted with it: a seek goes to number / mean rate, and on clips whose rate varies, as phones
record them, lands tens of frames away. So a video is decoded through once for the time stamps of its frames, which the
cache keeps (datasets/rendered/cache.py), and they tell where a seek has landed. Where the stamps do not rise (MPEG
program streams) a seek decodes from the start.

A video whose frame size changes on the way is refused where OpenCV shows it. OpenCV 5 does not: it scales later frames
to the size of the first. 4.10 repeats old ones, and nothing it says tells; cut such a video where its size changes.
"""

from __future__ import annotations

import math
import os
import threading
import warnings
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..rendered.cache import cache_folder, cache_root, fill, open_arrays
from .images import UnreadableImage, read_image

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
NEAR = 64
"""So many frames ahead are decoded rather than sought."""
MARGINS = (0, 30, 300)
"""Frames that a seek aims before the one wanted: first none, then more while it lands behind it."""
SMALL = (32, 32)
"""Near duplicates are told at this size, where a sensor's noise is averaged away."""
ANNOUNCED = 0.01
"""Share of the announced frames that may be missing before a warning says so: many containers estimate."""

ERRORS = 2
"""OpenCV's log level."""
_LOGGING: Any = getattr(cv2.utils, "logging", cv2)  # there since OpenCV 5

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what FFmpeg prints about broken files our errors say


def is_frame(name: str) -> bool:
    """Whether `name` is of the form clip.mp4#12."""
    video, _, number = name.rpartition("#")
    return video.lower().endswith(VIDEOS) and number.isascii() and number.isdigit()


def frames_of(path: Path, stride: int | None = None, duplicates: float | None = None) -> list[int]:
    """The numbers of a video's frames: every `stride`-th, less near duplicates.

    A frame is a near duplicate where its small grey version differs by less than `duplicates` grey levels (of 0..255,
    mean of the absolute difference) from that of the last frame kept. Warns where fewer frames can be decoded than the
    container announces. Raises UnreadableImage for a file that is no video, ValueError for impossible options.
    """
    stride = 1 if stride is None else stride
    if stride < 1:
        raise ValueError(f"stride={stride} must be at least 1 frame")
    if duplicates is not None and not 0 <= duplicates <= 255:
        raise ValueError(f"duplicates={duplicates} must be a difference of grey levels, 0 to 255, or null")
    count, announced = len(_times(path)), int(_open(path).get(cv2.CAP_PROP_FRAME_COUNT))
    if announced - count > max(2.0, ANNOUNCED * announced):
        warnings.warn(
            f"{path}: {count} of the {announced} frames that it announces can be decoded, it is cut or damaged; "
            f"the {count} are used",
            stacklevel=2,
        )
    return list(range(0, count, stride)) if duplicates is None else list(_distinct(*_key(path), stride, duplicates))


def file_of(name: str) -> str:
    """clip.mp4 of clip.mp4#12; a picture's own name."""
    return name.rpartition("#")[0] if is_frame(name) else name


def read_named(root: Path, name: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of the picture `name` below `root`, or of the frame clip.mp4#12. Raises UnreadableImage."""
    path = root / file_of(name)
    return read_frame(path, int(name.rpartition("#")[2])) if is_frame(name) else read_image(path)


def read_frame(path: Path, number: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB of frame `number`, counted from 0. Raises UnreadableImage naming file and frame.

    Frames asked for in their order are decoded once; another order seeks.
    """
    key = _key(path)
    # A capture that a forked worker inherits shares its place in the file with the parent's; threads share all of it.
    return _reader(*key, os.getpid(), threading.get_ident()).frame(number)


def frames(path: Path) -> Iterator[np.ndarray]:
    """All frames (H, W, 3) uint8 RGB in their order, one in memory at a time. Raises UnreadableImage."""
    capture, size = _open(path), None
    while capture.grab():
        image = _picture(capture, path, size)
        size = image.shape
        yield image
    if size is None:
        raise UnreadableImage(f"cannot read the video {path}: no frame of it can be decoded. Restore the file")


def frame_rate(path: Path) -> float:
    """Frames a second, on average, as the container says. Raises UnreadableImage."""
    return float(_open(path).get(cv2.CAP_PROP_FPS))


def write_video(path: Path, pictures: Iterable[np.ndarray], fps: float, overwrite: bool = False) -> int:
    """Write pictures (H, W, 3) uint8 RGB of one size as an MPEG-4 .mp4, whole or not at all; returns how many.

    MPEG-4 has even sides: a last odd row or column is lost. Raises ValueError for a file that is there unless
    `overwrite`, for no pictures and pictures of several sizes.
    """
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"{path}: a video is written as .mp4; found {path.suffix or 'no suffix'}")
    if not 0 < fps <= 1000:
        raise ValueError(f"fps={fps} must be a number of frames a second, above 0 and up to 1000")
    if path.exists() and not overwrite:
        raise ValueError(f"{path} is there already: remove it, choose another name or overwrite it")
    part = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        count = _encode(part, pictures, fps)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _encode(path: Path, pictures: Iterable[np.ndarray], fps: float) -> int:
    writer, shape, count = cv2.VideoWriter(), None, 0
    try:
        for picture in pictures:
            shape = shape or picture.shape
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape != (*shape[:2], 3) or min(shape[:2]) < 2:
                raise ValueError(
                    f"picture {count} of the video is {picture.dtype} of shape {picture.shape}; expected uint8 "
                    f"({shape[0]}, {shape[1]}, 3), the first one's size"
                )
            if not writer.isOpened():
                code = cv2.VideoWriter.fourcc(*"mp4v")
                writer.open(str(path.absolute()), cv2.CAP_FFMPEG, code, fps, (shape[1], shape[0]))
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            count += 1
    finally:
        writer.release()
    if not count:
        raise ValueError("no pictures to write a video of")
    if (
        not path.is_file() or round(_open(path).get(cv2.CAP_PROP_FRAME_COUNT)) != count
    ):  # the writer itself says nothing
        raise OSError(
            f"the video of {count} pictures could not be written to {path.parent}: is there room on the disk?"
        )
    return count


def _open(path: Path, threads: int | None = None) -> cv2.VideoCapture:
    if not path.is_file():
        raise UnreadableImage(f"no video {path}. Restore the file or remove its entry")
    options = [] if threads is None else [cv2.CAP_PROP_N_THREADS, threads]
    level = _LOGGING.getLogLevel()
    _LOGGING.setLogLevel(ERRORS)  # its warning is our error
    try:
        capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG, options)  # absolute: no name is an address
    except (cv2.error, UnicodeError) as error:
        raise UnreadableImage(f"cannot read the video {path}: {error}") from error
    finally:
        _LOGGING.setLogLevel(level)
    if not capture.isOpened():
        raise UnreadableImage(
            f"cannot read the video {path}: it is truncated, or no video. Restore the file or remove its entry"
        )
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture


def _picture(capture: cv2.VideoCapture, path: Path, size: tuple[int, ...] | None) -> np.ndarray:
    """The frame grabbed last; all must be of one `size`, as boxes and labels are."""
    fine, image = capture.retrieve()
    if not fine:
        raise UnreadableImage(f"cannot read the video {path}: a frame of it is broken")
    if size not in (None, image.shape):
        raise UnreadableImage(f"the frame size of {path} changes from {size} to {image.shape}: cut it into two videos")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _key(path: Path) -> tuple[str, int, int]:
    """What names a video's content here: absolute path, bytes, time of change."""
    try:
        state = path.stat()
    except (OSError, ValueError) as error:
        raise UnreadableImage(f"no video {path}: {error}. Restore the file or remove its entry") from error
    return str(path.absolute()), state.st_size, state.st_mtime_ns


def _times(path: Path) -> np.ndarray:
    """(N,) time stamps in ms of all N frames."""
    return _stamps(*_key(path))


@lru_cache(maxsize=1024)
def _stamps(path: str, size: int, changed: int) -> np.ndarray:
    identity = {"name": "video", "path": path, "size": size, "changed": changed, "opencv": cv2.__version__}
    folder = cache_folder(cache_root(), identity)
    if not folder.is_dir():
        capture, times = _open(Path(path)), []
        while capture.grab():
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
        if not times:
            raise UnreadableImage(f"cannot read the video {path}: no frame of it can be decoded. Restore the file")
        fill(folder, identity, len(times), lambda: [{"times": np.array(times)}])
    return np.array(open_arrays(folder)["times"])


@lru_cache(maxsize=1024)
def _distinct(path: str, size: int, changed: int, stride: int, duplicates: float) -> tuple[int, ...]:
    capture, kept, last, number = _open(Path(path)), [], None, -1
    while capture.grab():
        number += 1
        if number % stride:
            continue
        grey = cv2.cvtColor(_picture(capture, Path(path), None), cv2.COLOR_RGB2GRAY)
        small = cv2.resize(grey, SMALL, interpolation=cv2.INTER_AREA).astype(np.float64)
        if last is None or np.abs(small - last).mean() >= duplicates:
            last = small
            kept.append(number)
    return tuple(kept)


class _Reader:
    """A video that is open. `at` is the number of the frame grabbed last, -1 before the first.

    It decodes in one thread: a worker that is forked inherits it, and could not end threads that it does not have.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.capture, self.at = path, _open(path, threads=1), -1
        self.size: tuple[int, ...] | None = None

    def frame(self, number: int) -> np.ndarray:
        if not self.at <= number <= self.at + NEAR or number < 0:
            self._seek(number)
        while self.at < number:
            self.at += 1
            if not self.capture.grab():
                self._restart()
                raise UnreadableImage(f"cannot read frame {number} of the video {self.path}: it ends or breaks before")
        image = _picture(self.capture, self.path, self.size)
        self.size = image.shape
        return image

    def _restart(self) -> None:
        self.capture, self.at = _open(self.path, threads=1), -1

    def _seek(self, number: int) -> None:
        """Go to frame `number` or before it."""
        times = _times(self.path)
        if not 0 <= number < len(times):
            raise UnreadableImage(f"the video {self.path} has frames 0 to {len(times) - 1}, not {number}")
        rate = self.capture.get(cv2.CAP_PROP_FPS)
        rising = math.isfinite(rate) and bool((np.diff(times) > 0).all())
        for margin in MARGINS if rising else ():
            self.capture.set(cv2.CAP_PROP_POS_FRAMES, round(times[max(number - margin, 0)] * rate / 1000))
            if self.capture.grab():
                stamp = self.capture.get(cv2.CAP_PROP_POS_MSEC)
                self.at = int(np.abs(times - stamp).argmin())
                if self.at <= number and abs(times[self.at] - stamp) < 0.01:
                    return
        self._restart()


@lru_cache(maxsize=8)
def _reader(path: str, size: int, changed: int, process: int, thread: int) -> _Reader:
    return _Reader(Path(path))
