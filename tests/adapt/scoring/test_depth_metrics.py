import math

import numpy as np
import pytest
import torch

from keyshift.adapt.scoring import depth_metrics, metrics
from keyshift.datasets.depth.sets import ITOP

N, K = 40, 15


@pytest.fixture
def case():
    """Points with errors around 20 mm, one of ten far off; joint 4 and frame 7 are never annotated."""
    generator = torch.Generator().manual_seed(0)
    truth = 200 * torch.rand(N, K, 3, generator=generator) + 500
    spread = torch.where(torch.rand(N, K, 1, generator=generator) > 0.9, 60.0, 12.0)
    predicted = truth + spread * torch.randn(N, K, 3, generator=generator)
    mask = torch.rand(N, K, generator=generator) > 0.3
    mask[:, 4] = mask[7] = False
    return predicted, truth, mask


@pytest.fixture
def away(case):
    """{frame: {joint: error}} of what counts: the second implementation starts from here."""
    predicted, truth, mask = case
    values = {
        n: {k: math.dist(predicted[n, k].tolist(), truth[n, k].tolist()) for k in range(K) if mask[n, k]}
        for n in range(N)
    }
    return {n: joints for n, joints in values.items() if joints}


@pytest.fixture
def scored(case):
    predicted, truth, mask = case
    return metrics.distances(predicted, truth), mask


def share(values, limit):
    return sum(v <= limit for v in values) / len(values)


def by_joint(away):
    return {k: [joints[k] for joints in away.values() if k in joints] for k in range(K) if k != 4}


@pytest.mark.parametrize(
    ("curve", "of"),
    [
        (depth_metrics.worst_joint_curve, lambda joints: [max(joints)]),
        (depth_metrics.mean_frame_curve, lambda joints: [sum(joints) / len(joints)]),
        (depth_metrics.joint_curve, lambda joints: joints),
    ],
)
def test_curves_against_loops(scored, away, curve, of):
    values = [v for joints in away.values() for v in of(list(joints.values()))]
    thresholds = torch.arange(0.0, 85.0)
    wanted = [share(values, t) for t in range(85)]
    assert wanted[10] < wanted[60]
    assert curve(*scored, thresholds).tolist() == pytest.approx(wanted)


def test_an_error_on_the_threshold_is_a_success():
    errors, mask, at = torch.tensor([[20.0, 3.0]]), torch.ones(1, 2, dtype=torch.bool), torch.tensor([19.99, 20.0])
    assert depth_metrics.worst_joint_curve(errors, mask, at).tolist() == [0, 1]
    assert depth_metrics.mean_frame_curve(errors, mask, torch.tensor([11.49, 11.5])).tolist() == [0, 1]
    assert depth_metrics.joint_curve(errors, mask, at).tolist() == [0.5, 1]


def test_worst_joint_auc_is_the_exact_area(scored, away):
    worst = [max(joints.values()) for joints in away.values()]
    wanted = sum(max(0.0, 80 - e) / 80 for e in worst) / len(worst)
    assert depth_metrics.worst_joint_auc(*scored).item() == pytest.approx(wanted, rel=1e-6)
    fine = torch.linspace(0, 80, 20001, dtype=torch.float64)
    sampled = torch.trapezoid(depth_metrics.worst_joint_curve(*scored, fine), fine) / 80
    assert depth_metrics.worst_joint_auc(*scored).item() == pytest.approx(sampled.item(), abs=1e-4)


def test_awr_auc_against_its_own_recipe(scored, away):
    thresholds = np.linspace(0, 50, 100)
    areas = []
    for values in by_joint(away).values():
        curve = np.array([share(values, t) for t in thresholds])
        areas.append(((curve[1:] + curve[:-1]) / 2 * np.diff(thresholds)).sum() / 50)
    assert depth_metrics.awr_auc(*scored).item() == pytest.approx(sum(areas) / len(areas), rel=1e-9)


@pytest.mark.parametrize(
    ("error", "area"), [(0, 1), (1e-6, 98.5 / 99), (50 / 99 + 1e-6, 97.5 / 99), (50, 0.5 / 99), (51, 0)]
)
def test_awr_auc_of_one_error(error, area):
    errors, mask = torch.tensor([[error]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.bool)
    assert depth_metrics.awr_auc(errors, mask).item() == pytest.approx(area)


def test_map_and_its_groups_against_loops(scored, away):
    joints = {k: sum(v < 100 for v in values) / len(values) for k, values in by_joint(away).items()}
    assert min(joints.values()) < 1
    values = depth_metrics.accuracy_per_joint(*scored)
    assert values[4].isnan()
    assert {k: values[k].item() for k in joints} == pytest.approx(joints)
    assert depth_metrics.mean_average_precision(*scored).item() == pytest.approx(sum(joints.values()) / len(joints))
    groups = metrics.group_means(values, ITOP.groups)
    assert groups["hands"] == pytest.approx((joints[6] + joints[7]) / 2)
    assert groups["elbows"] == pytest.approx(joints[5])  # the right one is never annotated


def test_ten_centimetres_are_too_far():
    errors, mask = torch.tensor([[100.0, 99.999]]), torch.ones(1, 2, dtype=torch.bool)
    assert depth_metrics.mean_average_precision(errors, mask).item() == 0.5


def test_pdj_against_loops(case):
    predicted, truth, mask = (part[..., :2] if part.dim() == 3 else part for part in case)
    hits = total = 0
    for n in range(N):
        if not (mask[n, 1] and mask[n, 9] and mask[n, 12]):
            continue
        middle = [(a + b) / 2 for a, b in zip(truth[n, 9].tolist(), truth[n, 12].tolist(), strict=True)]
        torso = math.dist(truth[n, 1].tolist(), middle)
        for k in range(K):
            if mask[n, k]:
                total += 1
                hits += math.dist(predicted[n, k].tolist(), truth[n, k].tolist()) < 0.2 * torso
    assert 0 < hits < total
    assert depth_metrics.pdj(predicted, truth, mask, 0.2).item() == pytest.approx(hits / total)


def test_pdj_is_strict_and_leaves_out_frames_without_a_torso():
    truth = torch.zeros(3, 3, 2)
    truth[:2, 1:] = torch.tensor([[10.0, 4.0], [10.0, -4.0]])
    predicted = truth + torch.tensor([2.0, 0.0])  # exactly 0.2 of the torso, 10 px
    mask = torch.ones(3, 3, dtype=torch.bool)
    assert depth_metrics.pdj(predicted, truth, mask, 0.2, (0, 1, 2)).item() == 0
    predicted[0] -= torch.tensor([0.01, 0.0])
    assert depth_metrics.pdj(predicted, truth, mask, 0.2, (0, 1, 2)).item() == 0.5  # frame 2 has a torso of 0
    mask[1, 2] = False
    assert depth_metrics.pdj(predicted, truth, mask, 0.2, (0, 1, 2)).item() == 1


def test_nothing_to_score_is_nan(case):
    predicted, truth, mask = case
    errors, none, at = metrics.distances(predicted, truth), torch.zeros_like(mask), torch.tensor([10.0, 20.0])
    assert depth_metrics.worst_joint_curve(errors, none, at).isnan().all()
    assert depth_metrics.mean_frame_curve(errors, none, at).isnan().all()
    assert depth_metrics.joint_curve(errors, none, at).isnan().all()
    for score in (depth_metrics.worst_joint_auc, depth_metrics.awr_auc, depth_metrics.mean_average_precision):
        assert score(errors, none).isnan()
    assert depth_metrics.accuracy_per_joint(errors, none).isnan().all()
    assert depth_metrics.pdj(predicted[..., :2], truth[..., :2], none, 0.2).isnan()
