"""COCO files below a folder, as CVAT, Roboflow and COCO lay them out."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from keyshift.datasets.own.label_files import recordings
from keyshift.datasets.own.labels import Options, coco_json

_spec = importlib.util.spec_from_file_location("raw_coco", Path(__file__).parents[1] / "raw_coco.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_coco"] = raw
_spec.loader.exec_module(raw)


def both(root, **options):
    return [coco_json(Options(root=str(root), **options), part) for part in ("train", "test")]


def write(root, file, pictures, count=4):
    """A label file and its pictures below `root`."""
    made = raw.content(count=count)
    raw.write(root / pictures, made, "x.json")
    (root / pictures / "x.json").unlink()
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(made))


LAYOUTS = {
    "cvat": ("annotations/person_keypoints_default.json", "images/default"),
    "older cvat": ("annotations/person_keypoints_default.json", "images"),
    "beside": ("export/labels.json", "export"),
    "above": ("labels/labels.json", "."),
    "data": ("data/labels.json", "data/pictures/all"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_file_anywhere_below(tmp_path, layout):
    file, pictures = LAYOUTS[layout]
    write(tmp_path, file, pictures)
    train, test = both(tmp_path, block=2)
    assert (len(train), len(test)) == (2, 2)
    assert train.root == tmp_path / pictures
    assert train[0].image.shape == (120, 160, 3)


PARTED = {
    "roboflow": {part: (f"{part}/_annotations.coco.json", part) for part in ("train", "valid", "test")},
    "roboflow without test": {part: (f"{part}/_annotations.coco.json", part) for part in ("train", "valid")},
    "coco": {part: (f"annotations/person_keypoints_{part}2017.json", f"{part}2017") for part in ("train", "val")},
    "cvat": {part: (f"annotations/person_keypoints_{part}.json", f"images/{part}") for part in ("Train", "Validation")},
    "beside each other": {part: (f"{part}.json", f"images_{part}") for part in ("train", "test")},
}


@pytest.mark.parametrize("layout", PARTED)
def test_parts_that_are_named(tmp_path, layout):
    sizes = {}
    for part, (file, pictures) in PARTED[layout].items():
        sizes[part] = 5 - len(sizes)
        write(tmp_path, file, pictures, sizes[part])
    train, test = both(tmp_path)
    assert (len(train), len(test)) == (5, list(sizes.values())[-1])
    last = list(PARTED[layout].values())[-1]
    assert (train.root, test.root) == (tmp_path / PARTED[layout][next(iter(sizes))][1], tmp_path / last[1])
    assert train.identity["split"] == "files"


def test_several_that_do_not_say_which(tmp_path):
    for name in ("a/one.json", "b/two.json", ".hidden/three.json"):
        write(tmp_path, name, "images")
    with pytest.raises(
        ValueError, match=r"found a/one\.json, b/two\.json; or one named train .* labels=\[TRAIN, TEST\]"
    ):
        both(tmp_path)
    write(tmp_path, "train.json", "images")
    assert len(both(tmp_path, block=2)[0]) == 2, "what lies in the folder itself goes first"


def test_a_folder_that_is_not_there_is_not_said_to_be_without_labels(tmp_path):
    with pytest.raises(ValueError, match=r"no folder .*mistyped: coco_json reads a COCO keypoint JSON"):
        coco_json(Options(root=str(tmp_path / "mistyped")), "train")


def test_recordings_are_folders_or_blocks_of_one():
    sequences, frames = recordings(["a/1.jpg", "a/1.jpg", "a/2.jpg", "b.mp4#7"], 1)
    assert sequences == ["a", "a", "a", "b.mp4"]
    np.testing.assert_array_equal(frames, [0, 0, 1, 0])
    sequences, _ = recordings(["1.jpg", "1.jpg", "2.jpg", "3.jpg"], 2)
    assert sequences == ["./000000000"] * 3 + ["./000000001"]
