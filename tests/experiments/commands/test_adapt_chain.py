"""A chain of RootNet and PoseNet adapted to own pictures with boxes and a camera: each network as one alone is."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from keyshift.adapt.scoring.rule import Prediction
from keyshift.experiments.cli import main
from keyshift.experiments.commands import adapt as job
from keyshift.experiments.commands import adapt_chain as chains
from keyshift.experiments.runs import shipping
from keyshift.experiments.runs.chain import read_chain
from keyshift.models.saved import load_model

NET = [
    *("model.backbone=small", "model.input_size=[32,32]", "model.channels=8", "batch=4", "tracking=off"),
    *("optimization.name=adam", "optimization.rate=0.001", "optimization.gamma=0"),
]
SHORT = ["steps=2", "evaluate_every=2", "checkpoint_every=2"]
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
    monkeypatch.setattr(job, "expected_error", lambda evidence: 100.0 if evidence is evidence.given else 90.0)


def adapt(*words, model="runs/pose", root="runs/root"):
    chain = [] if root is None else ["--root", root]
    target = ["--target", "wild", "--boxes", "boxes.json", "--focal", "80", "target.block=2"]
    return main(["adapt", model, *chain, *target, *SHORT, *words])


def weights(folder):
    return load_model(job.locate(Path(folder))[0])[0].state_dict()


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_both_are_adapted_each_by_its_own_rule_and_the_chain_names_them(place, monkeypatch, capsys):
    predicted(monkeypatch, 4.0)
    assert adapt("--output", "runs/out") == 0
    out = capsys.readouterr().out
    told = json.loads(Path("runs/out/chain.json").read_text())
    assert told == {"pose": "pose", "root": "root", "boxes": str(place / "boxes.json"), "focal": [80.0]}
    chain = read_chain(Path("runs/out"))
    assert (len(load_model(job.locate(chain.root)[0])[1]), len(load_model(job.locate(chain.pose)[0])[1])) == (1, 17)
    for part in ("root", "pose"):
        outcome = json.loads((Path("runs/out") / part / "adapt.json").read_text())
        assert outcome["adapted"]
        assert outcome["pictures"] + outcome["held_out"] == 16
        assert outcome["cameras"][0].startswith("the camera is the one given: focal length 80 px")
        assert not same(weights(f"runs/{part}"), weights(f"runs/out/{part}"))
        page = (Path("runs/out") / part / "report.html").read_text()
        assert "is expected to go from 100.0 to 90.0 mm, 10.0 mm less" in page
        assert "on none that sees people in space" in page
        assert "The camera is the one given" in page
    assert "root:   adapted by keyshift; predicted gain +4.0 points; in mm: the root's mean distance from its" in out
    assert "pose:   adapted by keyshift; predicted gain +4.0 points; in mm: the mean error relative to the root" in out


def test_what_was_finished_is_not_done_again(place, monkeypatch, capsys):
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
    assert "runs/out/root is finished" in capsys.readouterr().out
    assert Path("runs/out/root/model.pt").stat().st_mtime_ns == before
    assert Path("runs/out/chain.json").is_file()


def test_a_part_without_a_gain_keeps_its_weights(place, monkeypatch, capsys):
    predicted(monkeypatch, -2.0)
    assert adapt() == 0
    out = capsys.readouterr().out
    for part in ("root", "pose"):
        assert same(weights(f"runs/{part}"), weights(f"runs/adapt-wild/{part}"))
    assert "root:   as given (no gain predicted); predicted gain -2.0 points" in out
    assert Path("runs/adapt-wild/chain.json").is_file()


def test_a_gain_in_points_is_not_shipped_where_the_error_in_mm_is_expected_to_rise(place, monkeypatch):
    predicted(monkeypatch, 4.0)
    monkeypatch.setattr(job, "expected_error", lambda evidence: 100.0 if evidence is evidence.given else 101.0)
    assert adapt(root=None) == 0
    outcome = json.loads(Path("runs/adapt-wild/adapt.json").read_text())
    assert (outcome["outcome"], outcome["adapted"]) == ("no gain in mm", False)
    assert "is expected to go from 100.0 to 101.0 mm" in outcome["why"]


@pytest.mark.parametrize("model", ["runs/root", "runs/pose"])
def test_without_a_source_nothing_is_said_in_mm(place, monkeypatch, model):
    """All the way with the real rule, by a strategy without a source."""
    monkeypatch.setattr(job, "SHARES", (1.0,))
    assert adapt("--strategy", "mean_teacher_free", model=model, root=None) == 0
    outcome = json.loads(Path("runs/adapt-wild/adapt.json").read_text())
    assert outcome["ended"].startswith("all 2 updates")
    assert outcome["expected"] is None
    page = Path("runs/adapt-wild/report.html").read_text()
    assert "no gain is predicted, for there is no labelled source to learn errors in mm from" in page
    assert page.count("data:image/jpeg") >= 2


def test_the_real_rule_and_the_expected_error_of_a_rendered_target(place, monkeypatch):
    monkeypatch.setattr(job, "SHARES", (1.0,))
    monkeypatch.setattr("keyshift.adapt.scoring.expected.FEWEST", 10)
    target = ["--target", "people.wild", "target.train=8", "target.test=4", "target.size=64"]
    assert main(["adapt", "runs/root", *target, *SHORT]) == 0
    outcome = json.loads(Path("runs/adapt-people.wild/adapt.json").read_text())
    assert outcome["ended"].startswith("all 2 updates")
    assert outcome["expected"]["what"] == "the root's mean distance from its place"
    assert 10 < outcome["expected"]["before"] < 20000
    assert "Adapted to people.wild" in Path("runs/adapt-people.wild/report.html").read_text().replace("Not a", "A")


def test_an_assumed_camera_is_a_note_and_not_silent(place, monkeypatch, capsys):
    predicted(monkeypatch, -2.0)
    words = ["--target", "wild", "--boxes", "boxes.json", "target.block=2", *SHORT]
    assert main(["adapt", "runs/root", *words]) == 0
    out, page = capsys.readouterr().out, Path("runs/adapt-wild/report.html").read_text()
    assert "note: no camera is known (8 of 8 pictures and videos tell no camera" in out
    assert "Z_true = Z * f_true / 1500" in out
    assert "Z_true = Z * f_true / 1500" in page
    assert main(["adapt", "runs/pose", *words, "--output", "runs/pose-wild"]) == 0
    assert "camera" not in capsys.readouterr().out, "PoseNet reads none"


def test_a_dry_run_trains_nothing_and_tells_of_both(place, monkeypatch, capsys):
    assert adapt("--dry", "--output", "dry.json") == 0
    told = json.loads(Path("dry.json").read_text())
    assert set(told) == {"root", "pose"}
    assert "on none that sees people in space as RootNet does" in told["root"]["borrowed"]
    assert not Path("runs/adapt-wild").exists()
    assert adapt("--dry", "--output", "dry.json") == 2
    assert "dry.json is there already" in capsys.readouterr().err


def test_a_chain_of_the_wrong_networks_is_refused(place, capsys):
    assert adapt(model="runs/root", root="runs/pose") == 2
    assert "the chain's pose network must be a PoseNet" in capsys.readouterr().err
    assert adapt(model="runs/pose", root="runs/pose") == 2
    assert "the chain's root network must be a RootNet" in capsys.readouterr().err
    Path("runs/mine").mkdir()
    Path("runs/mine/thesis.tex").write_text("x")
    assert adapt("--output", "runs/mine") == 2
    assert "runs/mine holds thesis.tex, and is no chain that was adapted" in capsys.readouterr().err
    assert adapt("--online") == 2
    assert "--online is not of a chain" in capsys.readouterr().err


def test_overwriting_does_both_again(place, monkeypatch, capsys):
    predicted(monkeypatch, 4.0)
    assert adapt("--output", "runs/out") == 0
    assert adapt("--output", "runs/out", "steps=1", "evaluate_every=1") == 2
    assert adapt("--output", "runs/out", "steps=1", "evaluate_every=1", "--overwrite") == 0
    for part in ("root", "pose"):
        assert json.loads((Path("runs/out") / part / "adapt.json").read_text())["updates"] == 1


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


def test_labels_in_the_picture_judge_x_and_y_alone(place, monkeypatch, capsys):
    predicted(monkeypatch, 4.0)
    labels(place)
    assert adapt("--check", "labels.json", "--output", "runs/out") == 0
    for part in ("root", "pose"):
        check = json.loads((Path("runs/out") / part / "adapt.json").read_text())["check"]
        assert check["metric"].startswith("pck@")
        assert check["flat"]
    assert "these labels tell x and y alone, no depth" in capsys.readouterr().out
    assert adapt("--check", "labels.json", "--decide-by-check", "--output", "runs/other") == 2
    assert "labels in the picture cannot decide" in capsys.readouterr().err
