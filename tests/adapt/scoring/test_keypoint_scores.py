"""Label-free scores made for keypoints: what each must prefer."""

import math
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch

from keyshift.adapt.methods.anatomy import Ranges
from keyshift.adapt.methods.baselines import Oracle
from keyshift.adapt.scoring import evidence as evidence_module
from keyshift.adapt.scoring.evidence import Answers, Evidence, Looks, Views
from keyshift.adapt.scoring.label_free import SCORES
from keyshift.adapt.scoring.scores import pose_density, predicted
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.skeleton import Skeleton

CPU = torch.device("cpu")
SIDES = Skeleton("sides", ("neck", "left", "right", "hip"), edges=((0, 1), (0, 2), (0, 3)), flip_pairs=((1, 2),))


def said(points, labels=None, given=None, views=None, skeleton=SIDES, **more):
    """Evidence of a network that predicts `points` (P, K, D), each of a picture of its own."""
    count = len(points)
    answers = dict.fromkeys((field for field in Answers.__dataclass_fields__), None)
    answers |= {"points": points, "image_index": torch.arange(count), "frame": torch.arange(count)}
    target = Answers(**answers | {"sequence": ("film",) * count} | more)
    known = None if labels is None else (labels, torch.ones(labels.shape[:2], dtype=torch.bool))
    looks = SimpleNamespace(labels=known, skeleton=skeleton)
    made = SimpleNamespace(target=target, views=views, looks=looks, model=SimpleNamespace(single=True))
    made.given = made if given is None else given
    return made


def people(count, seed, jitter=0.01):
    """Of a skeleton with two sides, at many places and sizes."""
    draw = torch.Generator().manual_seed(seed)
    body = torch.tensor([[0.0, 0.0], [-1.0, 0.5], [1.0, 0.5], [0.0, 2.0]])
    size = 0.1 + 0.1 * torch.rand(count, 1, 1, generator=draw)
    place = torch.rand(count, 1, 2, generator=draw)
    return place + size * (body + jitter * torch.randn(count, 4, 2, generator=draw))


@pytest.mark.parametrize("name", ["anatomy", "pose_density"])
def test_bodies_are_better_than_scattered_points(name):
    labels, right = people(40, 0), people(30, 1)
    score = SCORES[name]
    half = torch.where(torch.arange(30)[:, None, None] < 15, right, torch.rand(30, 4, 2))
    values = [score(said(points, labels)) for points in (torch.rand(30, 4, 2), half, right)]
    assert values == sorted(values)
    assert values[2] - values[0] > 0.1
    assert score(said(right * 0.5 + 0.2, labels)) == pytest.approx(values[2], abs=1e-3)  # place and size do not count


def test_anatomy_without_a_source_is_that_of_the_given_network():
    given = said(people(40, 0, jitter=0.1))
    values = [SCORES["anatomy"](said(people(30, 1, jitter), given=given)) for jitter in (2.0, 0.1)]
    assert values[0] < 0.8 < values[1]


def test_distances_of_poses_against_a_loop():
    poses, labels = torch.rand(3, 5, 2), torch.rand(4, 5, 2)
    annotated = torch.rand(4, 5) > 0.3
    annotated[:, :3] = True
    for p, row in enumerate(pose_density.distances(poses, labels, annotated)):
        for label, distance in enumerate(row):
            shapes = []
            for one in (poses[p], labels[label]):
                kept = one[annotated[label]]
                kept = kept - kept.mean(0)
                shapes.append(kept / kept.norm())
            assert distance == pytest.approx(float((shapes[0] - shapes[1]).norm()), abs=1e-5)


def test_steady_motion_is_better_than_jumps_and_than_standing_still():
    path = torch.linspace(0, 1, 20)[:, None, None].expand(-1, 4, 2) + torch.rand(4, 2)
    score = SCORES["temporal"]
    values = [score(said(path + jitter * torch.randn(20, 4, 2))) for jitter in (0.3, 0.01, 0.0)]
    assert values == sorted(values)
    still = said(path[:1].repeat(20, 1, 1) + 1e-4 * torch.randn(20, 4, 2))
    assert score(still) < values[1]
    assert math.isnan(score(said(path[:2])))
    assert math.isnan(score(said(path, sequence=tuple("abcdefghijklmnopqrst"))))


def test_doubtful_keypoints_may_move_and_sure_ones_may_not():
    points = torch.rand(20, 4, 2)
    doubtful = torch.arange(80).view(20, 4) % 2 == 0
    away = torch.where(doubtful[..., None], 0.2 * torch.randn(4, 20, 4, 2), 0.001 * torch.randn(4, 20, 4, 2))
    views = Views(torch.cat([points[None], points + away]), torch.ones(5, 20, 4, dtype=torch.bool))
    given = said(points, views=views)
    values = [
        SCORES["drift"](said(torch.where(moved[..., None], points + 1, points), given=given))
        for moved in (~doubtful, torch.ones_like(doubtful), doubtful)
    ]
    assert values == pytest.approx([-1, 0, 1])
    assert SCORES["drift"](given) == 0


def test_a_student_that_goes_its_own_way_disagrees():
    points = torch.rand(20, 4, 2)
    given = said(points)
    moved = torch.arange(80).view(20, 4) % 4 == 0
    far, near = (said(torch.where(moved[..., None], points + by, points), given=given) for by in (1, 0.01))
    assert [SCORES["disagreement"](one) for one in (far, near)] == pytest.approx([0.75, 1])


def test_consensus_prefers_the_network_that_both_see_alike():
    truth = torch.rand(20, 4, 2)
    shown = torch.ones(5, 20, 4, dtype=torch.bool)
    right = Views(truth + 0.001 * torch.randn(5, 20, 4, 2), shown)
    wild = Views(truth + 0.3 * torch.randn(5, 20, 4, 2), shown)
    given, good = said(wild.points[0], views=wild), said(right.points[0], views=right)
    assert SCORES["consensus"](SimpleNamespace(**vars(good) | {"given": given})) > 0.5
    assert SCORES["consensus"](SimpleNamespace(**vars(given) | {"given": good})) < -0.5
    assert SCORES["consensus"](given) == 0


def test_predicted_accuracy_follows_the_true_one(toy_shift, dots, monkeypatch):
    """Of a spoiled network, the given one, and one that has learned the target with its labels."""
    monkeypatch.setattr(evidence_module, "TRIED", 32)
    sides = (dots(64, style, first=2000) for style in ("shifted", "plain"))
    looks = Looks(*sides, dots.skeleton, (32, 32), Augmentation(rotation=20), 0.1, CPU)
    spoiled = deepcopy(toy_shift.start)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in spoiled.parameters():
            parameter.add_(parameter.std(correction=0) * torch.randn_like(parameter))
    given = Evidence(toy_shift.start, looks)
    below, above = (Evidence(model, looks, given) for model in (spoiled, toy_shift.adapt(Oracle).predictor))
    values = [SCORES["predicted"](one) for one in (below, given, above)]
    assert values == sorted(values)
    assert values[1] - values[0] > 0.05
    assert 0 < predicted.deviation(given) < 0.5
    assert SCORES["corrupted_source"](below) < SCORES["corrupted_source"](given) - 0.05
    trial, judged = given.tried["plain"], given.judged.errors()
    assert len(trial.errors) == 32 < len(judged)
    assert float(trial.errors.median()) == pytest.approx(float(judged.median()), abs=0.03)


def test_the_numbers_of_a_pose_name_their_joints():
    ranges = Ranges(SIDES)
    members = predicted.joints_of(ranges, 4)
    before = ranges.numbers(people(1, 0))
    for joint in range(4):
        moved = people(1, 0)
        moved[0, joint] += 0.05
        differs = ((ranges.numbers(moved) - before).abs() > 1e-6)[0]
        rest = torch.cat([torch.zeros(3), torch.ones(len(members) - 3)]).bool()  # proportions take all bones
        assert torch.equal(differs & rest, (members[:, joint] > 0) & rest)
