"""A target's sensor, estimated from unlabelled crops, and what it does to the source's."""

import cv2
import numpy as np
import pytest

from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import TrainingBatches
from keyshift.datasets.sensor import ALIKE, GREY, Depths, Pictures, Sensor, holes, noise, step


def scenes(count, seed):
    """Smooth pictures with a few edges."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        picture = cv2.resize(rng.uniform(40, 200, (6, 6, 3)).astype(np.float32), (64, 64))
        for _ in range(12):
            x, y = rng.integers(0, 56, 2)
            picture[y : y + 12, x : x + 12] = rng.uniform(20, 235, 3)
        made.append(picture)
    return made


def taken(pictures, blur=0.0, spread=0.0, gain=1.0, seed=5):
    rng = np.random.default_rng(seed)
    soft = [cv2.GaussianBlur(p, (0, 0), blur) if blur else p for p in pictures]
    return [(gain * p + spread * rng.standard_normal(p.shape)).round().clip(0, 255).astype(np.uint8) for p in soft]


@pytest.mark.parametrize(("blur", "spread"), [(0.0, 0.0), (1.0, 2.0), (1.5, 0.0), (0.0, 12.0)])
def test_blur_and_noise_are_read_from_crops(blur, spread):
    sensor = Sensor.between(taken(scenes(24, 0)), taken(scenes(24, 1), blur, spread), 1.0)
    assert sensor.blur == pytest.approx(blur, abs=0.4)
    assert sensor.noise / np.linalg.norm(GREY) == pytest.approx(spread, rel=0.25, abs=0.5)


def test_what_is_shown_has_the_targets_statistics():
    source, target = taken(scenes(24, 0)), taken(scenes(24, 1), 1.0, 6.0, gain=0.6)
    sensor, rng = Sensor.between(source, target, 1.0), np.random.default_rng(0)
    own, shown, other = (Pictures.of(one) for one in (source, [sensor.apply(i, rng) for i in source], target))
    assert abs(shown.noise - other.noise) < 0.2 * abs(own.noise - other.noise)
    assert shown.sharpness == pytest.approx(other.sharpness, abs=1.2 * ALIKE)
    assert np.abs(np.subtract(shown.mean, other.mean)).max() < 6
    assert any("noise" in line for line in sensor.lines())


def test_a_share_of_the_samples_stays_as_it_is():
    source = taken(scenes(8, 0))
    sensor, rng = Sensor.between(source, taken(scenes(8, 1), 0.0, 9.0), 0.5), np.random.default_rng(0)
    same = [np.array_equal(sensor.apply(source[0], rng), source[0]) for _ in range(60)]
    assert 15 < sum(same) < 45


def depths(count, spread=0.0, size=0.0, lost=0.0, seed=0):
    rng, made = np.random.default_rng(seed), []
    rows, columns = np.mgrid[:64, :64]
    for _ in range(count):
        slope = rng.uniform(-1, 1, 2)
        surface = slope[0] * (rows - 32) + slope[1] * (columns - 32) + spread * rng.standard_normal((64, 64))
        surface = size * np.round(surface / size) if size else surface
        there = (np.hypot(rows - 32, columns - 32) < 24) & (rng.random((64, 64)) >= lost)
        made.append(np.where(there, surface, 150).astype(np.float32))
    return made


def test_noise_steps_and_holes_of_depth():
    image = depths(1, spread=3.0)[0]
    assert noise(image, image < 150) == pytest.approx(3.0, rel=0.25)
    assert step(depths(1, spread=4.0, size=2.5)[0]) == pytest.approx(2.5)
    assert step(image) == 0
    assert holes(depths(1, lost=0.08)[0] < 150) == pytest.approx(0.08, abs=0.03)


def test_depth_gets_what_the_targets_sensor_has():
    source, target = depths(12), depths(12, 4.0, lost=0.1, seed=1)
    sensor, rng = Sensor.between(source, target, 1.0), np.random.default_rng(0)
    shown, other = Depths.of([sensor.apply(i, rng) for i in source]), Depths.of(target)
    assert shown.noise == pytest.approx(other.noise, rel=0.3)
    assert shown.holes == pytest.approx(other.holes, abs=0.03)


def test_too_few_crops_are_refused():
    with pytest.raises(ValueError, match="too few"):
        Sensor.between(taken(scenes(8, 0)), taken(scenes(3, 1)), 0.5)


def test_only_the_labelled_source_is_shown_so(dots):
    sensor = Sensor.between(*([d[i].image for i in range(8)] for d in (dots(8), dots(8, "shifted"))), 1.0)
    cut = dots(16), "source", 0, 4, (32, 32), Augmentation()
    plain, shown = TrainingBatches(*cut, labels=True)[0], TrainingBatches(*cut, labels=True, sensor=sensor)[0]
    assert (plain.image != shown.image).any()
    assert (plain.keypoints == shown.keypoints).all()
