import math

import pytest
import torch

from keyshift.models.output import Grid, Poses, Votes, _accumulate, _blur, _splat, divergence, per_image, spatial_kl

GRID = Grid((6, 8), (4.0, 4.0), (2.0, 2.0))
VOLUME = Grid((3, 4, 5), (4.0, 4.0, 10.0), (2.0, 2.0, -10.0))


def test_target_against_a_loop():
    points = torch.rand(2, 3, 2) * torch.tensor([32.0, 24.0])
    maps = GRID.target(points, 1.5, cut=3)
    for b, k, row, col in [(b, k, r, c) for b in range(2) for k in range(3) for r in range(6) for c in range(8)]:
        x, y = (points[b, k] - 2) / 4
        away = (float(col - x), float(row - y))
        wanted = math.exp(-(away[0] ** 2 + away[1] ** 2) / (2 * 1.5**2)) if max(map(abs, away)) <= 3 else 0.0
        assert abs(maps[b, k, row, col].item() - wanted) < 1e-6
    assert VOLUME.target(torch.zeros(2, 3, 3), 1.0).shape == (2, 3, 3, 4, 5)


def test_target_gives_no_gradient():
    points = torch.zeros(1, 1, 2, requires_grad=True)
    assert not GRID.target(points, 1.0).requires_grad


@pytest.mark.parametrize("grid", [GRID, VOLUME])
def test_cells_and_free_candidates_answer_alike(grid):
    """A map read as cells, and the same cells handed over as free candidates."""
    maps = torch.randn(2, 3, *grid.shape)
    cells = Votes.from_maps(grid, maps)
    axes = [torch.arange(n) for n in grid.shape]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], -1).reshape(1, -1, 1, len(grid.shape)).float()
    free = Votes(grid, cells.logits, grid.to_points(index).expand(2, -1, -1, -1))
    torch.testing.assert_close(cells.mean(), free.mean())
    torch.testing.assert_close(cells.peak(), free.peak())
    torch.testing.assert_close(cells.confidence(), free.confidence())
    torch.testing.assert_close(cells.maps, maps)
    splat = free.log_density().exp()
    assert splat.shape == maps.shape
    torch.testing.assert_close(splat.flatten(2).sum(-1), torch.ones(2, 3))


def test_splat_against_a_loop():
    votes = Votes(GRID, torch.randn(2, 7, 3), torch.rand(2, 7, 3, 2) * 40 - 4)
    wanted = torch.zeros(2, 3, 6, 8)
    weight = votes.logits.softmax(1)
    for b, n, k in [(b, n, k) for b in range(2) for n in range(7) for k in range(3)]:
        x, y = ((votes.where[b, n, k] - 2) / 4).tolist()
        x, y = min(max(x, 0), 7), min(max(y, 0), 5)
        for row in range(6):
            for col in range(8):
                share = max(0, 1 - abs(x - col)) * max(0, 1 - abs(y - row))
                wanted[b, k, row, col] += weight[b, n, k] * share
    padded = torch.nn.functional.pad(wanted, (1, 1, 1, 1), mode="replicate")
    rows = 0.5 * wanted + 0.25 * (padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1])
    padded = torch.nn.functional.pad(rows, (1, 1, 1, 1), mode="replicate")
    blurred = 0.5 * rows + 0.25 * (padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:])
    torch.testing.assert_close(votes.log_density().exp(), blurred, atol=1e-5, rtol=1e-4)


def test_gradient_reaches_offsets_and_responses():
    logits = torch.zeros(1, 4, 2, requires_grad=True)
    where = (torch.rand(1, 4, 2, 2) * 10 + 5).requires_grad_()
    goal = GRID.target(torch.full((1, 2, 2), 20.0), 1.0)
    spatial_kl(Votes(GRID, logits, where).log_density(), goal).backward()
    assert logits.grad.abs().sum() > 0
    assert (where.grad.sum((0, 1, 2)) < 0).all()  # the votes are drawn towards (20, 20)


def test_confidence_is_one_for_a_certain_and_zero_for_an_even_vote():
    certain = torch.full((1, 48, 1), -50.0)
    certain[0, 5] = 50
    assert Votes(GRID, certain).confidence().item() == pytest.approx(1, abs=1e-6)
    assert Votes(GRID, torch.zeros(1, 48, 1)).confidence().item() == pytest.approx(0, abs=1e-6)
    assert Votes(GRID, torch.zeros(1, 1, 1), torch.zeros(1, 1, 1, 2)).confidence().item() == 1


def test_a_keypoint_off_the_grid_neither_counts_nor_breaks():
    points = torch.tensor([[[10.0, 10.0], [900.0, 10.0]]])
    density = Votes.from_maps(GRID, torch.randn(1, 2, 6, 8, requires_grad=True)).log_density()
    loss = spatial_kl(density, GRID.target(points, 1.0, cut=3), GRID.contains(points))
    alone = spatial_kl(density[:, :1], GRID.target(points[:, :1], 1.0, cut=3))
    torch.testing.assert_close(loss, alone / 2)  # the denominator counts all keypoints, as the reference's does


def test_log_density_takes_half_precision():
    maps = torch.randn(1, 2, 6, 8)
    half = Votes.from_maps(GRID, maps.bfloat16()).log_density()
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, Votes.from_maps(GRID, maps).log_density(), atol=2e-2, rtol=1e-2)


DEEP = Grid((6, 8), (4.0, 4.0), (2.0, 2.0), Grid((10,), (5.0,), (-22.5,)))


def test_depth_is_read_by_its_marginal():
    where = torch.cat([torch.rand(2, 7, 3, 2) * 24, torch.rand(2, 7, 3, 1) * 40 - 20], -1)
    votes = Votes(DEEP, torch.randn(2, 7, 3), where)
    plane, line = votes.log_densities()
    assert plane.shape == (2, 3, 6, 8)
    assert line.shape == (2, 3, 10)
    torch.testing.assert_close(plane, Votes(GRID, votes.logits, where[..., :2]).log_density())
    wanted = torch.zeros(2, 3, 10)
    weight = votes.logits.softmax(1)
    for b, n, k in [(b, n, k) for b in range(2) for n in range(7) for k in range(3)]:
        cell = (where[b, n, k, 2].item() + 22.5) / 5
        for j in range(10):
            for near, share in ((j - 1, 0.25), (j, 0.5), (j + 1, 0.25)):
                near = min(max(near, 0), 9)
                wanted[b, k, j] += share * weight[b, n, k] * max(0, 1 - abs(cell - near))
    torch.testing.assert_close(line.exp(), wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(votes.log_density(), plane)


def test_divergence_adds_over_the_marginals_and_is_the_published_one_on_a_pure_grid():
    points = torch.rand(2, 3, 2) * 20 + 2
    pure = Votes.from_maps(GRID, torch.randn(2, 3, 6, 8))
    weight = torch.tensor([[1.0, 0, 1], [1, 1, 1]])
    goal = GRID.target(points, 1.0)
    wanted = spatial_kl(pure.maps.flatten(2).log_softmax(-1).unflatten(2, (6, 8)), goal, weight, 1e-7)
    torch.testing.assert_close(divergence(pure, (goal,), weight, 1e-7), wanted)

    where = torch.cat([torch.rand(2, 7, 3, 2) * 24, torch.rand(2, 7, 3, 1) * 40 - 20], -1).requires_grad_()
    logits = torch.randn(2, 7, 3, requires_grad=True)
    deep = Votes(DEEP, logits, where)
    goals = DEEP.targets(torch.cat([points, torch.zeros(2, 3, 1)], -1), 1.0)
    loss = divergence(deep, goals, weight)
    parts = [spatial_kl(d, g, weight) for d, g in zip(deep.log_densities(), goals, strict=True)]
    torch.testing.assert_close(loss, parts[0] + parts[1])
    loss.backward()
    assert (where.grad.abs().sum((0, 1, 2)) > 0).all()  # x, y and z of the candidates
    assert logits.grad.abs().sum() > 0


def test_gradient_of_the_divergence_is_the_derived_one():
    """d/dw_n = -sum_c p(c) b(c - r_n) / q(c), before the softmax; in RegDA's docstring."""
    where = torch.rand(1, 5, 1, 2) * 20 + 4
    weight = torch.full((1, 5, 1), 0.2, requires_grad=True)
    density = _blur(_splat(GRID, weight, where)) + 1e-9
    goal = GRID.target(torch.full((1, 1, 2), 14.0), 1.0)
    goal = goal / goal.sum()
    (-(goal * density.log()).sum()).backward()
    for n in range(5):
        alone = torch.zeros(1, 5, 1)
        alone[0, n] = 1
        tent = _blur(_splat(GRID, alone, where))
        torch.testing.assert_close(weight.grad[0, n, 0], -(goal * tent / density.detach()).sum())


def test_a_keypoint_too_near_or_too_far_is_not_on_the_grid():
    points = torch.tensor([[10.0, 10.0, 0.0], [10.0, 10.0, 40.0], [90.0, 10.0, 0.0]])
    assert DEEP.contains(points).tolist() == [True, False, False]
    assert Grid(DEEP.shape, DEEP.stride, DEEP.origin).contains(points[:, :2]).tolist() == [True, True, False]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_splat_gives_the_same_bits_every_time_on_a_gpu():
    torch.manual_seed(0)
    logits, where = torch.randn(8, 500, 14, device="cuda"), torch.rand(8, 500, 14, 2, device="cuda") * 30

    def gradient():
        leaf = where.clone().requires_grad_()
        density = Votes(GRID, logits, leaf).log_density()
        density.square().sum().backward()
        return density.detach(), leaf.grad

    first, again = gradient(), gradient()
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    on_cpu = Votes(GRID, logits.cpu(), where.cpu()).log_density()
    torch.testing.assert_close(first[0].cpu(), on_cpu, atol=1e-4, rtol=1e-4)


def test_both_ways_to_accumulate_answer_alike():
    index, values = torch.randint(0, 20, (300,)), torch.rand(300, requires_grad=True)
    ways = [_accumulate(torch.zeros(20), index, values, in_order) for in_order in (True, False)]
    torch.testing.assert_close(*ways)
    gradients = [torch.autograd.grad(way.square().sum(), values)[0] for way in ways]
    torch.testing.assert_close(*gradients)


def test_what_a_head_says_besides_stays_beside():
    votes = Votes.from_maps(GRID, torch.randn(2, 3, 6, 8), tags=torch.ones(2, 3))
    assert votes.extra["tags"].shape == (2, 3)
    assert Votes(GRID, votes.logits).extra == {}


def test_poses_of_crops_are_one_person_an_image():
    confidence = torch.rand(3, 5)
    poses = Poses.of_crops(torch.rand(3, 5, 2), confidence)
    assert len(poses) == 3
    assert poses.image_index.tolist() == [0, 1, 2]
    torch.testing.assert_close(poses.score, confidence.mean(1))
    assert poses.counts(3) == [1, 1, 1]
    doubled = poses.each(lambda tensor: 2 * tensor)
    assert doubled.image_index.tolist() == [0, 2, 4]
    torch.testing.assert_close(doubled.confidence, 2 * confidence)


def test_people_of_an_image_are_counted_and_summed():
    index = torch.tensor([0, 2, 2, 2])
    poses = Poses(torch.zeros(4, 1, 2), torch.zeros(4, 1), index, torch.zeros(4))
    assert poses.counts(4) == [1, 0, 3, 0]
    values = torch.tensor([[0.25, 1.0], [0.5, 0.0], [0.25, 0.0], [0.5, 0.125]])
    assert per_image(values, index, 4).tolist() == [[0.25, 1.0], [0, 0], [1.0, 0.125], [0, 0]]  # 1.25 is clipped
    assert per_image(values[:0], index[:0], 2).tolist() == [[0, 0], [0, 0]]


def test_nobody_has_a_target_and_the_nearest_cell_is_on_the_grid():
    grid = Grid((5, 9), (4.0, 3.0), (2.0, 1.0))
    assert grid.target(torch.zeros(0, 3, 2), 1.0).shape == (0, 3, 5, 9)
    points = torch.rand(40, 3, 2) * 80 - 20
    for point, cell in zip(points.view(-1, 2), grid.nearest(points).view(-1, 2), strict=True):
        cells = torch.stack(torch.meshgrid(torch.arange(9), torch.arange(5), indexing="xy"), -1).view(-1, 2)
        away = (grid.to_points(cells.float()) - point).abs()
        inside = [away[:, d].min() for d in (0, 1)]  # of a regular grid each axis is nearest by itself
        assert torch.equal((grid.to_points(cell.float()) - point).abs(), torch.stack(inside))
