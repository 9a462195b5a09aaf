"""Predictions as files: one COCO keypoint JSON, and drawn pictures.

COCO counts pixel centres from 0, keyshift stands them at +0.5: half a pixel is taken off keypoints here, where they are
written. Boxes are edges in both.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...datasets.depth.center import NoCenter
from ...datasets.loading import Crop
from ...datasets.reading.files import check_place, sweep, write_whole
from ...datasets.reading.images import UnreadableImage
from ...datasets.reading.people import digest
from ...datasets.reading.video import file_of, is_frame, write_video
from ...datasets.skeleton import Skeleton
from ..report.drawing import draw, joint_colours, write_picture
from ..report.people_views import PEOPLE
from .prediction_inputs import Cut, Inputs, is_video
from .progress import Callback, Reporter

PIXELS = "keypoints count pixel centres from 0, as COCO does: the middle of the top left pixel is 0, 0. "
BOX_OF_CROPS = "bbox is left, top, width, height of the crop, in edges: the picture's top left corner is 0, 0"
BOX_OF_KEYPOINTS = (
    "bbox is left, top, width, height of the tight box of the person's keypoints, in edges: the picture's top left "
    "corner is 0, 0"
)
IN_SPACE = (
    "keypoints_mm are x, y, z in mm in the camera's frame, x right, y down, z forward; center is x, y in pixels that "
    "count as those of keypoints and z in mm, cube its edges in mm, and bbox what its face covers there; camera is "
    "fx, fy, cx, cy in the same pixels"
)
IN_JSON = {
    "points3d": "keypoints_mm",
    "center": "center",
    "cube": "cube",
    "root3d": "root_mm",
    "lifted": "keypoints_from_root_mm",
}
Person = tuple[int, list[Crop]]
"""The picture's place, and a person's crops, as in `Cut`."""
Drawing = Callable[[np.ndarray, "Predicted", int], np.ndarray]
"""Makes of a picture and its place what is drawn."""
DRAWN = (".png", ".jpg", ".jpeg")
DRAWN_VIDEOS = (".mp4",)
"""Types that are drawn as what they are; others become .png and .mp4."""


@dataclass(frozen=True)
class Predicted:
    """Predictions for the N people in P pictures, in file pixels with centres at +0.5; of depth in space too."""

    sizes: np.ndarray
    """(P, 2) width and height of each picture, 0 where it cannot be read."""
    rows: np.ndarray
    """(N,) of `row_type`, in the order of the pictures."""
    crops: bool
    """Each person has a crop; else the model found them in whole pictures."""
    unreadable: list[tuple[str, str]]
    """Name and reason."""
    unlocated: list[tuple[str, str]] = field(default_factory=list)
    """Name and reason, of depth frames that were read and have no centre to cut around."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def points(self) -> np.ndarray:
        """(N, K, 2)"""
        return self.rows["points"]

    @property
    def points3d(self) -> np.ndarray | None:
        """(N, K, 3) mm in the camera's frame, x right, y down, z forward; None of a model that answers in a plane."""
        return self.rows["points3d"] if "points3d" in self.columns else None

    @property
    def columns(self) -> tuple[str, ...]:
        """What is known of each person."""
        return self.rows.dtype.names or ()

    @property
    def confidence(self) -> np.ndarray:
        """(N, K)"""
        return self.rows["confidence"]

    @property
    def score(self) -> np.ndarray:
        """(N,) how sure the model is of the person; of crops the mean confidence."""
        return self.rows["score"]

    @property
    def boxes(self) -> np.ndarray:
        """(N, 4) left, top, right, bottom of the crop; of people who were found in a whole picture, of their
        keypoints."""
        return self.rows["box"]

    @cached_property
    def first(self) -> np.ndarray:
        """(P + 1,) the people of picture p are the rows first[p] to first[p + 1]."""
        return np.searchsorted(self.rows["place"], np.arange(len(self.sizes) + 1))

    def people(self, place: int) -> range:
        """The rows of a picture."""
        return range(int(self.first[place]), int(self.first[place + 1]))

    @property
    def readable(self) -> np.ndarray:
        """(P,) bool"""
        return np.asarray(self.sizes[:, 0] > 0)


def row_type(keypoints: int, more: Iterable[str] = ()) -> np.dtype[np.void]:
    """What is known of one person; `place` is the picture's number. `more`: points3d (K, 3) mm in the camera's frame;
    the center (3,) px, px, mm and the cube (3,) mm that a depth frame was cut by; root3d (3,) mm in the camera's frame;
    track, the number of the person in a video, -1 in pictures; box_score, the detector's; lifted (K, 3) mm from the
    skeleton's root, where points3d and root3d are zeros if the person's place is not known; interpolated, all 2D
    keypoints lie between those of other frames."""
    points = ("points", np.float32, (keypoints, 2)), ("confidence", np.float32, (keypoints,))
    known = ("place", np.int64), ("box", np.float64, (4,)), *points, ("score", np.float64)
    in_space = ("points3d", np.float32, (keypoints, 3)), ("center", np.float64, (3,)), ("cube", np.float64, (3,))
    of_people = ("root3d", np.float64, (3,)), ("track", np.int64), ("box_score", np.float64)
    over_time = ("lifted", np.float32, (keypoints, 3)), ("interpolated", np.bool_)
    return np.dtype([*known, *(column for column in (*in_space, *of_people, *over_time) if column[0] in more)])


def widened(rows: np.ndarray, **columns: np.ndarray) -> np.ndarray:
    """The same people with columns besides."""
    names = rows.dtype.names or ()
    made = np.zeros(len(rows), row_type(rows["points"].shape[1], [*names, *columns]))
    for name in names:
        made[name] = rows[name]
    for name, values in columns.items():
        made[name] = values
    return made


class Gathering:
    """People picture by picture, however many there will be. One array, doubled when it is full: small ones that stay,
    made between large ones that go, would leave holes in memory."""

    def __init__(self, inputs: Inputs, keypoints: int, crops: bool, more: Iterable[str] = ()) -> None:
        """`more` are the columns of `row_type` that they have even where there is nobody."""
        self.expected, self.keypoints = max(sum(map(inputs.people, inputs.names)), 1), keypoints
        self.rows, self.count, self.crops = np.zeros(0, row_type(keypoints, more)), 0, crops
        self.names, self.sizes = inputs.names, np.zeros((len(inputs.names), 2), np.int64)
        self.unreadable, self.unlocated = list(inputs.unreadable), list[tuple[str, str]]()

    def miss(self, place: int, error: UnreadableImage) -> None:
        """A picture that has no answer, and why."""
        listed = self.unlocated if isinstance(error, NoCenter) else self.unreadable
        listed.append((self.names[place], str(error)))

    def in_batches(
        self, results: Iterable[Cut | UnreadableImage], size: int, show: Callback = lambda *_: None
    ) -> Iterator[list[Person]]:
        """The people of pictures in their order, `size` at a time and at last what remains; the pictures' sizes, and
        what cannot be read, are noted. `show` is told how many pictures are done."""
        waiting: list[Person] = []
        started = time.monotonic()
        for place, result in enumerate(results):
            if isinstance(result, UnreadableImage):
                self.miss(place, result)
            else:
                self.sizes[place] = result.width, result.height
                waiting += [(place, crops) for crops in result.crops]
            while len(waiting) >= size:
                yield waiting[:size]
                waiting = waiting[size:]
            show(place + 1, {"seconds/iteration": (time.monotonic() - started) / (place + 1)})
        if waiting:
            yield waiting

    def add(self, **columns: np.ndarray) -> None:
        """Rows whose columns are named as `row_type` says, of pictures that do not come before those of earlier
        ones."""
        if not len(self.rows):
            self.rows = np.zeros(self.expected, row_type(self.keypoints, columns))
        end = self.count + len(columns["place"])
        if end > len(self.rows):
            more = max(end - len(self.rows), len(self.rows))
            self.rows = np.concatenate([self.rows, np.zeros(more, self.rows.dtype)])
        for name, values in columns.items():
            self.rows[name][self.count : end] = values
        self.count = end

    def forget(self, count: int) -> None:
        """Leave out the first so many people."""
        self.rows, self.count = self.rows[count : self.count].copy(), self.count - count

    def predicted(self) -> Predicted:
        return Predicted(self.sizes, self.rows[: self.count], self.crops, self.unreadable, self.unlocated)


def check_outputs(inputs: Inputs, output: Path, folder: Path | None, overwrite: bool) -> None:
    """Raises ValueError where something of the user's would be overwritten, a picture that is read above all."""
    if not output.parent.is_dir():
        raise ValueError(f"cannot write {output}: expected the name of a file in a folder that exists")
    if output.exists() and not overwrite:
        raise ValueError(f"{output} exists; pass --overwrite or --output FILE")
    for place in (output.parent, *([] if folder is None else [folder])):
        check_place(place)
    sweep(output.parent, [output.name])
    if folder is None:
        return
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
    targets = {drawn_path(folder, name) for name in names}
    for place in {target.parent for target in targets}:
        sweep(place, {target.name for target in targets})


def write_coco(
    path: Path, predicted: Predicted, inputs: Inputs, skeleton: Skeleton, weights: Path, size: tuple[int, int]
) -> None:
    """Write the predictions as COCO keypoints, whole or not at all. Pictures without people are listed too."""
    info = {
        "description": "keypoints predicted by keyshift",
        "version": version("keyshift"),
        "model": {"file": weights.name, "sha256": digest(weights), "input_size": list(size)},
        "root": str(inputs.root),
        **inputs.about(),
        "pixels": PIXELS + (BOX_OF_CROPS if predicted.crops else BOX_OF_KEYPOINTS),
    }
    if predicted.points3d is not None:
        info.setdefault("space", IN_SPACE)
    category = {
        "id": 1,
        "name": skeleton.name,
        "keypoints": list(skeleton.keypoints),
        "skeleton": [[a + 1, b + 1] for a, b in skeleton.edges],
    }
    places = np.flatnonzero(predicted.readable).tolist()
    nobody = [inputs.names[place] for place in places if not predicted.people(place)]
    parts: dict[str, Iterable[Any]] = {
        "images": (_image(place + 1, inputs, predicted.sizes[place].tolist(), inputs.names[place]) for place in places),
        "annotations": (
            annotation(row + 1, predicted.rows[row]) for place in places for row in predicted.people(place)
        ),
        "categories": [category],
        "unreadable": ({"file_name": name, "reason": reason} for name, reason in predicted.unreadable),
    }
    if "center" in predicted.columns or predicted.unlocated:
        parts["without_center"] = ({"file_name": name, "reason": reason} for name, reason in predicted.unlocated)

    parts |= inputs.lists(nobody)

    def write(file: BinaryIO) -> None:
        file.write(b'{\n"info": ' + json.dumps(info).encode())
        for key, entries in parts.items():
            file.write(f',\n"{key}": '.encode())
            write_list(file, entries)
        file.write(b"\n}\n")

    write_whole(path, write)


def write_list(file: BinaryIO, entries: Iterable[Any]) -> None:
    """A JSON list, entry by entry: as one object a million people would take gigabytes."""
    file.write(b"[")
    for number, entry in enumerate(entries):
        file.write((",\n" if number else "\n").encode() + json.dumps(entry, allow_nan=False).encode())
    file.write(b"\n]")


def _image(number: int, inputs: Inputs, size: list[int], name: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": number, "file_name": name, "width": size[0], "height": size[1]}
    if is_frame(name):
        entry |= {"video": file_of(name), "frame": int(name.rpartition("#")[2])}
        seconds = inputs.time(name)
        entry |= {} if seconds is None else {"time": round(seconds, 6)}
    return entry | inputs.about_picture(name, size)


def annotation(number: int, row: np.void) -> dict[str, Any]:
    """A person as COCO has them, with the id `number`."""
    left, top, right, bottom = row["box"].round(3).tolist()
    points = (row["points"].astype(np.float64) - 0.5).round(3).tolist()
    seen = np.where(row["confidence"] > 0, 2, 0).tolist()  # where the network has not found a keypoint of a person
    more: dict[str, Any] = {}
    nowhere = ("points3d", "root3d") if "lifted" in (row.dtype.names or ()) and row["root3d"][2] <= 0 else ()
    for name in IN_JSON:
        if name in (row.dtype.names or ()) and name not in nowhere:
            shift = (0.5, 0.5, 0.0) if name == "center" else 0.0
            more[IN_JSON[name]] = (row[name].astype(np.float64) - shift).round(3).tolist()
    if "track" in (row.dtype.names or ()) and row["track"] >= 0:
        more["track_id"] = int(row["track"])
    if "interpolated" in (row.dtype.names or ()) and row["interpolated"]:
        more["interpolated"] = True
    if "box_score" in (row.dtype.names or ()):
        more["box_score"] = round(float(row["box_score"]), 5)
    return {
        "id": number,
        "image_id": int(row["place"]) + 1,
        "category_id": 1,
        "bbox": [left, top, round(right - left, 3), round(bottom - top, 3)],
        "area": round((right - left) * (bottom - top), 3),
        "iscrowd": 0,
        "keypoints": [value for (x, y), v in zip(points, seen, strict=True) for value in (x, y, v)],
        "num_keypoints": sum(v > 0 for v in seen),
        "keypoint_scores": row["confidence"].astype(np.float64).round(5).tolist(),
        "score": round(float(row["score"]), 5),
        **more,
    }


def drawn_path(folder: Path, name: str) -> Path:
    """Where a picture or video is drawn: its own path below `folder`; of a type that is not written here with .png or
    .mp4 behind it."""
    path, video = folder / name, is_video(name)
    if path.suffix.lower() in (DRAWN_VIDEOS if video else DRAWN):
        return path
    return path.with_name(path.name + (".mp4" if video else ".png"))


def draw_all(
    folder: Path,
    predicted: Predicted,
    inputs: Inputs,
    skeleton: Skeleton,
    reporter: Reporter,
    drawing: Drawing,
) -> None:
    """Every picture that was read as `drawing` makes it of its people; videos as videos of the frames predicted."""
    places, started = np.flatnonzero(predicted.readable).tolist(), time.monotonic()
    with reporter.stage("draw", len(places)) as show:

        def drawn() -> Iterator[tuple[int, np.ndarray]]:
            for done, place in enumerate(places):
                rows = predicted.people(place)
                yield place, drawing(inputs.picture(place, predicted.rows[rows.start : rows.stop]), predicted, place)
                show(done + 1, {"seconds/iteration": (time.monotonic() - started) / (done + 1)})

        write_drawn(folder, inputs, drawn())


def write_drawn(folder: Path, inputs: Inputs, drawn: Iterable[tuple[int, np.ndarray]]) -> None:
    """Write pictures with their places, which rise, as pictures and videos below `folder`."""
    for name, some in groupby(drawn, lambda one: file_of(inputs.names[one[0]])):
        target = drawn_path(folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if is_video(name):
            write_video(target, (picture for _, picture in some), drawn_rate(inputs, name), overwrite=True)
        else:
            for _, picture in some:
                write_picture(target, picture)


def drawn_rate(inputs: Inputs, video: str) -> float:
    """Frames a second, so that a video of every n-th frame lasts as long as the one it is of."""
    numbers = [int(name.rpartition("#")[2]) for name in inputs.names if name.startswith(f"{video}#")]
    share = len(numbers) / (numbers[-1] - numbers[0] + 1)
    return min(max(inputs.frame_rate(video) * share, 1.0), 1000.0)


def draw_people(image: np.ndarray, rows: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """A picture with all its people `rows` (see `row_type`), the lines as thick as their boxes ask for; keypoints of
    confidence 0, which were not found, are left out. Who has a track has its colour."""
    tracked = "track" in (rows.dtype.names or ())
    for row in rows:
        colours = PEOPLE[row["track"] % len(PEOPLE)] if tracked else joint_colours(len(skeleton))
        side = float((row["box"][2:] - row["box"][:2]).max())
        weight = max(side / 192, 0.5) / max(image.shape[0] / 192, 0.5)
        image = draw(image, row["points"], skeleton.edges, colours, known=row["confidence"] > 0, weight=weight)
    return image
