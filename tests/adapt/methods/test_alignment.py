"""What each method of alignment does, on a lifter that trains in a second and on dots: the mechanism that it claims."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from keyshift.adapt.alignment import coral, entropy, mmd, pooled, regression_disparity
from keyshift.adapt.methods import adabn
from keyshift.adapt.methods.aligned import Domain
from keyshift.adapt.methods.cdan import density, shares
from keyshift.adapt.methods.disparity import coordinates
from keyshift.adapt.methods.jan import shape_of
from keyshift.adapt.methods.mcd import apart
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import TrainingBatches
from keyshift.models.output import Grid, Votes

ADAM = Optimization("adam", 3e-3, {}, 0.0, gamma=0.0)
SYSTEMS = {"bottom_up": "Scenes", "lifter": "Sequences"}


@pytest.fixture(scope="module")
def make(toys):
    """make(name, system, **options): the strategy on a toy system, always from the same weights. The network `bare` is
    the lifter without batch norm, which would hide from the head most of what the domains differ in."""

    def strategy(name, system="lifter", batch_norm="target", **options):
        torch.manual_seed(0)
        bare = system == "bare"
        system = "lifter" if bare else system
        model = toys.SYSTEMS[system](3, toys.SYSTEMS[system].Options(channels=8))
        if bare:
            model.backbone[1] = torch.nn.Identity()
        kind = STRATEGIES[name]
        return kind(model, toys.DOTS, ADAM, batch_norm, kind.Options(**options)).train()

    return strategy


@pytest.fixture(scope="module")
def pair(toys):
    """pair(system, size): a few labelled batches of the source, and as many of the target without labels, which hold
    48 samples of each."""

    @cache
    def batches(system="lifter", size=16):
        sets = getattr(toys, SYSTEMS[system])
        drawn = (
            TrainingBatches(sets(sets.Options(train=48), "train", style), d, 0, size, (32, 32), Augmentation(), labels)
            for d, style, labels in (("source", "plain", True), ("target", "shifted", False))
        )
        return [[domain[step] for step in range(48 // size)] for domain in drawn]

    return batches


def moved(batches, by=6.0):
    """As another camera sees them: a shift that vectors of features show by their means."""
    return [replace(one, inputs={"keypoints2d": one.inputs["keypoints2d"] + by}) for one in batches]


def features(strategy, pair):
    """Both domains' features of all samples, the target's moved."""
    source, target = pair("lifter", 48)
    with torch.no_grad():
        return [pooled(strategy.model.features(batches[0])) for batches in (source, moved(target))]


def trained(make, pair, iterate, name, steps=60, **options):
    """A strategy on the bare lifter after some iterations, the target being moved."""
    strategy, (source, target) = make(name, "bare", **options), pair()
    target = moved(target)
    optimizers = strategy.optimizers()
    for step in range(steps):
        iterate(strategy, source[step % 3], target[step % 3], optimizers)
    return strategy


@pytest.mark.parametrize(("name", "distance", "weight"), [("dan", mmd, 10), ("jan", mmd, 10), ("coral", coral, 1e5)])
def test_the_distance_falls(make, pair, iterate, name, distance, weight):
    """To less than half of what training without it leaves."""
    without, drawn = (
        distance(*features(trained(make, pair, iterate, name, trade_off=one), pair)) for one in (0, weight)
    )
    assert without > 0
    assert drawn < 0.5 * without


@pytest.mark.parametrize("name", ["dann", "cdan"])
def test_the_domains_cannot_be_told_apart(make, pair, iterate, name):
    """A classifier that is trained on the features afterwards comes nearer to chance."""
    accuracy = []
    for highest in (0.0, 1.0):
        strategy = trained(make, pair, iterate, name, width=32, warmup=1, highest=highest)
        rows = torch.cat(features(strategy, pair)).numpy()
        domain = [0] * 48 + [1] * 48
        accuracy.append(LogisticRegression(C=100, max_iter=1000).fit(rows, domain).score(rows, domain))
    assert accuracy[1] < accuracy[0] - 0.05, accuracy


def test_spectral_keeps_one_direction_from_taking_all(make, pair, iterate):
    largest = [
        max(torch.linalg.matrix_norm(one, 2) for one in features(trained(make, pair, iterate, "dann", **options), pair))
        for options in ({"width": 32}, {"width": 32, "spectral": 1e-2})
    ]
    assert largest[1] < 0.8 * largest[0]


def test_heads_draw_apart_and_features_draw_them_together(make, pair):
    """One iteration of MCD, its updates done by hand: step B raises the disagreement, step C lowers it."""
    strategy, (source, target) = make("mcd", trade_off=1.0, warmup=1, highest=1.0), pair()
    strategy.gradient.advance()
    optimizers = strategy.optimizers()

    def disagreement():
        with torch.no_grad():
            return float(apart(*strategy.heads(strategy.seen(target[0], "target"), target[0], "target")))

    seen = []
    for losses, names in strategy.step(source[0], target[0]):
        seen.append(disagreement())
        strategy.zero_grad()
        sum(losses.values()).backward()
        for name in names:
            optimizers[name][0].step()
    seen.append(disagreement())
    assert len(seen) == 7
    assert 0 < seen[1] < seen[2] <= 1 * 2  # two marginals
    assert seen[6] < seen[2]


def test_the_adversary_leaves_the_head_on_the_target_alone(make, pair, iterate):
    """With the reversal shut, DD's adversary lowers its loss below that of agreement, 0; with it open, the features
    hold it back."""
    values = []
    for highest in (0.0, 5.0):
        strategy = trained(make, pair, iterate, "dd", highest=highest, warmup=1)
        with torch.no_grad():
            source, target = pair("lifter", 48)
            near, far = (strategy.passed(batches[0], labelled=False)[1] for batches in (source, moved(target)))
            values.append(
                regression_disparity(*(tuple(coordinates(v) for v in heads) for heads in (near, far)), margin=1.0)
            )
    assert values[0] < 0
    assert values[1] > values[0]


def test_disparity_of_cells_on_heads_with_several_grids(make, pair, iterate):
    strategy, (source, target) = make("dd", form="cells", margin=4.0), pair()
    names = iterate(strategy, source[0], target[0], strategy.optimizers())
    assert names == [("model", "adversary")]


def test_where_a_pose_stands_is_no_part_of_it():
    """JAN's second layer does not change when all keypoints move together."""
    grid = Grid((8, 8), (4.0, 4.0), (2.0, 2.0))
    where = 10 + 10 * torch.rand(4, 1, 3, 2)
    votes, moved = (Votes(grid, torch.zeros(4, 1, 3), points) for points in (where, where + torch.tensor([5.0, -3.0])))
    torch.testing.assert_close(shape_of(votes), shape_of(moved))
    assert not torch.allclose(shape_of(votes), shape_of(Votes(grid, torch.zeros(4, 1, 3), where * 1.1)))


def test_the_discriminator_sees_features_under_each_density(make):
    """By a loop over keypoints and places, of features at half the density's resolution; and which keypoint it is."""
    strategy = make("cdan", "bottom_up")
    maps, seen = torch.randn(2, 3, 16, 16), torch.randn(2, 8, 8, 8)
    votes = Votes.from_maps(Grid((16, 16), (2.0, 2.0), (1.0, 1.0)), maps)
    rows = strategy.rows(Domain(seen, votes))
    p = maps.flatten(2).softmax(-1).unflatten(2, (8, 2, 8, 2)).sum((3, 5))
    for image in range(2):
        for k in range(3):
            row = rows[image * 3 + k]
            wanted = sum(p[image, k, y, x] * seen[image, :, y, x] for y in range(8) for x in range(8))
            torch.testing.assert_close(row[:8], wanted, atol=1e-5, rtol=1e-4)
            assert row[8:].tolist() == [float(k == one) for one in range(3)]


def test_shares_of_a_volume_are_those_of_its_columns():
    volume = torch.rand(2, 3, 4, 8, 8)
    answer = shares(volume, (4, 4))
    torch.testing.assert_close(answer.sum((2, 3)), torch.ones(2, 3))
    columns = volume.sum(2)
    torch.testing.assert_close(answer[0, 0, 0, 0], columns[0, 0, :2, :2].sum() / columns[0, 0].sum())


@pytest.mark.parametrize("system", SYSTEMS)
def test_conditioning_by_random_projections(make, pair, iterate, system):
    """Of vectors always, of maps where it is asked for; with weights by entropy that average to 1."""
    options = {"randomized": True} if system == "bottom_up" else {}
    strategy, (source, target) = make("cdan", system, entropy=True, projected=16, width=8, **options), pair(system)
    assert strategy.discriminator[0].in_features == 16 + 3
    assert {"first", "second"} <= set(strategy.state_dict())
    seen = [strategy.model.features(batches[0]) for batches in (source, target)]
    domains = [Domain(f, strategy.model.votes(f, b[0])) for f, b in zip(seen, (source, target), strict=True)]
    weights = strategy.weights(*domains)
    logs = torch.cat([density(domain.votes).flatten(2).flatten(0, 1).log() for domain in domains])
    wanted = 1 + torch.exp(-entropy(logs))
    torch.testing.assert_close(weights, wanted / wanted.mean(), atol=1e-4, rtol=1e-4)
    iterate(strategy, source[0], target[0], strategy.optimizers())


def test_cells_may_be_asked_to_be_used_alike(make, pair, iterate):
    strategy, (source, target) = make("mcd", "bottom_up", balance=0.01), pair("bottom_up")
    losses, _ = next(strategy.step(source[0], target[0]))
    assert losses["balance"] >= 2 * 0.01 * torch.log(torch.tensor(256.0)) - 1e-4
    iterate(strategy, source[0], target[0], strategy.optimizers())


@pytest.mark.parametrize("batch_norm", ["target", "frozen"])
def test_adabn_has_the_statistics_of_the_whole_target(make, pair, iterate, batch_norm):
    """Of all values together, the source's forgotten; a second pass changes nothing, resumed or not."""
    strategy, (source, target) = make("adabn"), pair()
    strategy.model(source[0])
    strategy = type(strategy)(strategy.model, strategy.skeleton, ADAM, batch_norm).train()
    _, norm, _ = strategy.model.backbone
    values = []
    norm.register_forward_pre_hook(lambda _, inputs: values.append(inputs[0]))

    def passed(module, steps):
        for step in steps:
            iterate(module, None, target[step], module.optimizers())

    passed(strategy, range(2))
    copy = make("adabn", batch_norm=batch_norm)
    copy.load_state_dict(strategy.state_dict())
    passed(strategy, [2])
    passed(copy, [2])
    every = torch.cat(values)
    assert len(every) == 48
    for module in (strategy, copy):
        again = module.model.backbone[1]
        torch.testing.assert_close(again.running_mean, every.mean(0), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(again.running_var, every.var(0, correction=0), atol=1e-5, rtol=1e-4)
    passed(copy, range(3))
    torch.testing.assert_close(again.running_mean, every.mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(again.running_var, every.var(0, correction=0), atol=1e-5, rtol=1e-4)


def test_adabn_joins_the_batches_of_all_processes(monkeypatch):
    """Two shares of a batch, each absorbed as its process does, give what the whole batch gives."""
    shares_, norm, whole = (
        torch.randn(2, 6, 4, 3, 3) + torch.arange(2).view(2, 1, 1, 1, 1),
        *(torch.nn.BatchNorm2d(4) for _ in range(2)),
    )
    moments = torch.stack([torch.stack(torch.var_mean(s, (0, 2, 3), correction=0)[::-1]) for s in shares_])
    adabn.absorb(whole, (shares_.flatten(0, 1),))
    monkeypatch.setattr(adabn, "gather", lambda own: moments)
    adabn.absorb(norm, (shares_[0],))
    torch.testing.assert_close(norm.running_mean, whole.running_mean)
    torch.testing.assert_close(norm.running_var, whole.running_var)


def test_adabn_needs_batch_norm(make):
    model = make("given").model
    model.backbone[1] = torch.nn.Identity()
    with pytest.raises(ValueError, match="Lifter has no such layer"):
        STRATEGIES["adabn"](model, make("given").skeleton, ADAM)


EPIC = {"adversary_mmd": 0.2, "mmd": 0.7, "spread": 0.4, "sure": True}


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_terms_of_epic_join_regdas(make, pair, iterate, system):
    """On maps and on points: step B holds the adversary's alone, step C the features'; without weights neither."""
    source, target = pair(system)
    for options, wanted in (
        (EPIC, [{"false", "adversary mmd"}, {"truth", "mmd", "spread"}]),
        ({}, [{"false"}, {"truth"}]),
    ):
        strategy = make("regda", system, **options)
        strategy.gradient.advance()
        updates = [(losses, names) for losses, names in strategy.step(source[0], target[0])]
        assert [set(losses) for losses, _ in updates[1:]] == wanted
        assert [names for _, names in updates[1:]] == [("adversary",), ("features",)]
    strategy = make("regda", system, **EPIC)
    iterate(strategy, source[0], target[0], strategy.optimizers())


def test_the_heads_densities_come_together_by_epics_term(make, pair):
    """Step B alone, thirty times on one batch: its discrepancy falls."""
    strategy, (source, target) = make("regda", "bottom_up", adversary_mmd=100.0, trade_off=1e-3), pair("bottom_up")
    optimizer = strategy.optimizers()["adversary"][0]
    values = []
    for _ in range(30):
        updates = strategy.step(source[0], target[0])
        next(updates)
        losses, _ = next(updates)
        strategy.zero_grad()
        sum(losses.values()).backward()
        assert all(p.grad is None for p in strategy.model.parameters())
        optimizer.step()
        values.append(float(losses["adversary mmd"].detach()))
    assert values[-1] < 0.7 * values[0]
