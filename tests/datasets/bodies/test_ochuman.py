"""OCHuman in both of the publisher's forms."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from keyshift.datasets.bodies import ochuman
from keyshift.datasets.bodies.skeletons import COCO17
from keyshift.datasets.catalog import open_dataset, options_of
from keyshift.datasets.reading.annotations import BadAnnotation

_spec = importlib.util.spec_from_file_location("raw_pictures", Path(__file__).parents[1] / "raw_pictures.py")
raw = sys.modules.setdefault("raw_pictures", importlib.util.module_from_spec(_spec))
if not hasattr(raw, "WRITERS"):
    _spec.loader.exec_module(raw)


def opened(root, part="train", **words):
    return open_dataset("ochuman", options_of("ochuman", {"root": str(root)} | words, "test"), part)


def test_the_conversion(tmp_path):
    raw.ochuman(tmp_path)
    test = opened(tmp_path, "test", crops="whole")
    assert [test[i].area.tolist() for i in range(4)] == [[300]] * 4
    assert "mask" in test[0].inputs
    assert test[0].inputs["mask"].all()
    assert (test.name, test.skeleton) == ("ochuman.test", COCO17)
    with pytest.raises(ValueError, match=r"no file .*ochuman_coco_format_val_range_0.00_1.00.json"):
        opened(tmp_path, "train")


def test_its_own_form(tmp_path):
    """As the publisher's script converts it, but for the people who are boxes."""
    raw.ochuman_own(tmp_path)
    names = json.loads((tmp_path / "ochuman.json").read_text())["keypoint_names"]
    crops, whole = opened(tmp_path, form="own"), opened(tmp_path, form="own", crops="whole")
    assert len(crops) == len(whole) == 4
    joints = np.arange(38).reshape(19, 2)
    for k, name in enumerate(COCO17.keypoints):
        x, y = joints[names.index(name)]
        flag = x % 4
        assert crops[0].annotated[k] == (flag > 0)
        assert crops[0].visible[k] == (flag in (1, 2))
        if flag:
            assert crops[0].keypoints[k].tolist() == [x + 0.5, y + 0.5]
    assert [len(whole[i].keypoints) for i in range(4)] == [1, 2, 1, 1]
    item = whole[1]
    assert item.bounds.tolist() == [[1, 2, 21, 17], [8, 4, 16, 20]]
    assert item.area.tolist() == [300, 128]
    assert item.annotated.any(1).tolist() == [True, False]
    assert (item.inputs["mask"][5:19, 9:15] == 0).all()
    assert item.inputs["mask"][:, 18:].all()


def test_the_first_pictures_are_the_publishers_val(tmp_path, monkeypatch):
    raw.ochuman_own(tmp_path)
    monkeypatch.setattr(ochuman, "FIRST", 3)
    content = json.loads((tmp_path / "ochuman.json").read_text())
    content["images"].reverse()
    content["images"][3]["annotations"] = [content["images"][2]["annotations"][1]]  # the first by its id is a box alone
    (tmp_path / "ochuman.json").write_text(json.dumps(content))
    train = opened(tmp_path, form="own", crops="whole")
    assert [train[i].id for i in range(3)] == ["images/1.jpg", "images/2.jpg", "images/3.jpg"]
    with pytest.raises(ValueError, match="no usable sample"):
        opened(tmp_path, "test", form="own")
    monkeypatch.setattr(ochuman, "FIRST", 2)
    assert list(opened(tmp_path, "test", form="own").people.pictures) == ["images/3.jpg"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"keypoint_names": ["nose"]}, "keypoint_names is .* left_eye.* among them"),
        ({"images": {}}, "images is {}, expected a list"),
    ],
)
def test_what_is_malformed_is_named(tmp_path, change, words):
    raw.ochuman_own(tmp_path)
    content = json.loads((tmp_path / "ochuman.json").read_text())
    (tmp_path / "ochuman.json").write_text(json.dumps(content | change))
    with pytest.raises(BadAnnotation, match=words):
        opened(tmp_path, form="own")
