"""Labels that follow a video: against the numbers of the reference code, and on videos whose motion is known."""

from dataclasses import replace

import cv2
import numpy as np
import torch

from keyshift.adapt.relabel import averaged_maps, read_maps
from keyshift.adapt.temporal import flow, fused, neighbours, propagated, survey
from keyshift.datasets.views import View
from keyshift.models.output import Poses

MEAN = np.array([0.41, 0.39, 0.37], np.float32)


def test_two_frames_of_the_reference(golden):
    arrays = golden.load("strategy_ccssl")
    first = np.clip(0.5 + 0.15 * golden.texture("frame", (1, 3, 256, 256)).numpy()[0], 0, 1)
    other = np.clip(0.5 + 0.15 * golden.texture("frame.other", (1, 3, 256, 256)).numpy()[0], 0, 1)
    second = np.roll(first, (2, 3), (1, 2))
    second[:, 128:] = other[:, 128:]
    levels = [np.uint8((np.moveaxis(picture, 0, -1) - MEAN + MEAN) * 255) for picture in (first, second)]
    before, after = (cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) for picture in levels)
    carried, known = flow(before, after, arrays["frame0.keypoints"][:, :2])
    assert known.all()
    assert np.array_equal(carried, arrays["frame1.flow"])
    assert np.array_equal(arrays["frame0.keypoints"], arrays["frame1.previous.before"])
    zoom, angle = torch.from_numpy(arrays["frame1.warps"]).unbind(1)
    now = read_maps(averaged_maps(maps(golden, arrays), zoom * 200 / 256, angle)).numpy()
    label, sure = fused(now, arrays["frame0.keypoints"], carried)
    assert np.array_equal(sure, arrays["frame1.previous.after"][:, 2])
    assert np.array_equal(arrays["frame1.previous.after"][:, :2], arrays["frame0.keypoints"][:, :2])
    assert np.array_equal(label[:, :2], arrays["frame1.keypoints"][:, :2])
    assert np.abs(label[:, 2] - arrays["frame1.keypoints"][:, 2]).max() < 1e-5  # the recipe asks for 2e-3
    assert (sure != arrays["frame0.keypoints"][:, 2]).any()
    assert (label != now).any()


def maps(golden, arrays):
    passes, (joints, height, width) = len(arrays["frame1.warps"]), arrays["frame1.average.shape"]
    noise = 0.05 * golden.draw("maps1").standard_normal((passes, joints, height, width))
    place = 10 + 44 * golden.uniform("maps1.place", (joints, 2))
    high = 0.2 + 0.8 * golden.uniform("maps1.height", (passes, joints, 1, 1))
    yy, xx = np.mgrid[:height, :width]
    away = (xx - place[:, 0, None, None]) ** 2 + (yy - place[:, 1, None, None]) ** 2
    made = (noise + high * np.exp(-away / 8)).astype(np.float32)
    made[:, 3] = -np.abs(made[:, 3]) - 1
    return torch.from_numpy(made)


def test_neighbours_are_those_of_a_video():
    """Two videos mixed up and out of order, a gap, a picture with two people; and frames that are two apart."""
    sequences = ["a", "b", "a", "a", "b", "b", "a", "b", "c", "c", "c"]
    frames = [3, 0, 1, 2, 1, 1, 5, 2, 10, 14, 12]
    assert list(neighbours(sequences, frames)) == [(2, 3), (3, 0), (8, 10), (10, 9)]


class Film(View):
    """A picture that moves by (3, 2) px a frame, cut by boxes that move otherwise; `cuts` begin another one."""

    def __init__(self, dots, count, cuts=(), size=96):
        super().__init__(dots(count))
        self.cuts, self.size = cuts, size

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(index)
        scene = sum(index >= cut for cut in self.cuts)
        coarse = np.random.default_rng(scene).integers(0, 255, (24, 24, 3), dtype=np.uint8)
        large = cv2.resize(coarse, (160, 160), interpolation=cv2.INTER_CUBIC)
        left, top = 40 - 3 * index, 30 - 2 * index
        image = large[top : top + self.size, left : left + self.size]
        box = np.array([4 + index, 8, 84 + index, 88.0])
        return replace(self.dataset[index], image=image, box=box, sequence="film", frame=index)


def labels(count, confidence):
    start = torch.tensor([[30.0, 40.0], [50.0, 30.0], [45.0, 60.0]])
    truth = start + torch.tensor([3.0, 2.0]) * torch.arange(count).view(-1, 1, 1)
    wrong = truth.clone()
    wrong[1:, 0] += 12  # the first keypoint is seen rightly in the first frame alone
    return truth, Poses.of_crops(wrong, confidence)


def test_what_is_unsure_moves_with_the_picture(dots):
    film = Film(dots, 5)
    confidence = torch.tensor([[0.9, 0.9, 0.9]] + 4 * [[0.1, 0.88, 0.9]])
    truth, poses = labels(5, confidence)
    kept = propagated(film, poses, survey(film).pairs)
    assert (kept.points - truth).norm(dim=-1).max() < 0.5
    torch.testing.assert_close(kept.confidence[:, 0], 0.9 * 0.9 ** torch.arange(5.0))
    assert torch.equal(kept.points[:, 1:], poses.points[:, 1:])  # sure enough: as it was, to the bit
    assert torch.equal(kept.confidence[:, 1:], poses.confidence[:, 1:])
    assert torch.equal(poses.confidence, confidence)


def test_of_clips_the_middle_frame_moves_with_the_picture(dots):
    """The other frames are of another picture, so that following any of them would carry nothing."""

    class Clipped(Film):
        def __getitem__(self, index):
            item, other = (
                super().__getitem__(index),
                np.random.default_rng(index).integers(0, 255, (96, 96, 3), np.uint8),
            )
            return replace(item, image=np.stack([other, item.image, other]), inputs={"margins": np.ones(2)})

    confidence = torch.tensor([[0.9, 0.9, 0.9]] + 4 * [[0.1, 0.88, 0.9]])
    _, poses = labels(5, confidence)
    single, clips = (propagated(kind(dots, 5), poses, survey(Film(dots, 5)).pairs) for kind in (Film, Clipped))
    assert not torch.equal(clips.points, poses.points)
    assert torch.equal(clips.points, single.points)
    assert survey(Clipped(dots, 5)).pairs == survey(Film(dots, 5)).pairs


def test_a_cut_is_not_followed(dots):
    """Where another picture follows, under one sequence's name, nothing is carried over; the reference's code loses
    the earlier frame's labels there."""
    film = Film(dots, 6, cuts=(1, 2, 3, 4, 5))
    _, poses = labels(6, torch.tensor([[0.9, 0.9, 0.9]] + 5 * [[0.1, 0.1, 0.1]]))
    kept = propagated(film, poses, survey(film).pairs)
    assert torch.equal(kept.points, poses.points)
    assert torch.equal(kept.confidence, poses.confidence)
    kept = propagated(film, poses, survey(film).pairs, reference=True)
    assert (kept.confidence[:-1] == 0).any()


def test_survey(dots, balls, toys):
    assert survey(dots(16)).pairs == [(k, k + 1) for k in range(15) if k != 7]
    assert survey(dots(16)).spans.tolist() == 16 * [[32.0, 32.0]]
    assert survey(dots(16)).pictures == list(range(16))
    seen = survey(balls(3))
    assert not seen.pairs
    assert seen.spans[:, 2].tolist() == [300.0] * 3
    seen = survey(toys.Sequences(toys.Sequences.Options(train=4), "train"))
    assert not seen.pairs
    assert seen.spans.tolist() == 4 * [[2000.0] * 3]
    assert not seen.pictures
