import math

import pytest
import torch

from keyshift.models.output import Grid, Votes, spatial_kl

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
