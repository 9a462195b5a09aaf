"""Pose NMS against loops written from the formulas, and cases whose answers are known."""

import math
from dataclasses import replace
from operator import itemgetter

import numpy as np
import pytest
import torch

from keyshift.datasets.bodies.skeletons import COCO17, COCO19, LSP14, SMPL24, oks_sigmas
from keyshift.models.output import Poses
from keyshift.models.pose_nms import ALPHAPOSE, RMPE, OksNMS, PoseNMS, one_each

FORMS = {
    "rmpe": RMPE,
    "alphapose": ALPHAPOSE,
    "squared": replace(RMPE, squared=True, joints=17),
    "mixed": PoseNMS(delta1=0.3, mu=1.2, gamma=14, matches=9, near=4, radius=6, highest=False, least=0.6),
}


def crowd(seed, people=6, each=8, joints=17, spread=6.0, images=3):
    """Candidates of several pictures: people whom several answer for, more or less exactly."""
    rng = np.random.default_rng(seed)
    points, confidence, image = [], [], []
    for picture in range(images):
        for _ in range(people):
            person = rng.uniform(0, 400, 2) + rng.uniform(-60, 60, (joints, 2))
            for _ in range(each):
                points.append(person + rng.normal(0, spread * rng.random(), (joints, 2)))
                confidence.append(rng.uniform(0, 1, joints) * rng.choice([0.25, 1, 1]) * (rng.random(joints) > 0.05))
                image.append(2 * picture)
    points = np.array(points)
    middle, half = points.mean(1), rng.uniform(50, 90, (len(points), 2))
    poses = Poses(*map(torch.tensor, (points, np.array(confidence), np.array(image), rng.random(len(points)))))
    return poses, torch.tensor(np.concatenate([middle - half, middle + half], 1)), torch.tensor(rng.random(len(points)))


def naive_pose(poses, boxes, box_scores, o):
    """[(image, points, confidence, score, candidate)] by the words of the description, candidate by candidate."""
    joints, result = poses.points.shape[1], []
    share = joints / o.joints
    for image in sorted(set(poses.image_index.tolist())):
        rows = [r for r in range(len(poses)) if poses.image_index[r] == image]
        p = {r: poses.points[r].tolist() for r in rows}
        c = {r: [v if v else 1e-5 for v in poses.confidence[r].tolist()] for r in rows}
        own = []
        while rows:
            pick = max(rows, key=lambda r: sum(c[r]))
            left, top, right, bottom = boxes[pick].tolist()
            ref = 0.1 * max(right - left, bottom - top)
            group = []
            for j in rows:
                f, close = 0.0, 0
                for n in range(joints):
                    px = math.dist(p[pick][n], p[j][n])
                    d = px / ref if o.unit == "box" else px
                    if d <= 1:
                        f += math.tanh(c[pick][n] / o.delta1) * math.tanh(c[j][n] / o.delta1)
                    f += o.mu * math.exp(-(d**2 if o.squared else d) / o.delta2)
                    close += px <= min(ref, o.near)
                if f > o.gamma * share or (o.matches and close >= o.matches * share):
                    group.append(j)
            group = group if pick in group else [*group, pick]
            rows = [r for r in rows if r not in group]
            radius = ref if o.radius is None else min(ref, o.radius)
            points, sure = [], []
            for n in range(joints):
                near = [j for j in group if math.dist(p[pick][n], p[j][n]) <= radius]
                total = sum(c[j][n] for j in near)
                points.append([sum(c[j][n] / total * p[j][n][axis] for j in near) for axis in (0, 1)])
                weighted = sum(c[j][n] / total * c[j][n] for j in near)
                sure.append(max(c[j][n] for j in near) if o.highest else weighted)
            if max(c[pick]) < o.least or max(sure) < o.least:
                continue
            score = sum(sure) / joints + box_scores[pick].item() + 1.25 * max(sure)
            own.append((image, points, sure, score, pick))
        result += sorted(own, key=lambda one: -one[3])
    return result


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_pose_nms_against_loops(form, seed):
    poses, boxes, box_scores = crowd(seed, spread=(3.0, 8.0, 20.0)[seed])
    made = one_each(poses, FORMS[form], boxes, box_scores)
    wanted = naive_pose(poses, boxes, box_scores, FORMS[form])
    images, points, confidence, score, picks = zip(*wanted, strict=True)
    assert 12 <= len(made.rows) < len(poses)
    assert made.rows.tolist() == list(picks)
    assert made.poses.image_index.tolist() == list(images)
    np.testing.assert_allclose(made.poses.points, points, rtol=0, atol=1e-9)
    np.testing.assert_allclose(made.poses.confidence, confidence, rtol=0, atol=1e-12)
    np.testing.assert_allclose(made.poses.score, score, rtol=0, atol=1e-12)


def naive_oks(poses, boxes, sigmas, threshold):
    kept = []
    for r in sorted(range(len(poses)), key=lambda r: (poses.image_index[r].item(), -poses.score[r].item())):
        area = [float((boxes[k, 2] - boxes[k, 0]) * (boxes[k, 3] - boxes[k, 1])) for k in range(len(poses))]
        likes = []
        for k in (k for k in kept if poses.image_index[k] == poses.image_index[r]):
            each = []
            for n, sigma in enumerate(sigmas):
                d2 = math.dist(poses.points[k, n].tolist(), poses.points[r, n].tolist()) ** 2
                each.append(math.exp(-d2 / (2 * sigma) ** 2 / ((area[k] + area[r]) / 2 + np.spacing(1)) / 2))
            likes.append(sum(each) / len(each))
        if all(like <= threshold for like in likes):
            kept.append(r)
    return kept


@pytest.mark.parametrize("threshold", [0.9, 0.6])
def test_oks_nms_against_loops(threshold):
    poses, boxes, _ = crowd(7, spread=12.0)
    made = one_each(poses, OksNMS(threshold), boxes, sigmas=COCO17.sigmas)
    wanted = naive_oks(poses, boxes, COCO17.sigmas, threshold)
    assert made.rows.tolist() == wanted
    assert 18 <= len(wanted) < len(poses)
    np.testing.assert_array_equal(made.poses.points, poses.points[wanted])
    np.testing.assert_array_equal(made.poses.score, poses.score[wanted])


def two(shift=0.0, second=0.9, joints=17):
    """A person 100 px high, and the same `shift` px to the right with another confidence."""
    person = torch.rand(joints, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 100
    points = torch.stack([person, person + torch.tensor([shift, 0.0], dtype=torch.float64)])
    confidence = torch.tensor([[0.9], [second]], dtype=torch.float64).expand(2, joints)
    return Poses(points, confidence, torch.zeros(2, dtype=torch.int64), confidence.mean(1))


@pytest.mark.parametrize("form", [RMPE, ALPHAPOSE])
def test_two_identical_people_are_one(form):
    made = one_each(two(), form, torch.tensor([[0.0, 0, 100, 100]] * 2), torch.ones(2))
    assert made.rows.tolist() == [0]
    np.testing.assert_allclose(made.poses.points[0], two().points[0], atol=1e-12)
    assert made.poses.score.item() == pytest.approx(0.9 + 1 + 1.25 * 0.9)


@pytest.mark.parametrize("form", [RMPE, ALPHAPOSE, OksNMS()])
def test_two_people_side_by_side_stay(form):
    poses = two(shift=60.0)
    made = one_each(poses, form, sigmas=COCO17.sigmas)
    assert sorted(made.rows.tolist()) == [0, 1]
    np.testing.assert_array_equal(made.poses.points, poses.points[made.rows])


@pytest.mark.parametrize("form", [RMPE, ALPHAPOSE])
def test_a_less_sure_duplicate_is_absorbed(form):
    made = one_each(two(shift=4.0, second=0.3), form, torch.tensor([[0.0, 0, 100, 100], [4, 0, 104, 100]]))
    assert made.rows.tolist() == [0]
    moved = made.poses.points[0] - two().points[0]
    np.testing.assert_allclose(moved[:, 0], 4 * 0.3 / 1.2, atol=1e-12)  # weighted by confidence
    sure = 0.9 if form.highest else (0.9**2 + 0.3**2) / 1.2
    np.testing.assert_allclose(made.poses.confidence[0], sure, atol=1e-12)


def test_joints_beyond_the_radius_are_not_merged():
    poses = two(shift=1.0)
    poses.points[1, 3] += 50  # one joint is elsewhere
    made = one_each(poses, RMPE, torch.tensor([[0.0, 0, 100, 100]] * 2))
    moved = (made.poses.points[0] - poses.points[0])[:, 0]
    np.testing.assert_allclose(moved, [0.5] * 3 + [0.0] + [0.5] * 13, atol=1e-12)


def test_gamma_scales_with_the_keypoints():
    """Published gammas are sums over 16 and 17 joints, and three joints never reach them."""
    few = Poses(two().points[:, :3], two().confidence[:, :3], two().image_index, two().score)
    box = torch.tensor([[0.0, 0, 100, 100]] * 2)
    assert len(one_each(few, RMPE, box).rows) == 1
    assert len(one_each(few, replace(RMPE, joints=3), box).rows) == 2
    assert len(one_each(two(), replace(RMPE, joints=17), box).rows) == 1


def test_people_without_a_confident_joint_are_left_out_and_counted():
    poses = two(shift=60.0, second=0.29)
    made = one_each(poses, RMPE)
    assert (made.rows.tolist(), made.weak) == ([0], 1)
    assert one_each(poses, replace(RMPE, least=0.0)).weak == 0
    unsure = Poses(poses.points, torch.zeros_like(poses.confidence), poses.image_index, poses.score)
    made = one_each(unsure, replace(RMPE, least=0.0))
    assert made.poses.points.isfinite().all()
    assert made.poses.confidence.unique().tolist() == [1e-5]


def test_the_order_of_candidates_makes_no_difference_but_for_equals():
    poses, boxes, box_scores = crowd(3)
    order = torch.cat([rows[torch.randperm(len(rows))] for rows in torch.arange(len(poses)).split(48)])
    made = one_each(poses, RMPE, boxes, box_scores)
    again = one_each(poses.each(lambda value: value[order]), RMPE, boxes[order], box_scores[order])
    assert order[again.rows].tolist() == made.rows.tolist()
    np.testing.assert_allclose(again.poses.points, made.poses.points, atol=1e-9)
    equals = two(shift=1.0)  # alike in confidence: the first is the pick
    for rows in ([0, 1], [1, 0]):
        made = one_each(equals.each(itemgetter(rows)), RMPE)
        assert made.rows.tolist() == [0]


def test_of_nobody_and_of_parts_that_do_not_fit():
    nobody = two().each(lambda value: value[:0])
    for form in (RMPE, OksNMS()):
        made = one_each(nobody, form, sigmas=COCO17.sigmas)
        assert made.poses.points.shape == (0, 17, 2)
    with pytest.raises(ValueError, match=r"boxes are of shape \(1, 4\); 2 candidates ask for \(2, 4\)"):
        one_each(two(), RMPE, torch.zeros(1, 4))
    with pytest.raises(ValueError, match="OKS needs a sigma for each of 17 keypoints; there are 0"):
        one_each(two(), OksNMS())


def test_pictures_that_come_in_turns_are_refused():
    poses = two().each(itemgetter([0, 1, 0, 1]))
    poses = replace(poses, image_index=torch.tensor([0, 1, 0, 1]))
    for form in (RMPE, OksNMS()):
        with pytest.raises(
            ValueError, match="candidates 1 and 2 are of pictures 1 and 0: image_index must be ascending"
        ):
            one_each(poses, form, sigmas=COCO17.sigmas)
    order = poses.image_index.argsort(stable=True)
    made = one_each(poses.each(itemgetter(order)), RMPE)
    assert made.poses.image_index.tolist() == [0, 1]


def test_a_single_keypoint_needs_boxes_or_pixels():
    poses = two(shift=3.0, second=0.3, joints=1)
    for form in (RMPE, replace(RMPE, unit="pixels"), replace(RMPE, radius=9.0)):
        with pytest.raises(
            ValueError, match=r"one keypoint is, is not known.*: give boxes, or unit=pixels and a radius"
        ):
            one_each(poses, form)
    with pytest.raises(ValueError, match=r"one keypoint is, is not known.*: give boxes$"):
        one_each(poses, OksNMS(), sigmas=(0.05,))
    with pytest.raises(ValueError, match=r"one keypoint is, is not known"):
        one_each(poses, RMPE, poses.points[:, 0].repeat(1, 2))  # as predictions in whole pictures have them
    assert len(one_each(poses.each(lambda value: value[:0]), RMPE).rows) == 0
    box = torch.tensor([[0.0, 0, 100, 100], [3, 0, 103, 100]])
    for form, boxes in ((RMPE, box), (ALPHAPOSE, None)):
        made = one_each(poses, form, boxes)
        assert made.rows.tolist() == [0]
        np.testing.assert_allclose((made.poses.points - poses.points[:1])[0, 0], [3 * 0.3 / 1.2, 0], atol=1e-12)


def test_sigmas_of_other_skeletons_follow_from_names():
    assert oks_sigmas(COCO17) == COCO17.sigmas
    assert oks_sigmas(COCO19)[17:] == (0.079, 0.107)
    by_name = dict(zip(LSP14.keypoints, oks_sigmas(LSP14), strict=True))
    # CrowdPose's
    assert [by_name[n] for n in ("left_shoulder", "left_ankle", "head_top", "neck")] == [0.079, 0.089, 0.079, 0.079]
    with pytest.raises(ValueError, match="of smpl24 none are published for spine1, spine2"):
        oks_sigmas(SMPL24)
