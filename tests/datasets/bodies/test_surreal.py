"""SURREAL: clips with _info.mat and the reference's lists, written as they are published and read back."""

import importlib.util
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from keyshift.datasets.bodies.skeletons import SMPL24
from keyshift.datasets.bodies.surreal import CAMERA, Options, columns, motion, surreal, to_camera
from keyshift.datasets.reading.video import write_video

_spec = importlib.util.spec_from_file_location("raw_bodies", Path(__file__).parents[1] / "raw_bodies.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_bodies"] = raw
_spec.loader.exec_module(raw)

NAMES = SMPL24.keypoints
MIRRORED = [
    name.replace("left", "L").replace("right", "left").replace("L", "right") for name in NAMES
]  # what the picture shows where SMPL has NAMES
PLACE = np.array([6.7456, -0.9839, -1.9293])
EXTRINSIC = np.array([[0, 0, -1.0], [0, 1.0, 0], [-1.0, 0, 0]])
"""The first columns of getExtrinsicBlender.m, of the publisher."""


def opened(root, part, **options):
    return surreal(Options(root=str(root), **options), part)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))


def body(frame=0):
    """(24, 3) mm in the camera's frame: someone who walks and faces the camera."""
    return raw.figure(NAMES, (-900 + 20 * frame, 100, 7000), 0.02 * frame)


def info(points):
    """_info.mat's arrays for points (T, 24, 3) mm of NAMES in the camera's frame: SMPL's sides, in the world."""
    order = [MIRRORED.index(name) for name in NAMES]
    metres = points[:, order] / 1000
    world = metres @ EXTRINSIC + PLACE  # the extrinsic's inverse is itself
    flat = np.array([raw.seen(one, CAMERA) for one in points[:, order]]).round()
    arrays = {"joints2D": flat.transpose(2, 1, 0), "joints3D": world.transpose(2, 1, 0), "camLoc": PLACE[:, None]}
    return {name: np.squeeze(array).astype(np.float32) for name, array in arrays.items()}


def write_clip(folder, motion_name="01_01", clip=1, frames=12, **changes):
    stem = folder / motion_name / f"{motion_name}_c{clip:04d}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    arrays = info(np.array([body(frame) for frame in range(frames)])) | changes
    arrays = {name: value for name, value in arrays.items() if value is not None}
    scipy.io.savemat(f"{stem}_info.mat", arrays | {"gender": np.zeros((frames, 1), np.uint8), "sequence": stem.name})
    pictures = [np.full((240, 320, 3), 20 * frame, np.uint8) for frame in range(frames)]
    if not Path(f"{stem}.mp4").exists():
        write_video(Path(f"{stem}.mp4"), pictures, 25)
    return Path(f"{stem}_info.mat")


def test_clips_have_points_names_and_frames(tmp_path):
    write_clip(tmp_path / "cmu/test/run0")
    people = opened(tmp_path, "test", stride=5)
    assert people.people.frames.tolist() == [0, 5, 10]
    for i, frame in enumerate((0, 5, 10)):
        raw.check_item(people[i], body(frame), CAMERA)
        assert abs(people[i].image.mean() - 20 * frame) < 8, "the frame of the video"
    first = people[0].keypoints
    for joint in ("shoulder", "hip", "knee", "wrist", "foot"):
        left, right = (first[NAMES.index(f"{side}_{joint}"), 0] for side in ("left", "right"))
        assert left > right + 5, "who faces the camera has their left on the picture's right"
    assert people.identity["boxes"] == "truth"
    assert len(opened(tmp_path / "cmu", "test")) == 2, "every 10th"


def test_the_camera_is_the_publishers():
    """The one joint whose numbers stand in datageneration/misc/3Dto2D/main.m."""
    point = to_camera(np.array([-0.8645, -1.0915, -1.0260]), PLACE)
    assert raw.seen(point[None], CAMERA)[0].round().tolist() == [89, 112]
    assert np.allclose(point, EXTRINSIC @ ([-0.8645, -1.0915, -1.0260] - PLACE))


def test_collars_are_a_switch(tmp_path):
    write_clip(tmp_path / "test/run0")
    ours, theirs = (opened(tmp_path, "test", shoulders=kind)[0] for kind in ("smpl", "collar"))
    changed = [name for k, name in enumerate(NAMES) if (ours.keypoints[k] != theirs.keypoints[k]).any()]
    assert changed == ["left_shoulder", "right_shoulder"]
    place = {name: k for k, name in enumerate(NAMES)}
    assert (theirs.keypoints[place["left_shoulder"]] == ours.keypoints[place["left_collar"]]).all()
    # TLLib's joints_index, from MPII's order: what it calls right ankle to left wrist
    mpii = {"right_ankle": 7, "right_knee": 4, "right_hip": 1, "left_hip": 2, "left_knee": 5, "left_ankle": 8}
    mpii |= {"right_wrist": 20, "right_elbow": 18, "right_shoulder": 13, "left_shoulder": 14, "left_elbow": 19}
    assert {name: columns("collar")[place[name]] for name in mpii} == mpii
    assert columns("smpl")[place["left_shoulder"]] == 17


def test_one_frame_and_all_runs(tmp_path):
    write_clip(tmp_path / "train/run0", frames=1)
    write_clip(tmp_path / "train/run2", clip=2, frames=1)
    write_clip(tmp_path / "train/run2", "05_02", frames=1)
    write_clip(tmp_path / "val/run0", frames=1)
    people = opened(tmp_path, "train")
    assert scipy.io.loadmat(tmp_path / "train/run0/01_01/01_01_c0001_info.mat")["joints2D"].ndim == 2
    assert len(people) == 3
    assert np.abs(people[0].points - body(0)).max() < 0.1
    assert people.people.sequences == ["surreal/train/01_01"] * 2 + ["surreal/train/05_02"]
    assert len(set(people.people.ids)) == 3


def test_frames_that_show_no_one_are_left_out(tmp_path):
    clip = np.array([body(frame) for frame in range(4)])
    clip[1, :, 0] += 20_000
    clip[2, :, 2] -= 8_000
    write_clip(tmp_path / "test/run0", frames=4, **info(clip))
    assert opened(tmp_path, "test", stride=1).people.frames.tolist() == [0, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joints2D": np.zeros((2, 24, 12))}, r"projection of joints3D"),
        ({"joints2D": np.zeros((2, 23, 12))}, r"joints2D is of shape \(2, 23, 12\)"),
        ({"joints2D": np.zeros((2, 24, 11))}, "of 11 frames"),
        ({"joints3D": np.full((3, 24, 12), np.nan)}, "joints3D is array.*\n.*finite"),
        ({"joints3D": np.array(["a", "b"], object)}, "joints3D"),
        ({"joints3D": None}, "joints3D is missing"),
        ({"camLoc": np.zeros((2, 1))}, "camLoc"),
        ({"camLoc": np.array([[1e9], [0], [0]])}, "camLoc"),
    ],
)
def test_malformed_clips_are_named(tmp_path, changes, message):
    write_clip(tmp_path / "test/run0", **changes)
    with pytest.raises(ValueError, match=message) as raised:
        opened(tmp_path, "test")
    assert "01_01_c0001_info.mat" in str(raised.value)


def test_truncated_clips_are_named(tmp_path):
    file = write_clip(tmp_path / "test/run0")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"01_01_c0001_info\.mat"):
        opened(tmp_path, "test")


def write_list(folder, run=0, count=10, unit=1000.0, motion_name="01_01", **changes):
    """run0.json and its pictures: crops of (40, 30) px and on."""
    order = [MIRRORED.index(name) for name in NAMES]
    (folder / f"run{run}").mkdir(parents=True, exist_ok=True)
    listed = []
    for i in range(count):
        points = body(i)[order]
        name = f"{motion_name}_c{i // 5 + 1:04d}_{i % 5:03d}.jpg"
        camera = CAMERA - [0, 0, 40, 30]
        matrix = np.array([[camera[0], 0, camera[2]], [0, camera[1], camera[3]], [0, 0, 1]])
        entry = {"name": name, "keypoint2d": raw.seen(points, camera).tolist()}
        entry |= {"keypoint3d": (points / unit).tolist(), "intrinsic_matrix": matrix.tolist()}
        listed.append(entry)
        Image.new("RGB", (160, 160), (i, 0, run)).save(folder / f"run{run}" / name)
    listed[3] |= changes
    (folder / f"run{run}.json").write_text(json.dumps(listed))
    return listed


@pytest.mark.parametrize(("unit", "name"), [(1000.0, "m"), (1.0, "mm"), (10.0, "cm")])
def test_lists_have_points_in_their_unit(tmp_path, unit, name):
    write_list(tmp_path / "test", unit=unit)
    people = opened(tmp_path, "test")
    assert people.identity["points"] == name
    assert people.identity["boxes"] == "whole"
    for i in (0, 9):
        raw.check_item(people[i], body(i), CAMERA - [0, 0, 40, 30])
    assert people[0].box.tolist() == [0, 0, 160, 160]
    assert people.people.sequences[0] == "surreal/test/01_01"


def test_lists_whose_points_do_not_project_have_none(tmp_path):
    listed = write_list(tmp_path / "test")
    for entry in listed:
        entry["keypoint3d"] = (np.array(entry["keypoint3d"]) - [0.3, 0, 0]).tolist()
    (tmp_path / "test/run0.json").write_text(json.dumps(listed))
    people = opened(tmp_path, "test")
    assert people[0].points is None
    assert "do not project" in people.identity["points"]
    assert np.abs(people[0].keypoints - raw.seen(body(0), CAMERA - [0, 0, 40, 30])).max() < 0.05


def test_the_references_split_of_lists(tmp_path):
    names = {}
    for part in ("train", "test"):
        for run in (0, 1):
            listed = write_list(tmp_path / part, run)
            names.setdefault(part, []).extend(f"{part}/run{run}/{entry['name']}" for entry in listed)
        random.seed(42)
        random.shuffle(names[part])
    assert opened(tmp_path, "test", split="frames").people.pictures == names["test"][:4]
    assert opened(tmp_path, "train", split="frames").people.pictures == names["train"][4:]
    assert len(opened(tmp_path, "test")) == 20
    assert len(opened(tmp_path, "test", stride=4)) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../run1/x.jpg"}, "without .."),
        ({"name": "01_01_c0001_000.jpg"}, "there twice"),
        ({"keypoint2d": [[0, 0]] * 16}, "keypoint2d"),
        ({"keypoint3d": "none"}, "keypoint3d"),
        ({"keypoint2d": [[0, 1e300]] * 24}, "keypoint2d"),
        ({"intrinsic_matrix": np.zeros((3, 3)).tolist()}, "intrinsic_matrix"),
    ],
)
def test_malformed_lists_are_named(tmp_path, changes, message):
    write_list(tmp_path / "test", **changes)
    with pytest.raises(ValueError, match=message) as raised:
        opened(tmp_path, "test")
    assert str(tmp_path / "test") in str(raised.value)


def test_no_list_is_an_error(tmp_path):
    write_list(tmp_path / "test")
    for content in ("{}", "[1]", "[", "[]", "[" * 100_000):
        (tmp_path / "test/run0.json").write_text(content)
        with pytest.raises(ValueError, match="test"):
            opened(tmp_path, "test")


def test_options_and_empty_roots_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"run\*.json.*cmu"):
        opened(tmp_path, "test")
    write_clip(tmp_path / "test/run0")
    for wrong in ({"shoulders": "none"}, {"split": "frames"}, {"split": "x"}, {"stride": 0}, {"boxes": "x"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            opened(tmp_path, "test", **wrong)
    with pytest.raises(ValueError, match="val"):
        opened(tmp_path, "val")


def test_motions_are_told_from_names():
    assert motion("run0/01_01_c0001_12.jpg") == "01_01"
    assert motion("run1/ung_132_54_c0003.png") == "ung_132_54"
    assert motion("run1/person_17.jpg") == "person"
    assert motion("run1/17.jpg") == "17.jpg"
