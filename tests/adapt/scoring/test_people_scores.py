"""Pictures with several people: who is who, who was missed, who was invented, and what that does to the numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from keyshift.adapt.scoring import evaluation
from keyshift.adapt.scoring.evaluation import Predictions, predict, scores
from keyshift.adapt.scoring.matching import match
from keyshift.datasets.loading import EvaluationBatches
from keyshift.datasets.sample import CAMERA_MM
from keyshift.datasets.views import View
from keyshift.models.output import Poses

CPU = torch.device("cpu")
KEYPOINTS = 3


def naive_match(poses, truth, counted, image_index, longer):
    """Predictions in the order of their scores, each taking the most similar person of its image who is left."""
    left, place = set(range(len(truth))), [-1] * len(truth)
    for q in sorted(range(len(poses)), key=lambda q: -float(poses.score[q])):
        best, who = 0.1, None
        for p in sorted(left):
            if int(image_index[p]) != int(poses.image_index[q]):
                continue
            known = [k for k in range(truth.shape[1]) if counted[p, k]]
            if not known:
                continue
            sides = [
                max(float(truth[p, k, d]) for k in known) - min(float(truth[p, k, d]) for k in known) for d in (0, 1)
            ]
            square = max(sum(side**2 for side in sides) / 2, (0.05 * longer) ** 2)
            away = [sum((float(poses.points[q, k, d]) - float(truth[p, k, d])) ** 2 for d in (0, 1)) for k in known]
            alike = sum(math.exp(-a / (2 * square * 0.2**2)) for a in away) / len(known)
            if alike >= best and (who is None or alike > best):
                best, who = alike, p
        if who is not None:
            place[who] = q
            left.remove(who)
    return place


def crowd(toys, seed, images=4):
    """A labelled batch of scenes, and predictions: people moved a little, some seen twice, some missed or invented."""
    rng = np.random.default_rng(seed)
    kind = toys.Scenes
    sample = EvaluationBatches(kind(kind.Options(test=images * 9), "test"), images, (32, 32))[seed]
    points, image_index = [], []
    for image in range(images):
        own = sample.keypoints[sample.image_index == image].numpy()
        own = own[rng.random(len(own)) > 0.3]
        own = np.repeat(own, rng.integers(1, 3, len(own)), 0)  # some are seen twice
        own = own + rng.normal(0, 1.5, own.shape)
        strangers = rng.uniform(0, 32, (rng.integers(3), KEYPOINTS, 2))
        points += [*own, *strangers]
        image_index += [image] * (len(own) + len(strangers))
    points = torch.tensor(np.array(points).reshape(-1, KEYPOINTS, 2), dtype=torch.float32)
    draw = torch.Generator().manual_seed(seed)
    score = torch.rand(len(points), generator=draw)
    sure = torch.rand(len(points), KEYPOINTS, generator=draw)
    return sample, Poses(points, sure, torch.tensor(image_index, dtype=torch.int64), score)


@pytest.mark.parametrize("seed", range(9))
def test_matching_against_a_loop(toys, seed):
    sample, poses = crowd(toys, seed)
    counted = sample.annotated.clone()
    counted[:1] = torch.tensor([True, False, False])  # one keypoint of a person is little, but enough
    wanted = naive_match(poses, sample.keypoints, counted, sample.image_index, 32)
    assert match(poses, sample.keypoints, counted, sample.image_index, sample).tolist() == wanted


def test_the_crowd_holds_everything_that_matching_can_meet(toys):
    numbers = [(len(s.image_index), len(p), p.counts(4), s) for s, p in (crowd(toys, seed) for seed in range(9))]
    assert any(people != seen for people, seen, _, _ in numbers)
    assert any(0 in torch.bincount(s.image_index, minlength=4).tolist() for _, _, _, s in numbers)
    places = [match(p, s.keypoints, s.annotated, s.image_index, s) for s, p in (crowd(toys, i) for i in range(9))]
    assert any((place < 0).any() for place in places)
    assert any(len(place) > len(set(place.tolist()) - {-1}) for place in places)


def seen(toys, seeds):
    batches = [crowd(toys, seed) for seed in seeds]
    return batches, predict(toys.Seer(*(poses for _, poses in batches)), [sample for sample, _ in batches], CPU)


def test_predictions_and_scores_against_a_loop(toys):
    batches, predictions = seen(toys, range(9))
    hits, hidden, errors, truths, missed, invented, rows, per_joint = 0, 0, [], 0, 0, 0, [], np.zeros((3, 2))
    for sample, poses in batches:
        inside = ((sample.keypoints >= 0) & (sample.keypoints < 32)).all(-1)
        counted = sample.annotated & inside
        place = naive_match(poses, sample.keypoints, counted, sample.image_index, 32)
        invented += len(poses) - sum(q >= 0 for q in place)
        for p, q in enumerate(place):
            rows.append(int(sample.row[sample.image_index[p]]))
            missed += q < 0 and bool(counted[p].any())
            for k in range(KEYPOINTS):
                if not counted[p, k]:
                    continue
                truths += 1
                hidden += q < 0
                per_joint[k, 1] += 1
                if q >= 0:
                    away = float(torch.dist(poses.points[q, k], sample.keypoints[p, k]))
                    errors.append(away)
                    hits += away <= 0.1 * 32
                    per_joint[k, 0] += away <= 0.1 * 32
    assert predictions.row.tolist() == rows
    assert len(predictions.points) == sum(len(sample.keypoints) for sample, _ in batches)
    assert (predictions.points[~predictions.matched] == 0).all()
    score = scores(predictions, toys.DOTS, 0.1)
    assert hidden > 0
    assert missed > 0
    assert invented > 0
    assert score["pck"] == pytest.approx(hits / truths)  # the keypoints of missed people are misses
    assert score["epe"] == pytest.approx(np.mean(errors), rel=1e-5)  # and have no distance
    assert (score["missed"], score["invented"]) == (missed, invented)
    assert list(score["joints"].values()) == pytest.approx(list(per_joint[:, 0] / per_joint[:, 1]))
    assert score["groups"]["all"] == pytest.approx((per_joint[:, 0] / per_joint[:, 1]).mean())


def test_missed_people_lower_pck_and_leave_the_mean_error(toys):
    """With everyone found exactly PCK is 1; each person who is then left out takes their keypoints off it."""
    sample, _ = crowd(toys, 0)
    whole = Poses(sample.keypoints, sample.annotated.float(), sample.image_index, torch.ones(len(sample.keypoints)))
    known = int(sample.annotated.sum())
    for left in range(len(whole) + 1):
        poses = whole.each(lambda part, left=left: part[left:])
        score = scores(predict(toys.Seer(poses), [sample], CPU), toys.DOTS, 0.1)
        assert score["pck"] == pytest.approx(int(sample.annotated[left:].sum()) / known)
        if left < len(whole):
            assert score["epe"] == pytest.approx(0, abs=1e-5)
        else:
            assert math.isnan(score["epe"])
        assert score.get("missed", 0) == int(sample.annotated[:left].any(1).sum())


def test_nobody_in_the_pictures(toys):
    """Whoever is seen there is invented; there is no share of hits, and nothing breaks."""

    class Empty(View):
        def __getitem__(self, index):
            item = self.dataset[index]
            return replace(item, **{key: getattr(item, key)[:0] for key in ("keypoints", "visible", "annotated")})

    sample = EvaluationBatches(Empty(toys.Scenes(toys.Scenes.Options(test=3), "test")), 4, (32, 32))[0]
    assert sample.keypoints.shape == (0, 3, 2)
    poses = Poses(torch.rand(2, 3, 2), torch.rand(2, 3), torch.tensor([0, 2]), torch.rand(2))
    nobody = poses.each(lambda part: part[:0])
    for answer, invented in ((poses, 2), (nobody, 0)):
        score = scores(predict(toys.Seer(answer), [sample], CPU), toys.DOTS, 0.1)
        assert math.isnan(score["pck"])
        assert score.get("invented") == invented


def test_people_in_pictures_without_labels_are_not_invented(toys):
    """A picture of which nothing is known has one person whose keypoints are not: it says nothing of who is there."""
    sample, poses = crowd(toys, 1)
    counts = torch.bincount(sample.image_index, minlength=4)
    image = int(counts.argmax())
    known = sample.annotated & (sample.image_index != image)[:, None]
    seen_there = poses.counts(4)[image]
    assert seen_there > 0
    before = predict(toys.Seer(poses), [sample], CPU)
    after = predict(toys.Seer(poses), [replace(sample, annotated=known)], CPU)
    in_image = before.matched & (sample.image_index == image)
    assert after.invented == before.invented - (seen_there - int(in_image.sum()))


def test_predictions_of_people_come_back_from_their_file(toys, tmp_path):
    _, predictions = seen(toys, (0, 1))
    predictions.save(tmp_path / "predictions.npz")
    again = Predictions.load(tmp_path / "predictions.npz")
    kept = vars(predictions) | vars(predictions.answers)
    for name, value in kept.items():
        if name != "answers":
            other = (vars(again) | vars(again.answers))[name]
            assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, name


def test_missed_people_in_space_have_no_distance(toys):
    """Of 3D points the mean is of those who were seen; the shares within a distance count the others as outside."""
    kind = toys.Sequences
    sample = EvaluationBatches(kind(kind.Options(test=4), "test"), 4, (32, 32))[0]
    moved = sample.keypoints + torch.tensor([30.0, 0.0, 40.0])
    poses = Poses(moved, torch.ones(4, 3), torch.arange(4), torch.ones(4)).each(lambda part: part[:3])
    predictions = predict(toys.Seer(poses), [sample], CPU)
    assert predictions.space == CAMERA_MM
    assert predictions.matched.tolist() == [True, True, True, False]
    score = scores(predictions, toys.DOTS, 0.1)
    assert score["mm"] == pytest.approx(50, rel=1e-4)
    assert score["map"] == pytest.approx(0.75)
    assert score["missed"] == 1


def test_crops_are_one_person_each(dots, monkeypatch):
    """P = B: nobody is matched, the only person of an image is the person."""
    from keyshift.models.systems.pose_resnet import PoseResNet

    monkeypatch.setattr(evaluation, "match", None)
    torch.manual_seed(0)
    options = PoseResNet.Options(backbone="small", input_size=[32, 32], heatmap_size=[8, 8], channels=8)
    model, batches = PoseResNet(3, options), EvaluationBatches(dots(10), 4, (32, 32))
    predictions = predict(model, (batches[i] for i in range(3)), CPU)
    assert predictions.row.tolist() == list(range(10))
    assert predictions.matched.all()
    assert predictions.invented == 0
    assert not {"missed", "invented"} & set(scores(predictions, dots.skeleton, 0.1))
    assert batches[0].image_index.tolist() == [0, 1, 2, 3]
