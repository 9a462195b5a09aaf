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


def quadrants(k=0, height=48, width=64):
    """A picture whose corners all differ, so that every turn and mirroring shows."""
    image = np.full((height, width, 3), 40 + k, np.uint8)
    image[: height // 2, : width // 2] = (220, 60, 40)
    image[height // 2 :, : width // 2] = (50, 200, 60)
    image[height // 2 :, width // 2 :] = (60, 70, 210)
    return image


@pytest.mark.parametrize(
    "case",
    [
        *(("a.mts", "libx264", {}), ("a.m2ts", "mpeg2video", {}), ("a.ts", "libx264", {"bf": "2", "g": "12"})),
        *(
            ("a.vob", "mpeg2video", {"bf": "2"}),
            ("a.m2v", "mpeg2video", {}),
            ("a.wmv", "wmv2", {}),
            ("a.flv", "flv", {}),
        ),
        *(("a.3gp", "mpeg4", {}), ("a.MOV", "png", {}), ("a.mxf", "mpeg2video", {}), ("a.h264", "libx264", {})),
        *(("a.webm", "libvpx-vp9", {"g": "15"}), ("a.mkv", "libx264", {"x264-params": "open-gop=1:keyint=10"})),
        ("a.mp4", "libx265", {"x265-params": "log-level=none:keyint=10"}),
    ],
    ids=str,
)
def test_containers_and_codecs(tmp_path, case):
    name, codec, options = case
    path = clip(tmp_path / name, codec, 40, **options)
    assert frames_of(path) == list(range(40))
    wanted = list(frames(path))
    assert [number_of(image) for image in wanted] == list(range(40))
    for k in (33, 5, 21, 39, 0):
        assert np.array_equal(read_frame(path, k), wanted[k])


@pytest.mark.skipif("libsvtav1" not in av.codecs_available, reason="this PyAV has no AV1 encoder")
def test_av1(tmp_path):
    path = clip(tmp_path / "a.mp4", "libsvtav1", 20, pixels="yuv420p10le", preset="8", crf="10")
    assert [number_of(image) for image in frames(path)] == list(range(20))
    assert number_of(read_frame(path, 13)) == 13


def moving(k):
    """A bright block that moves 4 px a frame, on a still pattern."""
    image = numbered(0b1010_0101)
    image[40:48, 4 * k : 4 * k + 8] = 255
    return image


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"flags": "+ildct+ilme", "x264-params": "tff=1:keyint=6", "crf": "10"}),
        ("a.mts", "libx264", {"flags": "+ildct+ilme", "x264-params": "bff=1:keyint=6", "crf": "10"}),
        ("a.mpg", "mpeg2video", {"flags": "+ildct+ilme", "top": "1", "g": "6"}),
        ("a.avi", "ffv1", {"flags": "+ildct", "top": "1"}),
    ],
)
def test_interlaced_material(tmp_path, name, codec, options):
    path = clip(tmp_path / name, codec, 12, moving, **options)
    shown = list(frames(path))
    assert len(shown) == len(frames_of(path)) == 12
    for k, image in enumerate(shown):
        assert np.abs(image.astype(float) - moving(k)).mean() < 6  # and no frame of nothing, or of another's lines
        assert image[24, 60].min() > 150
    for k in (7, 2, 11, 0, 9, 3):
        assert np.array_equal(read_frame(path, k), shown[k])


def test_lines_of_two_moments_are_not_shown_together(tmp_path):
    def comb(k):  # the second field is half a frame later, as a camcorder writes it
        image = moving(2 * k)
        image[1::2] = moving(2 * k + 1)[1::2]
        return image

    options = {"flags": "+ildct+ilme", "x264-params": "tff=1", "crf": "5"}
    path = clip(tmp_path / "a.mp4", "libx264", 6, comb, **options)
    for k, image in enumerate(frames(path)):
        levels = image[40:48, :, 1].astype(float)
        assert (
            np.abs(levels[2:-2:2] - levels[3:-2:2]).max()
            < 0.5 * np.abs(np.diff(comb(k)[40:48, :, 1].astype(float), axis=0)).max()
        )


def display(path, matrix):
    """Set the display matrix of an .mp4 (a, b, c, d of x' = a x + c y, y' = b x + d y)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # of version 0
    a, b, c, d = (round(value * (1 << 16)) & 0xFFFFFFFF for value in matrix)
    data[at : at + 36] = b"".join(n.to_bytes(4, "big") for n in (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((1, 0, 0, 1), lambda image: image),
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((-1, 0, 0, -1), lambda image: image[::-1, ::-1]),
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((0, -1, 1, 0), lambda image: np.rot90(image)),
        ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda image: image[::-1, ::-1].swapaxes(0, 1)),
        ((0, 0, 0, 0), lambda image: image),
        ((2, 0, 0, 2), lambda image: image),
    ],
)
def test_mirrored_and_turned_as_players_show(tmp_path, codec, matrix, shown):
    path = clip(tmp_path / "a.mp4", codec, 3, quadrants)
    stored = read_frame(path, 1)
    assert np.abs(stored.astype(float) - quadrants(1)).mean() < 12
    assert np.array_equal(read_frame(display(path, matrix), 1), shown(stored))


def test_another_turn_is_refused(tmp_path):
    path = display(clip(tmp_path / "a.mp4", count=3), (0.8, 0.6, -0.6, 0.8))
    with pytest.raises(UnreadableImage, match=r"a\.mp4: it is shown turned by an angle that is no quarter turn"):
        read_frame(path, 0)


def test_what_an_edit_list_cuts_away_is_not_shown(tmp_path):
    path = clip(tmp_path / "a.mp4", "libx264", 40, g="10")
    data = bytearray(path.read_bytes())
    at = data.index(b"elst")
    start = int.from_bytes(data[at + 16 : at + 20], "big")
    with av.open(str(path)) as container:
        frame = round(1 / 25 / container.streams.video[0].time_base)
    data[at + 12 : at + 20] = (600).to_bytes(4, "big") + (start + 13 * frame).to_bytes(4, "big")  # 0.6 s from frame 13
    path.write_bytes(data)
    assert frames_of(path) == list(range(15))
    assert [number_of(image) for image in frames(path)] == list(range(13, 28))
    assert number_of(read_frame(path, 9)) == 22


def test_a_recording_that_starts_between_key_frames(tmp_path):
    data = clip(tmp_path / "a.ts", "libx264", 60, g="20").read_bytes()
    path = tmp_path / "b.ts"
    path.write_bytes(data[len(data) // 188 * 2 // 5 * 188 :])
    numbers = [number_of(image) for image in frames(path)]
    assert numbers == list(range(numbers[0], 60))
    assert 20 < numbers[0] <= 40
    assert number_of(read_frame(path, 7)) == numbers[7]


@pytest.mark.parametrize("matrix", [(1, 0.2126, 0.0722), (5, 0.299, 0.114), (9, 0.2627, 0.0593), (2, 0.299, 0.114)])
@pytest.mark.parametrize("full", [False, True])
def test_colours_follow_matrix_and_range(tmp_path, matrix, full):
    space, red, blue = matrix
    r, g, b = 200 / 255, 40 / 255, 20 / 255
    y = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - y) / 2 / (1 - blue), (r - y) / 2 / (1 - red)
    levels = (255 * y, 128 + 255 * u, 128 + 255 * v) if full else (16 + 219 * y, 128 + 224 * u, 128 + 224 * v)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = space, 2 if full else 1
        frame = av.VideoFrame(64, 48, "yuv444p")
        frame.colorspace, frame.color_range = space, 2 if full else 1
        for plane, level in zip(frame.planes, levels, strict=True):
            plane.update(bytes([round(level)]) * (plane.line_size * plane.height))
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert np.abs(read_frame(tmp_path / "a.mkv", 0).astype(float) - (200, 40, 20)).max() < 4


def test_playlists_in_disguise_open_nothing(tmp_path):
    clip(tmp_path / "secret.ts", "mpeg2video", 5)
    texts = (
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.ts\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile secret.ts\n",
    )
    for k, text in enumerate(texts):
        path = tmp_path / f"{k}.mp4"
        path.write_text(text)
        with pytest.raises(UnreadableImage, match="cannot read the video"):
            frames_of(path)


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UnreadableImage, match=r"a\.mp4: it has no pictures"):
        frames_of(path)


def test_damage_is_counted_and_seeks_stay_right(tmp_path):
    data = bytearray(clip(tmp_path / "a.mkv", "libx264", 60, g="10").read_bytes())
    rng = np.random.default_rng(0)
    for at in rng.integers(len(data) // 2, len(data) * 3 // 4, 30):
        data[at] ^= 0xFF
    path = tmp_path / "b.avi"
    path.write_bytes(data)
    with pytest.warns(UserWarning, match=r"b\.avi is cut or damaged: .* its \d+ frames are used"):
        count = len(frames_of(path))
    shown = list(frames(path))
    assert len(shown) == count > 10
    for k in (count - 1, 3, count // 2):
        assert np.array_equal(read_frame(path, k), shown[k])


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"), (b"<html>", "a web page"), (b"x", "no video")],
)
def test_what_came_in_place_of_a_video_is_named(tmp_path, content, said):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(UnreadableImage, match=rf"a\.mp4: it is .*{said}"):
        video.check_video(tmp_path / "a.mp4")
