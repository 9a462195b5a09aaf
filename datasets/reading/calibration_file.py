"""Calibration files of colour cameras, as the tools write them: one camera for all pictures, or one for each.

    YAML or JSON, flat          fx, fy, cx, cy (ppx, ppy), width, height; so also your own depth camera's camera.yaml
    OpenCV (YAML, JSON, XML)    camera_matrix, image_width, image_height, distortion_coefficients, as FileStorage writes
                                them; and K, cameraMatrix, intrinsic_matrix, by rows or, as Open3D has it, by columns
    ROS camera_info (YAML)      image_width, image_height, camera_matrix: {rows, cols, data}
    Kalibr (YAML)               cam0: {camera_model: pinhole, intrinsics: [fx, fy, cx, cy], resolution: [w, h]}; one cam
    a picture each (JSON, YAML) {"day1/0007.jpg": [fx, fy, cx, cy], ...}, or any of these forms in its place; or COCO's
                                {"images": [{file_name, width, height, ...}]} with f and c, focal and princpt, intrinsic
                                or cam_param, as RootNet's and PoseNet's sets have them; a video stands for its frames

Pixel centres: the first pixel's is taken to be at 0, as all of these tools have it; `pixel_centers: 0.5` in the file
says otherwise. Distortion is noticed and not used: undistort pictures first (cv2.undistort) where it matters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..depth.calibration import Size
from .annotations import BadAnnotation, Words, entries, mapping, need_file, numbers, picture_name, read_json, read_yaml
from .annotations import whole as whole_number
from .cameras import pinhole
from .pinhole import Pinhole

SUFFIXES = (".yaml", ".yml", ".json", ".xml")
SINGLES = (("fx", "fy", "cx", "cy"), ("fx", "fy", "ppx", "ppy"))
PAIRS = (("f", "c"), ("focal", "princpt"), ("focal_length", "principal_point"))
MATRICES = ("camera_matrix", "cameraMatrix", "Camera_Matrix", "intrinsic_matrix", "K", "k", "mtx")
EITHER = ("intrinsics", "intrinsic")
"""Four numbers, or a matrix."""
NESTED = ("cam_param",)
SIZES = (("width", "height"), ("image_width", "image_height"), ("image_Width", "image_Height"))
SIZE_LISTS = ("resolution", "image_size", "img_size", "size")
LENSES = (
    *("distortion_coefficients", "Distortion_Coefficients", "distortion_coeffs", "dist_coeffs", "dist_coefs"),
    *("distCoeffs", "distortion", "dist", "coeffs", "D", "k1", "k2", "k3", "k4", "p1", "p2"),
)
NO_PINHOLE = ("omni", "ds", "eucm")
"""Kalibr's camera models whose intrinsics mean something else."""
EXPECTED = "fx, fy, cx and cy; camera_matrix or K; intrinsics; or f and c, for all pictures or by picture"


@dataclass(frozen=True)
class Calibration:
    """What a file says, pixel centres at +0.5."""

    common: Pinhole | None = None
    """Of all pictures."""
    pictures: Mapping[str, Pinhole] = field(default_factory=dict)
    """By picture, or by the video of frames."""
    shift: float = 0.5
    """What was added to the file's principal points."""


def read_calibration(path: Path) -> Calibration:
    """The cameras of a file in one of the forms above. Raises BadAnnotation, a ValueError, naming entry and field."""
    need_file(path, f"camera= takes exif, or a calibration file ({', '.join(SUFFIXES)})")
    content = mapping(_content(path), path, "", "the content")
    shift = _shift(content, path)
    if "images" in content:
        return Calibration(pictures=_of_images(content["images"], path, shift), shift=shift)
    common = _camera(content, path, "", shift)
    if common is not None:
        return Calibration(common, shift=shift)
    about = (*SIZE_LISTS, *LENSES)
    named = {name: value for name, value in content.items() if isinstance(value, dict | list) and name not in about}
    if rig := [name for name in named if re.fullmatch(r"cam\d+", name)]:
        if len(rig) > 1:
            wanted = "one camera: leave that of these pictures in the file alone"
            raise BadAnnotation(path, "", "the content", Words(f"a rig of {', '.join(rig)}"), wanted)
        return Calibration(_camera(named[rig[0]], path, rig[0], shift), shift=shift)
    pictures = {picture_name(name, path, name): _camera(value, path, name, shift) for name, value in named.items()}
    return Calibration(pictures=_known(pictures, path), shift=shift)


def _content(path: Path) -> Any:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return read_json(path)
    if suffix == ".xml":
        return _read_xml(path)
    if suffix in SUFFIXES:
        return _with_numbers(read_yaml(path))
    raise BadAnnotation(path, "", "the file", Words(f"of type {suffix or 'none'}"), " or ".join(SUFFIXES))


def _with_numbers(value: Any) -> Any:
    """The scalars of a YAML file as numbers, where they are."""
    if isinstance(value, dict):
        return {key: _with_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_numbers(inner) for inner in value]
    try:
        return float(value)
    except ValueError:
        return value


def _read_xml(path: Path) -> Any:
    try:
        text = path.read_text("utf-8-sig")
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        return _tree(storage.root())
    except Exception as error:  # cv2.error or SystemError, by OpenCV's version
        words = Words(f"{type(error).__name__}: {error}")
        raise BadAnnotation(path, "", "the content", words, "XML as OpenCV's FileStorage writes it") from error


def _tree(node: Any) -> Any:
    if node.isMap():
        return {key: _tree(node.getNode(key)) for key in list(node.keys())}
    if node.isSeq():
        return [_tree(node.at(k)) for k in range(node.size())]
    return node.string() if node.isString() else node.real() if node.isInt() or node.isReal() else None


def _shift(content: dict[str, Any], path: Path) -> float:
    centers = content.get("pixel_centers", 0.0)
    if isinstance(centers, bool) or centers not in (0.0, 0.5):
        raise BadAnnotation(path, "", "pixel_centers", centers, "0.0 (OpenCV, ROS) or 0.5")
    return 0.5 - float(centers)


def _of_images(images: Any, path: Path, shift: float) -> dict[str, Pinhole]:
    pictures = {}
    for number, value in enumerate(entries(images, path, "", "images")):
        where = f"image {number}"
        row = mapping(value, path, where, "the image", ("file_name",))
        pictures[picture_name(row["file_name"], path, where)] = _camera(row, path, where, shift)
    return _known(pictures, path)


def _known(pictures: Mapping[str, Pinhole | None], path: Path) -> dict[str, Pinhole]:
    known = {name: camera for name, camera in pictures.items() if camera is not None}
    if not known:
        raise BadAnnotation(path, "", "the content", Words("without a camera"), EXPECTED)
    return known


def _camera(row: Any, path: Path, entry: str, shift: float) -> Pinhole | None:
    """The camera that a mapping, or a list in its place, states; None where it states none."""
    if isinstance(row, list):
        row = {"intrinsics": row}
    for key in NESTED:
        if isinstance(row.get(key), dict):
            return _camera(row[key] | {k: row[k] for pair in SIZES for k in pair if k in row}, path, entry, shift)
    values = _values(row, path, entry)
    if values is None:
        return None
    if row.get("camera_model") in NO_PINHOLE:
        raise BadAnnotation(path, entry, "camera_model", row["camera_model"], "pinhole: calibrate with that model")
    fx, fy, cx, cy = values.tolist()
    return Pinhole(fx, fy, cx + shift, cy + shift, _size(row, path, entry), _distorted(row))


def _values(row: dict[str, Any], path: Path, entry: str) -> np.ndarray | None:
    """(4,) fx, fy, cx, cy as written."""
    for keys in SINGLES:
        if keys[3] in row or (keys is SINGLES[0] and {"fx", "fy"} & row.keys() and "ppx" not in row):
            mapping(row, path, entry, "the camera", keys)
            return np.array([float(numbers(row[key], (), path, entry, key)) for key in keys])
    for key in (*MATRICES, *EITHER):
        if key in row and isinstance(row[key], list | dict):
            return _matrix(row[key], path, entry, key, either=key in EITHER)
    for focal, middle in PAIRS:
        if focal in row and middle in row:
            lengths = row[focal] if isinstance(row[focal], list) else [row[focal]] * 2
            lengths = numbers(lengths, (2,), path, entry, focal)
            return np.concatenate([lengths, numbers(row[middle], (2,), path, entry, middle)])
    return None


def _matrix(value: Any, path: Path, entry: str, key: str, either: bool) -> np.ndarray | None:
    if isinstance(value, dict):
        if {"fx", "fy"} <= value.keys():
            return _values(value, path, entry)
        value = mapping(value, path, entry, key, ("data",))["data"]
    flat = isinstance(value, list) and not (value and isinstance(value[0], list))
    if either and flat and len(value) != 9:
        return numbers(value, (4,), path, entry, key)
    matrix = numbers(value, (9,) if flat else (3, 3), path, entry, key).reshape(3, 3)
    by_columns = matrix[0, 2] == 0 and matrix[1, 2] == 0 and matrix[2, :2].any()
    return pinhole((matrix.T if by_columns else matrix)[None], path, f"{entry} {key}".strip())[0]


def _size(row: dict[str, Any], path: Path, entry: str) -> Size | None:
    for across, down in SIZES:
        if across in row and down in row:
            size = whole_number(row[across], path, entry, across), whole_number(row[down], path, entry, down)
            break
    else:
        key = next((key for key in SIZE_LISTS if isinstance(row.get(key), list)), None)
        if key is None:
            return None
        across, down = numbers(row[key], (2,), path, entry, key).tolist()
        size = whole_number(across, path, entry, key), whole_number(down, path, entry, key)
    if min(size) < 1:
        raise BadAnnotation(path, entry, "width and height", size, "the size of the pictures in px")
    return size


def _distorted(row: dict[str, Any]) -> bool:
    """Whether any coefficient of a lens is other than 0."""
    return any(_any(row[key]) for key in LENSES if key in row)


def _any(value: Any) -> bool:
    if isinstance(value, dict):
        return _any(value.get("data", list(value.values())))
    if isinstance(value, list):
        return any(_any(inner) for inner in value)
    return isinstance(value, int | float) and value != 0
