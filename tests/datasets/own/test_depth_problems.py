import re

import numpy as np
import pytest
import yaml

from keyshift.datasets.depth.center import UnusableDepth
from keyshift.datasets.doubts import doubts
from keyshift.datasets.own.depth_folder import DepthFolder, Options
from keyshift.datasets.own.depth_problems import camera_problems
from keyshift.datasets.skeleton import Skeleton
from keyshift.datasets.views import WithoutLabels

PAIR = Skeleton("pair", ("tip", "root"), edges=((0, 1),))
LINES = {"fx": 100.0, "fy": 110.0, "cx": 31.5, "cy": 23.5, "unit": "mm", "cube": 250}


def opened(root):
    return DepthFolder(Options(root=str(root)), "train", PAIR)


def frame(number=0):
    """(48, 64) whole mm: a disc of 9 pixels around (20 + number, 24) at 600 mm before a wall at 1500 mm."""
    yy, xx = np.mgrid[:48, :64]
    return np.where((xx - 20 - number) ** 2 + (yy - 24) ** 2 < 81, 600, 1500).astype(np.uint16)


def write_camera(root, **changes):
    (root / "camera.yaml").write_text(yaml.safe_dump(LINES | changes))


def write_set(root, names, make=frame, **changes):
    write_camera(root, **changes)
    for number, name in enumerate(names):
        np.save(root / name, make(number))
    return root


def numbered(count):
    return [f"{i}.npy" for i in range(count)]


QUARTER = {"fx": 588.0, "fy": 587.0, "cx": 320.0, "cy": 240.0}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            QUARTER,
            r"camera\.yaml: the principal point \(320, 240\) is outside of .* 64 x 48: .* 640 x 480; .* 0\.1",
        ),
        (QUARTER | {"cx": 32, "cy": 24}, r"a cube is 98 pixels wide .* multiply fx and fy by"),
        ({"fx": 3.6, "fy": 3.6}, "field of view of 167 degrees"),
        ({"cx": 0.5, "cy": 0.5}, "shares of the frame, multiply fx and cx by 64"),
        ({"fx": 400}, "differ by more than a factor of two"),
    ],
)
def test_a_calibration_that_cannot_be_that_of_the_frames_is_a_problem(tmp_path, changes, match):
    data = opened(write_set(tmp_path, numbered(3), **changes))
    (problem,) = camera_problems(data)
    assert re.search(match, problem)
    assert [d.text for d in doubts(WithoutLabels(data))] == [problem]


def test_what_is_as_it_should_be_has_no_problem(tmp_path):
    assert camera_problems(opened(write_set(tmp_path, numbered(3)))) == []
    assert camera_problems(opened(write_set(tmp_path, numbered(3), cx=20, cy=30))) == []
    assert camera_problems(opened(write_set(tmp_path, numbered(3), cx=110, cy=80, width=64, height=48))) == []


def test_frames_of_several_sizes_are_a_problem(tmp_path):
    write_set(tmp_path, ["a.npy", "c.npy"])
    np.save(tmp_path / "b.npy", np.pad(frame(), 8))
    (problem,) = camera_problems(opened(tmp_path))
    assert "several sizes, 64 x 48 (a.npy), 80 x 64 (b.npy)" in problem
    data = opened(write_set(tmp_path, ["a.npy", "c.npy"], width=64, height=48))
    with pytest.raises(UnusableDepth, match=r"b\.npy: the frame is of 80 x 64, the calibration in .* of 64 x 48"):
        data[1]


@pytest.mark.parametrize(("steps", "unit"), [(4, "0.25"), (5, "0.2"), (10, "0.1")])
def test_labels_in_another_unit_than_the_frames_are_a_problem(tmp_path, steps, unit):
    names = ["a.npy", "b.npy", "c.npy", "d.npy"]
    write_set(tmp_path, names, lambda i: frame(0) * np.uint16(steps), labels="labels.csv", far=30000)
    rows = "".join(f"{name},20,24,600,22,25,600\n" for name in names)
    (tmp_path / "labels.csv").write_text(f"file,tip_x,tip_y,tip_z,root_x,root_y,root_z\n{rows}")
    (problem,) = camera_problems(opened(tmp_path))
    assert (
        f"labels: with unit: mm the frames return {steps} times the z that is given there; with unit: {unit}" in problem
    )
    write_camera(tmp_path, labels="labels.csv", unit=float(unit))
    assert camera_problems(opened(tmp_path)) == []


def test_a_room_larger_than_any_camera_sees_is_a_problem(tmp_path):
    def hand_before_a_wall(number):
        return np.where(frame(number) == 600, 180, 2500).astype(np.uint16) * np.uint16(10)

    (problem,) = camera_problems(opened(write_set(tmp_path, numbered(3), hand_before_a_wall)))
    assert "with unit: mm half of the returns are 25 m away or more" in problem
    assert "unit: 0.25 (RealSense L515: 6250 to 6250 mm), 0.2" in problem
    assert camera_problems(opened(write_set(tmp_path, numbered(3), hand_before_a_wall, far=30000))) == []
    assert camera_problems(opened(write_set(tmp_path, numbered(3), hand_before_a_wall, unit=0.1))) == []
