"""DSNT against the reference implementation's numbers, and against the tables of its own tests."""

import pytest
import torch

from keyshift.models.output import Grid, Votes
from keyshift.models.systems.dsnt import DSNT, LOSSES, average, gaussian, js, kl, losses, normalized, spreads, variance

FLAT, DEEP = Grid((28, 40), (4.0, 4.0), (2.0, 2.0)), Grid((9, 12, 10), (4.0, 4.0, 30.0), (2.0, 2.0, -120.0))
NO_IMAGE = torch.zeros(2, 3, 8, 8)


def at(grid, coordinates):
    """Normalised coordinates (..., D) as points px: pixel p of n stands at ((c + 1) n - 1) / 2."""
    return grid.to_points(((coordinates + 1) * torch.tensor(grid.shape[::-1]) - 1) / 2)


def unit(*shape):
    return Grid(shape, (1.0,) * len(shape), (0.0,) * len(shape))


@pytest.fixture
def flat(golden):
    """The file's arrays, its logits, and targets in px of `FLAT`."""
    arrays = golden.load("dsnt")
    logits = golden.normal("logits", (2, 5, 28, 40), 1.5)
    torch.testing.assert_close(logits.flatten()[:8], torch.from_numpy(arrays["input.logits"]))
    for image in range(2):
        for location, (row, column) in enumerate(arrays["corner"][image]):
            logits[image, location, row : row + 5, column : column + 5] += 5
    logits[0, 0, 3, 5] += 30
    logits[0, 1] = 0
    return arrays, logits, at(FLAT, torch.from_numpy(arrays["target"]))


def test_maps_and_coordinates(golden, flat):
    arrays, logits, target = flat
    votes = Votes.from_maps(FLAT, logits)
    golden.compare(arrays, "heatmaps", votes.log_density().exp())
    golden.compare(arrays, "coords", normalized(FLAT, votes.mean()))
    cells = FLAT.to_cells(votes.mean())
    golden.compare(arrays, "coords_pixel_mode", cells)
    golden.compare(arrays, "pixel_coords", cells)
    golden.compare(arrays, "gauss.s1", gaussian(FLAT, target, 1.0))
    golden.compare(arrays, "gauss.s1.unnormalised", FLAT.target(target, 1.0))


def test_losses_and_regularisers_of_each_location(golden, flat):
    arrays, logits, target = flat
    away = normalized(FLAT, Votes.from_maps(FLAT, logits).mean()) - torch.from_numpy(arrays["target"])
    for name, loss in LOSSES.items():
        golden.compare(arrays, name, loss(away))
    for name in ("js", "kl", "variance"):
        for sigma in (1, 2):
            options = DSNT.Options(regulariser=name, sigma=float(sigma))
            golden.compare(arrays, f"{name}.s{sigma}", spreads(FLAT, logits, target, options))


def test_the_loss_of_a_batch_and_its_gradient(golden, flat, labeled):
    arrays, logits, target = flat
    mask, sample = torch.from_numpy(arrays["mask"]), labeled(NO_IMAGE, target)

    def total(logits, counted):
        return sum(losses(Votes.from_maps(FLAT, logits), sample, counted, DSNT.Options()).values())

    masked = total(logits.requires_grad_(), mask)
    masked.backward()
    golden.compare(arrays, "loss_masked", masked)
    golden.compare(arrays, "loss_masked.grad", logits.grad)
    golden.compare(arrays, "loss_unmasked", total(logits, torch.ones(2, 5)))
    logits.grad = None
    empty = total(logits, torch.zeros(2, 5))
    empty.backward()
    assert empty == arrays["loss_empty_mask"] == 0
    assert not logits.grad.any()


def test_volumes(golden):
    arrays = golden.load("dsnt")
    logits = golden.normal("logits3d", (2, 3, 9, 12, 10), 2.0)
    target = torch.from_numpy(arrays["target3d"])
    coordinates = normalized(DEEP, Votes.from_maps(DEEP, logits).mean())
    golden.compare(arrays, "coords3d", coordinates)
    golden.compare(arrays, "euclidean3d", LOSSES["euclidean"](coordinates - target))
    golden.compare(arrays, "js3d.s1", spreads(DEEP, logits, at(DEEP, target), DSNT.Options()))


def test_coordinates_of_cells(golden):
    arrays = golden.load("dsnt")
    golden.compare(arrays, "linspace", normalized(unit(7), torch.arange(7.0)[:, None]).flatten())
    pixels = torch.from_numpy((-1 + 31 * golden.uniform("pixels", (6, 2))).astype("float32"))
    golden.compare(arrays, "pixel_to_normalized", normalized(unit(28, 40), pixels))
    torch.testing.assert_close(normalized(unit(5, 2), torch.tensor([0.5, 2.0])), torch.zeros(2))


# Tables of the reference's own tests, tests/ @ 779631f


CROSS = [[0.0, 0.1, 0.0], [0.1, 0.6, 0.1], [0.0, 0.1, 0.0]]


def table(shape, **parts):
    """A map of zeros with `CROSS`es, or what else is given, at rows and columns."""
    cells = torch.zeros(1, 1, *shape)
    for row, column, part in parts.values():
        part = torch.tensor(part)
        cells[0, 0, row : row + len(part), column : column + part.shape[1]] = part
    return cells


def read(density):
    """The votes of a map that is a density already."""
    grid = unit(*density.shape[2:])
    return Votes.from_maps(grid, (density + 1e-24).log())


def test_softmax_of_a_table():
    votes = Votes.from_maps(unit(2, 2), torch.tensor([[[[10.0, 1.0], [5.0, 2.0]]]]))
    wanted = torch.tensor([[[[0.99285460, 0.00012253], [0.00668980, 0.00033307]]]])
    torch.testing.assert_close(votes.log_density().exp(), wanted, atol=1e-8, rtol=1e-5)


def test_expected_coordinates_of_tables():
    votes = read(table((5, 5), cross=(1, 2, CROSS)))
    torch.testing.assert_close(normalized(votes.grid, votes.mean()), torch.tensor([[[0.4, 0.0]]]))
    torch.testing.assert_close(votes.mean(), torch.tensor([[[3.0, 2.0]]]))
    volume = torch.zeros(1, 1, 3, 3, 3)
    volume[..., 1, 2, 0] = 1
    votes = read(volume)
    torch.testing.assert_close(normalized(votes.grid, votes.mean()), torch.tensor([[[-2 / 3, 2 / 3, 0]]]))


@pytest.mark.parametrize(("shape", "wanted"), [((4, 4), 1.2228811717796824), ((4, 6), 1.2646753877545842)])
def test_kl_of_tables(shape, wanted):
    """Around the outer corner, (1, 1); the second location of the first table is masked."""
    corner = table(shape, corner=(2, shape[1] - 2, [[0.0, 0.1], [0.1, 0.8]]))
    maps = torch.cat([corner, corner.flip(-1, -2)], 1)
    grid = unit(*shape)
    goal = at(grid, torch.tensor([[[1.0, 1.0], [0.0, 0.0]]]))
    each = kl(maps, gaussian(grid, goal, 2.0))
    assert average(each, torch.tensor([[1.0, 0.0]])) == pytest.approx(wanted, rel=1e-6)
    assert average(each, torch.ones(1, 2)) != pytest.approx(wanted, rel=1e-2)


def test_variance_of_tables():
    one, wide = table((4, 4), cross=(1, 1, CROSS)), table((4, 6), cross=(1, 1, CROSS))
    other = table((4, 4), cross=(1, 0, [[0.0, 0.2, 0.0], [0.1, 0.5, 0.1], [0.0, 0.1, 0.0]]))
    assert float(variance(one, 2.0)) == pytest.approx(28.88, rel=1e-6)
    assert float(variance(wide, 2.0)) == pytest.approx(28.88, rel=1e-6)
    assert float(variance(torch.cat([one, other]), 2.0).mean()) == pytest.approx(28.54205, rel=1e-6)
    side = [[0.000035, 0.000002, 0], [0.009165, 0.000570, 0.000002], [0.147403, 0.009165, 0.000035]]
    middle = [[0.000142, 0.000009, 0], [0.036755, 0.002285, 0.000009], [0.591145, 0.036755, 0.000142]]
    volume = torch.tensor([[[side, middle, side]]])
    assert float(variance(volume, 0.6)) == pytest.approx(0.18564102213775013, rel=1e-5)


@pytest.mark.parametrize("name", ["js", "kl", "variance"])
def test_a_regulariser_is_least_where_the_spread_is_the_wanted_one(name):
    grid, middle = unit(9, 9), torch.full((1, 1, 2), 4.0)

    def spread(shift, sigma):
        density = gaussian(grid, middle + shift, sigma)
        goal = gaussian(grid, middle, 1.0)
        return float(variance(density, 1.0) if name == "variance" else {"js": js, "kl": kl}[name](density, goal))

    assert spread(0, 1.0) == pytest.approx(0, abs=1e-3)
    assert min(spread(0, 1.2), spread(0, 0.8)) > 1e-3
    if name != "variance":
        assert min(spread(0.45, 1.0), spread(-0.45, 1.0)) > 1e-3


def test_the_gradient_of_a_distance_of_nothing_is_none(labeled):
    """Where the reference's is not defined."""
    logits = torch.zeros(2, 1, 4, 4, requires_grad=True)
    grid = unit(4, 4)
    sample = labeled(NO_IMAGE, torch.full((2, 1, 2), 1.5))
    options = DSNT.Options(regulariser="none")
    named = losses(Votes.from_maps(grid, logits), sample, torch.ones(2, 1), options)
    named["coordinates"].backward()
    assert named == {"coordinates": 0}
    assert not logits.grad.any()
