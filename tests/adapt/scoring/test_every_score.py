"""What holds for each label-free score, on every head; and what those of the literature must prefer."""

import math
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from keyshift.adapt.scoring.distance import density_ratio
from keyshift.adapt.scoring.evaluation import Predictions
from keyshift.adapt.scoring.evidence import Answers, Evidence, Looks, in_plane
from keyshift.adapt.scoring.label_free import SCORES
from keyshift.adapt.scoring.scores import calibrated, flatness
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.views import InSpace, Selected, View
from keyshift.models.output import Grid, Votes
from keyshift.models.systems.a2j import A2J
from keyshift.models.systems.awr import AWR
from keyshift.models.systems.pose_net import PoseNet
from keyshift.models.systems.root_net import RootNet
from keyshift.models.systems.root_pose_net import RootPoseNet

CPU = torch.device("cpu")
HEADS = ("heatmap", "anchors", "offsets", "people", "nobody", "lifter", "root", "pose", "both")
ONE = ("heatmap", "anchors", "offsets", "root", "pose", "both")
"""Those that answer with one person, and vote by many candidates."""
OF_POSES = ("anatomy", "pose_density")
"""A root alone has neither bones nor a pose."""
NEED_SOURCE = (
    *("calibrated", "corrupted_source", "feature_distance", "pose_density", "predicted", "source"),
    "weighted_source",
)


class Noise(View):
    """Other labels of the same pictures."""

    def __getitem__(self, index):
        item = self.dataset[index]
        rng = np.random.default_rng(index)
        known = rng.random(item.annotated.shape) > 0.5
        places = rng.uniform(-100, 100, item.keypoints.shape)
        return replace(item, keypoints=places, visible=known, annotated=known, points=None)


def head(name, toys, dots, balls):
    """A network of that kind, and what makes its data from a style."""
    small = {"input_size": [32, 32], "backbone": "small", "channels": 8}

    def set_of(kind):
        return lambda style: kind(kind.Options(test=12), "test", style)

    def crowd(threshold):
        return toys.BottomUp(3, toys.BottomUp.Options(channels=8, threshold=threshold)), set_of(toys.Scenes)

    def in_space(kind, names, **options):
        def data(style):
            people = toys.Persons(toys.Persons.Options(test=12), "test", style)
            return InSpace(Selected(people, names), kind is not RootNet)

        model = kind(len(names), kind.Options(**small, **options)).know(toys.PERSONS.select(names))
        return model, data

    all_of = toys.PERSONS.keypoints
    return {
        "root": lambda: in_space(RootNet, all_of[:1]),
        "pose": lambda: in_space(PoseNet, all_of, depth_cells=16),
        "both": lambda: in_space(RootPoseNet, all_of, depth_cells=16),
        "heatmap": lambda: (toys.TopDown(3, toys.TopDown.Options(channels=8)), lambda style: dots(12, style)),
        "anchors": lambda: (A2J(3, A2J.Options(**small)), lambda style: balls(12, style)),
        "offsets": lambda: (AWR(3, AWR.Options(**small, downsample=4)), lambda style: balls(12, style)),
        "people": lambda: crowd(0.55),
        "nobody": lambda: crowd(1.0),
        "lifter": lambda: (toys.Lifter(3, toys.Lifter.Options(channels=8)), set_of(toys.Sequences)),
    }[name]()


def looks(target, source, threshold=0.1):
    return Looks(target, source, target.skeleton, (32, 32), Augmentation(rotation=20), threshold, CPU)


def shaken(model, noise):
    """A copy that predicts something else."""
    copy = deepcopy(model)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.add_(noise * torch.randn_like(parameter))
    return copy


def values(model, own):
    evidence = Evidence(model, own, Evidence(shaken(model, 0.1), own))
    return {name: score(evidence) for name, score in SCORES.items()}


@pytest.mark.parametrize("name", HEADS)
def test_every_score_of_every_head(toys, dots, balls, name):
    """A number or NaN; the same each time, and whatever the target's labels say; the network stays as it was."""
    torch.manual_seed(0)
    model, data = head(name, toys, dots, balls)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    first = values(model.train(), looks(data("shifted"), data("plain")))
    assert all(isinstance(value, float) for value in first.values())
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    again = values(model, looks(Noise(data("shifted")), data("plain")))
    assert again == pytest.approx(first, rel=0, abs=0, nan_ok=True)
    alone = values(model, looks(data("shifted"), None))
    for score, value in first.items():
        if score in NEED_SOURCE:
            assert math.isnan(alone[score])
        elif name in ONE and not (name == "root" and score in OF_POSES):
            assert math.isfinite(alone[score]), score
        if name == "root" and score in OF_POSES:
            assert math.isnan(value), score
        elif name in ONE:
            assert math.isfinite(value), score
    assert 0 <= first["source"] <= 1, "pixels or millimetres"
    assert math.isnan(first["calibrated"]) or 0 <= first["calibrated"] <= 1
    if name == "lifter":  # a single candidate has no doubt to tell of
        assert math.isnan(first["entropy"])
        assert math.isnan(first["calibrated"])


def test_what_they_prefer_on_a_toy_shift(dots, toy_shift):
    """A network that knows the plain dots scores higher on these than on the other style, and higher than a copy whose
    weights were spoiled where that is what a score is about."""
    model, source = toy_shift.start, dots(48, first=700)
    plain, shifted = (looks(dots(48, style, first=500), source, 0.03) for style in ("plain", "shifted"))
    given = Evidence(model, shifted)
    near, bad = Evidence(model, plain, given), Evidence(shaken(model, 0.3), shifted, given)
    for name in ("agreement", "entropy", "bnm", "information", "calibrated", "feature_distance"):
        assert SCORES[name](near) > SCORES[name](given), name
    for name in ("source", "weighted_source"):
        assert SCORES[name](given) > SCORES[name](bad), name
    assert SCORES["source"](near) == SCORES["source"](given)  # whatever the target
    assert SCORES["feature_distance"](given) == 0


def test_a_flat_network_bears_noise(dots, toy_shift, monkeypatch):
    """What it is without any, with little and with much."""
    own = looks(dots(24, "shifted", first=500), None)
    reached = []
    for noise in (0.0, 0.1, 1.0):
        monkeypatch.setattr(flatness, "NOISE", noise)
        reached.append(SCORES["flatness"](Evidence(toy_shift.start, own)))
    assert reached[0] == 1 > reached[1] > reached[2] + 0.2


def answers(p, **more):
    """Of a network whose votes are p (N, K, cells)."""
    empty = dict.fromkeys((name for name in Answers.__dataclass_fields__), None)
    return Answers(**empty | {"log_density": p.log(), "confidence": torch.zeros(p.shape[:2])} | more)


def seen(target, **more):
    return SimpleNamespace(target=target, **more)


def test_density_scores_over_joints():
    """Sure and various answers are best; collapsed ones, as sure, are worst where variety counts; neighbourhoods are
    dense where samples come in groups."""
    cells = torch.eye(12) + 1e-4
    various, constant, unsure = cells, cells[:1].expand(12, -1), torch.ones(12, 12)
    votes = [torch.stack([one, one.flip(0)], 1) for one in (various, constant, unsure)]
    best, collapsed, flat = (seen(answers(one / one.sum(-1, keepdim=True))) for one in votes)
    for name in ("information", "bnm"):
        assert SCORES[name](best) > SCORES[name](collapsed) + 0.1 > SCORES[name](flat), name
    assert SCORES["information"](best) == pytest.approx(math.log(12), abs=0.02)
    assert SCORES["entropy"](best) == pytest.approx(SCORES["entropy"](collapsed), abs=1e-5)
    assert SCORES["entropy"](flat) == pytest.approx(-1)
    assert math.isnan(SCORES["entropy"](seen(answers(cells[:, None], confidence=torch.ones(12, 1)))))


def test_neighbourhoods_are_dense_where_samples_come_in_few_groups():
    few, many = (torch.arange(12) // size for size in (6, 2))
    votes = torch.eye(12) + 1e-4
    votes = votes / votes.sum(-1, keepdim=True)
    features = torch.randn(12, 20, generator=torch.Generator().manual_seed(0))
    dense, loose = (seen(answers(votes[groups][:, None], features=features[groups])) for groups in (few, many))
    for name in ("snd", "snd_features"):
        assert SCORES[name](dense) > SCORES[name](loose) + 1, name


def test_confidence_is_worth_what_it_is_worth_on_the_source():
    """Half the target is as sure as source keypoints that hit; worth never falls with confidence."""
    known, sure = np.linspace(0, 1, 40), np.repeat([0.2, 0.9], 30)
    assert calibrated.expected(known, (known > 0.5).astype(float), sure) == pytest.approx(0.5)
    backwards = calibrated.expected(known, (known < 0.5).astype(float), sure)
    assert backwards == pytest.approx(0.5)  # all are worth the mean
    assert calibrated.expected(known, known, np.array([2.0])) == pytest.approx(1)


def test_density_ratio_of_two_gaussians():
    """One of mean 0 and one of mean 1 along the first axis: exp(x - 1/2)."""
    rng = np.random.default_rng(0)
    source, target = rng.standard_normal((2, 600, 3)) + np.array([[[0, 0, 0]], [[1, 0, 0]]])
    groups = [f"source/{i % 40}" for i in range(600)] + [f"target/{i % 40}" for i in range(600)]
    ratio = density_ratio(source, target, groups)
    assert np.abs(np.log(ratio) - (source[:, 0] - 0.5)).mean() < 0.15
    assert ratio.mean() == pytest.approx(1, abs=0.1)
    assert density_ratio(source[:3], target, groups[:3] + groups[600:]) is None


def judged(hits):
    """Predictions (N, 1) of crops of side 1 that hit or miss."""
    count = len(hits)
    places, known = torch.zeros(count, 1, 2), torch.ones(count, 1, dtype=torch.bool)
    more = {"side": torch.ones(count), "camera": torch.zeros(count, 4), "sequence": (), "id": ()}
    points = torch.where(hits[:, None, None], 0.0, 1.0).expand(-1, -1, 2)
    row, matched = torch.arange(count), known[:, 0]
    return Predictions(points, places[..., 0], places, known, known, row=row, matched=matched, **more)


def test_source_pictures_that_look_like_the_target_weigh_more():
    """Two networks as good on the source; the target looks like those pictures on which only the first one is right."""
    place = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    names = tuple(str(i % 20) for i in range(200))
    source, target = ((f, names) for f in (place, place + torch.tensor([0.7, 0.0])))
    source, target = (answers(torch.ones(1, 1, 1), features=f, sequence=names) for f, names in (source, target))
    right = place[:, 0] > place[:, 0].median()
    first, second = (
        seen(target, source=source, judged=judged(right), hits=hits[:, None].double().numpy())
        for hits in (right, ~right)
    )
    assert SCORES["weighted_source"](first) > SCORES["weighted_source"](second) + 0.2
    assert math.isnan(SCORES["weighted_source"](seen(target, source=None, judged=None)))


def test_noise_of_weights(toys):
    """A share of their spread; the same at each call, another for each copy; biases and batch norm stay."""
    torch.manual_seed(0)
    model = toys.TopDown(3, toys.TopDown.Options(channels=8))
    one, again, other = (flatness.noisy(model, seed).state_dict() for seed in (0, 0, 1))
    for name, weight in model.state_dict().items():
        assert torch.equal(one[name], again[name])
        assert torch.equal(one[name], weight) == (weight.dim() < 2), name
        if weight.dim() > 1:
            assert not torch.equal(one[name], other[name])
            assert (one[name] - weight).std() / weight.std() == pytest.approx(flatness.NOISE, rel=0.2)


def test_a_volume_is_seen_in_the_picture_as_its_sum_along_z():
    """The same whether the density of the whole volume is made, and with little memory."""
    votes = Votes.from_maps(Grid((5, 3, 4), (4.0, 4.0, 400.0), (2.0, 2.0, -800.0)), 3 * torch.randn(2, 3, 5, 3, 4))
    grid, density = in_plane(votes)
    assert (grid.shape, grid.stride, grid.origin) == ((3, 4), (4.0, 4.0), (2.0, 2.0))
    torch.testing.assert_close(density.exp(), votes.maps.flatten(2).softmax(-1).view_as(votes.maps).sum(2))
