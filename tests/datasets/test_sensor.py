"""A target's sensor, estimated from unlabelled crops, and what it does to the source's."""

import cv2
import numpy as np
import pytest

from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import TrainingBatches
from keyshift.datasets.sensor import Depths, Pictures, Sensor, holes, noise_of_depth, step, within


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


def boxed(pictures):
    """The same between black bars, as a letterbox or a crop that reaches out of its picture."""
    return [np.pad(picture, ((20, 12), (0, 24), (0, 0))) for picture in pictures]


@pytest.mark.parametrize("bars", [False, True])
@pytest.mark.parametrize(("blur", "spread"), [(0, 0), (0.5, 6), (1, 2), (1, 12), (1.5, 0), (2, 4), (0, 2), (0, 20)])
def test_blur_and_noise_are_read_from_crops(blur, spread, bars):
    target = taken(scenes(24, 1), blur, spread)
    sensor = Sensor.between(taken(scenes(24, 0)), boxed(target) if bars else target, 1.0)
    assert sensor.blur == pytest.approx(blur, rel=0.2)
    assert sensor.noise == pytest.approx(spread, rel=0.2, abs=0.3)
    assert sensor.other.shared < 0.1


@pytest.mark.parametrize("spread", [2, 8, 20])
def test_tiny_crops_say_it_too(spread):
    small = [[cv2.resize(one, (32, 32), interpolation=cv2.INTER_AREA) for one in scenes(12, seed)] for seed in (0, 1)]
    assert Sensor.between(taken(small[0]), taken(small[1], 0, spread), 1.0).noise == pytest.approx(spread, rel=0.3)


def test_noise_comes_to_what_the_source_has_already():
    source, target = taken(scenes(24, 0), 0, 6), taken(scenes(24, 1), 0, 10, seed=6)
    assert Sensor.between(source, target, 1.0).noise == pytest.approx(8, rel=0.15)
    assert Sensor.between(target, source, 1.0).noise == 0


def test_a_grey_camera_makes_grey_pictures():
    rng = np.random.default_rng(0)
    grey = [
        np.repeat(one.mean(-1, keepdims=True) + 8 * rng.standard_normal((64, 64, 1)), 3, -1) for one in scenes(12, 1)
    ]
    sensor = Sensor.between(taken(scenes(12, 0)), [one.round().clip(0, 255).astype(np.uint8) for one in grey], 1.0)
    assert sensor.noise == pytest.approx(8, rel=0.2)
    assert sensor.other.shared > 0.95
    shown = sensor.apply(taken(scenes(1, 3))[0], rng)
    assert (np.ptp(shown, axis=-1) == 0).all()


def test_black_beyond_the_picture_stays_black():
    source = taken(scenes(12, 0), 0, 0)
    sensor = Sensor.between(source, taken(scenes(12, 1), 0, 9, gain=0.6), 1.0)
    shown = sensor.apply(boxed(source)[0], np.random.default_rng(0))
    assert not shown[:20].any()
    assert not shown[:, -24:].any()
    assert (within(shown).shape[0] - 60) ** 2 <= 16


def test_a_clip_is_shown_so_in_all_frames_or_none():
    clip = np.stack(taken(scenes(3, 0)))
    sensor, rng = Sensor.between(taken(scenes(8, 0)), taken(scenes(8, 1), 0, 9), 0.5), np.random.default_rng(0)
    same = [(sensor.apply(clip, rng) == clip).all((1, 2, 3)) for _ in range(20)]
    assert {one.all() or not one.any() for one in same} == {True}
    assert 2 < sum(one.all() for one in same) < 18


def test_what_is_shown_has_the_targets_statistics():
    source, target = taken(scenes(24, 0)), taken(scenes(24, 1), 1.0, 6.0, gain=0.6)
    sensor, rng = Sensor.between(source, target, 1.0), np.random.default_rng(0)
    own, shown, other = (Pictures.of(one) for one in (source, [sensor.apply(i, rng) for i in source], target))
    assert abs(shown.noise - other.noise) < 0.2 * abs(own.noise - other.noise)
    assert shown.sharpness == pytest.approx(other.sharpness, abs=0.05)
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
    assert noise_of_depth(image, image < 150) == pytest.approx(3.0, rel=0.25)
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
