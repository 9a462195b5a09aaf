"""Predictions as files: one COCO keypoint JSON, and drawn pictures.

COCO counts pixel centres from 0, keyshift stands them at +0.5: half a pixel is taken off keypoints here, where they are
written. Boxes are edges in both.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...datasets.reading.files import write_whole
from ...datasets.reading.people import digest
from ...datasets.reading.video import file_of, frame_rate, is_frame, write_video
from ...datasets.skeleton import Skeleton
from ..report.drawing import draw, joint_colours, write_picture
from .prediction_inputs import Inputs, is_video
from .progress import Reporter

PIXELS = (
    "keypoints count pixel centres from 0, as COCO does: the middle of the top left pixel is 0, 0. "
    "bbox is left, top, width, height of the crop, in edges: the picture's top left corner is 0, 0"
)
DRAWN = (".png", ".jpg", ".jpeg")
DRAWN_VIDEOS = (".mp4",)
"""Types that are drawn as what they are; others become .png and .mp4."""


@dataclass
class Found:
    """Predictions for the N people in P pictures, in file pixels with centres at +0.5."""

    sizes: np.ndarray
    """(P, 2) width and height of each picture, 0 where it cannot be read."""
    first: np.ndarray
    """(P + 1,) the people of picture p are the rows first[p] to first[p + 1]."""
    boxes: np.ndarray
    """(N, 4) left, top, right, bottom of the crop."""
    points: np.ndarray
    """(N, K, 2)"""
    confidence: np.ndarray
    """(N, K)"""
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """Name and reason."""

    @classmethod
    def empty(cls, inputs: Inputs, keypoints: int) -> Found:
        """Arrays to fill, made at once: small ones that stay, made between large ones that go, would leave holes."""
        first = np.cumsum([0, *map(inputs.people, inputs.names)])
        p, n = len(inputs.names), int(first[-1])
        points, confidence = np.zeros((n, keypoints, 2), np.float32), np.zeros((n, keypoints), np.float32)
        return cls(np.zeros((p, 2), np.int64), first, np.zeros((n, 4)), points, confidence, list(inputs.unreadable))

    def rows(self, place: int) -> range:
        """The people of a picture."""
        return range(int(self.first[place]), int(self.first[place + 1]))

    @property
    def readable(self) -> np.ndarray:
        """(P,) bool"""
        return np.asarray(self.sizes[:, 0] > 0)

    @property
    def people(self) -> int:
        """In pictures that can be read."""
        return int(np.diff(self.first)[self.readable].sum())


def check_outputs(inputs: Inputs, output: Path, folder: Path | None, overwrite: bool) -> None:
    """Raises ValueError where something of the user's would be overwritten, a picture that is read above all."""
    if output.suffix.lower() != ".json" or not output.parent.is_dir():
        raise ValueError(f"cannot write {output}: expected the name of a .json file in a folder that exists")
    if output.exists() and not overwrite:
        raise ValueError(f"{output} exists; pass --overwrite or --output FILE")
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is no folder; name one for the drawn pictures")
    for read_whole in inputs.folders:
        if folder.resolve().is_relative_to(read_whole.resolve()):
            raise ValueError(
                f"{folder} lies in {read_whole}, all of which is read: the next run would take the drawings for "
                "pictures; draw into a folder outside it"
            )
    names = list(dict.fromkeys(map(file_of, inputs.names)))
    read = {(inputs.root / name).resolve() for name in names}
    for name in names:
        target = drawn_path(folder, name)
        if target.resolve() in read:
            raise ValueError(f"{target} is one of the pictures to read; draw into another folder")
        if target.exists() and not overwrite:
            raise ValueError(f"{target} exists; pass --overwrite or draw into another folder")


def write_coco(
    path: Path, found: Found, inputs: Inputs, skeleton: Skeleton, weights: Path, size: tuple[int, int]
) -> None:
    """Write the predictions as COCO keypoints, whole or not at all. Pictures without people are listed too."""
    info = {
        "description": "keypoints predicted by keyshift",
        "version": version("keyshift"),
        "model": {"file": weights.name, "sha256": digest(weights), "input_size": list(size)},
        "root": str(inputs.root),
        "boxes": inputs.how,
        "pixels": PIXELS,
    }
    category = {
        "id": 1,
        "name": skeleton.name,
        "keypoints": list(skeleton.keypoints),
        "skeleton": [[a + 1, b + 1] for a, b in skeleton.edges],
    }
    places = np.flatnonzero(found.readable).tolist()
    parts: dict[str, Iterable[Any]] = {
        "images": (_image(place + 1, inputs.names[place], *found.sizes[place].tolist()) for place in places),
        "annotations": (_annotation(row + 1, place + 1, found, row) for place in places for row in found.rows(place)),
        "categories": [category],
        "unreadable": ({"file_name": name, "reason": reason} for name, reason in found.unreadable),
    }

    def write(file: BinaryIO) -> None:  # entry by entry: as one object a million people would take gigabytes
        file.write(b'{\n"info": ' + json.dumps(info).encode())
        for key, entries in parts.items():
            file.write(f',\n"{key}": ['.encode())
            for number, entry in enumerate(entries):
                file.write((",\n" if number else "\n").encode() + json.dumps(entry, allow_nan=False).encode())
            file.write(b"\n]")
        file.write(b"\n}\n")

    write_whole(path, write)


def _image(number: int, name: str, width: int, height: int) -> dict[str, Any]:
    told: dict[str, Any] = {"id": number, "file_name": name, "width": width, "height": height}
    if is_frame(name):
        told |= {"video": file_of(name), "frame": int(name.rpartition("#")[2])}
    return told


def _annotation(number: int, image: int, found: Found, row: int) -> dict[str, Any]:
    left, top, right, bottom = found.boxes[row].round(3).tolist()
    points = (found.points[row].astype(np.float64) - 0.5).round(3).tolist()
    sure = found.confidence[row].astype(np.float64)
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": [left, top, round(right - left, 3), round(bottom - top, 3)],
        "area": round((right - left) * (bottom - top), 3),
        "iscrowd": 0,
        "keypoints": [v for x, y in points for v in (x, y, 2)],
        "num_keypoints": len(points),
        "keypoint_scores": sure.round(5).tolist(),
        "score": round(float(sure.mean()), 5),
    }


def drawn_path(folder: Path, name: str) -> Path:
    """Where a picture or video is drawn: its own path below `folder`; of a type that is not written here with .png or
    .mp4 behind it."""
    path, video = folder / name, is_video(name)
    if path.suffix.lower() in (DRAWN_VIDEOS if video else DRAWN):
        return path
    return path.with_name(path.name + (".mp4" if video else ".png"))


def draw_all(folder: Path, found: Found, inputs: Inputs, skeleton: Skeleton, reporter: Reporter) -> None:
    """Every picture that was read with all its people, in its own size; videos as videos of the frames predicted."""
    places, started, done = np.flatnonzero(found.readable).tolist(), time.monotonic(), 0
    with reporter.stage("draw", len(places)) as show:

        def drawn(chosen: Iterable[int]) -> Iterator[np.ndarray]:
            nonlocal done
            for place in chosen:
                yield draw_people(inputs.read(inputs.names[place]), found, found.rows(place), skeleton)
                done += 1
                show(done, {"seconds/iteration": (time.monotonic() - started) / done})

        for name, chosen in groupby(places, lambda place: file_of(inputs.names[place])):
            target = drawn_path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if is_video(name):
                write_video(target, drawn(chosen), drawn_rate(inputs, name), overwrite=True)
            else:
                for picture in drawn(chosen):
                    write_picture(target, picture)


def drawn_rate(inputs: Inputs, video: str) -> float:
    """Frames a second, so that a video of every n-th frame lasts as long as the one it is of."""
    numbers = [int(name.rpartition("#")[2]) for name in inputs.names if name.startswith(f"{video}#")]
    share = len(numbers) / (numbers[-1] - numbers[0] + 1)
    return min(max(frame_rate(inputs.root / video) * share, 1.0), 1000.0)


def draw_people(image: np.ndarray, found: Found, rows: Iterable[int], skeleton: Skeleton) -> np.ndarray:
    """A picture with all its people, the lines as thick as their crops ask for."""
    colours = joint_colours(len(skeleton))
    for row in rows:
        side = float((found.boxes[row, 2:] - found.boxes[row, :2]).max())
        weight = max(side / 192, 0.5) / max(image.shape[0] / 192, 0.5)
        image = draw(image, found.points[row], skeleton.edges, colours, weight=weight)
    return image
