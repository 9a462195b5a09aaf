"""What a detector makes of true keypoints: as often and as far off as it says, for a while at a time."""

import numpy as np
import pytest

from keyshift.datasets.bodies.skeletons import H36M17
from keyshift.datasets.rendered.detector import Detector, drifting, held

NAMES, SIZE, FRAMES = H36M17.keypoints, (1000, 800), 4000


@pytest.fixture(scope="module")
def truth():
    """A person of 400 px who stands still."""
    pose = np.random.default_rng(0).uniform(300, 700, (17, 2))
    pose[0], pose[1] = (300, 300), (500, 700)
    return np.tile(pose, (FRAMES, 1, 1))


def detected(truth, seed=1, **errors):
    return Detector(**errors).detect(truth, SIZE, NAMES, np.random.default_rng(seed))


def test_an_exact_one_is_exact_and_sure(truth):
    found = detected(truth)
    np.testing.assert_array_equal(found[..., :2], truth)
    np.testing.assert_array_equal(found[..., 2], 1)
    np.testing.assert_array_equal(
        Detector(0.1, 2.0, 0.1, 0.2, 0.1, 0.1).times(0).detect(truth, SIZE, NAMES, np.random.default_rng(0)), found
    )


@pytest.mark.parametrize("memory", [0.0, 3.0])
def test_noise_grows_with_the_person_and_stays_a_while(truth, memory):
    found = detected(truth, noise=0.02, memory=memory)
    for name, hard in (("pelvis", 1.0), ("left_wrist", 1.6)):
        k = NAMES.index(name)
        away = found[:, k, :2] - truth[:, k]
        assert away.std() == pytest.approx(0.02 * 400 * hard, rel=0.15)
        alike = np.corrcoef(away[:-1, 0], away[1:, 0])[0, 1]
        assert (alike > 0.8) == (memory > 0)
    half = detected(500 + (truth - 500) / 2, noise=0.02, memory=memory)
    assert (half[:, 0, :2] - 400).std() == pytest.approx((found[:, 0, :2] - 300).std() / 2, rel=0.05)


def test_misses_are_far_off_rare_and_unsure(truth):
    found = detected(truth, noise=0.005, missed=0.05)
    away = np.linalg.norm(found[..., :2] - truth, axis=-1) / 400
    far = away > 0.1
    assert far.mean() == pytest.approx(0.05, abs=0.01)
    assert found[far, 2].max() < 0.65 < found[~far, 2].mean()
    assert np.quantile(away[far], 0.98) > 3 * np.median(away[far]), "a heavy tail"
    assert ((found[..., :2] >= 0) & (found[..., :2] <= SIZE)).all()


def test_swapped_limbs_are_each_others_places(truth):
    found = detected(truth, swapped=0.2, memory=2.0)
    moved = np.linalg.norm(found[..., :2] - truth, axis=-1) > 0
    left, right = NAMES.index("left_knee"), NAMES.index("right_knee")
    legs = moved[:, left]
    assert legs.mean() == pytest.approx(0.2, abs=0.05)
    np.testing.assert_array_equal(found[legs][:, [left, right], :2], truth[legs][:, [right, left]])
    np.testing.assert_array_equal(legs, moved[:, NAMES.index("right_ankle")])
    assert (legs != moved[:, NAMES.index("left_wrist")]).any(), "arms and legs by themselves"
    assert not moved[:, NAMES.index("pelvis")].any()
    assert (found[..., 2] == 1).all(), "with confidence"
    ends = np.flatnonzero(np.diff(legs.astype(int)))
    assert np.diff(ends).mean() > 3, "for a while"


def test_lost_joints_have_no_confidence_and_stay_where_they_were():
    moving = np.cumsum(np.ones((50, 17, 2)), 0) * 5 + 100
    found = detected(moving, lost=0.3)
    lost = found[..., 2] == 0
    assert 0.2 < lost.mean() < 0.4
    np.testing.assert_array_equal(found[~lost][:, :2], moving[~lost])
    frames, joints = np.nonzero(lost)
    for t, k in zip(frames, joints, strict=True):
        seen = np.flatnonzero(~lost[:, k])
        before = seen[seen < t]
        np.testing.assert_array_equal(found[t, k, :2], moving[before[-1] if len(before) else seen[0], k])


def test_what_is_not_in_the_picture_is_lost(truth):
    moved = truth[:5].copy()
    moved[2, 4], moved[3, 4], moved[1, 2] = (-5, 400), np.nan, (300, 801)
    found = detected(moved)
    assert np.argwhere(found[..., 2] == 0).tolist() == [[1, 2], [2, 4], [3, 4]]
    np.testing.assert_array_equal(found[3, 4, :2], truth[0, 4])
    assert np.isfinite(detected(np.full((3, 17, 2), np.nan))).all()


def test_held_against_a_loop():
    rng = np.random.default_rng(2)
    found, lost = rng.random((8, 3, 3)), rng.random((8, 3)) < 0.5
    lost[:, 2] = True
    made = held(found, lost)
    for k in range(3):
        seen = [t for t in range(8) if not lost[t, k]] or [0]
        for t in range(8):
            source = max((s for s in seen if s <= t), default=seen[0])
            np.testing.assert_array_equal(made[t, k, :2], found[source, k, :2])
            assert made[t, k, 2] == (0 if lost[t, k] else found[t, k, 2])


def test_drifts_have_unit_deviation():
    for memory in (0.0, 1.0, 5.0):
        values = drifting(np.random.default_rng(0), (4000, 20), memory)
        assert values.shape == (4000, 20)
        assert values.std() == pytest.approx(1, abs=0.05)
