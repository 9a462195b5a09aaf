"""What augmentation does to pictures besides turning and cutting them."""

from dataclasses import replace

import numpy as np
import pytest

from keyshift.datasets.augment import Augmentation, erased, occluded, random_matrix, recolor, rectangle
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


NORMAL = Augmentation(rotation=60, area=[0.5625, 1.5625], mirror=0.5, draws="normal", color=0, blur=0)


def reference_config(rng):
    """get_aug_config of PoseNet: scale of the box, degrees, whether it is mirrored."""
    scale = np.clip(rng.standard_normal(), -1.0, 1.0) * 0.25 + 1.0
    turn = np.clip(rng.standard_normal(), -2.0, 2.0) * 30 if rng.random() <= 0.6 else 0
    return scale, turn, rng.random() <= 0.5


def test_normal_draws_are_distributed_as_the_references():
    """Side over the box's, angle and mirror image, by their quantiles over 4,000 draws each; there is no shift."""
    rng, drawn, wanted = np.random.default_rng(0), [], []
    for _ in range(4000):
        matrix = random_matrix((64, 64), NORMAL, rng)
        linear = matrix[:2, :2]
        mirror = np.linalg.det(linear) < 0
        turned = np.diag([-1.0, 1.0]) @ linear if mirror else linear
        angle = np.rad2deg(np.arctan2(turned[1, 0], turned[0, 0]))
        drawn.append((1 / np.sqrt(abs(np.linalg.det(linear))), angle, mirror))
        wanted.append(reference_config(rng))
        np.testing.assert_allclose(matrix @ [32, 32, 1], [32, 32, 1], atol=1e-9)
    (sides, turns, mirrors), (scales, angles, flips) = (np.array(part, float).T for part in (drawn, wanted))
    shares = np.linspace(0, 1, 21)
    np.testing.assert_allclose(np.quantile(sides, shares), np.quantile(scales, shares), atol=0.03)
    np.testing.assert_allclose(np.quantile(turns, shares), np.quantile(angles, shares), atol=5)
    assert np.mean(turns == 0) == pytest.approx(np.mean(angles == 0), abs=0.03)
    assert np.mean(mirrors) == pytest.approx(np.mean(flips), abs=0.03)
    for values, ends in ((sides, (0.75, 1.25)), (turns, (-60, 60))):
        assert (values.min(), values.max()) == pytest.approx(ends)
        assert np.isclose(values, ends[0]).mean() > 0.01  # cut at the ends, not drawn again


def test_uniform_draws_are_what_they_were():
    """Angle, area, shift in x and y, mirror image: five numbers in that order, as earlier versions drew them."""
    options = Augmentation(rotation=40, area=[0.5, 1.5], mirror=0.5)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        angle, share = np.deg2rad(rng.uniform(-40, 40)), np.sqrt(rng.uniform(0.5, 1.5))
        offset = rng.uniform(-0.5, 0.5, 2) * abs(1 - share) * np.array([64, 48])
        mirror = -1.0 if rng.random() < 0.5 else 1.0
        x, y = np.array([5.0, 7.0]) - [32, 24]
        x, y = np.cos(angle) * x - np.sin(angle) * y - offset[0], np.sin(angle) * x + np.cos(angle) * y - offset[1]
        wanted = [mirror * x / share + 32, y / share + 24]
        same = np.random.default_rng(seed)
        np.testing.assert_allclose((random_matrix((64, 48), options, same) @ [5, 7, 1])[:2], wanted, atol=1e-9)
        assert same.random() == rng.random()


def test_colour_channels_are_multiplied():
    """Each by a factor of its own, without a shift to the dark."""
    plain = np.full((8, 8, 3), 100, np.uint8)
    gains = np.stack([recolor(plain, replace(OFF, gain=0.2), np.random.default_rng(s))[0, 0] / 100 for s in range(400)])
    assert gains.min() >= 0.8
    assert gains.max() <= 1.2
    assert np.abs(gains.mean(0) - 1).max() < 0.02
    assert np.abs(np.corrcoef(gains.T) - np.eye(3)).max() < 0.15
    assert recolor(np.full((8, 8, 3), 250, np.uint8), replace(OFF, gain=0.2), np.random.default_rng(0)).max() <= 255
    rng = np.random.default_rng(5)
    wanted = np.clip(np.rint(100 * rng.uniform(0.8, 1.2, 3)), 0, 255)
    assert recolor(plain, replace(OFF, gain=0.2), np.random.default_rng(5))[0, 0].tolist() == wanted.tolist()


def test_principal_colours_are_added_to_all_pixels_alike():
    """One shift a picture, spread as ImageNet's colours: the variance of p_1 a_1 l_1 + p_2 a_2 l_2 + p_3 a_3 l_3."""
    plain = np.full((8, 8, 3), 128, np.uint8)
    shown = [recolor(plain, replace(OFF, pca=0.1**0.5), np.random.default_rng(s)) for s in range(1500)]
    assert all((one == one[0, 0]).all() for one in shown)
    shifts = np.stack([one[0, 0] for one in shown]) - 128.0
    assert np.abs(shifts.mean(0)).max() < 2
    wanted = np.zeros((3, 3))
    for eigenvalue, colour in zip(
        (0.2175, 0.0188, 0.0045),
        ((-0.5675, -0.5808, -0.5836), (0.7192, -0.0045, -0.6948), (0.4009, -0.8140, 0.4203)),
        strict=True,
    ):
        wanted += 0.1 * (255 * eigenvalue) ** 2 * np.outer(colour, colour)
    np.testing.assert_allclose(np.cov(shifts.T), wanted, rtol=0.12)
    assert np.array_equal(changed(3, blur=0.8), changed(3, blur=0.8, pca=0.0))


def reference_rectangle(width, height, rng):
    """PoseNet's synthetic occlusion of a picture that is the box: top, left, height and width."""
    while True:
        area = (rng.random() * 0.7) * width * height
        ratio = rng.random() * (1 / 0.3 - 0.3) + 0.3
        h, w = np.sqrt(area * ratio), np.sqrt(area / ratio)
        x, y = rng.random() * (width - w - 1), rng.random() * (height - h - 1)
        if x >= 0 and y >= 0 and x + w < width and y + h < height:
            return int(y), int(x), int(h), int(w)


def test_erased_rectangles_are_distributed_as_the_references():
    rng, plain, drawn, wanted = np.random.default_rng(0), np.full((64, 64, 3), 7, np.uint8), [], []
    for _ in range(1500):
        image = erased(plain, rng)
        covered = (image != 7).any(-1)
        rows, columns = covered.any(1).nonzero()[0], covered.any(0).nonzero()[0]
        drawn.append((rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1) if len(rows) else (0, 0, 0, 0))
        wanted.append(reference_rectangle(64, 64, rng))
    shares = np.linspace(0.05, 0.95, 19)
    for ours, theirs in zip(np.array(drawn).T, np.array(wanted).T, strict=True):
        np.testing.assert_allclose(np.quantile(ours, shares), np.quantile(theirs, shares), atol=4)
    assert (plain == 7).all()
    noise = np.concatenate([erased(plain, rng)[..., 0].flatten() for _ in range(50)])
    noise = noise[noise != 7]
    assert abs(noise.mean() - 127.5) < 2
    assert np.histogram(noise, 8)[0].std() < 0.05 * len(noise) / 8


def test_erasing_is_as_likely_as_asked_for():
    shares = [(changed(seed, erase=0.5) != picture()).any() for seed in range(200)]
    assert 0.4 < np.mean(shares) < 0.6


def test_new_options_leave_the_draws_of_the_others_alone():
    plain = changed(3, color=0.25, blur=0.8)
    assert np.array_equal(plain, changed(3, color=0.25, blur=0.8, gain=0.0, erase=0.0, draws="uniform"))
