import itertools
import multiprocessing
import os
import resource
import signal
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest

from keyshift.datasets.reading import video
from keyshift.datasets.reading.images import UnreadableImage
from keyshift.datasets.reading.video import frame_rate, frames, frames_of, is_frame, read_frame, write_video

COUNT = 150


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))


def numbered(k, height=48, width=64):
    """A picture that shows the number k as eight bright or dark bars."""
    image = np.full((height, width, 3), 30, np.uint8)
    for bit in range(8):
        if k >> bit & 1:
            image[8:40, bit * 8 : bit * 8 + 8] = (220, 200, 180)
    return image


def number_of(image):
    return sum(1 << bit for bit in range(8) if image[24, bit * 8 + 4].mean() > 115)


def clip(path, codec="mpeg4", count=COUNT, picture=numbered, pixels=None, **options):
    """A video of `picture`(0), `picture`(1), … with the codec's `options`."""
    usual = {"mjpeg": "yuvj420p", "png": "rgb24", "ffv1": "yuv420p"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"qscale": "3", **options})
        stream.height, stream.width = picture(0).shape[:2]
        stream.pix_fmt = pixels or usual.get(codec, "yuv420p")
        for k in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(k), format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    "video", [("a.mp4", "mpeg4"), ("a.avi", "mjpeg"), ("a.mkv", "mpeg4"), ("a.mpg", "mpeg1video")], ids=str
)
def test_every_order_gives_the_frames_of_the_sequence(tmp_path, video, capfd):
    path = clip(tmp_path / video[0], video[1])
    capfd.readouterr()
    wanted = list(frames(path))
    assert [number_of(image) for image in wanted] == list(range(COUNT))
    assert frames_of(path) == list(range(COUNT))  # the container of the last announces half of them
    order = [*np.random.default_rng(0).permutation(COUNT), 0, COUNT - 1, 3, 3, 2, 130, 131, 4]
    for k in order:
        image = read_frame(path, int(k))
        assert image.dtype == np.uint8
        assert np.array_equal(image, wanted[k])
    assert capfd.readouterr().err == ""


def varying(path):
    """Make the frame rate of an .mp4 vary: later frames last seven times as long, by its table of durations."""
    data = bytearray(path.read_bytes())
    at = data.index(b"stts")
    assert int.from_bytes(data[at + 8 : at + 12], "big") == 1  # one entry: count, duration
    duration = int.from_bytes(data[at + 16 : at + 20], "big")
    for size_at in (at - 4, *(data.index(name) - 4 for name in (b"stbl", b"minf", b"mdia", b"trak", b"moov"))):
        data[size_at : size_at + 4] = (int.from_bytes(data[size_at : size_at + 4], "big") + 8).to_bytes(4, "big")
    half = COUNT // 2
    table = [2, half, duration // 4, COUNT - half, duration * 7 // 4]
    data[at + 8 : at + 20] = b"".join(n.to_bytes(4, "big") for n in table)
    path.write_bytes(data)
    return path


def test_seeks_are_right_where_the_frame_rate_varies(tmp_path):
    path = varying(clip(tmp_path / "a.mp4"))
    for k in [140, 40, 100, 20, 149, 0, 70, 5]:
        assert number_of(read_frame(path, k)) == k


def test_seeking_does_not_decode_from_the_start(tmp_path, monkeypatch):
    path = clip(tmp_path / "a.avi", "mjpeg")
    read_frame(path, 0)
    monkeypatch.setattr(video._Reader, "_restart", None)  # would be called to decode from the start
    for k in (140, 20, 100):
        assert number_of(read_frame(path, k)) == k


def test_stamps_are_kept_on_disk_until_the_file_changes(tmp_path, monkeypatch):
    path = clip(tmp_path / "a.mp4", count=20)
    assert len(frames_of(path)) == 20
    video._index.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(video, "fill", None)  # would be called to write
        assert len(frames_of(path)) == 20
    clip(path, count=30, picture=lambda k: numbered(k + 50))
    assert len(frames_of(path)) == 30
    assert number_of(read_frame(path, 0)) == 50


def test_stride_and_near_duplicates(tmp_path):
    path = clip(tmp_path / "a.avi", "mjpeg", 40, lambda k: numbered(k // 10 * 3))
    assert frames_of(path, stride=7) == [0, 7, 14, 21, 28, 35]
    assert frames_of(path, duplicates=2.0) == [0, 10, 20, 30]
    assert frames_of(path, stride=4, duplicates=2.0) == [0, 12, 20, 32]
    assert frames_of(path, duplicates=0.0) == list(range(40))
    assert frames_of(path, duplicates=255.0) == [0]
    # Slow change: each frame differs by one level from the one before, which adds up against the last one kept.
    slow = clip(tmp_path / "slow.avi", "mjpeg", 40, lambda k: np.full((48, 64, 3), 60 + k, np.uint8))
    kept = frames_of(slow, duplicates=9.5)
    assert kept[0] == 0
    assert {b - a for a, b in itertools.pairwise(kept)} <= {9, 10, 11}
    for options in ({"stride": 0}, {"duplicates": -1.0}, {"duplicates": float("nan")}):
        with pytest.raises(ValueError, match=next(iter(options))):
            frames_of(path, **options)


def test_a_truncated_video_gives_what_is_there(tmp_path, capfd):
    path = clip(tmp_path / "a.avi", "mjpeg")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.warns(UserWarning, match=r"a\.avi is cut .* it ends (2\.9|3\.)\d* s before .* its 7\d frames are used"):
        there = frames_of(path)
    assert 40 < len(there) < 100
    assert [number_of(read_frame(path, k)) for k in there] == there
    with pytest.raises(UnreadableImage, match=rf"a\.avi has frames 0 to {len(there) - 1}, not 140"):
        read_frame(path, 140)
    assert number_of(read_frame(path, 2)) == 2  # and goes on
    assert capfd.readouterr().err == ""


def test_what_is_no_video(tmp_path, capfd):
    path = tmp_path / "a.mp4"
    whole = clip(tmp_path / "whole.mp4").read_bytes()
    for content in (b"", b"hello" * 1000, whole[: len(whole) // 2]):
        path.write_bytes(content)
        for read in (frames_of, lambda path: next(frames(path)), lambda path: read_frame(path, 0), frame_rate):
            with pytest.raises(UnreadableImage, match=r"cannot read the video .*a\.mp4"):
                read(path)
    for missing in (tmp_path / "b.mp4", tmp_path, tmp_path / "nul\0.mp4"):
        with pytest.raises(UnreadableImage):
            read_frame(missing, 0)
    assert capfd.readouterr().err == ""
    path.write_bytes(whole)
    for number in (-1, 10**30):
        with pytest.raises(UnreadableImage, match="has frames 0 to 149"):
            read_frame(path, number)


def test_a_phone_held_upright(tmp_path):
    path = clip(tmp_path / "a.mp4", count=5)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # of version 0: the matrix
    matrix = [0, 1 << 16, 0, (1 << 32) - (1 << 16), 0, 0, 0, 0, 1 << 30]  # a quarter turn clockwise
    upright = next(frames(path))
    data[at : at + 36] = b"".join(n.to_bytes(4, "big") for n in matrix)
    path.write_bytes(data)
    assert np.array_equal(read_frame(path, 0), np.rot90(upright, -1))
    assert np.array_equal(next(frames(path)), np.rot90(upright, -1))


def test_frames_of_two_sizes_are_refused(tmp_path):
    path = tmp_path / "a.ts"  # transport streams can be written one behind another
    for height in (48, 64):
        clip(tmp_path / "part.ts", "mpeg2video", 5, lambda k, height=height: numbered(k, height))
        with path.open("ab") as file:
            file.write((tmp_path / "part.ts").read_bytes())
    for read in (frames_of, lambda path: read_frame(path, 0), lambda path: list(frames(path))):
        with pytest.raises(
            UnreadableImage, match=r"frame size of .*a\.ts changes from \(48, 64\) to \(64, 64\) at frame \d"
        ):
            read(path)


def _read(path, order, queue):
    queue.put([number_of(read_frame(path, k)) for k in order])


def test_forked_workers_and_threads_do_not_disturb_each_other(tmp_path):
    path = clip(tmp_path / "a.mp4")
    read_frame(path, 10)  # the reader that a fork inherits
    context = multiprocessing.get_context("fork")
    orders = [list(range(11, 140, 3)), list(range(140, 11, -7))]
    queue = context.Queue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on forking a process that has threads
        workers = [context.Process(target=_read, args=(path, order, queue)) for order in orders]
        for worker in workers:
            worker.start()
    assert [number_of(read_frame(path, k)) for k in range(11, 60)] == list(range(11, 60))
    assert sorted(queue.get(timeout=60) for _ in workers) == sorted(orders)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda k: number_of(read_frame(path, k)), range(COUNT))) == list(range(COUNT))


def test_written_videos_are_whole(tmp_path):
    path = tmp_path / "out.mp4"
    assert write_video(path, (numbered(k) for k in range(30)), 29.97) == 30
    assert [number_of(image) for image in frames(path)] == list(range(30))
    assert abs(next(frames(path))[24, 60].astype(float) - 30).max() < 8
    red = tmp_path / "red.mp4"
    write_video(red, [np.full((49, 65, 3), (200, 40, 20), np.uint8)] * 3, 10)  # odd sides lose a row and a column
    assert next(frames(red)).shape == (48, 64, 3)
    assert np.abs(next(frames(red)).mean((0, 1)) - (200, 40, 20)).max() < 6
    assert frame_rate(path) == pytest.approx(29.97, abs=0.01)


def test_nothing_is_left_of_a_video_that_fails(tmp_path):
    path = tmp_path / "out.mp4"

    def breaks():
        yield numbered(0)
        raise KeyError("drawing failed")

    with pytest.raises(KeyError):
        write_video(path, breaks(), 25)
    for pictures, fps, match in (
        ([], 25, "no pictures"),
        ([numbered(0), numbered(0)[:40]], 25, r"picture 1 .*\(40, 64, 3\); expected uint8 \(48, 64, 3\)"),
        ([numbered(0).astype(float)], 25, "picture 0 of the video is float64"),
        ([numbered(0)[..., 0]], 25, "picture 0"),
        ([numbered(0)], 0, "fps=0"),
        ([numbered(0)], float("nan"), "fps=nan"),
    ):
        with pytest.raises(ValueError, match=match):
            write_video(path, pictures, fps)
    with pytest.raises(ValueError, match=r"written as \.mp4"):
        write_video(tmp_path / "out.gif", [numbered(0)], 25)
    assert os.listdir(tmp_path) == []
    write_video(path, [numbered(1)], 25)
    with pytest.raises(ValueError, match="is there already"):
        write_video(path, [numbered(2)], 25)
    with pytest.raises(KeyError):
        write_video(path, breaks(), 25, overwrite=True)
    assert number_of(next(frames(path))) == 1  # what was there stays
    write_video(path, [numbered(2)], 25, overwrite=True)
    assert number_of(next(frames(path))) == 2
    assert sorted(os.listdir(tmp_path)) == ["cache", "out.mp4"]


def test_a_full_disk_is_said(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    limits, action = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"out\.mp4"):
            write_video(tmp_path / "out.mp4", [noise] * 5, 25)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, action)
    assert os.listdir(tmp_path) == []


def test_memory_stays_flat(tmp_path):
    path = clip(tmp_path / "a.avi", "mjpeg", picture=lambda k: numbered(k, 480, 640))
    tracemalloc.start()
    assert sum(1 for _ in frames(path)) == COUNT
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 480 * 640 * 3


def test_names_of_frames():
    assert is_frame("a/clip.MP4#12")
    for name in ("clip.mp4", "clip.mp4#", "a.jpg#3", "clip.mp4#-1", "clip.mp4#²", "clip.mp4#٣", "clip.mp4#1/a.jpg"):
        assert not is_frame(name)
