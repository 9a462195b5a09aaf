"""What stands beside the headline of people in space, against loops over people and joints."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from keyshift.adapt.scoring.evaluation import Predictions, scores
from keyshift.adapt.scoring.space_scores import SHOWN, h36m_points
from keyshift.datasets.bodies.skeletons import H36M17, H36M18, MPI3DHP17
from keyshift.datasets.sample import PIXELS_AND_MM, ROOT_MM
from keyshift.datasets.skeleton import Skeleton

PEOPLE = 6


def predictions(skeleton, rooted=True, own_depth=False, seed=0):
    """People before cameras, and answers that are off by some pixels and millimetres; some joints are not known."""
    draw = np.random.default_rng(seed)
    k, root = len(skeleton), skeleton.root
    points = draw.uniform(-900, 900, (PEOPLE, k, 3)) + np.array([0, 0, 4000])
    camera = np.stack([draw.uniform(300, 900, PEOPLE)] * 2 + [draw.uniform(100, 300, PEOPLE)] * 2, 1)
    flat = points[..., :2] / points[..., 2:] * camera[:, None, :2] + camera[:, None, 2:]
    depth = points[:, root, 2]
    truth = np.concatenate([flat, points[..., 2:] - (depth[:, None, None] if rooted else 0)], -1)
    annotated = draw.random((PEOPLE, k)) > 0.2
    annotated[:, root] = np.arange(PEOPLE) > 0  # of the first person the root is not known: nothing counts
    annotated &= annotated[:, root : root + 1]
    known = {"depth": torch.tensor(depth), "root": root} if rooted else {}
    if own_depth:
        known["own_depth"] = torch.tensor(depth + draw.normal(0, 200, PEOPLE))
    return Predictions(
        points=torch.tensor(truth + draw.normal(0, [8, 8, 60], truth.shape)),
        confidence=torch.ones(PEOPLE, k),
        truth=torch.tensor(truth),
        annotated=torch.tensor(annotated),
        visible=torch.tensor(annotated),
        side=torch.full((PEOPLE,), 200.0),
        camera=torch.tensor(camera),
        sequence=tuple(f"s{i % 2}" for i in range(PEOPLE)),
        id=tuple(map(str, range(PEOPLE))),
        row=torch.arange(PEOPLE),
        matched=torch.ones(PEOPLE, dtype=torch.bool),
        space=ROOT_MM if rooted else PIXELS_AND_MM,
        **known,
    )


def space(point, depth, camera):
    x, y, z = point.tolist()
    fx, fy, cx, cy = camera.tolist()
    return np.array([(x - cx) / fx * (z + depth), (y - cy) / fy * (z + depth), z + depth])


def poses(made, own=False):
    """Of each person who counts the predicted joints and the true ones in the camera's frame, and which are known."""
    for i in range(PEOPLE):
        known = [k for k in range(made.points.shape[1]) if made.annotated[i, k]]
        if known:
            depth = float(made.depth[i])
            mine = float(made.own_depth[i]) if own else depth
            here = np.array([space(p, mine, made.camera[i]) for p in made.points[i]])
            there = np.array([space(p, depth, made.camera[i]) for p in made.truth[i]])
            yield here, there, known


def test_poses_from_the_root():
    made, root = predictions(H36M17), H36M17.root
    result = scores(made, H36M17, 0.1)
    plain, fitted, near, area = [], [], [], []
    for here, there, known in poses(made):
        here, there = here - here[root], there - there[root]
        factor = sum(here[k] @ there[k] for k in known) / sum(here[k] @ here[k] for k in known)
        plain += [math.dist(here[k], there[k]) for k in known]
        fitted += [math.dist(factor * here[k], there[k]) for k in known]
        away = [math.dist(here[k], there[k]) for k in known if k != root]
        near += [a <= 150 for a in away]
        area += [max(0, 1 - a / 150) for a in away]
    wanted = {"mm": plain, "n_mm": fitted, "pck_150mm": near, "auc_150mm": area}
    assert {name: result[name] for name in wanted} == pytest.approx({n: np.mean(v) for n, v in wanted.items()})
    assert result["pa_mm"] < result["n_mm"] < result["mm"]
    assert 0.1 < result["pck_150mm"] < 0.95  # neither end, or the comparison says little
    assert not {"mrpe", "mrpe_x", "absolute_mm"} & result.keys()


def test_the_aligned_error_forgets_rotation_shift_and_size():
    made, turn = predictions(H36M17), np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    for i, (depth, camera) in enumerate(zip(made.depth.tolist(), made.camera, strict=True)):
        body = np.array([space(p, depth, camera) for p in made.truth[i]])
        body = 0.8 * (body - body[0]) @ turn.T + body[0]
        flat = body[:, :2] / body[:, 2:] * camera[:2].numpy() + camera[2:].numpy()
        made.points[i] = torch.tensor(np.concatenate([flat, body[:, 2:] - depth], 1))
    result = scores(made, H36M17, 0.1)
    assert result["pa_mm"] == pytest.approx(0, abs=1e-6)
    assert result["mm"] > 200
    assert result["protocol1_mm"] > 30  # this one may not change the size


@pytest.mark.parametrize("skeleton", [H36M17, H36M18, H36M18.select(H36M18.keypoints[::-1])])
def test_the_protocols_of_human36m(skeleton):
    made = predictions(skeleton)
    made.annotated[:] = True
    result = scores(made, skeleton, 0.1)
    joints = [skeleton.keypoints.index(name) for name in H36M17.keypoints]
    away = [
        math.dist(here[k] - here[skeleton.root], there[k] - there[skeleton.root])
        for here, there, _ in poses(made)
        for k in joints
    ]
    assert result["protocol2_mm"] == pytest.approx(np.mean(away))
    assert result["protocol1_mm"] < result["protocol2_mm"]
    if skeleton is H36M17:
        assert result["protocol2_mm"] == pytest.approx(result["mm"])


def test_other_skeletons_have_no_such_protocol():
    assert "protocol1_mm" not in scores(predictions(MPI3DHP17), MPI3DHP17, 0.1)
    assert h36m_points(torch.zeros(2, 17, 3), MPI3DHP17) is None


def test_a_made_up_thorax_is_known_where_both_shoulders_are():
    mask = torch.ones(2, 17, dtype=torch.bool)
    mask[1, 11] = False
    assert h36m_points(mask, H36M17)[:, 17].tolist() == [True, False]


def test_roots_alone():
    pelvis = H36M17.select(("pelvis",))
    made = predictions(pelvis, rooted=False)
    result = scores(made, pelvis, 0.1)
    off = [
        space(made.points[i, 0], 0, made.camera[i]) - space(made.truth[i, 0], 0, made.camera[i])
        for i in range(PEOPLE)
        if made.annotated[i, 0]
    ]
    assert result["mm"] == pytest.approx(np.mean([np.linalg.norm(one) for one in off]))
    assert [result[f"mrpe_{axis}"] for axis in "xyz"] == pytest.approx(np.abs(off).mean(0).tolist())
    assert not {"mrpe", "pa_mm", "pck_150mm"} & result.keys()


def test_poses_whose_distance_is_answered_too():
    made, root = predictions(H36M17, own_depth=True), H36M17.root
    result = scores(made, H36M17, 0.1)
    away, off = [], []
    for i, (here, there, known) in zip(range(1, PEOPLE), poses(made, own=True), strict=True):
        away += [math.dist(here[k], there[k]) for k in known]
        x, y, _ = made.points[i, root].tolist()
        off.append(space(torch.tensor([x, y, 0.0]), float(made.own_depth[i]), made.camera[i]) - there[root])
    assert result["absolute_mm"] == pytest.approx(np.mean(away))
    assert result["mrpe"] == pytest.approx(np.mean([np.linalg.norm(one) for one in off]))
    assert [result[f"mrpe_{axis}"] for axis in "xyz"] == pytest.approx(np.abs(off).mean(0).tolist())
    apart = scores(replace(made, own_depth=None), H36M17, 0.1)
    assert all(result[name] == apart[name] for name in apart)  # the true distance still judges the pose


def test_other_answers_have_none_of_it():
    center = Skeleton("center", ("center",), groups={"all": (0,)})
    made = predictions(H36M17.select(("pelvis",)), rooted=False)
    assert not SHOWN.keys() & scores(made, center, 0.1).keys()  # a depth frame's centre is nobody's root


def test_a_part_of_the_people():
    made = predictions(H36M17)
    rows = torch.tensor([name == "s1" for name in made.sequence])
    part = made.select(rows)
    assert part.sequence == ("s1", "s1", "s1")
    assert part.id == ("1", "3", "5")
    assert torch.equal(part.points, made.points[rows])
    assert torch.equal(part.depth, made.depth[rows])
    assert part.root == made.root


def test_numbers_as_they_are_shown():
    assert SHOWN["pck_150mm"].show(0.8176) == "81.8"
    assert SHOWN["mrpe"].show(120.04) == "120.0"
    assert SHOWN["mrpe"].show(math.nan) == SHOWN["mrpe"].show(None) == "–"
