import importlib.util
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.hands.h3d import BLOCK, Options, groups, h3d
from keyshift.datasets.reading.annotations import BadAnnotation

_spec = importlib.util.spec_from_file_location("raw_hands", Path(__file__).parents[1] / "raw_hands.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_hands"] = raw
_spec.loader.exec_module(raw)

COUNT = 15
NAMES = [f"part{1 + i // 3}/{i:04d}.png" for i in range(COUNT)]


def opened(root, part, **options):
    return h3d(Options(root=str(root), **options), part)


def listed(made, per_mm=1.0):
    """The published list: pixels count from the first one's centre. Hand 4 holds an object."""
    return [
        {
            "name": name,
            "without_object": int(i != 4),
            "keypoint2d": (made.keypoints[i] - 0.5).tolist(),
            "keypoint3d": (made.points[i] * per_mm).tolist(),
            "intrinsic_matrix": raw.matrix(made.camera[i] - [0, 0, 0.5, 0.5]).tolist(),
        }
        for i, name in enumerate(NAMES)
    ]


def save(root, entries):
    (root / "annotation.json").write_text(json.dumps(entries))


@pytest.fixture(scope="module")
def made():
    return raw.rendered(COUNT, 64)


@pytest.fixture
def root(made, tmp_path):
    folder = tmp_path / "H3D_crop"
    for name, image in zip(NAMES, made.image, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name)
    save(folder, listed(made))
    return folder


@pytest.mark.parametrize(("unit", "per_mm"), [("mm", 1), ("cm", 0.1), ("m", 0.001)])
def test_round_trip(root, made, unit, per_mm):
    save(root, listed(made, per_mm))
    names = {}
    for part in ("train", "test"):
        data = opened(root.parent, part)
        assert data.name == f"h3d.{part}"
        assert data.identity == opened(root, part).identity
        assert data.identity["points"] == unit
        names[part] = list(data.people.pictures)
        for item, name in zip((data[i] for i in range(len(data))), names[part], strict=True):
            i = NAMES.index(name)
            np.testing.assert_array_equal(item.image, made.image[i])
            raw.check_hand(item, made, i)
            assert not item.mirrored
    assert names["test"] == NAMES[12:]  # part5
    assert names["train"] == [name for i, name in enumerate(NAMES[:12]) if i != 4]


def test_points_that_nobody_vouches_for(root, made):
    save(root, listed(made, 0.37))  # they project, but a hand of 30 or 300 mm is none
    data = opened(root, "train")
    assert data.identity["points"] == "of unknown unit"
    assert data[0].points is None
    np.testing.assert_allclose(data[0].camera, made.camera[0], rtol=1e-5)
    entries = listed(made)
    for entry in entries:
        entry["keypoint3d"] = (np.array(entry["keypoint3d"]) @ np.diag([1, -1, 1])).tolist()  # another frame
    save(root, entries)
    data = opened(root, "train")
    assert data.identity["points"] == "do not project"
    assert data[0].points is None
    assert not data[0].camera.any()
    np.testing.assert_allclose(data[0].keypoints, made.keypoints[0], atol=0.05)


def test_split_of_the_reference(root):
    kept = [name for i, name in enumerate(NAMES) if i != 4]
    random.Random(42).shuffle(kept)
    assert list(opened(root, "test", split="frames").people.pictures) == kept[:2]
    assert list(opened(root, "train", split="frames").people.pictures) == kept[2:]


def test_what_stays_together():
    assert groups(["part1/a.jpg", "part2/a.jpg", "part1/x/b.jpg"]) == ["part1", "part2", "part1"]
    assert groups(["all/s1/a.jpg", "all/s2/a.jpg"]) == ["all/s1", "all/s2"]
    alone = groups([f"part1/{i}.jpg" for i in range(2 * BLOCK + 1)])
    assert [alone.count(block) for block in sorted(set(alone))] == [BLOCK, BLOCK, 1]


def test_flags_as_text_and_truth(root, made):
    entries = listed(made)
    for entry in entries[:8]:
        entry["without_object"] = str(entry["without_object"])
    for entry in entries[8:]:
        entry["without_object"] = bool(entry["without_object"])
    entries[4]["keypoint2d"] = "not read of hands with an object"
    save(root, entries)
    assert len(opened(root, "train")) + len(opened(root, "test")) == 14


MALFORMED = {
    "flag": ({"without_object": 2}, "entry 1: without_object is 2"),
    "flag list": ({"without_object": []}, r"entry 1: without_object is \[\]"),
    "joints": ({"keypoint2d": [[1.0, 2.0]]}, "entry 1: keypoint2d is .*(1, 2)"),
    "ragged": ({"keypoint3d": [[1.0, 2.0], [3.0]]}, "entry 1: keypoint3d"),
    "infinite": ({"keypoint2d": [[float("inf"), 0]] * 21}, "entry 1: keypoint2d"),
    "none": ({"intrinsic_matrix": None}, "entry 1: intrinsic_matrix is None"),
    "out": ({"name": "../../etc/passwd"}, r"entry 1: name is '../../etc/passwd'"),
    "absolute": ({"name": "/etc/passwd"}, "entry 1: name"),
    "number": ({"name": 7}, "entry 1: name is 7"),
    "twice": ({"name": "part1//0000.png"}, "name is 'part1/0000.png', expected each picture once"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(root, made, name):
    fields, message = MALFORMED[name]
    entries = listed(made)
    entries[1].update(fields)
    save(root, entries)
    with pytest.raises(BadAnnotation, match=message):
        opened(root, "train")


def test_malformed_lists(root, made):
    entries = listed(made)
    del entries[2]["keypoint3d"]
    for content, message in (
        (json.dumps(entries), "entry 2: keypoint3d is missing"),
        (json.dumps({"a": 1}), "the content is .*a list"),
        (json.dumps(["part1/0000.png"]), "entry 0: the entry is"),
        ("[" * 100_000, "whole UTF-8 JSON"),
        (json.dumps(listed(made))[:-5], "whole UTF-8 JSON"),
    ):
        (root / "annotation.json").write_text(content)
        with pytest.raises(BadAnnotation, match=message):
            opened(root, "train")


def test_refusals(root, made, tmp_path):
    with pytest.raises(ValueError, match=r"no file .*annotation.json: H3D needs"):
        opened(tmp_path / "none", "train")
    with pytest.raises(ValueError, match="split='subjects'"):
        opened(root, "train", split="subjects")
    with pytest.raises(ValueError, match="part='val'"):
        opened(root, "val")
    with pytest.raises(ValueError, match="boxes='hand'"):
        opened(root, "train", boxes="hand")
    save(root, [entry for entry in listed(made) if entry["name"].startswith("part1")])
    with pytest.raises(ValueError, match="leave no test part"):
        opened(root, "test")
    save(root, [])
    with pytest.raises(ValueError, match="leave no train part"):
        opened(root, "train")
