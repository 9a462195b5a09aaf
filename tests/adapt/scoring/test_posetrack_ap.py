"""PoseTrack's AP against a second implementation, person by person and joint by joint."""

import numpy as np
import pytest
import torch

from keyshift.adapt.scoring.posetrack_ap import HeadedPeople, by_part, partners, posetrack_ap, right_joints
from keyshift.datasets.bodies.skeletons import POSETRACK15
from keyshift.models.output import Poses


def drawn(seed, images=7, k=5, ties=False):
    """People in pictures of whom some are found well, some badly, some not at all, and some twice."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for image in range(images):
        for _ in range(rng.integers(0, 4)):
            points, head = rng.uniform(0, 60, (k, 2)), rng.uniform(0, 20, 2)
            truth.append((points, rng.random(k) < 0.8, [*head, *(head + rng.uniform(5, 25, 2))], image))
            for _ in range(rng.integers(0, 3)):
                found.append((points + rng.normal(0, rng.choice([1, 4, 12]), (k, 2)), rng.random(k), image))
        for _ in range(rng.integers(0, 2)):
            found.append((rng.uniform(0, 60, (k, 2)), rng.random(k), image))
    rng.shuffle(found)
    scores = torch.tensor(np.array([one[1] for one in found]))
    image = torch.tensor([one[2] for one in found]) * 3 + 1
    predicted = Poses(torch.tensor(np.array([one[0] for one in found])), scores, image, scores.mean(1))
    columns = [torch.tensor(np.array([one[n] for one in truth])) for n in range(4)]
    return predicted, HeadedPeople(columns[0], columns[1], columns[2], columns[3] * 3 + 1), rng


def naive(predicted, truth, counted):
    """AP (K,) in plain Python."""
    k = truth.points.shape[1]
    listed, labelled = [[] for _ in range(k)], truth.annotated.sum(0).tolist()
    for image in {*predicted.image_index.tolist(), *truth.image_index.tolist()}:
        rows = [i for i, own in enumerate(predicted.image_index.tolist()) if own == image]
        people = [i for i, own in enumerate(truth.image_index.tolist()) if own == image]
        right = {}
        for i in rows:
            for j in people:
                left, top, across, down = truth.heads[j].tolist()
                size = 0.6 * ((across - left) ** 2 + (down - top) ** 2) ** 0.5
                for n in range(k):
                    away = float((predicted.points[i, n] - truth.points[j, n]).norm())
                    right[i, j, n] = bool(counted[i, n] and truth.annotated[j, n] and away / size <= 0.5)
        best = {}
        for i in rows:
            shares = [sum(right[i, j, n] for n in range(k)) / max(int(truth.annotated[j].sum()), 1) for j in people]
            if people and max(shares) > 0:
                best[i] = (people[shares.index(max(shares))], max(shares))
        partner = {}
        for j in people:
            wooers = [(share, -rows.index(i), i) for i, (own, share) in best.items() if own == j]
            if wooers:
                partner[max(wooers)[2]] = j
        for i in rows:
            for n in range(k):
                if counted[i, n]:
                    listed[n].append((float(predicted.confidence[i, n]), i in partner and right[i, partner[i], n]))
    made = []
    for n in range(k):
        hits, curve = 0, [(0.0, 0.0)]
        for place, (_, hit) in enumerate(sorted(listed[n], key=lambda pair: -pair[0]), 1):
            hits += hit
            curve.append((hits / labelled[n], hits / place))
        area = sum(
            (curve[at][0] - curve[at - 1][0]) * max(precision for _, precision in curve[at:])
            for at in range(1, len(curve))
        )
        made.append(area)
    return made


@pytest.mark.parametrize("seed", range(12))
def test_as_the_naive_one(seed):
    predicted, truth, rng = drawn(seed)
    everything = torch.ones_like(predicted.confidence, dtype=torch.bool)
    some = torch.tensor(rng.random(everything.shape) < 0.7)
    for counted in (everything, some):
        np.testing.assert_allclose(
            posetrack_ap(predicted, truth, counted), naive(predicted, truth, counted), atol=1e-12
        )
    np.testing.assert_allclose(posetrack_ap(predicted, truth), naive(predicted, truth, everything), atol=1e-12)
    assert 0.05 < float(posetrack_ap(predicted, truth).mean()) < 0.95


def one(points, head=10.0):
    """A labelled person in picture 0 whose head's box has a diagonal of `head`, and the same as a prediction."""
    points = torch.tensor(points, dtype=torch.float64)[None]
    boxes = torch.tensor([[0.0, 0.0, 0.6 * head, 0.8 * head]], dtype=torch.float64)
    known = torch.ones(points.shape[:2], dtype=torch.bool)
    zero = torch.zeros(1, dtype=torch.int64)
    return HeadedPeople(points, known, boxes, zero), Poses(points, torch.ones(points.shape[:2]), zero, torch.ones(1))


def test_the_threshold_is_three_tenths_of_the_diagonal():
    truth, found = one([[5.0, 5.0], [50.0, 50.0]])
    for away, wanted in ((2.999, [1, 1]), (3.001, [0, 1])):
        moved = found.points.clone()
        moved[0, 0, 0] += away
        assert (
            posetrack_ap(
                Poses(moved, *(getattr(found, n) for n in ("confidence", "image_index", "score"))), truth
            ).tolist()
            == wanted
        )


def test_a_second_prediction_of_a_person_is_false():
    truth, found = one([[5.0, 5.0], [50.0, 50.0]])
    twice = Poses(
        *(torch.cat([part, part]) for part in (found.points, found.confidence, found.image_index, found.score))
    )
    twice.confidence[0] = 0.5
    assert right_joints(twice, truth, torch.ones(2, 2, dtype=torch.bool)).tolist() == [[True] * 2, [False] * 2]
    assert posetrack_ap(twice, truth).tolist() == [0.5, 0.5]  # the false one is the surer


def test_a_joint_that_the_partner_has_no_label_of_is_false_and_a_label_alone_is_missed():
    truth, found = one([[5.0, 5.0], [50.0, 50.0], [90.0, 9.0]])
    truth.annotated[0, 1] = False
    made = posetrack_ap(found, truth, torch.tensor([[True, True, False]]))
    assert made[[0, 2]].tolist() == [1, 0]
    assert made[1].isnan()


def test_of_equals_the_first_is_paired():
    share = torch.tensor([[0.5, 0.5], [0.5, 0.0], [0.0, 0.0]])
    assert partners(share).tolist() == [[True, False], [False, False], [False, False]]


def test_nobody():
    truth, found = one([[5.0, 5.0]])
    empty = Poses(*(part[:0] for part in (found.points, found.confidence, found.image_index, found.score)))
    assert posetrack_ap(empty, truth).tolist() == [0]
    flat = HeadedPeople(truth.points, truth.annotated, torch.zeros(1, 4), truth.image_index)
    assert posetrack_ap(found, flat).tolist() == [0]
    nobody = HeadedPeople(truth.points[:0], truth.annotated[:0], truth.heads[:0], truth.image_index[:0])
    assert posetrack_ap(found, nobody).isnan().all()


def test_parts_of_the_table():
    ap = torch.arange(15.0).double() / 100
    ap[POSETRACK15.keypoints.index("left_knee")] = torch.nan
    parts = by_part(ap, POSETRACK15.keypoints)
    assert list(parts) == ["head", "shoulders", "elbows", "wrists", "hips", "knees", "ankles", "total"]
    assert parts["head"] == pytest.approx(0.01)
    assert parts["shoulders"] == pytest.approx(0.035)
    assert parts["knees"] == pytest.approx(0.12)
    assert parts["total"] == pytest.approx((105 - 11) / 14 / 100)
