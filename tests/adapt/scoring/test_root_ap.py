"""Average precision of roots in space, against the reference's loop told anew, and by hand."""

import math

import pytest
import torch

from keyshift.adapt.scoring.people import LabelledPeople, PredictedPeople
from keyshift.adapt.scoring.root_ap import nearest_root, precision_recall, root_ap, rootnet_ap


def predicted(points, image, score):
    return PredictedPeople(torch.tensor(points).reshape(-1, 1, 3), torch.tensor(image).long(), torch.tensor(score))


def labelled(points, image, valid=None):
    points, image = torch.tensor(points).reshape(-1, 1, 3), torch.tensor(image).long()
    valid = torch.ones(len(image), dtype=torch.bool) if valid is None else torch.tensor(valid)
    return LabelledPeople(points, torch.ones(len(image), 1, dtype=torch.bool), valid, image)


def at(*x):
    """Roots on the x axis, mm, at 3 m."""
    return [[float(value), 0.0, 3000.0] for value in x]


def loop(people, truth, threshold):
    """(the reference's AP, the whole one)."""
    whole = sum(truth.valid.tolist())
    order = sorted(range(len(people)), key=lambda q: -people.score[q].item())
    taken, hits, tried, curve = set(), 0, 0, []
    for q in order:
        own = [
            p
            for p in range(len(truth))
            if truth.valid[p] and truth.image_index[p].item() == people.image_index[q].item()
        ]
        if not own:
            continue
        away = {p: math.dist(people.points[q, 0].tolist(), truth.points[p, 0].tolist()) for p in own}
        best = min(own, key=away.get)
        tried += 1
        if away[best] < threshold and best not in taken:
            taken.add(best)
            hits += 1
        curve.append((hits / tried, hits / whole))
    steps = [p * (r - before) for (p, r), (_, before) in zip(curve, [(0, 0), *curve], strict=False)]
    return sum(steps[1:]), sum(steps)


@pytest.mark.parametrize("seed", range(8))
def test_against_a_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 12, (30,), generator=generator)
    points = 400 * torch.randn(30, 1, 3, generator=generator)
    valid = torch.rand(30, generator=generator) > 0.3
    valid[image == 5] = False
    truth = LabelledPeople(points, torch.ones(30, 1, dtype=torch.bool), valid, image)
    seen = torch.randint(0, 30, (45,), generator=generator)
    near = points[seen] + 150 * torch.randn(45, 1, 3, generator=generator)
    score = torch.randint(0, 20, (45,), generator=generator) / 20  # with equals
    where = torch.where(torch.rand(45, generator=generator) > 0.1, image[seen], 40)  # 40: no one is labelled there
    people = PredictedPeople(near, where, score)
    for threshold in (100.0, 250.0, 700.0):
        wanted = loop(people, truth, threshold)
        assert rootnet_ap(people, truth, 0, threshold).item() == pytest.approx(wanted[0], abs=1e-12)
        assert root_ap(people, truth, 0, threshold).item() == pytest.approx(wanted[1], abs=1e-12)
    assert 0.1 < wanted[0] <= wanted[1] < 1


def test_a_person_missed_and_one_found_twice():
    truth = labelled(at(0, 1000, 2000), [0, 0, 0])
    people = predicted(at(10, 1010, 20), [0, 0, 0], [0.9, 0.5, 0.7])
    precision, recall = precision_recall(people, truth, 0)
    assert precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])  # the second sight of the first person is false
    assert recall.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    assert root_ap(people, truth, 0).item() == pytest.approx(1 / 3 + 2 / 3 * 1 / 3)
    assert rootnet_ap(people, truth, 0).item() == pytest.approx(2 / 9)


def test_a_second_sight_is_false_even_if_another_root_is_in_reach():
    truth = labelled(at(0, 150), [0, 0])
    people = predicted(at(0, 60), [0, 0], [0.9, 0.8])  # both are nearest to the first
    assert precision_recall(people, truth, 0)[0].tolist() == [1, 0.5]
    far = predicted(at(500, 0), [0, 0], [0.9, 0.8])  # who is out of reach takes no one away
    assert precision_recall(far, truth, 0)[1].tolist() == [0, 0.5]


def test_the_threshold_itself_is_too_far():
    truth = labelled(at(0), [0])
    assert root_ap(predicted(at(250), [0], [1.0]), truth, 0).item() == 0
    assert root_ap(predicted(at(250), [0], [1.0]), truth, 0, 250.5).item() == 1
    assert root_ap(predicted(at(249), [0], [1.0]), truth, 0).item() == 1
    assert rootnet_ap(predicted(at(249), [0], [1.0]), truth, 0).item() == 0  # the first step is left out


def test_depth_counts():
    truth = labelled([[0.0, 0, 3000]], [0])
    assert root_ap(predicted([[0.0, 0, 3300]], [0], [1.0]), truth, 0).item() == 0


def test_people_that_do_not_count_and_images_without_any():
    truth = labelled(at(0, 100, 0), [7, 7, 8], [True, False, False])
    people = predicted(at(90, 0, 0, 5), [7, 8, 9, 7], [0.9, 0.8, 0.7, 0.6])
    whose, away = nearest_root(people, truth, 0)
    assert whose.tolist() == [0, -1, -1, 0]  # the nearest is not valid
    assert away[0].item() == 90
    precision, recall = precision_recall(people, truth, 0)
    assert precision.tolist() == [1, 0.5]  # images 8 and 9 are left out
    assert recall.tolist() == [1, 1]
    without = LabelledPeople(truth.points, torch.zeros(3, 1, dtype=torch.bool), truth.valid, truth.image_index)
    assert root_ap(people, without, 0).isnan()  # no root is annotated


def test_images_without_predictions_stay_in_the_recall():
    truth = labelled(at(0, 0, 0, 0), [0, 1, 2, 3])
    assert root_ap(predicted(at(0), [2], [0.3]), truth, 0).item() == 0.25


def test_nobody():
    truth, people = labelled(at(0), [0]), predicted(at(0), [0], [1.0])
    no_one, nothing = labelled([], []), predicted([], [], [])
    for ap in (root_ap, rootnet_ap):
        assert ap(nothing, truth, 0).item() == 0
        assert ap(people, no_one, 0).isnan()
        assert ap(nothing, no_one, 0).isnan()


def test_any_joint_is_a_root():
    points = torch.tensor([[[0.0, 0, 3000], [0, 500, 3000]]])
    image, both = torch.zeros(1).long(), torch.ones(1, 2, dtype=torch.bool)
    truth = LabelledPeople(points, both, torch.tensor([True]), image)
    people = PredictedPeople(points + torch.tensor([[[900.0, 0, 0], [30, 0, 0]]]), image, torch.ones(1))
    assert [root_ap(people, truth, root).item() for root in (0, 1)] == [0, 1]
