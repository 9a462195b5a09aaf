"""Which part of a chain loses what: the table against loops, boxes from files, and the command on rendered people."""

import json
import math

import numpy as np
import pytest
import torch
import yaml

from keyshift.adapt.scoring.evaluation import Predictions
from keyshift.datasets.bodies.skeletons import H36M17
from keyshift.datasets.reading.detections import Detected, Detections
from keyshift.datasets.rendered.hands import rendered_hands
from keyshift.datasets.rendered.options import RenderedOptions
from keyshift.datasets.rendered.people import Options, RenderedPeople
from keyshift.datasets.sample import PIXELS_AND_MM, ROOT_MM
from keyshift.datasets.views import Selected
from keyshift.experiments.cli import main
from keyshift.experiments.commands.evaluate_chain import COLUMNS, Part, losses
from keyshift.experiments.commands.labelled_people import boxed, labels_of, names_of, overlaps, picture_of, shown
from keyshift.experiments.config import load, of_run
from keyshift.experiments.runs.task import build_model
from keyshift.models.saved import MODELS, save_model

SCENES = 3
SMALL = ["size=64", "train=1", f"test={SCENES}"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEYSHIFT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def people(cache):
    return RenderedPeople("wild", Options(size=64, train=1, test=SCENES), "test")


def answers(ids, seed, off=0.0):
    """Poses and roots of the people with these numbers before cameras of their own."""
    bodies = np.random.default_rng(9).uniform(-400, 400, (9, 17, 3)) + np.array([0, 0, 4000])
    lenses = np.tile([500.0, 520, 320, 240], (9, 1)) + np.arange(9)[:, None]
    points, camera, draw = bodies[ids], lenses[ids], np.random.default_rng(seed)
    flat = points[..., :2] / points[..., 2:] * camera[:, None, :2] + camera[:, None, 2:]
    depth = points[:, 0, 2]
    pose = np.concatenate([flat, points[..., 2:] - depth[:, None, None]], -1)
    root = np.concatenate([flat, points[..., 2:]], -1)[:, :1]
    annotated = np.ones(pose.shape[:2], bool)
    annotated[np.array(ids) == 3] = False  # of one person no root is known
    annotated[:, 5] = False
    shared = {
        **{"side": torch.ones(len(ids)), "camera": torch.tensor(camera), "sequence": ("s",) * len(ids)},
        **{"id": tuple(f"p{i}" for i in ids), "row": torch.arange(len(ids))},
        "matched": torch.ones(len(ids), dtype=torch.bool),
    }

    def made(truth, space, **more):
        known = torch.tensor(annotated[:, : truth.shape[1]])
        moved = torch.tensor(truth + off * draw.normal(0, [1, 1, 20], truth.shape))
        return Predictions(
            moved, torch.ones(known.shape), torch.tensor(truth), known, known, **shared, space=space, **more
        )

    return made(pose, ROOT_MM, depth=torch.tensor(depth), root=0), made(root, PIXELS_AND_MM)


def space(point, z, camera):
    fx, fy, cx, cy = camera.tolist()
    return [(float(point[0]) - cx) / fx * z, (float(point[1]) - cy) / fy * z, z]


def test_the_table_against_a_loop():
    every, some = answers([0, 1, 2, 3, 4], 1, 3.0), answers([4, 1, 2], 2, 5.0)
    table = losses({"true boxes": every, "given": some})
    assert list(table) == ["true boxes, true roots", "true boxes, RootNet", "given, true roots", "given, RootNet"]
    for boxes, (pose, root) in {"true boxes": every, "given": some}.items():
        for whose in ("true roots", "RootNet"):
            off, relative, absolute = [], [], []
            for i, name in enumerate(pose.id):
                if name not in ("p1", "p2", "p4"):
                    continue  # p0 has no given box, p3 no root
                depth = float(pose.depth[i])
                true_root = space(pose.truth[i, 0], depth, pose.camera[i])
                z = depth if whose == "true roots" else float(root.points[i, 0, 2])
                off.append(
                    0 if whose == "true roots" else math.dist(space(root.points[i, 0], z, pose.camera[i]), true_root)
                )
                joints = [k for k in range(17) if pose.annotated[i, k]]
                here = {k: space(pose.points[i, k], float(pose.points[i, k, 2]) + z, pose.camera[i]) for k in joints}
                there = {k: space(pose.truth[i, k], float(pose.truth[i, k, 2]) + depth, pose.camera[i]) for k in joints}
                absolute += [math.dist(here[k], there[k]) for k in joints]
                relative += [math.dist(np.subtract(here[k], here[0]), np.subtract(there[k], there[0])) for k in joints]
            wanted = [np.mean(values) for values in (off, relative, absolute)]
            assert [table[f"{boxes}, {whose}"][column] for column in COLUMNS] == pytest.approx(wanted)
            assert table[f"{boxes}, {whose}"]["people"] == 3


def test_perfect_parts_lose_nothing():
    for row in losses({"true boxes": answers([0, 1, 2], 1)}).values():
        assert [row[column] for column in COLUMNS] == pytest.approx([0, 0, 0], abs=1e-6)


def test_nobody_to_score():
    assert losses({"true boxes": answers([3], 1)}) == {}


def test_overlaps_of_boxes():
    here = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 40]])
    there = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [50, 50, 50, 50]])
    assert overlaps(here, there).tolist() == [pytest.approx([1, 50 / 150, 0]), pytest.approx([0, 0, 0])]


def test_boxes_find_people_and_miss_others(people):
    names = names_of(people)
    boxes = [shown(people[row]) for row in range(len(people))]
    missed = next(row for row, name in enumerate(names) if names.count(name) > 1)
    found = {}
    for row, (name, box) in enumerate(zip(names, boxes, strict=True)):
        if row != missed:
            found.setdefault(name, []).append((box + np.array([-1, -1, 1, 1]), 0.8))
    found[names[missed]].append((np.array([0.0, 0, 2, 2]), 0.99))  # where nobody is
    found[names[-1]].append((boxes[-1], 0.3))  # a second one, less sure than the first
    detected = Detected(
        {n: Detections(np.array([b for b, _ in own]), np.array([s for _, s in own])) for n, own in found.items()}, False
    )
    made, alone = boxed(people, names, detected, "file")
    taken = [row for row in range(len(people)) if row != missed]
    assert [made[i].id for i in range(len(made))] == [people[row].id for row in taken]
    assert alone == 2
    for item, row in zip((made[i] for i in range(len(made))), taken, strict=True):
        middle, sides = (item.box[:2] + item.box[2:]) / 2, item.box[2:] - item.box[:2]
        np.testing.assert_allclose(middle, (boxes[row][:2] + boxes[row][2:]) / 2, atol=1e-3)
        np.testing.assert_allclose(sides, max(8, 1.25 * ((boxes[row][2:] - boxes[row][:2]).max() + 2)), rtol=1e-5)


def test_extended_boxes_are_cut_out_as_they_are(people):
    names, box = names_of(people), shown(people[0]) + np.array([-3, -2, 3, 2])
    detected = Detected({names[0]: Detections(box[None], np.ones(1), np.array([[0.0, 0, 3000]]))}, True)
    made, alone = boxed(people, names, detected, "file")
    np.testing.assert_allclose(made[0].box, box, rtol=1e-6)
    assert (len(made), alone) == (1, 0)


def test_labels_of_rendered_people(people):
    labels = labels_of(people)
    assert len(labels.pictures) == SCENES
    assert [labels.pictures[i] for i in labels.people.image_index] == names_of(people)
    np.testing.assert_allclose(labels.people.points[1].numpy(), people[1].points, rtol=1e-6)


def test_pictures_of_other_sets(people):
    assert picture_of(people, "people.wild/0/0000001/2") == "people.wild/0/0000001"
    hands = rendered_hands(RenderedOptions(train=1, test=1), "test", style="studio")
    assert picture_of(hands, "hands.studio/0/00001") == "hands.studio/0/00001"  # one hand a picture


@pytest.fixture(scope="module")
def runs(cache, tmp_path_factory):
    """Folders of networks that nobody trained, as adapt ships them."""
    folder = tmp_path_factory.mktemp("runs")
    for name, words in {"pose_net": ["model.depth_cells=8"], "root_net": []}.items():
        sides = [f"{side}.{word}" for side in ("source", "target") for word in SMALL]
        config = load(
            "demo",
            [
                *("source.name=people.lab", "target.name=people.wild", f"model.name={name}", "model.backbone=resnet18"),
                *("model.weights=null", "model.channels=8", "model.input_size=[32,32]", "device=cpu", *sides, *words),
            ],
        )
        torch.manual_seed(0)
        skeleton = MODELS[name].learns(H36M17)
        run = folder / name
        run.mkdir()
        save_model(run / "model.pt", build_model(config.model, skeleton), skeleton, 0)
        (run / "config.yaml").write_text(yaml.safe_dump(of_run(config, config.strategy, 0)))
    return folder


def test_on_rendered_people(runs, people, capsys):
    assert main(["evaluate", str(runs / "pose_net"), "--root", str(runs / "root_net")]) == 0
    said = capsys.readouterr().out
    assert f"people.wild: {len(people)} people" in said
    for row in ("true boxes, true roots", "true boxes, RootNet", "boxes=seen, true roots", "boxes=seen, RootNet"):
        assert row in said


def test_with_true_boxes_alone(runs, capsys):
    assert main(["evaluate", str(runs / "pose_net"), "target.crops=truth", "--root", str(runs / "root_net")]) == 0
    said = capsys.readouterr().out
    assert "true boxes, RootNet" in said
    assert "seen" not in said


def test_with_boxes_of_a_file(runs, people, tmp_path, capsys):
    names = names_of(people)
    entries = []
    for row in range(1, len(people)):
        left, top, right, bottom = shown(people[row]).tolist()
        box = [left - 1, top - 1, right - left + 2, bottom - top + 2]
        entries.append({"file_name": names[row], "category_id": 1, "bbox": box, "score": 0.9})
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps(entries))
    assert main(["evaluate", str(runs / "pose_net"), "--root", str(runs / "root_net"), "--boxes", str(file)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"it misses 1 of {len(people)} people; 0 of its boxes are nobody's" in said
    assert f"what a chain loses where, {len(people) - 1} people" in said
    assert "given boxes, RootNet" in said


def test_what_is_refused(runs, tmp_path, capsys):
    pose, root = str(runs / "pose_net"), str(runs / "root_net")
    for words, text in {
        (root, "--root", root): "holds a RootNet: the chain needs a run of pose_net",
        (pose, "--root", pose): "holds a PoseNet: the chain needs a run of root_net",
        (pose, "--root", root, "target.name=hands.studio"): "has no option boxes or crops that takes truth",
        (pose, "--root", root, "--boxes", "fasterrcnn_resnet50_fpn"): "no picture files for a detector",
        (pose, "--root", str(tmp_path)): "is no run folder",
        (pose, "--root", root, "--by", "action"): "--by is of a run's test sets",
        (pose, "--boxes", "boxes.json"): "say --root RUN",
    }.items():
        assert main(["evaluate", *words]) == 2
        assert text in " ".join(capsys.readouterr().err.split())


def test_a_set_that_lacks_keypoints(runs, people):
    part = Part.load(runs / "pose_net", [], ROOT_MM, "a run of pose_net")
    with pytest.raises(ValueError, match="answers with nose, left_shoulder"):
        part.answers(
            Selected(people, tuple(n for n in H36M17.keypoints if n not in ("nose", "left_shoulder"))), "target"
        )


def test_a_run_by_itself_shows_people_in_space(runs, capsys):
    assert main(["evaluate", str(runs / "pose_net"), "--by", "sequence"]) == 0
    said = capsys.readouterr().out
    for text in ("PA-MPJPE, mm", "N-MPJPE, mm", "3DPCK, %", "protocol 1, mm", "pose_net, target, by sequence"):
        assert text in said
    assert main(["evaluate", str(runs / "root_net")]) == 0
    assert "MRPE z, mm" in capsys.readouterr().out
    assert main(["evaluate", str(runs / "pose_net"), "--by", "action"]) == 2
    assert "is of no action" in capsys.readouterr().err
