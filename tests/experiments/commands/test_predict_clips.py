"""Systems of clips over videos and folders of frames: which frames a network sees around each, and how often a frame is
decoded."""

import errno
import json
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import torch

from keyshift.datasets.reading import boxes, turns, video
from keyshift.datasets.reading.video import frames, frames_of, write_video
from keyshift.datasets.skeleton import Skeleton
from keyshift.experiments.commands.predict import predict
from keyshift.experiments.runs import prediction_inputs, prediction_passing
from keyshift.experiments.runs.prediction_clips import OrderedInputs
from keyshift.experiments.runs.prediction_files import draw_people
from keyshift.experiments.runs.progress import Reporter
from keyshift.models.saved import MODELS, save_model

RGB = Skeleton("rgb", ("left_dot", "green_dot", "right_dot"), ((0, 1), (1, 2)), ((0, 2),), {"all": (0, 1, 2)})
BITS, BAR = 10, 6
WIDTH, HEIGHT = BITS * BAR, 44
"""Of pictures; with the square about them, 60 px, the network's input of 60x60 has the same pixels."""
TOP = (WIDTH - HEIGHT) // 2


def numbered(number, shot=0):
    """A picture that shows a number as bars at its top, above the scene of its shot."""
    scene = np.random.default_rng(shot).uniform(30, 220, (6, 8)).astype(np.float32)
    scene = cv2.resize(scene, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).clip(0, 255)
    image = np.repeat(scene[..., None], 3, 2).astype(np.uint8)
    for bit in range(BITS):
        image[:8, bit * BAR : (bit + 1) * BAR] = 235 if number >> bit & 1 else 20
    return image


def number_of(picture):
    """The number that a picture (3, H, W) shows that the network saw."""
    bars = (picture[:, TOP + 2 : TOP + 5, bit * BAR + 2 : bit * BAR + 4] for bit in range(BITS))
    return sum(1 << bit for bit, bar in enumerate(bars) if bar.mean() > 128)


@pytest.fixture
def clips(tmp_path, monkeypatch, brightest):
    """(weights of a network of clips of 5 frames, what it saw: (numbers of the frames, margins) of each person)."""
    seen = []

    class Watcher(brightest):
        frames = 5
        reads = ("image", "margins")

        def features(self, sample):
            for clip, margins in zip(sample.image, sample.inputs["margins"], strict=True):
                seen.append(([number_of(one.float()) for one in clip], margins.tolist()))
            return sample.image[:, 2].float()

        def example(self, name, batch):
            return torch.ones(batch, 4)

    monkeypatch.setitem(MODELS, "watcher", Watcher)
    save_model(tmp_path / "weights.pt", Watcher(3, Watcher.Options(input_size=[WIDTH, WIDTH])), RGB, 1)
    return tmp_path / "weights.pt", seen


@pytest.fixture
def decoded(monkeypatch):
    """The stamps of the frames that are decoded, once a video's index is there (see datasets/reading/video.py)."""
    stamps, true = [], video._Video.frames

    def counting(self):
        for frame in true(self):
            stamps.append(frame.pts)
            yield frame

    monkeypatch.setattr(video._Video, "frames", counting)
    return stamps


def run(model, paths, output, **options):
    predicted = predict(model, paths, output, Reporter(), **options)
    return predicted, json.loads(output.read_text()) if output.suffix == ".json" else None


def test_the_frames_around_each_frame(clips, tmp_path):
    model, seen = clips
    write_video(tmp_path / "a.mp4", map(numbered, range(6)), 10)
    run(model, [tmp_path / "a.mp4"], tmp_path / "out.json", batch=4)
    assert [numbers for numbers, _ in seen] == [
        *([0, 0, 0, 1, 2], [0, 0, 1, 2, 3], [0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [2, 3, 4, 5, 5], [3, 4, 5, 5, 5])
    ]
    assert all(margins == [1, 1, 1, 1] for _, margins in seen)


def test_strides_leave_out_pictures_and_not_neighbours(clips, tmp_path, decoded):
    """As in training: around every third frame stand the frames beside it, and each is read once."""
    model, seen = clips
    write_video(tmp_path / "a.mp4", map(numbered, range(20)), 10)
    frames_of(tmp_path / "a.mp4")
    decoded.clear()
    run(model, [tmp_path / "a.mp4"], tmp_path / "out.json", stride=3)
    assert [numbers for numbers, _ in seen[:2]] == [[0, 0, 0, 1, 2], [1, 2, 3, 4, 5]]
    assert seen[-1] == ([16, 17, 18, 19, 19], [1, 1, 1, 1])
    assert len(decoded) == 20


def test_margins_are_steps_between_numbered_pictures(clips, tmp_path):
    model, seen = clips
    (tmp_path / "in").mkdir()
    for k in (3, 4, 6, 11, 12):
        cv2.imwrite(str(tmp_path / f"in/{k}.png"), numbered(k))
    run(model, [tmp_path / "in"], tmp_path / "out.json")
    assert seen[0] == ([3, 3, 3, 4, 6], [1, 1, 1, 2])
    assert seen[2] == ([3, 4, 6, 11, 12], [1, 2, 5, 1])


def test_no_clip_goes_over_a_cut_or_into_another_video(clips, tmp_path):
    model, seen = clips
    shots = [0, 0, 0, 1, 1, 1, 1, 0]
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in/a.mp4", (numbered(k, shot) for k, shot in enumerate(shots)), 10)
    write_video(tmp_path / "in/b.mp4", (numbered(k) for k in range(100, 102)), 10)
    run(model, [tmp_path / "in"], tmp_path / "out.json")
    assert [numbers for numbers, _ in seen[:8]] == [
        *([0, 0, 0, 1, 2], [0, 0, 1, 2, 2], [0, 1, 2, 2, 2]),
        *([3, 3, 3, 4, 5], [3, 3, 4, 5, 6], [3, 4, 5, 6, 6], [4, 5, 6, 6, 6], [7, 7, 7, 7, 7]),
    ]
    assert [numbers for numbers, _ in seen[8:]] == [[100, 100, 100, 101, 101], [100, 100, 101, 101, 101]]


def test_folders_of_frames_and_what_cannot_be_read(clips, tmp_path):
    model, seen = clips
    for folder, first in (("a", 0), ("b", 50)):
        (tmp_path / "in" / folder).mkdir(parents=True)
        for k in range(4):
            cv2.imwrite(str(tmp_path / "in" / folder / f"{k}.png"), numbered(first + k))
    (tmp_path / "in/b/2.png").write_bytes(b"no picture")
    _, content = run(model, [tmp_path / "in"], tmp_path / "out.json", workers=3)
    assert [numbers for numbers, _ in seen] == [
        *([0, 0, 0, 1, 2], [0, 0, 1, 2, 3], [0, 1, 2, 3, 3], [1, 2, 3, 3, 3]),
        *([50, 50, 50, 51, 51], [50, 50, 51, 51, 51], [53, 53, 53, 53, 53]),
    ]
    assert [one["file_name"] for one in content["unreadable"]] == ["b/2.png"]


def test_everyone_is_cut_by_the_box_of_the_frame(clips, tmp_path):
    """Two people in a frame, none in another: their crops of all frames of the clip have one affine."""
    model, seen = clips
    write_video(tmp_path / "a.mp4", map(numbered, range(4)), 10)
    half = WIDTH / 2 / 1.25
    whole = [WIDTH / 2 - half, HEIGHT / 2 - half, WIDTH / 2 + half, HEIGHT / 2 + half]  # enlarged by 1.25: all of it
    boxes = {"a.mp4#0": [whole], "a.mp4#2": [whole, whole], "a.mp4#3": [whole]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    with pytest.warns(UserWarning, match="no box for 1 of 4"):
        predicted, content = run(model, [tmp_path / "a.mp4"], tmp_path / "out.json", boxes=str(tmp_path / "boxes.json"))
    assert [numbers for numbers, _ in seen] == [[0, 0, 0, 1, 2], *2 * [[0, 1, 2, 3, 3]], [1, 2, 3, 3, 3]]
    assert [len(predicted.people(place)) for place in range(4)] == [1, 0, 2, 1]
    ids = [one["track_id"] for one in content["annotations"] if one["image_id"] == 3]
    assert len(set(ids)) == 2


def test_each_frame_is_decoded_once_and_few_are_held(clips, tmp_path, monkeypatch, decoded):
    """Of 600 frames no more than a clip's are kept, and no more people than two batches of crops wait."""
    model, seen = clips
    write_video(tmp_path / "a.mp4", map(numbered, range(600)), 25)
    assert len(frames_of(tmp_path / "a.mp4")) == 600
    decoded.clear()
    held, waiting, cut = [], [], OrderedInputs.cut

    def watched(inputs, *given):
        made = cut(inputs, *given)
        held.append(len(inputs.window.held))
        return made

    class Counted(turns.deque):
        def append(self, value):
            super().append(value)
            waiting.append(len(self))

    monkeypatch.setattr(OrderedInputs, "cut", watched)
    monkeypatch.setattr(turns, "deque", Counted)
    run(model, [tmp_path / "a.mp4"], tmp_path / "out.json", batch=8)
    assert [numbers[2] for numbers, _ in seen] == list(range(600))
    assert len(decoded) == len(set(decoded)) == 600
    assert max(held) == 5
    assert max(waiting) == 2 * 8 + 1


@pytest.mark.parametrize("tracks", [None, True])
def test_a_system_of_single_pictures_decodes_each_frame_once(brightest, tmp_path, decoded, tracks):
    save_model(tmp_path / "weights.pt", brightest(), RGB, 1)
    write_video(tmp_path / "a.mp4", map(numbered, range(300)), 25)
    frames_of(tmp_path / "a.mp4")
    decoded.clear()
    _, content = run(tmp_path / "weights.pt", [tmp_path / "a.mp4"], tmp_path / "out.json", batch=8, tracks=tracks)
    assert len(decoded) == len(set(decoded)) == 300
    assert len(content["annotations"]) == 300
    assert all(("track_id" in one) == bool(tracks) for one in content["annotations"])


class Bright(torch.nn.Module):
    """A detector as torchvision's are called: of frames with an even number the square about all of it, enlarged by
    1.25 when it is cut; of others nobody."""

    def forward(self, images):
        half = WIDTH / 2 / 1.25
        whole = torch.tensor([[WIDTH / 2 - half, HEIGHT / 2 - half, WIDTH / 2 + half, HEIGHT / 2 + half]])
        for image in images:
            count = int(image[:, 2:5, 2:4].mean() < 0.5)
            yield {"boxes": whole[:count], "labels": torch.ones(count), "scores": torch.full((count,), 0.9)}


@pytest.fixture
def bright(monkeypatch):
    loaded = []
    monkeypatch.setattr(boxes, "_load", lambda name: loaded.append(name) or Bright())
    return loaded


def test_a_detector_sees_the_frames_that_are_decoded_for_the_network(clips, tmp_path, decoded, bright):
    """Each frame is decoded once for both; what the detector saw is kept, and gives the same."""
    model, seen = clips
    write_video(tmp_path / "a.mp4", map(numbered, range(150)), 25)
    frames_of(tmp_path / "a.mp4")
    given = {"boxes": "ssd300_vgg16", "batch": 8}
    for output in ("detected.json", "kept.json"):
        decoded.clear()
        with pytest.warns(UserWarning, match="boxes=ssd300_vgg16: no box for 75 of 150 pictures, the first a.mp4#1;"):
            run(model, [tmp_path / "a.mp4"], tmp_path / output, **given)
        assert len(decoded) == len(set(decoded)) == 150
    assert [numbers[2] for numbers, _ in seen] == 2 * list(range(0, 150, 2))
    assert bright == ["ssd300_vgg16"]
    assert (tmp_path / "detected.json").read_bytes() == (tmp_path / "kept.json").read_bytes()


@pytest.mark.parametrize("room", [prediction_inputs.HELD, 0])
def test_frames_are_drawn_on_as_the_network_saw_them(clips, tmp_path, decoded, bright, monkeypatch, room):
    """With a detector, NMS and tracks, each frame is decoded once; twice where there is no room to hold frames. The
    drawing is the same as one of frames that are read again."""
    model, _ = clips
    write_video(tmp_path / "a.mp4", map(numbered, range(100)), 25)
    frames_of(tmp_path / "a.mp4")
    decoded.clear()
    monkeypatch.setattr(prediction_inputs.Held.__init__, "__defaults__", (room,))
    options = {"boxes": "ssd300_vgg16", "batch": 8, "nms": "pose", "tracks": True, "draw": tmp_path / "drawn"}
    with pytest.warns(UserWarning, match="no box for 50 of 100"):
        predicted, content = run(model, [tmp_path / "a.mp4"], tmp_path / "out.json", **options)
    assert len(decoded) == (100 if room else 200)
    assert len(content["annotations"]) == len(predicted) == 50
    assert all("track_id" in one for one in content["annotations"])
    write_video(
        tmp_path / "again.mp4",
        [
            draw_people(one, predicted.rows[predicted.rows["place"] == place], RGB)
            for place, one in enumerate(frames(tmp_path / "a.mp4"))
        ],
        25,
    )
    assert (tmp_path / "drawn/a.mp4").read_bytes() == (tmp_path / "again.mp4").read_bytes()


def test_a_drawing_that_fails_loses_no_predictions(clips, tmp_path, monkeypatch):
    model, _ = clips
    write_video(tmp_path / "a.mp4", map(numbered, range(60)), 25)

    drawn = []

    def full(picture, *_):
        drawn.append(picture)
        if len(drawn) > 30:
            raise OSError(errno.ENOSPC, "the disk is full")
        return picture

    monkeypatch.setattr(prediction_passing, "draw_people", full)
    with pytest.raises(OSError, match="the disk is full"):
        run(model, [tmp_path / "a.mp4"], tmp_path / "out.json", batch=4, draw=tmp_path / "drawn")
    assert len(json.loads((tmp_path / "out.json").read_text())["annotations"]) == 60
    assert not list((tmp_path / "drawn").iterdir())


def test_a_prediction_that_fails_leaves_no_cut_video(clips, tmp_path, monkeypatch):
    model, _ = clips
    write_video(tmp_path / "a.mp4", map(numbered, range(60)), 25)
    true = OrderedInputs.cut

    def broken(inputs, place, *given):
        if place == 40:
            raise ValueError("stopped here")
        return true(inputs, place, *given)

    monkeypatch.setattr(OrderedInputs, "cut", broken)
    with pytest.raises(ValueError, match="stopped here"):
        run(model, [tmp_path / "a.mp4"], tmp_path / "out.json", batch=4, draw=tmp_path / "drawn")
    assert not (tmp_path / "out.json").exists()
    assert not list((tmp_path / "drawn").rglob("*.*"))


def varying(path, stamps):
    """A video whose frames are shown at `stamps`, in hundredths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=100, options={"qscale": "2"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 100)
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_frames_of_a_varying_rate_have_their_numbers_and_times(clips, tmp_path):
    model, seen = clips
    stamps = [0, 4, 8, 30, 90, 91, 92, 200]
    varying(tmp_path / "a.mp4", stamps)
    _, content = run(model, [tmp_path / "a.mp4"], tmp_path / "out.json", stride=2)
    assert [numbers for numbers, _ in seen] == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4], [2, 3, 4, 5, 6], [4, 5, 6, 7, 7]]
    assert all(margins == [1, 1, 1, 1] for _, margins in seen)
    assert [one["frame"] for one in content["images"]] == [0, 2, 4, 6]
    np.testing.assert_allclose([one["time"] for one in content["images"]], [0, 0.08, 0.9, 0.92], atol=1e-6)


def test_a_video_that_is_shown_turned(clips, tmp_path):
    """The network sees frames as players show them, and points are theirs."""
    model, _ = clips
    written = tmp_path / "a.mp4"
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:8, :16] = 255  # the stored picture's top left corner
    write_video(written, [picture] * 4, 10)
    run(model, [written], tmp_path / "plain.json")
    data = bytearray(written.read_bytes())
    at = data.index(b"tkhd") + 44
    matrix = (0, 1 << 16, 0, (-(1 << 16)) & 0xFFFFFFFF, 0, 0, 0, 0, 1 << 30)  # a quarter turn to the right
    data[at : at + 36] = b"".join(value.to_bytes(4, "big") for value in matrix)
    (tmp_path / "turned.mp4").write_bytes(data)
    _, plain = run(model, [written], tmp_path / "plain.json", overwrite=True)
    _, turned = run(model, [tmp_path / "turned.mp4"], tmp_path / "turned.json")
    assert [(one["width"], one["height"]) for one in turned["images"]] == [(48, 64)] * 4
    before, after = (np.reshape(one["annotations"][2]["keypoints"], (3, 3))[:, :2] for one in (plain, turned))
    # the square around both pictures is the same square, turned
    np.testing.assert_allclose(after, np.stack([47 - before[:, 1], before[:, 0]], 1), atol=1.0)
    assert before[:, 1].max() < 16
