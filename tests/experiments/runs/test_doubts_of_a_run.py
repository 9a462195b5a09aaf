"""What a run says of its data before it starts."""

import json

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.catalog import open_dataset, options_of
from keyshift.datasets.doubts import doubts
from keyshift.experiments.config import build
from keyshift.experiments.runs import task
from keyshift.experiments.runs.task import prepare, say_doubts


def write(folder, unit, tag=1):
    """Ten pictures, with keypoints as multiples of `unit`."""
    rng, images, people, exif = np.random.default_rng(0), [], [], Image.Exif()
    exif[0x0112] = tag
    for n in range(10):
        Image.new("RGB", (80, 60)).save(folder / f"{n}.jpg", exif=exif)
        images.append({"id": n, "file_name": f"{n}.jpg"})
        flat = [float(x) for point in rng.uniform(5, 55, (3, 2)) * unit for x in (*point, 2)]
        people.append({"id": n, "image_id": n, "category_id": 1, "keypoints": flat})
    names = {"id": 1, "name": "stick", "keypoints": ["a", "b", "c"]}
    (folder / "labels.json").write_text(json.dumps({"images": images, "annotations": people, "categories": [names]}))
    return {"name": "coco_json", "labels": str(folder / "labels.json"), "block": 2}


def test_problems_are_warned_of_and_notes_are_kept(tmp_path):
    said = {key: value for key, value in write(tmp_path, 1).items() if key != "name"}
    opened = open_dataset("coco_json", options_of("coco_json", said, "test"), "train")
    assert say_doubts([opened]) == []
    write(tmp_path, 1, tag=3)
    assert say_doubts([opened]) == [f"coco_json.train: {words}" for words in say_words(opened)]
    write(tmp_path, 0.01)
    opened = open_dataset("coco_json", options_of("coco_json", said, "test"), "train")
    with pytest.warns(UserWarning, match=r"coco_json\.train: keypoints of 8 of 8 people .* shares of the picture"):
        say_doubts([opened])


def say_words(opened):
    return [doubt.text for doubt in doubts(opened) if not doubt.problem]


def test_it_is_said_before_anything_slow(tmp_path, monkeypatch):
    """Before crops are cut, and before a network is built with its weights."""
    data = write(tmp_path, 0.01)
    monkeypatch.setattr(task, "check_fits", lambda *_: pytest.fail("too late"))
    config = build({"source": data, "target": data})

    class Said(Exception):
        pass

    def stop(datasets):
        raise Said

    monkeypatch.setattr(task, "say_doubts", stop)
    with pytest.raises(Said):
        prepare(config, ["source_only"])
