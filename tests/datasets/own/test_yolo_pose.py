"""YOLO pose text, in the layouts that Ultralytics, Roboflow and CVAT write."""

import numpy as np
import pytest
import yaml
from PIL import Image

from keyshift.datasets.bodies.skeletons import COCO17
from keyshift.datasets.own.yolo_pose import Options, yolo_pose
from keyshift.datasets.reading.annotations import BadAnnotation

SIZE = (200, 100)
LINE = "0 0.5 0.5 0.4 0.6 0.4 0.3 2 0.6 0.7 1 0 0 0"
"""A box from 60, 20 to 140, 80; points at 80, 30 and 120, 70."""
ABOUT = {"train": "images/train", "val": "images/val", "kpt_shape": [3, 3], "names": {0: "dog"}}


def picture(path, size=SIZE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 20, 30)).save(path, **options)


def write(root, about=None, parts=("images/train", "images/val"), text=LINE, count=2):
    """`count` pictures in each of `parts`, and the twins of their label files."""
    for part in parts:
        for n in range(count):
            picture(root / part / f"{n}.jpg")
            label = root / part.replace("images", "labels") / f"{n}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(text)
    if about is not None:
        (root / "data.yaml").write_text(yaml.safe_dump(about))
    return root


def both(**options):
    return [yolo_pose(Options(**options), part) for part in ("train", "test")]


def test_shares_reach_from_edge_to_edge(tmp_path):
    train, test = both(root=str(write(tmp_path, ABOUT)))
    assert (train.people.pictures, test.people.pictures[0]) == (
        ["images/train/0.jpg", "images/train/1.jpg"],
        "images/val/0.jpg",
    )
    item = train[0]
    np.testing.assert_allclose(item.keypoints, [[80, 30], [120, 70], [0, 0]])
    np.testing.assert_array_equal(item.annotated, [True, True, False])
    np.testing.assert_array_equal(item.visible, [True, False, False])
    np.testing.assert_allclose(train.people.boxes[0], [60, 20, 140, 80])
    assert train.skeleton.keypoints == ("point0", "point1", "point2")
    assert train.skeleton.flip_pairs == ()
    assert not set(train.people.sequences) & set(test.people.sequences)


def test_mirrored_labels_are_those_of_the_mirrored_picture(tmp_path):
    """What says that shares are of edges: a point at x is at 1 - x in the mirrored picture."""
    write(tmp_path / "a", ABOUT)
    write(tmp_path / "b", ABOUT, text="0 0.5 0.5 0.4 0.6 0.6 0.3 2 0.4 0.7 1 0 0 0")
    here, there = (both(root=str(tmp_path / name))[0][0] for name in "ab")
    np.testing.assert_allclose(there.keypoints[:2, 0], SIZE[0] - here.keypoints[:2, 0])


LAYOUTS = {
    "roboflow": (("train/images", "valid/images"), {"train": "../train/images", "val": "../valid/images"}),
    "test before val": (
        ("images/train", "images/val", "images/test"),
        ABOUT | {"test": "images/test"},
    ),
    "another machine": (
        ("images/train", "images/val"),
        {"path": "/home/ann/dogs", "train": "/home/ann/dogs/images/train", "val": "C:\\x\\dogs\\images\\val"},
    ),
    "yaml above": (
        ("dogs/images/train", "dogs/images/val"),
        {"path": "../datasets/dogs", "train": "images/train", "val": "images/val"},
    ),
    "lists of folders": (
        ("images/one", "images/two", "images/val"),
        {"train": ["images/one", "images/two"], "val": "images/val"},
    ),
    "no yaml": (("images/train", "images/val"), None),
    "no yaml, roboflow": (("train/images", "valid/images"), None),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_parts_are_found(tmp_path, layout):
    parts, entries = LAYOUTS[layout]
    about = None if entries is None else {"kpt_shape": [3, 3]} | entries
    skeleton = None
    if about is None:
        (tmp_path / "s.yml").parent.mkdir(exist_ok=True)
        skeleton = str(tmp_path / "three.yaml")
        (tmp_path / "three.yaml").write_text("keypoints: [a, b, c]")
    root = write(tmp_path / "data", about, parts)
    train, test = both(root=str(root), skeleton=skeleton)
    assert {name.rpartition("/")[0] for name in test.people.pictures} == {parts[-1]}
    assert len(train) == 2 * (2 if layout == "lists of folders" else 1)
    assert not set(train.people.pictures) & set(test.people.pictures)


def test_lists_of_pictures(tmp_path):
    """CVAT's lists start from the root, Ultralytics' from the list, and some are of another machine."""
    write(tmp_path, {"train": "train.txt", "val": "lists/val.txt", "kpt_shape": [3, 3]})
    (tmp_path / "train.txt").write_text("images/train/0.jpg\r\n\r\n./images/train/1.jpg\r\n")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/val.txt").write_text("/home/ann/x/images/val/1.jpg\n")
    train, test = both(root=str(tmp_path))
    assert (len(train), test.people.pictures) == (2, ["images/val/1.jpg"])
    (tmp_path / "train.txt").write_text("images/train/0.jpg\n../../secret.jpg")
    with pytest.raises(BadAnnotation, match=r"train\.txt, line 2: the picture is '\.\./\.\./secret\.jpg'"):
        both(root=str(tmp_path))


@pytest.mark.parametrize("entries", [{"val": "images/train"}, {"val": None}, {}], ids=["the same", "empty", "none"])
def test_what_is_not_parted_is_cut_into_blocks(tmp_path, entries):
    write(tmp_path, {"train": "images/train", "kpt_shape": [3, 3]} | entries, ["images/train"], count=6)
    train, test = both(root=str(tmp_path), block=2)
    assert (len(train), len(test)) == (4, 2)
    assert not set(train.people.pictures) & set(test.people.pictures)


def test_labels_beside_their_pictures(tmp_path):
    write(tmp_path, {"train": ".", "kpt_shape": [3, 3]}, ["."], count=4)
    assert [len(one) for one in both(root=str(tmp_path), block=2)] == [2, 2]


def test_labels_of_object_detection(tmp_path):
    write(tmp_path, ABOUT, text="0 0.5 0.5 0.1 0.1")
    with pytest.raises(ValueError, match="all 2 lines of its labels are boxes without keypoints, those of object"):
        yolo_pose(Options(root=str(tmp_path)), "train")


def test_several_nobody_and_boxes_alone(tmp_path):
    write(tmp_path, ABOUT)
    (tmp_path / "labels/train/0.txt").write_text(f"{LINE}\n\n{LINE}\n0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "labels/train/1.txt").write_text("")
    (tmp_path / "labels/val/1.txt").unlink()
    with pytest.warns(UserWarning, match="1 lines are boxes without keypoints"):
        train, test = both(root=str(tmp_path))
    assert train.people.ids == ["images/train/0.jpg/0", "images/train/0.jpg/1"]
    assert test.people.ids == ["images/val/0.jpg"]


def test_two_numbers_a_point(tmp_path):
    write(tmp_path, ABOUT | {"kpt_shape": [4, 2]}, text="0 0.5 0.5 0.4 0.6 0.4 0.3 0 0 -1 -1 0.5 0")
    train, _ = both(root=str(tmp_path))
    np.testing.assert_array_equal(train[0].annotated, [True, False, False, True])
    np.testing.assert_allclose(train[0].keypoints[3], [100, 0])


def test_pictures_are_as_they_are_shown(tmp_path):
    write(tmp_path, ABOUT)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "images/train/0.jpg", exif=exif)
    train, _ = both(root=str(tmp_path))
    assert train[0].image.shape == (200, 100, 3)
    np.testing.assert_allclose(train[0].keypoints[0], [40, 60])


def test_names_and_pairs(tmp_path):
    names = {"kpt_names": {0: ["nose", "PawL", "PawR"]}}
    train, _ = both(root=str(write(tmp_path / "a", ABOUT | names)))
    assert train.skeleton.keypoints == ("nose", "left_paw", "right_paw")
    assert train.skeleton.flip_pairs == ((1, 2),)
    train, _ = both(root=str(write(tmp_path / "b", ABOUT | {"flip_idx": [0, 2, 1]})))
    assert train.skeleton.flip_pairs == ((1, 2),)
    text = "0 0.5 0.5 0.4 0.6" + " 0.4 0.3 2" * 17
    train, _ = both(root=str(write(tmp_path / "c", ABOUT | {"kpt_shape": [17, 3], "flip_idx": COCO17.flip}, text=text)))
    assert train.skeleton == COCO17
    train, _ = both(root=str(write(tmp_path / "d", ABOUT | {"kpt_shape": [17, 3]}, text=text)), skeleton="coco17")
    assert train.skeleton == COCO17


def test_a_class_is_chosen_by_name_or_number(tmp_path):
    write(tmp_path, ABOUT | {"names": ["dog", "cat"]}, text=f"{LINE}\n1{LINE[1:]}\n1{LINE[1:]}")
    assert [len(both(root=str(tmp_path), category=name)[0]) for name in (None, "dog", "cat", "1")] == [6, 2, 4, 4]
    with pytest.raises(ValueError, match=r"category='cow' is no class of .*; choose one of dog, cat"):
        both(root=str(tmp_path), category="cow")


def test_pictures_without_a_size_are_left_out(tmp_path):
    write(tmp_path, ABOUT)
    (tmp_path / "images/train/0.jpg").write_bytes(b"broken")
    with pytest.warns(UserWarning, match=r"1 pictures that cannot be read, images/train/0\.jpg first, are left out"):
        train, _ = both(root=str(tmp_path))
    assert len(train) == 1


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("0 0.5 0.5 0.4 0.6 0.4 0.3 2", r"0\.txt, line 1: the line is of 8 numbers, expected 14, or 5 of a box"),
        (LINE.replace("0.3 2", "0.3 two"), "expected numbers with blanks between"),
        (LINE.replace(" ", ","), "the line is of 1 numbers"),
        ("dog" + LINE[1:], "expected numbers with blanks"),
        ("0.5" + LINE[1:], "the class is '0.5', expected a whole number from 0"),
        ("0 100 50 80 60 80 30 2 120 70 1 0 0 0", "expected shares of the picture, between 0 and 1"),
        (LINE.replace("0.3 2", "0.3 0.97"), r"v is \[0\.97, 1\.0, 0\.0\], expected 0, 1 or 2; YOLO's predictions"),
        (LINE.replace("0.3 2", "nan 2"), "expected shares of the picture"),
    ],
)
def test_wrong_lines_are_one_exact_error(tmp_path, text, match):
    with pytest.raises(BadAnnotation, match=match):
        both(root=str(write(tmp_path, ABOUT, text=text)))


@pytest.mark.parametrize(
    ("about", "match"),
    [
        ({"kpt_shape": [3]}, "expected .how many keypoints, 2 or 3."),
        ({"kpt_shape": [3, 4]}, "expected .how many keypoints, 2 or 3."),
        ({"kpt_shape": "3, 3"}, "kpt_shape is '3, 3', expected a list"),
        ({"flip_idx": [0, 1, 1]}, "expected each of 0 to 2 once, in pairs"),
        ({"kpt_names": {0: ["a", "b"]}}, "expected 3 names, as kpt_shape says"),
    ],
)
def test_wrong_yamls_are_one_exact_error(tmp_path, about, match):
    with pytest.raises(BadAnnotation, match=match):
        both(root=str(write(tmp_path, ABOUT | about)))


@pytest.mark.filterwarnings("ignore:.*is not there below")
def test_what_is_not_there_is_said(tmp_path):
    for about, match in (
        ({"kpt_shape": [3, 3]}, "no pictures; yolo_pose reads data.yaml"),
        ({"kpt_shape": [3, 3], "train": "elsewhere"}, "train is 'elsewhere', expected a folder or list of pictures"),
        ({"train": "images/train"}, r"data.yaml has no kpt_shape: nothing says .* Write kpt_shape"),
    ):
        (tmp_path / "data.yaml").write_text(yaml.safe_dump(about))
        with pytest.raises(ValueError, match=match):
            both(root=str(tmp_path))
    (tmp_path / "data.yaml").unlink()
    with pytest.raises(ValueError, match=r"holds no data.yaml, and nothing says .* a COCO JSON is read by coco_json"):
        both(root=str(tmp_path))
    picture(tmp_path / "images/train/0.jpg")
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(ABOUT))
    with pytest.raises(
        ValueError, match=r"no label file of any of 1 pictures; expected labels/train/0.txt and its like"
    ):
        both(root=str(tmp_path))
    for options in ({}, {"labels": ["a.yaml", "b.yaml"]}, {"root": str(tmp_path / "none")}):
        with pytest.raises(ValueError, match=r"yolo_pose needs root|must be one data YAML|no folder"):
            both(**options)
