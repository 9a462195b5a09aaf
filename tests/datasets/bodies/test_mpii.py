"""MPII as HRNet lists it and as it is published: labels, boxes, what is hidden, who tests; malformed files."""

import copy
import json
import shutil

import numpy as np
import pytest
import scipy.io
from PIL import Image

from keyshift.datasets.bodies.mpii import mpii
from keyshift.datasets.bodies.skeletons import MPII16
from keyshift.datasets.own.skeleton_file import order_doubts
from keyshift.datasets.reading.people import PictureOptions

JOINTS = np.arange(32.0).reshape(16, 2) * 3 + 10


def opened(root, part, **options):
    return mpii(PictureOptions(root=str(root), **options), part)


def person(name="a.jpg", **more):
    plain = {"image": name, "joints": JOINTS.tolist(), "joints_vis": [1] * 16, "center": [60, 50], "scale": 0.4}
    return {**plain, **more}


def write_lists(root, train, valid=None, place="annot") -> None:
    for folder in (root / place, root / "images"):
        folder.mkdir(parents=True, exist_ok=True)
    (root / place / "train.json").write_text(json.dumps(train))
    (root / place / "valid.json").write_text(json.dumps(train if valid is None else valid))
    for name in "abcdefgh":
        Image.new("RGB", (120, 100)).save(root / f"images/{name}.jpg")


def test_lists(tmp_path) -> None:
    hidden = [0] + [1] * 15
    gone = [[-1, -1], *JOINTS[1:].tolist()]
    write_lists(tmp_path, [person(), person(joints_vis=hidden)], [person("b.jpg", joints=gone)])
    train, test = (opened(tmp_path, part) for part in ("train", "test"))
    assert (len(train), len(test), test.people.pictures) == (2, 1, ["images/b.jpg"])
    np.testing.assert_allclose(train[0].keypoints, JOINTS - 0.5)
    np.testing.assert_allclose(train[0].box, np.array([60, 50, 60, 50]) - 0.5 + 1.25 * 40 * np.array([-1, -1, 1, 1]))
    for item in (train[1], test[0]):
        assert item.annotated.tolist() == item.visible.tolist() == [False] + [True] * 15
    assert train.people.sequences == ["a.jpg", "a.jpg"]
    assert len(set(train.people.ids)) == 2


def test_a_person_without_a_box_is_said(tmp_path) -> None:
    write_lists(tmp_path, [person(center=[-1, -1]), person()])
    with pytest.warns(UserWarning, match=r"1 of 2 people, the first a.jpg/0, have no box .* leaks"):
        given = opened(tmp_path, "train")
    truth = mpii_quiet(tmp_path, boxes="truth")
    np.testing.assert_allclose(given[0].box, truth[0].box)
    assert np.abs(given[1].box - truth[1].box).max() > 1


@pytest.mark.filterwarnings("ignore::UserWarning")
def mpii_quiet(root, **options):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return opened(root, "train", **options)


def test_the_real_list(shared, tmp_path) -> None:
    source = shared / "data/mmpose_samples/mpii"
    write_lists(tmp_path, json.loads((source / "test_mpii.json").read_text()), place="annotations")
    for path in source.glob("*.jpg"):
        shutil.copy(path, tmp_path / "images")
    data = opened(tmp_path, "train")
    assert len(data) == 5
    assert order_doubts(data.people) == []
    feet = data.people.annotated[:, MPII16.keypoints.index("right_ankle")]
    assert feet.tolist() == [True, True, False, False, True]
    for item in (data[i] for i in range(5)):
        known = item.keypoints[item.annotated]
        assert (known > 0).all()
        assert (known < item.image.shape[1::-1]).all()
        assert (known > item.box[:2]).all()  # the box holds the person
        assert (known < item.box[2:]).all()


def point(k, x, y, **more):
    return {"id": k, "x": x, "y": y, **more}


def structs(items):
    """A MATLAB struct array of mappings that may have different fields, as MPII's: what is missing is empty."""
    fields = list(dict.fromkeys(key for item in items for key in item))
    made = np.empty(len(items), [(field, object) for field in fields])
    for i, item in enumerate(items):
        for field in fields:
            made[i][field] = item.get(field, np.zeros((0, 0)))
    return made


def write_published(root, pictures, trains=None) -> None:
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "images").mkdir(exist_ok=True)
    for picture in pictures:
        Image.new("RGB", (120, 100)).save(root / "images" / picture["image"]["name"])
    release = {"annolist": structs(pictures), "img_train": trains or [1] * len(pictures)}
    scipy.io.savemat(root / "annotations/mpii_human_pose_v1_u12_1.mat", {"RELEASE": release}, do_compression=True)


def picture(name, *people, **more):
    return {"image": {"name": name}, **({"annorect": structs(list(people))} if people else {}), **more}


def labelled(*points, **more):
    held = {"point": structs(list(points))}
    return {"annopoints": held, "objpos": {"x": 60.0, "y": 50.0}, "scale": 0.4, **more}


PUBLISHED = [
    picture(
        "a.jpg",
        labelled(point(0, 11, 21, is_visible=1), point(6, 31, 41, is_visible="0"), point(9, -1, -1), point(8, 5.5, 6)),
        {"x1": 3},  # a head without joints
        vididx=7,
    ),
    picture("b.jpg", labelled(point(15, 50, 60)), vididx=7),
    picture("c.jpg", vididx=9),
    picture("d.jpg", labelled(point(1, 1, 1, is_visible=np.uint8(0))), vididx=8),
    picture("e.jpg", labelled(point(1, 1, 1)), vididx=10),
]


def test_published(tmp_path) -> None:
    write_published(tmp_path, PUBLISHED, [1, 1, 1, 1, 0])
    train, test = (opened(tmp_path, part) for part in ("train", "test"))
    assert train.people.pictures == ["images/a.jpg", "images/b.jpg"]  # one video stays together
    assert test.people.pictures == ["images/d.jpg"]
    item = train[0]
    assert np.flatnonzero(item.annotated).tolist() == [0, 6, 8]
    assert np.flatnonzero(item.visible).tolist() == [0, 8]
    np.testing.assert_allclose(item.keypoints[[0, 6, 8]], [[10.5, 20.5], [30.5, 40.5], [5, 5.5]])
    np.testing.assert_allclose(item.box, [9.5, -0.5, 109.5, 99.5])
    assert not test[0].visible.any()


def test_a_single_element_and_no_video(tmp_path) -> None:
    write_published(tmp_path, [picture("a.jpg", labelled(point(3, 7, 8)))])
    with pytest.raises(ValueError, match="leave no test part"):
        opened(tmp_path, "test")
    write_published(tmp_path, [picture(f"{name}.jpg", labelled(point(3, 7, 8))) for name in "abcdefgh"])
    parts = [opened(tmp_path, part).people.pictures for part in ("train", "test")]
    assert parts[1] == ["images/e.jpg"]
    assert len(parts[0]) == 7


def test_neither_form(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"none of .*annot/train.json, .*u12_1.mat"):
        opened(tmp_path, "train")
    with pytest.raises(ValueError, match="part='val'"):
        opened(tmp_path, "val")


def without(field):
    return {key: value for key, value in person().items() if key != field}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"annotations": []}, "a list"),
        ([person(), 3], "person 1: the person is 3"),
        ([without("joints")], "person 0: joints is missing"),
        ([person(joints=[[1, 2]] * 15)], r"joints is of shape \(15, 2\)"),
        ([person(joints=[["1", "2"]] * 16)], "joints is"),
        ([person(joints_vis=[2] * 16)], "0 or 1"),
        ([person(center=[1])], "center"),
        ([person(scale=float("nan"))], "scale is"),
        ([person(scale=[1, 2])], "scale is"),
        ([person("../../a.jpg")], r"without \.\."),
        ([person(None)], "image is None"),
        ([person(joints_vis=[0] * 16)], "no usable sample"),
        ([], "no usable sample"),
    ],
)
def test_bad_lists(tmp_path, content, match) -> None:
    write_lists(tmp_path, content)
    with pytest.raises(ValueError, match=match):
        opened(tmp_path, "train")


def spoiled(change):
    pictures = copy.deepcopy(PUBLISHED)
    change(pictures)
    return pictures


@pytest.mark.parametrize(
    ("pictures", "match"),
    [
        ([picture("a.jpg", labelled(point(16, 1, 1)))], "annorect 1: id of a point is 16.0"),
        ([picture("a.jpg", labelled(point(1.5, 1, 1)))], "id of a point is 1.5"),
        ([picture("a.jpg", labelled({"id": 1, "x": 1}))], "y of point 1 is None"),
        ([picture("a.jpg", labelled({"x": 1, "y": 2}))], "id of a point is None"),
        ([picture("a.jpg", labelled(point(1, np.inf, 1)))], "x of point 1"),
        ([picture("a.jpg", labelled(point(1, 1, 1, is_visible=5)))], "is_visible is 5.0"),
        ([picture("a.jpg", labelled(point(1, 1, 1, is_visible="yes")))], "is_visible is 'yes'"),
        ([picture("a.jpg", labelled(point(1, 1, 1), scale="x"))], "scale is 'x'"),
        ([picture("a.jpg", labelled(point(1, 1, 1), objpos="here"))], "objpos is"),
        ([picture("a.jpg", {"annopoints": 3})], "annopoints is 3, expected a struct"),
        ([picture("a.jpg", labelled(point(1, 1, 1)), vididx="x")], "vididx"),
    ],
)
def test_bad_publications(tmp_path, pictures, match) -> None:
    write_published(tmp_path, pictures)
    with pytest.raises(ValueError, match=match):
        opened(tmp_path, "train")


def test_other_matlab_files(tmp_path) -> None:
    write_published(tmp_path, PUBLISHED)
    file = tmp_path / "annotations/mpii_human_pose_v1_u12_1.mat"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(ValueError, match="a MATLAB file"):
        opened(tmp_path, "train")
    for content, match in [
        ({"joints": 1}, "0 structs"),
        ({"RELEASE": 5}, "RELEASE is 5"),
        ({"RELEASE": {"annolist": 3}}, "annolist is 3"),
        ({"RELEASE": {"annolist": structs(PUBLISHED), "img_train": [1, 1]}}, r"img_train is of shape \(2,\)"),
        ({"RELEASE": {"annolist": structs(PUBLISHED)}}, r"img_train is of shape \(0,\)"),
    ]:
        scipy.io.savemat(file, content)
        with pytest.raises(ValueError, match=match):
            opened(tmp_path, "train")
