"""`keyshift adapt` of what reads several frames: clips of a video, and 2D keypoints that were predicted of one."""

import json

import cv2
import numpy as np
import pytest
import torch

from keyshift.datasets.reading.video import write_video
from keyshift.experiments.cli import main
from keyshift.experiments.commands.adapt import target_kind
from keyshift.models.saved import MODELS, load_model, save_model

pytestmark = pytest.mark.usefixtures("no_export")


@pytest.fixture
def clips(tmp_path, monkeypatch, registered):
    """The weights file of a system of clips, beside a video of 24 frames."""
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_model(tmp_path / "clips.pt", MODELS["clip_net"](3, MODELS["clip_net"].Options()), registered.DOTS, 1)
    scene = np.random.default_rng(0).uniform(30, 220, (6, 6, 3)).astype(np.float32)
    scene = cv2.resize(scene, (32, 32), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    shown = [cv2.circle(scene.copy(), (6 + t // 2, 16), 3, (255, 0, 0), -1) for t in range(24)]
    write_video(tmp_path / "wild.mp4", shown, 25)
    return tmp_path / "clips.pt"


def test_a_stream_of_clips(clips, tmp_path):
    words = ["--target", "wild.mp4", "--online", "--output", "streamed", "batch=8"]
    assert main(["adapt", str(clips), *words]) == 0
    content = json.loads((tmp_path / "streamed/predictions.json").read_text())
    assert [image["frame"] for image in content["images"]] == list(range(24))
    assert len(content["annotations"]) == 24
    before, after = (dict(load_model(path)[0].named_parameters()) for path in (clips, tmp_path / "streamed/model.pt"))
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_a_dry_run_opens_a_video_in_clips(clips, capsys):
    assert main(["adapt", str(clips), "--target", "wild.mp4", "--strategy", "bn_online", "--dry"]) == 0
    assert "clips" not in capsys.readouterr().err


def test_what_a_lifter_takes_is_a_file_of_predictions(tmp_path, registered):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat/a.json").write_text("{}")
    lifter, single = registered.Lifter, registered.TopDown
    assert target_kind(lifter, tmp_path / "flat/a.json") == "sequences2d"
    assert target_kind(lifter, tmp_path / "flat") == "sequences2d"
    assert target_kind(lifter, tmp_path / "pictures") == "pictures"
    assert target_kind(single, tmp_path / "flat") == "pictures"


def test_labels_judge_a_system_of_clips(clips, tmp_path, registered):
    (tmp_path / "frames").mkdir()
    names = [f"{number:03}.png" for number in range(40)]
    for number, name in enumerate(names):
        picture = np.add.outer(np.arange(32), 4 * np.arange(32) + number).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "frames" / name), picture)
    people = [{"keypoints": [8, 8, 2, 20, 8, 2, 8, 20, 2], "bbox": [0, 0, 32, 32], "category_id": 1, "iscrowd": 0}] * 40
    content = {
        "images": [{"id": n, "file_name": name, "width": 32, "height": 32} for n, name in enumerate(names)],
        "annotations": [{"id": n, "image_id": n, "num_keypoints": 3, **person} for n, person in enumerate(people)],
        "categories": [{"id": 1, "name": "dots", "keypoints": list(registered.DOTS.keypoints), "skeleton": []}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(content))
    words = ["--target", "frames", "--strategy", "bn_online", "--check", "labels.json", "--output", "judged", "steps=1"]
    assert main(["adapt", str(clips), *words]) == 0
    assert json.loads((tmp_path / "judged/adapt.json").read_text())["check"]["pictures"] == 40


def test_there_is_no_stream_of_2d_keypoints(tmp_path, monkeypatch, registered, capsys):
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "lifter.pt", registered.Lifter(3, registered.Lifter.Options()), registered.DOTS, 1)
    (tmp_path / "flat.json").write_text("{}")
    assert main(["adapt", "lifter.pt", "--target", "flat.json", "--online", "--output", "streamed"]) == 2
    error = capsys.readouterr().err
    assert "Lifter reads 2D keypoints. `keyshift train EXPERIMENT start=MODEL target.name=sequences2d" in error
    assert not (tmp_path / "streamed").exists()
