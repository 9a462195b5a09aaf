"""Picture sets prepared for fast reading: the crops as one memory-mapped array, with all that is known of them.

    FOLDER/prepared.json          what it was made from and how; while it is being made, unfinished.json
    FOLDER/PART/images.npy        (N, S, S, 3) uint8: each item's box at `size` pixels a side, with what is around it up
                                  to sqrt(2) times its side, so that any rotation of the box stays inside
    FOLDER/PART/labels.npy        (N,) records of the item's other fields, in pixels of the raw file
    FOLDER/PART/names.jsonl       a line [id, sequence] for each row, found by `name_end` in the records
    FOLDER/PART/people.npy        of whole pictures (P,) records of all their people, found by `people_end`
    FOLDER/PART/masks.npy         of whole pictures that have masks (N, S, S) uint8, as they lie in the stored pictures

`Item.to_file` leads from a stored picture's pixels to the raw file's, so that crops are cut as they are from the raw
set, but for one more resampling; plain crops of `size` pixels meet the stored pixels and are the raw set's own. What
lies outside the stored square is black; an augmentation that zooms out (`augmentation.area` above 1) shows that.
"""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass, fields
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from ..options import Options, default_of
from ..sample import MASK, Item
from ..sides import completed
from ..skeleton import Skeleton
from .annotations import BadAnnotation, entries, mapping, read_json, whole
from .files import from_home

FORMAT = "keyshift prepared 1"
FILE_OPTIONS: dict[str, tuple[str, ...]] = {
    **{"labels": ("",), "images": ("",), "skeleton": (".yaml", ".yml")},
    **dict.fromkeys(("boxes", "detections"), (".csv", ".json")),
}
"""Options that name files, and how they then end."""
PEOPLE, NAMES = "people", "names"
ENDS = {NAMES: "name_end", PEOPLE: "people_end"}
"""Of files whose rows are of various lengths, the field of the records that says where a row ends."""
DONE, BEGUN = "prepared.json", "unfinished.json"
RENDERED = ("train", "test", "scenes")
"""What 0.1.0 also wrote down of sets that are not rendered, where it was set: it means nothing to them."""


def is_prepared(root: str | Path | None) -> bool:
    """Whether `root` is a folder that `keyshift data prepare` made or began to make."""
    return root is not None and any((from_home(root) / name).is_file() for name in (DONE, BEGUN))


def given(options: Options) -> dict[str, Any]:
    """The options of a raw set that differ from their defaults."""
    # root and size stand in prepared.json otherwise; the others are laid over the set
    apart = ("root", "size", "joints", "keypoints", "rename")
    values = {one.name: (getattr(options, one.name), default_of(one)) for one in fields(options)}
    said = {name: v for name, (v, default) in values.items() if name not in apart and v != default}
    return resolved({name: v for name, v in said.items() if (name, v) != ("crops", "person")})  # what null means here


def resolved(options: dict[str, Any]) -> dict[str, Any]:
    """`options` with the files among them as absolute paths: one file is one option from wherever it is named."""

    def absolute(key: str, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [absolute(key, one) for one in value]
        is_file = isinstance(value, str | Path) and str(value).lower().endswith(FILE_OPTIONS[key])
        return os.path.realpath(os.path.expanduser(value)) if is_file else value

    return {key: absolute(key, value) if key in FILE_OPTIONS else value for key, value in options.items()}


def spelled(options: dict[str, Any], before: str = "") -> str:
    """`options` as words of a command line, each with `before` in front."""
    words = {key: value if isinstance(value, str) else json.dumps(value) for key, value in options.items()}
    return " ".join(shlex.quote(f"{before}{key}={value}") for key, value in words.items())


def open_prepared(root: str | Path, part: str, name: str, options: dict[str, Any]) -> Prepared:
    """The `part` of the dataset `name` that was prepared with `options` (see `given`) in the folder `root`.

    Raises ValueError for a folder of another dataset or other options, for an unfinished one and a damaged one.
    """
    folder = from_home(root)
    asked = resolved(options)
    if not (folder / DONE).is_file():
        begun = read_about(folder / BEGUN) if (folder / BEGUN).is_file() else {"name": name, "options": asked}
        raise ValueError(f"{folder} is not finished; go on with: {_command(begun, str(folder))}")
    about = read_about(folder / DONE)
    other = differences({"name": about["name"], **resolved(about["options"])}, {"name": name, **asked})
    if other:
        command = _command({"name": name, "options": asked, "size": about["size"]}, "FOLDER")
        raise ValueError(
            f"{folder} was prepared otherwise: {other}. Use the same options, or prepare another folder with: {command}"
        )
    return Prepared(folder, part)


def _command(about: dict[str, Any], output: str) -> str:
    """What prepares a folder as `about` tells."""
    size = {"size": about["size"]} if "size" in about else {}
    words = spelled({"root": "RAW", "output": output, **about["options"], **size})
    return f"keyshift data prepare {about['name']} {words}"


def differences(there: dict[str, Any], asked: dict[str, Any]) -> str:
    """In words, what two mappings of plain data do not share; empty where they are the same."""
    there, asked = (json.loads(json.dumps(side)) for side in (there, asked))
    keys = [key for key in {**there, **asked} if there.get(key) != asked.get(key)]
    return ", ".join(f"{key} is {there.get(key)!r} there and {asked.get(key)!r} here" for key in keys)


def read_about(path: Path) -> dict[str, Any]:
    """What prepared.json or unfinished.json holds. Raises BadAnnotation where it is damaged or of another format."""
    keys = ("format", "name", "options", "size", "skeleton", "parts")
    about = mapping(read_json(path), path, "", "the content", keys)
    if about["format"] != FORMAT:
        raise BadAnnotation(path, "", "format", about["format"], f"{FORMAT!r}; prepare the set again")
    for part, content in mapping(about["parts"], path, "", "parts", ("train", "test")).items():
        mapping(content, path, part, "the part", ("name", "identity", "count", "points", "unreadable"))
        mapping(content["identity"], path, part, "identity")
        for pair in entries(content["unreadable"], path, part, "unreadable"):
            if len(entries(pair, path, part, "unreadable")) != 2:
                raise BadAnnotation(path, part, "unreadable", pair, "pairs of a row and a reason")
            whole(pair[0], path, part, "unreadable")
        if whole(content["count"], path, part, "count") <= len(content["unreadable"]):
            raise BadAnnotation(path, part, "count", content["count"], "more than are unreadable")
    options = mapping(about["options"], path, "", "options")
    about["options"] = {key: value for key, value in options.items() if key not in RENDERED}
    if not 1 <= whole(about["size"], path, "", "size") <= 2**14:
        raise BadAnnotation(path, "", "size", about["size"], "pixels")
    return about


def stored_side(size: int) -> int:
    """Side of a stored picture for crops of `size` under any rotation: as many whole pixels more at either end."""
    return size + 2 * ceil(size * (2**0.5 - 1) / 2)


@dataclass(frozen=True)
class Form:
    """What is stored of a set's items."""

    keypoints: int
    points: bool = False
    """3D points, where the set has them."""
    whole: bool = False
    """Items are whole pictures with all their people."""
    masks: bool = False

    def record(self) -> np.dtype[Any]:
        """What labels.npy holds of an item."""
        shapes: list[Any] = [
            *([] if self.whole else self._joints()),
            *(("box", "<f8", (4,)), ("camera", "<f8", (4,)), ("to_file", "<f8", (2, 3))),
            *(("frame", "<i8"), ("mirrored", "?"), ("name_end", "<i8")),
        ]
        if self.whole:
            return np.dtype([*shapes, ("people_end", "<i8"), ("crowding", "<f8")])
        return np.dtype([*shapes, *self._space()])

    def person(self) -> np.dtype[Any]:
        """What people.npy holds of a person."""
        extents: list[Any] = [("area", "<f8"), ("bounds", "<f8", (4,)), ("crowd", "?")]
        return np.dtype([*self._joints(), *extents, *self._space()])

    def _joints(self) -> list[Any]:
        k = self.keypoints
        return [("keypoints", "<f8", (k, 2)), ("annotated", "?", (k,)), ("visible", "?", (k,))]

    def _space(self) -> list[Any]:
        return [("points", "<f8", (self.keypoints, 3))] if self.points else []

    def has(self, field: str) -> bool:
        """Whether labels.npy has it."""
        return field in (self.record().names or ())

    def files(self, side: int) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """The .npy files by name: what a row is, and its shape."""
        byte = np.dtype("u1")
        files: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
            "images": (byte, (side, side, 3)),
            "labels": (self.record(), ()),
        }
        files |= {"people": (self.person(), ())} if self.whole else {}
        return files | ({"masks": (byte, (side, side))} if self.masks else {})


class Prepared:
    """One part of a prepared folder, `train` or `test`. Raises ValueError where its files are missing or damaged."""

    def __init__(self, folder: str | Path, part: str) -> None:
        self.folder = Path(folder) / part
        about = read_about(Path(folder) / DONE)
        if part not in about["parts"]:
            raise ValueError(f"part={part!r} is not known; choose one of {', '.join(about['parts'])}")
        content = about["parts"][part]
        self.name = str(content["name"])
        self.skeleton = skeleton_of(about["skeleton"], Path(folder) / DONE)
        left_out = [row for row, _ in content["unreadable"]]
        self.identity: dict[str, Any] = {**content["identity"], "prepared": about["size"]}
        self.identity |= {"left_out": left_out} if left_out else {}
        self.count = content["count"] - len(left_out)
        self.side = stored_side(about["size"])
        said = {name: bool(content.get(name)) for name in ("points", "whole", "masks")}
        self.form = Form(len(self.skeleton), **said)
        self._arrays: dict[str, np.ndarray] | None = None
        self.arrays()

    def arrays(self) -> dict[str, np.ndarray]:
        """images (N, S, S, 3), labels (N,), names (bytes,), and of whole pictures people (P,) and, where they have
        them, masks (N, S, S), as memory maps."""
        if self._arrays is None:
            kinds = self.form.files(self.side)
            labels = _load(self.folder / "labels.npy", *kinds["labels"], self.count)
            path = self.folder / "names.jsonl"
            size, wanted = path.stat().st_size if path.is_file() else 0, int(labels["name_end"][-1])
            if size != wanted or not size:
                raise BadAnnotation(path, "", "the size", size, f"{wanted} bytes; prepare the set again")
            arrays = {"labels": labels, "names": np.memmap(path, "u1", "r")}
            for name in kinds.keys() - arrays.keys():
                rows = int(labels["people_end"][-1]) if name == "people" else self.count
                arrays[name] = _load(self.folder / f"{name}.npy", *kinds[name], rows)
            self._arrays = arrays
        return self._arrays

    def __getstate__(self) -> dict[str, Any]:
        """Memory maps stay behind: a worker process opens its own."""
        return {**self.__dict__, "_arrays": None}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> Item:
        if not 0 <= index < self.count:
            raise IndexError(f"{self.name} has items 0 to {self.count - 1}, not {index}")
        arrays = self.arrays()
        values = self._values("labels", index)
        ends = [name for name in ENDS.values() if self.form.has(name)]
        before = {name: int(arrays["labels"][name][index - 1]) if index else 0 for name in ends}
        identifier, sequence = self._names(arrays["names"], before["name_end"], values)
        if self.form.whole:
            rows = slice(before["people_end"], int(values["people_end"]))
            if not 0 <= rows.start <= rows.stop <= len(arrays["people"]):
                said = [rows.start, rows.stop]
                raise BadAnnotation(self.folder / "labels.npy", index, "people_end", said, "places in people.npy")
            values |= self._values("people", rows)
        names = ("box", "camera", "keypoints", "visible", "annotated", "to_file", "points", "area", "bounds", "crowd")
        stored: dict[str, Any] = {name: values[name] for name in names if name in values}
        return Item(
            image=np.array(arrays["images"][index]),
            id=identifier,
            sequence=sequence,
            frame=int(values["frame"]),
            mirrored=bool(values["mirrored"]),
            inputs={MASK: np.array(arrays["masks"][index])} if self.form.masks else {},
            **stored,
        )

    def clips(self, frames: int) -> Prepared:
        """Raises ValueError: what stands before and after a picture is not stored."""
        raise ValueError(
            f"{self.name} is prepared, and prepared sets hold single pictures, not the {frames} frames of a clip: set "
            "root to the raw set"
        )

    def crowding(self) -> np.ndarray | None:
        """(N,) CrowdPose's crowdIndex, where the set says it."""
        crowding = np.array(self.arrays()["labels"]["crowding"]) if self.form.whole else np.array([-1.0])
        return None if (crowding < 0).any() else crowding

    def _values(self, file: str, rows: int | slice) -> dict[str, np.ndarray]:
        """The fields of a file's records. Raises BadAnnotation for one that is no number."""
        records = self.arrays()[file][rows]
        values = {name: np.array(records[name]) for name in records.dtype.names or ()}
        for name, value in values.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise BadAnnotation(self.folder / f"{file}.npy", str(rows), name, value.tolist(), "finite numbers")
        return values

    def _names(self, names: np.ndarray, start: int, values: dict[str, np.ndarray]) -> tuple[str, str]:
        end = int(values["name_end"])
        try:
            if not 0 <= start < end <= len(names):
                raise ValueError(f"from byte {start} to {end}")
            identifier, sequence = json.loads(names[start:end].tobytes())
        except (ValueError, TypeError, RecursionError) as error:
            path = self.folder / "names.jsonl"
            raise BadAnnotation(path, f"byte {start}", "the line", str(error), "[id, sequence]") from error
        return str(identifier), str(sequence)


def skeleton_of(content: Any, path: Path) -> Skeleton:
    """The skeleton that plain data of its fields, in the file `path`, describe. Raises BadAnnotation."""

    def pairs(name: str) -> tuple[tuple[int, int], ...]:
        return tuple((int(a), int(b)) for a, b in content[name])

    try:
        names = tuple(str(name) for name in content["keypoints"])
        paired = pairs("flip_pairs"), tuple(int(k) for k in content.get("unpaired", ()))
        paired = paired if "unpaired" in content else completed(names, paired[0])
        return Skeleton(
            str(content["name"]),
            names,
            pairs("edges"),
            paired[0],
            {str(name): tuple(int(k) for k in members) for name, members in content["groups"].items()},
            tuple(float(sigma) for sigma in content["sigmas"]),
            paired[1],
            content.get("root"),
            float(content.get("extent", 0.0)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadAnnotation(path, "", "skeleton", str(error), "names, edges, flip_pairs, groups and sigmas") from error


def _load(path: Path, kind: np.dtype[Any], row: tuple[int, ...], count: int) -> np.ndarray:
    """A memory map of exactly `count` rows of that. Raises BadAnnotation."""
    shape = (count, *row)
    try:
        array = np.load(path, mmap_mode="r" if count else None, allow_pickle=False)  # nothing cannot be mapped
    except Exception as error:  # numpy raises whatever the bytes lead it to
        raise BadAnnotation(path, "", "the content", str(error), "a whole .npy; prepare the set again") from error
    form = getattr(array, "dtype", None), getattr(array, "shape", None)
    if form != (kind, shape) or (count and path.stat().st_size != getattr(array, "offset", 0) + array.nbytes):
        shown = f"of {form[0]} {form[1]}, {path.stat().st_size} bytes"
        raise BadAnnotation(path, "", "the content", shown, f"{kind} {shape}; prepare the set again")
    return array
