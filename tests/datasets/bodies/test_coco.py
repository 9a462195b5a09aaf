"""COCO keypoints in the publisher's layout."""

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from keyshift.datasets.bodies.coco import CocoOptions, coco
from keyshift.datasets.bodies.skeletons import COCO17, COCO19, H36M18, MPII16

_spec = importlib.util.spec_from_file_location("raw_coco", Path(__file__).parents[1] / "raw_coco.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_coco"] = raw
_spec.loader.exec_module(raw)
BASE, annotation, content, joints, write = raw.BASE, raw.annotation, raw.content, raw.joints, raw.write


def opened(root, part, **options):
    return coco(CocoOptions(root=str(root), **options), part)


def test_coco(tmp_path) -> None:
    for half, first in (("train2017", 0), ("val2017", 50)):
        made = content(
            annotation(1, 2, keypoints=joints(nose=0, left_eye=1), segmentation={"counts": "x", "size": [1, 2]}),
            annotation(2, 2, iscrowd=1),
            annotation(3, 2, num_keypoints=0, keypoints=[0] * 51),
            annotation(4, 3, bbox=[first, 0, 20, 10], segmentation=[[1, 2, 3]], area=None),
        )
        write(tmp_path / half, made)
        (tmp_path / "annotations").mkdir(exist_ok=True)
        shutil.move(tmp_path / half / "labels.json", tmp_path / f"annotations/person_keypoints_{half}.json")
    train, test = (opened(tmp_path, part) for part in ("train", "test"))
    assert train.people.pictures == ["train2017/2.jpg", "train2017/3.jpg"]
    assert test.people.pictures[0] == "val2017/2.jpg"
    assert train.people.ids == ["1", "4"]
    assert (train.skeleton, train.people.sequences) == (COCO17, ["2.jpg", "3.jpg"])
    item = train[0]
    assert item.annotated.tolist() == [False] + [True] * 16
    assert item.visible.tolist() == [False, False] + [True] * 15
    np.testing.assert_allclose(item.keypoints[2], BASE[2, :2] + 0.5)  # an index of a pixel: its middle
    np.testing.assert_allclose(item.box, [60 - 62.5, 52 - 62.5, 60 + 62.5, 52 + 62.5])  # 1.25 times the box
    np.testing.assert_allclose(test[1].box, [60 - 12.5, 5 - 12.5, 60 + 12.5, 5 + 12.5])
    assert train.identity["licence"].startswith("annotations CC BY 4.0")
    with pytest.raises(ValueError, match=r"no file .*person_keypoints_val2017.json"):
        opened(tmp_path / "train2017", "test")


def test_thorax_and_pelvis_are_the_middles(tmp_path) -> None:
    flags = [joints(), joints(left_shoulder=1), joints(left_shoulder=0, right_hip=1)]
    made = content(*(annotation(1 + n, n, keypoints=listed) for n, listed in enumerate(flags)))
    write(tmp_path / "val2017", made)
    (tmp_path / "annotations").mkdir()
    shutil.move(tmp_path / "val2017/labels.json", tmp_path / "annotations/person_keypoints_val2017.json")
    plain, more = opened(tmp_path, "test"), opened(tmp_path, "test", middles=True)
    assert more.skeleton == COCO19
    assert COCO19.keypoints == (*COCO17.keypoints, "thorax", "pelvis")
    assert (COCO19.flip_pairs, COCO19.root) == (COCO17.flip_pairs, 18)
    for one in (MPII16, H36M18):
        assert {"thorax", "pelvis"} <= set(one.keypoints)
    ends = [[COCO19.keypoints.index(f"{side}_{joint}") for side in ("left", "right")] for joint in ("shoulder", "hip")]
    for i in range(3):
        item = more[i]
        np.testing.assert_array_equal(item.keypoints[:17], plain[i].keypoints)
        np.testing.assert_array_equal(item.box, plain[i].box)
        for k, pair in zip((17, 18), ends, strict=True):
            if item.annotated[k]:
                np.testing.assert_allclose(item.keypoints[k], item.keypoints[pair].mean(0))
    assert [more[i].annotated[17:].tolist() for i in range(3)] == [[True, True], [True, True], [False, True]]
    assert [more[i].visible[17:].tolist() for i in range(3)] == [[True, True], [False, True], [False, False]]
    assert "middles" not in plain.identity
    assert more.identity["middles"] == "thorax, pelvis"
