import json

import cv2
import numpy as np
import pytest

from keyshift.datasets.reading.annotations import BadAnnotation
from keyshift.datasets.reading.calibration_file import read_calibration

MATRIX = [[600.0, 0, 310], [0, 610, 245], [0, 0, 1]]
WANTED = [600, 610, 310.5, 245.5]
ROS = """image_width: 640
image_height: 480
camera_name: head
camera_matrix:
  rows: 3
  cols: 3
  data: [600, 0, 310, 0, 610, 245, 0, 0, 1]
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0, 0, 0]}
projection_matrix: {rows: 3, cols: 4, data: [5, 0, 3, 0, 0, 6, 2, 0, 0, 0, 1, 0]}
"""
KALIBR = """cam0:
  camera_model: pinhole
  distortion_coeffs: [0.0, 0.0, 0.0, 0.0]
  distortion_model: radtan
  intrinsics: [600, 610, 310, 245]
  resolution: [640, 480]
  rostopic: /cam0/image_raw
"""
OPENCV_4 = """%YAML:1.0
---
image_width: 640
image_height: 480
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 6.0000000000000000e+02, 0., 310., 0., 610., 245., 0., 0., 1. ]
distortion_coefficients: !!opencv-matrix
   rows: 5
   cols: 1
   dt: d
   data: [ 0., 0., 0., 0., 0. ]
"""
FLAT = {"fx": 600, "fy": 610, "cx": 310, "cy": 245}
SIZE = {"width": 640, "height": 480}
BY_COLUMNS = np.array(MATRIX).T.ravel().tolist()
SAME = {
    "flat.json": FLAT | SIZE,
    "flat.yaml": "fx: 600.0\nfy: 6.1e2\ncx: 310\ncy: 245\nwidth: 640\nheight: 480\n",
    "depth.yaml": "fx: 600\nfy: 610\ncx: 310\ncy: 245\nunit: mm\ncube: 250\nwidth: 640\nheight: 480\n",
    "half.yaml": "fx: 600\nfy: 610\ncx: 310.5\ncy: 245.5\npixel_centers: 0.5\nwidth: 640\nheight: 480\n",
    "realsense.json": {"fx": 600, "fy": 610, "ppx": 310, "ppy": 245, "coeffs": [0, 0, 0, 0, 0]} | SIZE,
    "ros.yaml": ROS,
    "kalibr.yaml": KALIBR,
    "old.yml": OPENCV_4,
    "k.json": {"K": MATRIX, "image_size": [640, 480]},
    "nine.json": {"K": np.ravel(MATRIX).tolist(), "resolution": [640, 480]},
    "open3d.json": {"intrinsic_matrix": BY_COLUMNS} | SIZE,
    "four.json": {"intrinsic": [600, 610, 310, 245]} | SIZE,
    "kinect.json": {"intrinsics": FLAT} | SIZE,
    "rootnet.json": {"f": [600, 610], "c": [310, 245]} | SIZE,
    "3dpw.json": {"cam_param": {"focal": [600, 610], "princpt": [310, 245]}} | SIZE,
}


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", SAME)
def test_all_forms_say_the_same(tmp_path, name):
    calibration = read_calibration(write(tmp_path, name, SAME[name]))
    assert not calibration.pictures
    camera = calibration.common
    assert camera.size == (640, 480)
    assert camera.at(640, 480).tolist() == WANTED
    assert camera.at(320, 240) == pytest.approx([300, 305, 155.25, 122.75])  # edges halve, not pixel indices
    assert camera.distorted == (name == "ros.yaml")


@pytest.mark.parametrize("name", ["a.yml", "a.yaml", "a.xml", "a.json"])
@pytest.mark.parametrize("k1", [0.0, 0.2])
def test_what_opencv_writes(tmp_path, name, k1):
    storage = cv2.FileStorage(str(tmp_path / name), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", 640)
    storage.write("image_height", 480)
    storage.write("camera_matrix", np.array(MATRIX))
    storage.write("distortion_coefficients", np.array([[k1, 0, 0, 0, 0]]))
    storage.release()
    camera = read_calibration(tmp_path / name).common
    assert camera.at(640, 480).tolist() == WANTED
    assert camera.size == (640, 480)
    assert camera.distorted == (k1 != 0)


def test_a_camera_for_each_picture(tmp_path):
    coco = {
        "images": [
            {"id": 1, "file_name": "a/1.jpg", "f": [600, 610], "c": [310, 245]} | SIZE,
            {"id": 2, "file_name": "clip.mp4", "intrinsic": [600, 610, 310, 245]},
            {"id": 3, "file_name": "no.jpg"},
        ],
        "annotations": [],
    }
    by_name = {"a/1.jpg": FLAT | SIZE, "clip.mp4": [600, 610, 310, 245]}
    in_yaml = "a/1.jpg: {fx: 600, fy: 610, cx: 310, cy: 245, width: 640, height: 480}\nclip.mp4: [600, 610, 310, 245]\n"
    for name, content in (("coco.json", coco), ("names.json", by_name), ("names.yaml", in_yaml)):
        calibration = read_calibration(write(tmp_path, name, content))
        assert calibration.common is None
        assert {key: camera.at(640, 480).tolist() for key, camera in calibration.pictures.items()} == {
            "a/1.jpg": WANTED,
            "clip.mp4": WANTED,
        }
        assert [camera.size for camera in calibration.pictures.values()] == [(640, 480), None]


BAD = {
    "text.txt": ("600", "the file is of type .txt, expected .yaml or .yml or .json or .xml"),
    "list.json": ([600, 610, 310, 245], "expected a mapping"),
    "broken.json": ("{", "whole UTF-8 JSON"),
    "broken.yaml": ("fx: [", "(?s:.)*YAML in UTF-8"),
    "broken.xml": ("<?xml version='1.0'?><opencv_storage><a>", "XML as OpenCV's FileStorage writes it"),
    "foreign.xml": ("<?xml version='1.0'?><html/>", "XML as OpenCV's"),
    "empty.json": ({}, "the content is without a camera, expected fx, fy, cx and cy; camera_matrix or K"),
    "other.yaml": ("model: x\nlens: 35\n", "without a camera"),
    "half.json": ({"fx": 600, "fy": 610}, "cx is missing"),
    "words.json": (FLAT | {"fx": "wide"}, "fx is 'wide', expected finite numbers"),
    "nan.yaml": ("fx: .nan\nfy: nan\ncx: 3\ncy: 4\n", "fx is"),
    "huge.json": (FLAT | {"cx": 1e9}, "cx is"),
    "skew.json": ({"K": [[600, 9, 310], [0, 610, 245], [0, 0, 1]]}, "K is .*expected .*fx, 0, cx"),
    "negative.json": ({"K": [[-600, 0, 310], [0, 610, 245], [0, 0, 1]]}, "K is .*positive fx and fy"),
    "shape.json": ({"K": [1, 2, 3]}, r"K is of shape \(3,\)"),
    "omni.yaml": (KALIBR.replace("pinhole", "eucm"), "cam0: camera_model is 'eucm', expected pinhole"),
    "rig.yaml": (KALIBR + KALIBR.replace("cam0", "cam1"), "a rig of cam0, cam1, expected one camera"),
    "size.json": (FLAT | {"width": 0, "height": 480}, "width and height is"),
    "fraction.json": (FLAT | {"width": 640.5, "height": 480}, "width is 640.5, expected a whole number"),
    "centers.json": (FLAT | {"pixel_centers": 1}, "pixel_centers is 1, expected 0.0"),
    "three.json": ({"a.jpg": [1, 2, 3]}, r"a\.jpg: intrinsics is of shape \(3,\)"),
    "out.json": ({"../a.jpg": [600, 600, 300, 200]}, "a path below the root"),
    "images.json": ({"images": [{"id": 1}]}, "image 0: file_name is missing"),
    "several.yaml": ("size: [640, 480]\ncameras:\n  back: {fx_fy_cx_cy: [6, 6, 3, 2]}\n", "without a camera"),
    "cameraless.json": ({"images": [{"id": 1, "file_name": "a.jpg"}]}, "without a camera"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_name_file_and_field(tmp_path, name):
    content, match = BAD[name]
    with pytest.raises(BadAnnotation, match=rf"{name}.*{match}"):
        read_calibration(write(tmp_path, name, content))


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match=r"no file .*none\.yaml: camera= takes exif, or a calibration file"):
        read_calibration(tmp_path / "none.yaml")
