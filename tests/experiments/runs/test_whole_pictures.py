"""What a sample is follows from the system that reads, where nobody says it."""

import importlib.util
import sys
from pathlib import Path

import pytest

from keyshift.experiments.config import build
from keyshift.experiments.runs.task import open_sides, prepare

_spec = importlib.util.spec_from_file_location("raw_coco", Path(__file__).parents[2] / "datasets/raw_coco.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_coco"] = raw
_spec.loader.exec_module(raw)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))
    people = [raw.annotation(n, n // 2, bbox=[4, 5, 109 + n, 109]) for n in range(12)]
    raw.write(tmp_path / "set", raw.content(*people, count=6))
    return tmp_path / "set"


def config(root, system, *words):
    source = {"name": "people.lab", "train": 4, "test": 3, "size": 64, "joints": "coco17"}
    target = {"name": "coco_json", "root": str(root), "block": 1}
    model = {"name": system, "input_size": [64, 64], "backbone": "small"}
    return build({"source": source, "target": target, "model": model}, words)


def dims(opened):
    return {name: dataset[0].keypoints.ndim for name, dataset in opened.items()}


PARTS = ("source_train", "source_test", "target_train", "target_test")


@pytest.mark.parametrize(("system", "ndim"), [("pose_resnet", 2), ("prtr_people", 3)])
def test_null_is_what_the_system_reads(root, system, ndim):
    given = config(root, system)
    assert given.source.options.crops is None
    assert dims(open_sides(given, True, None)) == dict.fromkeys(PARTS, ndim)
    task = prepare(given, ["source_only"])
    assert ("crops" in task.identity()["target_test"]) == (ndim == 3)
    assert task.identity()["source_test"]["boxes"] == ("whole" if ndim == 3 else "seen")


def test_what_is_said_holds(root):
    said = config(root, "prtr_people", "source.crops=seen", "target.crops=person")
    assert dims(open_sides(said, True, None)) == dict.fromkeys(PARTS, 2)
    said = config(root, "pose_resnet", "target.crops=whole")
    with pytest.raises(ValueError, match="answers each picture with one person"):
        prepare(said, ["source_only"])


def test_boxes_do_not_go_with_whole_pictures(root):
    said = config(root, "prtr_people", "target.boxes=truth")
    with pytest.raises(ValueError, match="crops=whole gives whole pictures of coco_json, and boxes=truth says"):
        open_sides(said, True, None)


def test_proposals_do_not_go_with_whole_pictures(root):
    said = config(root, "prtr_people", "proposals=dpg")
    with pytest.raises(ValueError, match="proposals=dpg is of pictures that are cut around one person"):
        prepare(said, ["source_only"])
