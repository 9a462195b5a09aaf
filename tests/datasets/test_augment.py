"""What augmentation does to pictures besides turning and cutting them."""

from dataclasses import replace

import numpy as np
import pytest

from keyshift.datasets.augment import Augmentation, occluded, recolor, rectangle
from keyshift.datasets.loading import TrainingBatches, loader
from keyshift.datasets.options import BadOption

OFF = Augmentation(rotation=0, area=[1, 1], color=0, blur=0)
ALL = {"hue": 0.5, "grey": 0.5, "occlude": 1.0, "resolution": 0.3, "jpeg": 20}


def picture():
    ramp = np.linspace(0, 255, 64)
    noise = np.random.default_rng(0).uniform(0, 60, (64, 64))
    return np.stack([ramp[None].repeat(64, 0), ramp[:, None].repeat(64, 1), noise], -1).astype(np.uint8)


def changed(seed=0, **options):
    return recolor(picture(), replace(OFF, **options), np.random.default_rng(seed)).astype(float)


def test_nothing_is_asked_for_and_nothing_changes():
    assert np.array_equal(changed(), picture())


def test_each_does_what_it_is_named_for():
    plain = picture().astype(float)
    grey = changed(grey=1.0)
    assert np.ptp(grey, axis=-1).max() == 0
    hue = changed(hue=0.5)
    assert np.abs(hue.max(-1) - plain.max(-1)).mean() < 3  # the value stays, the colour does not
    assert np.abs(hue - plain).mean() > 10
    fine = np.abs(np.diff(plain[..., 2], axis=1)).mean()
    assert np.abs(np.diff(changed(resolution=0.1, seed=1)[..., 2], axis=1)).mean() < 0.5 * fine
    assert 0 < np.abs(changed(jpeg=10) - plain).mean() < 25


def test_a_rectangle_shows_another_place_of_the_picture():
    plain = picture()
    for seed in range(20):
        covered = occluded(plain, np.random.default_rng(seed))
        rows, columns = ((covered != plain).any(axes).nonzero()[0] for axes in ((1, 2), (0, 2)))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert 0.015 * 64**2 <= height * width <= 0.2 * 64**2
        assert {tuple(p) for p in covered.reshape(-1, 3)} <= {tuple(p) for p in plain.reshape(-1, 3)}
    shares = [(changed(seed, occlude=0.3) != plain).any() for seed in range(200)]
    assert 0.2 < np.mean(shares) < 0.4


def test_rectangles_lie_in_the_picture():
    for seed in range(200):
        y, x, height, width = rectangle((20, 30), (0.5, 1.0), np.random.default_rng(seed))
        assert 0 <= y <= y + height <= 20
        assert 0 <= x <= x + width <= 30


def test_a_batch_is_the_same_in_any_worker(dots):
    def made(**options):
        augmentation = Augmentation(**options)
        return TrainingBatches(dots(8), "source", 3, 4, (32, 32), augmentation, True, views=2)

    one, other = made(**ALL), list(loader(made(**ALL), range(2), workers=1))
    assert all((one[step].image == other[step].image).all() for step in (1, 0))
    assert (one[0].image != made()[0].image).any()
    assert (one[0].keypoints == made()[0].keypoints).all()  # geometry is drawn first


@pytest.mark.parametrize("wrong", [{"hue": 0.6}, {"resolution": 0}, {"jpeg": 101}, {"occlude": 2.0}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(BadOption, match=next(iter(wrong))):
        Augmentation(**wrong)
