"""Persons who perform whole motions: the joints that poses have frame by frame, at any rate, and made-up motion."""

from dataclasses import replace

import numpy as np
import pytest

from keyshift.datasets.bodies.skeletons import H36M17
from keyshift.datasets.reading.bvh import about
from keyshift.datasets.rendered.motion import Motion, motion_stance
from keyshift.datasets.rendered.performance import HOLD, KEYS, at_rate, improvised, performed
from keyshift.datasets.rendered.person_anatomy import sample_person

PLACE = {name: k for k, name in enumerate(H36M17.keypoints)}


@pytest.fixture(scope="module")
def motion():
    return improvised(np.random.default_rng(3), 4.0)


def test_joints_are_those_of_single_poses(motion):
    person = sample_person(np.random.default_rng(1))
    world = performed(person, motion)
    assert world.shape == (33, 17, 3)
    for frame in range(0, 33, 4):
        stance = motion_stance(person, motion, frame)
        single = stance.pose.joints[:17] @ stance.root.T
        np.testing.assert_allclose(world[frame] - world[frame, 0], single - single[0], atol=1e-9)


def test_bones_keep_their_lengths_and_persons_differ(motion):
    thighs = []
    for seed in range(3):
        person = sample_person(np.random.default_rng(seed))
        world = performed(person, at_rate(motion, 60))
        thigh = np.linalg.norm(world[:, PLACE["left_knee"]] - world[:, PLACE["left_hip"]], axis=-1)
        np.testing.assert_allclose(thigh, person.body.lengths["thigh"])
        thighs.append(thigh[0])
    assert len(set(thighs)) == 3


def test_made_up_motion_is_smooth_and_stands_on_the_floor(motion):
    person = sample_person(np.random.default_rng(0))
    world = performed(person, at_rate(motion, 50))
    steps = np.linalg.norm(np.diff(world, axis=0), axis=-1)
    assert steps.max() < 150  # mm in a fiftieth of a second: 7.5 m/s
    assert steps.mean() > 2
    ankles = world[:, [PLACE["left_ankle"], PLACE["right_ankle"]], 1].min(1)
    assert (ankles > -60).all()
    assert (ankles < 400).all()
    assert (world[:, PLACE["head_top"], 1] > 600).all()
    again = improvised(np.random.default_rng(3), 4.0)
    np.testing.assert_array_equal(again.arms, motion.arms)
    assert motion.seconds == 1 / KEYS
    assert HOLD[0] > motion.seconds, "several frames from one pose to the next"


def test_rates_share_the_time(motion):
    there = at_rate(motion, 24.0)
    assert len(there) == 4 * 24 + 1
    assert there.seconds == pytest.approx(1 / 24)
    np.testing.assert_allclose(there.pelvis[::3], motion.pelvis, atol=1e-9)
    for turn in (there.pelvis, there.chest, there.skull):
        np.testing.assert_allclose(turn @ turn.swapaxes(1, 2), np.broadcast_to(np.eye(3), turn.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(there.arms, axis=-1), 1)
    assert len(at_rate(motion, 4.0)) == 17


def test_between_two_frames_turns_are_halfway():
    turns = np.concatenate([about(1, np.array([0.0])), about(1, np.array([0.6]))])
    still, way = np.tile(np.eye(3), (2, 1, 1)), np.array([[0, 1.0, 0], [2, 1, 0]])
    arms = np.tile([0, -1.0, 0], (2, 2, 2, 1))
    legs = np.tile([0, -1.0, 0], (2, 2, 4, 1))
    motion = Motion("a", turns, still, still, arms, legs, np.zeros(2), way, 0.5)
    there = at_rate(motion, 4.0)
    np.testing.assert_allclose(there.pelvis[1], about(1, np.array([0.3]))[0], atol=1e-9)
    np.testing.assert_allclose(there.place[:, 0], [0, 1, 2])
    assert len(at_rate(replace(motion, seconds=10.0), 1000)) == 10001
