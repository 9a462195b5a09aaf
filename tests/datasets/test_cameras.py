"""Source samples as other cameras would have taken them: picture, keypoints, box and camera move by one map."""

from dataclasses import replace

import numpy as np
import pytest

from keyshift.datasets.augment import Augmentation
from keyshift.datasets.cameras import Cameras, Change, another, drawn
from keyshift.datasets.depth.crop import cube_box
from keyshift.datasets.loading import TrainingBatches, crop
from keyshift.datasets.options import BadOption
from keyshift.datasets.sample import Item, carry, to_pixels

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


def spots(places, size=(320, 240)):
    """A picture (H, W, 3) with a bright spot at each place (K, 2)."""
    rows, columns = np.mgrid[: size[1], : size[0]] + 0.5
    away = np.square(places[:, 0, None, None] - columns) + np.square(places[:, 1, None, None] - rows)
    return np.repeat((230 * np.exp(-away / 8).sum(0)).round().astype(np.uint8)[..., None], 3, -1)


def person(**changes):
    """Four keypoints near the corner of a picture of 320 x 240, by a known camera."""
    places = np.array([[225.0, 40.3], [270.6, 45.1], [230.2, 90.8], [268.4, 95.5]])
    return Item(
        **{
            "image": spots(places),
            "box": np.array([200, 20, 300, 120], np.float32),
            "id": "one",
            "sequence": "s",
            "frame": 0,
            "camera": np.array([280.0, 290, 165, 118]),
            "keypoints": places,
            "visible": np.ones(4, bool),
            "annotated": np.ones(4, bool),
            **changes,
        }
    )


def middles(image, places):
    """Where the spots nearest to places (K, 2) are."""
    made = []
    for x, y in places.astype(int):
        window = image[y - 7 : y + 8, x - 7 : x + 8, 0].astype(float)
        rows, columns = np.mgrid[y - 7 : y + 8, x - 7 : x + 8] + 0.5
        made.append([(window * columns).sum() / window.sum(), (window * rows).sum() / window.sum()])
    return np.array(made)


WIDE = Cameras(focal=[0.8, 1.25], principal=0.1, distortion=0.4)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("known", [True, False])
def test_keypoints_are_where_the_picture_shows_them(seed, known):
    item = person() if known else person(camera=np.zeros(4))
    seen = another(item, WIDE, np.random.default_rng(seed))
    assert np.abs(seen.keypoints - item.keypoints).max() > 1
    np.testing.assert_allclose(middles(seen.image, seen.keypoints), seen.keypoints, atol=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_a_stored_part_goes_with_its_subject(seed):
    scale, corner = 0.5, np.array([180.0, 0.0])  # the part's pixels are half the file's
    part = spots((person().keypoints - corner) / scale, (280, 280))
    item = person(image=part, to_file=np.array([[scale, 0, corner[0]], [0, scale, corner[1]]]))
    seen = another(item, WIDE, np.random.default_rng(seed))
    places = (seen.keypoints - seen.to_file[:, 2]) / seen.to_file[0, 0]
    np.testing.assert_allclose(middles(seen.image, places), places, atol=0.1)  # 0.05 px of the file


@pytest.mark.parametrize("mirrored", [False, True])
def test_clips_and_mirrored_pictures_go_along(mirrored):
    still = person(mirrored=mirrored)
    clip = replace(still, image=np.stack([still.image] * 3))
    one, three = (another(item, WIDE, np.random.default_rng(1)) for item in (still, clip))
    assert (three.image == one.image).all()
    cut = crop(three, (100, 100), None, None, [0, 1, 2, 3])
    shown, places = np.moveaxis(cut.inputs["image"][1], 0, -1), cut.keypoints[0]
    np.testing.assert_allclose(middles(shown, places), places, atol=0.05)


@pytest.mark.parametrize("seed", range(8))
def test_a_subject_stays_in_its_picture(seed):
    seen = another(person(), Cameras(focal=[1.5, 2.0], principal=0.3), np.random.default_rng(seed))
    assert (seen.box[:2] >= -0.01).all()
    assert (seen.box[2:] <= [320.01, 240.01]).all()
    assert (seen.keypoints > seen.box[:2]).all()
    assert (seen.keypoints < seen.box[2:]).all()


def test_of_a_whole_picture_the_other_camera_sees_more_or_less():
    item = person(box=np.array([0, -40, 320, 280], np.float32), keypoints=person().keypoints[None])
    seen = another(item, Cameras(focal=[0.5, 0.5]), np.random.default_rng(0))
    np.testing.assert_array_equal(seen.box, item.box)
    middle = item.camera[2:]
    np.testing.assert_allclose(seen.keypoints, middle + (item.keypoints - middle) / 2, atol=1e-6)
    cut = crop(seen, (160, 160), None, None, [0, 1, 2, 3])
    np.testing.assert_allclose(cut.keypoints, (seen.keypoints + np.array([0, 40])) / 2)


@pytest.mark.parametrize("k", [-0.5, 0.5])
def test_a_lens_is_one_to_one_as_far_as_a_picture_goes(k):
    change = Change(np.array([100.0, 100, 160, 120]), np.array([130.0, 130, 150, 125]), k)  # over 100 degrees wide
    points = np.stack(np.meshgrid(np.arange(0, 321, 5.0), np.arange(0, 241, 5.0)), -1)
    np.testing.assert_allclose(change.back(change.forth(points)), points, atol=2e-3)
    assert (np.diff(change.forth(points)[..., 0], axis=1) > 0).all()


@pytest.mark.parametrize("mode", ["exact", "a2j", "awr"])
@pytest.mark.parametrize("seed", range(5))
def test_the_box_of_depth_is_what_the_cube_covers(balls, mode, seed):
    item = balls(8, size=64)[seed]
    seen = another(item, Cameras(focal=[0.7, 1.8], principal=0.4, distortion=0.2), np.random.default_rng(seed))
    np.testing.assert_allclose(seen.box, cube_box(seen.center, seen.cube, seen.camera), atol=1e-4)
    cut = crop(seen, (64, 64), Augmentation(), np.random.default_rng(0), [0, 1, 2], mode)
    assert (np.abs(cut.inputs["image"]) < cut.inputs["reach"]).any()
    back = cut.keypoints @ cut.to_file[:, :3].T + cut.to_file[:, 3]
    np.testing.assert_allclose(back[0], seen.keypoints, atol=0.05)


def test_of_a_sequence_2d_keypoints_move_and_3d_ones_stay(toys):
    item = toys.Sequences(toys.Sequences.Options(), "train")[0]
    seen = another(item, Cameras(focal=[1.3, 1.3]), np.random.default_rng(0))
    np.testing.assert_array_equal(seen.keypoints, item.keypoints)
    pixels = item.keypoints[:, :2] / item.keypoints[:, 2:] * seen.camera[:2] + seen.camera[2:]
    own = item.keypoints[:, :2] / item.keypoints[:, 2:] * item.camera[:2] + item.camera[2:]
    moved = (item.inputs["keypoints2d"][2, :, :2] - item.camera[2:]) * 1.3 + item.camera[2:]
    np.testing.assert_allclose(seen.inputs["keypoints2d"][2, :, :2], moved, atol=1e-4)
    assert np.abs(pixels - moved).max() < 1.5 * np.abs(own - item.inputs["keypoints2d"][2, :, :2]).max()


def test_focal_lengths_are_uniform_in_their_logarithm():
    item = person()
    rng, options = np.random.default_rng(0), Cameras(focal=[0.25, 4.0])
    lengths = np.log([drawn(item, options, rng).other[0] for _ in range(400)]) - np.log(item.camera[0])
    assert lengths.mean() == pytest.approx(0, abs=0.15)
    assert lengths.std() == pytest.approx(np.log(16) / np.sqrt(12), rel=0.1)


def test_all_views_of_a_sample_are_by_one_camera(dots):
    batch = TrainingBatches(dots(16), "source", 0, 4, (32, 32), Augmentation(), True, views=2, cameras=OTHERS)[0]
    ours, theirs = batch.keypoints, batch.views[0].keypoints
    np.testing.assert_allclose(carry(ours, batch, batch.views[0], [0, 1, 2], batch.image_index), theirs, atol=1e-3)
