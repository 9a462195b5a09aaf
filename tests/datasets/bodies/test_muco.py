"""MuCo-3DHP in the form of 3DMPPE: stick figures written as the raw file is and read back, and who is taken."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.bodies.muco import Options, apart, muco
from keyshift.datasets.bodies.skeletons import COCO19, MPI3DHP17, MUCO21
from keyshift.datasets.catalog import open_dataset, options_of
from keyshift.datasets.reading.images import UnreadableImage
from keyshift.datasets.reading.people import LEAKS
from keyshift.datasets.skeleton import pair

_spec = importlib.util.spec_from_file_location("raw_bodies", Path(__file__).parents[1] / "raw_bodies.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_bodies"] = raw
_spec.loader.exec_module(raw)

FILES = (
    *("Head_top", "Thorax", "R_Shoulder", "R_Elbow", "R_Wrist", "L_Shoulder", "L_Elbow", "L_Wrist", "R_Hip", "R_Knee"),
    *("R_Ankle", "L_Hip", "L_Knee", "L_Ankle", "Pelvis", "Spine", "Head", "R_Hand", "L_Hand", "R_Toe", "L_Toe"),
)
"""The names of 3DMPPE, in the file's order."""
SAME = {"Thorax": "neck", "L": "left", "R": "right"}
NAMES = tuple("_".join(SAME.get(part, part.lower()) for part in name.split("_")) for name in FILES)
TAKEN = (0, 2)
"""Of the three people of each picture."""


def opened(root, part="train", **options):
    return muco(Options(root=str(root), **{"held": None} | options), part)


def content(count=2):
    """What MuCo-3DHP.json holds of `count` pictures, and the people's joints, three a picture."""
    people, lens = raw.crowd(NAMES, count)
    images, annotations = [], []
    for n, row in enumerate(people):
        name = f"{('augmented_set', 'unaugmented_set')[n % 2]}/{n}.jpg"
        size = dict(zip(("width", "height"), raw.SIZE, strict=True))
        images.append({"id": n, "file_name": name, **size, "f": lens[:2].tolist(), "c": lens[2:].tolist()})
        for k, points in enumerate(row):
            flat = raw.seen(points, lens)
            flags = [int(joint != k) for joint in range(21)]
            joints = {"keypoints_cam": points.tolist(), "keypoints_img": flat.tolist(), "keypoints_vis": flags}
            box = {"bbox": raw.mppe_box(flat)}
            annotations.append({"id": 10 * n + k, "image_id": n, **box, **joints})
    return {"images": images, "annotations": annotations}, people, lens


def write(root, count=2, change=lambda made: None):
    made, people, lens = content(count)
    for image in made["images"]:
        (root / image["file_name"]).parent.mkdir(exist_ok=True)
        Image.new("RGB", raw.SIZE, (image["id"], 80, 0)).save(root / image["file_name"])
    change(made)
    (root / "MuCo-3DHP.json").write_text(json.dumps(made))
    return people, lens


def test_points_camera_and_names_are_the_files(tmp_path):
    assert MUCO21.keypoints == NAMES
    assert NAMES[:17] == MPI3DHP17.keypoints
    assert (MUCO21.root, MUCO21.extent, MUCO21.unpaired) == (14, 2000.0, ())
    assert MUCO21.flip_pairs == MUCO21.select(NAMES).flip_pairs
    assert {frozenset(pair) for pair in MUCO21.flip_pairs} == {
        frozenset(pair) for pair in ((2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13), (17, 18), (19, 20))
    }
    shared, left_out = pair(MUCO21, MPI3DHP17)
    assert (shared.keypoints, shared.root, left_out) == (NAMES[:17], 14, list(NAMES[17:]))
    people, lens = write(tmp_path)
    data = opened(tmp_path)
    assert data.people.ids == ["muco/0", "muco/2", "muco/10", "muco/12"]
    assert data.people.sequences == [f"muco/{name}" for name in data.people.pictures]
    for i, (n, k) in enumerate((n, k) for n in (0, 1) for k in TAKEN):
        item = data[i]
        np.testing.assert_allclose(item.points, people[n][k], atol=1e-9)
        np.testing.assert_allclose(item.camera, lens, atol=1e-4)
        for keypoints in (raw.seen(people[n][k], lens), raw.seen(item.points, item.camera.astype(float))):
            assert np.abs(item.keypoints - keypoints).max() < 1e-3  # the corner: nothing is shifted
        assert item.annotated.all()
        assert np.flatnonzero(~item.visible).tolist() == [k], "the file's own flag"
        assert item.keypoints[NAMES.index("left_toe"), 0] > item.keypoints[NAMES.index("right_toe"), 0]
        assert item.image.shape[:2] == raw.SIZE[::-1]


def test_with_the_names_of_the_reference_it_is_paired_with_cocos_middles(tmp_path):
    write(tmp_path)
    content = {"root": str(tmp_path), "held": None, "rename": {"neck": "thorax"}}
    skeleton = open_dataset("muco", options_of("muco", content, "here"), "train").skeleton
    shared, _ = pair(skeleton, COCO19)
    assert {"thorax", "pelvis", "left_wrist"} <= set(shared.keypoints)
    assert len(shared) == 14
    assert "thorax" not in pair(MUCO21, COCO19)[0].keypoints


def test_crops_are_the_chains_and_called_a_leak(tmp_path):
    people, lens = write(tmp_path)
    data = opened(tmp_path)
    assert data.identity["boxes"] == "joints"
    assert "joints" in LEAKS
    flat = raw.seen(people[0][0], lens)
    np.testing.assert_allclose(data[0].box, raw.mppe_crop(raw.mppe_box(flat)), atol=1e-9)
    assert opened(tmp_path, boxes="whole").identity["boxes"] == "whole"
    assert set(data.declared().values()) == {raw.SIZE}


def reference(roots):
    """Who is taken of one picture, as the reference's loops say it."""
    depths = [root[2] for root in roots]
    closest = depths.index(min(depths))
    taken = [closest]
    for i in range(len(roots)):
        alone = i != closest
        for j in range(len(roots)):
            if i != j:
                square = (np.array(roots[i]) - np.array(roots[j])) ** 2
                alone &= math.sqrt(sum(square[:2])) >= 500 and math.sqrt(sum(square)) >= 500
        if alone:
            taken.append(i)
    return taken


def test_the_closest_and_those_apart_as_in_the_reference():
    rng = np.random.default_rng(1)
    picture = rng.permutation(np.repeat(np.arange(60), rng.integers(1, 6, 60)))
    roots = rng.uniform([-1200, -1200, 2000], [1200, 1200, 7000], (len(picture), 3))
    taken = apart(picture, roots, 500)
    for n in range(60):
        rows = np.flatnonzero(picture == n)
        assert np.flatnonzero(taken[rows]).tolist() == sorted(reference(roots[rows]))
    assert 60 < taken.sum() < len(picture)


def test_options_say_who_is_taken(tmp_path):
    people, _ = write(tmp_path)
    depths = np.array([[points[14, 2] for points in row] for row in people]).ravel()
    assert len(opened(tmp_path, apart=None)) == 6
    few = opened(tmp_path, apart=None, depth_range=[4200, 4600])
    assert few.people.points[:, 14, 2].tolist() == [z for z in depths if 4200 <= z <= 4600]
    assert 0 < len(few) < 6
    for wrong, message in (({"depth_range": [1]}, "2 entries"), ({"apart": -1}, "at least 0"), ({"held": 1}, "held")):
        with pytest.raises(ValueError, match=message):
            opened(tmp_path, **wrong)


def test_pictures_are_held_out_whole(tmp_path):
    write(tmp_path, 9)
    train, test = (opened(tmp_path, part, held=4) for part in ("train", "test"))
    assert len(set(test.people.pictures)) == 2
    assert not set(train.people.pictures) & set(test.people.pictures)
    assert len(train) + len(test) == len(opened(tmp_path)) == 18
    with pytest.raises(ValueError, match="no part test"):
        opened(tmp_path, "test")


def test_the_folder_of_the_reference(tmp_path):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data")
    assert opened(tmp_path)[0].image.shape[:2] == raw.SIZE[::-1]
    with pytest.raises(ValueError, match=r"MuCo-3DHP.json.*augmented_set"):
        opened(tmp_path / "data/augmented_set")


def test_boxes_outside_the_picture_leave_their_people_out(tmp_path):
    def change(made):
        made["annotations"][0]["bbox"] = [500, 10, 20, 20]
        made["annotations"][5]["bbox"] = [10, 10, 0, 20]

    write(tmp_path, change=change)
    with pytest.warns(UserWarning, match=r"2 of 4 people, the first annotation 0, have a box outside"):
        data = opened(tmp_path)
    assert data.people.ids == ["muco/2", "muco/10"]


def test_people_behind_the_camera_are_left_out(tmp_path):
    write(tmp_path, change=lambda made: made["annotations"][2]["keypoints_cam"][3].__setitem__(2, -5))
    with pytest.warns(UserWarning, match=r"1 of 4 people, the first annotation 2, have joints less than 1 mm before"):
        assert len(opened(tmp_path)) == 3


def test_a_picture_of_another_size_is_no_picture_of_the_set(tmp_path):
    write(tmp_path)
    Image.new("RGB", (20, 10)).save(tmp_path / "augmented_set/0.jpg")
    with pytest.raises(UnreadableImage, match=r"20x10.*muco/0 is outside"):
        opened(tmp_path)[0]


def put(*steps, value):
    def change(made):
        *way, last = steps
        for step in way:
            made = made[step]
        made[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("annotations", 3, "image_id", value=7), "annotation 3, from 0: image_id is 7"),
        (put("annotations", 3, "id", value=0), "0: the entry is there twice"),
        (
            put("annotations", 3, "keypoints_cam", value=[[0, 0, 1]] * 20),
            r"annotation 10: keypoints_cam is .*\(20, 3\)",
        ),
        (put("annotations", 3, "keypoints_img", 4, 0, value=float("nan")), "annotation 10: keypoints_img"),
        (put("annotations", 3, "keypoints_vis", 4, value=2), "annotation 10: keypoints_vis .*0 or 1"),
        (put("annotations", 3, "keypoints_vis", value=None), "annotation 10: keypoints_vis"),
        (put("annotations", 3, "bbox", value=[1, 2, 3]), "annotation 10: bbox"),
        (put("images", 1, "f", value=[0, 100]), "image 1: f is .*positive"),
        (put("images", 1, "c", value="x"), "image 1: c"),
        (put("images", 1, "id", value=0), "image 1: id is 0 again"),
        (put("images", 1, "width", value=0), "image 1: width and height"),
        (put("images", 1, "file_name", value="../a.jpg"), r"without \.\."),
        (lambda made: made["images"][1].pop("f"), "image 1: f is missing"),
        (lambda made: made["annotations"][3].pop("keypoints_cam"), "annotation 10: keypoints_cam is missing"),
        (lambda made: [image.update(c=[8000, 9]) for image in made["images"]], "their projection, to 10 px"),
        (put("images", value={}), "images is {}, expected a list"),
        (put("annotations", value=[]), "no usable sample"),
    ],
)
def test_malformed_files_are_named(tmp_path, change, message):
    write(tmp_path, change=change)
    with pytest.raises(ValueError, match=message) as raised:
        opened(tmp_path)
    assert "MuCo-3DHP.json" in str(raised.value)
