"""Pinhole cameras of annotation files: read, checked, and held against the points and keypoints beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .annotations import BadAnnotation
from .people import project

NEAREST = 1.0
"""mm before the camera: nothing that it sees is nearer."""
AGREE = 0.99
"""Share of points that cameras must project to the keypoints beside them."""
UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
"""mm in one of each."""


def pinhole(matrices: np.ndarray, file: str | Path, field: str, first: int = 0) -> np.ndarray:
    """(N, 4) fx, fy, cx, cy of matrices (N, 3, 3), of which the first is the file's entry `first`. Raises BadAnnotation
    for one with skew or another last row."""
    camera = matrices[:, [0, 1, 0, 1], [0, 1, 2, 2]]
    plain = np.zeros_like(matrices)
    plain[:, [0, 1, 0, 1], [0, 1, 2, 2]], plain[:, 2, 2] = camera, 1
    fine = (np.abs(matrices - plain) < 1e-6).all((1, 2)) & (camera[:, :2] > 0).all(1)
    if not fine.all():
        row = int(np.argmin(fine))
        wanted = "[[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with positive fx and fy"
        raise BadAnnotation(file, f"entry {first + row}, from 0", field, matrices[row].tolist(), wanted)
    return camera


def in_front(points: np.ndarray, file: str | Path, ids: Sequence[str]) -> None:
    """Raises BadAnnotation naming the first of `points` (N, K, 3) mm with a joint nearer than NEAREST or behind."""
    fine = (points[..., 2] >= NEAREST).all(-1)
    if not fine.all():
        row = int(np.argmin(fine))
        depth = float(points[row, :, 2].min())
        raise BadAnnotation(file, ids[row], "depth", depth, f"joints at least {NEAREST} mm in front of the camera")


def agree(points: np.ndarray, camera: np.ndarray, keypoints: np.ndarray) -> bool:
    """Whether the cameras (N, 4) project nearly all points (N, K, 3) to within a pixel of keypoints (N, K, 2)."""
    return agreeing(points, camera, keypoints) >= AGREE * keypoints[..., 0].size


def agreeing(points: np.ndarray, camera: np.ndarray, keypoints: np.ndarray) -> float:
    """How many points (N, K, 3) the cameras (N, 4) project to within a pixel of keypoints (N, K, 2); minus infinity
    where one of them has no camera before it."""
    with np.errstate(all="ignore"):  # of files where they do not, anything may be near z = 0
        off = np.linalg.norm(project(points, camera) - keypoints, axis=-1)
    ahead = (camera[:, :2] > 0).all() and (points[..., 2] > 0).all()
    return float((off < 1).sum()) if ahead else -np.inf


def unit_of(points: np.ndarray, bone: tuple[int, int], length: tuple[float, float]) -> str | None:
    """The unit in which the median `bone` of points (N, K, 3) is of a `length` between these mm; None where none is."""
    return unit_of_bones(np.linalg.norm(points[:, bone[0]] - points[:, bone[1]], axis=-1), length)


def unit_of_bones(bones: np.ndarray, length: tuple[float, float]) -> str | None:
    """The unit in which the median of bones (N,) is of a `length` between these mm; None where none is."""
    median = float(np.median(bones))
    return next((unit for unit, scale in UNITS.items() if length[0] <= median * scale <= length[1]), None)
