"""Writing of the folders that `prepared` reads: a writer that was stopped goes on to the same bytes.

Of whole pictures the people and the masks are files of their own.

FOLDER/PART/progress.json says how many rows are in the part's files for sure, and which of them were unreadable.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

from ..augment import crop_matrix, shift, warp, warp_mask
from ..loading import MAX_UNREADABLE, first_item
from ..sample import MASK, Item, PoseDataset
from ..views import crowding_of
from .annotations import entries, mapping, read_json, whole
from .files import naming, write_text
from .images import UnreadableImage
from .parallel import shared_out
from .people import PictureSet
from .prepared import ENDS, FORMAT, NAMES, PEOPLE, Form, stored_side

MARK = "progress.json"
CHUNK = 1 << 26
"""Bytes of pictures between two marks of progress."""
Stored = dict[str, Any]
"""Of a row, by file: the picture (S, S, 3), the record (), the people's records (P,), the mask (S, S), the line of
names."""


def bytes_needed(dataset: PoseDataset, size: int) -> int:
    """About how much disk `convert` takes for all rows of a dataset; of whole pictures, for one person in each."""
    form = replace(form_of(dataset), points=True)
    labels = form.record().itemsize + form.whole * form.person().itemsize
    return len(dataset) * (stored_side(size) ** 2 * (3 + form.masks) + labels + 100)


def form_of(dataset: PoseDataset) -> Form:
    """What is stored of each row."""
    item = first_item(dataset)
    return Form(len(dataset.skeleton), item.points is not None, item.keypoints.ndim == 3, MASK in item.inputs)


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
                **{name: getattr(form, name) for name in ("points", "whole", "masks")},
                "identity": dataset.identity,
                "unreadable": [],
            }
            for part, dataset, form in ((part, one, form_of(one)) for part, one in parts.items())
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
    form, side, count = form_of(dataset), stored_side(size), len(dataset)
    crowding = crowding_of(dataset)
    done, unreadable = _resume(dataset, folder)
    cv2.setNumThreads(1)  # the rows are shared among threads here
    with naming(folder), ExitStack() as stack:
        kept = done - len(unreadable)
        kinds, lengths = form.files(side), dict.fromkeys(form.files(side), kept)
        labels = stack.enter_context(_open(folder / "labels.npy", *kinds["labels"], count, kept))
        last = _last(labels, kinds["labels"][0]) if kept else None
        ends = {name: int(last[end]) if last is not None else 0 for name, end in ENDS.items() if form.has(end)}
        lengths |= {name: end for name, end in ends.items() if name in kinds}
        files = {
            name: stack.enter_context(_open(folder / f"{name}.npy", *kind, count, lengths[name]))
            for name, kind in kinds.items()
            if name != "labels"
        }
        files |= {"labels": labels, NAMES: stack.enter_context(_open_at(folder / "names.jsonl", ends[NAMES]))}
        step = max(1, chunk // (side * side * 3))
        work = partial(_stored, dataset, size, form, crowding)
        made = stack.enter_context(shared_out(work, dataset, range(done, count)))
        for start in range(done, count, step):
            rows = range(start, min(start + step, count))
            for row, stored in zip(rows, islice(made, len(rows)), strict=True):
                if isinstance(stored, str):
                    unreadable.append([row, stored])
                    continue
                for name in ends:
                    ends[name] += len(stored[name])
                    stored["labels"][ENDS[name]] = ends[name]
                for name, file in files.items():
                    file.write(stored[name] if name == NAMES else stored[name].tobytes())
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())
            write_text(folder / MARK, json.dumps({"rows": rows.stop, "unreadable": unreadable}))
            _few(unreadable, dataset)
            progress(rows.stop)
        for name, (kind, shape) in kinds.items():
            written = ends[PEOPLE] if name == PEOPLE else count - len(unreadable)
            files[name].seek(0)
            files[name].write(_header(kind, (written, *shape)))  # of the same length, whatever the number
            files[name].flush()
            os.fsync(files[name].fileno())
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


def _stored(dataset: PoseDataset, size: int, form: Form, crowding: np.ndarray | None, row: int) -> str | Stored:
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
    labels = np.zeros((), form.record())
    _fill(labels, item, dataset, {"to_file": np.linalg.inv(matrix)[:2]})
    name = json.dumps([item.id, item.sequence]).encode() + b"\n"
    stored: Stored = {"images": warp(item.image, matrix, (side, side)), "labels": labels, NAMES: name}
    if form.whole:
        labels["crowding"] = -1 if crowding is None else crowding[row]
        stored[PEOPLE] = np.zeros(len(item.keypoints), form.person())
        _fill(stored[PEOPLE], item, dataset, {})
    if form.masks:
        stored["masks"] = warp_mask(item.inputs[MASK], matrix, (side, side))
    return stored


def _fill(values: np.ndarray, item: Item, dataset: PoseDataset, more: dict[str, np.ndarray]) -> None:
    """The fields of records from those of an item, or from `more`. Raises ValueError for one that is no number."""
    for name in values.dtype.names or ():
        value = more.get(name, getattr(item, name, 0))
        if value is None or not np.isfinite(value).all():
            raise ValueError(f"{item.id} of {dataset.name}: {name} is {value}, expected finite numbers in all rows")
        values[name] = value


def _header(kind: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def _open(path: Path, kind: np.dtype[Any], shape: tuple[int, ...], count: int, kept: int) -> IO[bytes]:
    """A .npy of `count` rows of that form, cut to the `kept` first and ready for the next."""
    header = _header(kind, (count, *shape))
    row = kind.itemsize * int(np.prod(shape, dtype=np.int64))
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


def _last(labels: IO[bytes], kind: np.dtype[Any]) -> Any:
    """The last record that is written."""
    labels.seek(-kind.itemsize, os.SEEK_END)
    return np.frombuffer(labels.read(kind.itemsize), kind)[0]
