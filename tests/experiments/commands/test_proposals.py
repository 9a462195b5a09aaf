"""`keyshift proposals`: from labels and a detector's boxes to a file, and a run that cuts its source so."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from keyshift.adapt.trainer import Trainer
from keyshift.datasets.catalog import DATASETS, Data
from keyshift.datasets.proposals import open_proposals, proposed, true_boxes
from keyshift.datasets.reading.detections import read_detections
from keyshift.datasets.rendered.people import Options, RenderedPeople
from keyshift.datasets.views import View
from keyshift.experiments.cli import main
from keyshift.models.saved import load_checkpoint

NAMES = ["head", "hip", "hand", "foot"]
PEOPLE = ["people.lab", "train=24", "test=4", "size=64"]
OFFSETS = np.array([0.1, -0.05, -0.2, 0.03])


def labelled(folder, count=60):
    """A COCO file of one or two people in each of `count` pictures, and the boxes of a detector that errs always in the
    same way, misses every tenth person and sees a person where nobody is."""
    rng, (images, annotations, rows) = np.random.default_rng(0), ([], [], [])
    for number in range(count):
        Image.new("RGB", (200, 120)).save(folder / f"{number:03d}.png")
        images.append({"id": number, "file_name": f"{number:03d}.png", "width": 200, "height": 120})
        for slot in range(1 + number % 2):
            joints = rng.uniform([60 + 60 * slot, 40], [90 + 60 * slot, 80], (4, 2))
            known = np.full((4, 1), 2.0)
            entry = {"id": len(annotations), "image_id": number, "category_id": 1, "bbox": [1, 1, 90, 90]}
            annotations.append({**entry, "keypoints": np.concatenate([joints - 0.5, known], 1).flatten().tolist()})
            true = true_boxes(joints[None], known[None, :, 0] > 0, np.array([[0.0, 0, 200, 120]]))[0][0]
            box = true + OFFSETS * np.tile(true[2:] - true[:2], 2)
            rows += [] if len(annotations) % 10 == 0 else [[f"{number:03d}.png", *box, 0.9]]
        rows.append([f"{number:03d}.png", 1, 100, 9, 119, 0.95])
    categories = [{"id": 1, "name": "person", "keypoints": NAMES, "skeleton": [[1, 2], [2, 3], [2, 4]]}]
    (folder / "labels.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    lines = ["file,left,top,right,bottom,score", *(",".join(map(str, row)) for row in rows)]
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n")


def test_of_a_label_file_and_a_file_of_boxes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    labelled(tmp_path)
    words = ["labels.json", "block=5", "--boxes", "boxes.csv", "--atoms", "2"]
    assert main(["proposals", *words]) == 0
    said = capsys.readouterr().out
    assert "+10.0 ± 0.0" in said
    assert "proposals=labels.proposals.json" in said
    made = open_proposals("labels.proposals.json", NAMES)
    np.testing.assert_allclose(made.mean, np.tile(OFFSETS, (2, 1)), atol=1e-6)
    np.testing.assert_allclose(made.std, 0, atol=1e-6)
    content = json.loads(Path("labels.proposals.json").read_text())
    people = sum(atom["people"] for atom in content["atoms"])
    assert content["missed"] > 0
    assert 9 * content["missed"] == pytest.approx(people, abs=9)
    assert main(["proposals", *words]) == 2
    assert "exists; pass --overwrite" in capsys.readouterr().err


def test_of_a_detector_by_its_name(tmp_path, monkeypatch):
    """What torchvision's detector sees is what a file of the same boxes says."""
    monkeypatch.chdir(tmp_path)
    labelled(tmp_path)
    assert main(["proposals", "labels.json", "--boxes", "boxes.csv", "--output", "file.json"]) == 0

    def seen(name, root, pictures, white=None):
        assert (name, Path(root).resolve()) == ("fasterrcnn_resnet50_fpn", tmp_path)
        every = [f"{number:03d}.png" for number in range(60)]
        people = read_detections(Path("boxes.csv"), every).people
        return {picture: people[picture] for picture in pictures}

    monkeypatch.setattr("keyshift.experiments.commands.proposals.detect_people", seen)
    assert main(["proposals", "labels.json", "--boxes", "fasterrcnn_resnet50_fpn", "--output", "seen.json"]) == 0
    file, by_name = (json.loads(Path(name).read_text()) for name in ("file.json", "seen.json"))
    assert file | {"boxes": ""} == by_name | {"boxes": ""}


def test_of_a_set_whose_own_boxes_are_a_detectors(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["proposals", *PEOPLE, "crops=poor", "--output", "poor.json"]) == 0
    assert "its own boxes (boxes=poor)" in capsys.readouterr().out
    assert main(["proposals", *PEOPLE, "--output", "seen.json", "--atoms", "1"]) == 0
    names = json.loads(Path("poor.json").read_text())["keypoints"]
    poor, seen = (open_proposals(f"{name}.json", names) for name in ("poor", "seen"))
    assert poor.mean[:, 3].max() < seen.mean[0, 3] - 0.1  # feet are cut off
    assert seen.std[0, 3] < 0.5 * poor.std[0, 3] + 0.02


def test_source_crops_are_then_those_that_the_detector_gives(tmp_path, monkeypatch):
    """Where neck, pelvis and knee lie in the crop, in its sides: mean and spread, of crops by the detector's own boxes
    and by boxes that are drawn around the same people; crops by the source's boxes are elsewhere."""
    monkeypatch.chdir(tmp_path)
    people = {"train": 80, "test": 1, "size": 64}
    assert main(["proposals", "people.lab", *(f"{k}={v}" for k, v in people.items()), "crops=poor"]) == 0
    seen, poor = (RenderedPeople("lab", Options(**people, crops=crops)) for crops in ("seen", "poor"))
    made = replace(open_proposals("people.lab.proposals.json", seen.skeleton.keypoints), patch_share=0.0)

    def places(item):
        low, high = item.box[:2], item.box[2:]
        return ((item.keypoints[[8, 0, 2]] - low) / (high - low))[:, 1]

    own, wanted = (np.stack([places(data[row]) for row in range(len(data))]) for data in (seen, poor))
    drawn = [proposed(seen[row], made, np.random.default_rng([row, n])) for row in range(len(seen)) for n in range(4)]
    ours = np.stack([places(item) for item in drawn])
    np.testing.assert_allclose(ours.mean(0), wanted.mean(0), atol=0.015)
    np.testing.assert_allclose(ours.std(0), wanted.std(0), atol=0.015)
    assert np.abs(own.mean(0) - wanted.mean(0)).max() > 0.1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["hands.studio", "train=24", "test=8", "size=32"], "hands.studio has no boxes of its own: name a file"),
        ([*PEOPLE, "--boxes", "fasterrcnn_resnet50_fpn"], "has no picture files for a detector to see"),
        (["depth_hands.ideal", "train=4", "test=4", "size=32"], "cut around one person or hand"),
        ([*PEOPLE, "crops=poor", "--atoms", "9"], "are too few for 9 atoms, of 10 or more each"),
        ([*PEOPLE, "--atoms", "0"], "one kind of pose at least"),
        ([*PEOPLE, "--boxes", "none.csv"], "no file none.csv"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, capsys, words, text):
    monkeypatch.chdir(tmp_path)
    assert main(["proposals", *words]) == 2
    assert text in capsys.readouterr().err
    assert not list(tmp_path.glob("*.json"))


def test_boxes_of_nobody_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    labelled(tmp_path, 12)
    lines = [line for line in Path("boxes.csv").read_text().splitlines() if not line.endswith("0.9")]
    Path("nobody.csv").write_text("\n".join(lines) + "\n")
    assert main(["proposals", "labels.json", "block=2", "--boxes", "nobody.csv"]) == 2
    assert "nobody.csv: no box is of any of the" in capsys.readouterr().err


RUN = {
    "name": "toys",
    "source": {"name": "people.lab", "train": 16, "test": 4, "size": 64},
    "target": {"name": "people.wild", "train": 8, "test": 4, "size": 64, "crops": "poor"},
    "model": {
        **{"backbone": "small", "input_size": [32, 32], "heatmap_size": [8, 8], "channels": 8, "head_layers": 1},
        **{"sigma": 1.0, "weights": None},
    },
    "strategy": "mean_teacher",
    **{"batch": 4, "steps": 4, "pretrain_steps": 2, "evaluate_every": 4, "checkpoint_every": 2},
    **{"guard": "off", "tracking": "off", "proposals": "poor.json"},
}


@pytest.fixture
def home(tmp_path, monkeypatch, no_export):
    monkeypatch.chdir(tmp_path)
    Path("toys.yaml").write_text(yaml.safe_dump(RUN))
    source = [f"{key}={value}" for key, value in RUN["source"].items() if key != "name"]
    assert main(["proposals", "people.lab", *source, "crops=poor", "--output", "poor.json"]) == 0
    return tmp_path


def weights(folder):
    return load_checkpoint(Path(folder) / "checkpoint.pt")["strategy"]


def same(a, b):
    return all(torch.equal(a[key], b[key]) for key in a)


def test_a_run_is_cut_so_and_goes_on_so(home, monkeypatch, capsys):
    assert main(["train", "toys.yaml", "output=runs/whole"]) == 0
    after = Trainer.after
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "after", lambda self, done, stop: after(self, done, stop or done == 2))
        assert main(["train", "toys.yaml", "output=runs/broken"]) == 130
    assert main(["train", "runs/broken", "workers=1"]) == 0
    assert same(weights("runs/whole"), weights("runs/broken"))
    assert main(["train", "toys.yaml", "output=runs/plain", "proposals=null"]) == 0
    assert not same(weights("runs/whole"), weights("runs/plain"))
    folders = {path.name for path in Path("runs").glob("*/*-seed0")}
    Path("poor.json").rename("moved.json")  # what is in it counts
    assert main(["train", "toys.yaml", "output=runs/moved", "proposals=moved.json"]) == 0
    assert {path.name for path in Path("runs").glob("*/*-seed0")} == folders
    content = json.loads(Path("moved.json").read_text())
    Path("moved.json").write_text(json.dumps(content | {"patch_share": 0.1}))
    capsys.readouterr()
    assert main(["train", "toys.yaml", "output=runs/moved", "proposals=moved.json"]) == 2
    assert "the content of proposals was" in capsys.readouterr().err
    assert main(["train", "toys.yaml", "output=runs/other", "proposals=moved.json"]) == 0
    assert {path.name for path in Path("runs").glob("*/*-seed0")} > folders


def test_no_label_of_the_target_moves_a_box(home, monkeypatch):
    assert main(["train", "toys.yaml", "output=runs/labels"]) == 0
    wild = DATASETS["people.wild"]

    class Unknown(View):
        def __getitem__(self, index):
            item = self.dataset[index]
            item.keypoints[:] = np.random.default_rng(index).uniform(0, 64, item.keypoints.shape)
            return item

    def opened(options, part):
        dataset = wild.open(options, part)
        return Unknown(dataset) if part == "train" else dataset

    monkeypatch.setitem(DATASETS, "people.wild", Data(opened, wild.Options))
    assert main(["train", "toys.yaml", "output=runs/noise"]) == 0
    assert same(weights("runs/labels"), weights("runs/noise"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["source.joints=all", "target.joints=all"], "was measured on boxes around pelvis, right_hip"),
        (["proposals=none.json"], "no file none.json: proposals= takes dpg, or a file that keyshift proposals wrote"),
        (["source.name=hands.studio", "target.name=hands.webcam"], "this run has wrist, thumb_mcp"),
        (
            ["source.name=depth_hands.ideal", "target.name=depth_hands.structured_light", "model.name=a2j"],
            "is of pictures that are cut around one person or hand",
        ),
    ],
)
def test_data_and_files_that_do_not_fit_are_refused(home, capsys, words, text):
    small = ["source.train=4", "source.test=4", "target.train=4", "target.test=4"]
    assert main(["train", "toys.yaml", *words, *small]) == 2
    assert text in capsys.readouterr().err
    assert not list(Path("runs").glob("toys*"))


def test_a_run_without_a_source_has_no_use_for_them(home, capsys):
    assert main(["train", "toys.yaml", "output=runs/first", "proposals=dpg", "strategy=source_only"]) == 0
    assert main(["train", "toys.yaml", "output=runs/free", "strategy=mean_teacher_free", "start=runs/first"]) == 2
    assert "this run opens no source" in capsys.readouterr().err
