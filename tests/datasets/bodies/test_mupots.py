"""MuPoTS-3D in the form of 3DMPPE: stick figures in its twenty recordings, written as the raw file is and read back."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.bodies.mupots import Options, mupots, recording
from keyshift.datasets.bodies.skeletons import MPI3DHP17
from keyshift.datasets.reading.splits import SAME

_spec = importlib.util.spec_from_file_location("raw_bodies", Path(__file__).parents[1] / "raw_bodies.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_bodies"] = raw
_spec.loader.exec_module(raw)

NAMES = MPI3DHP17.keypoints
"""test_muco.py holds them against the names of 3DMPPE."""


def opened(root, part="test", **options):
    return mupots(Options(root=str(root), **options), part)


def write(root, change=lambda made: None, count=20):
    """A picture of each recording, TS1 first, with three people of whom the last is not valid; and the joints."""
    people, lens = raw.crowd(NAMES, count)
    size = dict(zip(("width", "height"), raw.SIZE, strict=True))
    made = {"images": [], "annotations": []}
    for n, row in enumerate(people):
        name = f"TS{n + 1}/img_{7 * n:06d}.jpg"
        (root / f"MultiPersonTestSet/TS{n + 1}").mkdir(parents=True)
        Image.new("RGB", raw.SIZE, (n, 80, 0)).save(root / "MultiPersonTestSet" / name)
        made["images"].append({"id": n, "file_name": name, **size, "intrinsic": lens.tolist()})
        for k, points in enumerate(row):
            flat = raw.seen(points, lens)
            joints = {"keypoints_cam": points.tolist(), "keypoints_img": flat.tolist()}
            joints["keypoints_vis"] = [joint != k for joint in range(17)]
            more = {"bbox": raw.mppe_box(flat), "is_valid": int(k < 2)}
            made["annotations"].append({"id": 10 * n + k, "image_id": n, **joints, **more})
    change(made)
    (root / "MuPoTS-3D.json").write_text(json.dumps(made))
    return people, lens


def test_points_camera_and_names_are_the_files(tmp_path):
    people, lens = write(tmp_path)
    data = opened(tmp_path)
    assert data.skeleton == MPI3DHP17
    assert len(data) == 40, "those that are valid"
    assert len(opened(tmp_path, valid=False)) == 60
    for i in (0, 1, 17, 39):
        item, points = data[i], people[i // 2][i % 2]
        np.testing.assert_allclose(item.points, points, atol=1e-9)
        np.testing.assert_allclose(item.camera, lens, atol=1e-4)
        assert np.abs(raw.seen(points, item.camera.astype(float)) - item.keypoints).max() < 1e-3  # nothing is shifted
        assert item.annotated.all()
        assert np.flatnonzero(~item.visible).tolist() == [i % 2], "the file's own flag"
        assert int(item.image[0, 0, 0]) == pytest.approx(i // 2, abs=4)
    flat = raw.seen(people[0][0], lens)
    np.testing.assert_allclose(data[0].box, raw.mppe_crop(raw.mppe_box(flat)), atol=1e-9)
    assert data.identity["boxes"] == "joints"
    assert set(data.declared().values()) == {raw.SIZE}


def test_sequences_are_the_recordings(tmp_path):
    write(tmp_path)
    data = opened(tmp_path)
    assert [recording(data[i].sequence) for i in range(0, 40, 2)] == [f"TS{n}" for n in range(1, 21)]
    assert (data.people.ids[2], data.people.frames[2]) == ("mupots/TS2/000007/10", 7)
    with pytest.raises(ValueError, match="'muco/a' is no sequence of MuPoTS-3D"):
        recording("muco/a")


def test_both_parts_are_the_same_pictures_unless_they_are_kept_apart(tmp_path):
    write(tmp_path)
    train, test = (opened(tmp_path, part) for part in ("train", "test"))
    assert train.people.ids == test.people.ids
    assert train.identity["split"] == SAME
    train, test = (opened(tmp_path, part, split="recordings") for part in ("train", "test"))
    assert {recording(name) for name in test.people.sequences} == {"TS5", "TS10", "TS15", "TS20"}
    assert len(train) == 32
    assert not set(train.people.sequences) & set(test.people.sequences)


def test_people_without_a_crop_are_left_out_and_counted(tmp_path):
    def change(made):
        made["annotations"][0]["bbox"] = [10, 500, 20, 20]
        made["annotations"][2]["bbox"] = [10, 500, 20, 20]  # who is not valid, and not counted

    write(tmp_path, change, 3)
    with pytest.warns(UserWarning, match=r"1 of 6 people, the first annotation 0, have a box outside") as warned:
        assert len(opened(tmp_path)) == 5
    assert len(warned) == 1


def test_the_folder_of_the_reference_and_missing_files(tmp_path):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data", count=2)
    assert opened(tmp_path)[0].image.shape[:2] == raw.SIZE[::-1]
    with pytest.raises(ValueError, match=r"MuPoTS-3D.json.*MultiPersonTestSet"):
        opened(tmp_path / "data/MultiPersonTestSet")
    with pytest.raises(ValueError, match="val"):
        opened(tmp_path, "val")


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
        (put("images", 1, "file_name", value="TS21/img_000000.jpg"), "image 1: file_name is 'TS21"),
        (put("images", 1, "file_name", value="img_000000.jpg"), "image 1: file_name is 'img"),
        (put("images", 1, "intrinsic", value=[100, 100, 50]), "image 1: intrinsic"),
        (put("images", 1, "intrinsic", value=[100, -100, 50, 50]), "image 1: intrinsic is .*positive"),
        (put("annotations", 3, "is_valid", value=2), "annotation 10: is_valid .*0 or 1"),
        (put("annotations", 3, "is_valid", value=None), "annotation 10: is_valid"),
        (put("annotations", 3, "keypoints_vis", value=[1] * 21), "annotation 10: keypoints_vis"),
        (put("annotations", 3, "keypoints_cam", 0, 0, value=1e9), "annotation 10: keypoints_cam"),
        (lambda made: [one.update(is_valid=0) for one in made["annotations"]], "no usable sample"),
    ],
)
def test_malformed_files_are_named(tmp_path, change, message):
    write(tmp_path, change, 3)
    with pytest.raises(ValueError, match=message) as raised:
        opened(tmp_path)
    assert "MuPoTS-3D.json" in str(raised.value)
