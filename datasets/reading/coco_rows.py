"""Annotations of a COCO keypoint JSON that are taken, and fields of many of them at once."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .annotations import stacked


class Row(NamedTuple):
    """An annotation that is taken."""

    id: str
    number: int
    """Its place in the file."""
    image: dict[str, Any]
    annotation: dict[str, Any]
    category: dict[str, Any]
    crowd: bool = False
    """It is many people under one label."""

    @property
    def labelled(self) -> bool:
        """Whether keypoints of one person are given, annotated or not."""
        return not self.crowd and self.annotation.get("keypoints") not in (None, [], "")


def stack(values: list[Any], shape: tuple[int, ...], file: Path, rows: list[Row], field: str) -> np.ndarray:
    """(N, *shape)"""
    return stacked(values, shape, file, [f"annotation {row.id}" for row in rows], field)


def boxes_of(rows: list[Row], file: Path) -> tuple[np.ndarray, np.ndarray]:
    """(N, 4) left, top, right, bottom, a box that was drawn from its other end too; and widths and heights (N, 2) as
    the file gives them."""
    given = stack([box_of(row.annotation.get("bbox")) for row in rows], (4,), file, rows, "bbox")
    ends = given[:, :2] + given[:, 2:]
    return np.concatenate([np.minimum(given[:, :2], ends), np.maximum(given[:, :2], ends)], 1), given[:, 2:]


def cameras_of(images: list[dict[str, Any]]) -> np.ndarray | None:
    """(N, 4), zeros where an image has none; None where none has one."""
    known = [image["camera"] for image in images]
    if all(camera is None for camera in known):
        return None
    return np.stack([np.zeros(4) if camera is None else camera for camera in known])


def box_of(value: Any) -> Any:
    """No box, or one of which something is missing, has no area."""
    lacking = not value or (isinstance(value, list) and any(x is None or x != x for x in value))
    if isinstance(value, list) and any(isinstance(x, str) for x in value):
        with suppress(ValueError, TypeError):
            value = [float(x) for x in value]
    return [0, 0, 0, 0] if lacking else value
