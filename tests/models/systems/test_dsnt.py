"""DSNT: its losses against loops, its rectifications, what it learns, and what a file of it keeps."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from keyshift.adapt.scoring.evaluation import predict
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.models import heatmaps
from keyshift.models.output import Grid, Votes
from keyshift.models.parts.blocks import softmax
from keyshift.models.saved import load_model, save_model
from keyshift.models.systems.dsnt import DSNT, gaussian, js, losses, rectified, spreads
from keyshift.models.systems.pose_resnet import PoseResNet

SIZE, CPU = (32, 32), torch.device("cpu")
GRIDS = {"map": Grid((5, 7), (4.0, 4.0), (2.0, 2.0)), "volume": Grid((4, 5, 3), (4.0, 4.0, 250.0), (2.0, 2.0, -375.0))}
RECTIFIED = {
    "softmax": lambda z, most: math.exp(z - most),
    "abs": lambda z, most: abs(z),
    "relu": lambda z, most: max(z, 0.0),
    "sigmoid": lambda z, most: 1 / (1 + math.exp(-z)),
}


def build(**options):
    torch.manual_seed(0)
    sizes = {"backbone": "small", "input_size": list(SIZE), "heatmap_size": [8, 8], "channels": 16}
    return DSNT(3, DSNT.Options(**sizes | options))


def naive_density(maps, rectification):
    """The rectified map of each cell over the sum of all: {(row, column): share} or {(slice, row, column): share}."""
    cells = list(np.ndindex(*maps.shape))
    most = max(float(maps[cell]) for cell in cells)
    values = {cell: RECTIFIED[rectification](float(maps[cell]), most) for cell in cells}
    return {cell: value / sum(values.values()) for cell, value in values.items()}


def naive_gaussian(shape, goal, sigma):
    """`goal` is normalised, in the order of the axes of the map."""
    values = {}
    for cell in np.ndindex(*shape):
        away = [((2 * i - (n - 1)) / n - g) / (2 * sigma / n) for i, n, g in zip(cell, shape, goal, strict=True)]
        values[cell] = math.exp(-0.5 * sum(a * a for a in away))
    return {cell: value / (sum(values.values()) + 1e-24) for cell, value in values.items()}


def naive_kl(p, q):
    return sum(p[cell] * (math.log(p[cell] + 1e-24) - math.log(q[cell] + 1e-24)) for cell in p)


def naive(maps, goal, unknown_z, options):
    """The loss and the regulariser of one map (*shape), the goal normalised, x first."""
    p, shape = naive_density(maps, options.rectification), maps.shape
    axes = range(len(shape))
    mean = [
        sum(share * (2 * cell[axis] - (shape[axis] - 1)) / shape[axis] for cell, share in p.items()) for axis in axes
    ]
    goal = list(goal[::-1])
    if unknown_z:
        goal[0] = mean[0]
    away = [m - g for m, g in zip(mean, goal, strict=True)]
    loss = {
        "euclidean": math.sqrt(sum(a * a for a in away)),
        "l1": sum(abs(a) for a in away) / len(away),
        "mse": sum(a * a for a in away) / len(away),
    }[options.loss]
    if options.regulariser == "variance":
        spread = 0.0
        for axis in axes:
            middle = sum(share * cell[axis] for cell, share in p.items())
            spread += (sum(s * (cell[axis] - middle) ** 2 for cell, s in p.items()) - options.sigma**2) ** 2
        return loss, spread
    q = naive_gaussian(shape, goal, options.sigma)
    if options.regulariser == "kl":
        return loss, naive_kl(p, q)
    m = {cell: (p[cell] + q[cell]) / 2 for cell in p}
    return loss, (naive_kl(p, m) + naive_kl(q, m)) / 2


@pytest.mark.parametrize("shape", GRIDS)
@pytest.mark.parametrize("rectification", RECTIFIED)
@pytest.mark.parametrize(("loss", "regulariser"), [("euclidean", "js"), ("l1", "kl"), ("mse", "variance")])
def test_losses_against_loops(labeled, shape, rectification, loss, regulariser):
    """Of two images in turned order, three keypoints, some of which do not count or have no known z."""
    options = DSNT.Options(
        loss=loss, regulariser=regulariser, rectification=rectification, sigma=0.8, regulariser_weight=0.7
    )
    rng, grid = torch.Generator().manual_seed(1), GRIDS[shape]
    maps = 2 * torch.randn(2, 3, *grid.shape, generator=rng)
    goal = 1.6 * torch.rand(2, 3, len(grid.shape), generator=rng) - 0.8
    points = grid.to_points(((goal + 1) * torch.tensor(grid.shape[::-1]) - 1) / 2)
    deep = torch.tensor([[True, False, True], [True, True, False]]) if shape == "volume" else None
    sample = replace(labeled(torch.zeros(2, 3, 8, 8), points), deep=deep, image_index=torch.tensor([1, 0]))
    counted = torch.tensor([[True, True, False], [True, False, True]])
    totals, count = [0.0, 0.0], 0
    for person in range(2):
        for k in range(3):
            if counted[person, k]:
                unknown = deep is not None and not deep[person, k]
                each = naive(maps[1 - person, k], goal[person, k].tolist(), unknown, options)
                totals, count = [total + one for total, one in zip(totals, each, strict=True)], count + 1
    named = losses(rectified(Votes.from_maps(grid, maps), options), sample, counted, options)
    assert float(named["coordinates"]) == pytest.approx(totals[0] / count, rel=1e-4)
    assert float(named["spread"]) == pytest.approx(0.7 * totals[1] / count, rel=1e-4)


@pytest.mark.parametrize("name", RECTIFIED)
def test_a_rectified_map_is_read_as_any_other(name):
    """Density, mean, peak and confidence are those of the rectified map over its sum."""
    grid, maps = GRIDS["map"], torch.randn(1, 1, 5, 7, generator=torch.Generator().manual_seed(2))
    wanted = naive_density(maps[0, 0], name)
    votes = rectified(Votes.from_maps(grid, maps), DSNT.Options(rectification=name))
    for cell, share in wanted.items():
        assert float(votes.log_density().exp()[(0, 0, *cell)]) == pytest.approx(share, abs=1e-6)
    entropy = -sum(share * math.log(share) for share in wanted.values() if share)
    assert float(votes.confidence()) == pytest.approx(1 - entropy / math.log(35), abs=1e-5)
    row, column = max(wanted, key=wanted.get)
    assert votes.peak().flatten().tolist() == [4 * column + 2, 4 * row + 2]
    mean = [sum(share * (4 * cell[axis] + 2) for cell, share in wanted.items()) for axis in (1, 0)]
    assert votes.mean().flatten().tolist() == pytest.approx(mean, abs=1e-4)


def test_the_gradient_of_a_table():
    """The reference's own, of maps that are not divided by their sum; divided, it is that less its mean."""
    density = torch.zeros(1, 1, 5, 5)
    density[0, 0, 1:4, 2:5] = torch.tensor([[0.0, 0.1, 0.0], [0.1, 0.6, 0.1], [0.0, 0.1, 0.0]])
    density.requires_grad_()
    grid = Grid((5, 5), (2 / 5, 2 / 5), (-4 / 5, -4 / 5))  # points are normalised coordinates
    votes = rectified(Votes.from_maps(grid, density), DSNT.Options(rectification="relu"))
    (votes.mean() - 0.5).square().mean().backward()
    line = torch.arange(5.0)
    table = 0.48 - 0.04 * line - 0.2 * line[:, None]
    inside = density.detach()[0, 0] > 0
    wanted = table - (density.detach() * table).sum()
    torch.testing.assert_close(density.grad[0, 0][inside], wanted[inside], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", RECTIFIED)
def test_maps_of_nothing_have_finite_gradients(name, labeled):
    """All cells 0, below it, and far above it, in half precision too."""
    model = build(rectification=name)
    sample = labeled(torch.zeros(2, 3, *SIZE, dtype=torch.uint8), torch.full((2, 3, 2), 9.0))
    for value in (0.0, -50.0, 1e4):
        for dtype in (torch.float32, torch.bfloat16):
            maps = torch.full((2, 3, 8, 8), value, dtype=dtype, requires_grad=True)
            votes = rectified(Votes.from_maps(model.grid, maps), model.options)
            sum(model.loss(votes, sample).values()).backward()
            assert maps.grad.isfinite().all()
            torch.testing.assert_close(votes.mean().detach(), torch.full((2, 3, 2), 16.0), atol=1e-3, rtol=0)


@pytest.fixture
def tiny(toys, monkeypatch):
    monkeypatch.setattr(heatmaps, "build_backbone", lambda *_: toys.Tiny())


@pytest.fixture(scope="module")
def pictures(dots):
    cut = SIZE, Augmentation(rotation=20, color=0, blur=0)
    batches = TrainingBatches(dots(64), "source", 0, 16, *cut, labels=True)
    return [batches[step] for step in range(8)], EvaluationBatches(dots(64, first=1000), 64, SIZE)[0]


def trained(model, batches, updates=50):
    optimizer = torch.optim.Adam(model.train().parameters(), 1e-2)
    for step in range(updates):
        sample = batches[step % len(batches)]
        optimizer.param_groups[0]["lr"] = 1e-2 if step < 0.7 * updates else 1e-3
        optimizer.zero_grad()
        sum(model.loss(model(sample), sample).values()).backward()
        optimizer.step()
    return model.eval()


def error(model, sample):
    return float((predict(model, [sample], CPU).points - sample.keypoints).norm(dim=-1).mean())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": "l1", "regulariser": "kl", "regulariser_weight": 0.1},
        {"loss": "mse", "regulariser_weight": 0.1},
        {"regulariser": "variance", "regulariser_weight": 0.001},
        {"rectification": "abs"},
        {"rectification": "relu"},
        {"rectification": "sigmoid"},
    ],
)
def test_it_learns_below_a_cell(pictures, tiny, options):
    """Points on pictures that it has not seen, to less than the 4 px of a cell; the mean pose is 7 px away."""
    batches, test = pictures
    away = error(trained(build(**options), batches), test)
    middle = test.keypoints.mean(0)
    assert float((test.keypoints - middle).norm(dim=-1).mean()) > 6
    assert away < 2, away


def test_the_regulariser_decides_the_spread(pictures, tiny):
    """About as wide as is asked for: a variance by itself, a divergence against the loss."""
    batches, test = pictures

    def spread(model):
        with torch.no_grad():
            density = model(test).log_density().exp()
        index = torch.arange(8.0)
        line = density.sum(-2)
        mean = (line * index).sum(-1, keepdim=True)
        return float((line * (index - mean).square()).sum(-1).mean())

    for sigma in (0.7, 1.2):
        wide = spread(trained(build(regulariser="variance", sigma=sigma), batches))
        assert wide == pytest.approx(sigma**2, rel=0.3), sigma
    narrow, wide = (spread(trained(build(sigma=sigma), batches)) for sigma in (0.7, 1.2))
    assert wide > 1.5 * narrow


def test_weights_of_heatmaps_go_on(pictures):
    """PoseResNet's are its own, key by key."""
    model = build()
    other = PoseResNet(3, PoseResNet.Options(backbone="small", input_size=[32, 32], heatmap_size=[8, 8], channels=16))
    model.load_state_dict(other.state_dict())
    model.eval(), other.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(pictures[1]).mean(), other(pictures[1]).mean())


@pytest.mark.parametrize("rectification", RECTIFIED)
def test_a_file_keeps_the_options(dots, pictures, tmp_path, rectification):
    model = build(rectification=rectification, loss="l1", regulariser="kl", sigma=1.5).eval()
    save_model(tmp_path / "model.pt", model, dots.skeleton, 3)
    again, skeleton = load_model(tmp_path / "model.pt")
    assert (type(again), skeleton.keypoints) == (DSNT, dots.skeleton.keypoints)
    assert asdict(again.options) == asdict(model.options)
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(pictures[1]).mean(), model(pictures[1]).mean())


def test_of_volumes_little_is_kept_for_the_gradient():
    """Beside the logits their goals: no map in between, whatever the number of people."""
    grid, points, kept = GRIDS["volume"], torch.zeros(6, 3, 3), []
    maps = torch.randn(6, 3, *grid.shape, requires_grad=True)

    def keep(tensor):
        if tensor.numel():  # torch 2.11 keeps empty ones besides
            kept.append(tensor.untyped_storage().data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        each = spreads(grid, maps, points, DSNT.Options())
    assert set(kept) == {maps.untyped_storage().data_ptr(), points.untyped_storage().data_ptr()}
    each.sum().backward()
    whole = torch.autograd.grad(js(softmax(maps), gaussian(grid, points, 1.0)).sum(), maps)[0]
    torch.testing.assert_close(maps.grad, whole)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"loss": "l2"}, "loss"), ({"regulariser": "mse"}, "regulariser"), ({"rectification": "exp"}, "rectification")],
)
def test_what_is_no_choice_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        DSNT.Options(**options)
