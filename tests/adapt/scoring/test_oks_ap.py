"""COCO's keypoint AP against a loop written from its definition, by hand, and by faster-coco-eval."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from faster_coco_eval import COCO, COCOeval_faster

from keyshift.adapt.scoring.oks_ap import FlatPeople, closest, crowd_scores, oks_ap, oks_scores, similarity
from keyshift.adapt.scoring.oks_sigmas import fall_offs
from keyshift.datasets.bodies.skeletons import COCO17, body
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


def judge(people, truth, sigmas, crowded=None, kind="keypoints"):
    """The numbers of faster-coco-eval, by name. Pictures are numbered from 0, all of them, and have a crowdIndex."""

    def flat(points, flag):
        return [float(v) for row, f in zip(points, flag, strict=True) for v in (*row, f)]

    annotations = []
    for g in range(len(truth)):
        left, top, right, bottom = truth.boxes[g].tolist()
        known = 2 * truth.annotated[g].int()
        one = {"id": g + 1, "image_id": int(truth.image_index[g]) + 1, "category_id": 1, "area": truth.area[g].item()}
        one |= {"bbox": [left, top, right - left, bottom - top], "iscrowd": int(truth.crowd[g])}
        one |= {"keypoints": flat(truth.points[g].tolist(), known.tolist()), "num_keypoints": int((known > 0).sum())}
        annotations.append(one)
    count = int(torch.cat([people.image_index, truth.image_index]).max()) + 1
    crowded = [0.5] * count if crowded is None else crowded
    images = [
        {"id": n + 1, "width": 640, "height": 640, "file_name": "", "crowdIndex": crowded[n]} for n in range(count)
    ]
    category = {"id": 1, "name": "person", "keypoints": [f"joint{k}" for k in range(len(sigmas))], "skeleton": []}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    labels = COCO(content)
    labels.annotation_file = content  # read again for easy, medium and hard pictures
    answers = [
        {"image_id": int(image) + 1, "category_id": 1, "score": score, "keypoints": flat(points, [1] * len(sigmas))}
        for image, score, points in zip(
            people.image_index.tolist(), people.score.tolist(), people.points.tolist(), strict=True
        )
    ]
    evaluation = COCOeval_faster(labels, labels.loadRes(answers), kind)
    evaluation.params.kpt_oks_sigmas = np.array(sigmas)
    evaluation.print_function = lambda *_: None
    evaluation.use_area = True
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    names = TEN if kind == "keypoints" else NINE
    return dict(zip(names, evaluation.all_stats[: len(names)], strict=True))


TEN = ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "ar50", "ar75", "ar_medium", "ar_large")
NINE = ("ap", "ap50", "ap75", "ar", "ar50", "ar75", "ap_easy", "ap_medium_crowd", "ap_hard")


def agrees(people, truth, sigmas=COCO17.sigmas):
    made, wanted = oks_scores(people, truth, sigmas), judge(people, truth, sigmas)
    assert made.keys() == set(TEN)
    for name, value in wanted.items():
        assert value == pytest.approx(-1 if math.isnan(made[name]) else made[name], abs=1e-9), name
    return made


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_against_faster_coco_eval(seed, ties):
    people, truth = scene(seed, images=40, ties=ties)
    made = agrees(people, truth)
    assert 0.05 < made["ap"] < 0.95
    assert made["ap_medium"] != made["ap_large"] != made["ap"]
    assert oks_ap(people, truth, COCO17.sigmas).mean().item() == pytest.approx(made["ap"], abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_crowdpose_against_faster_coco_eval(seed):
    """Of 14 joints, with the area of CrowdPose's tool; it rounds the three numbers of its own."""
    people, truth = scene(seed, images=40, joints=14, ties=False)
    truth = replace(truth, area=0.53 * (truth.boxes[:, 2:] - truth.boxes[:, :2]).prod(-1))
    crowded = np.random.default_rng(seed).choice([0.0, 0.1, 0.19, 0.2, 0.5, 0.8, 0.95], 40)
    sigmas = fall_offs(CROWD14)
    assert sigmas == (0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079)
    made = oks_scores(people, truth, sigmas)
    made |= crowd_scores(people, truth, sigmas, torch.arange(40), torch.tensor(crowded))
    wanted = judge(people, truth, sigmas, crowded.tolist(), "keypoints_crowd")
    for name, value in wanted.items():
        assert value == pytest.approx(made[name], abs=1e-9 if name in TEN else 5.1e-5), name
    assert len({round(made[name], 3) for name in NINE[6:]}) == 3


CROWD14 = body(
    "crowd14",
    [f"{side}_{name}" for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")]
    + ["head_top", "neck"],
)


def samples(shared, path):
    """Labelled people of a COCO file, those without keypoints among them."""
    content = json.loads((shared / "data/mmpose_samples" / path).read_text())
    places = {image["id"]: n for n, image in enumerate(content["images"])}
    rows = content["annotations"]
    joints = torch.tensor([row["keypoints"] for row in rows], dtype=torch.float64).view(len(rows), -1, 3)
    boxes = torch.tensor([row["bbox"] for row in rows], dtype=torch.float64)
    area = torch.tensor([row.get("area", 0.53 * row["bbox"][2] * row["bbox"][3]) for row in rows], dtype=torch.float64)
    return FlatPeople(
        joints[..., :2],
        joints[..., 2] > 0,
        area,
        torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1),
        torch.tensor([bool(row["iscrowd"]) for row in rows]),
        torch.tensor([places[row["image_id"]] for row in rows]),
    )


def mutations(truth, rng):
    """(predictions, labels) by what was done to them: predictions that begin as the labels are."""
    count, joints = truth.points.shape[:2]
    box = truth.boxes
    made_up = (
        torch.tensor(rng.uniform(size=(count, joints, 2))) * (box[:, None, 2:] - box[:, None, :2]) + box[:, None, :2]
    )
    places = torch.where(truth.annotated[..., None], truth.points, made_up)
    side = truth.area.sqrt()[:, None, None]

    def poses(rows, jitter=0.0, tied=False, strangers=0):
        points = places[rows] + jitter * side[rows] * torch.tensor(rng.normal(size=(len(rows), joints, 2)))
        image = truth.image_index[rows]
        points = torch.cat([points, torch.tensor(rng.uniform(0, 600, (strangers, joints, 2)))])
        image = torch.cat([image, torch.tensor(rng.choice(truth.image_index, strangers), dtype=torch.int64)])
        score = torch.full((len(points),), 0.5) if tied else torch.tensor(rng.random(len(points)))
        return Poses(points, torch.ones(points.shape[:2]), image, score.double())

    every = torch.arange(count)
    dropped = torch.tensor(rng.permutation(count)[: count // 2])
    crowd = torch.tensor(rng.random(count) < 0.3)
    nothing = torch.where(torch.tensor(rng.random(count) < 0.3)[:, None], False, truth.annotated)
    return {
        "exact": (poses(every), truth),
        "jittered": (poses(every, 0.06), truth),
        "dropped": (poses(dropped, 0.05), truth),
        "duplicated": (poses(every.repeat(3), 0.05), truth),
        "tied": (poses(every.repeat(2), 0.08, tied=True), truth),
        "invented": (poses(every, 0.03, strangers=30), truth),
        "crowds": (
            poses(every.repeat(2), 0.05),
            replace(truth, crowd=crowd, annotated=truth.annotated & ~crowd[:, None]),
        ),
        "known crowds": (poses(every.repeat(2), 0.05), replace(truth, crowd=crowd)),
        "boxes alone": (poses(every.repeat(2), 0.05, strangers=9), replace(truth, annotated=nothing)),
        "empty pictures": (poses(every, 0.05, strangers=20), truth.of(truth.image_index.unique()[::2])),
        "many": (poses(every.repeat(40), 0.1), truth),
    }


@pytest.mark.parametrize("path", ["coco/test_coco.json", "crowdpose/test_crowdpose.json"])
def test_published_samples_and_mutations_of_them(shared, path):
    truth = samples(shared, path)
    sigmas = COCO17.sigmas if truth.points.shape[1] == 17 else fall_offs(CROWD14)
    made = {name: agrees(*both, sigmas) for name, both in mutations(truth, np.random.default_rng(0)).items()}
    assert made["exact"]["ap"] == pytest.approx(1)
    assert 0 < made["dropped"]["ar"] < made["jittered"]["ar"] < 1
    assert made["empty pictures"]["ap"] < made["jittered"]["ap"]
    assert len({round(values["ap"], 4) for values in made.values()}) > 8


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


def test_whom_people_are_most_like():
    """Of 300 pictures, more than are compared at once, in some of which nobody is labelled, or found."""
    people, truth = scene(0, images=300)
    made = closest(people, truth, COCO17.sigmas)
    for d in range(0, len(people), 7):
        own = torch.nonzero(truth.image_index == people.image_index[d])[:, 0]
        labelled = truth.points[own], truth.annotated[own], truth.area[own], truth.boxes[own]
        alike = similarity(people.points[d : d + 1], *labelled, COCO17.sigmas)[0]
        assert made[d] == pytest.approx(float(alike.max()) if len(own) else 0.0, abs=1e-12)
    assert 0 < (made == 0).sum() < len(made)
    alone = people.each(lambda part: part[:5])
    elsewhere = Poses(alone.points, alone.confidence, alone.image_index + 1000, alone.score)
    assert closest(elsewhere, truth, COCO17.sigmas).tolist() == [0.0] * 5
    assert closest(alone, truth.of(torch.tensor([5000])), COCO17.sigmas).tolist() == [0.0] * 5
