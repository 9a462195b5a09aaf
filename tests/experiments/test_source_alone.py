"""Training on a labelled source where no target is said: none is opened, and results are the source's."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from keyshift.datasets.catalog import DATASETS
from keyshift.experiments.cli import main
from keyshift.experiments.config import build, load_folder, plain

NET = [
    *("model.backbone=small", "model.input_size=[32,32]", "model.heatmap_size=[16,16]", "model.channels=8", "batch=4"),
    *("pretrain_steps=1", "steps=2", "evaluate_every=1", "checkpoint_every=1", "tracking=off"),
]


@pytest.fixture
def lab(tmp_path, monkeypatch, dots):
    """Own labels of ten pictures; a target that is opened would fail."""
    monkeypatch.chdir(tmp_path)
    for module in ("runs.conclusion", "commands.adapt"):  # writing ONNX takes seconds, and is tested by itself
        monkeypatch.setattr(f"keyshift.experiments.{module}.export", lambda *_: None)
    images, annotations = [], []
    for i in range(10):
        item = dots(10, "plain")[i]
        cv2.imwrite(f"{i}.png", item.image[..., ::-1])
        images.append({"id": i, "file_name": f"{i}.png", "width": 32, "height": 32})
        flat = np.column_stack([item.keypoints - 0.5, np.full(3, 2)]).ravel().tolist()
        annotations.append({"id": i, "image_id": i, "category_id": 1, "keypoints": flat, "bbox": [2, 2, 28, 28]})
    categories = [{"id": 1, "name": "dots", "keypoints": ["red", "green", "blue"], "skeleton": [[1, 2], [2, 3]]}]
    Path("labels.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    Path("mine.yaml").write_text("name: mine\nsource: {name: coco_json, root: ., labels: labels.json}\n")


def test_source_only_opens_no_target_and_is_scored_on_the_source(lab, monkeypatch, capsys):
    def opened(*_):
        raise AssertionError("a target was opened")

    monkeypatch.setitem(DATASETS, "hands.webcam", replace(DATASETS["hands.webcam"], open=opened))
    assert main(["train", "mine.yaml", *NET, "strategy=source_only", "output=runs/alone"]) == 0
    out = capsys.readouterr().out
    assert "mine: coco_json (8 labelled) alone (2 to test), no target is given, 3 keypoints" in out
    assert "source_only: source PCK@0.1" in out
    result = json.loads(Path("runs/alone/result.json").read_text())
    assert result["target"] is None
    assert 0 <= result["source"]["pck"] <= 1
    assert result["selected"]["last"]["source"]["pck"] == result["source"]["pck"]
    assert set(json.loads(Path("runs/alone/identity.json").read_text())) == {"source_train", "source_test"}
    assert load_folder(Path("runs/alone")).target is None
    assert main(["train", "runs/alone"]) == 0, "finished"
    assert main(["evaluate", "runs/alone"]) == 0
    assert main(["predict", "runs/alone", "0.png"]) == 0
    capsys.readouterr()
    assert main(["runs"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("│ alone"))
    assert [cell.strip() for cell in row.strip("│").split("│")][1:4] == ["coco_json", "source_only seed 0", "finished"]
    Path("wild").mkdir()
    for i in range(8):
        shutil.copy(f"{i}.png", "wild")
    assert main(["adapt", "runs/alone", "--target", "wild", "steps=1", "evaluate_every=1"]) == 0
    assert "6 pictures to adapt to, 2 held out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "needing"),
    [
        (["train", "mine.yaml", "strategy=regda"], "regda cannot do without"),
        (["train", "mine.yaml", "strategy=oracle"], "oracle cannot do without"),
        (["train", "mine.yaml", "strategy=source_only", "selection=target_score"], "selection=target_score cannot"),
        (["compare", "mine.yaml"], "bn_control, regda, keyshift, oracle cannot do without"),
        (["compare", "mine.yaml", "strategies=[source_only,mean_teacher]"], "mean_teacher cannot do without"),
        (["compare", "mine.yaml", "strategies=[source_only]"], "a comparison cannot do without"),
    ],
)
def test_what_needs_a_target_is_named(lab, capsys, words, needing):
    assert main([*words, *NET]) == 2
    error = capsys.readouterr().err
    assert f"no target is said, and {needing}" in error
    assert "target.name=NAME" in error
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("content", "words", "target"),
    [
        ({}, [], "hands.webcam"),
        ({"source": {"name": "hands.photo"}}, [], "hands.webcam"),
        ({"source": {"name": "rhd"}}, [], None),
        ({}, ["source.name=rhd"], None),
        ({"source": {"name": "rhd"}}, ["target.name=h3d"], "h3d"),
        ({"source": {"name": "rhd"}, "target": {"name": "h3d"}}, [], "h3d"),
        ({"target": None}, [], None),
        ({"target": None}, ["target.name=h3d"], "h3d"),
    ],
)
def test_the_defaults_target_goes_with_rendered_hands_alone(content, words, target):
    config = build(content, words)
    assert (config.target and config.target.name) == target
    assert build(plain(config)) == config
