"""Writing of the folders that `prepared` reads: a writer that was stopped goes on to the same bytes.

FOLDER/PART/progress.json says how many rows are in the part's files for sure, and which of them were unreadable.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, TypeVar

import cv2
import numpy as np

from ..augment import crop_matrix, shift, warp
from ..loading import MAX_UNREADABLE, first_item
from ..sample import PoseDataset
from ..views import innermost
from .annotations import entries, mapping, read_json, whole
from .files import naming, write_text
from .images import UnreadableImage
from .people import PictureSet
from .prepared import FORMAT, record, stored_side
from .video import is_frame

MARK = "progress.json"
CHUNK = 1 << 26
"""Bytes of pictures between two marks of progress."""
T = TypeVar("T")
Stored = tuple[np.ndarray, np.ndarray, bytes]
"""Of a row: the picture (S, S, 3), the record (), the line of names."""


def workers(dataset: PoseDataset) -> int:
    """How many threads may read a dataset: one where it holds videos, whose frames are decoded in their order."""
    inner = innermost(dataset)
    film = isinstance(inner, PictureSet) and any(map(is_frame, inner.people.pictures))
    return 1 if film else min(os.cpu_count() or 1, 16)


def in_order(work: Callable[[int], T], rows: range, threads: int, ahead: int = 64) -> Iterator[T]:
    """work(row) for all rows in their order, done in threads; of a dataset's rows no more than `ahead` at once."""
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(rows), ahead):
            yield from pool.map(work, rows[start : start + ahead])


def bytes_needed(dataset: PoseDataset, size: int) -> int:
    """About how much disk `convert` takes for all rows of a dataset."""
    return len(dataset) * (stored_side(size) ** 2 * 3 + record(len(dataset.skeleton), True).itemsize + 100)


def plan(name: str, options: dict[str, Any], size: int, parts: dict[str, PoseDataset], more: dict[str, Any]) -> Any:
    """What unfinished.json says; prepared.json adds what could not be read. Plain data."""
    about = {
        "format": FORMAT,
        "name": name,
        "options": options,
        "size": size,
        **more,
        "skeleton": asdict(parts["train"].skeleton),
        "parts": {
            part: {
                "name": dataset.name,
                "count": len(dataset),
                "points": first_item(dataset).points is not None,
                "identity": dataset.identity,
                "unreadable": [],
            }
            for part, dataset in parts.items()
        },
    }
    return json.loads(json.dumps(about, allow_nan=False))


def convert(
    dataset: PoseDataset,
    folder: Path,
    size: int,
    progress: Callable[[int], object] = lambda done: None,
    chunk: int = CHUNK,
) -> list[list[Any]]:
    """Write a part's crops into `folder`, going on where an earlier call ended, however it ended: the files are the
    same, byte for byte. Gives [row, reason] of each picture that cannot be read, which is left out.

    Calls `progress` with the rows that are done. Raises ValueError where more than 1 % are unreadable, for depth, and
    for a label that is no finite number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first, side, count = first_item(dataset), stored_side(size), len(dataset)
    kind = record(len(dataset.skeleton), first.points is not None)
    done, unreadable = _resume(dataset, folder)
    cv2.setNumThreads(1)  # the rows are shared among threads here
    with naming(folder), ExitStack() as stack:
        kept = done - len(unreadable)
        images = stack.enter_context(_open(folder / "images.npy", np.dtype("u1"), (count, side, side, 3), kept))
        labels = stack.enter_context(_open(folder / "labels.npy", kind, (count,), kept))
        names_end = _last_end(labels, kind) if kept else 0
        names = stack.enter_context(_open_at(folder / "names.jsonl", names_end))
        step = max(1, chunk // (side * side * 3))
        for start in range(done, count, step):
            rows = range(start, min(start + step, count))
            made = list(in_order(lambda row: _stored(dataset, row, size, kind), rows, workers(dataset)))
            for row, stored in zip(rows, made, strict=True):
                if isinstance(stored, str):
                    unreadable.append([row, stored])
                    continue
                image, values, name = stored
                names_end += len(name)
                values["name_end"] = names_end
                for file, written in ((images, image.tobytes()), (labels, values.tobytes()), (names, name)):
                    file.write(written)
            for file in (images, labels, names):
                file.flush()
                os.fsync(file.fileno())
            write_text(folder / MARK, json.dumps({"rows": rows.stop, "unreadable": unreadable}))
            _few(unreadable, dataset)
            progress(rows.stop)
        for file, dtype, shape in ((images, np.dtype("u1"), (side, side, 3)), (labels, kind, ())):
            file.seek(0)
            file.write(_header(dtype, (count - len(unreadable), *shape)))  # of the same length, whatever the number
            file.flush()
            os.fsync(file.fileno())
    return unreadable


def _few(unreadable: list[list[Any]], dataset: PoseDataset) -> None:
    if len(unreadable) > max(MAX_UNREADABLE * len(dataset), 1):
        raise ValueError(
            f"{dataset.name}: more than {100 * MAX_UNREADABLE:g} % of the pictures are unreadable, the last: "
            f"{unreadable[-1][1]}. The same command goes on; `keyshift data check` lists them all"
        )


def _resume(dataset: PoseDataset, folder: Path) -> tuple[int, list[list[Any]]]:
    """How many rows are done and which of them were unreadable; back to the first of these that now can be read."""
    path = folder / MARK
    if not path.is_file():
        return 0, []
    mark = mapping(read_json(path), path, "", "the content", ("rows", "unreadable"))
    rows = whole(mark["rows"], path, "", "rows")
    listed = [entries(pair, path, "", "unreadable") for pair in entries(mark["unreadable"], path, "", "unreadable")]
    for place, pair in enumerate(listed):
        try:
            dataset[whole(pair[0], path, "", "unreadable")]
        except UnreadableImage:
            continue
        return pair[0], listed[:place]
    return rows, listed


def _stored(dataset: PoseDataset, row: int, size: int, kind: np.dtype[Any]) -> str | Stored:
    """What is written of a row; the reason, where its picture cannot be read."""
    try:
        item = dataset[row]
    except UnreadableImage as error:
        # The root is left out of the reason: the files do not tell where they were made.
        return str(error).replace(f"{dataset.root}/", "") if isinstance(dataset, PictureSet) else str(error)
    if item.depth:
        raise ValueError(f"{dataset.name} gives depth, which is not prepared; use the raw set")
    side = stored_side(size)
    matrix = shift((side - size) / 2, (side - size) / 2) @ crop_matrix(np.asarray(item.box, np.float64), (size, size))
    values = np.zeros((), kind)
    for name in kind.names or ():
        value = np.linalg.inv(matrix)[:2] if name == "to_file" else getattr(item, name, 0)
        if value is None or not np.isfinite(value).all():
            raise ValueError(f"{item.id} of {dataset.name}: {name} is {value}, expected finite numbers in all rows")
        values[name] = value
    return warp(item.image, matrix, (side, side)), values, json.dumps([item.id, item.sequence]).encode() + b"\n"


def _header(kind: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def _open(path: Path, kind: np.dtype[Any], shape: tuple[int, ...], kept: int) -> IO[bytes]:
    """A .npy of that form, cut to the `kept` first rows and ready for the next."""
    header = _header(kind, shape)
    row = kind.itemsize * int(np.prod(shape[1:], dtype=np.int64))
    file = _open_at(path, len(header) + kept * row if kept else 0)
    file.seek(0)
    file.write(header)
    file.seek(0, os.SEEK_END)
    return file


def _open_at(path: Path, end: int) -> IO[bytes]:
    """A file of which the first `end` bytes are kept."""
    size = path.stat().st_size if path.is_file() else 0
    if size < end:
        raise ValueError(f"{path} has {size} bytes, its progress says {end}: begin again with --overwrite")
    file = open(path, "r+b" if path.is_file() else "w+b")  # noqa: SIM115 the caller closes it
    file.truncate(end)
    file.seek(end)
    return file


def _last_end(labels: IO[bytes], kind: np.dtype[Any]) -> int:
    labels.seek(-kind.itemsize, os.SEEK_END)
    return int(np.frombuffer(labels.read(kind.itemsize), kind)[0]["name_end"])
