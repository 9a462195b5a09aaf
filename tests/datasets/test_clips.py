"""Clips of videos and of folders of frames: what stands beside a picture, where shots end, and what is decoded."""

import pickle
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from keyshift.datasets.augment import Augmentation
from keyshift.datasets.catalog import open_dataset, options_of
from keyshift.datasets.clips import is_cut
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.datasets.mixed import Mixed
from keyshift.datasets.reading import video
from keyshift.datasets.reading.video import frames, write_video
from keyshift.datasets.reading.whole_pictures import whole_pictures
from keyshift.datasets.views import Rows, Selected, WithoutLabels, as_clips

SIZE = (96, 64)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))


def scene(seed, side=256):
    """A picture of patches of many sizes."""
    rng, made = np.random.default_rng(seed), np.zeros((side, side))
    for cells in (3, 6, 12, 24):
        made += cv2.resize(rng.normal(0, 30, (cells, cells)), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.repeat(np.clip(made + 128, 0, 255).astype(np.uint8)[..., None], 3, 2)


def film(seed, count):
    """A camera that moves over a scene, two pixels a frame, and a number that tells the frames apart."""
    wall = scene(seed)
    for k in range(count):
        picture = wall[10 : 10 + SIZE[1], 2 * k : 2 * k + SIZE[0]].copy()
        picture[:4, :4] = 10 * k
        yield picture


def number_of(image):
    """Which frame of a film it is."""
    return round(float(image[:4, :4].mean()) / 10)


def folder(root, numbers, seed=0, name="{:04d}.png"):
    root.mkdir(parents=True, exist_ok=True)
    pictures = list(film(seed, max(numbers) + 1))
    for number in numbers:
        Image.fromarray(pictures[number]).save(root / name.format(number))
    return root


def opened(root, part="train", **words):
    chosen = {"root": str(root), "skeleton": "hand21", "block": 1000} | words
    return open_dataset("pictures", options_of("pictures", chosen, "test"), part)


def shown(item):
    return [number_of(image) for image in item.image]


def test_frames_beside_and_at_the_ends(tmp_path):
    write_video(tmp_path / "a.mp4", film(1, 10), 25)
    data = opened(tmp_path)
    clips = as_clips(data, 3)
    assert len(clips) == len(data) == 8
    for index in (1, 4, 7):  # frame 8 is of the other part, and in this one's clips
        item, single = clips[index], data[index]
        assert item.image.shape == (3, 64, 96, 3)
        assert shown(item) == [index - 1, index, index + 1]
        assert item.inputs["margins"].tolist() == [1, 1]
        np.testing.assert_array_equal(item.image[1], single.image)
        np.testing.assert_array_equal(item.box, single.box)
        assert (item.id, item.sequence, item.frame) == (single.id, single.sequence, single.frame)
    assert shown(clips[0]) == [0, 0, 1]
    last = as_clips(opened(tmp_path, "test"), 5)[1]
    assert shown(last) == [7, 8, 9, 9, 9]
    assert last.inputs["margins"].tolist() == [1, 1, 1, 1]
    assert clips.identity == data.identity | {"frames": 3}


def test_a_stride_leaves_out_samples_and_no_neighbours(tmp_path):
    write_video(tmp_path / "a.mp4", film(1, 10), 25)
    assert shown(as_clips(opened(tmp_path, stride=4), 3)[1]) == [3, 4, 5]


def test_gaps_are_margins_and_unlabelled_files_count(tmp_path):
    folder(tmp_path / "day", [0, 1, 3, 4, 8])
    clips = as_clips(opened(tmp_path, stride=2), 3)
    assert clips[1].id == "day/0003.png"
    assert shown(clips[1]) == [1, 3, 4]
    assert clips[1].inputs["margins"].tolist() == [2, 1]
    assert clips[1].inputs["margins"].dtype == np.float32


def test_no_clip_holds_two_shots(tmp_path):
    write_video(tmp_path / "a.mp4", [*film(1, 5), *film(2, 5)], 25)
    clips = as_clips(opened(tmp_path), 5)
    assert [shown(clips[k]) for k in (2, 3, 4, 5, 6)] == [
        [0, 1, 2, 3, 4],
        [1, 2, 3, 4, 4],
        [2, 3, 4, 4, 4],
        [0, 0, 0, 1, 2],
        [0, 0, 1, 2, 3],
    ]


def test_what_cannot_be_read_and_other_sizes_are_ends(tmp_path):
    root = folder(tmp_path / "day", range(8))
    (root / "0002.png").write_bytes(b"broken")
    Image.new("RGB", (20, 20)).save(root / "0006.png")
    clips = as_clips(opened(tmp_path), 3)
    assert shown(clips[1]) == [0, 1, 1]
    assert shown(clips[5]) == [4, 5, 5]
    with pytest.raises(ValueError, match=r"cannot read the image .*0002.png"):
        clips[2]


def test_read_in_order_each_frame_is_decoded_once(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", film(1, 12), 25)
    clips = as_clips(opened(tmp_path), 5)
    decoded, turned, original, colours = [], [], video._Video.frames, video._shown
    monkeypatch.setattr(
        video._Video, "frames", lambda self: (decoded.append(frame.pts) or frame for frame in original(self))
    )
    monkeypatch.setattr(video, "_shown", lambda *words: turned.append(1) or colours(*words))
    assert [shown(clips[k])[2] for k in range(len(clips))] == list(range(10))
    assert len(decoded) == len(set(decoded)) == len(turned) == 12
    pictures = []
    root = folder(tmp_path / "day", range(6))
    files = as_clips(opened(root), 3)
    read = files.dataset.read
    monkeypatch.setattr(files.dataset, "read", lambda name: pictures.append(name) or read(name))
    for k in range(len(files)):
        files[k]
    assert len(pictures) == len(set(pictures)) == 6


def test_kept_frames_do_not_travel(tmp_path):
    write_video(tmp_path / "a.mp4", film(1, 5), 25)
    clips = as_clips(opened(tmp_path), 3)
    before = clips[2]
    sent = pickle.loads(pickle.dumps(clips))
    assert not sent.window.held
    np.testing.assert_array_equal(sent[2].image, before.image)


def test_views_and_whole_pictures(tmp_path):
    write_video(tmp_path / "a.mp4", film(1, 10), 25)
    data = opened(tmp_path)
    seen = as_clips(WithoutLabels(Selected(Rows(data, [4, 2]), data.skeleton.keypoints[:3])), 3)
    assert shown(seen[0]) == [3, 4, 5]
    assert seen[0].keypoints.shape == (3, 2)
    assert shown(as_clips(seen, 5)[1]) == [0, 1, 2, 3, 4]
    assert shown(as_clips(whole_pictures(opened(tmp_path, crops="whole")), 3)[1]) == [0, 1, 2]
    mixed = as_clips(Mixed(data, data), 3)
    assert shown(mixed[9]) == [0, 1, 2]
    with pytest.raises(ValueError, match=r"odd number of frames, .* got 4"):
        as_clips(data, 4)


def test_batches_of_clips(tmp_path):
    write_video(tmp_path / "a.mp4", film(1, 10), 25)
    clips = as_clips(opened(tmp_path), 3)
    plain = EvaluationBatches(clips, 4, (32, 32))[0]
    assert plain.image.shape == (4, 3, 3, 32, 32)
    assert plain.inputs["margins"].tolist() == [[1, 1]] * 4
    assert torch.equal(plain.window(1, 0).image, plain.image[:, 1])
    batch = TrainingBatches(clips, "target", 0, 4, (32, 32), Augmentation(), labels=False)[0]
    assert batch.image.shape == (4, 3, 3, 32, 32)
    assert batch.image.dtype == torch.uint8


def test_photographs_are_no_clips(tmp_path):
    (tmp_path / "photos").mkdir()
    for k in range(12):
        Image.fromarray(scene(k)).save(tmp_path / f"photos/IMG_{k:04d}.png")
    with pytest.raises(ValueError, match=r"pictures.train gives no clips of 3 frames, for .* have nothing in common"):
        as_clips(opened(tmp_path), 3)
    for k in range(12):
        (tmp_path / f"photos/IMG_{k:04d}.png").rename(tmp_path / f"photos/IMG_{100 * k:04d}.png")
    with pytest.raises(ValueError, match="for of its pictures none has one beside it"):
        as_clips(opened(tmp_path), 3)


def test_prepared_sets_say_that_they_hold_single_pictures(tmp_path):
    from keyshift.experiments.cli import main

    folder(tmp_path / "raw", range(12))
    words = ["skeleton=hand21", f"root={tmp_path / 'raw'}", f"output={tmp_path / 'made'}", "size=32"]
    assert main(["data", "prepare", "pictures", *words]) == 0
    made = open_dataset(
        "pictures", options_of("pictures", {"root": str(tmp_path / "made"), "skeleton": "hand21"}, "test"), "train"
    )
    with pytest.raises(ValueError, match=r"is prepared, and prepared sets hold single pictures.* set root to the raw"):
        as_clips(made, 3)


# Cuts


def seen(picture, shift=(0, 0), turn=0.0, zoom=1.0):
    """The middle of a scene through a camera that has moved by shares of its width."""
    side = len(picture)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), turn, 1.3 * zoom)
    matrix[:, 2] += np.array(shift) * side
    return cv2.warpAffine(picture, matrix, (side, side), borderMode=cv2.BORDER_REFLECT)


MOVES = {
    "nothing": lambda picture, rng: seen(picture),
    "a fast turn": lambda picture, rng: seen(picture, (0.1, -0.05)),
    "a roll": lambda picture, rng: seen(picture, turn=6),
    "a zoom": lambda picture, rng: seen(picture, zoom=1.07),
    "noise": lambda picture, rng: np.clip(seen(picture) + rng.normal(0, 40, picture.shape), 0, 255).astype(np.uint8),
    "a flash": lambda picture, rng: np.clip(seen(picture) * 1.5 + 40, 0, 255).astype(np.uint8),
    "a dark frame": lambda picture, rng: (seen(picture) * 0.3).astype(np.uint8),
    "motion blur": lambda picture, rng: cv2.blur(seen(picture, (0.05, 0)), (40, 1)),
    "someone who walks in": lambda picture, rng: cv2.rectangle(seen(picture), (90, 60), (150, 256), (250,) * 3, -1),
}


@pytest.mark.parametrize("move", MOVES)
def test_movement_noise_and_light_are_no_cut(move):
    rng = np.random.default_rng(0)
    told = [is_cut(seen(scene(k)), MOVES[move](scene(k), rng)) for k in range(20)]
    assert not any(told)


def test_another_scene_is_a_cut():
    told = [is_cut(seen(scene(k)), seen(scene(100 + k))) for k in range(40)]
    assert np.mean(told) >= 0.95


def test_black_frames():
    black, white = (np.full((64, 96, 3), level, np.uint8) for level in (0, 255))
    assert not is_cut(black, black)
    assert not is_cut(black, white)
    assert is_cut(black, seen(scene(1)))
    assert is_cut(seen(scene(1)), white)


def test_real_videos_have_no_cuts_and_photographs_nothing_else(shared):
    data = shared / "data"
    for path in (data / "mouse_four_cameras/videos").glob("*.mp4"):
        pictures = list(frames(path))
        assert not any(is_cut(*pair) for pair in pairwise(pictures))
    path = data / "mmpose_samples/posetrack18/videos/000001_mpiinew_test/000001_mpiinew_test.mp4"
    pictures = list(frames(path))
    assert not any(is_cut(*pair) for pair in pairwise(pictures))
    photos = [
        np.array(Image.open(file).convert("RGB")) for file in sorted((data / "body_lspet/images").iterdir())[:100]
    ]
    told = [is_cut(*pair) for pair in pairwise(photos)]
    assert np.mean(told) >= 0.95
