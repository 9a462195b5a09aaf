"""Frames of video files as a player shows them, decoded by PyAV (which brings its FFmpeg).

A frame's number is its place among the frames that decoding from the start gives, without those that an edit list cuts
away. Neither the container's count nor a seek by rate is to be trusted with it: a phone's frame rate varies. So a video
is decoded through once for the time stamps of its frames, which the cache keeps (datasets/rendered/cache.py), and a
seek is where its stamp says. Where the stamps do not rise, or are missing, a seek decodes from the start.

Interlaced material is deinterlaced, one picture a frame. Display matrices turn and mirror. Colours follow the stream's
matrix and range; where it names none, BT.601 up to 576 lines, else BT.709. Pictures keep the stored pixels: one of
a stream with other than square pixels is not stretched, and HDR is not mapped to another range. Transparency is
dropped. A video whose frame size changes on the way is refused.
"""

from __future__ import annotations

import errno
import os
import threading
import warnings
import weakref
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from ..rendered.cache import cache_folder, cache_root, fill, open_arrays
from .files import stand_in, temporary_of
from .images import UnreadableImage, read_image

VIDEOS = (
    *(".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".ogv", ".vob"),
    *(".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".m2v", ".mod", ".tod", ".mxf", ".dv", ".divx", ".qt", ".h264"),
)
CONTAINERS = "mov,mp4,avi,matroska,webm,mpeg,mpegts,mpegvideo,ogg,asf,flv,mxf,dv,h264,hevc,m4v,live_flv"
"""FFmpeg's formats that are opened; others (playlists, say) would read other files."""
METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
"""Texts of a video are not always UTF-8, which PyAV 19 takes without being asked."""
NEAR = 64
"""So many frames ahead are decoded rather than sought."""
MARGINS = (0, 30, 300)
"""Frames that a seek aims before the one wanted: first none, then more while it lands behind it."""
USUAL_RATE = 25
"""Frames a second, where a container does not say."""
SMALL = (32, 32)
"""Near duplicates are told at this size, where a sensor's noise is averaged away."""
ANNOUNCED = 0.01
"""Share of a video that may be missing or damaged before a warning says so: many containers estimate."""
NO_STAMP = -(2**63)
NO_KEY = -1
SD_LINES = 576
"""Untagged colours are BT.601 up to here, and BT.709 of more lines, as players have it."""
BT709, BT601 = 1, 5
UNTAGGED = (0, 2, 3)
"""Colour matrices of FFmpeg that name none; 0 is that of RGB."""
HDR = (16, 18)
"""Transfer functions PQ and HLG."""
LIMITED, FULL = 1, 2
"""Ranges of levels."""
GONE = "the folder of the pictures is gone; bring it back, and the same command goes on"
Frame = Any
"""av.VideoFrame, of which PyAV's type stubs say too little."""
ONE_THREAD: dict[str, Any] = {"threads": 1} if "threads" in (VideoReformatter.reformat.__doc__ or "") else {}
"""PyAV 14 does not know the word, and takes one thread."""


def is_frame(name: str) -> bool:
    """Whether `name` is of the form clip.mp4#12."""
    video, _, number = name.rpartition("#")
    return video.lower().endswith(VIDEOS) and number.isascii() and number.isdigit()


def frames_of(path: Path, stride: int | None = None, duplicates: float | None = None) -> list[int]:
    """The numbers of a video's frames: every `stride`-th, less near duplicates.

    A frame is a near duplicate where its small grey version differs by less than `duplicates` grey levels (of 0..255,
    mean of the absolute difference) from that of the last frame kept. Warns where the video ends before the time that
    its container announces, and where parts of it are damaged. Raises UnreadableImage for a file that is no video,
    ValueError for impossible options.
    """
    stride = 1 if stride is None else stride
    if stride < 1:
        raise ValueError(f"stride={stride} must be at least 1 frame")
    if duplicates is not None and not 0 <= duplicates <= 255:
        raise ValueError(f"duplicates={duplicates} must be a difference of grey levels, 0 to 255, or null")
    index = _index(*_key(path))
    count = len(index.stamps)
    if index.missing or index.damaged:
        lost = [f"it ends {index.missing:.3g} s before the end that it announces"] if index.missing else []
        lost += [f"{index.damaged} of its packets or frames are damaged"] if index.damaged else []
        warnings.warn(f"{path} is cut or damaged: {', and '.join(lost)}; its {count} frames are used", stacklevel=2)
    return list(range(0, count, stride)) if duplicates is None else list(_distinct(*_key(path), stride, duplicates))


def file_of(name: str) -> str:
    """clip.mp4 of clip.mp4#12; a picture's own name."""
    return name.rpartition("#")[0] if is_frame(name) else name


def read_named(root: Path, name: str, white: int | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB of the picture `name` below `root`, whose `white` is as in `read_image`, or of the frame
    clip.mp4#12. Raises UnreadableImage, or FileNotFoundError where all of `root` is gone: the pictures of a disk that
    was taken away are not broken ones, which are left out."""
    path = root / file_of(name)
    try:
        return read_frame(path, int(name.rpartition("#")[2])) if is_frame(name) else read_image(path, white)
    except UnreadableImage:
        if root.exists():
            raise
        raise FileNotFoundError(errno.ENOENT, GONE, str(root)) from None


def read_frame(path: Path, number: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB of frame `number`, counted from 0. Raises UnreadableImage naming file and frame.

    Frames asked for in their order are decoded once; another order seeks.
    """
    key = _key(path)
    # A reader that a forked worker inherits shares its place in the file with the parent's; threads share all of it.
    return _reader(*key, os.getpid(), threading.get_ident()).picture(number)


def frames(path: Path) -> Iterator[np.ndarray]:
    """All frames (H, W, 3) uint8 RGB in their order, one in memory at a time. Raises UnreadableImage."""
    reader = _Reader(path)
    for number in range(len(reader.index.stamps)):
        yield reader.picture(number)


def frame_rate(path: Path) -> float:
    """Frames a second, on average, as the container says. Raises UnreadableImage."""
    video = _Video(path)
    with video.container:
        stream = video.stream
        return float(stream.average_rate or stream.guessed_rate or USUAL_RATE)


def frame_time(path: Path, number: int) -> float | None:
    """Seconds from the first frame of a video to frame `number`, by their time stamps; None where the frames have none,
    or these do not rise. Raises UnreadableImage."""
    times = _times(*_key(path))
    return None if times is None else float(times[number])


@lru_cache(maxsize=8)
def _times(path: str, size: int, changed: int) -> np.ndarray | None:
    index, video = _index(path, size, changed), _Video(Path(path))
    with video.container:
        base = video.stream.time_base
    return (index.stamps - index.stamps[0]) * float(base) if index.rising and base else None


def count_frames(path: Path) -> int:
    """How many frames a video has. Raises UnreadableImage."""
    return len(_index(*_key(path)).stamps)


def check_video(path: Path) -> None:
    """Raises UnreadableImage for a file that is no video, and for a video that is broken or has no pictures."""
    _index(*_key(path))


def pixel_aspect(path: Path) -> float:
    """Width over height of a stored pixel. Raises UnreadableImage."""
    return _index(*_key(path)).aspect


def is_hdr(path: Path) -> bool:
    """Whether a video's levels are those of a screen of high dynamic range (PQ, HLG). Raises UnreadableImage."""
    return _index(*_key(path)).hdr


def write_video(path: Path, pictures: Iterable[np.ndarray], fps: float, overwrite: bool = False) -> int:
    """Write pictures (H, W, 3) uint8 RGB of one size as an H.264 .mp4, whole or not at all; returns how many.

    Sides are even: a last odd row or column is lost. Raises ValueError for a file that is there unless `overwrite`, for
    no pictures and pictures of several sizes.
    """
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"{path}: a video is written as .mp4; found {path.suffix or 'no suffix'}")
    if not 0 < fps <= 1000:
        raise ValueError(f"fps={fps} must be a number of frames a second, above 0 and up to 1000")
    if path.exists() and not overwrite:
        raise ValueError(f"{path} is there already: remove it, choose another name or overwrite it")
    part = temporary_of(path)
    try:
        count = _encode(part, pictures, fps)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _encode(path: Path, pictures: Iterable[np.ndarray], fps: float) -> int:
    """Encode the pictures into `path`, one in memory at a time."""
    waiting = iter(pictures)
    first = next(waiting, None)
    if first is None:
        raise ValueError("no pictures to write a video of")
    count = 0
    with av.open(str(path.absolute()), "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(10000)
        stream: Any = container.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "veryfast"})
        for picture in chain([first], waiting):
            if picture.dtype != np.uint8 or picture.shape != (*first.shape[:2], 3) or min(first.shape[:2]) < 2:
                raise ValueError(
                    f"picture {count} of the video is {picture.dtype} of shape {picture.shape}; expected uint8 "
                    f"({', '.join(map(str, first.shape[:2]))}, 3), the first one's size"
                )
            height, width = (side // 2 * 2 for side in picture.shape[:2])
            if not count:
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.codec_context.colorspace, stream.codec_context.color_range = BT601, LIMITED
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", **ONE_THREAD)))
            count += 1
        container.mux(stream.encode())
    return count


class _Video:
    """A video that is open, whose frames are decoded in their order."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Raises UnreadableImage for a file that is no video, or has no pictures."""
        if not path.is_file():
            raise UnreadableImage(f"no video {path}. Restore the file or remove its entry")
        options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
        try:
            self.container = av.open(f"file:{path.absolute()}", container_options=options, **METADATA)
            self.stream: Any = self.container.streams.best("video")
        except (av.FFmpegError, ValueError) as error:
            with open(path, "rb") as file:
                other = stand_in(file.read(64))
            kind = other or f"truncated, or no video ({getattr(error, 'strerror', error)})"
            raise UnreadableImage(
                f"cannot read the video {path}: it is {kind}. Restore the file or remove its entry"
            ) from error
        if self.stream is None or self.stream.codec_context is None:
            kind = "it has no pictures" if self.stream is None else "nothing here knows its codec"
            raise UnreadableImage(f"cannot read the video {path}: {kind}. Restore the file or remove its entry")
        self.stream.codec_context.thread_count = threads
        self.stream.codec_context.thread_type = "AUTO"
        self.packets, self.damaged, self.end = 0, 0, NO_STAMP
        """Packets; those that cannot be decoded and damaged frames, after the first frame; where the last packet ends,
        in units of the stream's time base."""

    def frames(self) -> Iterator[Frame]:
        """The frames that can be decoded, in their order, up to where the file breaks off."""
        started = False
        for packet in self._packets():
            try:
                decoded = self.stream.codec_context.decode(packet)
            except (av.FFmpegError, ValueError):
                self.damaged += started
                continue
            for frame in decoded:
                if frame.is_corrupt and not started:  # it refers to what lies before the recording
                    continue
                started = True
                self.damaged += frame.is_corrupt
                yield frame

    def _packets(self) -> Iterator[av.Packet | None]:
        """The packets, and None last, for what the decoder still holds."""
        try:
            for packet in self.container.demux(self.stream):
                if packet.size and packet.pts is not None:
                    self.end = max(self.end, packet.pts + (packet.duration or 0))
                if packet.size:
                    self.packets += 1
                    yield packet
        except (av.FFmpegError, ValueError):
            self.damaged += 1
        yield None

    def missing(self) -> float:
        """Seconds that the container announces and that are not there, once all is read."""
        stream, container = self.stream, self.container
        rate, base = float(stream.average_rate or USUAL_RATE), float(stream.time_base or 0)
        there = 0.0 if self.end == NO_STAMP else (self.end - (stream.start_time or 0)) * base
        announced = (stream.duration or 0) * base
        if stream.frames and "mov" not in container.format.name:  # whose edit lists leave some of them out
            announced, there = stream.frames / rate, max(there, self.packets / rate)
        elif stream.duration is None and len(container.streams) == 1:
            announced = (container.duration or 0) / av.time_base
        gone = announced - there
        return gone if self.end > NO_STAMP and gone > max(4 / rate, ANNOUNCED * announced) else 0.0


class _Index(NamedTuple):
    """What decoding a video once from start to end tells."""

    stamps: np.ndarray
    """(N,) time stamps of its frames, int64 in units of the stream's time base; NO_STAMP where a frame has none."""
    keys: np.ndarray
    """(N,) of key frames a sum over their content, int64; of others NO_KEY."""
    interlaced: bool
    damaged: int
    missing: float
    aspect: float
    hdr: bool

    @property
    def rising(self) -> bool:
        return bool((self.stamps > NO_STAMP).all() and (np.diff(self.stamps) > 0).all())

    def place(self, key: Frame) -> int | None:
        """The number of a key frame, which its content and about its stamp tell: after a seek in an MPEG program stream
        stamps are one frame off."""
        if key.pts is None:
            return None
        about = int(np.searchsorted(self.stamps, key.pts))
        low = max(about - NEAR, 0)
        places = low + np.flatnonzero(self.keys[low : about + NEAR] == _content(key))
        return int(places[np.abs(places - about).argmin()]) if len(places) else None


@lru_cache(maxsize=1024)
def _index(path: str, size: int, changed: int) -> _Index:
    identity = {"name": "video", "path": path, "size": size, "changed": changed, "av": av.__version__}
    folder = cache_folder(cache_root(), identity)
    if not folder.is_dir():
        index = _decoded_once(Path(path), threads=0)
        if index.damaged:  # one thread loses no frame beside a broken one, and reads as a reader does
            index = _decoded_once(Path(path), threads=1)
        rows = {name: np.broadcast_to(value, len(index.stamps)) for name, value in index._asdict().items()}
        fill(folder, identity, len(index.stamps), lambda: [rows])
    arrays = open_arrays(folder)
    rest = {name: values[0].item() for name, values in arrays.items() if name not in ("stamps", "keys")}
    return _Index(np.array(arrays["stamps"]), np.array(arrays["keys"]), **rest)


def _content(frame: Frame) -> int:
    """A sum over every 16th line of a key frame's first plane; NO_KEY of another frame."""
    plane = frame.planes[0]
    if not frame.key_frame or plane.line_size < 1:
        return NO_KEY
    lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[::16, : plane.width]
    return zlib.crc32(lines.tobytes())


def _decoded_once(path: Path, threads: int) -> _Index:
    video, first, interlaced = _Video(path, threads), None, False
    stamps: list[int] = []
    keys: list[int] = []
    with video.container:
        for frame in video.frames():
            first = first or (frame.height, frame.width)
            if (frame.height, frame.width) != first:
                raise UnreadableImage(
                    f"the frame size of {path} changes from {first} to {(frame.height, frame.width)} at frame "
                    f"{len(stamps)}: cut it into two videos"
                )
            stamps.append(NO_STAMP if frame.pts is None else frame.pts)
            keys.append(_content(frame))
            interlaced = interlaced or frame.interlaced_frame
        if not stamps:
            raise UnreadableImage(f"cannot read the video {path}: no frame of it can be decoded. Restore the file")
        aspect = float(video.stream.sample_aspect_ratio or 1)
        hdr = int(video.stream.codec_context.color_trc or 0) in HDR
        return _Index(np.array(stamps), np.array(keys), interlaced, video.damaged, video.missing(), aspect, hdr)


@lru_cache(maxsize=1024)
def _distinct(path: str, size: int, changed: int, stride: int, duplicates: float) -> tuple[int, ...]:
    reader, kept, last = _Reader(Path(path)), [], None
    for number in range(0, len(reader.index.stamps), stride):
        grey = cv2.cvtColor(reader.picture(number), cv2.COLOR_RGB2GRAY)
        small = cv2.resize(grey, SMALL, interpolation=cv2.INTER_AREA).astype(np.float64)
        if last is None or np.abs(small - last).mean() >= duplicates:
            last = small
            kept.append(number)
    return tuple(kept)


class _Reader:
    """A video that is open. `at` is the number of the frame decoded last, -1 before the first.

    It decodes in one thread: many workers read at once.
    """

    def __init__(self, path: Path) -> None:
        self.frame: Frame = None
        self.path, self.index, self.colours = path, _index(*_key(path)), VideoReformatter()
        self.at, self.shift = -1, 0
        self._restart()
        _READERS.add(self)

    def __del__(self) -> None:
        self._close()

    def _close(self) -> None:
        """Free the file now: PyAV's objects refer to each other, and would wait for the garbage collector."""
        if hasattr(self, "video"):
            self.frames = iter(())
            self.video.container.close()

    def picture(self, number: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB of a frame. Raises UnreadableImage."""
        count = len(self.index.stamps)
        if not 0 <= number < count:
            raise UnreadableImage(f"the video {self.path} has frames 0 to {count - 1}, not {number}")
        if not self.at <= number <= self.at + NEAR:
            self._seek(number)
        if not self._advance(number):
            self._restart()
            if not self._advance(number):
                self._restart()
                raise UnreadableImage(f"cannot read frame {number} of the video {self.path}: it breaks before")
        try:
            return _shown(self.frame, self.colours)
        except (av.FFmpegError, ValueError, MemoryError) as error:
            raise UnreadableImage(f"cannot read frame {number} of the video {self.path}: {error}") from error

    def _advance(self, number: int) -> bool:
        """Decode up to frame `number`; False where it does not come."""
        while self.at < number:
            frame = next(self.frames, None)
            if frame is None:
                return False
            self.frame, self.at = frame, self.at + 1
        return not self.index.rising or self.frame.pts == self.index.stamps[number] + self.shift

    def _restart(self) -> None:
        self._close()
        self.video, self.at, self.shift = _Video(self.path), -1, 0
        self._decode_on(self.video.frames())

    def _decode_on(self, frames: Iterator[Frame]) -> None:
        self.frames = _deinterlaced(frames, self.video.stream) if self.index.interlaced else frames

    def _seek(self, number: int) -> None:
        """Go to frame `number` or before it: to the key frame at or before it, as what precedes that one may refer to
        frames that are not decoded. A deinterlaced frame needs the one before it too."""
        before = int(self.index.interlaced)
        for margin in MARGINS if self.index.rising else ():
            try:
                stamp = int(self.index.stamps[max(number - margin - before, 0)])
                self.video.container.seek(stamp, stream=self.video.stream)
            except av.FFmpegError:
                break
            frames = self.video.frames()
            key: Frame = next((frame for frame in frames if frame.key_frame), None)
            place = None if key is None else self.index.place(key)
            if place is not None and place <= number - (before if place else 0):
                self.at, self.shift = place - 1, key.pts - self.index.stamps[place]
                self._decode_on(chain([key], frames))
                if before and place:
                    self.at, _ = place, next(self.frames, None)
                return
        self._restart()


_READERS: weakref.WeakSet[_Reader] = weakref.WeakSet()
_INHERITED: list[_Reader] = []
os.register_at_fork(after_in_child=lambda: _INHERITED.extend(_READERS))
"""A forked worker never frees its parent's readers: it would wait for threads of filters that it does not have."""


@lru_cache(maxsize=8)
def _reader(path: str, size: int, changed: int, process: int, thread: int) -> _Reader:
    return _Reader(Path(path))


def _key(path: Path) -> tuple[str, int, int]:
    """What names a video's content here: absolute path, bytes, time of change."""
    try:
        state = path.stat()
    except (OSError, ValueError) as error:
        raise UnreadableImage(f"no video {path}: {error}. Restore the file or remove its entry") from error
    return str(path.absolute()), state.st_size, state.st_mtime_ns


def _deinterlaced(frames: Iterator[Frame], stream: Any) -> Iterator[Frame]:
    """One full picture for each frame, made where it is interlaced from its lines and its neighbours (yadif)."""
    graph: Any = None
    stamps: deque[int | None] = deque()
    for frame in chain(frames, [None]):
        if graph is None:
            if frame is None:
                return
            graph = _graph(frame, stream)
        graph.push(frame)
        if frame is not None:
            stamps.append(frame.pts)
        while True:
            try:
                picture = graph.pull()
            except (av.BlockingIOError, av.EOFError):
                break
            picture.pts = stamps.popleft()
            yield picture


def _graph(frame: Frame, stream: Any) -> av.filter.Graph:
    graph = av.filter.Graph()
    start = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=stream.time_base)
    filter_, end = graph.add("yadif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")
    start.link_to(filter_)
    filter_.link_to(end)
    graph.configure()
    return graph


def _shown(frame: Frame, colours: VideoReformatter) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a frame as it is shown."""
    matrix = frame.colorspace
    if matrix in UNTAGGED:
        matrix = BT709 if frame.height > SD_LINES else BT601
    full = frame.color_range == FULL or frame.format.name.startswith(("yuvj", "gray"))
    ranges = (FULL, LIMITED) if full else (LIMITED, FULL)  # the second is that of RGB, and must differ
    words = {"src_colorspace": matrix, "dst_colorspace": BT601, **ONE_THREAD}
    words |= dict(zip(("src_color_range", "dst_color_range"), ranges, strict=True))
    picture = colours.reformat(frame, format="rgb24", **words).to_ndarray()
    return _turned(picture, _display_matrix(frame))


def _display_matrix(frame: Frame) -> np.ndarray:
    """(2, 2) that leads from the x and y of the stored picture to those shown."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return np.eye(2, dtype=np.int64)
    return np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2].T.astype(np.int64)


def _turned(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The picture mirrored and turned by quarters as a display matrix (2, 2) says; one of zeros says nothing. Raises
    ValueError for other turns."""
    (a, c), (b, d) = np.where(np.abs(matrix) * 100 < np.abs(matrix).max(), 0, matrix).tolist()
    if (a or d) and (b or c):
        raise ValueError("it is shown turned by an angle that is no quarter turn: turn and encode it anew")
    if b or c:
        picture, a, d = picture.swapaxes(0, 1), c, b
    return np.ascontiguousarray(picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
