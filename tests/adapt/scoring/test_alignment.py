"""Poses laid on others, against scipy and by hand."""

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.transform import Rotation

from keyshift.adapt.scoring.alignment import rigid_aligned, root_aligned, scaled, similarity_aligned

N, K = 12, 9


@pytest.fixture
def poses():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 300, (N, K, 3)) + rng.normal(0, 2000, (N, 1, 3))
    predicted = truth + rng.normal(0, 120, truth.shape)
    mask = rng.random((N, K)) > 0.3
    mask[:, :4] = True
    return torch.tensor(predicted), torch.tensor(truth), torch.tensor(mask)


def moved(points, turn, scale=1.0, shift=(0.0, 0.0, 0.0)):
    return torch.tensor(scale * Rotation.from_rotvec(turn).apply(points.numpy()) + np.array(shift))


def test_rigid_against_scipy(poses):
    predicted, truth, mask = poses
    aligned = rigid_aligned(predicted, truth, mask)
    for n in range(N):
        known = mask[n].numpy()
        here, there = predicted[n].numpy(), truth[n].numpy()
        middle, goal = here[known].mean(0), there[known].mean(0)
        turn, _ = Rotation.align_vectors(there[known] - goal, here[known] - middle)
        np.testing.assert_allclose(aligned[n], turn.apply(here - middle) + goal, atol=1e-6)


def test_similarity_against_scipy(poses):
    predicted, truth, mask = poses
    aligned = similarity_aligned(predicted, truth, mask)
    compared = 0
    for n in range(N):
        known = mask[n].numpy()
        here, there = predicted[n].numpy(), truth[n].numpy()
        middle, goal = here[known].mean(0), there[known].mean(0)
        turn, spread = orthogonal_procrustes(here[known] - middle, there[known] - goal)
        if np.linalg.det(turn) < 0:  # scipy would mirror
            continue
        compared += 1
        scale = spread / ((here[known] - middle) ** 2).sum()
        np.testing.assert_allclose(aligned[n], scale * (here - middle) @ turn + goal, atol=1e-6)
    assert N > compared > N // 2


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_similarity_leaves_least_squares(poses, side):
    predicted, truth, mask = poses
    predicted = predicted * torch.tensor([side, 1.0, 1.0])
    aligned = similarity_aligned(predicted, truth, mask)

    def left(points):
        return ((points - truth).square().sum(-1) * mask).sum(1)

    rng = np.random.default_rng(1)
    for _ in range(20):
        turn, scale, shift = rng.normal(0, 0.02, 3), 1 + rng.normal(0, 0.01), rng.normal(0, 3, 3)
        other = torch.stack([moved(aligned[n], turn, scale, shift) for n in range(N)])
        assert (left(other) >= left(aligned)).all()
    assert (left(aligned) <= left(rigid_aligned(predicted, truth, mask))).all()


def test_a_moved_pose_comes_back_and_a_grown_one_only_by_a_similarity(poses):
    _, truth, _ = poses
    mask = torch.ones(N, K, dtype=torch.bool)
    turned = torch.stack([moved(t, (0.5, -2.0, 1.0), 1, (900.0, 0.0, -70.0)) for t in truth])
    torch.testing.assert_close(rigid_aligned(turned, truth, mask), truth)
    grown = 1.25 * turned
    torch.testing.assert_close(similarity_aligned(grown, truth, mask), truth)
    middle = truth.mean(1, keepdim=True)
    torch.testing.assert_close(rigid_aligned(grown, truth, mask), middle + 1.25 * (truth - middle))


def test_a_mirrored_pose_stays_mirrored(poses):
    _, truth, _ = poses
    mask = torch.ones(N, K, dtype=torch.bool)
    mirrored = truth * torch.tensor([-1.0, 1.0, 1.0])
    for align in (rigid_aligned, similarity_aligned):
        aligned = align(mirrored, truth, mask)
        assert (torch.linalg.vector_norm(aligned - truth, dim=-1).mean(1) > 50).all()
        # four points that span a solid tell a rotation from a mirror
        bones, own = (points[:, 1:4] - points[:, :1] for points in (aligned, truth))
        assert (torch.linalg.det(bones) * torch.linalg.det(own) < 0).all()
    for n in range(N):
        middle, goal = mirrored[n].mean(0), truth[n].mean(0)
        turn, _ = Rotation.align_vectors(truth[n] - goal, mirrored[n] - middle)
        wanted = turn.apply(mirrored[n] - middle) + goal.numpy()
        np.testing.assert_allclose(rigid_aligned(mirrored, truth, mask)[n], wanted, atol=1e-6)


def test_a_mirrored_triangle_is_turned_over():
    flat = torch.tensor([[[0.0, 0, 0], [100, 0, 0], [0, 50, 0]]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    torch.testing.assert_close(rigid_aligned(flat * torch.tensor([-1.0, 1, 1]), flat, mask), flat.double())


def test_what_is_masked_takes_no_part(poses):
    predicted, truth, mask = poses
    wild = torch.where(mask.unsqueeze(-1), truth, torch.nan)
    for align in (rigid_aligned, similarity_aligned, scaled):
        torch.testing.assert_close(align(predicted, wild, mask), align(predicted, truth, mask))


def test_few_joints(poses):
    predicted, truth, mask = poses
    few = torch.zeros_like(mask)
    for align in (rigid_aligned, similarity_aligned, scaled):
        torch.testing.assert_close(align(predicted, truth, few), predicted)
    few[:, 3] = True
    for align in (rigid_aligned, similarity_aligned):
        torch.testing.assert_close(align(predicted, truth, few)[:, 3], truth[:, 3])
        single = align(predicted[:, :1], truth[:, :1], few[:, 3:4])
        torch.testing.assert_close(single, truth[:, :1])
        assert align(predicted[:0], truth[:0], few[:0]).shape == (0, K, 3)
    few[:, 5] = True  # two joints: along one line, the middle in one place
    aligned = rigid_aligned(predicted, truth, few)
    middle, goal = aligned[:, [3, 5]].mean(1), truth[:, [3, 5]].mean(1)
    torch.testing.assert_close(middle, goal)
    bone, own = aligned[:, 5] - aligned[:, 3], truth[:, 5] - truth[:, 3]
    torch.testing.assert_close(torch.linalg.cross(bone, own).abs().max(), torch.tensor(0.0).double(), atol=1e-5, rtol=0)
    assert ((bone * own).sum(-1) > 0).all()


def test_scale_against_a_loop(poses):
    predicted, truth, mask = poses
    for n, pose in enumerate(scaled(predicted, truth, mask)):
        pairs = [(predicted[n, k, d].item(), truth[n, k, d].item()) for k in range(K) if mask[n, k] for d in range(3)]
        factor = sum(p * t for p, t in pairs) / sum(p * p for p, _ in pairs)
        torch.testing.assert_close(pose, factor * predicted[n])
    nothing = torch.zeros_like(predicted)
    assert (scaled(nothing, truth, mask) == 0).all()


def test_root():
    points = torch.tensor([[[1.0, 2, 3], [5, 5, 5]]])
    assert root_aligned(points, 1).tolist() == [[[-4, -3, -2], [0, 0, 0]]]
    assert root_aligned(points, 0).tolist() == [[[0, 0, 0], [4, 3, 2]]]


def test_single_precision_is_enough_to_give(poses):
    predicted, truth, mask = poses
    aligned = rigid_aligned(predicted.float(), truth.float(), mask)
    assert aligned.dtype == torch.float64
    torch.testing.assert_close(aligned, rigid_aligned(predicted, truth, mask), atol=1e-2, rtol=0)
