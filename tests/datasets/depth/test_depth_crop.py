"""The three ways to cut a cube out of a depth frame, each against the references' steps written out."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from keyshift.datasets.augment import Augmentation, random_matrix
from keyshift.datasets.depth.crop import CROPS, cube_box, cut, disturb
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches, crop
from keyshift.datasets.sample import Item, to_pixels, to_space

CAMERA = np.array([588.03, 587.07, 320.5, 240.5])


def frame(center=(300.5, 250.5, 720.0), cube=(220.0, 220.0, 300.0), seed=0):
    rng = np.random.default_rng(seed)
    depth = cv2.resize(rng.uniform(500, 1000, (48, 64)).astype(np.float32), (640, 480))
    depth[rng.random(depth.shape) < 0.1] = 0
    center, cube = np.array(center), np.array(cube)
    keypoints = center + rng.uniform(-1, 1, (5, 3)) * [60, 60, 100]
    known = np.ones(5, bool)
    box = cube_box(center, cube, CAMERA)
    return Item(depth, box, "a", "s", 0, CAMERA, keypoints, known, known, center=center, cube=cube)


CENTERS = [(300.5, 250.5, 720.0), (20.5, 250.5, 700.0), (630.0, 470.0, 800.0), (100.3, 10.9, 655.5)]


@pytest.mark.parametrize("center", CENTERS)
def test_a2j_chain(center):
    item = frame(center)
    u, v, z = np.array(center) - [0.5, 0.5, 0]
    half = 110
    left, right = max(u - half * 588.03 / z, 0), min(u + half * 588.03 / z, 639)
    top, bottom = max(v - half * 587.07 / z, 0), min(v + half * 587.07 / z, 479)
    wanted = cv2.resize(
        item.image[int(top) : int(bottom), int(left) : int(right)], (176, 176), interpolation=cv2.INTER_NEAREST
    ).astype(np.float64)
    wanted[(wanted >= z + 150) | (wanted <= z - 150)] = z
    wanted -= z
    image, back = cut(item, (176, 176), "a2j")
    np.testing.assert_allclose(np.where(image < 150, image, 0), wanted, atol=1e-4)
    for row, column, depth in [(0, 0, 0), (88, 20, -30), (170.5, 100.25, 77)]:
        file = back @ [column, row, depth, 1]
        assert file[0] - 0.5 == pytest.approx(column * (right - left) / 176 + left, abs=1e-6)
        assert file[1] - 0.5 == pytest.approx(row * (bottom - top) / 176 + top, abs=1e-6)
        assert file[2] == pytest.approx(depth + z, abs=1e-6)


@pytest.mark.parametrize("center", CENTERS)
def test_awr_chain(center):
    item = frame(center, (300.0, 300.0, 300.0))
    c, z, cube = np.array(center) - [0.5, 0.5, 0], center[2], 300
    us, ue = (int(c[0] + s * cube / 2 / z * 588.03 + 0.5) for s in (-1, 1))
    vs, ve = (int(c[1] + s * cube / 2 / z * 587.07 + 0.5) for s in (-1, 1))
    part = np.zeros((ve - vs, ue - us))
    for y in range(vs, ve):
        for x in range(us, ue):
            if 0 <= x < 640 and 0 <= y < 480:
                d = float(item.image[y, x])
                part[y - vs, x - us] = 0 if d > z + 150 else z - 150 if 0 < d < z - 150 else d
    scale = min(128 / part.shape[1], 128 / part.shape[0])
    w, h = int(part.shape[1] * scale), int(part.shape[0] * scale)
    whole = np.zeros((128, 128))
    y, x = int((128 - h) / 2), int((128 - w) / 2)
    whole[y : y + h, x : x + w] = cv2.resize(part, (w, h), interpolation=cv2.INTER_NEAREST)
    whole[(whole == whole.max()) | (whole == 0)] = z + 150
    wanted = (np.clip(whole, z - 150, z + 150) - z) / 150
    image, back = cut(item, (128, 128), "awr")
    np.testing.assert_allclose(image / 150, wanted, atol=1e-6)
    shift = math.floor(64 - w / 2), math.floor(64 - h / 2)
    for joint in item.keypoints:
        u, v, d = joint - [0.5, 0.5, 0]
        there = np.linalg.solve(np.vstack([back, [0, 0, 0, 1]]), [*joint, 1])
        assert there[0] == pytest.approx((u - us) * scale + shift[0], abs=1e-6)
        assert there[1] == pytest.approx((v - vs) * scale + shift[1], abs=1e-6)
        assert there[2] == pytest.approx(d - z, abs=1e-6)


def test_exact_crop_keeps_every_pixel_in_its_place():
    """A frame that tells each pixel's own column: the crop must say the same within half a pixel of the crop."""
    item = frame(cube=(300.0, 300.0, 3000.0))
    columns = np.tile(np.arange(640, dtype=np.float32) + 0.5 + 400, (480, 1))
    image, back = cut(replace(item, image=columns), (96, 96))
    for y, x in [(3, 5), (50, 40), (90, 91)]:
        file_x = (back @ [x + 0.5, y + 0.5, 0, 1])[0]
        assert image[y, x] + item.center[2] - 400 == pytest.approx(file_x, abs=0.51)


@pytest.mark.parametrize("mode", CROPS)
def test_labels_come_back_through_any_augmentation(mode):
    item = frame()
    options = Augmentation(rotation=180, area=[0.5, 1.5], mirror=0.5, noise=0.05, erase=0.5)
    for seed in range(20):
        made = crop(item, (64, 64), options, np.random.default_rng(seed), list(range(5)), mode)
        image = made.inputs["image"]
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        assert np.abs(image).max() <= 150
        points = np.c_[made.keypoints[0], np.ones(5)] @ made.to_file.T
        np.testing.assert_allclose(points, item.keypoints, atol=1e-6)


def test_depth_grows_with_the_crop():
    item = frame()
    matrix = random_matrix((64, 64), Augmentation(rotation=0, area=[0.25, 0.25]), np.random.default_rng(0))
    plain, _ = cut(item, (64, 64))
    zoomed, back = cut(item, (64, 64), extra=matrix)
    assert back[2, 2] == pytest.approx(0.5)
    seen = zoomed[zoomed < 150]
    known = np.sort((item.image - item.center[2]).ravel())
    place = np.searchsorted(known, seen / 2).clip(1, known.size - 1)
    assert np.minimum(np.abs(known[place] - seen / 2), np.abs(known[place - 1] - seen / 2)).max() < 1e-3
    assert np.abs(seen).max() > 100
    assert np.abs(plain[plain < 150]).max() > 100


def test_what_lies_out_of_the_cube_is_background():
    item = frame()
    image, _ = cut(item, (64, 64))
    assert (image == 150).any()
    assert (np.abs(image[image != 150]) < 150).all()
    empty, _ = cut(replace(item, image=np.zeros_like(item.image)), (64, 64))
    assert (empty == 150).all()


def test_noise_stays_on_surfaces_and_erasing_in_its_rectangle():
    image = np.full((32, 32), 150.0)
    image[:16] = 10.0
    noisy = disturb(image, 150.0, Augmentation(noise=0.2), np.random.default_rng(1))
    assert (noisy[16:] == 150).all()
    assert (noisy[:16] != 10).mean() > 0.9
    untouched = disturb(image, 150.0, Augmentation(), np.random.default_rng(1))
    assert (untouched == image).all()
    changed = disturb(np.zeros((32, 32)), 150.0, Augmentation(erase=1.0), np.random.default_rng(1)) != 0
    rows, columns = np.nonzero(changed)
    share = changed.mean()
    assert 0.01 < share < 0.45
    assert changed[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].mean() > 0.95


def test_unknown_crop_is_named():
    with pytest.raises(ValueError, match="crop='nearest' is not known; choose one of exact, a2j, awr"):
        cut(frame(), (64, 64), "nearest")


def test_space_and_pixels():
    import torch

    points = torch.tensor([[[100.0, 50.0, 500.0], [320.5, 240.5, 800.0]]])
    camera = torch.tensor(CAMERA).float()[None]
    space = to_space(points, camera)
    assert space[0, 1].tolist() == pytest.approx([0, 0, 800], abs=1e-3)
    assert space[0, 0, 0].item() == pytest.approx((100 - 320.5) / 588.03 * 500, rel=1e-5)
    torch.testing.assert_close(to_pixels(space, camera), points)


def test_batches_of_depth(balls):
    import torch

    training = TrainingBatches(balls(8), "source", 0, 4, (32, 32), Augmentation(noise=0.1), True, views=2)[0]
    assert training.image.shape == (4, 1, 32, 32)
    assert training.to_file.shape == (4, 3, 4)
    assert training.keypoints.shape == (4, 3, 3)
    assert training.inputs["reach"].tolist() == [150.0] * 4
    assert training.views[0].inputs["reach"].tolist() == [150.0] * 4
    assert torch.equal(training.to("cpu").inputs["reach"], training.inputs["reach"])


class Broken:
    """Balls of which some frames cannot be used."""

    def __init__(self, balls, broken, count=400, which=(1, 2)):
        self.inner, self.broken, self.which = balls(count), broken, which
        self.name, self.skeleton, self.identity = "broken", self.inner.skeleton, {}

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        item = self.inner[index]
        return self.broken(item) if index in self.which else item


def spoiled(**fields):
    return lambda item: replace(item, **{name: value(item) for name, value in fields.items()})


BROKEN = {
    "all zero": spoiled(image=lambda i: np.zeros_like(i.image)),
    "metres": spoiled(image=lambda i: i.image / 1000),
    "not a number": spoiled(image=lambda i: np.where(i.image > 700, np.nan, i.image)),
    "centre outside": spoiled(center=lambda i: np.array([900.0, 10.0, 600.0])),
    "centre nowhere": spoiled(center=lambda i: np.array([np.nan, 10.0, 600.0])),
    "empty cube": spoiled(center=lambda i: np.array([16.0, 16.0, 3000.0])),
    "no cube": spoiled(cube=lambda i: np.zeros(3)),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_unusable_depth_is_skipped_in_training_and_masked_in_evaluation(balls, broken):
    dataset = Broken(balls, broken)
    batches = TrainingBatches(dataset, "source", 0, 400, (32, 32), Augmentation(), True)
    with pytest.warns(UserWarning, match=r"skipped: .*balls.plain/[12]"):
        sample = batches[0]
    assert sample.image.isfinite().all()
    assert not {"balls.plain/1", "balls.plain/2"} & set(sample.id)
    with pytest.warns(UserWarning, match="left out of the metrics"):
        sample = EvaluationBatches(dataset, 4, (32, 32))[0]
    assert sample.image.isfinite().all()
    assert sample.keypoints.isfinite().all()
    assert sample.annotated.any(1).tolist() == [True, False, False, True]


def test_too_much_unusable_depth_stops_the_run(balls):
    dataset = Broken(balls, BROKEN["all zero"], 40, range(25))
    batches = TrainingBatches(dataset, "source", 0, 40, (32, 32), Augmentation(), True)
    with (
        pytest.warns(UserWarning, match="skipped"),
        pytest.raises(ValueError, match="more than 50 % of the depth frames are unusable"),
    ):
        batches[0]
