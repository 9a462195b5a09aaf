"""Errors of people in space, against loops and by hand."""

import math

import pytest
import torch

from keyshift.adapt.scoring import human36m, metrics, people_metrics
from keyshift.adapt.scoring.alignment import rigid_aligned
from keyshift.adapt.scoring.people_metrics import by_group, mpjpe, mpjve, mrpe, mrpe_axes, n_mpjpe, pa_mpjpe
from keyshift.datasets.bodies.human36m import action
from keyshift.datasets.bodies.skeletons import H36M17

N, K, ROOT = 20, 6, 2


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    truth = 400 * torch.randn(N, K, 3, generator=generator) + torch.tensor([0.0, 0, 4000])
    predicted = truth + 60 * torch.randn(N, K, 3, generator=generator)
    mask = torch.rand(N, K, generator=generator) > 0.3
    mask[3] = False
    mask[4, ROOT] = False
    return predicted, truth, mask


def rows(mask, rooted=True):
    return [n for n in range(len(mask)) if mask[n, ROOT] or not rooted]


def off(a, b):
    return math.dist(a.tolist(), b.tolist())


def test_mpjpe_against_a_loop(case):
    predicted, truth, mask = case
    away = [
        off(predicted[n, k] - predicted[n, ROOT], truth[n, k] - truth[n, ROOT])
        for n in rows(mask)
        for k in range(K)
        if mask[n, k]
    ]
    assert mpjpe(predicted, truth, mask, ROOT).item() == pytest.approx(sum(away) / len(away), rel=1e-5)
    others = len(away) - len(rows(mask))
    assert mpjpe(predicted, truth, mask, ROOT, False).item() == pytest.approx(sum(away) / others, rel=1e-5)
    absolute = [off(predicted[n, k], truth[n, k]) for n in range(N) for k in range(K) if mask[n, k]]
    assert mpjpe(predicted, truth, mask, None).item() == pytest.approx(sum(absolute) / len(absolute), rel=1e-5)


def test_mpjpe_by_hand():
    truth = torch.tensor([[[0.0, 0, 3000], [100, 0, 3000]]])
    predicted = torch.tensor([[[50.0, 0, 3500], [150, 30, 3540]]])
    both = torch.ones(1, 2, dtype=torch.bool)
    assert mpjpe(predicted, truth, both, 0).item() == 25  # 0 and 50
    assert mpjpe(predicted, truth, both, 0, count_root=False).item() == 50
    assert mpjpe(predicted, truth, torch.tensor([[False, True]]), 0).isnan()  # no root, no one


def test_pa_mpjpe_by_hand():
    square = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    turned = 3 * square[:, [1, 2, 3, 0]] + torch.tensor([7.0, 8, 9])
    assert pa_mpjpe(turned, square, mask).item() == pytest.approx(0, abs=1e-9)
    assert pa_mpjpe(turned, square, mask, scale=False).item() == pytest.approx(2)
    assert people_metrics.pa_errors(turned, square, mask, False)[0].tolist() == pytest.approx([2] * 4)


def test_n_mpjpe_against_a_loop(case):
    predicted, truth, mask = case
    away = []
    for n in rows(mask):
        known = [k for k in range(K) if mask[n, k]]
        here, there = (p[n, known].double() - p[n, ROOT].double() for p in (predicted, truth))
        factor = (here * there).sum() / (here * here).sum() if len(known) > 1 else 1
        away += [off(factor * a, b) for a, b in zip(here, there, strict=True)]
    assert n_mpjpe(predicted, truth, mask, ROOT).item() == pytest.approx(sum(away) / len(away), rel=1e-6)
    small = truth[:, ROOT : ROOT + 1] + 0.4 * (truth - truth[:, ROOT : ROOT + 1])
    assert n_mpjpe(small, truth, mask, ROOT).item() == pytest.approx(0, abs=1e-3)
    assert mpjpe(small, truth, mask, ROOT).item() > 100


@pytest.mark.parametrize("root", [None, ROOT])
@pytest.mark.parametrize("step", [1, 5])
def test_mpjve_against_a_loop(case, root, step):
    predicted, truth, mask = case
    track = torch.tensor([7] * 8 + [3] * 9 + [5] * 3)
    frame = step * torch.tensor([*range(8), *range(4), *range(5, 10), 0, 2, 4])  # one gap, and a track of gaps alone
    away = []
    for a in range(N):
        for b in range(N):
            if track[a] != track[b] or frame[b] - frame[a] != step:
                continue
            for k in range(K):
                if not (mask[a, k] and mask[b, k]) or (root is not None and not (mask[a, root] and mask[b, root])):
                    continue
                base = [p[[a, b], root] if root is not None else torch.zeros(2, 3) for p in (predicted, truth)]
                move, own = (p[[a, b], k] - o for p, o in zip((predicted, truth), base, strict=True))
                away.append(off(move[1] - move[0], own[1] - own[0]))
    shuffled = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    parts = [part[shuffled] for part in (predicted, truth, mask, track, frame)]
    velocity = mpjve(*parts[:3], root, *parts[3:], step)
    assert len(away) > 20
    assert velocity.item() == pytest.approx(sum(away) / len(away), rel=1e-5)


def test_mpjve_by_hand():
    truth = torch.zeros(3, 1, 3)
    predicted = torch.tensor([[[0.0, 0, 0]], [[3, 4, 0]], [[3, 4, 1]]])
    mask, track, frame = torch.ones(3, 1, dtype=torch.bool), torch.zeros(3).long(), torch.arange(3)
    assert mpjve(predicted, truth, mask, None, track, frame).item() == 3  # 5 and 1
    assert mpjve(predicted, truth, mask, None, track, 2 * frame).isnan()
    with pytest.raises(ValueError, match="track 0 has two poses in frame 1"):
        mpjve(predicted, truth, mask, None, track, torch.tensor([0, 1, 1]))


def test_roots_by_hand():
    truth = torch.tensor([[0.0, 0, 3000], [100, 0, 5000], [0, 0, 0]])
    predicted = truth + torch.tensor([[3.0, -4, 12], [0, 0, -100], [999, 999, 999]])
    mask = torch.tensor([True, True, False])
    assert mrpe(predicted, truth, mask).item() == (13 + 100) / 2
    assert mrpe_axes(predicted, truth, mask).tolist() == [1.5, 2, 56]


def test_means_by_group():
    values = torch.tensor([[1.0, 3], [5, 7], [100, 100], [2, 2]])
    mask = torch.tensor([[True, True], [True, False], [False, False], [True, True]])
    means = by_group(values, mask, ["b", "a", "c", "b"])
    assert list(means) == ["b", "a", "c"]
    assert (means["b"], means["a"]) == (2, 5)
    assert math.isnan(means["c"])
    assert list(by_group(values, mask, torch.tensor([4, 4, 9, 4]))) == [4, 9]
    with pytest.raises(ValueError, match="3 labels for 4 people"):
        by_group(values, mask, ["a", "b", "c"])


def test_nothing_to_score_is_nan(case):
    predicted, truth, mask = case
    track, frame = torch.zeros(N).long(), torch.arange(N)
    for own, none in ((slice(0), mask[:0]), (slice(None), torch.zeros_like(mask))):
        parts = (predicted[own], truth[own], none)
        for score in (mpjpe(*parts, ROOT), mpjpe(*parts, None), pa_mpjpe(*parts), n_mpjpe(*parts, ROOT)):
            assert score.isnan()
        assert mpjve(*parts, ROOT, track[own], frame[own]).isnan()
        assert mrpe(predicted[own, 0], truth[own, 0], none[:, 0]).isnan()
        assert mrpe_axes(predicted[own, 0], truth[own, 0], none[:, 0]).isnan().all()
    assert by_group(predicted[:0, :, 0], mask[:0], []) == {}


# Human3.6M


@pytest.fixture
def bodies():
    generator = torch.Generator().manual_seed(2)
    truth = human36m.with_thorax(300 * torch.randn(8, 17, 3, generator=generator))
    return truth + 80 * torch.randn(8, 18, 3, generator=generator), truth, torch.ones(8, 18, dtype=torch.bool)


def test_the_thorax_is_between_the_shoulders(bodies):
    _, truth, _ = bodies
    left, right = (H36M17.keypoints.index(f"{side}_shoulder") for side in ("left", "right"))
    torch.testing.assert_close(truth[:, 17], (truth[:, left] + truth[:, right]) / 2)
    assert H36M17.keypoints[human36m.PELVIS] == "pelvis"


def test_protocol_1_aligns_by_18_and_counts_17(bodies):
    predicted, truth, mask = bodies
    wanted = torch.linalg.vector_norm(rigid_aligned(predicted, truth, mask) - truth, dim=-1)[:, :17].mean()
    assert human36m.mean_error(predicted, truth, mask, 1).item() == pytest.approx(wanted.item(), rel=1e-9)
    without = pa_mpjpe(predicted[:, :17], truth[:, :17], mask[:, :17], scale=False)
    assert abs(without - wanted) > 1e-3
    assert human36m.errors(predicted, truth, mask, 1)[:, 0].min() > 1  # the pelvis is off too
    predicted[:, 17] += 1e4  # what the thorax does to the others is all that it does
    assert human36m.mean_error(predicted, truth, mask, 1) > wanted + 10


def test_protocol_2_counts_from_the_pelvis(bodies):
    predicted, truth, mask = bodies
    away = [off(predicted[n, k] - predicted[n, 0], truth[n, k] - truth[n, 0]) for n in range(8) for k in range(17)]
    assert human36m.mean_error(predicted, truth, mask, 2).item() == pytest.approx(sum(away) / len(away), rel=1e-5)
    mask[:4, 0] = False
    assert not human36m.counted(mask, 2)[:4].any()
    assert human36m.counted(mask, 1)[:4].sum() == 4 * 16


def test_actions(bodies):
    predicted, truth, mask = bodies
    assert [action(f"human36m/S9/{n:02d}_01/1") for n in (2, 14, 16)] == ["Directions", "Walking", "WalkTogether"]
    with pytest.raises(ValueError, match="action 2 to 16"):
        action("human36m/S9/17_01/1")
    names = [action(f"human36m/S9/{n:02d}_01/1") for n in (2, 3, 2, 3, 2, 16, 16, 2)]
    errors = human36m.errors(predicted, truth, mask, 1)
    means = by_group(errors, human36m.counted(mask, 1), names)
    assert means["Discussion"] == pytest.approx(errors[[1, 3]].mean().item())
    sizes = {name: names.count(name) for name in means}
    whole = sum(means[name] * size for name, size in sizes.items()) / 8
    assert whole == pytest.approx(metrics.mean(errors, mask[:, :17]).item())


def test_human36m_refuses_other_joints_and_protocols(bodies):
    predicted, truth, mask = bodies
    with pytest.raises(ValueError, match=r"of 17 joints: .* 18 joints, the thorax last"):
        human36m.errors(predicted[:, :17], truth[:, :17], mask[:, :17], 1)
    with pytest.raises(ValueError, match="protocol 3"):
        human36m.errors(predicted, truth, mask, 3)
