"""The symmetric spatial transformer against loops over its formulas: pictures, maps and places, to 0.01 px."""

import math
from dataclasses import replace

import pytest
import torch

from keyshift.datasets.sample import transform
from keyshift.models.output import Grid, Votes
from keyshift.models.parts.spatial_transformer import Localisation, brought_back, in_pixels, inverse, lattice, seen

SIZE = 48, 32
GRID = Grid((8, 12), (4.0, 4.0), (2.0, 2.0))
THETAS = torch.tensor(
    [
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
        [[1.0, 0.0, 0.25], [0.0, 1.0, -0.5]],
        [[0.5, 0.0, 0.0], [0.0, 2.0, 0.0]],
        [[0.7, -0.3, 0.1], [0.35, 0.8, -0.2]],
        [[-0.9, 0.2, 0.0], [0.1, 1.1, 0.3]],
    ]
)


def normal(pixel, side):
    """-1 in the middle of the first pixel, 1 in that of the last."""
    return 2 * (pixel - 0.5) / (side - 1) - 1


def pixel(value, side):
    return (value + 1) * (side - 1) / 2 + 0.5


def naive_point(theta, x, y):
    """A place of what is seen, px, in the picture."""
    u, v = normal(x, SIZE[0]), normal(y, SIZE[1])
    (a, b, c), (d, e, f) = theta.tolist()
    return pixel(a * u + b * v + c, SIZE[0]), pixel(d * u + e * v + f, SIZE[1])


def naive_gamma(theta):
    linear = torch.linalg.inv(theta[:, :2].double())
    return torch.cat([linear, -linear @ theta[:, 2:].double()], 1)


def bilinear(table, x, y):
    """A table (rows, columns) at fractional cells, 0 outside."""
    rows, columns = table.shape
    left, top, total = math.floor(x), math.floor(y), 0.0
    for j, i in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= j < rows and 0 <= i < columns:
            total += (1 - abs(x - i)) * (1 - abs(y - j)) * float(table[j, i])
    return total


def test_places_move_as_theta_says():
    points = torch.tensor([[0.5, 0.5], [47.5, 31.5], [10.0, 20.0], [24.0, 16.0]]).expand(5, 4, 2)
    moved = transform(in_pixels(THETAS, SIZE), points)
    for row, theta in enumerate(THETAS):
        for k in range(4):
            assert moved[row, k].tolist() == pytest.approx(naive_point(theta, *points[row, k].tolist()), abs=1e-4)
    assert torch.equal(moved[0], points[0])
    assert torch.allclose(moved[1], points[1] + torch.tensor([0.25 * 47 / 2, -0.5 * 31 / 2]), atol=1e-5)
    assert torch.allclose(
        moved[2],
        torch.tensor([24.0, 16.0]) + (points[2] - torch.tensor([24.0, 16.0])) * torch.tensor([0.5, 2.0]),
        atol=1e-5,
    )


def test_the_inverse_is_gamma():
    there = in_pixels(THETAS, SIZE)
    wanted = in_pixels(torch.stack([naive_gamma(theta) for theta in THETAS]), SIZE)
    assert torch.allclose(inverse(there).double(), wanted, atol=1e-4)
    points = 40 * torch.rand(5, 9, 2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(transform(inverse(there), transform(there, points)), points, atol=1e-4)


def test_gradients_go_through_the_inverse():
    theta = THETAS[1:].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda one: inverse(in_pixels(one, SIZE)), theta)


def test_a_picture_is_what_stands_there():
    torch.manual_seed(0)
    pictures = torch.rand(5, 2, 32, 48)
    outside = torch.tensor([-1.0, 3.0]).view(1, 2, 1, 1)
    shown = seen(pictures, in_pixels(THETAS, SIZE), outside)
    assert torch.allclose(shown[0], pictures[0], atol=1e-5)
    for row, theta in enumerate(THETAS):
        for y in range(0, 32, 5):
            for x in range(0, 48, 7):
                there = naive_point(theta, x + 0.5, y + 0.5)
                for channel, value in enumerate(outside.flatten().tolist()):
                    wanted = bilinear(pictures[row, channel] - value, there[0] - 0.5, there[1] - 0.5) + value
                    assert float(shown[row, channel, y, x]) == pytest.approx(wanted, abs=1e-3)


def test_maps_are_sampled_where_the_cells_are_seen():
    """Cell (i, j) of the picture is seen by gamma; what is not seen has the map's least logit."""
    torch.manual_seed(0)
    maps = torch.randn(5, 3, *GRID.shape) - 4
    back = brought_back(Votes.from_maps(GRID, maps), in_pixels(THETAS, SIZE))
    assert back.where is None
    assert torch.allclose(back.maps[0], maps[0], atol=1e-5)
    unseen = 0
    for row, theta in enumerate(THETAS):
        gamma = naive_gamma(theta)
        for k in range(3):
            least = float(maps[row, k].min())
            for j in range(GRID.shape[0]):
                for i in range(GRID.shape[1]):
                    x, y = naive_point(gamma, 4 * i + 2.0, 4 * j + 2.0)
                    wanted = bilinear(maps[row, k] - least, (x - 2) / 4, (y - 2) / 4) + least
                    unseen += wanted == least
                    assert float(back.maps[row, k, j, i]) == pytest.approx(wanted, abs=1e-3)
    assert unseen > 20


@pytest.mark.parametrize("stride", [2.0, 4.0])
def test_a_keypoint_comes_back_to_where_it_is(stride):
    """A Gaussian about a place of what is seen has its mean, brought back, where theta puts that place."""
    grid = Grid((int(128 / stride), int(128 / stride)), (stride, stride), (stride / 2, stride / 2))
    points = torch.tensor([[64.0, 60.0], [55.3, 70.9], [71.7, 52.2]]).expand(5, 3, 2)
    away = (lattice(grid, points)[:, None] - points[:, :, None, None]) / stride
    thetas = THETAS * torch.tensor([1.0, 1.0, 0.3])
    thetas[2, 1, 1] = 1.4  # else the Gaussian reaches over the border
    there = in_pixels(thetas, (128, 128))
    votes = Votes.from_maps(grid, -away.square().sum(-1) / (2 * 2.0**2))
    moved = transform(there, points)
    assert (moved - points).norm(dim=-1)[1:].max() > 5
    assert (brought_back(votes, there).mean() - moved).norm(dim=-1).max() < 0.05


def test_free_candidates_are_moved():
    torch.manual_seed(0)
    where, logits = 30 * torch.rand(5, 7, 1, 2), torch.randn(5, 7, 4)
    back = brought_back(Votes(GRID, logits, where), in_pixels(THETAS, SIZE))
    assert torch.equal(back.logits, logits)
    for row, theta in enumerate(THETAS):
        for n in range(7):
            assert back.where[row, n, 0].tolist() == pytest.approx(
                naive_point(theta, *where[row, n, 0].tolist()), abs=1e-4
            )


def test_of_candidates_for_each_cell_both_are_sampled():
    """Each keypoint's candidates say where it is from where they stand; z stays what it is."""
    torch.manual_seed(0)
    grid = replace(GRID, depth=Grid((12,), (10.0,), (-55.0,)))
    slope, logits = 0.1 * torch.randn(2, 2, 3), torch.randn(5, 96, 2)  # of each keypoint, (x, y) to (x, y, z)
    cells = lattice(GRID, THETAS).flatten(1, 2)
    where = torch.stack([20 + cells @ slope[k] for k in range(2)], 2)
    back = brought_back(Votes(grid, logits, where), in_pixels(THETAS, SIZE))
    assert torch.allclose(back.where[0], where[0], atol=1e-3)
    inside = 0
    for row, theta in enumerate(THETAS):
        gamma = naive_gamma(theta)
        for n in range(0, 96, 5):
            x, y = naive_point(gamma, *cells[row, n].tolist())
            for k in range(2):
                least = float(logits[row, :, k].min())
                table = (logits[row, :, k] - least).view(GRID.shape)
                wanted = bilinear(table, (x - 2) / 4, (y - 2) / 4) + least
                assert float(back.logits[row, n, k]) == pytest.approx(wanted, abs=1e-3)
                if 2 <= x <= 46 and 2 <= y <= 30:
                    inside += 1
                    px, py, z = (20 + torch.tensor([x, y]).float() @ slope[k]).tolist()
                    assert back.where[row, n, k].tolist() == pytest.approx([*naive_point(theta, px, py), z], abs=1e-2)
    assert inside > 50


def test_one_depth_of_all_cells_stays():
    torch.manual_seed(0)
    maps, depth, there = torch.randn(5, 3, 8, 12), torch.randn(5, 3), in_pixels(THETAS, SIZE)
    grid = replace(GRID, depth=Grid((12,), (10.0,), (-55.0,)))
    back = brought_back(Votes.at_depth(grid, maps, depth), there)
    assert torch.equal(back.where, depth[:, None, :, None])
    assert torch.equal(back.logits, brought_back(Votes.from_maps(GRID, maps), there).logits)


def test_what_is_besides_is_refused():
    votes = Votes.from_maps(GRID, torch.zeros(5, 2, 8, 12), tags=torch.zeros(1))
    with pytest.raises(ValueError, match="votes with tags besides cannot be brought back"):
        brought_back(votes, in_pixels(THETAS, SIZE))


def test_a_localisation_starts_with_the_identity_in_full_precision():
    torch.manual_seed(0)
    localisation, image = Localisation("small", (32, 32)), torch.randn(2, 3, 32, 32)
    assert torch.equal(localisation(image), torch.eye(2, 3).expand(2, 2, 3))
    torch.nn.init.normal_(localisation.linear.weight, std=0.1)
    plain = localisation.eval()(image)
    with torch.autocast("cpu", torch.bfloat16):
        theta = localisation(image)
    assert theta.dtype == torch.float32
    pooled = localisation.backbone(image).mean((2, 3)).detach()
    assert torch.allclose(plain, localisation.linear(pooled).view(2, 2, 3), atol=1e-5)
