"""3DPW in the form of 3DMPPE: stick figures written as the raw files are, in metres, and read back."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.bodies.skeletons import SMPL24
from keyshift.datasets.bodies.threedpw import Options, threedpw

_spec = importlib.util.spec_from_file_location("raw_bodies", Path(__file__).parents[1] / "raw_bodies.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_bodies"] = raw
_spec.loader.exec_module(raw)

FILES = (
    *(
        "Pelvis",
        "L_Hip",
        "R_Hip",
        "Torso",
        "L_Knee",
        "R_Knee",
        "Spine",
        "L_Ankle",
        "R_Ankle",
        "Chest",
        "L_Toe",
        "R_Toe",
    ),
    *("Neck", "L_Thorax", "R_Thorax", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist", "R_Wrist"),
    *("L_Hand", "R_Hand"),
)
"""The names of 3DMPPE, in the files' order."""
SAME = {"Torso": "spine1", "Spine": "spine2", "Chest": "spine3", "Toe": "foot", "Thorax": "collar"}
SAME |= {"L": "left", "R": "right"}
NAMES = tuple("_".join(SAME.get(part, part.lower()) for part in name.split("_")) for name in FILES)
SEQUENCES = ("courtyard_laceShoe_00", "downtown_arguing_00")


def opened(root, part="test", **options):
    return threedpw(Options(root=str(root), **options), part)


def write(root, part="test", change=lambda made: None, unit=1000.0, face=0):
    """Two pictures of three people, each in a recording of its own; and the joints in mm."""
    people, lens = raw.crowd(NAMES, 2)
    size = dict(zip(("width", "height"), raw.SIZE, strict=True))
    made = {"images": [], "annotations": []}
    for n, row in enumerate(people):
        folder = root / "imageFiles" / SEQUENCES[n]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", raw.SIZE, (90 * n, 80, 0)).save(folder / f"image_{n:05d}.jpg")
        camera = {"focal": lens[:2].tolist(), "princpt": lens[2:].tolist()}
        image = {"id": n, "sequence": SEQUENCES[n], "file_name": f"image_{n:05d}.jpg", "cam_param": camera}
        made["images"].append(image | size)
        for k, points in enumerate(row):
            joints = np.concatenate([points, np.full((face, 3), 4000.0)]) / unit
            box = raw.mppe_box(raw.seen(points, lens))
            person = {"id": 10 * n + k, "image_id": n, "bbox": box, "joint_cam": joints.tolist()}
            made["annotations"].append(person)
    change(made)
    (root / f"3DPW_{part}.json").write_text(json.dumps(made))
    return people, lens


@pytest.mark.parametrize(("unit", "face"), [(1000.0, 0), (1.0, 0), (1000.0, 5)])
def test_points_camera_and_names_are_the_files(tmp_path, unit, face):
    assert SMPL24.keypoints == NAMES
    assert SMPL24.root == 0
    people, lens = write(tmp_path, unit=unit, face=face)
    data = opened(tmp_path)
    assert len(data) == 6
    assert data.identity["points"] == ("m" if unit == 1000 else "mm")
    for i in range(6):
        raw.check_item(data[i], people[i // 3][i % 3], lens)
        assert data[i].sequence == f"3dpw/{SEQUENCES[i // 3]}"
        assert int(data[i].image[0, 0, 0]) == pytest.approx(90 * (i // 3), abs=4)
    flat = raw.seen(people[0][0], lens)
    np.testing.assert_allclose(data[0].box, raw.mppe_crop(raw.mppe_box(flat)), atol=1e-6)
    assert data.identity["boxes"] == "joints"


def test_joints_outside_the_picture_are_known_and_not_visible(tmp_path):
    def change(made):
        for joint in range(3):
            made["annotations"][0]["joint_cam"][joint][0] -= 4

    write(tmp_path, change=change)
    item = opened(tmp_path)[0]
    assert item.annotated.all()
    assert np.flatnonzero(~item.visible).tolist() == [0, 1, 2]


def test_parts(tmp_path):
    for part in ("train", "validation", "test"):
        write(tmp_path, part, lambda made, part=part: made["annotations"].pop() if part != "train" else None)
    assert len(opened(tmp_path, "train")) == 6
    (tmp_path / "3DPW_test.json").unlink()
    assert len(opened(tmp_path, split="validation")) == 5
    with pytest.raises(ValueError, match=r"no file .*3DPW_test.json.*imageFiles"):
        opened(tmp_path)
    with pytest.raises(ValueError, match="split='val' is not known"):
        opened(tmp_path, split="val")


def test_people_without_a_crop_are_left_out_and_counted(tmp_path):
    def change(made):
        made["annotations"][1]["bbox"] = [10, 500, 20, 20]
        made["annotations"][4]["joint_cam"][9][2] = -1

    write(tmp_path, change=change)
    outside = pytest.warns(UserWarning, match="1 of 6 people, the first annotation 1, have a box outside")
    behind = pytest.warns(
        UserWarning, match="1 of 6 people, the first annotation 11, have joints less than 1 mm before"
    )
    with outside, behind:
        data = opened(tmp_path)
    assert data.people.ids == [f"3dpw/{SEQUENCES[n]}/{10 * n + k}" for n, k in ((0, 0), (0, 2), (1, 0), (1, 2))]


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
        (put("images", 1, "sequence", value=None), "image 1: sequence"),
        (put("images", 1, "sequence", value=".."), r"image 1: sequence .*without \.\."),
        (put("images", 1, "sequence", value="a/b"), "image 1: sequence .*name of a folder"),
        (put("images", 1, "cam_param", value=[]), "image 1: cam_param"),
        (put("images", 1, "cam_param", value={"focal": [1, 1]}), "image 1: princpt is missing"),
        (put("images", 1, "cam_param", "focal", value=[0, 1]), "image 1: focal is .*positive"),
        (put("annotations", 3, "joint_cam", value=[[1, 1, 1]] * 25), "annotation 10: joint_cam"),
        (lambda made: [one.update(joint_cam=[[0, 0, 4]] * 24) for one in made["annotations"]], "pelvis to neck"),
        (put("annotations", value=[]), "no usable sample"),
    ],
)
def test_malformed_files_are_named(tmp_path, change, message):
    write(tmp_path, change=change)
    with pytest.raises(ValueError, match=message) as raised:
        opened(tmp_path)
    assert "3DPW_test.json" in str(raised.value)
