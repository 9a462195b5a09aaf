"""`keyshift adapt` of a network that finds everyone in a picture: no boxes, a rule that is lent, labels of everyone."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from keyshift.adapt.scoring import rule as rules
from keyshift.datasets.reading.video import write_video
from keyshift.experiments.cli import main
from keyshift.experiments.runs import shipping

SCENES = {
    "name": "toys",
    "source": {"name": "scenes.plain", "train": 24, "test": 12},
    "model": {"name": "bottom_up", "channels": 12, "threshold": 0.3},
    "batch": 6,
    "pretrain_steps": 0,
    "steps": 250,
    "evaluate_every": 250,
    "checkpoint_every": 250,
    "tracking": "off",
    "optimization": {"name": "adam", "rate": 0.01},
}
FEW = ["steps=4", "evaluate_every=2", "checkpoint_every=2", "guard=off", "target.block=5"]


@pytest.fixture(scope="module")
def given(tmp_path_factory, toys):
    """A folder with a trained run, runs/given, and 44 pictures in wild with labels of everyone."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        toys.register(patch.setitem)
        patch.setattr("keyshift.experiments.runs.conclusion.to_onnx", lambda *_: None)
        Path("toys.yaml").write_text(yaml.safe_dump(SCENES))
        assert main(["train", "toys.yaml", "strategy=source_only", "output=runs/given"]) == 0
    scenes = toys.Scenes(toys.Scenes.Options(train=44), "train", "shifted")
    (home / "wild").mkdir()
    images, annotations = [], []
    for number in range(44):
        item = scenes[number]
        cv2.imwrite(str(home / f"wild/{number:03d}.png"), item.image[..., ::-1])
        images.append({"id": number, "file_name": f"{number:03d}.png", "width": 32, "height": 32})
        for points, known in zip(item.keypoints, item.annotated, strict=True):
            flat = np.column_stack([points - 0.5, 2 * known]) * known[:, None]
            low, high = points.min(0), points.max(0)
            box = [*low.tolist(), *(high - low).clip(1).tolist()]
            own = {"keypoints": flat.ravel().tolist(), "num_keypoints": int(known.sum()), "iscrowd": 0}
            about = {"image_id": number, "category_id": 1, "bbox": box, "area": box[2] * box[3]}
            annotations.append({"id": len(annotations) + 1, **about, **own})
    categories = [{"id": 1, "name": "dots", "keypoints": ["red", "green", "blue"], "skeleton": [[1, 2], [1, 3]]}]
    labels = {"images": images, "annotations": annotations, "categories": categories}
    (home / "labels.json").write_text(json.dumps(labels))
    return home


@pytest.fixture
def home(given, registered, toy_rule, monkeypatch, no_export):
    """That folder to work in, and a rule that was fitted on one person a crop alone."""
    monkeypatch.chdir(given)
    monkeypatch.setattr(shipping, "CHANCE", 0.0)
    lent = replace(toy_rule, basis=toy_rule.basis | {"systems": ["image, one person"]})
    lent.save(rules.RULE)
    return given


def adapt(*words, output):
    return main(["adapt", "runs/given", "--target", "wild", *FEW, "--output", output, *words])


def test_people_are_adapted_to_by_a_lent_rule_and_counted(home, capsys):
    assert adapt("--check", "labels.json", output="runs/lent") == 0
    outcome = json.loads(Path("runs/lent/adapt.json").read_text())
    assert outcome["outcome"] != "not known to the rule"
    assert outcome["prediction"]["pictures"] == outcome["people"]["pictures"] == outcome["pictures"]
    assert outcome["people"]["before"] > 0
    assert "on none that finds everyone in a picture as BottomUp does" in outcome["borrowed"]
    out, page = capsys.readouterr().out, Path("runs/lent/report.html").read_text()
    for text in (out, page):
        assert f"the given model finds {outcome['people']['before']} people" in text
        assert "how often it is wrong here is not known" in text
        assert "in mm" not in text
    check = outcome["check"]
    assert check["metric"] == "ap"
    assert check["pictures"] == 44, "those that show nobody among them"
    assert "on " + str(check["pictures"]) + " labelled pictures: OKS-AP" in out
    assert main(["predict", "runs/given", "wild", "--output", "given.json"]) == 0
    everyone = json.loads(Path("given.json").read_text())["annotations"]
    labelled = json.loads(Path("labels.json").read_text())["annotations"]
    assert check["before"]["invented"] <= len(everyone), "others in a picture are nobody's inventions"
    assert check["before"]["missed"] <= len(labelled)


def test_labels_of_everyone_decide(home):
    assert adapt("--check", "labels.json", "--decide-by-check", output="runs/decided") == 0
    outcome = json.loads(Path("runs/decided/adapt.json").read_text())
    assert outcome["decided_by"] == "labels"
    assert "the labels of" in outcome["why"]


def test_before_anything_is_trained(home, capsys):
    assert main(["adapt", "runs/given", "--target", "wild", "--dry", "--output", "dry.json"]) == 0
    out = capsys.readouterr().out
    dry = json.loads(Path("dry.json").read_text())
    assert dry["seen"]["people found in a picture of the target"] > 0
    assert "on none that finds everyone in a picture as BottomUp does" in out
    assert "the rule was not fitted on models of" not in out


@pytest.mark.parametrize("boxes", ["fasterrcnn_resnet50_fpn", "boxes.csv"])
@pytest.mark.parametrize("online", [[], ["--online"]])
def test_boxes_are_refused_before_anything_runs(home, capsys, boxes, online):
    words = ["adapt", "runs/given", "--target", "wild", f"target.boxes={boxes}", "--output", "runs/boxes", *online]
    assert main(words) == 2
    assert f"target.boxes={boxes}: runs/given finds the people of a whole picture itself" in capsys.readouterr().err
    assert not Path("runs/boxes").exists()


def test_a_video_passes_once_and_people_are_counted(home, capsys):
    pictures = [cv2.imread(f"wild/{number:03d}.png")[..., ::-1] for number in range(20)]
    write_video(Path("clip.mp4"), pictures, 10)
    words = ["adapt", "runs/given", "--target", "clip.mp4", "--online", "--strategy", "bn_online", "batch=4"]
    assert main([*words, "target.stride=2", "--output", "runs/online"]) == 0
    outcome = json.loads(Path("runs/online/online.json").read_text())
    predicted = json.loads(Path("runs/online/predictions.json").read_text())
    assert [image["frame"] for image in predicted["images"]] == list(range(0, 20, 2))
    assert outcome["people"][1] == len(predicted["annotations"])
    assert outcome["moved"] is None
    assert f"{outcome['people'][1]} people were found, where the given model finds" in capsys.readouterr().out
    assert main([*words, "--check", "labels.json", "--output", "runs/other"]) == 2
    assert "runs/given finds everyone; adapt without --online" in capsys.readouterr().err
