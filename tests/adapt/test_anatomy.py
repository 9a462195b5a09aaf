"""What a skeleton says of poses, against loops, in 2D and 3D."""

import itertools
import math

import pytest
import torch

from keyshift.adapt.anatomy import (
    asymmetry,
    corners_of,
    cosines,
    in_file,
    lengths,
    located,
    orientations,
    parents_of,
    proportions,
    sides_of,
)
from keyshift.datasets.sample import PIXELS_AND_MM, Unlabeled
from keyshift.datasets.skeleton import HAND
from keyshift.models.output import Grid, Poses, Votes

BONES = [(0, 1), (1, 2), (1, 3), (2, 4), (3, 5)]
FLIP = [0, 1, 3, 2, 5, 4]
"""A head, a neck, two shoulders, two hands."""


@pytest.fixture(params=[2, 3])
def points(request):
    return torch.rand(4, 6, request.param, generator=torch.Generator().manual_seed(request.param)) * 50


def test_against_a_loop(points):
    bones, corners, sides = (torch.tensor(rows) for rows in (BONES, corners_of(BONES), sides_of(BONES, FLIP)))
    length, cosine = lengths(points, bones), cosines(points, corners)
    share, unlike, directions = proportions(length), asymmetry(length, sides), orientations(points, bones)
    for p, person in enumerate(points.tolist()):
        own = [math.dist(person[a], person[b]) for a, b in BONES]
        for i, (a, b) in enumerate(BONES):
            assert length[p, i] == pytest.approx(own[i], rel=1e-5)
            assert share[p, i] == pytest.approx(own[i] / (sum(own) / len(own)), rel=1e-5)
            wanted = [(y - x) / own[i] for x, y in zip(person[a], person[b], strict=True)]
            assert directions[p, i].tolist() == pytest.approx(wanted, abs=1e-5)
        for i, (one, joint, other) in enumerate(corners.tolist()):
            u, v = ([x - y for x, y in zip(person[e], person[joint], strict=True)] for e in (one, other))
            wanted = sum(x * y for x, y in zip(u, v, strict=True)) / math.hypot(*u) / math.hypot(*v)
            assert cosine[p, i] == pytest.approx(wanted, abs=1e-5)
        for i, (left, right) in enumerate(sides.tolist()):
            assert unlike[p, i] == pytest.approx(abs(own[left] - own[right]) / (own[left] + own[right]), abs=1e-5)


def test_what_a_skeleton_has():
    assert sides_of(BONES, FLIP) == [(1, 2), (3, 4)]
    assert sorted(corners_of(BONES)) == [(0, 1, 2), (0, 1, 3), (1, 2, 4), (1, 3, 5), (2, 1, 3)]
    assert parents_of(BONES) == [-1, 0, 0, 1, 2]
    assert parents_of([(0, 1), (2, 3), (3, 4)]) == [-1, -1, 1]
    assert sides_of(HAND.edges, HAND.flip) == []
    assert len(corners_of(HAND.edges)) == 10 + 15
    assert parents_of([]) == []


def test_coincident_joints_give_finite_gradients(points):
    points[:, 1] = points[:, 0]
    points[:, 5] = points[:, 3]
    points.requires_grad_()
    bones, corners, sides = (torch.tensor(rows) for rows in (BONES, corners_of(BONES), sides_of(BONES, FLIP)))
    length = lengths(points, bones)
    values = [orientations(points, bones), proportions(length), asymmetry(length, sides), cosines(points, corners)]
    sum(value.sum() for value in values).backward()
    assert points.grad.isfinite().all()


def sample(to_file, space="pixels"):
    count = len(to_file)
    nothing = torch.zeros(count)
    camera = torch.tensor([100.0, 110.0, 30.0, 20.0]).expand(count, 4)
    return Unlabeled({}, ("",) * count, ("",) * count, nothing, camera, to_file, nothing, space=space)


def test_points_go_back_to_the_file():
    """Turned and mirrored points come back with their own names, of depth in mm."""
    there = torch.rand(3, 6, 2, generator=torch.Generator().manual_seed(0)) * 30
    angle = torch.tensor([0.3, -1.0, 2.0])
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).view(3, 2, 2)
    turn[1, :, 0] *= -1
    views = sample(torch.cat([turn, torch.ones(3, 2, 1)], -1))
    seen = (there - 1) @ torch.linalg.inv(turn).transpose(1, 2)
    seen[1] = seen[1, FLIP]
    torch.testing.assert_close(in_file(seen, views, torch.arange(3), FLIP), there, atol=1e-4, rtol=1e-4)
    deep = torch.tensor([[[40.0, 31.0, 500.0]]])
    back = in_file(deep, sample(torch.eye(3, 4)[None], PIXELS_AND_MM), torch.tensor([0]), [0])
    torch.testing.assert_close(back, torch.tensor([[[50.0, 50.0, 500.0]]]))


def test_each_person_is_located_by_itself():
    """Two people on one map: each has the mean of the votes around it, with gradient."""
    grid = Grid((16, 24), (2.0, 2.0), (1.0, 1.0))
    wanted = torch.tensor([[[9.0, 11.0]], [[37.0, 19.0]], [[5.0, 5.0]]])
    image_index = torch.tensor([0, 0, 1])
    maps = torch.zeros(2, 1, 16, 24).index_add(0, image_index, grid.target(wanted, 0.8)).mul(12).requires_grad_()
    poses = Poses(wanted + 2, torch.ones(3, 1), image_index, torch.ones(3))
    seen = located(Votes.from_maps(grid, maps), poses, False, 2.0)
    torch.testing.assert_close(seen, wanted, atol=0.6, rtol=0)
    (grad,) = torch.autograd.grad(seen[0].sum(), maps)
    cells = list(itertools.product(range(16), range(24)))
    row, column = max(cells, key=lambda cell: float(grad[0, 0].abs()[cell]))
    assert abs(column - 4) + abs(row - 5) <= 4
    assert not grad[1].any()
