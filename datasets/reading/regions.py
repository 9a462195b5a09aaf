"""Regions of a picture as COCO writes them in `segmentation`: https://cocodataset.org/#format-data.

A list of polygons, each x, y, x, y, ... from the picture's edges; or run lengths {"size": [height, width], "counts":
...} that go down the columns, 0 first, as a list or as the compressed text of cocoapi (common/maskApi.c @ 8c9bcc3,
rleFrString): numbers in groups of 5 bits, lowest first, from the character "0" on, of which bit 6 says that more
follows; from the fourth number on, what is added to the last but one.

Pixels of a polygon are those that OpenCV fills; cocoapi's own differ along its outline by up to a pixel.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .annotations import BadAnnotation, entries, mapping, numbers, whole

_SHIFT = 4
"""OpenCV fills polygons of corners at 1/16 px."""
MOST = 2**31
"""Pixels of a picture, at most."""


@dataclass(frozen=True)
class Region:
    """Where something is in a picture."""

    polygons: tuple[np.ndarray, ...] = ()
    """Each (n, 2) float32 px, from the picture's edges."""
    counts: np.ndarray | None = None
    """(R,) int64 run lengths, down the columns, outside first; None: polygons say it."""
    size: tuple[int, int] = (0, 0)
    """Height and width of the picture that the run lengths are of."""

    @property
    def area(self) -> float:
        """px squared; of polygons that overlap, the sum."""
        if self.counts is not None:
            return float(self.counts[1::2].sum())
        return float(sum(cv2.contourArea(polygon) for polygon in self.polygons))

    def bounds(self) -> np.ndarray | None:
        """(4,) left, top, right, bottom; None of an empty one."""
        if self.counts is not None:
            pixels = self.pixels()
            rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
            ends = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if len(rows) else None
            return None if ends is None else np.array(ends, np.float64)
        if not self.polygons:
            return None
        corners = np.concatenate(self.polygons).astype(np.float64)
        return np.concatenate([corners.min(0), corners.max(0)])

    def holds(self, points: np.ndarray) -> np.ndarray:
        """Which points (N, 2), px, lie in it: (N,) bool."""
        if self.counts is None:
            return np.asarray(np.array([_encloses(polygon, points) for polygon in self.polygons]).any(0))
        height, width = self.size
        x, y = np.floor(points).astype(np.int64).T
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        return inside & self.pixels()[y.clip(0, height - 1), x.clip(0, width - 1)]

    def pixels(self) -> np.ndarray:
        """(H, W) bool of run lengths."""
        assert self.counts is not None
        inside = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(inside, self.counts).reshape(self.size[::-1]).T

    def clear(self, mask: np.ndarray) -> None:
        """Set what it covers of `mask` (H, W) uint8 to 0. Raises ValueError where its run lengths are of another
        size."""
        if self.counts is None:
            fixed = [np.rint((polygon - 0.5) * 2**_SHIFT).astype(np.int32) for polygon in self.polygons]
            for polygon in fixed:  # each for itself: together OpenCV leaves out where an even number of them overlap
                cv2.fillPoly(mask, [polygon], 0, cv2.LINE_8, _SHIFT)
        elif mask.shape != self.size:
            raise ValueError(f"run lengths of {self.size[1]}x{self.size[0]} px")
        else:
            mask[self.pixels()] = 0


def text_of(region: Region | None) -> str:
    """A region as a text, of which `region_of` makes it again."""
    if region is None:
        return "null"
    counts = None if region.counts is None else region.counts.tolist()
    return json.dumps([[polygon.tolist() for polygon in region.polygons], counts, region.size])


def region_of(text: str) -> Region | None:
    if text == "null":
        return None
    polygons, counts, (height, width) = json.loads(text)
    corners = tuple(np.array(polygon, np.float32) for polygon in polygons)
    return Region(corners, None if counts is None else np.array(counts, np.int64), (height, width))


def _encloses(polygon: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Which points (N, 2) an even-odd count of the edges to their right puts inside of corners (M, 2): (N,) bool."""
    (x, y), start = points.T[..., None], polygon.astype(np.float64)
    end = np.roll(start, -1, 0)
    crosses = (start[:, 1] > y) != (end[:, 1] > y)
    rise = np.where(start[:, 1] == end[:, 1], 1.0, end[:, 1] - start[:, 1])
    edge = start[:, 0] + (y - start[:, 1]) / rise * (end[:, 0] - start[:, 0])
    return np.asarray((crosses & (x < edge)).sum(1) % 2 == 1)


def rectangle(box: np.ndarray) -> Region:
    """What a box (4,) holds."""
    left, top, right, bottom = box
    return Region((np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32),))


def read_region(value: Any, file: Path, entry: str) -> Region | None:
    """What `segmentation` says; None where it says nothing. Raises BadAnnotation."""
    if value in (None, [], {}, "") or (isinstance(value, list) and not any(value)):
        return None
    if isinstance(value, list):
        flat = value if not isinstance(value[0], list) else None  # one polygon that is not in a list of its own
        return Region(tuple(_polygon(one, file, entry) for one in ([flat] if flat else value) if one))
    mapping(value, file, entry, "segmentation", ("size", "counts"))
    height, width = (whole(n, file, entry, "size") for n in numbers(value["size"], (2,), file, entry, "size"))
    counts = _counts(value["counts"], file, entry)
    if min(height, width) < 1 or height * width > MOST or (counts < 0).any() or counts.sum() != height * width:
        raise BadAnnotation(file, entry, "counts", value["counts"], f"run lengths of {width}x{height} px in all")
    return Region(counts=counts, size=(height, width))


def _polygon(value: Any, file: Path, entry: str) -> np.ndarray:
    flat = numbers(value, (None,), file, entry, "a polygon of segmentation")
    if len(flat) % 2 or len(flat) < 4:
        raise BadAnnotation(file, entry, "a polygon of segmentation", value, "x, y of each corner")
    return flat.reshape(-1, 2).astype(np.float32)


def _counts(value: Any, file: Path, entry: str) -> np.ndarray:
    if not isinstance(value, str):
        counts = entries(value, file, entry, "counts")
        if any(type(n) is not int or not 0 <= n <= MOST for n in counts):
            raise BadAnnotation(file, entry, "counts", value, "whole numbers of pixels")
        return np.array(counts, np.int64)
    return _decompressed(value, file, entry)


def _decompressed(text: str, file: Path, entry: str) -> np.ndarray:
    codes = np.frombuffer(text.encode("latin1", "replace"), np.uint8).astype(np.int64) - 48
    more = (codes & 32) > 0
    ends = np.flatnonzero(~more)
    if not len(codes) or more[-1] or (codes < 0).any() or (codes > 63).any():
        raise BadAnnotation(file, entry, "counts", text, "compressed run lengths, as cocoapi writes them")
    starts = np.concatenate([[0], ends[:-1] + 1])
    places = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    if places.max() > 8:
        raise BadAnnotation(file, entry, "counts", text, "run lengths of pixels")
    values = np.add.reduceat((codes & 31) << 5 * places, starts)
    values -= ((codes[ends] & 16) > 0) << 5 * (places[ends] + 1)  # the sign
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def run_lengths(pixels: np.ndarray) -> dict[str, Any]:
    """`segmentation` of the pixels (H, W) bool, with the run lengths as a list."""
    flat = np.concatenate([[False], pixels.T.ravel(), [not pixels.T.ravel()[-1]]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(changes, prepend=0)
    return {"size": list(pixels.shape), "counts": counts.tolist()}
