"""CrowdPose in the publisher's layout, and the real sample."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from keyshift.datasets.bodies.skeletons import COCO17, CROWDPOSE14
from keyshift.datasets.catalog import open_dataset, options_of
from keyshift.datasets.views import crowding_of

_spec = importlib.util.spec_from_file_location("raw_pictures", Path(__file__).parents[1] / "raw_pictures.py")
raw = sys.modules.setdefault("raw_pictures", importlib.util.module_from_spec(_spec))
if not hasattr(raw, "WRITERS"):
    _spec.loader.exec_module(raw)


def opened(root, part, **words):
    return open_dataset("crowdpose", options_of("crowdpose", {"root": str(root)} | words, "test"), part)


def test_parts_and_how_crowded_they_are(tmp_path):
    raw.crowdpose(tmp_path)
    for name, index in (("train", 0.05), ("val", 0.5), ("test", 0.9)):
        file = tmp_path / f"json/crowdpose_{name}.json"
        made = json.loads(file.read_text())
        for image in made["images"]:
            image["crowdIndex"] = index
            image["file_name"] = f"{name}{image['file_name']}"
            raw.pictures(tmp_path, f"images/{name}{image['id']}.jpg")
        file.write_text(json.dumps(made))
    train, test = (opened(tmp_path, part, crops="whole") for part in ("train", "test"))
    assert crowding_of(train).tolist() == [0.05] * 4 + [0.5] * 4
    assert crowding_of(test).tolist() == [0.9] * 4
    assert [len(test[i].keypoints) for i in range(4)] == [1, 2, 1, 0]
    assert test[1].annotated.any(1).tolist() == [True, False]
    assert (test[1].inputs["mask"][5:19, 21:27] == 0).all()
    assert test[1].inputs["mask"][:, :19].all()
    np.testing.assert_allclose(test[0].area, [0.53 * 20 * 15])
    held = [opened(tmp_path, part, crops="whole", held="val") for part in ("train", "test")]
    assert [crowding_of(data)[0] for data in held] == [0.05, 0.5]
    crops = opened(tmp_path, "train")
    assert len(crops) == 6
    assert crowding_of(crops) is None
    assert train.identity["licence"].startswith("none stated")
    (tmp_path / "json/crowdpose_val.json").unlink()
    with pytest.raises(ValueError, match=r"no file .*crowdpose_val.json: CrowdPose's layout is json/"):
        opened(tmp_path, "train")


def test_joints():
    assert CROWDPOSE14.flip == [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 12, 13]
    published = [0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079]
    assert list(CROWDPOSE14.sigmas) == published
    assert set(CROWDPOSE14.keypoints) - set(COCO17.keypoints) == {"head_top", "neck"}


def test_the_sample(shared, tmp_path):
    sample = shared / "data/mmpose_samples/crowdpose"
    (tmp_path / "json").mkdir()
    shutil.copytree(sample, tmp_path / "images")
    for name in ("train", "val", "test"):
        shutil.copy(sample / "test_crowdpose.json", tmp_path / f"json/crowdpose_{name}.json")
    data = opened(tmp_path, "test", crops="whole")
    items = [data[i] for i in range(len(data))]
    assert sorted(len(item.keypoints) for item in items) == [2, 3]
    assert sorted(item.annotated.any(1).sum() for item in items) == [2, 2]
    neck, head = (CROWDPOSE14.keypoints.index(name) for name in ("neck", "head_top"))
    for item in items:
        for points, known in zip(item.keypoints, item.annotated, strict=True):
            if known[[neck, head]].all():
                assert points[head, 1] < points[neck, 1]
        for points, known, box in zip(item.keypoints, item.annotated, item.bounds, strict=True):
            inside = (points[known] > box[:2] - 20) & (points[known] < box[2:] + 20)
            assert inside.mean() > 0.9 if known.any() else True
    assert 0.33 in crowding_of(data)
