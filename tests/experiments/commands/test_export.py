"""`keyshift export` on a network whose answers are known, and every block of docs/use.md that is of pictures."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from keyshift.datasets.loading import crop, empty_item
from keyshift.datasets.reading.people import square
from keyshift.datasets.skeleton import Skeleton
from keyshift.experiments.cli import main
from keyshift.experiments.commands.export import export, licences
from keyshift.experiments.config import Config, plain
from keyshift.experiments.runs.progress import Reporter
from keyshift.models.saved import MODELS, save_checkpoint, save_model
from keyshift.models.systems.pose_resnet import PoseResNet

RGB = Skeleton("rgb", ("red", "green", "blue"), ((0, 1), (1, 2)), (), {"all": (0, 1, 2)})
TRUTH = np.array([[17.3, 30.8], [30.1, 12.6], [41.7, 35.2]])


@pytest.fixture
def home(tmp_path, monkeypatch, brightest):
    """A folder with a run, runs/mine, and pictures in photos."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs/mine"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump(plain(Config())))
    save_model(run / "weights-000004.pt", brightest(3, brightest.Options(input_size=[64, 48])), RGB, 4)
    save_checkpoint(run / "checkpoint.pt", {"selection": {"steps": {"last": 4}}})
    identity = {"source_train": {"name": "mine", "licence": "MIT"}, "target_train": {"name": "old"}}
    (run / "identity.json").write_text(json.dumps(identity))
    y, x = np.mgrid[:60, :70] + 0.5
    spots = [250 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18) for px, py in TRUTH]
    (tmp_path / "photos").mkdir()
    for name in ("one", "two"):
        cv2.imwrite(f"photos/{name}.png", np.stack(spots[::-1], -1).round().astype(np.uint8))
    return tmp_path


def test_every_block_of_the_guide_runs(home):
    guide = (Path(__file__).parents[3] / "docs/use.md").read_text().split("\n## Depth frames")[0]
    blocks = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    alone = [block for block in blocks if "keyshift." not in block.replace("keyshift.json", "")]
    assert (len(blocks), len(alone)) == (4, 2)
    export(Path("runs/mine"), "onnx", Path("model.onnx"), Reporter())
    export(Path("runs/mine"), "torch", Path("model.pt2"), Reporter())
    for block in blocks:
        if block in alone:
            without = "import sys; sys.modules['keyshift'] = None\n"
            shown = "\nprint('POINTS', points.tolist() if 'points' in globals() else keypoints.shape)"
            run = subprocess.run([sys.executable, "-c", without + block + shown], capture_output=True, text=True)
            assert run.returncode == 0, run.stderr
            if "onnxruntime" in block:
                points = json.loads(run.stdout.split("POINTS ")[1])
                np.testing.assert_allclose(points, TRUTH, atol=0.15)
        else:
            there: dict = {}
            exec(block, there)
            points = there["predicted"].points if "predicted" in there else there["labels"][0].keypoints[None]
            np.testing.assert_allclose(points, np.broadcast_to(TRUTH, points.shape), atol=0.15)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Where the first test that needs it writes the network of `home`; all others read the same file."""
    return tmp_path_factory.mktemp("exported") / "model.onnx"


@pytest.fixture
def recipe(home, exported):
    """What the guide defines for onnxruntime alone: find and cut."""
    guide = (Path(__file__).parents[3] / "docs/use.md").read_text()
    block = next(b for b in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "def find" in b)
    if not exported.exists():
        export(Path("runs/mine"), "onnx", exported, Reporter())
    shutil.copy(exported, "model.onnx")
    names: dict = {}
    exec(block, names)
    return names


def photograph(size):
    """(H, W, 3): noise, edges and spots, whose pixels no two resamplings treat alike."""
    rng, (width, height) = np.random.default_rng(sum(size)), size
    picture = rng.integers(0, 256, (height, width, 3), np.uint8)
    cv2.circle(picture, (width // 2, height // 2), min(size) // 4, (250, 40, 90), -1)
    return picture


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((30, 20), None),  # smaller than the crop
        ((64, 48), None),
        ((70, 60), (8, 4, 52, 48)),
        ((131, 97), (-20, -9, 151, 88)),  # beyond the picture
        ((400, 301), None),
        ((1237, 800), (100.5, 30.25, 900, 777)),  # shrinks by more than ten
        ((64, 64), (30, 30, 32, 33)),  # smaller than the smallest square
    ],
)
def test_the_guides_recipe_cuts_and_answers_as_predict_does(recipe, size, box):
    picture = photograph(size)
    cv2.imwrite("photo.png", picture[..., ::-1])
    whole, boxes = (0, 0, *size), []
    if box is not None:
        Path("boxes.csv").write_text("file,left,top,right,bottom\nphoto.png," + ",".join(map(str, box)))
        boxes = ["--boxes", "boxes.csv"]
    assert main(["predict", "runs/mine", "photo.png", "--output", "answers.json", *boxes]) == 0
    (answer,) = json.loads(Path("answers.json").read_text())["annotations"]
    points, sure = recipe["find"](picture, box or whole, **({} if box else {"padding": 1.0}))
    np.testing.assert_allclose(points, np.reshape(answer["keypoints"], (3, 3))[:, :2] + 0.5, atol=0.01)
    np.testing.assert_allclose(sure, answer["keypoint_scores"], atol=1e-4)


@pytest.mark.parametrize("size", [(30, 20), (64, 48), (129, 97), (641, 480)])
def test_the_guides_recipe_gives_the_network_the_same_pixels(recipe, size):
    picture, (width, height) = photograph(size), size
    nobody = replace(empty_item("photo", 3, False), image=picture, box=square(np.array([0.0, 0, *size]), 1.0))
    ours = crop(nobody, (64, 48), None, None, [0, 1, 2]).inputs["image"]
    scale = 48 / max(size)
    theirs = recipe["cut"](picture, scale, 32 - scale * width / 2, 24 - scale * height / 2)
    np.testing.assert_array_equal(theirs.transpose(2, 0, 1), ours)


def test_a_run_exports_its_selected_weights_and_what_they_were_trained_on(home):
    written = export(Path("runs/mine"), "torch", None, Reporter(), decode="peak")
    assert written == Path("mine.pt2")
    extra = {"keyshift.json": ""}
    network = torch.export.load(written, extra_files=extra).module()
    about = json.loads(extra["keyshift.json"])
    assert about["weights"] == "weights-000004.pt"
    assert about["data"] == {"mine": "MIT", "old": "not said"}
    assert about["keypoints"] == list(RGB.keypoints)
    image = torch.zeros(1, 3, 48, 64, dtype=torch.uint8)
    image[0, :, 20, 30] = 200
    assert network(image)[0].tolist() == [[[30.5, 20.5]] * 3]
    assert licences(None) == {}
    assert export(Path("runs/mine/weights-000004.pt"), "torch", None, Reporter()) == Path("weights-000004.pt2")


def test_bad_input_is_named_and_nothing_written(home, monkeypatch):
    run, before = Path("runs/mine"), sorted(home.rglob("*"))

    def refused(message, *more, **options):
        with pytest.raises(ValueError, match=message):
            export(*(more or (run, "onnx", None)), Reporter(), **options)

    refused("format='tflite'", run, "tflite", None)
    refused("decode='median'", decode="median")
    refused("precision='fp18' is not known; choose one of fp32, fp16", precision="fp18")
    refused("opset and precision are of --format onnx", run, "torch", None, opset=18)
    refused("opset and precision are of --format onnx", run, "torch", None, precision="fp16")
    refused("name of a .onnx file", run, "onnx", Path("model.pt2"))
    refused("folder that exists", run, "onnx", Path("nowhere/model.onnx"))
    refused("is a comparison", make_comparison(home), "onnx", None)
    refused("no model nowhere", Path("nowhere"), "onnx", None)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    refused(r"no onnxscript here: it takes pip install 'keyshift\[export\]'")
    assert [p for p in sorted(home.rglob("*")) if "several" not in str(p)] == before
    Path("mine.pt2").write_text("mine")
    refused("mine.pt2 exists; pass --overwrite", run, "torch", None)
    export(run, "torch", None, Reporter(), overwrite=True)
    assert Path("mine.pt2").stat().st_size > 1000


@pytest.mark.usefixtures("shallow")
def test_half_precision_is_told_in_pixels(home, capsys):
    model = PoseResNet(3, PoseResNet.Options(backbone="small", channels=16, input_size=[64, 48], heatmap_size=[16, 12]))
    save_model(Path("own.pt"), model, RGB, 0)
    assert main(["export", "own.pt", "--precision", "fp16", "--opset", "18", "--decode", "mean"]) == 0
    said = capsys.readouterr().out
    assert re.search(
        r"own.onnx: 3 keypoints of 64x48 crops, in fp16 its keypoints are [\d.e-]+ px from PyTorch's", said
    )
    assert main(["export", "own.pt", "--opset", "3", "--overwrite"]) == 2
    assert "opset=3" in capsys.readouterr().err


class Unsteady(PoseResNet):
    """What it does depends on what it sees, and an exporter cannot know that."""

    def features(self, sample):
        features = super().features(sample)
        return features if features.mean() > 0 else -features


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_a_network_that_cannot_be_exported_is_one_line(home, monkeypatch, capfd, format):
    monkeypatch.setitem(MODELS, "unsteady", Unsteady)
    options = Unsteady.Options(backbone="small", input_size=[32, 32], heatmap_size=[8, 8], channels=8)
    save_model(home / "unsteady.pt", Unsteady(3, options), RGB, 1)
    before = sorted(home.rglob("*"))
    assert main(["export", str(home / "unsteady.pt"), "--format", format]) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    assert re.fullmatch(r"keyshift: error: Unsteady cannot be exported: \w+: \S.*\n", shown.err)
    assert sorted(home.rglob("*")) == before


@pytest.mark.parametrize("name", ["bottom_up", "lifter"])
def test_systems_of_several_people_and_of_keypoints_say_what_they_take(home, registered, capsys, name):
    kind = MODELS[name]
    torch.manual_seed(0)
    options = kind.Options(threshold=0.55) if name == "bottom_up" else kind.Options()
    save_model(home / f"{name}.pt", kind(3, options), RGB, 1)
    export(home / f"{name}.pt", "torch", None, Reporter())
    takes = {"bottom_up": "3 keypoints of 32x32 pictures", "lifter": "3 keypoints of keypoints2d"}[name]
    assert f"{name}.pt2: {takes}, answers as PyTorch does" in capsys.readouterr().out
    extra = {"keyshift.json": ""}
    torch.export.load(f"{name}.pt2", extra_files=extra)
    assert json.loads(extra["keyshift.json"])["inputs"] == list(kind.reads)


def make_comparison(home):
    (home / "several/regda-seed0").mkdir(parents=True)
    (home / "several/regda-seed0/config.yaml").write_text("")
    return home / "several"


@pytest.mark.usefixtures("shallow")
def test_a_network_that_a_run_trained_exports_too(home):
    torch.manual_seed(0)
    model = PoseResNet(3, PoseResNet.Options(backbone="small", input_size=[32, 32], heatmap_size=[8, 8], channels=8))
    save_model(home / "trained.pt", model, RGB, 1)
    for format, suffix in (("onnx", ".onnx"), ("torch", ".pt2")):
        assert export(home / "trained.pt", format, None, Reporter()).suffix == suffix
