"""Commands on a card, whole: they end, and what they write is what they write on the CPU."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from keyshift.experiments.cli import main
from keyshift.models.saved import load_checkpoint

NET = [
    *("model.backbone=small", "model.input_size=[32,32]", "model.heatmap_size=[8,8]", "model.channels=8", "batch=4"),
    *("pretrain_steps=2", "steps=2", "evaluate_every=1", "checkpoint_every=1", "tracking=off", "precision=32-true"),
]


@pytest.fixture
def lab(tmp_path, monkeypatch, dots):
    """Own labels of ten pictures, and a folder of ten of another style."""
    monkeypatch.chdir(tmp_path)
    for module in ("runs.conclusion", "commands.adapt"):  # exports have tests of their own
        monkeypatch.setattr(f"keyshift.experiments.{module}.export", lambda *_: None)
    images, annotations = [], []
    Path("wild").mkdir()
    for i in range(10):
        item = dots(10, "plain")[i]
        cv2.imwrite(f"{i}.png", item.image[..., ::-1])
        cv2.imwrite(f"wild/{i}.png", dots(10, "shifted")[i].image[..., ::-1])
        images.append({"id": i, "file_name": f"{i}.png", "width": 32, "height": 32})
        flat = np.column_stack([item.keypoints - 0.5, np.full(3, 2)]).ravel().tolist()
        annotations.append({"id": i, "image_id": i, "category_id": 1, "keypoints": flat, "bbox": [2, 2, 28, 28]})
    categories = [{"id": 1, "name": "dots", "keypoints": ["red", "green", "blue"], "skeleton": [[1, 2], [2, 3]]}]
    Path("labels.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    Path("mine.yaml").write_text(
        "name: mine\nsource: {name: coco_json, root: ., labels: labels.json}\n"
        "target: {name: coco_json, root: ., labels: labels.json}\n"
    )


@pytest.fixture
def placed(card, monkeypatch):
    """The word by which commands run on the card."""
    if not card.same_draws:
        return "cuda"

    class OnCard(Fabric):
        device = card.device

    def chosen(device):
        return torch.device("cpu") if device == "cpu" else card.device

    def fabric(config):
        return OnCard(accelerator="cpu", devices=1, precision=config.precision)

    for module in [one for name, one in sys.modules.items() if name.startswith("keyshift.experiments")]:
        for name, put in (("choose_device", chosen), ("make_fabric", fabric)):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, put)
    return "auto"


def test_train_evaluate_predict_and_adapt(lab, card, placed):
    words = ["mine.yaml", *NET, f"device={placed}", "strategy=self_training", "output=runs/one"]
    assert main(["train", *words]) == 0
    assert not card.same_draws or card.waits, "nothing was read from the card: nothing was computed there"
    state = load_checkpoint(Path("runs/one/checkpoint.pt"), ("strategy",))
    assert all(value.device.type == "cpu" for value in state["strategy"].values())
    assert main(["evaluate", "runs/one"]) == 0
    answers = []
    for device in (placed, "cpu"):
        assert main(["predict", "runs/one", "wild", "--device", device, "--output", f"{len(answers)}.json"]) == 0
        people = json.loads(Path(f"{len(answers)}.json").read_text())["annotations"]
        answers.append([person["keypoints"] for person in people])
    np.testing.assert_allclose(*answers, atol=0.05)
    adapt = ["adapt", "runs/one", "--target", "wild", f"device={placed}", "batch=4"]
    assert main([*adapt, "steps=1", "--output", "runs/adapted"]) == 0
    assert main([*adapt, "--online", "--output", "runs/online"]) == 0
