"""Whole persons: joint limits, lengths, families of poses, and limbs that stay out of the body."""

import numpy as np
import pytest

from keyshift.datasets.bodies.skeletons import H36M17
from keyshift.datasets.rendered.body_flesh import arm_clearance
from keyshift.datasets.rendered.person_anatomy import (
    LEGS,
    PERSON,
    PERSON_DOF,
    PERSON_LIMITS,
    PLACE,
    SIDES,
    Person,
    leg_axes,
    place_person,
    sample_person,
    within_person_limits,
)
from keyshift.datasets.rendered.person_flesh import OWNS, PERSON_PARTS, person_cones
from keyshift.datasets.rendered.person_poses import FAMILIES, LAB, WILD, Stance, leg_to, legs_apart, sample_stance

BONES = (
    *(("hip", "knee", "thigh"), ("knee", "ankle", "shank"), ("shoulder", "elbow", "upper_arm")),
    ("elbow", "wrist", "forearm"),
)


@pytest.fixture(scope="module")
def stances() -> list[tuple[Person, Stance]]:
    rng = np.random.default_rng(0)
    drawn = []
    for family in FAMILIES:
        for _ in range(6):
            person = sample_person(rng, 0.3)
            drawn.append((person, sample_stance(rng, person, {family: 1.0})))
    return drawn


def test_the_first_joints_are_those_of_human36m() -> None:
    assert PERSON.keypoints[:17] == H36M17.keypoints
    assert PERSON.select(PERSON.keypoints[:17]).flip_pairs == H36M17.flip_pairs
    assert PERSON.root == 0
    assert PERSON.extent == 2000
    assert set(LAB) <= set(FAMILIES) == set(WILD)
    assert OWNS.any((0, 1)).all()


def test_statures_are_human() -> None:
    rng = np.random.default_rng(1)
    adults = np.array([sample_person(rng).body.stature for _ in range(300)])
    children = np.array([sample_person(rng, 1.0).body.stature for _ in range(50)])
    assert adults.min() >= 1450
    assert adults.max() <= 2000
    assert adults.std() > 80
    assert children.max() <= 1450
    for _ in range(20):
        person = sample_person(rng)
        joints = place_person(person, np.zeros(len(PERSON_DOF))).joints
        height = joints[PLACE["head_top"], 1] - joints[PLACE["left_ankle"], 1] + person.body.lengths["ankle"]
        assert 0.9 < height / person.body.stature < 1.1


def test_angles_stay_within_the_limits(stances: list[tuple[Person, Stance]]) -> None:
    for _, stance in stances:
        assert stance.angles is not None
        assert (stance.angles >= PERSON_LIMITS[:, 0] - 1e-9).all(), stance.family
        assert (stance.angles <= PERSON_LIMITS[:, 1] + 1e-9).all(), stance.family
        np.testing.assert_allclose(within_person_limits(stance.angles), stance.angles, atol=1e-9)


def test_knees_and_elbows_bend_one_way(stances: list[tuple[Person, Stance]]) -> None:
    """Measured on the joints: the shin lies behind the thigh's line, seen along the knee's axis."""
    for person, stance in stances:
        assert stance.angles is not None
        for side, leg in enumerate(LEGS):
            mirror = np.array([-1.0 if side == 0 else 1.0, 1, 1])
            hip, knee, ankle = (stance.pose.joints[PLACE[f"{SIDES[side]}_{n}"]] for n in ("hip", "knee", "ankle"))
            straight = stance.angles[leg].copy()
            straight[3:] = 0
            kneecap = leg_axes(straight)[2] * mirror
            assert (ankle - knee) @ kneecap <= 1e-6, stance.family
            bones = [bone / np.linalg.norm(bone) for bone in (knee - hip, ankle - knee)]
            bend = np.arccos(np.clip(bones[0] @ bones[1], -1, 1))
            np.testing.assert_allclose(bend, stance.angles[leg.start + 3], atol=1e-6)
        for side in SIDES:
            arm = stance.pose.joints[[PLACE[f"{side}_{n}"] for n in ("shoulder", "elbow", "wrist")]]
            assert np.linalg.norm(arm[2] - arm[0]) > 0.2 * person.body.lengths["upper_arm"]


def test_bones_keep_their_lengths_in_all_poses(stances: list[tuple[Person, Stance]]) -> None:
    for person, stance in stances:
        for side in SIDES:
            for start, end, name in BONES:
                bone = stance.pose.joints[PLACE[f"{side}_{end}"]] - stance.pose.joints[PLACE[f"{side}_{start}"]]
                np.testing.assert_allclose(np.linalg.norm(bone), person.body.lengths[name], rtol=1e-9)


def test_limbs_stay_out_of_the_body_and_of_each_other(stances: list[tuple[Person, Stance]]) -> None:
    for person, stance in stances:
        assert legs_apart(person, stance.pose), stance.family
        for side in (0, 1):
            room, _ = arm_clearance(person.body, stance.pose.upper, side)
            assert room.min() >= -1e-9, stance.family


def test_planted_feet_are_level_with_the_floor() -> None:
    rng = np.random.default_rng(2)
    for family in ("stand", "gesture", "lunge", "bend", "sit"):
        off = []
        for _ in range(10):
            person = sample_person(rng)
            stance = sample_stance(rng, person, {family: 1.0})
            heights = stance.pose.ankles @ stance.root[1]
            off.append(abs(heights[0] - heights[1]))
        assert np.median(off) < 10, (family, off)


def test_a_leg_reaches_where_it_is_sent() -> None:
    rng = np.random.default_rng(3)
    person = sample_person(rng)
    size = person.body.lengths
    for _ in range(50):
        goal = np.array([rng.uniform(-60, 200), rng.uniform(-750, -300), rng.uniform(-200, 350)])
        thigh, shank, *_ = leg_axes(np.append(leg_to(person, goal, rng.uniform(0, 0.6)), 0))
        np.testing.assert_allclose(size["thigh"] * thigh + size["shank"] * shank, goal, atol=1e-6)


def test_joints_lie_in_the_flesh(stances: list[tuple[Person, Stance]]) -> None:
    for person, stance in stances[::5]:
        a, b, radii = person_cones(person, stance.pose)
        axis = b - a
        for name, joint in zip(PERSON.keypoints, stance.pose.joints, strict=True):
            share = (((joint - a) * axis).sum(1) / np.maximum((axis**2).sum(1), 1e-9)).clip(0, 1)
            distance = np.linalg.norm(joint - a - share[:, None] * axis, axis=1)
            inside = distance < radii[:, 0] + share * (radii[:, 1] - radii[:, 0])
            owners = OWNS[:, :, PERSON.keypoints.index(name)].any(0)
            assert (inside & owners).any(), (name, stance.family)
    assert len(PERSON_PARTS) == len(a)


def test_another_number_of_angles_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(25,\), not \(26,\)"):
        place_person(sample_person(np.random.default_rng(0)), np.zeros(25))
