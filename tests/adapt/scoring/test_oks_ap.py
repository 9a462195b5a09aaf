"""COCO's keypoint AP against a loop written from its definition, by hand, and by faster-coco-eval."""

import numpy as np
import pytest
import torch
from faster_coco_eval import COCO, COCOeval_faster

from keyshift.adapt.scoring.oks_ap import FlatPeople, oks_ap
from keyshift.datasets.bodies.skeletons import COCO17
from keyshift.models.output import Poses


def scene(seed, images=12, joints=17, ties=True):
    """Labelled people, crowds and people without keypoints among them, and predictions: near, twice, and invented."""
    rng = np.random.default_rng(seed)
    points, annotated, area, boxes, crowd, image = [], [], [], [], [], []
    seen, score, where = [], [], []
    for number in range(images):
        for _ in range(rng.integers(0, 7)):
            side = rng.uniform(20, 160)
            person = rng.uniform(0, 400, 2) + rng.uniform(0, side, (joints, 2))
            known = rng.random(joints) > (1.0 if rng.random() < 0.15 else 0.3)
            points.append(person)
            annotated.append(known)
            area.append(0.5 * side**2)
            boxes.append([*person.min(0), *person.max(0)])
            crowd.append(rng.random() < 0.12)
            image.append(number)
            for _ in range(rng.integers(0, 8)):
                seen.append(person + rng.normal(0, side * rng.choice([0.005, 0.03, 0.1]), (joints, 2)))
                score.append(rng.integers(0, 12) / 12 if ties else rng.random())
                where.append(number)
        for _ in range(rng.integers(0, 3)):
            seen.append(rng.uniform(0, 500, (joints, 2)))
            score.append(rng.integers(0, 12) / 12 if ties else rng.random())
            where.append(number)
    order = rng.permutation(len(seen))
    tensors = [torch.tensor(np.array(one)) for one in (points, annotated, area, boxes, crowd, image)]
    people = Poses(
        torch.tensor(np.array(seen))[order],
        torch.ones(len(seen), joints),
        torch.tensor(where)[order],
        torch.tensor(score)[order],
    )
    return people, FlatPeople(*tensors)


def naive(people, truth, sigmas):
    """AP at each threshold, after COCO's description, person by person."""
    joints, counted, result = len(sigmas), 0, []
    ignored = [bool(truth.crowd[g]) or not truth.annotated[g].any() for g in range(len(truth))]
    counted = ignored.count(False)

    def oks(d, g):
        known = [n for n in range(joints) if truth.annotated[g, n]]
        total = 0.0
        for n in known or range(joints):
            (x, y), (gx, gy) = people.points[d, n].tolist(), truth.points[g, n].tolist()
            if known:
                away = (x - gx) ** 2 + (y - gy) ** 2
            else:
                left, top, right, bottom = truth.boxes[g].tolist()
                width, height = right - left, bottom - top
                dx = max(0, left - width - x) + max(0, x - left - 2 * width)
                away = dx**2 + (max(0, top - height - y) + max(0, y - top - 2 * height)) ** 2
            total += np.exp(-away / (2 * sigmas[n]) ** 2 / (truth.area[g].item() + np.spacing(1)) / 2)
        return total / len(known or range(joints))

    for threshold in np.linspace(0.5, 0.95, 10):
        judged = []
        for image in sorted({*people.image_index.tolist(), *truth.image_index.tolist()}):
            gs = [g for g in range(len(truth)) if truth.image_index[g] == image]
            ds = [d for d in range(len(people)) if people.image_index[d] == image]
            taken = set()
            for d in sorted(ds, key=lambda d: -people.score[d].item())[:20]:
                free = [g for g in gs if (g not in taken or truth.crowd[g]) and oks(d, g) >= min(threshold, 1 - 1e-10)]
                real = [g for g in free if not ignored[g]]
                best = max(real or free, key=lambda g: (oks(d, g), g), default=None)
                taken.add(best)
                if best is None or not ignored[best]:
                    judged.append((people.score[d].item(), best is not None))
        judged.sort(key=lambda one: -one[0])
        right, curve = 0, []
        for tried, (_, hit) in enumerate(judged, 1):
            right += hit
            curve.append((right / counted, right / tried))
        steps = [max((p for r, p in curve if r >= recall), default=0) for recall in np.linspace(0, 1, 101)]
        result.append(np.mean(steps))
    return result


@pytest.mark.parametrize("seed", range(3))
def test_against_a_loop(seed):
    people, truth = scene(seed)
    made = oks_ap(people, truth, COCO17.sigmas)
    np.testing.assert_allclose(made, naive(people, truth, COCO17.sigmas), atol=1e-12)
    assert 0.05 < made.mean() < 0.95


@pytest.mark.parametrize("seed", range(4))
def test_against_faster_coco_eval(seed):
    people, truth = scene(seed, images=40, ties=False)

    def flat(points, flag):
        return [float(v) for row, f in zip(points, flag, strict=True) for v in (*row, f)]

    annotations = []
    for g in range(len(truth)):
        left, top, right, bottom = truth.boxes[g].tolist()
        known = 2 * truth.annotated[g].int()
        annotations.append(
            {
                **{
                    "id": g + 1,
                    "image_id": int(truth.image_index[g]) + 1,
                    "category_id": 1,
                    "area": truth.area[g].item(),
                },
                **{"bbox": [left, top, right - left, bottom - top], "iscrowd": int(truth.crowd[g])},
                **{
                    "keypoints": flat(truth.points[g].tolist(), known.tolist()),
                    "num_keypoints": int((known > 0).sum()),
                },
            }
        )
    images = [{"id": n + 1, "width": 640, "height": 640, "file_name": f"{n}.jpg"} for n in range(40)]
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.keypoints), "skeleton": []}
    labels = COCO({"images": images, "annotations": annotations, "categories": [category]})
    results = [
        {
            **{"image_id": int(people.image_index[d]) + 1, "category_id": 1, "score": people.score[d].item()},
            "keypoints": flat(people.points[d].tolist(), [1] * 17),
        }
        for d in range(len(people))
    ]
    evaluation = COCOeval_faster(labels, labels.loadRes(results), "keypoints")
    evaluation.run()
    made = oks_ap(people, truth, COCO17.sigmas)
    assert made.mean().item() == pytest.approx(evaluation.stats[0], abs=1e-9)
    assert made[[0, 5]].tolist() == pytest.approx(list(evaluation.stats[1:3]), abs=1e-9)


def person(x, score=None):
    points = torch.tensor([[x, 0.0], [x + 10, 40], [x, 80]], dtype=torch.float64)
    return points if score is None else (points, score)


def flat_people(*points):
    n = len(points)
    known = torch.ones(n, 3, dtype=torch.bool)
    boxes = torch.tensor([[0.0, 0, 10, 80]]).expand(n, 4)
    return FlatPeople(
        torch.stack(points),
        known,
        torch.full((n,), 800.0),
        boxes,
        torch.zeros(n, dtype=torch.bool),
        torch.zeros(n).long(),
    )


def answers(*people):
    points, score = zip(*people, strict=True)
    return Poses(torch.stack(points), torch.ones(len(score), 3), torch.zeros(len(score)).long(), torch.tensor(score))


def test_by_hand():
    truth, sigmas = flat_people(person(0.0), person(200.0)), (0.1, 0.1, 0.1)
    assert oks_ap(answers(person(0.0, 0.9), person(200.0, 0.8)), truth, sigmas).tolist() == [1.0] * 10
    # a second sight of the first comes before the second person: precision 1 to recall 1/2, then 2/3
    twice = oks_ap(answers(person(0.0, 0.9), person(0.0, 0.85), person(200.0, 0.8)), truth, sigmas)
    assert twice.tolist() == pytest.approx([(51 + 50 * 2 / 3) / 101] * 10)
    missed = oks_ap(answers(person(0.0, 0.9)), truth, sigmas)
    assert missed.tolist() == pytest.approx([51 / 101] * 10)


def test_of_nobody():
    truth, sigmas = flat_people(person(0.0)), (0.1, 0.1, 0.1)
    nobody = answers(person(0.0, 0.9)).each(lambda value: value[:0])
    assert oks_ap(nobody, truth, sigmas).tolist() == [0.0] * 10
    some = flat_people(person(0.0))
    crowd = FlatPeople(some.points, some.annotated, some.area, some.boxes, ~some.crowd, some.image_index)
    assert oks_ap(answers(person(0.0, 0.9)), crowd, sigmas).isnan().all()
