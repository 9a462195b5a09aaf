"""COCO files as tools write them: what is read with one counted warning, and what is refused with one error."""

import importlib.util
import json
import sys
import time
import warnings
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from keyshift.datasets.bodies.skeletons import COCO17
from keyshift.datasets.own.labels import Options, coco_json
from keyshift.datasets.reading.coco_file import declared_sizes, read_coco
from keyshift.datasets.skeleton import HAND

_spec = importlib.util.spec_from_file_location("raw_coco", Path(__file__).parents[1] / "raw_coco.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_coco"] = raw
_spec.loader.exec_module(raw)
annotation, content, joints, write = raw.annotation, raw.content, raw.joints, raw.write
NAN = float("nan")
LOW = COCO17.keypoints.index("left_eye")
AT = slice(3 * LOW, 3 * LOW + 3)


def read(tmp_path, made, skeleton=None, **options):
    """The people, and the warnings in words."""
    file = Path(write(tmp_path, made, pictures=False))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        people, _ = read_coco(file, skeleton, 1, **options)
    return people, [str(one.message).replace(f"{file}: ", "") for one in caught]


def with_joint(*values, count=4):
    """`count` people of 4, whose left eye is this."""
    made = content()
    for one in made["annotations"][:count]:
        one["keypoints"][AT] = values
    return made


@pytest.mark.parametrize(
    ("values", "annotated", "visible", "said"),
    [
        ((-1, -1, -1), False, False, "have v = -1"),
        ((0, 0, -1), False, False, "have v = -1"),
        ((30, 40, 3), True, False, "have v = 3"),
        ((30, 40, True), True, False, ""),
        ((0, 0, False), False, False, ""),
        ((30, 40, "2"), True, True, "have keypoints that are texts"),
        (("30.5", "4e1", "1"), True, False, "have keypoints that are texts"),
        (("", "", "0"), False, False, "have keypoints that are texts"),
        ((NAN, NAN, 0), False, False, ""),
        ((None, None, None), False, False, ""),
        ((None, None, 0), False, False, ""),
        ((NAN, NAN, NAN), False, False, ""),
        ((NAN, NAN, 2), False, False, "have joints without x or y"),
        ((None, 40, 1), False, False, "have joints without x or y"),
        ((0, 0, None), False, False, ""),
        ((0, 1e300, 0), False, False, ""),
    ],
)
def test_a_joint(tmp_path, values, annotated, visible, said) -> None:
    people, words = read(tmp_path, with_joint(*values, count=3))
    assert (people.annotated[:, LOW].tolist(), people.visible[:, LOW].tolist()) == (
        [annotated] * 3 + [True],
        [visible] * 3 + [True],
    )
    assert people.annotated.sum() == 4 * 17 - 3 * (not annotated)
    assert np.isfinite(people.keypoints).all()
    if annotated:
        assert people.keypoints[0, LOW].tolist() in ([30.5, 40.5], [31.0, 40.5])
    assert len(words) == bool(said)
    assert not said or words[0].startswith("3 of 4 annotations, the first 10, " + said)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ((30, 40, 4), "annotation 10 and 2 more: v in keypoints .*0, 1 or 2. Write flags"),
        ((30, 40, 0.7), "v in keypoints"),
        ((30, 40, NAN), "v in keypoints"),
        ((30, 40, None), "v in keypoints"),
        ((30, "left", 2), "annotation 10: keypoints"),
        ((30, float("inf"), 2), "annotation 10: keypoints .*finite"),
        ((30, 2e7, 1), "none above 1e.06"),
        ((30, 10**400, 0), "annotation 10: keypoints"),
        ((30, [40], 2), "a list of numbers"),
        ((30, {}, 2), "a list of numbers"),
        ((30, "1_0", 2), "a list of numbers"),
    ],
)
def test_a_joint_that_is_refused(tmp_path, values, match) -> None:
    with pytest.raises(ValueError, match=match):
        read(tmp_path, with_joint(*values, count=3))


def test_forms_of_keypoints(tmp_path) -> None:
    plain, _ = read(tmp_path, content())
    shapes = {
        "nested": lambda flat: np.reshape(flat, (17, 3)).tolist(),
        "text": lambda flat: str(flat),
        "words": lambda flat: " ".join(map(str, flat)),
        "texts": lambda flat: [str(x) for x in flat],
    }
    for form in shapes.values():
        made = content()
        for one in made["annotations"]:
            one["keypoints"] = form(one["keypoints"])
        people, words = read(tmp_path, made)
        np.testing.assert_array_equal(people.keypoints, plain.keypoints)
        assert len(words) <= 1


def test_keypoints_without_flags(tmp_path) -> None:
    made = content()
    for one in made["annotations"]:
        xy = np.reshape(one["keypoints"], (17, 3))[:, :2]
        xy[:3] = [[0, 0], [-1, -1], [NAN, NAN]]
        one["keypoints"] = xy.ravel().tolist()
    people, words = read(tmp_path, made)
    assert people.annotated[0].tolist() == [False] * 3 + [True] * 14
    assert (people.visible == people.annotated).all()
    assert len(words) == 1
    assert words[0].startswith("4 of 4 annotations, the first 10, have no flags")
    made["annotations"][2]["keypoints"] = joints()
    with pytest.raises(ValueError, match="annotation 10 and 2 more of 4: keypoints is 34 numbers, expected x, y, v of"):
        read(tmp_path, made)


def test_numbers_of_keypoints_that_fit_no_skeleton(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"annotation 10 and 3 more of 4: .* 51 numbers, .* 21 keypoints"):
        read(tmp_path, content(), HAND)
    made = content()
    for one in made["annotations"]:
        one["keypoints"] += [1, 2, 2]
    with pytest.raises(ValueError, match="and 3 more of 4: keypoints is 54 numbers"):
        read(tmp_path, made)


def test_flags_that_are_never_set(tmp_path) -> None:
    made = content(*(annotation(n, n, keypoints=joints(**dict.fromkeys(COCO17.keypoints, 0))) for n in range(4)))
    with pytest.raises(ValueError, match="0, not annotated, everywhere, beside x and y"):
        read(tmp_path, made)
    for one in made["annotations"]:
        one["keypoints"] = [0] * 51
    assert len(read(tmp_path, made)[0]) == 0


@pytest.mark.parametrize("count", [1, 2, 4])
def test_num_keypoints_that_was_not_filled_in(tmp_path, count) -> None:
    made = content(*(annotation(n, n, num_keypoints=0 if n < count else 17) for n in range(4)))
    made["annotations"] += [annotation(9, 0, num_keypoints=0, keypoints=[0] * 51), annotation(8, 0, num_keypoints=0)]
    made["annotations"][-1]["keypoints"] = []
    people, words = read(tmp_path, made)
    assert people.ids == ["0", "1", "2", "3"]
    assert len(words) == 1
    assert words[0].startswith(f"{count} of 6 annotations, the first 0, say num_keypoints 0 beside labelled joints")


def test_ids_of_annotations_that_repeat(tmp_path) -> None:
    for ids, again, first in (([0, 0, 0, 0], 3, 0), ([1, 2, 1, "2"], 2, 1), ([7, 8, 9, 7], 1, 7)):
        made = content(*(annotation(name, n) for n, name in enumerate(ids)))
        people, words = read(tmp_path, made)
        assert (people.ids, people.pictures) == (["0", "1", "2", "3"], ["0.jpg", "1.jpg", "2.jpg", "3.jpg"])
        assert len(words) == 1
        assert words[0].startswith(f"{again} of 4 annotations, the first {first}, have an id that stood there before")


@pytest.mark.parametrize("turned", [False, True])
def test_ids_that_are_texts_here_and_numbers_there(tmp_path, turned) -> None:
    made = content()
    for one in made["images"] if turned else made["annotations"]:
        one["id" if turned else "image_id"] = str(one["id" if turned else "image_id"]).zfill(6)
    people, words = read(tmp_path, made)
    assert people.pictures == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert len(words) == 1
    assert "4 of 4 annotations, the first annotation 10, spell their image_id otherwise" in words[0]
    made["annotations"][0]["category_id"] = "1"
    assert len(read(tmp_path, made)[1]) == 2
    made["images"].append({"id": "0" if turned else "000000", "file_name": "x.jpg"})
    if turned:  # 0 may be either
        words = read(tmp_path, made)[1]
        assert any("1 of 4 annotations, the first annotation 10, are of an image that is not" in one for one in words)
    else:
        assert read(tmp_path, made)[0].pictures[0] == "x.jpg"


def test_annotations_of_pictures_that_are_not_listed(tmp_path) -> None:
    made = content()
    del made["images"][1:3]
    people, words = read(tmp_path, made)
    assert people.pictures == ["0.jpg", "3.jpg"]
    assert len(words) == 1
    assert words[0].startswith("2 of 4 annotations, the first annotation 11, are of an image that is not listed")
    for one in made["images"]:
        one["id"] += 100
    with pytest.raises(ValueError, match=r"annotation 10: image_id is another, expected the id of an entry of images"):
        read(tmp_path, made)


def test_all_numbers_are_texts(tmp_path) -> None:
    made = content()
    for one in made["images"]:
        one |= {"id": str(one["id"]), "width": "160", "height": "120"}
    for one in made["annotations"]:
        one |= {key: str(one[key]) for key in ("id", "image_id", "category_id")} | {"iscrowd": "0"}
    made["annotations"].append(annotation("9", "0", category_id="1", iscrowd="1"))
    people, words = read(tmp_path, made)
    assert (people.ids, len(words)) == (["10", "11", "12", "13"], 1)
    assert "spell their category_id otherwise" in words[0]
    assert declared_sizes(Path(people.file))["3.jpg"] == (160, 120)


def test_pictures_that_are_listed_twice(tmp_path) -> None:
    made = content()
    made["images"] += deepcopy(made["images"][:2])
    people, words = read(tmp_path, made)
    assert (len(people), len(words)) == (4, 1)
    assert words[0].startswith("2 of 6 images, the first 0, are listed twice")


def two_categories(*used):
    person = content()["categories"][0]
    face = {"id": 2, "name": "face", "keypoints": ["nose", "chin"], "skeleton": []}
    made = [annotation(n, n, category_id=key) for n, key in enumerate(used)]
    for one in made:
        one["keypoints"] = joints() if one["category_id"] in (1, "1") else [5, 5, 2, 9, 9, 2]
    return content(*made, categories=[person, face, {"id": 3, "name": "box"}])


def test_categories_that_no_annotation_uses(tmp_path) -> None:
    for used, keypoints in (((1, 1), 17), ((2, 2), 2), ((1, 1, 3), 17), (("1", 1), 17)):
        made = two_categories(*used)
        if 3 in used:
            made["annotations"][-1]["keypoints"] = []
        people, words = read(tmp_path, made)
        assert (len(people.skeleton), len(people)) == (keypoints, 2)
        assert len(words) == ("1" in used)
    made = two_categories(1, 2, 2)
    with pytest.raises(ValueError, match=r"\['person', 'face'\], .* Choose one with category=NAME"):
        read(tmp_path, made)
    for chosen, keypoints, count in (("person", 17, 1), ("face", 2, 2), ("2", 2, 2)):
        people, words = read(tmp_path, made, category=chosen)
        assert (len(people.skeleton), len(people), words) == (keypoints, count, [])
    with pytest.raises(ValueError, match="category=hand is none of its categories, which are person, face, box"):
        read(tmp_path, made, category="hand")
    with pytest.raises(ValueError, match="Choose one with category=NAME"):
        read(tmp_path, made, COCO17)
    assert len(read(tmp_path, made, COCO17, category="person")[0]) == 1
    with pytest.raises(ValueError, match="set skeleton to coco17"):
        read(tmp_path, made, category="box")


def test_labels_of_a_category_without_keypoints_are_counted(tmp_path) -> None:
    made = two_categories(1, 1, 3)
    people, words = read(tmp_path, made)
    assert len(people) == 2
    assert words == ["1 of 3 annotations, the first 2, have keypoints and a category without: they are left out"]
    made["categories"].append(made["categories"][0])  # the same once more
    assert len(read(tmp_path, made)[0]) == 2


def test_no_categories_where_a_skeleton_is_given(tmp_path) -> None:
    made = content()
    del made["categories"]
    assert len(read(tmp_path, made, COCO17)[0]) == 4
    made["categories"] = None
    (tmp_path / "marked.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(made).encode())
    assert len(read_coco(tmp_path / "marked.json", COCO17, 1)[0]) == 4


def test_boxes_of_which_something_is_missing(tmp_path) -> None:
    made = content()
    for one, box in zip(
        made["annotations"], (None, [NAN] * 4, [10, 12, None, 80], ["10", "12", "100", "80"]), strict=True
    ):
        one["bbox"] = box
    people, words = read(tmp_path, made)
    assert len(words) == 1
    assert "3 of 4 people, the first 10, have no box" in words[0]
    assert people.boxes[3].tolist() == [10, 12, 110, 92]


NAMED = {
    "backslashes": ("pictures\\{n}.jpg", "backslashes"),
    "dots": (".\\pictures\\{n}.jpg", "backslashes"),
    "windows": ("C:\\Users\\me\\set\\pictures\\{n}.jpg", "elsewhere"),
    "drive": ("D:/pictures/{n}.jpg", "elsewhere"),
    "no folder": ("D:{n}.jpg", "elsewhere"),
    "posix": ("/home/me/set/pictures/{n}.jpg", "elsewhere"),
    "home": ("~/set/pictures/{n}.jpg", "elsewhere"),
    "share": ("\\\\server\\set\\pictures\\{n}.jpg", "elsewhere"),
    "above": ("../pictures/{n}.jpg", "elsewhere"),
    "far above": ("..\\..\\data\\pictures\\{n}.jpg", "elsewhere"),
    "address": ("https://host:8080/set/pictures/{n}.jpg?token=1", "elsewhere"),
    "bucket": ("s3://bucket/pictures/{n}.jpg", "elsewhere"),
    "file": ("file:///home/me/pictures/{n}.jpg", "elsewhere"),
    "tool": ("/data/local-files/?d=set%5Cpictures%5C{n}.jpg", "elsewhere"),
}


@pytest.mark.parametrize(("form", "said"), NAMED.values(), ids=NAMED)
def test_names_of_pictures(tmp_path, form, said) -> None:
    made = content(count=4)
    for one in made["images"]:
        one["file_name"] = form.format(n=one["id"])
    folder = "" if form.startswith("D:{") else "pictures/"
    (tmp_path / "pictures").mkdir()
    for n in range(4):
        (tmp_path / f"{folder}{n}.jpg").write_bytes(b"")
    people, words = read(tmp_path, made, root=tmp_path)
    assert people.pictures == [f"{folder}{n}.jpg" for n in range(4)]
    assert len(words) == 1
    assert words[0].startswith(f"4 of 4 images, the first {form.format(n=0)}")
    assert said in words[0]
    if form.startswith(("C", "/", "..")):
        with pytest.raises(ValueError, match="below the root"):
            read(tmp_path, made)
    if folder:  # a root within the folders that are named
        assert read(tmp_path, made, root=tmp_path / "pictures")[0].pictures[0] == "0.jpg"


def test_a_root_that_is_too_deep(tmp_path) -> None:
    made = content(count=4)
    for one in made["images"]:
        one["file_name"] = f"set/pictures/{one['id']}.jpg"
    for place in (tmp_path / "set/pictures/3.jpg", tmp_path / "set/pictures/0.jpg"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"")
    for root, wanted in (
        (tmp_path, "set/pictures/0.jpg"),
        (tmp_path / "set", "pictures/0.jpg"),
        (tmp_path / "set/pictures", "0.jpg"),
    ):
        people, words = read(tmp_path, made, root=root)
        assert people.pictures[0] == wanted
        assert people.pictures[1] == wanted.replace("0", "1")  # which is not there
        assert len(words) == (root != tmp_path)
    people, words = read(tmp_path, made, root=tmp_path / "none")
    assert (people.pictures[0], words) == ("set/pictures/0.jpg", [])


def test_names_hold_to_the_root(tmp_path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for place in (root, tmp_path):
        (place / "0.jpg").write_bytes(b"")
    (tmp_path / "secret.jpg").write_bytes(b"")
    made = content(annotation(1, 0), count=1)
    for name, wanted in (
        ("../secret.jpg", "secret.jpg"),
        (f"{tmp_path}/secret.jpg", "secret.jpg"),
        ("/0.jpg", "0.jpg"),
    ):
        made["images"][0]["file_name"] = name
        assert read(root, made, root=root)[0].pictures == [wanted]  # below the root, there or not
    for name in ("a/../../0.jpg", "/a/../0.jpg", "C:/../0.jpg", "..", "/", "C:", "file:///", "a\0.jpg", "..\\..\\"):
        made["images"][0]["file_name"] = name
        with pytest.raises(ValueError, match="image 0: file_name"):
            read(root, made, root=root)


def test_two_pictures_that_would_become_one(tmp_path) -> None:
    made = content(annotation(1, 0), annotation(2, 1), count=2)
    (tmp_path / "0.jpg").write_bytes(b"")
    for n, camera in enumerate(("left", "right")):
        made["images"][n]["file_name"] = f"/data/{camera}/0.jpg"
    with pytest.raises(ValueError, match=r"another picture than '/data/left/0.jpg': both would be 0.jpg"):
        read(tmp_path, made, root=tmp_path)
    (tmp_path / "left").mkdir()
    (tmp_path / "right").mkdir()
    for camera in ("left", "right"):
        (tmp_path / camera / "0.jpg").write_bytes(b"")
    assert read(tmp_path, made, root=tmp_path)[0].pictures == ["left/0.jpg", "right/0.jpg"]


def test_own_labels_take_names_from_elsewhere(tmp_path) -> None:
    made = content(count=4)
    write(tmp_path, made)
    for one in made["images"]:
        one |= {"file_name": "C:\\x\\" + one["file_name"], "width": 160, "height": 120}
    file = write(tmp_path, made, pictures=False)
    with pytest.warns(UserWarning, match="4 of 4 images, the first C:.x.0.jpg as 0.jpg"):
        data = coco_json(Options(root=str(tmp_path), labels=file, block=1), "train")
    assert data[0].image.shape[:2] == (120, 160)
    assert declared_sizes(Path(file), root=tmp_path)["0.jpg"] == (160, 120)


def chain(edges, order=(0, 1, 2, 3), **options):
    """People whose joints are a chain, and what the edges of the file become."""
    names = ["p", "q", "s", "t"]
    category = {"id": 1, "name": "worm", "keypoints": names, "skeleton": edges}
    line = np.array([[10, 10, 2], [20, 10, 2], [60, 10, 2], [70, 90, 2]])[list(order)]
    made = content(*(annotation(n, n, keypoints=line.ravel().tolist()) for n in range(4)), categories=[category])
    return made, options


@pytest.mark.parametrize(
    ("edges", "options", "made"),
    [
        ([[1, 2], [2, 3]], {}, ((0, 1), (1, 2))),  # as they are read they are much shorter
        ([[3, 2]], {}, ((2, 1),)),
        ([[1, 3]], {}, ((0, 2),)),
        ([[1, 2], [2, 3]], {"edges_from": 0}, ((1, 2), (2, 3))),
        ([[1, 2], [2, 3]], {"edges_from": 1}, ((0, 1), (1, 2))),
        ([[0, 1], [2, 3]], {}, ((0, 1), (2, 3))),
        ([[1, 2], [2, 4]], {}, ((0, 1), (1, 3))),
        ([["p", "q"], ["s", "t"]], {}, ((0, 1), (2, 3))),
    ],
)
def test_what_edges_count_from(tmp_path, edges, options, made) -> None:
    people, words = read(tmp_path, chain(edges)[0], **options)
    assert people.skeleton.edges == made
    assert words == []


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (3, 0, 1, 2)])
def test_edges_that_may_count_from_0(tmp_path, order) -> None:
    people, words = read(tmp_path, chain([[1, 2], [2, 3]], order)[0])
    assert people.skeleton.edges == ((0, 1), (1, 2))
    assert len(words) == 1
    assert "no edge of skeleton ends at the last keypoint, t" in words[0]
    assert "so they would be shorter, set edges_from=0, else edges_from=1" in words[0]
    for base in (0, 1):
        assert read(tmp_path, chain([[1, 2], [2, 3]], order)[0], edges_from=base)[1] == []


def test_many_annotations_are_read_at_once(tmp_path) -> None:
    rows = [annotation(n, n % 4, keypoints=joints()) for n in range(20_000)]
    rows[7]["keypoints"][5] = -1
    file = Path(write(tmp_path, content(*rows), pictures=False))
    start = time.process_time()
    with pytest.warns(UserWarning, match="1 of 20000 annotations"):
        people, _ = read_coco(file, None, 1, root=tmp_path)
    assert len(people) == 20_000
    assert time.process_time() - start < 5


@pytest.mark.parametrize("value", [7, "7", 0])
def test_a_category_that_is_not_listed_is_the_only_one(tmp_path, value) -> None:
    made = content()
    for one in made["annotations"]:
        one["category_id"] = value
    people, said = read(tmp_path, made)
    assert len(people) == 4
    assert [f"of category {value}, which is not listed" in line for line in said] == [True]
    made["annotations"][0]["category_id"] = 1
    with pytest.raises(ValueError, match="category_id"):
        read(tmp_path, made)


def test_flags_that_are_confidences_or_empty(tmp_path) -> None:
    made = content()
    for k, one in enumerate(made["annotations"]):
        one["keypoints"][2::3] = [0.25 + 0.25 * (k % 2)] * 16 + [0]
    people, said = read(tmp_path, made)
    assert people.annotated[:, :16].all()
    assert not people.annotated[:, 16].any()
    assert len(said) == 1
    assert "4 of 4 annotations" in said[0]
    assert "predictions with a confidence?" in said[0]
    for one in made["annotations"]:
        one["keypoints"][2::3] = [None] * 17
        one["keypoints"][:2] = 0, 0
    people, said = read(tmp_path, made)
    assert people.annotated[:, 1:].all()
    assert not people.annotated[:, 0].any()
    assert len(said) == 1
    assert "have no flags" in said[0]


def test_boxes_drawn_from_their_other_end(tmp_path) -> None:
    right, _ = read(tmp_path, content())
    made = content()
    for one in made["annotations"][:2]:
        left, top, width, height = one["bbox"]
        one["bbox"] = [left + width, top + height, -width, -height]
    people, said = read(tmp_path, made)
    np.testing.assert_allclose(people.boxes, right.boxes)
    assert len(said) == 1
    assert "2 of 4 annotations" in said[0]
    assert "drawn from its other end" in said[0]


def test_ids_that_are_null_and_sizes_that_are_0(tmp_path) -> None:
    made = content()
    for one in made["annotations"]:
        one["id"] = None
    for image in made["images"]:
        image |= {"width": 0, "height": 0}
    people, said = read(tmp_path, made)
    assert people.ids == ["#0", "#1", "#2", "#3"]
    assert said == []
    assert declared_sizes(Path(write(tmp_path, made, pictures=False))) == {}
