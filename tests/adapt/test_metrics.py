import math

import pytest
import torch

from keyshift.adapt import metrics
from keyshift.datasets.skeleton import HAND


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(30, 21, 2, generator=generator) * 100
    predicted = truth + 12 * torch.randn(30, 21, 2, generator=generator)
    mask = torch.rand(30, 21, generator=generator) > 0.3
    mask[:, 4] = False
    return predicted, truth, mask, torch.rand(30, generator=generator) * 50 + 75


def test_pck_epe_auc_against_loops(case):
    predicted, truth, mask, side = case
    errors = metrics.relative_errors(predicted, truth, side)
    pairs = [(n, k) for n in range(30) for k in range(21) if mask[n, k]]
    away = {p: math.dist(predicted[p].tolist(), truth[p].tolist()) for p in pairs}
    share = {(n, k): away[n, k] / side[n].item() for n, k in pairs}
    assert metrics.epe(predicted, truth, mask).item() == pytest.approx(sum(away.values()) / len(pairs), rel=1e-5)
    for threshold in (0.05, 0.1, 0.2):
        wanted = sum(e <= threshold for e in share.values()) / len(pairs)
        assert metrics.pck(errors, mask, threshold).item() == pytest.approx(wanted)
    per_joint = metrics.pck_per_joint(errors, mask, 0.1)
    assert per_joint[4].isnan()
    for k in (0, 7):
        own = [e <= 0.1 for (n, j), e in share.items() if j == k]
        assert per_joint[k].item() == pytest.approx(sum(own) / len(own))
    thresholds = torch.linspace(0, 0.2, 2001)
    curve = metrics.pck_curve(errors, mask, thresholds)
    assert curve[1000].item() == pytest.approx(metrics.pck(errors, mask, thresholds[1000].item()).item())
    area = torch.trapezoid(curve, thresholds.double()) / 0.2
    assert metrics.auc(errors, mask, 0.2).item() == pytest.approx(area.item(), abs=1e-3)


def test_groups_leave_out_joints_that_never_count(case):
    predicted, truth, mask, side = case
    per_joint = metrics.pck_per_joint(metrics.relative_errors(predicted, truth, side), mask, 0.1)
    groups = metrics.group_means(per_joint, HAND.groups)
    tips = [per_joint[k].item() for k in (8, 12, 16, 20)]  # the thumb's tip is never seen
    assert groups["fingertip"] == pytest.approx(sum(tips) / 4)


def test_nothing_to_score_is_nan(case):
    predicted, truth, mask, side = case
    none = torch.zeros_like(mask)
    errors = metrics.relative_errors(predicted, truth, side)
    assert metrics.pck(errors, none, 0.1).isnan()
    assert metrics.epe(predicted, truth, none).isnan()


def test_length_for_each_keypoint(case):
    predicted, truth, _, side = case
    each = side[:, None].expand(-1, 21)
    torch.testing.assert_close(
        metrics.relative_errors(predicted, truth, each), metrics.relative_errors(predicted, truth, side)
    )


def test_reference_pooling_counts_minus_one_as_a_number():
    groups = {"all": (0, 1)}
    batches = [(torch.tensor([1.0, -1.0]), 3), (torch.tensor([0.5, 0.5]), 1)]
    assert metrics.tllib_pool(batches, groups)["all"] == pytest.approx((0 * 3 + 0.5) / 4)
