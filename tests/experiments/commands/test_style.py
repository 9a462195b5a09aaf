"""`keyshift style`: a network is trained for two domains, goes on where it stopped, and UniFrame uses it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from keyshift.adapt.style import StyleNetwork
from keyshift.experiments.cli import main
from keyshift.experiments.config import load

pytestmark = pytest.mark.usefixtures("no_export")

NET = [
    *("model.backbone=small", "model.input_size=[32,32]", "model.heatmap_size=[16,16]", "model.channels=8", "batch=4"),
    *("pretrain_steps=1", "steps=1", "evaluate_every=1", "checkpoint_every=1", "tracking=off", "log_every=1"),
]
STYLE = ["style", "pair.yaml", *NET, "--channels", "2", "--batch", "2", "--output", "mine"]


@pytest.fixture
def pair(tmp_path, monkeypatch, dots):
    """Plain and shifted dots as labelled pictures."""
    monkeypatch.chdir(tmp_path)
    categories = [{"id": 1, "name": "dots", "keypoints": ["red", "green", "blue"], "skeleton": [[1, 2], [2, 3]]}]
    for style in ("plain", "shifted"):
        Path(style).mkdir()
        images, annotations = [], []
        for i in range(10):
            item = dots(10, style)[i]
            cv2.imwrite(f"{style}/{i}.png", item.image[..., ::-1])
            images.append({"id": i, "file_name": f"{i}.png", "width": 32, "height": 32})
            flat = np.column_stack([item.keypoints - 0.5, np.full(3, 2)]).ravel().tolist()
            annotations.append({"id": i, "image_id": i, "category_id": 1, "keypoints": flat, "bbox": [2, 2, 28, 28]})
        labels = {"images": images, "annotations": annotations, "categories": categories}
        Path(style, "labels.json").write_text(json.dumps(labels))
    text = "name: pair\n"
    for side, style in (("source", "plain"), ("target", "shifted")):
        text += f"{side}: {{name: coco_json, root: {style}, labels: {style}/labels.json}}\n"
    Path("pair.yaml").write_text(text)


def test_a_style_is_trained_goes_on_and_is_used(pair, capsys):
    assert main([*STYLE, "--steps", "2"]) == 0
    assert "the encoder is random" in capsys.readouterr().out
    assert main([*STYLE, "--steps", "4"]) == 0
    assert "use it: uniframe.transfer=adain uniframe.style=mine/style.pt" in capsys.readouterr().out
    sheet = cv2.imread("mine/style.png")
    assert sheet.shape == (6 * 32, 8 * 32, 3)
    losses = [json.loads(line)["metrics"] for line in Path("mine/metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 4
    assert all({"loss/content", "loss/style"} <= row.keys() for row in losses)
    options = load("pair.yaml", ["uniframe.transfer=adain", "uniframe.style=mine/style.pt"]).method("uniframe")
    assert StyleNetwork.load(options.style).channels == 2


def test_what_is_refused(pair, capsys, tmp_path):
    def refused(words, text):
        assert main(words) == 2
        assert text in capsys.readouterr().err

    refused([*STYLE, "--weights", "pair.yaml"], "channels=2: VGG-19 has 64")
    refused([*STYLE, "--steps", "0"], "steps=0")
    refused([*STYLE[:-1], "plain"], "plain exists and holds no style")
    Path("mine").mkdir()
    Path("mine/style.json").write_text("{}")
    refused(STYLE, "mine holds a style of other data or options")
    refused(["train", "pair.yaml", *NET, "uniframe.transfer=adain"], "uniframe.transfer=adain needs the style network")
    refused([*STYLE[:2], *NET, "--weights", "pair.yaml"], "pair.yaml: it is a text")
