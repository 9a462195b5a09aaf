"""MPI-INF-3DHP: a stick figure and published samples, written as the raw files are and read back."""

import importlib.util
import shutil
import sys
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from keyshift.datasets.bodies.mpi_inf_3dhp import CAMERAS, Options, fitted, mpi_inf_3dhp
from keyshift.datasets.bodies.skeletons import MPI3DHP17
from keyshift.datasets.reading.annotations import read_arrays, read_pickle

_spec = importlib.util.spec_from_file_location("raw_bodies", Path(__file__).parents[1] / "raw_bodies.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_bodies"] = raw
_spec.loader.exec_module(raw)

NAMES = MPI3DHP17.keypoints
FILES = (
    *("spine3", "spine4", "spine2", "spine", "pelvis", "neck", "head", "head_top", "left_clavicle", "left_shoulder"),
    *("left_elbow", "left_wrist", "left_hand", "right_clavicle", "right_shoulder", "right_elbow", "right_wrist"),
    *("right_hand", "left_hip", "left_knee", "left_ankle", "left_foot", "left_toe", "right_hip", "right_knee"),
    *("right_ankle", "right_foot", "right_toe"),
)
"""The 28 joints of annot.mat as the publisher names them (mpii_get_joint_set.m)."""
CAMERA = np.array([1497.693, 1497.103, 1024.704, 1051.394])
FRAMES = 12


def opened(root, part, **options):
    return mpi_inf_3dhp(Options(root=str(root), **options), part)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))


def body(frame, camera=0):
    """(17, 3) mm in the frame of a camera."""
    return raw.figure(NAMES, (10 * frame, 0, 3500 + 50 * camera), 0.1 * camera)


def calibration():
    """The text of camera.calibration: 14 cameras, each with its own axis."""
    text = ["Skeletool Camera Calibration File V1.0"]
    for camera in range(14):
        fx, fy, cx, cy = CAMERA + np.array([0, 0, camera, 0])
        text += [f"name          {camera}", "  sensor      10 10", "  size        2048 2048", "  animated    0"]
        text += [f"  intrinsic   {fx} 0 {cx} 0 0 {fy} {cy} 0 0 0 1 0 0 0 0 1 "]
        text += ["  extrinsic   1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1 ", "  radial      0"]
    return "\n".join(text) + "\n"


def cells(value):
    """(14, 1) MATLAB cells of arrays (14, T, D)."""
    made = np.empty((14, 1), object)
    for camera in range(14):
        made[camera, 0] = value[camera]
    return made


def annot(points):
    """annot.mat's content for points (14, T, 17, 3)."""
    all_points = np.full((*points.shape[:2], 28, 3), 777.0)
    all_points[:, :, [FILES.index(name) for name in NAMES]] = points
    flat = np.stack(
        [all_points[c, ..., :2] / all_points[c, ..., 2:] * CAMERA[:2] + CAMERA[2:] + [c, 0] for c in range(14)]
    )
    shape = points.shape[:2]
    return {"annot2": cells(flat.reshape(*shape, 56)), "annot3": cells(all_points.reshape(*shape, 84))}


def write_train(home, videos=True):
    content = annot(np.array([[body(frame, camera) for frame in range(FRAMES)] for camera in range(14)]))
    for person in range(1, 9):
        for sequence in (1, 2):
            folder = home / f"S{person}/Seq{sequence}"
            (folder / "imageSequence").mkdir(parents=True)
            scipy.io.savemat(folder / "annot.mat", content)
            (folder / "camera.calibration").write_text(calibration())
            for camera in CAMERAS:
                (folder / f"imageSequence/video_{camera}.avi").touch()
    if videos:
        write_avi(home / "S1/Seq1/imageSequence/video_0.avi")
    return home


def write_avi(path):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 64))
    for frame in range(FRAMES):
        writer.write(np.full((64, 64, 3), 20 * frame, np.uint8))
    writer.release()


def write_test(home, number, points, keypoints, valid, **changes):
    """TS{number}: points (T, 17, 3), keypoints (T, 17, 2), valid (T,)."""
    folder = home / f"mpi_inf_3dhp_test_set/TS{number}"
    (folder / "imageSequence").mkdir(parents=True, exist_ok=True)
    arrays = {"annot2": keypoints[:, None], "annot3": points[:, None], "univ_annot3": points[:, None] * 0.9}
    arrays |= {"valid_frame": np.asarray(valid, float)[:, None]} | changes
    with h5py.File(folder / "annot_data.mat", "w", userblock_size=512) as file:
        for name, value in arrays.items():
            if value is not None:
                file[name] = value
    return folder


def write_tests(home, **changes):
    for number in range(1, 7):
        points = np.array([body(frame, number) for frame in range(FRAMES)])
        keypoints = np.array([raw.seen(one, CAMERA + number) for one in points])
        valid = [frame not in (0, 3) for frame in range(FRAMES)]
        folder = write_test(home, number, points, keypoints, valid, **(changes if number == 4 else {}))
        for frame in range(FRAMES):
            Image.new("RGB", (32, 32), (10 * frame, 0, 0)).save(folder / f"imageSequence/img_{frame + 1:06d}.jpg")
    return home


def test_train_has_points_cameras_and_frames(tmp_path):
    people = opened(write_train(tmp_path), "train", stride=5)
    assert len(people) == 16 * 8 * 3
    assert people.people.frames[:6].tolist() == [0, 5, 10, 0, 5, 10]
    for i in range(3):
        raw.check_item(people[i], body(5 * i), CAMERA)
        assert abs(people[i].image.mean() - 100 * i) < 4, "the frame of the video"
    for k, camera in enumerate(CAMERAS):
        assert np.allclose(people.people.camera[3 * k], CAMERA + np.array([0, 0, camera, 0]))
        assert np.abs(people.people.points[3 * k] - body(0, camera)).max() < 0.1
    assert people.people.sequences[0] == "mpi_inf_3dhp/S1/Seq1/video_0"
    assert len(set(people.people.ids)) == len(people)
    assert people.identity["boxes"] == "truth"
    assert opened(tmp_path, "train").people.frames[:2].tolist() == [0, 10]


def test_extracted_frames_go_before_videos(tmp_path):
    write_train(tmp_path, videos=False)
    folder = tmp_path / "S1/Seq1/imageFrames/video_0"
    folder.mkdir(parents=True)
    for frame in range(FRAMES):
        Image.new("RGB", (32, 32), (10 * frame, 0, 0)).save(folder / f"frame_{frame + 1:06d}.jpg")
    people = opened(tmp_path, "train")
    assert people.people.pictures[1:3] == [
        "S1/Seq1/imageFrames/video_0/frame_000011.jpg",
        "S1/Seq1/imageSequence/video_1.avi#0",
    ]
    assert abs(int(people[1].image[0, 0, 0]) - 100) < 4


def test_test_has_valid_frames_and_fitted_cameras(tmp_path):
    people = opened(write_tests(tmp_path), "test")
    frames = [frame for frame in range(FRAMES) if frame not in (0, 3)]
    assert people.people.frames.tolist() == frames * 6, "every valid frame"
    for i, frame in enumerate(frames):
        raw.check_item(people[i], body(frame, 1), CAMERA + 1)
        assert abs(int(people[i].image[0, 0, 0]) - 10 * frame) < 4
    assert np.allclose(people.people.camera[-1], CAMERA + 6, atol=1e-6)
    inner = opened(tmp_path / "mpi_inf_3dhp_test_set", "test", stride=2)
    assert inner.people.frames[:3].tolist() == [1, 4, 6]
    assert inner.people.pictures[0].startswith("TS1/")


def test_a_camera_is_fitted_in_spite_of_hips_and_spine():
    points = np.array([body(frame) for frame in range(3)])
    keypoints = np.array([raw.seen(one, CAMERA) for one in points])
    for name in ("left_hip", "right_hip", "spine"):
        keypoints[:, NAMES.index(name)] += 2
    assert np.allclose(fitted(keypoints, points, Path("x")), CAMERA, atol=1e-6)


def sides(item):
    return [item.keypoints[NAMES.index(f"{side}_shoulder"), 0] for side in ("left", "right")]


def test_published_train_samples(shared, tmp_path):
    """Two published pictures, written into annot.mat: joints in their order, camera and unit are as read here."""
    folder = shared / "data/mmpose_samples/mpi_inf_3dhp"
    arrays, cameras = read_arrays(folder / "test_3dhp_train.npz"), read_pickle(folder / "cameras_train.pkl")
    write_train(tmp_path, videos=False)
    for name, space, flat in zip(arrays["imgname"].tolist(), arrays["S"], arrays["part"], strict=True):
        person, sequence, camera, _ = name.split("_")
        number, home = int(camera[3:]), tmp_path / person / sequence
        for dims, value in ((2, flat[:, :2]), (3, space[:, :3] * 1000)):
            made = np.zeros((14, 1, 28, dims))
            made[..., dims - 1] = 1000
            made[:, 0, [FILES.index(joint) for joint in NAMES]] = value
            content = scipy.io.loadmat(home / "annot.mat") | {f"annot{dims}": cells(made.reshape(14, 1, -1))}
            scipy.io.savemat(home / "annot.mat", {key: content[key] for key in ("annot2", "annot3")})
        known = cameras[f"{person}_{sequence}_{camera}"]
        axis = [known["f"][0, 0], known["f"][1, 0], known["c"][0, 0], known["c"][1, 0]]
        line = f"  intrinsic   {axis[0]} 0 {axis[2]} 0 0 {axis[1]} {axis[3]} 0 0 0 1 0 0 0 0 1"
        text = (home / "camera.calibration").read_text().splitlines()
        text[7 * number + 5] = line
        (home / "camera.calibration").write_text("\n".join(text))
        (home / f"imageFrames/video_{number}").mkdir(parents=True)
        shutil.copy(folder / name, home / f"imageFrames/video_{number}/frame_000001.jpg")
    people = opened(tmp_path, "train")
    for i, name in enumerate(arrays["imgname"].tolist()):
        person, sequence, camera, _ = name.split("_")
        row = people.people.ids.index(f"mpi_inf_3dhp/{person}/{sequence}/video_{camera[3:]}/000000")
        item = people[row]
        assert item.image.shape[:2] == (2048, 2048)
        assert np.abs(item.points - arrays["S"][i][:, :3] * 1000).max() < 0.1
        off = np.linalg.norm(raw.seen(item.points, item.camera.astype(float)) - item.keypoints, axis=1)
        loose = [NAMES.index(joint) for joint in ("left_hip", "right_hip", "spine")]
        assert np.delete(off, loose).max() < 0.05
        assert off.max() < 2.5


def test_published_test_samples(shared, tmp_path):
    folder = shared / "data/mmpose_samples/mpi_inf_3dhp"
    arrays, cameras = read_arrays(folder / "test_3dhp_test.npz"), read_pickle(folder / "cameras_test.pkl")
    write_tests(tmp_path)
    for number, (name, space, flat) in enumerate(zip(arrays["imgname"], arrays["S"], arrays["part"], strict=True), 1):
        home = write_test(tmp_path, number, space[None, :, :3] * 1000, flat[None, :, :2], [1])
        shutil.copy(folder / str(name), home / "imageSequence/img_000001.jpg")
    people = opened(tmp_path, "test")
    documented = 2048 / 10 * np.array([7.32506, 7.32506 * 1.000443, -0.0322884, 0.0929296]) + [0, 0, 1024, 1024]
    assert np.abs(people.people.camera[0] - documented).max() < 0.05
    for i in (0, 1):
        other = cameras[f"TS{i + 1}"]
        other = np.concatenate([other["f"][:, 0], other["c"][:, 0]])  # fitted to all joints, so not as well
        assert np.abs(people.people.camera[i] - other).max() < 1
        item = people[i]
        assert item.image.shape[:2] == (2048, 2048)
        assert item.keypoints[NAMES.index("head_top"), 1] < item.keypoints[NAMES.index("neck"), 1]
        assert item.keypoints[NAMES.index("neck"), 1] < item.keypoints[NAMES.index("left_knee"), 1]
    left, right = sides(people[0])
    assert left > right + 50, "in the first picture someone faces the camera"


def test_options_and_missing_files_are_refused(tmp_path):
    for part, message in (("train", r"S1/Seq1/annot.mat.*more"), ("test", r"TS1.*TS6"), ("val", "val")):
        with pytest.raises(ValueError, match=message):
            opened(tmp_path, part)
    write_train(tmp_path)
    (tmp_path / "S7/Seq2/imageSequence/video_8.avi").unlink()
    with pytest.raises(ValueError, match=r"missing: [^,]*S7/Seq2/imageSequence/video_8.avi\. "):
        opened(tmp_path, "train")
    for wrong in ({"stride": 0}, {"boxes": "x"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            opened(write_tests(tmp_path), "test", **wrong)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annot2": None}, "annot2 is not there"),
        ({"annot2": np.zeros((FRAMES, 1, 17, 2))}, "one camera"),
        ({"annot2": np.zeros((FRAMES, 1, 16, 2))}, r"annot2 is of shape \(12, 1, 16, 2\)"),
        ({"annot3": np.full((FRAMES, 1, 17, 3), np.nan)}, "finite"),
        ({"annot3": np.full((FRAMES, 1, 17, 3), -5.0)}, "frame 1: depth is -5.0"),
        ({"annot3": h5py.SoftLink("/annot2")}, "annot3 is not there"),
        ({"annot3": h5py.ExternalLink("other.mat", "annot3")}, "annot3 is not there"),
        ({"valid_frame": np.ones((3, 1))}, "one number of frames"),
        ({"valid_frame": np.zeros((FRAMES, 1))}, "no valid frame"),
        ({"valid_frame": np.array([["a"]] * FRAMES, "S1")}, "valid_frame"),
    ],
)
def test_malformed_test_files_are_named(tmp_path, changes, message):
    write_tests(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as raised:
        opened(tmp_path, "test")
    assert "TS4/annot_data.mat" in str(raised.value)


def test_files_of_another_kind_are_named(tmp_path):
    write_tests(tmp_path)
    file = tmp_path / "mpi_inf_3dhp_test_set/TS4/annot_data.mat"
    for content in (b"", b"MATLAB 5.0", file.read_bytes()[:3000]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"TS4/annot_data\.mat"):
            opened(tmp_path, "test")


def test_malformed_train_files_are_named(tmp_path):
    write_train(tmp_path)
    folder = tmp_path / "S3/Seq2"
    good = scipy.io.loadmat(folder / "annot.mat")
    content = {key: good[key] for key in ("annot2", "annot3")}
    short, behind = (annot(np.array([[body(0, c)] for c in range(14)])) for _ in range(2))
    for camera in range(14):
        behind["annot3"][camera, 0] = behind["annot3"][camera, 0] * -1
    wrong = [
        ({"annot2": content["annot2"]}, "annot3 is missing"),
        (content | {"annot2": np.zeros((14, 56))}, "cells"),
        (content | {"annot2": content["annot2"][:4]}, "cells of at least"),
        (content | {"annot2": short["annot2"]}, "of 1 frames"),
        (content | {"annot2": content["annot3"]}, r"camera 0: annot2 is of shape"),
        (behind, "camera 0, frame 0: depth"),
    ]
    for saved, message in wrong:
        scipy.io.savemat(folder / "annot.mat", saved)
        with pytest.raises(ValueError, match=message) as raised:
            opened(tmp_path, "train")
        assert "S3/Seq2/annot.mat" in str(raised.value)
    scipy.io.savemat(folder / "annot.mat", content)
    text = calibration()
    wrong_texts = [
        ("", "without cameras 0, 1, 2"),
        (text.replace("name          4", "name          44"), "without cameras 4"),
        (text.replace("1497.693", "-1497.693"), "positive"),
        (text.replace("1497.693", "x"), "16 numbers"),
        (text.replace("1497.693", "1e999"), "finite"),
        (text.replace("1497.693", "1 1"), "intrinsic"),
    ]
    for changed, message in wrong_texts:
        (folder / "camera.calibration").write_text(changed)
        with pytest.raises(ValueError, match=message) as raised:
            opened(tmp_path, "train")
        assert "S3/Seq2/camera.calibration" in str(raised.value)
