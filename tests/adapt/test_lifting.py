"""What a lifted pose says of itself: each term against a loop, and where it is nothing."""

import numpy as np
import pytest
import torch

from keyshift.adapt.anatomy import asymmetry, lengths, sides_of
from keyshift.adapt.lifting import beyond, changing, rays, rooted, soft, unseen
from keyshift.adapt.methods.lift import Lift, Terms
from keyshift.datasets.loading import EvaluationBatches
from keyshift.datasets.views import as_clips

LENS = torch.tensor([[1100.0, 1150.0, 500.0, 480.0]] * 6)


def seen(points, lens=LENS):
    """Places (P, K, 2) px of points (P, K, 3) mm."""
    return points[..., :2] / points[..., 2:] * lens[:, None, :2] + lens[:, None, 2:]


@pytest.fixture
def poses():
    """Six poses of five joints, mm from the first, and where that stands."""
    generator = torch.Generator().manual_seed(5)
    points = torch.randn(6, 5, 3, generator=generator) * 300
    roots = torch.randn(6, 3, generator=generator) * torch.tensor([500.0, 300, 400]) + torch.tensor([0, 0, 4000.0])
    return points - points[:, :1], roots


def test_the_root_is_that_of_a_solver_and_exact_where_rays_are(poses):
    points, roots = poses
    along = rays(seen(points + roots[:, None]), LENS)
    weight = torch.rand(6, 5) + 0.1
    placed, known = rooted(points, along, weight)
    torch.testing.assert_close(placed, roots, atol=2.0, rtol=1e-3)  # float32 at 4 m
    assert known.all()
    along = along + torch.randn(6, 5, 2) * 0.01
    placed, _ = rooted(points.double(), along.double(), weight.double())
    for p in range(6):
        rows, values = [], []
        for k in range(5):
            (u, v), (x, y, z), c = along[p, k].tolist(), points[p, k].tolist(), float(weight[p, k]) ** 0.5
            rows += [[c, 0, -c * u], [0, c, -c * v]]
            values += [c * (u * z - x), c * (v * z - y)]
        wanted = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
        np.testing.assert_allclose(placed[p], wanted, rtol=1e-6)


def test_a_joint_without_confidence_does_not_move_the_root(poses):
    points, roots = poses
    places = seen(points + roots[:, None])
    weight = torch.ones(6, 5)
    weight[:, 3], places[:, 3] = 0, 0
    placed, known = rooted(points, rays(places, LENS), weight)
    torch.testing.assert_close(placed, roots, atol=2.0, rtol=1e-3)
    assert known.all()


def test_what_says_no_distance_is_not_located_and_has_finite_gradients(poses):
    points, _ = poses
    points = points.clone().requires_grad_()
    one_place, unknown = torch.full((6, 5, 2), 500.0), torch.zeros(6, 4)
    for places, lens, weight in (
        (one_place, LENS, 1.0),
        (torch.rand(6, 5, 2) * 1000, LENS, 0.0),
        (one_place, unknown, 1.0),
    ):
        placed, known = rooted(points, rays(places, lens), torch.full((6, 5), weight))
        assert not known.any()
        apart = unseen(points + placed[:, None], rays(places, lens))
        (gradient,) = torch.autograd.grad((apart * known[:, None]).sum(), points)
        assert gradient.isfinite().all()


def test_reprojection_is_nothing_where_it_is_exact_and_the_distance_to_rays_elsewhere(poses):
    points, roots = poses
    world = (points + roots[:, None]).double().requires_grad_()
    along = rays(seen(world.detach(), LENS.double()), LENS.double())
    apart = unseen(world, along)
    assert apart.max() < 1e-5
    (gradient,) = torch.autograd.grad(soft(apart / 300).sum(), world)
    assert gradient.abs().max() < 1e-9
    moved = world.detach() + torch.tensor([30.0, -40.0, 0.0])
    torch.testing.assert_close(unseen(moved, along), torch.full((6, 5), 50.0).double(), rtol=1e-4, atol=0)


def test_lengths_that_change_against_a_loop():
    length, others = torch.rand(4, 3) + 1, torch.rand(7, 3) + 1
    own, keys = torch.tensor([3, 1, 3, 8]), torch.tensor([1, 3, 3, 8, 1, 1, 3])
    value = changing(length, own, others, keys)
    for p in range(4):
        for e in range(3):
            same = [float(others[q, e]) for q in range(7) if keys[q] == own[p]]
            mean = sum(same) / len(same)
            assert float(value[p, e]) == pytest.approx((float(length[p, e]) - mean) / mean, abs=1e-6)
    steady = torch.tensor([[300.0, 400], [300, 400], [500, 100]], requires_grad=True)
    nothing = soft(changing(steady, torch.tensor([1, 1, 2]), steady, torch.tensor([1, 1, 2])))
    (gradient,) = torch.autograd.grad(nothing.sum(), steady)
    assert nothing.max() == 0 == gradient.abs().max()


def test_lengths_within_what_is_known_cost_nothing():
    length = torch.tensor([[100.0, 200.0], [130.0, 150.0]], requires_grad=True)
    value = beyond(length, torch.tensor([100.0, 200]), torch.tensor([10.0, 20]), 1.0)
    torch.testing.assert_close(value, torch.tensor([[0.0, 0], [0.2, 0.15]]))
    (gradient,) = torch.autograd.grad(value.sum(), length)
    assert gradient[0].abs().max() == 0
    assert gradient[1].tolist() == pytest.approx([0.01, -0.005])


def test_true_poses_of_recordings_fulfil_every_term(toys):
    """Symmetric, of constant lengths, and seen where they are but for the detector's noise: mirrored, too."""
    skeleton, data = toys.FIGURE, toys.Recordings(toys.Recordings.Options(train=3, frames=12), "train")
    batch = EvaluationBatches(as_clips(data, 5), 36, (1000, 1000))[0]
    edges, sides = torch.tensor(skeleton.edges), torch.tensor(sides_of(skeleton.edges, skeleton.flip))
    points = batch.keypoints.double().requires_grad_()
    value = asymmetry(lengths(points, edges), sides)
    assert value.shape == (36, 2)
    assert value.max() < 1e-6
    model = toys.BodyLifter(6, toys.BodyLifter.Options())
    terms = Terms(model, skeleton, Lift.Options(hold=0, lengths=list(lengths(batch.keypoints[:1], edges)[0].tolist())))
    first = [row for row in range(36) if batch.sequence[row] == batch.sequence[0]]
    losses = terms(batch.keypoints, batch)
    assert losses["symmetry"] < 1e-6
    assert losses["bones"] < 1e-6
    assert losses["reprojection"] < 1e-3
    assert losses["known"] > 0  # the others are of other lengths
    alone = terms(batch.keypoints[first], EvaluationBatches(as_clips(data, 5), 12, (1000, 1000))[0])
    assert alone["known"] < 1e-6
    wrong = terms(batch.keypoints * torch.tensor([1.0, 1.0, 0.3]), batch)
    assert all(wrong[name] > 10 * losses[name] for name in ("symmetry", "bones", "known"))
    assert terms(batch.keypoints[:, :, [1, 0, 2]], batch)["reprojection"] > 100 * losses["reprojection"]
