"""What votes on a volume are drawn to, and how far they are from it, against the dense forms written out; and in memory
that is small beside the logits."""

import math

import pytest
import torch

from keyshift.adapt.consistency import drawn, drawn_to
from keyshift.adapt.methods.pseudo_labels import ground_false, ground_truth
from keyshift.experiments.commands.bench_memory import peak_bytes
from keyshift.models.output import Grid, Poses, Votes, divergence, keypoint_divergence
from keyshift.models.parts.lazy_maps import LazyMaps, each_image, whole
from keyshift.models.parts.map_kl import lean_kl

GRID = Grid((6, 8, 7), (4.0, 4.0, 50.0), (2.0, 2.0, -125.0))
PLANE = Grid((8, 7), (4.0, 4.0), (2.0, 2.0))


def people():
    """Five people in four images, of which one is empty: points, confidence."""
    points = torch.rand(5, 3, 3) * torch.tensor([28.0, 32.0, 250.0]) - torch.tensor([0.0, 0.0, 125.0])
    return Poses(points, torch.rand(5, 3), torch.tensor([0, 0, 2, 3, 3]), torch.ones(5))


def gaussians(points, sigma):
    """(P, K, Z, H, W), cell by cell."""
    cells = torch.stack(torch.meshgrid(torch.arange(7), torch.arange(8), torch.arange(6), indexing="ij"), -1)
    away = cells.permute(2, 1, 0, 3) - (points[:, :, None, None, None] - torch.tensor(GRID.origin)) / torch.tensor(
        GRID.stride
    )
    return torch.exp(-away.square().sum(-1) / (2 * sigma**2))


def summed(maps, image_index, images=4):
    return torch.stack([maps[image_index == i].sum(0).clamp_max(1) for i in range(images)])


def kl(logits, target, epsilon):
    """(B, K), keypoint by keypoint in float64."""
    batch, _, count = logits.shape
    values = torch.zeros(batch, count, dtype=torch.float64)
    for b in range(batch):
        for k in range(count):
            goal = target[b, k].double().flatten() + epsilon
            if goal.sum() > 0:
                goal = goal / goal.sum()
                terms = goal * (goal.log() - logits[b, :, k].double().log_softmax(0))
                values[b, k] = terms[goal > 0].sum()
    return values


def test_pseudo_labels_of_a_volume_are_lazy_and_the_dense_ones():
    poses, votes = people(), Votes.from_maps(GRID, torch.randn(4, 3, 6, 8, 7))
    dense = gaussians(poses.points, 1.5)
    wanted = summed(torch.where(dense > 0.01, dense, 0.0), poses.image_index)
    (truth,) = ground_truth(votes, poses, 1.5)
    (false,) = ground_false((truth,))
    assert isinstance(truth, LazyMaps)
    assert isinstance(false, LazyMaps)
    torch.testing.assert_close(whole(truth), wanted)
    for some in (slice(0, 1), slice(1, 3), slice(3, 4), slice(2, 2)):
        torch.testing.assert_close(truth[some], wanted[some])
        others = torch.stack([sum(wanted[some, j] for j in range(3) if j != k) for k in range(3)], 1)
        torch.testing.assert_close(false[some], others.clamp(0, 1), atol=1e-6, rtol=1e-5)


def test_the_lookup_variant_of_a_volume_puts_what_is_not_positive_in_the_corner():
    poses, maps = people(), torch.rand(4, 3, 6, 8, 7)
    maps[2, 1] = -1  # the image of one person
    (truth,) = ground_truth(Votes.from_maps(GRID, maps), poses, 1.0, "lookup")
    corner = torch.zeros(1, 1, 3) + torch.tensor(GRID.origin)
    torch.testing.assert_close(truth[2:3][0, 1], GRID.target(corner, 1.0, cut=3.0)[0, 0])
    torch.testing.assert_close(truth[2:3][0, 0], GRID.target(poses.points[2:3], 1.0, cut=3.0)[0, 0])


def test_drawn_poses_of_a_volume():
    poses, keep = people(), torch.rand(5, 3) > 0.4
    (maps,), counted = drawn(GRID, poses.points, keep, poses.image_index, 2.0, 4)
    wanted = summed(gaussians(poses.points, 2.0) * keep[..., None, None, None], poses.image_index)
    torch.testing.assert_close(whole(maps), wanted)
    torch.testing.assert_close(counted, summed(keep.float(), poses.image_index))
    votes = Votes.from_maps(GRID, torch.randn(4, 3, 6, 8, 7))
    loss = drawn_to(votes, poses.points, keep, poses.image_index, 2.0)
    torch.testing.assert_close(loss, (kl(votes.logits, wanted, 0.0) * counted).mean().float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("epsilon", [0.0, 1e-7])
@pytest.mark.parametrize("lazy", [False, True])
def test_divergence_of_a_volume_is_the_dense_one_in_value_and_gradient(epsilon, lazy):
    poses, weight = people(), torch.rand(4, 3)
    logits = (3 * torch.randn(4, 6 * 8 * 7, 3)).requires_grad_()
    votes = Votes(GRID, logits)
    targets = ground_false(ground_truth(votes, poses, 1.5))
    goal = whole(targets[0])
    targets = targets if lazy else (goal,)
    wanted = kl(logits, goal, epsilon)  # image 1 shows nobody
    each = keypoint_divergence(votes, targets, epsilon)
    torch.testing.assert_close(each, wanted.float(), atol=1e-5, rtol=1e-5)
    loss = divergence(votes, targets, weight, epsilon)
    torch.testing.assert_close(loss, (wanted * weight).mean().float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(divergence(votes, targets, None, epsilon), wanted.mean().float(), atol=1e-5, rtol=1e-5)
    (own,) = torch.autograd.grad(loss, logits)
    (slope,) = torch.autograd.grad((wanted * weight).mean(), logits)
    torch.testing.assert_close(own, slope, atol=1e-7, rtol=1e-4)


def test_gradient_of_the_lean_divergence_in_double_and_half():
    target = torch.rand(2, 3, 4, 5, 3).double()
    target[1, 2] = 0
    maps = torch.randn(2, 3, 4, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: lean_kl(given, target), (maps,))
    half = maps.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        each = lean_kl(half, target.float())
    each.sum().backward()
    assert each.dtype == torch.float32
    (slope,) = torch.autograd.grad(lean_kl(wide := half.detach().double().requires_grad_(), target).sum(), wide)
    torch.testing.assert_close(half.grad.double(), slope, atol=1e-6, rtol=2**-8)


def test_maps_of_a_plane_stay_dense():
    poses = people()
    flat = Poses(poses.points[..., :2], *(getattr(poses, name) for name in ("confidence", "image_index", "score")))
    votes = Votes.from_maps(PLANE, torch.randn(4, 3, 8, 7))
    (truth,) = ground_truth(votes, flat)
    assert isinstance(truth, torch.Tensor)
    assert whole(truth) is truth
    assert torch.equal(each_image(truth, torch.neg), -truth)


def test_confidence_of_a_volume_is_that_of_the_same_cells_in_a_row():
    maps = torch.stack([torch.randn(3, 6, 8, 7), 60 * torch.randn(3, 6, 8, 7), torch.zeros(3, 6, 8, 7)])
    line = Grid((6 * 8 * 7,), (1.0,), (0.0,))
    dense = Votes.from_maps(line, maps.flatten(2)).confidence()
    torch.testing.assert_close(Votes.from_maps(GRID, maps).confidence(), dense, atol=1e-5, rtol=1e-5)
    assert dense.shape == (3, 3)


def test_a_divergence_holds_little_beside_the_gradient():
    grid = Grid((64, 64, 64), (4.0, 4.0, 31.25), (2.0, 2.0, -984.375))
    maps = torch.randn(8, 4, 64, 64, 64, requires_grad=True)
    bytes_of_logits = maps.numel() * maps.element_size()
    poses = Poses.of_crops(torch.rand(8, 4, 3) * 200, torch.ones(8, 4))
    votes = Votes.from_maps(grid, maps)

    def lean():
        divergence(votes, ground_false(ground_truth(votes, poses)), epsilon=1e-7).backward()

    assert peak_bytes(lean, "cpu") < 1.6 * bytes_of_logits  # an image's targets and a map's densities
    assert peak_bytes(votes.confidence, "cpu") < 0.15 * bytes_of_logits
    assert math.isfinite(maps.grad.abs().sum())
