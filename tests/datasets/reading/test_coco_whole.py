"""COCO files for whole pictures: crowds, people without keypoints, pictures of nobody, areas, masks."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from keyshift.datasets.catalog import open_dataset, options_of
from keyshift.datasets.reading.annotations import BadAnnotation
from keyshift.datasets.reading.images import UnreadableImage
from keyshift.datasets.reading.regions import run_lengths
from keyshift.datasets.views import Rows, View, cameras_of, crowding_of

_spec = importlib.util.spec_from_file_location("raw_coco", Path(__file__).parents[1] / "raw_coco.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_coco"] = raw
_spec.loader.exec_module(raw)
annotation, content, joints, write = raw.annotation, raw.content, raw.joints, raw.write

NONE = {"keypoints": [0] * 51, "num_keypoints": 0}
CROWD = np.zeros((120, 160), bool)
CROWD[20:60, 100:150] = True
CROWD[60, 120] = True


def made():
    """Picture 0: two people; 1: one, one without keypoints who has an outline, a crowd; 2: a box alone; 3: nobody."""
    triangle = [[20, 20, 80, 20, 80, 100]]
    return content(
        annotation(1, 1, area=777.5),
        annotation(2, 0),
        annotation(3, 1, **NONE, segmentation=triangle, bbox=[20, 20, 60, 80], area=2400),
        annotation(4, 1, iscrowd=1, segmentation=run_lengths(CROWD), bbox=[100, 20, 50, 41], area=9),
        annotation(5, 0, segmentation=[[10, 10, 60, 10, 60, 50, 10, 50]], bbox=[10, 10, 50, 40]),
        {"id": 6, "image_id": 2, "category_id": 1, "bbox": [30, 40, 20, 30]},
        cam_param={"focal": [100.0, 100.0], "princpt": [80, 60]},
    )


def opened(root, part="test", **words):
    file = str(root / "labels.json")
    options = options_of("coco_json", {"labels": [file, file], "crops": "whole"} | words, "test")
    return open_dataset("coco_json", options, part)


def test_everyone_is_there(tmp_path):
    write(tmp_path, made())
    data = opened(tmp_path)
    assert [data[i].id for i in range(len(data))] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    items = [data[i] for i in range(4)]
    assert [len(item.keypoints) for item in items] == [2, 3, 1, 0]
    assert [item.annotated.any(1).tolist() for item in items] == [[True] * 2, [True, False, False], [False], []]
    assert [item.crowd.tolist() for item in items] == [[False] * 2, [False, False, True], [False], []]
    box = 0.53 * 100 * 80  # of someone of whom nothing else is said
    assert [item.area.tolist() for item in items] == [[box, 2000.0], [777.5, 2400.0, 9.0], [0.53 * 600], []]
    assert items[1].bounds.tolist() == [[10, 12, 110, 92], [20, 20, 80, 100], [100, 20, 150, 61]]
    assert (items[2].box.tolist(), items[3].box.tolist()) == ([0, 0, 160, 120], [0, 0, 160, 120])
    assert items[0].points is None
    np.testing.assert_array_equal(items[1].keypoints[0], raw.BASE[:, :2] + 0.5)
    assert cameras_of(data).tolist() == [[100, 100, 80.5, 60.5]] * 4
    assert data.identity["crops"] == "whole"
    assert any(said.startswith("the area of 2 of 6 people") for said in data.said)


def test_where_labels_count(tmp_path):
    write(tmp_path, made())
    masks = [opened(tmp_path)[i].inputs["mask"] for i in range(4)]
    assert {(mask.shape, mask.dtype.name) for mask in masks} == {((120, 160), "uint8")}
    assert masks[0].all()
    assert masks[3].all()
    right = masks[1].copy()
    right[:, :90] = 1
    np.testing.assert_array_equal(right == 0, CROWD)  # run lengths are exact
    yy, xx = np.mgrid[:120, :160] + 0.5
    outline = (xx < 79) & (yy > 21) & (yy < 20 + (xx - 20) * 4 / 3 - 2)
    assert (masks[1][outline] == 0).all()
    assert masks[1][:19].all()
    assert (masks[1][:, :90][yy[:, :90] > 20 + (xx[:, :90] - 20) * 4 / 3 + 2] == 1).all()
    assert (masks[2][41:69, 31:49] == 0).all()
    assert masks[2].sum() > 160 * 120 - 22 * 32


def test_boxes_of_joints_cut_nobody_out(tmp_path):
    """Of crops they are a leak, of which a warning tells; warnings are errors here."""
    people = [annotation(1, 0), {key: value for key, value in annotation(2, 0).items() if key != "bbox"}]
    write(tmp_path, content(*people))
    assert len(opened(tmp_path)[0].bounds) == 2
    with pytest.warns(UserWarning, match="1 of 2 people, the first 2, have no box"):
        opened(tmp_path, crops="person")


def test_labels_do_not_choose_what_trains(tmp_path):
    """Of a target, how many people there are is a label; pictures without any are in both parts."""
    write(tmp_path, made())
    assert len(opened(tmp_path, "train")) == len(opened(tmp_path, "test")) == 4
    write(tmp_path, made() | {"annotations": []})
    empty = opened(tmp_path, "train")
    assert [empty[i].keypoints.shape for i in range(len(empty))] == [(0, 17, 2)] * 4
    assert empty[0].area.shape == (0,)


def test_pictures_without_people_are_parted_with_the_others(tmp_path):
    people = [annotation(1 + n, n) for n in range(0, 20, 2)]
    write(tmp_path, content(*people, count=20))
    words = {"labels": str(tmp_path / "labels.json"), "block": 1}
    train, test = (opened(tmp_path, part, **words) for part in ("train", "test"))
    assert (len(train), len(test)) == (16, 4)
    assert not {train[i].id for i in range(len(train))} & {test[i].id for i in range(len(test))}
    assert sorted(len(test[i].keypoints) for i in range(4)) == [0, 0, 1, 1]


def test_crops_are_as_they_were(tmp_path):
    """What whole pictures read makes no difference to crops, not even where it is malformed."""
    write(tmp_path, made())
    bare = made()
    bare["annotations"] = [one for one in bare["annotations"] if one["id"] in (1, 2, 5)]
    write(tmp_path / "bare", bare)
    odd = made()
    for one in odd["annotations"]:
        one |= {"segmentation": {"counts": "x", "size": [1, 2]}, "area": "much"}
    write(tmp_path / "odd", odd)
    with pytest.warns(UserWarning, match="have no keypoints and are left out"):
        tables = [opened(tmp_path / name, crops=None).people for name in (".", "odd")]
    tables.append(opened(tmp_path / "bare", crops="person").people)
    for table in tables:
        assert list(table.ids) == ["1", "2", "5"]
        assert list(table.pictures) == ["1.jpg", "0.jpg", "0.jpg"]
        assert (table.area, table.crowd, table.nobody, table.unlabelled) == (None,) * 4
        np.testing.assert_array_equal(table.boxes, tables[2].boxes)
        np.testing.assert_array_equal(table.keypoints, tables[2].keypoints)
    with pytest.raises(BadAnnotation, match=r"annotation 3.*counts"):
        opened(tmp_path / "odd")


def test_areas(tmp_path):
    """The file's, if it is one; of who has no labelled joint 0 is one."""
    outline = [[0, 0, 30, 0, 30, 20, 0, 20]]
    people = [
        annotation(1, 0, area=0, segmentation=outline),
        annotation(2, 0, area=None),
        annotation(3, 0, area="12.5"),
        annotation(4, 0, area=0, **NONE),
        annotation(5, 0, segmentation=run_lengths(CROWD)),
    ]
    write(tmp_path, content(*people, count=1))
    assert opened(tmp_path)[0].area.tolist() == [600, 0.53 * 8000, 12.5, 0, CROWD.sum()]
    for value in (-5, "wide", True, [3], float("inf")):
        write(tmp_path, content(annotation(1, 0, area=value), count=1), pictures=False)
        with pytest.raises(BadAnnotation, match=r"annotation 1: area is"):
            opened(tmp_path)


def test_who_is_nowhere_is_left_out(tmp_path):
    nowhere = {"id": 7, "image_id": 0, "category_id": 1, "num_keypoints": 0}
    outlined = nowhere | {"id": 8, "segmentation": [[3, 4, 30, 4, 30, 20]]}
    write(tmp_path, content(annotation(1, 0), nowhere, outlined, count=1))
    with pytest.warns(UserWarning, match="1 annotations, the first 7, have neither keypoints nor a box"):
        data = opened(tmp_path)
    assert data[0].bounds.tolist() == [[10, 12, 110, 92], [3, 4, 30, 20]]


def test_boxes_that_a_file_does_not_have(tmp_path):
    people = [annotation(1, 0), annotation(2, 0, **NONE, segmentation=[[3, 4, 30, 4, 30, 20]])]
    for one in people:
        del one["bbox"]
    write(tmp_path, content(*people, count=2))
    item = opened(tmp_path)[0]
    known = item.keypoints[0]
    assert (item.bounds[0, :2] < known.min(0)).all()
    assert (item.bounds[0, 2:] > known.max(0)).all()
    assert item.bounds[1].tolist() == [3, 4, 30, 20]


def test_run_lengths_of_another_picture_are_named(tmp_path):
    write(tmp_path, content(annotation(1, 0, iscrowd=1, segmentation=run_lengths(CROWD[:100])), annotation(2, 1)))
    data = opened(tmp_path)
    with pytest.raises(UnreadableImage, match=r"0.jpg: 160x120, but run lengths of 160x100 px in 1"):
        data[0]
    assert len(data[1].keypoints) == 1


def test_how_crowded_pictures_are(tmp_path):
    given = made()
    for number, image in enumerate(given["images"]):
        image["crowdIndex"] = number / 4
    write(tmp_path, given)
    data = opened(tmp_path)
    assert crowding_of(data).tolist() == [0, 0.25, 0.5, 0.75]
    assert crowding_of(View(Rows(View(data), [2, 0]))).tolist() == [0.5, 0]
    write(tmp_path, made())
    assert crowding_of(opened(tmp_path)) is None
    given["images"][1]["crowdIndex"] = 3
    write(tmp_path, given)
    with pytest.raises(BadAnnotation, match="crowdIndex is 3"):
        opened(tmp_path)
