"""A chain of RootNet and PoseNet adapted to own pictures with boxes and a camera: each network as one alone is."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from keyshift.adapt.scoring.distance import Distance
from keyshift.adapt.scoring.rule import Prediction
from keyshift.experiments.cli import main
from keyshift.experiments.commands import adapt as job
from keyshift.experiments.commands import adapt_chain as chains
from keyshift.experiments.runs import check as checks
from keyshift.experiments.runs import shipping
from keyshift.experiments.runs.chain import read_chain
from keyshift.models.saved import load_model
from keyshift.models.systems.a2j import A2J
from keyshift.models.systems.pose_resnet import PoseResNet
from keyshift.models.systems.root_net import RootNet

NET = [
    *("model.backbone=small", "model.input_size=[32,32]", "model.channels=8", "batch=4", "tracking=off"),
    *("optimization.name=adam", "optimization.rate=0.001", "optimization.gamma=0"),
]
SHORT = ["steps=2", "evaluate_every=2", "checkpoint_every=2", "guard=off"]
SOURCE = ["source.train=8", "source.test=4", "source.size=64", "source.name=people.lab"]


def without_onnx(patch):
    """Writing ONNX takes seconds, and is tested by itself."""
    for module in ("runs.conclusion", "commands.adapt"):
        patch.setattr(f"keyshift.experiments.{module}.export", lambda *_: None)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Runs of both networks, and own pictures of two people each."""
    folder = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KEYSHIFT_CACHE", str(folder / "cache"))
        without_onnx(patch)
        (folder / "lab.yaml").write_text("name: lab\nstrategy: source_only\npretrain_steps: 0\n")
        for name, more in (("root", []), ("pose", ["model.depth_cells=8"])):
            words = ["train", "lab.yaml", f"model.name={name}_net", *more, *NET, *SHORT, *SOURCE]
            assert main([*words, f"output=runs/{name}"]) == 0
    (folder / "wild").mkdir()
    rng, boxes = np.random.default_rng(0), {}
    for k in range(8):
        cv2.imwrite(str(folder / "wild" / f"{k:02d}.png"), rng.integers(0, 255, (48, 64, 3), np.uint8))
        boxes[f"{k:02d}.png"] = [[2.0, 4.0, 30.0, 46.0], [28.0 + k % 3, 6.0, 60.0, 44.0]]
    (folder / "boxes.json").write_text(json.dumps(boxes))
    return folder


@pytest.fixture
def place(lab, tmp_path, monkeypatch):
    shutil.copytree(lab, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("KEYSHIFT_CACHE", str(lab / "cache"))
    monkeypatch.setattr(shipping, "CHANCE", 0.0)
    monkeypatch.setattr(shipping, "FEWEST", 4)
    without_onnx(monkeypatch)
    return tmp_path / "here"


def predicted(monkeypatch, gain):
    """As if the rule predicted that gain of every candidate."""
    told = Prediction(gain, gain - 1, gain + 1, 0.8, 1.0), {"gain": gain, "pictures": 40, "scores": {}}
    monkeypatch.setattr(job.Forecaster, "gain", lambda *_: gain)
    monkeypatch.setattr(job.Forecaster, "predict", lambda *_: told)
    monkeypatch.setattr(job, "SHARES", (1.0,))
    monkeypatch.setattr(job, "measure", lambda *_: Distance(None, 0.5, 0.5))
    monkeypatch.setattr(job, "expected_error", lambda evidence: 100.0 if evidence is evidence.given else 90.0)


def adapt(*words, model="runs/pose", root="runs/root", focal=("--focal", "80")):
    chain = [] if root is None else ["--root", root]
    target = ["--target", "wild", "--boxes", "boxes.json", *focal, "target.block=2"]
    return main(["adapt", model, *chain, *target, *SHORT, *words])


def outcome_of(folder):
    return json.loads((Path(folder) / "adapt.json").read_text())


@pytest.fixture
def parts(place, monkeypatch):
    """As if each part were adapted at once: what `adapt` was asked for, part by part."""
    asked = []

    def adapted(model, target, source, strategy, check, words, folder, overwrite, reporter, **more):
        asked.append((str(model), str(folder), strategy, words, overwrite, more["dry"]))
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        return {"adapted": False, "strategy": strategy, "outcome": "no gain predicted", "prediction": {"gain": -2.0}}

    monkeypatch.setattr(chains, "adapt", adapted)
    return asked


def weights(folder):
    return load_model(job.locate(Path(folder))[0])[0].state_dict()


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def labels(place):
    """The pelvis and the head of both people in every picture."""
    names = ["pelvis", "head"]
    images = [{"id": k, "file_name": f"{k:02d}.png", "width": 64, "height": 48} for k in range(8)]
    people = []
    for k in range(8):
        for x in (16, 44):
            flat = [x, 28, 2, x, 10, 2]
            people.append({"id": len(people), "image_id": k, "category_id": 1, "keypoints": flat})
    made = {"images": images, "annotations": people, "categories": [{"id": 1, "name": "p", "keypoints": names}]}
    (place / "labels.json").write_text(json.dumps(made))


def test_both_are_adapted_each_by_its_own_rule_and_the_chain_names_them(place, monkeypatch, capsys):
    predicted(monkeypatch, 4.0)
    real = chains.adapt

    def killed(model, *words, **asked):
        if "pose" in str(model):
            raise KeyboardInterrupt
        return real(model, *words, **asked)

    monkeypatch.setattr(chains, "adapt", killed)
    assert adapt("--output", "runs/out") == 130
    assert not Path("runs/out/chain.json").exists()
    before = Path("runs/out/root/model.pt").stat().st_mtime_ns
    monkeypatch.setattr(chains, "adapt", real)
    capsys.readouterr()
    assert adapt("--output", "runs/out") == 0
    out = capsys.readouterr().out
    assert "runs/out/root is finished" in out
    assert Path("runs/out/root/model.pt").stat().st_mtime_ns == before, "what was finished is not done again"
    told = json.loads(Path("runs/out/chain.json").read_text())
    assert told == {"pose": "pose", "root": "root", "boxes": str(place / "boxes.json"), "focal": [80.0]}
    chain = read_chain(Path("runs/out"))
    assert (len(load_model(job.locate(chain.root)[0])[1]), len(load_model(job.locate(chain.pose)[0])[1])) == (1, 17)
    for part in ("root", "pose"):
        outcome = outcome_of(f"runs/out/{part}")
        assert outcome["adapted"]
        assert outcome["pictures"] + outcome["held_out"] == 16
        assert outcome["cameras"][0].startswith("the camera is the one given: focal length 80 px")
        assert not same(weights(f"runs/{part}"), weights(f"runs/out/{part}"))
        page = (Path("runs/out") / part / "report.html").read_text()
        assert "is expected to go from 100.0 to 90.0 mm, 10.0 mm less" in page
        assert "on none that sees people in space" in page
        assert "The camera is the one given" in page
    assert " m away before, " in Path("runs/out/root/report.html").read_text()
    assert "root:   adapted by keyshift; predicted gain +4.0 points; in mm: the root's mean distance from its" in out
    assert "pose:   adapted by keyshift; predicted gain +4.0 points; in mm: the mean error relative to the root" in out


def test_a_gain_in_points_is_not_shipped_where_the_error_in_mm_is_expected_to_rise():
    prediction = Prediction(4.0, 2.0, 5.0, 0.8, 1.0)
    for after, outcome in ((90.0, "adapted"), (101.0, "no gain in mm"), (100.0, "no gain in mm")):
        decision = shipping.decide(2, prediction, None, expected=shipping.Expected(100.0, after, "the error"))
        assert decision.outcome == outcome
        assert f"the error is expected to go from 100.0 to {after:.1f} mm" in decision.why
    assert shipping.decide(2, prediction, None).outcome == "adapted"


def test_a_system_in_space_is_judged_by_the_rule_and_others_are_not_borrowed():
    basis = {"systems": ["image, one person"]}
    assert shipping.beforehand(0.5, 100, "image and k, one person", basis, lent=True) is None
    assert shipping.beforehand(0.5, 100, "image and k, one person", basis).outcome == "not known to the rule"
    assert shipping.borrowed(PoseResNet, 0.1) is None
    assert shipping.borrowed(A2J, 0.1) is None
    assert "as RootNet does" in shipping.borrowed(RootNet, 0.1)


@pytest.mark.parametrize("model", ["root", "pose"])
def test_without_a_source_nothing_is_said_in_mm_and_labels_judge_x_and_y_alone(place, monkeypatch, capsys, model):
    """All the way with the real rule; a camera that is assumed is said for the network that reads it."""
    monkeypatch.setattr(job, "SHARES", (1.0,))
    monkeypatch.setattr(checks, "LABELLED", 4)
    labels(place)
    words = ["--strategy", "mean_teacher_free", "--check", "labels.json"]
    assert adapt(*words, model=f"runs/{model}", root=None, focal=()) == 0
    out, page = capsys.readouterr().out, Path("runs/adapt-wild/report.html").read_text()
    outcome = outcome_of("runs/adapt-wild")
    assert outcome["ended"].startswith("all 2 updates")
    assert outcome["expected"] is None
    assert outcome["check"]["flat"]
    assert outcome["check"]["metric"].startswith("pck@")
    for text in (out, page):
        assert "no gain is predicted, for there is no labelled source to learn errors in mm from" in text
        assert "these labels tell x and y alone, no depth" in text
        assert ("no camera is known (8 of 8 pictures and videos tell no camera" in text.replace("No", "no")) == (
            model == "root"
        )
        assert ("Z_true = Z * f_true / 1500" in text) == (model == "root")
    assert page.count("data:image/jpeg") >= 2
    assert adapt(*words, "--decide-by-check", "--output", "runs/b", model="runs/root", root=None) == 2
    assert "labels in the picture cannot decide" in capsys.readouterr().err


def test_the_real_rule_and_the_expected_error_of_a_rendered_target(place, monkeypatch):
    monkeypatch.setattr(job, "SHARES", (1.0,))
    monkeypatch.setattr("keyshift.adapt.scoring.expected.FEWEST", 10)
    target = ["--target", "people.wild", "target.train=8", "target.test=4", "target.size=64"]
    assert main(["adapt", "runs/root", *target, *SHORT]) == 0
    outcome = outcome_of("runs/adapt-people.wild")
    assert outcome["ended"].startswith("all 2 updates")
    assert outcome["expected"]["what"] == "the root's mean distance from its place"
    assert 10 < outcome["expected"]["before"] < 20000
    assert "dapted to people.wild" in Path("runs/adapt-people.wild/report.html").read_text()


def test_what_each_part_is_asked_for(parts, place, capsys):
    assert adapt("--strategy", "regda", focal=("--camera", "exif")) == 0
    (root, pose), out = parts, capsys.readouterr().out
    assert root[:3] == ("runs/root", "runs/adapt-wild/root", "regda")
    assert pose[:3] == ("runs/pose", "runs/adapt-wild/pose", "regda")
    assert root[3][0] == "name=adapt-wild-root"
    assert {"target.boxes=boxes.json", "target.camera=exif", "steps=2"} <= set(pose[3])
    told = json.loads(Path("runs/adapt-wild/chain.json").read_text())
    assert told == {"pose": "pose", "root": "root", "boxes": str(place / "boxes.json"), "camera": "exif"}
    assert "root:   as given (no gain predicted); predicted gain -2.0 points" in out
    assert adapt("--overwrite", focal=()) == 0
    assert [one[4] for one in parts[2:]] == [True, True]
    assert "camera" not in json.loads(Path("runs/adapt-wild/chain.json").read_text())


def test_a_dry_run_writes_one_file_and_no_folder(parts, capsys):
    assert adapt("--dry", "--output", "dry.json") == 0
    assert set(json.loads(Path("dry.json").read_text())) == {"root", "pose"}
    assert [(one[1], one[5]) for one in parts] == [("None", True)] * 2
    assert not Path("runs/adapt-wild").exists()
    assert adapt("--dry", "--output", "dry.json") == 2
    assert "dry.json is there already" in capsys.readouterr().err


def test_a_dry_run_says_that_the_rule_is_borrowed(place, capsys):
    assert adapt("--dry", model="runs/root", root=None) == 0
    assert "on none that sees people in space as RootNet does" in capsys.readouterr().out


def test_what_was_mirrored_of_the_parts_that_are_done_is_part_of_the_folder(parts):
    """MLflow's store lies beside the parts, after a kill its journal too: the same command goes on."""
    (Path("runs/out") / "mlartifacts" / "1").mkdir(parents=True)
    for name in ("mlflow.db", "mlflow.db-journal", ".mlflow.db.lock"):
        (Path("runs/out") / name).write_text("")
    assert adapt("--output", "runs/out") == 0
    assert len(parts) == 2


def test_what_is_no_chain_is_refused(parts, capsys):
    for words, message in (
        ({"model": "runs/root"}, "the chain's pose network must be a PoseNet"),
        ({"root": "runs/pose"}, "the chain's root network must be a RootNet"),
    ):
        assert adapt(**words) == 2
        assert message in capsys.readouterr().err
    Path("runs/mine").mkdir()
    Path("runs/mine/thesis.tex").write_text("x")
    assert adapt("--output", "runs/mine") == 2
    assert "runs/mine holds thesis.tex, and is no chain that was adapted" in capsys.readouterr().err
    assert adapt("--online") == 2
    assert "--online is not of a chain" in capsys.readouterr().err
    assert adapt("--online", root=None) == 2
    assert "--online does not adapt PoseNet" in capsys.readouterr().err
    assert not parts
