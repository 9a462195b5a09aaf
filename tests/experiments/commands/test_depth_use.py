"""From frames of one's own depth camera to an adapted model, its scores and its joints; and depth in docs/use.md."""

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from keyshift.datasets.rendered.depth import render_depth
from keyshift.datasets.skeleton import HAND
from keyshift.experiments.cli import main
from keyshift.experiments.commands import adapt as job
from keyshift.experiments.config import build, load_folder, plain
from keyshift.models.saved import load_model, save_checkpoint, save_model
from keyshift.models.systems.a2j import A2J
from keyshift.models.systems.awr import AWR

TINY = [
    *("source.train=16", "source.test=8", "target.train=8", "target.test=4", "source.size=48", "target.size=48"),
    *("model.input_size=[32,32]", "model.channels=8", "batch=4", "pretrain_steps=1", "steps=2", "evaluate_every=2"),
    *("checkpoint_every=2", "tracking=off", "strategy=source_only"),
]
FEW = ["steps=2", "evaluate_every=2", "checkpoint_every=2", "target.block=4", "tracking=off"]


def write_frames(root, count=12, **changes):
    """A user's folder: frames of a rendered structured-light camera and labels.csv, which camera.yaml does not name."""
    made = render_depth("hands", "structured_light", 5, range(count), 48)
    root.mkdir()
    for i, depth in enumerate(made["depth"]):
        cv2.imwrite(str(root / f"{i:04d}.png"), depth.round().astype(np.uint16))
    fx, fy, cx, cy = made["camera"][0].tolist()
    said = {
        "fx": fx,
        "fy": fy,
        "cx": cx - 0.5,
        "cy": cy - 0.5,
        "unit": "mm",
        "cube": 240,
        "width": 48,
        "height": 48,
    } | changes
    (root / "camera.yaml").write_text(yaml.safe_dump(said))
    lines = [
        f"{i:04d}.png," + ",".join(f"{v:.3f}" for v in joints.ravel()) for i, joints in enumerate(made["keypoints"])
    ]
    header = ",".join(["file", *(f"{name}_{axis}" for name in HAND.keypoints for axis in "xyz")])
    (root / "labels.csv").write_text("\n".join([header, *lines, ""]))
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the run `given`, A2J on rendered depth."""
    home = tmp_path_factory.mktemp("depth")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("KEYSHIFT_CACHE", str(home / "cache"))
        patch.setattr("keyshift.experiments.runs.conclusion.export", lambda *_: None)
        assert main(["train", "a2j_ideal_to_structured_light", *TINY, "output=runs/given"]) == 0
    return home


@pytest.fixture
def home(trained, monkeypatch, tmp_path):
    """Another folder from which the run can be seen as `given`; writing ONNX takes seconds, and is tested by itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYSHIFT_CACHE", str(trained / "cache"))
    for module in ("runs.conclusion", "commands.adapt"):
        monkeypatch.setattr(f"keyshift.experiments.{module}.export", lambda *_: None)
    (tmp_path / "given").symlink_to(trained / "runs/given")
    return tmp_path


def test_depth_frames_as_a_stream(home):
    frames = write_frames(home / "frames", 9)
    cv2.imwrite(str(frames / "0007.png"), np.full((48, 48), 9000, np.uint16))
    words = ["--target", "frames", "--online", "batch=4", "target.cube=230", "tracking=off", "device=cpu"]
    assert main(["adapt", "given", *words]) == 0
    content = json.loads((home / "runs/adapt-frames/predictions.json").read_text())
    assert [image["file_name"] for image in content["images"]] == [f"{i:04d}.png" for i in range(9) if i != 7]
    assert [entry["file_name"] for entry in content["without_center"]] == ["0007.png"]
    assert content["annotations"][0]["cube"] == [230] * 3
    assert content["info"]["online"]["strategy"] == "tent"
    lines = (home / "runs/adapt-frames/predictions.jsonl").read_text().splitlines()
    assert np.shape([json.loads(line)["keypoints_mm"] for line in lines]) == (8, 21, 3)
    assert main(["predict", "runs/adapt-frames", "frames"]) == 0
    assert json.loads(Path("predictions.json").read_text())["annotations"][0]["cube"] == [230] * 3


def test_from_a_depth_camera_to_an_adapted_model_and_its_joints(home, capsys, monkeypatch):
    frames = write_frames(home / "frames", 44)
    cv2.imwrite(str(frames / "0007.png"), np.full((48, 48), 9000, np.uint16))
    words = ["adapt", "given", "--target", "frames", *FEW, "--check", "frames/labels.csv", "target.cube=230"]
    assert main(words) == 0
    outcome = json.loads((home / "runs/adapt-frames/adapt.json").read_text())
    assert outcome["check"]["pictures"] == 43
    assert outcome["check"]["metric"] == "mm"
    assert outcome["check"]["before"]["mm"] > 0
    assert [reason.split(":")[0] for reason in outcome["unreadable"]] == ["0007.png"]
    page = (home / "runs/adapt-frames/report.html").read_text()
    assert page.count("data:image/jpeg") == 12  # those of the given model alone
    assert "on 43 labelled pictures" in page
    assert load_folder(home / "runs/adapt-frames").target.name == "depth_folder"
    assert main(["predict", "runs/adapt-frames", "frames", "--draw", "drawn"]) == 0
    content = json.loads((home / "predictions.json").read_text())
    assert len(content["annotations"]) == 43
    assert content["annotations"][0]["cube"] == [230] * 3, "as the run was adapted"
    assert np.shape(content["annotations"][0]["keypoints_mm"]) == (21, 3)
    capsys.readouterr()
    assert main(["evaluate", "runs/adapt-frames"]) == 0
    out = capsys.readouterr().out
    assert "nan" not in out
    assert "target: frames has no labels to score by" in out
    said = yaml.safe_load((frames / "camera.yaml").read_text()) | {"labels": "labels.csv"}
    (frames / "camera.yaml").write_text(yaml.safe_dump(said))
    (frames / "0007.png").write_bytes((frames / "0008.png").read_bytes())
    assert main(["evaluate", "runs/adapt-frames"]) == 0
    assert "no labels" not in capsys.readouterr().out
    assert main(["evaluate", "runs/adapt-frames", "selection=last"]) == 2
    assert "runs/adapt-frames was not trained" in capsys.readouterr().err


def test_what_was_shipped_is_what_is_evaluated(home, capsys):
    """The checkpoint with the best score of its own is another network than the one that the job ships."""
    write_frames(home / "frames", 32)
    words = ["adapt", "given", "--target", "frames", *FEW]
    assert main([*words, "--check", "frames/labels.csv", "--decide-by-check"]) == 0
    folder = home / "runs/adapt-frames"
    shipped, skeleton = load_model(folder / "model.pt")

    def score(*words):
        capsys.readouterr()
        assert main(["evaluate", str(folder), *words]) == 0
        return capsys.readouterr().out

    before = score()
    assert "as shipped" in before.replace("\n", " ")
    for path in folder.glob("weights-*.pt"):
        for parameter in shipped.parameters():
            parameter.data.mul_(0.5)
        save_model(path, shipped, skeleton, 2)
    assert score() == before
    other = score("selection=target_score")
    assert "selection=target_score" in other.replace("\n", "")
    assert other.split("source")[1] != before.split("source")[1]


def test_a_target_alone_without_labels_is_named_as_such(home, capsys):
    frames = write_frames(home / "frames")
    for name, root in (("depth_folder", frames), ("pictures", home / "photos")):
        config = plain(build({"strategy": "source_only", "target": {"name": name, "root": str(root)}}))
        said = job.build(config)
        message = job_words(said)
        assert f"{root} has no labels to score by; name a labelled set" in message
        assert {"depth_folder": "labels: labels.csv", "pictures": "target.name=coco_json"}[name] in message


def job_words(config):
    from types import SimpleNamespace

    from keyshift.experiments.commands.evaluate import without_labels

    return without_labels(SimpleNamespace(config=config), "target")


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        (
            {},
            ["target.cube=300"],
            "depth_reach=120 does not cover the cubes of frames, which reach 150 mm .* target.cube=240 or less",
        ),
        ({"cube": [200, 200, 260]}, [], "reach 130 mm to either side; a trained network keeps its reach"),
        ({"unit": "inch"}, [], "unit='inch'"),
        ({}, ["target.camera=nowhere.yaml"], "no nowhere.yaml"),
        ({}, ["target.centres=threshold"], "Did you mean target.centers"),
        ({}, ["target.boxes=whole"], "boxes=whole is no option of depth_folder"),
        ({}, ["target.name=pictures"], "given reads depth"),
    ],
)
def test_what_does_not_fit_is_said_before_any_other_data_is_opened(home, monkeypatch, capsys, changes, words, message):
    write_frames(home / "frames", 4, **changes)
    monkeypatch.setattr(job, "prepare", lambda *_, **__: pytest.fail("too late"))
    if words == ["target.name=pictures"]:
        monkeypatch.setattr(job, "check_kind", lambda *_: (_ for _ in ()).throw(ValueError("given reads depth")))
    assert main(["adapt", "given", "--target", "frames", *FEW, *words]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (home / "runs").exists()


def test_pictures_for_a_depth_model_are_refused_at_once(home, monkeypatch, capsys):
    monkeypatch.setattr(job, "prepare", lambda *_, **__: pytest.fail("too late"))
    (home / "photos").mkdir()
    cv2.imwrite(str(home / "photos/0.png"), np.zeros((8, 8, 3), np.uint8))
    assert main(["adapt", "given", "--target", "photos", *FEW]) == 2
    assert "given reads depth, and photos holds none (0.png: picture)" in capsys.readouterr().err


def test_before_training_the_network_can_be_chosen_to_fit(home, capsys):
    words = ["train", "a2j_ideal_to_structured_light", *TINY, "model.depth_reach=100", "output=runs/x"]
    assert main(words) == 2
    assert "reach 120 mm to either side; set it to that or more" in capsys.readouterr().err
    assert main([*words, "start=given", "strategy=mean_teacher"]) == 2
    assert "choose source.cube=200 or less" in capsys.readouterr().err


NETWORKS = {
    "a2j": lambda: A2J(21, A2J.Options(backbone="small", input_size=[32, 32], channels=8, head_layers=1)),
    "awr": lambda: AWR(21, AWR.Options(backbone="resnet18", input_size=[64, 64], channels=8)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_block_of_the_guide_to_depth_runs_and_agrees_with_predict(home, name):
    (home / "runs/hands").mkdir(parents=True)
    (home / "runs/hands/config.yaml").write_text(yaml.safe_dump(plain(build({"model": {"name": name}}))))
    (home / "runs/hands/identity.json").write_text(json.dumps({"source_train": {"name": "x", "cube": [240.0] * 3}}))
    save_model(home / "runs/hands/model.pt", NETWORKS[name]().eval(), HAND, 1)
    save_checkpoint(home / "runs/hands/checkpoint.pt", {"selection": {"steps": {}}})
    write_frames(home / "frames", 3)
    guide = (Path(__file__).parents[3] / "docs/use.md").read_text().split("\n## Depth frames")[1]
    commands = [line for block in re.findall(r"```sh\n(.*?)```", guide, re.DOTALL) for line in block.splitlines()]
    python, alone = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    there: dict = {}
    exec(python, there)
    assert there["predicted"].points3d.shape == (3, 21, 3)
    for command in commands:
        assert main(command.split()[1:]) == 0
    without = "import sys; sys.modules['keyshift'] = None\n"
    shown = "\nprint('JOINTS', [joints.tolist(), pixels.tolist()])"
    done = subprocess.run([sys.executable, "-c", without + alone + shown], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    joints, pixels = json.loads(done.stdout.split("JOINTS ")[1])
    entry = json.loads(Path("joints.json").read_text())["annotations"][0]
    np.testing.assert_allclose(joints, entry["keypoints_mm"], atol=0.5)
    np.testing.assert_allclose(pixels, np.reshape(entry["keypoints"], (-1, 3))[:, :2], atol=0.1)
