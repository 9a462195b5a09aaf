"""Predictions in other tools' forms: `keyshift predict --format`.

    coco         one COCO keypoint JSON (prediction_files.py)
    results      the list that COCO's evaluation takes: [{image_id, category_id, keypoints, score, ...}, ...]
    deeplabcut   a CSV as DeepLabCut and Lightning Pose write it, with likelihoods
    uvd          the text of depth benchmarks, which `keyshift evaluate --predictions` reads: one frame a line, its name
                 and u v d for each joint, pixels and mm along the optical axis

`image_id` is the number that a file is called (000000397133.jpg is 397133, as in COCO), where all are called so and
differently; else a picture's place from 1, as in the COCO JSON. In the CSV a row is a picture, or of one single video
the number of its frame, from 0. Where a picture has several people, they are individual1, individual2, ..., surest
first as the model gives them, or where people keep numbers over a video track0, track1, ...; empty cells are people
whom a picture does not have. Keypoints count pixel centres from 0
in all of them: half a pixel less than keyshift's.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...datasets.reading.files import write_text, write_whole
from ...datasets.reading.video import file_of, is_frame
from ...datasets.skeleton import Skeleton
from .prediction_files import Predicted, annotation, write_coco, write_list
from .prediction_inputs import Inputs

SCORER = "keyshift"


def write_results(
    path: Path, predicted: Predicted, inputs: Inputs, skeleton: Skeleton, weights: Path, size: tuple[int, int]
) -> None:
    """Write the list of COCO results, whole or not at all. Pictures without people are not in it."""
    numbers = image_ids(inputs.names)

    def entries() -> Iterator[dict[str, Any]]:
        for row in predicted.rows:
            entry = annotation(0, row)
            place = int(row["place"])
            names = ("category_id", "keypoints", "bbox", "score", "track_id")
            kept: dict[str, Any] = {name: entry[name] for name in names if name in entry}
            yield {"image_id": numbers[place], "file_name": inputs.names[place], **kept}

    def write(file: Any) -> None:
        write_list(file, entries())
        file.write(b"\n")

    write_whole(path, write)


def image_ids(names: list[str]) -> list[int]:
    """The numbers that pictures are called; their places from 1 where not all have one of their own."""
    stems = [PurePosixPath(name).stem for name in names]
    own = [int(stem) for stem in stems if stem.isascii() and stem.isdigit() and len(stem) < 19]
    return own if len(set(own)) == len(names) else list(range(1, len(names) + 1))


def write_deeplabcut(
    path: Path, predicted: Predicted, inputs: Inputs, skeleton: Skeleton, weights: Path, size: tuple[int, int]
) -> None:
    """Write the CSV, whole or not at all. Pictures without people have rows without numbers."""
    places = np.flatnonzero(predicted.readable).tolist()
    column = predicted.rows["track"] if "track" in predicted.columns else _rank(predicted)
    most = int(column.max(initial=-1)) + 1
    people = [f"individual{k + 1}" for k in range(most)] if most > 1 else [""]
    if "track" in predicted.columns and most > 1:
        people = [f"track{k}" for k in range(most)]
    columns = [
        (who, joint, what) for who in people for joint in skeleton.keypoints for what in ("x", "y", "likelihood")
    ]

    def write(file: Any) -> None:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["scorer", *[SCORER] * len(columns)])
        if most > 1:
            writer.writerow(["individuals", *(who for who, *_ in columns)])
        writer.writerow(["bodyparts", *(joint for _, joint, _ in columns)])
        writer.writerow(["coords", *(what for *_, what in columns)])
        titles = row_titles([inputs.names[place] for place in places])
        for place, title in zip(places, titles, strict=True):
            cells: list[list[Any]] = [[""] * 3 * len(skeleton) for _ in people]
            for row in predicted.people(place):
                cells[column[row]] = _cells(predicted.rows[row])
            writer.writerow([title, *(cell for one in cells for cell in one)])
        text.flush()
        text.detach()

    write_whole(path, write)


def _rank(predicted: Predicted) -> np.ndarray:
    """(N,) how many people of the same picture come before each."""
    ranks: np.ndarray = np.arange(len(predicted)) - predicted.first[predicted.rows["place"]]
    return ranks


def row_titles(names: list[str]) -> list[str]:
    """What rows are called: the pictures, or frame numbers where all are of one video."""
    one = len({file_of(name) for name in names}) == 1 and all(map(is_frame, names))
    return [name.rpartition("#")[2] for name in names] if one else names


def _cells(row: np.void) -> list[float]:
    points = (row["points"].astype(np.float64) - 0.5).round(3)
    likelihood = row["confidence"].astype(np.float64).round(5)
    cells: list[float] = np.concatenate([points, likelihood[:, None]], 1).ravel().tolist()
    return cells


def write_uvd(
    path: Path, predicted: Predicted, inputs: Inputs, skeleton: Skeleton, weights: Path, size: tuple[int, int]
) -> None:
    """Write the text, whole or not at all. Frames without joints have no line. Raises ValueError for predictions in a
    plane."""
    if predicted.points3d is None:
        raise ValueError(f"no {path}: {weights} answers in a plane, and the text holds a depth for each joint")
    uvd = np.concatenate([predicted.points - 0.5, predicted.points3d[..., 2:]], -1)
    lines = []
    for place, joints in zip(predicted.rows["place"], uvd.reshape(len(uvd), -1).tolist(), strict=True):
        name = re.sub(r"[\s,]", "_", inputs.names[place])  # words are parted by spaces and commas
        lines.append(" ".join([name, *(f"{value:.3f}" for value in joints)]))
    write_text(path, "\n".join([*lines, ""]))


Writer = Callable[[Path, Predicted, Inputs, Skeleton, Path, tuple[int, int]], None]
FORMATS: dict[str, tuple[str, Writer]] = {
    "coco": (".json", write_coco),
    "results": (".json", write_results),
    "deeplabcut": (".csv", write_deeplabcut),
    "uvd": (".txt", write_uvd),
}
"""The ending of the file, and what writes it, by the name of the form."""


def ending(name: str) -> str:
    """Of files in the form `name`. Raises ValueError for a form that is not known."""
    if name not in FORMATS:
        raise ValueError(f"format={name!r} is not known; choose one of {', '.join(FORMATS)}")
    return FORMATS[name][0]


def writer(name: str, output: Path) -> Writer:
    """What writes the form `name` to `output`. Raises ValueError for an unknown form, and for a file of another."""
    if output.suffix.lower() != ending(name):
        raise ValueError(f"cannot write {output}: expected the name of a {ending(name)} file, as format={name} is")
    return FORMATS[name][1]
