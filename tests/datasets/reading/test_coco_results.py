"""Lists of COCO results as labels, and COCO label files as boxes."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.bodies.skeletons import COCO17
from keyshift.datasets.own.labels import Options, coco_json
from keyshift.datasets.reading.annotations import BadAnnotation
from keyshift.datasets.reading.boxes import read_boxes

_spec = importlib.util.spec_from_file_location("raw_coco", Path(__file__).parents[1] / "raw_coco.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_coco"] = raw
_spec.loader.exec_module(raw)
TAKEN = "ignore:.*are taken for labels"


def results(names, **more):
    return [
        {"image_id": name, "category_id": 1, "keypoints": raw.joints(nose=0), "score": 0.5, **more} for name in names
    ]


def write(root, content, pictures=4, name="results.json"):
    (root / name).write_text(json.dumps(content))
    for n in range(pictures):
        Image.new("RGB", (160, 120)).save(root / f"{n}.jpg")
    return str(root / name)


def both(**options):
    return [coco_json(Options(block=2, **options), part) for part in ("train", "test")]


@pytest.mark.parametrize("field", ["image_id", "file_name"])
def test_entries_that_name_their_pictures(tmp_path, field):
    listed = [{"image_id": 9, **row, field: row["image_id"]} for row in results([f"{n}.jpg" for n in range(4)])]
    if field == "file_name":
        listed = [row | {"image_id": 7} for row in listed]
    file = write(tmp_path, listed)
    with pytest.warns(UserWarning, match=r"results\.json: 4 predictions, of scores from 0\.5 to 0\.5, are taken for"):
        train, test = both(labels=file, skeleton="coco17")
    assert (train.people.pictures, test.people.pictures) == (["0.jpg", "1.jpg"], ["2.jpg", "3.jpg"])
    np.testing.assert_array_equal(train[0].keypoints[1:], raw.BASE[1:, :2] + 0.5)
    np.testing.assert_array_equal(train[0].annotated, [False, *[True] * 16])


@pytest.mark.filterwarnings(TAKEN)
def test_entries_that_number_their_pictures(tmp_path):
    made = raw.content()
    file = write(tmp_path, results(range(4), keypoints=[x for k in range(17) for x in (k + 20, k + 30, k / 17)]))
    with pytest.raises(
        BadAnnotation, match=r"image_id is 0, expected a file name; or name the COCO file .* images=FILE"
    ):
        both(labels=file)
    numbered = write(tmp_path, {key: made[key] for key in ("images", "categories")}, name="images.json")
    train, test = both(labels=file, images=numbered)
    assert train.skeleton == COCO17
    assert (len(train), len(test)) == (2, 2)
    np.testing.assert_array_equal(train[0].annotated, [False, *[True] * 16])
    with pytest.raises(ValueError, match=r"no file .*none\.json: images= takes"):
        both(labels=file, images=str(tmp_path / "none.json"))


@pytest.mark.filterwarnings(TAKEN)
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"keypoints": None}, "keypoints is missing"),
        ({"keypoints": [1, 2]}, "keypoints is 2 numbers"),
        ({"keypoints": ["a"] * 51}, "keypoints is"),
        ({"image_id": ".."}, "file_name is '..'"),
        ({"image_id": None}, "image_id is None, expected a file name"),
        ({"score": "high"}, "score is 'high'"),
    ],
)
def test_wrong_entries_are_one_exact_error(tmp_path, change, match):
    file = write(tmp_path, [row | change for row in results(["0.jpg", "1.jpg"])])
    with pytest.raises(BadAnnotation, match=match):
        both(labels=file, skeleton="coco17")


def test_a_list_of_boxes_alone_is_no_list_of_labels(tmp_path):
    file = write(tmp_path, [{"image_id": "0.jpg", "bbox": [1, 2, 3, 4], "score": 0.9}])
    with pytest.raises(BadAnnotation, match="entry 0: keypoints is missing"):
        both(labels=file, skeleton="coco17")


def boxes_of(root, content):
    (root / "boxes.json").write_text(json.dumps(content))
    return read_boxes(root / "boxes.json", [f"{n}.jpg" for n in range(4)])


def test_a_label_file_gives_its_boxes(tmp_path):
    made = raw.content()
    made["annotations"] += [
        raw.annotation(30, 0, iscrowd=1),
        raw.annotation(31, 0, bbox=None),
        raw.annotation(32, 0, bbox=[0, 0, 0, 0]),
        raw.annotation(33, 1, category_id=2),
        raw.annotation(34, 1, bbox=[1, 2, 3, 4]),
    ]
    made["categories"].append({"id": 2, "name": "ball"})
    boxes = boxes_of(tmp_path, made)
    assert {name: len(rows) for name, rows in boxes.items()} == {"0.jpg": 1, "1.jpg": 2, "2.jpg": 1, "3.jpg": 1}
    assert boxes["0.jpg"].tolist() == [[10, 12, 110, 92]]
    assert boxes["1.jpg"][1].tolist() == [1, 2, 4, 6]


def test_several_classes_without_keypoints_are_refused(tmp_path):
    made = raw.content(categories=[{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])
    made["annotations"][2]["category_id"] = 2
    with pytest.raises(BadAnnotation, match="category_id is 2 after others, expected one class"):
        boxes_of(tmp_path, made)


def test_crops_of_a_prediction_are_no_boxes(tmp_path):
    """They were widened once: the joints of the person say where the person is."""
    made = raw.content()
    for entry in made["annotations"]:
        entry |= {"keypoint_scores": [0.9] * 17, "bbox": [-500, -500, 1000, 1000], "score": 0.9}
    box = boxes_of(tmp_path, made)["0.jpg"][0]
    assert box[0] > 0
    points = raw.BASE[:, :2] + 0.5
    assert (box[:2] < points.min(0)).all()
    assert (box[2:] > points.max(0)).all()
    made["annotations"][0]["score"] = 0.1
    with pytest.warns(UserWarning, match=r"1 boxes of a score below 0\.7|no box for 1 of 4"):
        assert "0.jpg" not in boxes_of(tmp_path, made)
