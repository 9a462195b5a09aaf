"""Sets of 2D sequences: windows, random frames, labels from the root, and views of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches, crop
from keyshift.datasets.reading.sequences import Recording, SequenceOptions, Sequences
from keyshift.datasets.sample import BODY_MM, to_pixels
from keyshift.datasets.skeleton import Skeleton
from keyshift.datasets.views import Rows, Selected, WithoutLabels, as_clips, cameras_of

BODY = Skeleton("tiny", ("pelvis", "left", "right"), flip_pairs=((1, 2),), root=0, extent=2000.0)
CAMERA = np.array([900.0, 905.0, 500.0, 400.0])


def recording(name, frames, labels=True, seed=0):
    rng = np.random.default_rng([seed, frames])
    points = rng.uniform(-800, 800, (frames, 3, 3)) + np.array([0, 0, 4000])
    flat = points[..., :2] / points[..., 2:] * CAMERA[:2] + CAMERA[2:]
    keypoints = np.concatenate([flat, rng.uniform(0, 1, (frames, 3, 1))], -1).astype(np.float32)
    return Recording(name, keypoints, (1000, 800), points if labels else None, CAMERA)


def opened(*recordings, **options):
    return Sequences("tiny.train", BODY, recordings, SequenceOptions(**{"random": 4} | options), {"name": "tiny"})


@pytest.fixture
def data():
    return opened(recording("a", 7), recording("b", 3))


def test_frames_are_samples(data):
    assert len(data) == 10
    item = data[8]
    assert (item.sequence, item.frame, item.id, item.space) == ("b", 1, "b/000001", BODY_MM)
    points = data.recordings[1].points[1]
    np.testing.assert_array_equal(item.points, points)
    np.testing.assert_allclose(item.keypoints, points - points[0])
    assert not item.keypoints[0].any()
    assert item.inputs["keypoints2d"].shape == (1, 3, 3)
    np.testing.assert_array_equal(cameras_of(data), np.tile(CAMERA, (10, 1)))
    with pytest.raises(IndexError):
        data[10]


def test_windows_repeat_the_ends(data):
    clips = as_clips(data, 5)
    own = data.recordings[0].keypoints2d
    for index, window in {0: [0, 0, 0, 1, 2], 1: [0, 0, 1, 2, 3], 3: [1, 2, 3, 4, 5], 6: [4, 5, 6, 6, 6]}.items():
        np.testing.assert_array_equal(clips[index].inputs["keypoints2d"], own[window])
    np.testing.assert_array_equal(clips[7].inputs["keypoints2d"], data.recordings[1].keypoints2d[[0, 0, 0, 1, 2]])
    assert clips.identity == data.identity | {"frames": 5}
    assert data[3].inputs["keypoints2d"].shape[0] == 1, "the set itself stays as it was"


def test_random_frames_are_of_the_recording_and_stay(data):
    item, again = data[2], data[2]
    own = data.recordings[0]
    for name in ("random2d", "random3d"):
        assert item.inputs[name].shape == (4, 3, 3)
        np.testing.assert_array_equal(item.inputs[name], again.inputs[name])
    frames = [int(np.flatnonzero((own.keypoints2d == frame).all((1, 2)))[0]) for frame in item.inputs["random2d"]]
    assert len(set(frames)) == 4
    np.testing.assert_allclose(item.inputs["random3d"], own.points[frames] - own.points[frames][:, :1])
    drawn = {data[i].inputs["random2d"].tobytes() for i in range(7)}
    assert len(drawn) > 1, "other samples draw others"
    assert data[8].inputs["random2d"].shape == (4, 3, 3), "a shorter recording shows frames twice"
    assert opened(recording("a", 7), random=0)[0].inputs.keys() == {"keypoints2d"}


def test_every_other_frame_keeps_its_neighbours():
    data = as_clips(opened(recording("a", 7), recording("b", 4), every=3), 3)
    assert [(data[i].sequence, data[i].frame) for i in range(len(data))] == [
        *(("a", t) for t in (0, 3, 6)),
        ("b", 0),
        ("b", 3),
    ]
    np.testing.assert_array_equal(data[1].inputs["keypoints2d"], data.recordings[0].keypoints2d[[2, 3, 4]])


def test_without_labels_nothing_is_known():
    item = opened(recording("a", 7, labels=False))[0]
    assert item.points is None
    assert not item.annotated.any()
    assert not item.keypoints.any()
    assert not item.inputs["random3d"].any()
    assert item.inputs["random2d"].any()


def test_views(data):
    clips = as_clips(data, 3)
    few = Rows(clips, [9, 0])
    assert few[0].id == clips[9].id
    blind = WithoutLabels(clips)[4]
    assert "random3d" not in blind.inputs, "zeros would be labels to a loss of pseudo labels"
    assert not blind.keypoints.any()
    chosen = as_clips(Selected(data, ("right", "pelvis")), 3)[4]
    for name in ("keypoints2d", "random2d", "random3d"):
        np.testing.assert_array_equal(chosen.inputs[name], clips[4].inputs[name][:, [2, 0]])
    np.testing.assert_array_equal(chosen.keypoints, clips[4].keypoints[[2, 0]])


def test_the_lens_shows_the_points_where_the_keypoints_are(data):
    for mirror in (0.0, 1.0):
        item, options = as_clips(data, 3)[4], Augmentation(mirror=mirror, rotation=40.0)
        made = crop(item, (320, 256), options, np.random.default_rng(3), BODY.flip)
        points = torch.from_numpy(made.points)
        if mirror:
            points = points * torch.tensor([-1.0, 1.0, 1.0])
            np.testing.assert_allclose(made.keypoints[0], points[0] - points[0, :1], atol=1e-3)
        seen = to_pixels(points, torch.from_numpy(made.inputs["lens"])[None].double())[0, :, :2]
        np.testing.assert_allclose(seen, made.inputs["keypoints2d"][1, :, :2], atol=2e-3)


def test_batches_are_functions_of_the_step(data):
    def batch():
        augmentation = Augmentation(mirror=0.5, rotation=0.0)
        return TrainingBatches(as_clips(data, 3), "source", 5, 4, (320, 256), augmentation, labels=True)[3]

    first, second = batch(), batch()
    for name, value in first.inputs.items():
        assert torch.equal(value, second.inputs[name])
    assert torch.equal(first.keypoints, second.keypoints)
    assert first.space == BODY_MM
    assert len(EvaluationBatches(data, 4, (320, 256))[2]) == 2


def test_what_does_not_fit_is_refused():
    one = recording("a", 7)
    with pytest.raises(ValueError, match=r"a: keypoints2d \(7, 3, 3\), points \(6, 3, 3\) and camera"):
        replace(one, points=one.points[1:])
    with pytest.raises(ValueError, match="holds no recording"):
        opened()
    with pytest.raises(ValueError, match="'tiny' has none"):
        Sequences("tiny.train", replace(BODY, root=None), [one], SequenceOptions(), {})
