"""`camera.yaml`, which says how your own depth camera measures.

    fx: 588.0                the pinhole camera of the frames as they are stored, in pixels; lens distortion removed
    fy: 587.0
    cx: 320.0
    cy: 240.0
    pixel_centers: 0.0       where that calibration, boxes, centres and labels count the first pixel's centre: 0.0 as
                             OpenCV and ROS do (the default), or 0.5
    unit: mm                 what a depth of 1 is: mm, cm, m or um, or a number of mm: 0.25 for RealSense L515, 0.2 for
                             TUM RGB-D (5000 a metre), 0.1 for RealSense D405
    cube: 250                edge of the cube around the hand or body; one number, or three along x, y and z
    width: 640               the frames' size, which the calibration is of; optional. Others are refused, and a
    height: 480              principal point far from the middle (of frames that were cut out) is believed
    near: 100                where find_center (depth/center.py) looks; optional, as are the three files
    far: 2000
    boxes: boxes.csv         what these hold stands in datasets/own/depth_folder.py
    centers: centers.csv
    labels: labels.csv

Lengths are in mm unless said otherwise.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..depth.calibration import Size
from ..depth.files import file_name
from ..depth.unit import mm_of

Array = np.ndarray
NEEDED = ("fx", "fy", "cx", "cy", "unit", "cube")
AXES = {"boxes": ("left", "top", "right", "bottom"), "centers": tuple("xyz"), "labels": tuple("xyz")}
KEYS = (*NEEDED, "pixel_centers", "width", "height", "near", "far", *AXES)
BEYOND = 1e9
"""No number of a camera.yaml is as large."""
SMALLEST = 10.0
"""mm: smaller lengths were meant in metres."""


@dataclass(frozen=True)
class Setup:
    """What camera.yaml says, in our convention."""

    path: Path
    camera: Array
    """(4,) fx, fy, cx, cy, pixel centres at +0.5."""
    shift: float
    """What is added to the user's x and y."""
    unit: float
    """mm in a step of the files."""
    cube: Array
    """(3,) mm."""
    near: float
    far: float
    tables: dict[str, Path]
    size: Size | None = None
    """Width and height of the frames that the calibration is of, where it says so."""


def read_setup(path: Path, over: Mapping[str, Any] | None = None) -> Setup:
    """A camera.yaml, with the values of `over` in place of its own. Raises ValueError naming the key that is unknown,
    missing or wrong."""
    said = {"pixel_centers": 0.0, "near": 100.0, "far": 2000.0} | read_keys(path) | dict(over or {})
    if missing := [key for key in NEEDED if key not in said]:
        raise ValueError(f"{path}: missing {', '.join(missing)}")
    try:
        unit = mm_of(said["unit"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if said["pixel_centers"] not in (0.0, 0.5) or isinstance(said["pixel_centers"], bool):
        raise ValueError(f"{path}: pixel_centers={said['pixel_centers']!r} must be 0.0 (OpenCV, ROS) or 0.5")
    shift = 0.5 - said["pixel_centers"]
    fx, fy, near, far = (_number(said[key], key, path) for key in ("fx", "fy", "near", "far"))
    if near >= far:
        raise ValueError(f"{path}: near={near} and far={far} must be distances in mm, 0 < near < far")
    if far < SMALLEST:
        raise ValueError(
            f"{path}: far={far:g} is in mm, whatever the unit of the files; in metres, write {1000 * far:g}"
        )
    cx, cy = (_number(said[key], key, path, positive=False) + shift for key in ("cx", "cy"))
    edges = said["cube"] if isinstance(said["cube"], list) else [said["cube"]] * 3
    if len(edges) != 3:
        raise ValueError(f"{path}: cube={said['cube']!r} must be one edge or three edges in mm")
    cube = np.array([_number(edge, "cube", path) for edge in edges])
    if cube.max() < SMALLEST:
        raise ValueError(
            f"{path}: cube={said['cube']!r} is in mm: the edge around a hand is about 250, around a body 2000"
        )
    tables = {kind: _inside(path.parent, said[kind], f"{path}: {kind}") for kind in AXES if said.get(kind) is not None}
    if ("width" in said) != ("height" in said):
        raise ValueError(f"{path}: width and height, the size that the calibration is of, stand together or not at all")
    size = None
    if "width" in said:
        size = int(_number(said["width"], "width", path)), int(_number(said["height"], "height", path))
    return Setup(path, np.array([fx, fy, cx, cy]), shift, unit, cube, near, far, tables, size)


def read_keys(path: Path) -> dict[str, Any]:
    """The lines of a camera.yaml. Raises ValueError for one that cannot be read, and for unknown keys."""
    if not os.path.isfile(path):  # a name may be too long to ask for
        raise ValueError(
            f"no {path}: write one with {', '.join(NEEDED)} (unit: mm, m or the mm in a step) beside your depth "
            "frames, or name one that lies elsewhere as camera=FILE"
        )
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    if not isinstance(said, dict):
        raise ValueError(f"{path}: found {type(said).__name__}; expected lines `key: value` with {', '.join(NEEDED)}")
    for key in said:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"{path}: unknown key {key!r}{hint}; known: {', '.join(KEYS)}")
    return said


def _number(value: Any, key: str, path: Path, positive: bool = True) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < BEYOND:
        raise ValueError(f"{path}: {key}={value!r} is not a finite number")
    if positive and value <= 0:
        up = " (a minus in papers means y up: leave it out)" if key == "fy" and value < 0 else ""
        raise ValueError(f"{path}: {key}={value!r} must be above 0{up}")
    return float(value)


def _inside(root: Path, name: Any, where: str) -> Path:
    path = root / file_name(str(name), where).decode()
    if not os.path.isfile(path):  # a name may be too long to ask for
        raise ValueError(f"{where}: there is no file {path}")
    return path
