"""Source samples as other cameras would have taken them: picture, keypoints, box and camera move by one map."""

from dataclasses import replace

import numpy as np
import pytest

from keyshift.datasets.augment import Augmentation
from keyshift.datasets.cameras import Cameras, Change, another
from keyshift.datasets.loading import TrainingBatches, crop
from keyshift.datasets.options import BadOption
from keyshift.datasets.sample import to_pixels

OTHERS = Cameras(focal=[0.8, 1.3], principal=0.05, distortion=0.2)


def kept(item):
    """The item with its picture stored as a part of the file's, twice as coarse and shifted."""
    return replace(
        item,
        to_file=np.array([[2.0, 0, 40], [0, 2.0, 60]]),
        box=item.box * 2 + np.array([40, 60, 40, 60], np.float32),
        keypoints=item.keypoints * 2 + np.array([40, 60]),
        camera=np.array([150.0, 150, 70, 90]),
    )


@pytest.mark.parametrize("k", [-0.2, 0.0, 0.3])
def test_a_camera_is_undone(k):
    change = Change(np.array([300.0, 310, 160, 120]), np.array([250.0, 240, 150, 130]), k)
    points = np.random.default_rng(0).uniform(0, 320, (50, 2))
    np.testing.assert_allclose(change.back(change.forth(points)), points, atol=1e-6)


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_picture_goes_with_its_keypoints(dots, stored, seed):
    item = dots(8, size=64)[seed]
    item = kept(item) if stored else replace(item, camera=np.array([80.0, 80, 32, 32]))
    seen = another(item, OTHERS, np.random.default_rng(seed))
    assert np.abs(seen.keypoints - item.keypoints).max() > 0.5
    cut = crop(seen, (64, 64), None, None, [0, 1, 2])
    for k, (x, y) in enumerate(cut.keypoints[0]):
        if not (6 < x < 58 and 6 < y < 58):
            continue
        spot = cut.inputs["image"][k].astype(float)
        window = spot[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5] ** 4
        rows, columns = np.mgrid[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5] + 0.5
        middle = (window * columns).sum() / window.sum(), (window * rows).sum() / window.sum()
        np.testing.assert_allclose(middle, (x, y), atol=0.8)


def test_points_in_space_stay_and_project_through_the_new_camera(balls):
    import torch

    item = balls(4, size=64)[1]
    seen = another(item, replace(OTHERS, distortion=0.0), np.random.default_rng(3))
    np.testing.assert_array_equal(seen.points, item.points)
    projected = to_pixels(torch.tensor(item.points[None]), torch.tensor(seen.camera[None]))[0].numpy()
    np.testing.assert_allclose(seen.keypoints, projected, atol=1e-4)
    assert not np.allclose(seen.camera, item.camera)
    x, y = seen.keypoints[2, :2].astype(int)
    assert set(np.unique(seen.image)) <= {0, *np.unique(item.image)}  # depths are never mixed
    assert seen.image[y, x] == pytest.approx(item.image[int(item.keypoints[2, 1]), int(item.keypoints[2, 0])], abs=5)


def test_an_unknown_camera_stays_unknown(dots):
    seen = another(dots(1)[0], OTHERS, np.random.default_rng(0))
    assert not seen.camera.any()


def test_batches_are_functions_of_their_step(dots):
    cut = dots(16), "source", 0, 4, (32, 32), Augmentation()
    plain = TrainingBatches(*cut, labels=True)[3]
    first, second = (TrainingBatches(*cut, labels=True, cameras=OTHERS)[3] for _ in range(2))
    assert (first.image == second.image).all()
    assert (first.keypoints == second.keypoints).all()
    assert (first.image != plain.image).any()


def test_a_range_that_is_turned_round_is_refused():
    with pytest.raises(BadOption, match="focal"):
        Cameras(focal=[1.2, 0.8])
