"""`keyshift predict --nms` and `keyshift nms`, with a network that remembers the labels: it answers for whoever fits
its crop best, not exactly."""

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

import cv2
import numpy as np
import pytest
import torch
import yaml

from keyshift.datasets.augment import Augmentation
from keyshift.datasets.bodies.skeletons import COCO17
from keyshift.datasets.loading import TrainingBatches
from keyshift.datasets.own.labels import Options, coco_json
from keyshift.datasets.own.skeleton_file import of_category
from keyshift.datasets.reading.boxes import SCORE
from keyshift.datasets.skeleton import HAND
from keyshift.experiments.cli import main
from keyshift.experiments.commands.predict import predict
from keyshift.experiments.runs.people_nms import nms_of, write_nms
from keyshift.experiments.runs.progress import Reporter
from keyshift.models.output import Grid, Poses, Votes
from keyshift.models.pose_model import PoseModel
from keyshift.models.pose_nms import ALPHAPOSE, RMPE, OksNMS, PoseNMS
from keyshift.models.saved import MODELS, save_model
from keyshift.models.systems import rmpe

pytestmark = pytest.mark.usefixtures("no_export")

EACH = 6
"""Boxes of each person."""


class Memory(PoseModel):
    """Answers with the labelled person who fits the crop best, off by a few percent of the crop; of a whole picture
    with everyone, EACH times."""

    noise = 0.012
    people: ClassVar[dict] = {}
    """By picture: points (n, K, 2) file px and annotated (n, K)."""

    def __init__(self, keypoints, options):
        super().__init__(keypoints, options)
        self.grid = Grid((2, 2), (32.0, 32.0), (16.0, 16.0))
        self.layer = torch.nn.Linear(1, 1)  # a checkpoint has weights

    def features(self, sample):
        return torch.zeros(len(sample.id), 1)

    def votes(self, features, sample, head=None):
        return Votes(self.grid, torch.zeros(len(features), 4, self.keypoints))

    def decode(self, votes, sample):
        parts = [self.answers(sample, row) for row in range(len(sample.id))]
        points, confidence = (torch.cat(part) for part in zip(*parts, strict=True))
        index = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(own) for own, _ in parts]))
        return Poses(points, confidence, index, confidence.mean(1))

    def answers(self, sample, row):
        truth, known = self.people[sample.id[row]]
        there = sample.to_file[row].double().numpy()
        inside = (truth - there[:, 2]) @ np.linalg.inv(there[:, :2]).T
        side = self.input_size[0]
        rng = np.random.default_rng(list(there.astype(np.float32).tobytes()))
        chosen = np.repeat(np.arange(len(truth)), EACH)
        if self.single:
            fits = [self.fit(one[seen], side) for one, seen in zip(inside, known, strict=True)]
            chosen = [int(np.argmin(fits))]
        points, seen = inside[chosen].copy(), known[chosen]
        for one, some in zip(points, seen, strict=True):
            one[~some] = one[some].mean(0)
        points += rng.normal(0, self.noise * side, points.shape)
        sure = rng.uniform(0.5, 0.95, seen.shape) * rng.uniform(0.6, 1, (len(points), 1)) * np.where(seen, 1, 0.1)
        return torch.tensor(points).float(), torch.tensor(sure).float()

    @staticmethod
    def fit(points, side):
        """How far the points' box is from the one that the crop was made around."""
        low, high = points.min(0), points.max(0)
        off = np.abs((low + high) / 2 - side / 2).max()
        return off + abs((high - low).max() - side / 1.4)

    def loss(self, votes, sample):
        return {}

    def counted(self, sample):
        return sample.annotated

    def new_head(self, layers=None):
        return torch.nn.Identity()


class WholeMemory(Memory):
    single, noise = False, 0.006


@pytest.fixture
def remembering(tmp_path, monkeypatch):
    """make(people by picture, skeleton, whole) -> a weights file."""
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(MODELS, "memory", Memory)
    monkeypatch.setitem(MODELS, "whole_memory", WholeMemory)

    def make(people, skeleton=COCO17, whole=False):
        monkeypatch.setattr(Memory, "people", people)
        kind = WholeMemory if whole else Memory
        save_model(tmp_path / "model.pt", kind(len(skeleton), kind.Options(input_size=[64, 64])), skeleton, 1)
        return tmp_path / "model.pt"

    return make


def proposals(boxes, rng):
    """Boxes (n, 4) each moved and scaled EACH times, with scores that fall from above SCORE to far below."""
    rows = []
    for left, top, right, bottom in boxes:
        size = np.array([right - left, bottom - top])
        for rank in range(EACH):
            middle = np.array([left + right, top + bottom]) / 2 + rng.uniform(-0.06, 0.06, 2) * size
            half = size / 2 * rng.uniform(0.9, 1.12)
            rows.append([*(middle - half), *(middle + half), 0.95 - 0.12 * rank])
    return rows


def write_boxes(path, boxes, seed=0):
    """A CSV of proposals for {picture: (n, 4)}."""
    rng = np.random.default_rng(seed)
    rows = [[name, *row] for name, own in boxes.items() for row in proposals(own, rng)]
    path.write_text("\n".join(["file,left,top,right,bottom,score", *(",".join(map(str, row)) for row in rows)]))
    return len(rows)


@pytest.fixture
def party(tmp_path, remembering):
    """Sixteen grey pictures of two to four people, with labels and proposals: (model, people by picture)."""
    rng, people, boxes, entries = np.random.default_rng(0), {}, {}, []
    (tmp_path / "in").mkdir()
    for number in range(16):
        name, count = f"{number:02d}.png", 2 + number % 3
        cv2.imwrite(str(tmp_path / "in" / name), np.full((120, 80 * count, 3), 90, np.uint8))
        corner = np.stack([80 * np.arange(count) + 15, np.full(count, 12)], 1)
        points = corner[:, None] + rng.uniform(0, 1, (count, 17, 2)) * (50, 96)
        people[name] = points, np.ones((count, 17), bool)
        boxes[name] = [[*one.min(0), *one.max(0)] for one in points]
        for one in points:
            triples = np.concatenate([one - 0.5, np.full((17, 1), 2)], 1)
            low, size = one.min(0), np.ptp(one, 0)
            entries.append(
                {
                    **{"id": len(entries) + 1, "image_id": number + 1, "category_id": 1, "iscrowd": 0},
                    **{"bbox": [*low, *size], "area": 0.6 * size.prod(), "keypoints": triples.ravel().tolist()},
                }
            )
    images = [{"id": n + 1, "file_name": name} for n, name in enumerate(people)]
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.keypoints)}
    content = {"images": images, "annotations": entries, "categories": [category]}
    (tmp_path / "labels.json").write_text(json.dumps(content))
    write_boxes(tmp_path / "boxes.csv", boxes)
    return remembering(people), people


def run(model, folder, **options):
    return predict(model, [folder / "in"], folder / "out.json", Reporter(), overwrite=True, **options)


def off(predicted, place, truth):
    """Of each labelled person (n, K, 2) how far the nearest answer is, px."""
    own = predicted.points[predicted.people(place)]
    return np.linalg.norm(own[:, None] - truth, axis=-1).mean(-1).min(0)


@pytest.mark.parametrize("nms", ["pose", "oks.yaml"])
def test_boxes_from_a_file_are_one_answer_for_each_person(party, tmp_path, capsys, nms):
    model, people = party
    (tmp_path / "oks.yaml").write_text("nms: oks\nthreshold: 0.6")
    boxes = {"boxes": str(tmp_path / "boxes.csv"), "box_score": 0.3}
    before = run(model, tmp_path, **boxes)
    assert [len(before.people(place)) for place in range(16)] == [EACH * len(own) for own, _ in people.values()]
    capsys.readouterr()
    word = nms if nms == "pose" else str(tmp_path / nms)
    made = run(model, tmp_path, **boxes, nms=word, draw=tmp_path / "drawn")
    total = sum(len(own) for own, _ in people.values())
    assert f"{EACH * total} candidates are {total} people" in capsys.readouterr().out
    for place, (truth, _) in enumerate(people.values()):
        assert len(made.people(place)) == len(truth)
        assert off(made, place, truth).max() < 3
        score = made.score[made.people(place)]
        assert all(a >= b for a, b in pairwise(score))
    content = json.loads((tmp_path / "out.json").read_text())
    assert len(content["annotations"]) == len(made) == total
    assert content["info"]["nms"] == ({"threshold": 0.6} if nms != "pose" else vars(PoseNMS()))
    assert all(0.3 <= one["box_score"] <= 0.95 for one in content["annotations"])
    for entry, points in zip(content["annotations"], made.points, strict=True):
        np.testing.assert_allclose(np.reshape(entry["keypoints"], (-1, 3))[:, :2] + 0.5, points, atol=1e-3)
    grey = [np.abs(cv2.imread(str(tmp_path / "drawn" / name)).astype(int) - 90).max() for name in people]
    assert min(grey) > 50


def test_merged_people_are_nearer_to_the_truth_than_the_candidates(party, tmp_path):
    model, people = party
    boxes = {"boxes": str(tmp_path / "boxes.csv"), "box_score": 0.3}
    made, kept = (run(model, tmp_path, **boxes, nms=nms) for nms in ("pose", "oks"))
    merged, picked = (
        np.mean([off(one, place, truth).mean() for place, (truth, _) in enumerate(people.values())])
        for one in (made, kept)
    )
    assert merged < 0.85 * picked
    entries = json.loads((tmp_path / "out.json").read_text())["annotations"]  # of oks, the last
    run(model, tmp_path, **boxes, nms="oks", format="results")
    for result, entry in zip(json.loads((tmp_path / "out.json").read_text()), entries, strict=True):
        assert (result["keypoints"], result["score"]) == (entry["keypoints"], entry["score"])
    row = made.rows[0]  # the score is the proposal's
    sure = row["confidence"].astype(float)
    assert row["score"] == pytest.approx(sure.mean() + row["box_score"] + 1.25 * sure.max(), abs=1e-5)


def test_what_was_put_together_is_boxes_for_others(party, tmp_path):
    model, people = party
    run(model, tmp_path, boxes=str(tmp_path / "boxes.csv"), box_score=0.3, nms="pose")
    (tmp_path / "out.json").rename(tmp_path / "people.json")
    again = run(model, tmp_path, boxes=str(tmp_path / "people.json"))
    assert [len(again.people(place)) for place in range(16)] == [len(own) for own, _ in people.values()]
    for place, (truth, _) in enumerate(people.values()):
        assert off(again, place, truth).max() < 5


def test_who_is_left_out_is_counted(party, tmp_path, capsys):
    model, people = party
    (tmp_path / "sure.yaml").write_text("least: 0.94")
    made = run(model, tmp_path, boxes=str(tmp_path / "boxes.csv"), box_score=0.3, nms=str(tmp_path / "sure.yaml"))
    total = sum(len(own) for own, _ in people.values())
    weak = total - len(made)
    assert 0 < weak < total
    said = " ".join(capsys.readouterr().out.split())
    assert f"{EACH * total} candidates are {len(made)} people; {weak} more have no keypoint of confidence 0.94" in said
    assert (made.confidence.max(1) >= 0.94).all()


def test_people_whom_a_model_finds_itself(party, remembering, tmp_path):
    _, people = party
    made = run(remembering(people, whole=True), tmp_path, nms="pose")
    for place, (truth, _) in enumerate(people.values()):
        assert len(made.people(place)) == len(truth)
    np.testing.assert_allclose(made.boxes[:, :2], made.points.min(1))
    np.testing.assert_allclose(made.boxes[:, 2:], made.points.max(1))
    assert "box_score" not in made.columns


def test_boxes_below_a_score_are_left_out(party, tmp_path):
    model, people = party
    with pytest.warns(UserWarning, match=f"boxes of a score below {SCORE} are left out"):
        usual = run(model, tmp_path, boxes=str(tmp_path / "boxes.csv"))
    with pytest.warns(UserWarning, match=r"boxes of a score below 0\.5 are left out"):
        more = run(model, tmp_path, boxes=str(tmp_path / "boxes.csv"), box_score=0.5)
    total = sum(len(own) for own, _ in people.values())
    assert (len(usual), len(more)) == (3 * total, 4 * total)
    assert Counter(more.rows["box_score"].round(2)) == dict.fromkeys((0.95, 0.83, 0.71, 0.59), total)


def test_what_cannot_be_asked(party, remembering, tmp_path, capsys):
    model, people = party
    boxes = {"boxes": str(tmp_path / "boxes.csv")}
    (tmp_path / "wrong.yaml").write_text("gama: 3")
    (tmp_path / "kind.yaml").write_text("nms: osk")
    for options, message in (
        (
            {"nms": "pose"},
            r"--nms pose: each picture is one crop and has one answer; say where people are with --boxes",
        ),
        ({"nms": "pose", "boxes": "whole"}, "each picture is one crop"),
        ({"nms": "soft", **boxes}, r"--nms soft: expected pose, rmpe, alphapose, oks, or a \.yaml file"),
        ({"nms": str(tmp_path / "wrong.yaml"), **boxes}, r"wrong\.yaml: unknown key gama. Did you mean gamma\?"),
        ({"nms": str(tmp_path / "kind.yaml"), **boxes}, r"kind\.yaml: nms='osk' is not known; choose one of pose"),
        ({"nms": str(tmp_path / "none.yaml"), **boxes}, r"no file .*none\.yaml"),
        ({"box_score": 0.3}, r"--box-score 0\.3 is of boxes: say --boxes FILE"),
        ({"box_score": 30.0, **boxes}, "--box-score 30 must be at least 0 and at most 1"),
    ):
        with pytest.raises(ValueError, match=message):
            run(model, tmp_path, **options)
    hands = remembering(people, HAND)
    with pytest.raises(ValueError, match=r"--nms oks: OKS needs a fall-off .* of hand21 .* --nms pose needs none"):
        run(hands, tmp_path, nms="oks", **boxes)
    assert not (tmp_path / "out.json").exists()


def test_files_of_parameters(tmp_path):
    path = tmp_path / "nms.yaml"
    for options in (RMPE, ALPHAPOSE, replace(ALPHAPOSE, gamma=1 / 3, squared=True, radius=None)):
        write_nms(path, options)
        assert nms_of(str(path)) == options
    path.write_text("nms: alphapose\ngamma: 20\n")
    assert nms_of(str(path)) == replace(ALPHAPOSE, gamma=20.0)
    assert nms_of("oks") == OksNMS(0.9)


def fitted(tmp_path, capsys):
    """The rows of the table that `keyshift nms` prints: cells by name; and all that it said."""
    capsys.readouterr()
    assert (
        main(["nms", str(tmp_path / "out.json"), str(tmp_path / "labels.json"), "--output", str(tmp_path / "n.yaml")])
        == 0
    )
    said = capsys.readouterr().out
    table = [[c for c in line.replace("│", " ").split() if c] for line in said.splitlines()]
    return {row[0]: [float(v) for v in row[1:]] for row in table if len(row) == 5 and row[0] in NAMES}, said


NAMES = ("none", "pose", "rmpe", "alphapose", "oks", "fitted")


def test_parameters_are_fitted_on_labelled_pictures(party, tmp_path, capsys):
    model, people = party
    run(model, tmp_path, boxes=str(tmp_path / "boxes.csv"), box_score=0.3)
    rows, said = fitted(tmp_path, capsys)
    assert list(rows) == list(NAMES)
    first, second = (sum(len(own) for own, _ in list(people.values())[part]) for part in (slice(8), slice(8, 16)))
    assert f"by 17 keypoints; {first} and {second} people are labelled" in " ".join(said.split())
    assert rows["none"][1::2] == [EACH * first, EACH * second]
    assert rows["pose"][1::2] == [first, second]
    for name in ("pose", "fitted"):  # duplicates cost precision, and their mean is more exact
        assert rows[name][0] > rows["none"][0] + 10
        assert rows[name][2] > rows["none"][2] + 10
    assert rows["fitted"][0] >= max(rows["pose"][0], rows["alphapose"][0])
    assert "fewer than 50 labelled people in a half" in said
    content = yaml.safe_load((tmp_path / "n.yaml").read_text())
    assert content["nms"] == "pose"
    made = run(model, tmp_path, boxes=str(tmp_path / "boxes.csv"), box_score=0.3, nms=str(tmp_path / "n.yaml"))
    assert len(made) == rows["fitted"][1] + rows["fitted"][3]
    assert (
        main(["nms", str(tmp_path / "out.json"), str(tmp_path / "labels.json"), "--output", str(tmp_path / "m.yaml")])
        == 2
    )
    assert "there: these are put together" in capsys.readouterr().err


def test_a_search_mends_what_is_set_wrong(party, tmp_path):
    """From a gamma that merges neighbours the search comes back to one that does not."""
    from keyshift.adapt.scoring.nms_fit import fit, precision_of
    from keyshift.experiments.commands.keypoint_files import read_candidates, read_flat_labels
    from keyshift.experiments.commands.nms import in_common

    model, _ = party
    run(model, tmp_path, boxes=str(tmp_path / "boxes.csv"), box_score=0.3)
    both = in_common(read_candidates(tmp_path / "out.json"), read_flat_labels(tmp_path / "labels.json"), Reporter())

    def score(options):
        return precision_of(both.candidates, options, both.truth, COCO17.sigmas)[0]

    wrong, trials = replace(RMPE, gamma=2.0, delta2=8.0), []
    mended = fit(wrong, score, trials.append)
    assert score(wrong) < score(RMPE) - 0.2
    assert score(mended) > score(RMPE) - 0.02
    assert trials == list(range(1, 145))


def test_files_that_do_not_fit_together(party, tmp_path, capsys):
    model, _ = party
    run(model, tmp_path, boxes=str(tmp_path / "boxes.csv"), box_score=0.3)
    predictions, labels = (json.loads((tmp_path / name).read_text()) for name in ("out.json", "labels.json"))

    def refused(message, **changed):
        files = {"out": predictions, "labels": labels} | changed
        for name, content in files.items():
            (tmp_path / f"{name}_.json").write_text(json.dumps(content))
        words = [
            "nms",
            str(tmp_path / "out_.json"),
            str(tmp_path / "labels_.json"),
            "--output",
            str(tmp_path / "x.yaml"),
        ]
        assert main(words) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "x.yaml").exists()

    other = [{"id": 1, "keypoints": [f"point{k}" for k in range(17)]}]
    refused("none has the same name", labels=labels | {"categories": other})
    named = [image | {"file_name": f"x{image['file_name']}"} for image in labels["images"]]
    refused("none of its pictures (00.png, 01.png, 02.png, ...) is one of", labels=labels | {"images": named})
    refused("in one nobody is labelled", labels=labels | {"annotations": labels["annotations"][:3]})
    bad = [{**predictions["annotations"][0], "keypoint_scores": [1.0]}]
    refused("annotation 0: keypoint_scores is of shape (1,)", out=predictions | {"annotations": bad})
    bad = [{**labels["annotations"][0], "image_id": 77}]
    refused("annotation 0: image_id is 77", labels=labels | {"annotations": bad})
    refused("categories is 0 with keypoints", labels=labels | {"categories": [{"id": 1}]})


@pytest.mark.parametrize(
    ("file", "root"), [("coco/test_coco.json", "coco"), ("crowdpose/test_crowdpose.json", "crowdpose")]
)
def test_photographs_with_several_people(shared, remembering, tmp_path, capsys, file, root):
    """Real pictures of up to five people, some behind others: boxes of the labels in several proposals each."""
    samples = shared / "data/mmpose_samples"
    known, boxes, skeleton = several(samples / file)
    model, count = remembering(known, skeleton), write_boxes(tmp_path / "boxes.csv", boxes)
    words = ["--boxes", str(tmp_path / "boxes.csv"), "--box-score", "0.3", "--output", str(tmp_path / "out.json")]
    paths = [str(samples / root / name) for name in known]
    assert main(["predict", str(model), *paths, *words, "--nms", "pose", "--draw", str(tmp_path / "drawn")]) == 0
    total = sum(map(len, boxes.values()))
    assert f"--nms pose: {count} candidates are {total} people" in capsys.readouterr().out
    each_has_one(tmp_path, known, boxes, 0.03)


def several(file):
    """Of a label file the people by picture, points (n, K, 2) file px and annotated (n, K); their boxes, and the
    skeleton."""
    content = json.loads(file.read_text())
    names, people, boxes = {one["id"]: one["file_name"] for one in content["images"]}, {}, {}
    skeleton = of_category(content["categories"][0] | {"skeleton": []}, file, "the category")
    for one in content["annotations"]:
        joints = np.reshape(one["keypoints"], (-1, 3))
        if (joints[:, 2] > 0).any():
            left, top, width, height = one["bbox"]
            boxes.setdefault(names[one["image_id"]], []).append([left, top, left + width, top + height])
            people.setdefault(names[one["image_id"]], []).append(joints)
    known = {n: (np.stack(own)[..., :2] + 0.5, np.stack(own)[..., 2] > 0) for n, own in people.items()}
    return known, boxes, skeleton


def each_has_one(tmp_path, known, boxes, most):
    """Everyone has an answer that is nearest, nobody two, and each is off by no more than a share of the box."""
    made = json.loads((tmp_path / "out.json").read_text())
    pictures = {one["id"]: one["file_name"] for one in made["images"]}
    kept = {name: [] for name in known}
    for one in made["annotations"]:
        kept[pictures[one["image_id"]]].append(np.reshape(one["keypoints"], (-1, 3))[:, :2] + 0.5)
    for name, (truth, seen) in known.items():
        away = np.linalg.norm(np.stack(kept[name])[:, None] - truth, axis=-1)
        away = (away * seen).sum(-1) / seen.sum(-1)
        sides = np.array([max(right - left, bottom - top) for left, top, right, bottom in boxes[name]])
        assert sorted(away.argmin(0)) == list(range(len(truth)))
        assert (away.min(0) < most * sides).all()
        assert (tmp_path / "drawn" / name).is_file()


def test_a_trained_network_of_several_people_in_photographs(shared, monkeypatch, tmp_path, capsys):
    """RMPE learns twelve people by heart, in crops around jittered boxes; of six proposals for each, which are others,
    everyone is one answer, near the labels."""
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))
    samples = shared / "data/mmpose_samples/coco"
    known, boxes, _ = several(samples / "test_coco.json")
    learn_by_heart(samples, tmp_path / "rmpe.pt")
    count = write_boxes(tmp_path / "boxes.csv", boxes, seed=1)
    words = ["--boxes", str(tmp_path / "boxes.csv"), "--box-score", "0.1", "--output", str(tmp_path / "out.json")]
    words += ["--nms", "pose", "--draw", str(tmp_path / "drawn")]
    assert main(["predict", str(tmp_path / "rmpe.pt"), *(str(samples / name) for name in known), *words]) == 0
    assert f"--nms pose: {count} candidates are 12 people" in " ".join(capsys.readouterr().out.split())
    each_has_one(tmp_path, known, boxes, 0.05)


def learn_by_heart(samples, path):
    """A small RMPE of the labelled people of `samples`, as a weights file."""
    data = coco_json(Options(root=str(samples), labels=[str(samples / "test_coco.json")] * 2), "train")
    jitter = Augmentation(rotation=0.0, area=[0.7, 1.3], color=0.0, blur=0.0)
    batches = TrainingBatches(data, "source", 0, len(data), (64, 64), jitter, labels=True)
    batches = [batches[step] for step in range(24)]
    inside = {"name": "pose_resnet", "backbone": "small", "heatmap_size": [32, 32], "channels": 32, "sigma": 1.5}
    torch.manual_seed(0)
    options = rmpe.RMPE.Options(network=inside, localisation="small", input_size=[64, 64])
    model = rmpe.RMPE(len(data.skeleton), options).know(data.skeleton).train()
    groups = [{"params": own, "lr": 2e-4 if name == "localisation" else 2e-3} for name, own in model.groups().items()]
    optimizer, steps = torch.optim.Adam(groups), 200
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, 2 - 2 * step / steps))
    for step in range(steps):
        sample = batches[step % len(batches)]
        optimizer.zero_grad()
        model.loss(model(sample), sample)["heatmap"].backward()
        optimizer.step()
        schedule.step()
    save_model(path, model, data.skeleton, steps)
