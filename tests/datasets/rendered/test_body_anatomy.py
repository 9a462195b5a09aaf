"""Bodies: bones that keep their length, limits, left and right, and flesh that holds the joints and nothing else."""

import numpy as np
import pytest

from keyshift.datasets.rendered.body_anatomy import (
    ARMS,
    BODY_DOF,
    BODY_LIMITS,
    UPPER_BODY,
    Body,
    forward_body,
    place_body,
    sample_body,
    within_body_limits,
)
from keyshift.datasets.rendered.body_flesh import (
    BODY_PARTS,
    POSES,
    body_cones,
    draw_body_angles,
    keep_clear,
    sample_body_pose,
)

MIRROR = np.array([-1.0, 1.0, 1.0])
JOINT = {name: k for k, name in enumerate(UPPER_BODY.keypoints)}
DEGREE = np.pi / 180
OTHERS = list(range(BODY_PARTS.index("deltoid_right")))
"""Trunk, head and legs."""


def people(count: int, seed: int = 0) -> list[tuple[Body, np.ndarray]]:
    rng = np.random.default_rng(seed)
    bodies = [sample_body(rng) for _ in range(count)]
    return [(body, sample_body_pose(rng, body)) for body in bodies]


PEOPLE = people(150)


def standing(**degrees: float) -> tuple[Body, np.ndarray]:
    """The first body, all angles zero but those named."""
    angles = np.zeros(len(BODY_DOF))
    for name, value in degrees.items():
        angles[BODY_DOF.index(name)] = value * DEGREE
    return PEOPLE[0][0], angles


def depth_in_flesh(point: np.ndarray, body: Body, angles: np.ndarray, parts: list[int]) -> float:
    """How deep a point lies in the spheres, 301 along each cone, that make up some parts: the naive distance."""
    a, b, radii = (values[parts, None] for values in body_cones(body, angles))
    share = np.linspace(0, 1, 301)[None, :, None]
    radius = (radii[..., :1] + share * (radii[..., 1:] - radii[..., :1]))[..., 0]
    return float((radius - np.linalg.norm(a + share * (b - a) - point, axis=-1)).max())


def test_the_joints_are_itops_above_the_knees() -> None:
    assert UPPER_BODY.keypoints[-2:] == ("right_hip", "left_hip")
    assert len(UPPER_BODY.edges) == 10
    assert UPPER_BODY.groups["all"] == tuple(range(11))


def test_bones_keep_their_length_in_every_pose() -> None:
    rng = np.random.default_rng(3)
    body = sample_body(rng)
    poses = np.stack([forward_body(body, draw_body_angles(rng, name)) for name in POSES for _ in range(10)])
    for start, end in UPPER_BODY.edges:
        length = np.linalg.norm(poses[:, start] - poses[:, end], axis=-1)
        np.testing.assert_allclose(length, length[0], rtol=1e-9)
    size = body.lengths
    arm = np.linalg.norm(poses[0, JOINT["left_shoulder"]] - poses[0, JOINT["left_elbow"]])
    assert arm == pytest.approx(size["upper_arm"])
    hand = np.linalg.norm(poses[0, JOINT["right_elbow"]] - poses[0, JOINT["right_hand"]])
    assert hand == pytest.approx(size["forearm"] + size["hand"] / 2)


def test_named_angles_move_the_arms_as_they_say() -> None:
    body, angles = standing()
    size, joints = body.lengths, forward_body(body, angles)
    reach = size["upper_arm"] + size["forearm"] + size["hand"] / 2
    for side, sign in (("right", -1.0), ("left", 1.0)):

        def hand(side: str = side, **degrees: float) -> np.ndarray:
            _, angles = standing(**{f"{side}_{name}": value for name, value in degrees.items()})
            joints = forward_body(body, angles)
            return joints[JOINT[f"{side}_hand"]] - joints[JOINT[f"{side}_shoulder"]]

        fore = size["forearm"] + size["hand"] / 2
        np.testing.assert_allclose(hand(), [0, -reach, 0], atol=1e-9)
        np.testing.assert_allclose(hand(elevation=90), [sign * reach, 0, 0], atol=1e-9)
        np.testing.assert_allclose(hand(elevation=90, plane=90), [0, 0, reach], atol=1e-9)
        np.testing.assert_allclose(hand(elbow=90), [0, -size["upper_arm"], fore], atol=1e-9)
        np.testing.assert_allclose(hand(elbow=90, rotation=90), [sign * fore, -size["upper_arm"], 0], atol=1e-9)
        up = hand(elevation=90, elbow=90, rotation=90)
        np.testing.assert_allclose(up, [sign * size["upper_arm"], fore, 0], atol=1e-9)
        straight_up = hand(elevation=180, plane=90, elbow=90)
        np.testing.assert_allclose(straight_up, [0, size["upper_arm"], -fore], atol=1e-9)
    assert joints[JOINT["left_hip"], 0] > 0 > joints[JOINT["right_hip"], 0]
    np.testing.assert_allclose(joints[JOINT["left_hip"]] + joints[JOINT["right_hip"]], 0, atol=1e-9)


def test_the_trunk_leans_and_turns_to_the_sides_that_are_documented() -> None:
    straight = forward_body(*standing())
    leaning = forward_body(*standing(lean=30))
    assert leaning[JOINT["head"], 2] > 100
    assert forward_body(*standing(spine_side=20))[JOINT["head"], 0] < -50
    twisted = forward_body(*standing(spine_twist=30))
    assert twisted[JOINT["right_shoulder"], 2] > 50 > -50 > twisted[JOINT["left_shoulder"], 2]
    np.testing.assert_allclose(leaning[[9, 10]], straight[[9, 10]])


def mirrored_angles(angles: np.ndarray) -> np.ndarray:
    """The mirror image's angles: (21,) radians in and out."""
    right, left = angles[ARMS[0]], angles[ARMS[1]]
    sign = np.array([1, 1, -1, -1, 1, -1, -1])
    return np.concatenate([angles[:7] * sign, left, right, angles[19:21], angles[17:19]])


def test_a_mirrored_pose_is_the_mirror_image() -> None:
    for body, angles in PEOPLE[:30]:
        mirrored = mirrored_angles(angles)
        wanted = forward_body(body, angles)[UPPER_BODY.flip] * MIRROR
        np.testing.assert_allclose(forward_body(body, mirrored), wanted, atol=1e-9)
        a, b, radii = body_cones(body, angles)
        order = [BODY_PARTS.index(_other_side(part)) for part in BODY_PARTS]
        ends = np.stack([a, b])[:, order] * MIRROR
        ours = np.stack(body_cones(body, mirrored)[:2])
        # A cone across the body changes its ends, too.
        np.testing.assert_allclose(np.sort(ours, 0), np.sort(ends, 0), atol=1e-9)
        np.testing.assert_allclose(radii[order], radii)
        np.testing.assert_array_equal(mirrored_angles(mirrored), angles)


def _other_side(part: str) -> str:
    return part.replace("right", "LEFT").replace("left", "right").replace("LEFT", "left")


def test_poses_stay_within_the_limits() -> None:
    for _, angles in PEOPLE:
        assert (angles >= BODY_LIMITS[:, 0]).all()
        assert (angles <= BODY_LIMITS[:, 1]).all()
        np.testing.assert_allclose(within_body_limits(angles), angles, atol=1e-12)
    rng = np.random.default_rng(5)
    for _ in range(100):
        wild = within_body_limits(rng.uniform(-4, 4, len(BODY_DOF)))
        np.testing.assert_allclose(within_body_limits(wild), wild, atol=1e-12)


def test_the_shoulders_limits_depend_on_the_plane() -> None:
    def limited(**degrees: float) -> dict[str, float]:
        _, angles = standing(**{f"left_{name}": value for name, value in degrees.items()})
        return dict(zip(BODY_DOF, within_body_limits(angles) / DEGREE, strict=True))

    assert limited(plane=-90, elevation=170)["left_elevation"] == pytest.approx(60)
    assert limited(plane=90, elevation=170)["left_elevation"] == pytest.approx(170)
    assert limited(plane=0, elevation=90, rotation=-120)["left_rotation"] == pytest.approx(-70)
    assert limited(plane=0, elevation=90, rotation=120)["left_rotation"] == pytest.approx(90)
    assert limited(elbow=-20)["left_elbow"] == 0


def test_straight_up_the_elbow_bends_the_same_way_whatever_plane_the_arm_came_through() -> None:
    def forearm(plane: float, rotation: float) -> np.ndarray:
        body, angles = standing(left_plane=plane, left_elevation=180, left_elbow=90, left_rotation=rotation)
        joints = forward_body(body, within_body_limits(angles))
        return joints[JOINT["left_hand"]] - joints[JOINT["left_elbow"]]

    for end in (-400.0, 400.0):
        np.testing.assert_allclose(forearm(0, end), forearm(60, end), atol=1e-6)
    assert forearm(30, -400)[0] < -100  # over the head
    assert forearm(30, 400)[2] < -100  # behind it


def test_joints_lie_in_the_flesh() -> None:
    every = list(range(len(BODY_PARTS)))
    for body, angles in PEOPLE[:60]:
        for name, joint in zip(UPPER_BODY.keypoints, forward_body(body, angles), strict=True):
            assert depth_in_flesh(joint, body, angles, every) > 0, name


def test_hands_and_forearms_stay_out_of_trunk_and_head() -> None:
    for body, angles in PEOPLE:
        pose = place_body(body, angles)
        for point in (*pose.joints[6:8], *pose.tips, *pose.wrists):
            assert depth_in_flesh(point, body, angles, OTHERS) < 1


def test_an_arm_inside_the_body_is_pushed_out_or_refused() -> None:
    def bent(**degrees: float) -> tuple[Body, np.ndarray]:
        body, angles = standing(**{f"left_{name}": value for name, value in degrees.items()})
        assert depth_in_flesh(forward_body(body, angles)[JOINT["left_hand"]], body, angles, OTHERS) > 30
        return body, angles

    body, angles = bent(plane=-20, elevation=30, rotation=-70, elbow=80)
    moved = keep_clear(body, angles)
    assert moved is not None
    pushed = forward_body(body, moved)
    assert depth_in_flesh(pushed[JOINT["left_hand"]], body, moved, OTHERS) < 0
    assert np.linalg.norm((pushed - forward_body(body, angles))[JOINT["left_hand"]]) < 100
    assert keep_clear(*bent(plane=-30, elevation=25, rotation=-70, elbow=100)) is None


def test_the_trunk_is_wider_than_deep_and_of_human_size() -> None:
    body, angles = standing()
    a, b, radii = body_cones(body, angles)
    trunk = [BODY_PARTS.index(part) for part in ("ribs_right", "ribs_left", "breast", "pelvis", "belly")]
    ends, radius = np.concatenate([a[trunk], b[trunk]]), np.concatenate([radii[trunk, 0], radii[trunk, 1]])
    width, _, depth = np.ptp(np.concatenate([ends - radius[:, None], ends + radius[:, None]]), axis=0) / body.stature
    assert 0.17 < width < 0.24
    assert 0.11 < depth < 0.16
    top = (np.maximum(a[:, 1] + radii[:, 0], b[:, 1] + radii[:, 1])).max()
    assert 0.47 < top / body.stature < 0.56  # Winter: the hip is at 0.53 of the stature
    assert len(BODY_PARTS) == len(a) == len(b) == len(radii) <= 36


def test_people_differ_within_the_human_range() -> None:
    rng = np.random.default_rng(1)
    bodies = [sample_body(rng) for _ in range(2000)]
    stature = np.array([body.stature for body in bodies])
    assert stature.min() > 1450
    assert stature.max() < 1950
    assert stature.mean() == pytest.approx(1700, abs=10)
    assert stature.std() == pytest.approx(90, rel=0.1)
    girth = np.array([body.girth for body in bodies])
    assert 0.7 < girth.min() < 0.8
    assert 1.2 < girth.max() < 1.3


def test_hands_go_everywhere() -> None:
    joints = np.stack([forward_body(body, angles) for body, angles in PEOPLE])
    hands = joints[:, [JOINT["right_hand"], JOINT["left_hand"]]]
    assert (hands.std(0) > 150).all()
    above = hands[..., 1] > joints[:, None, JOINT["head"], 1]
    assert 0.1 < above.mean() < 0.4
    low = hands[..., 1] < joints[:, None, JOINT["torso"], 1]
    assert 0.2 < low.mean() < 0.7


def test_families_look_like_their_names() -> None:
    rng = np.random.default_rng(2)
    hand = {}
    for name in ("down", "raised", "hips", "crossed", "tee"):
        kept = []
        while len(kept) < 40:
            body = sample_body(rng)
            angles = keep_clear(body, draw_body_angles(rng, name))
            if angles is not None:
                kept.append(forward_body(body, angles))
        joints = np.median(kept, axis=0)
        hand[name] = joints[JOINT["left_hand"]] - joints[JOINT["left_shoulder"]]
    assert hand["down"][1] < -500
    assert hand["raised"][1] > 300
    assert hand["tee"][0] > 450
    assert abs(hand["hips"][0]) < 200
    assert -480 < hand["hips"][1] < -250
    assert hand["crossed"][0] < -100
    assert hand["crossed"][2] > 100
    assert sum(share for share, _, _ in POSES.values()) == pytest.approx(1)


def test_a_generator_says_all() -> None:
    for (body, angles), (same, twin) in zip(people(20), people(20), strict=True):
        assert body == same
        np.testing.assert_array_equal(angles, twin)
    assert people(1)[0][0] == PEOPLE[0][0]
    assert people(1, seed=1)[0][0] != PEOPLE[0][0]


def test_angles_of_another_shape_are_refused() -> None:
    body = PEOPLE[0][0]
    for bad in (np.zeros(20), np.zeros((1, 21))):
        for call in (within_body_limits, lambda x: forward_body(body, x)):
            with pytest.raises(ValueError, match="BODY_DOF"):
                call(bad)
