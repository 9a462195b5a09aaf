"""Your own labels in the CSV of DeepLabCut and Lightning Pose.

    scorer,,,Anna,Anna,...                          the name of a picture takes one column (labeled-data/clip/img07.png)
    individuals,,,mouse1,mouse1,...                 or three; this line stands there where animals are told apart
    bodyparts,,,nose,nose,...
    coords,,,x,y,...                                a third column, likelihood, says that they are predictions
    labeled-data,clip,img07.png,102.5,77.0,...      empty or NaN: not labelled

    PROJECT/config.yaml                             its `skeleton` gives the edges, its `scorer` whose CSV is read
    PROJECT/labeled-data/VIDEO/CollectedData_SCORER.csv and pictures
    PROJECT/CollectedData.csv                       Lightning Pose: one file, whose names start from the project

Either layout is read from `root=PROJECT`; or labels=FILE, or labels=[TRAIN, TEST]. A picture is looked for beside its
CSV, then below the root; of absolute names and those with \\ the part from labeled-data on counts. Where rows are
numbers, they are those of the frames, from 0, of the video whose name the CSV's begins with. x and y are indices of
pixels (both tools label on a picture whose first pixel's middle is 0, 0): +0.5. Neither says what is hidden. There are
no boxes: null means whole, or truth where a picture has several animals. Points of DeepLabCut's `single`, which belong
to no animal, are left out beside animals. Each fifth folder, or block of `block` pictures of one folder, tests;
DeepLabCut's own training sets are not looked at.
"""

from __future__ import annotations

import csv
import io
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from ..options import option
from ..reading.annotations import BadAnnotation, Words, picture_name, read_yaml
from ..reading.levels import white_of
from ..reading.origin import Origin
from ..reading.people import People, PictureSet, digest, table
from ..reading.splits import PARTS, check_part
from ..reading.video import VIDEOS
from ..skeleton import Skeleton
from ..words import Texts
from .foreign import refuse_foreign, refuse_foreign_folder
from .label_files import LabelOptions, recordings
from .labels import chosen_file, take_part
from .skeleton_file import canonical, of_category, skeleton_of

ORIGIN = Origin(
    "your own labels in DeepLabCut's or Lightning Pose's CSV",
    "yours",
    "your disk",
    "PROJECT/labeled-data/VIDEO/CollectedData_SCORER.csv, or PROJECT/CollectedData.csv, and their pictures",
)
EMPTY = ("", "nan", "na", "n/a", "none", "null")
"""Cells of what is not labelled."""
COORDS = ("x", "y", "likelihood")


@dataclass(frozen=True)
class Options(LabelOptions):
    """The options of DeepLabCut's labels; `root` is the project's folder, its config.yaml, or a CSV."""

    labels: Texts = option(None, "a CSV, which is split; or two: [train, test]; null: those of the project")


class Sheet(NamedTuple):
    """One CSV."""

    file: Path
    columns: list[tuple[str, str, str]]
    """Animal ("" where they are not told apart), body part and coordinate of each."""
    rows: list[tuple[str, list[str], list[float]]]
    """Line, what names the picture, and the numbers, NaN where nothing stands."""


def deeplabcut(options: Options, part: str) -> PictureSet:
    """The animals of a project. Raises ValueError for files that are not there, malformed or leave a part empty."""
    check_part(part)
    files, root, parted = _files(options, part)
    for file in files:
        refuse_foreign(file, "deeplabcut")
    sheets = [read_sheet(file) for file in files]
    settings = _settings(root)
    people = _people(sheets, root, options.skeleton, settings.get("skeleton"), options.block)
    single = len(set(people.pictures)) == len(people)
    names = list(people.pictures)
    if parted and options.white == "auto":  # one white for both parts
        others = [read_sheet(file) for file in _files(options, PARTS[part == "train"])[0]]
        names += _people(others, root, options.skeleton, settings.get("skeleton"), options.block).pictures
    people, about = take_part(people, part, options, parted)
    about |= {"files": len(files), "sha256": digest(*files)}
    fallback = "whole" if single else "truth"
    white = white_of(options.white, root, names)
    return PictureSet(f"deeplabcut.{part}", root, people, about, ORIGIN, options.boxes, fallback=fallback, white=white)


def _files(options: Options, part: str) -> tuple[list[Path], Path, bool]:
    """The CSVs of `part`, the folder that pictures are named from, and whether the labels are already parted."""
    if options.labels is None:
        if options.root is None:
            raise ValueError("deeplabcut needs root=PROJECT, labels=FILE.csv, or labels=[TRAIN.csv, TEST.csv]")
        root = options.folder.parent if options.folder.name == "config.yaml" else options.folder
        if root.is_file():
            return [root], _project(root), False
        return _of_project(root), root, False
    file, parted = chosen_file(options.labels, part, "a CSV of DeepLabCut or Lightning Pose")
    return [file], _project(file) if options.root is None else options.folder, parted


def _project(file: Path) -> Path:
    """The folder of the project that a CSV lies in."""
    up = file.absolute().parents
    return up[2] if len(up) > 2 and up[1].name == "labeled-data" else file.parent


def _of_project(root: Path) -> list[Path]:
    """The label files below a project's folder, or that of one video: one of each folder."""
    if not root.is_dir():
        raise ValueError(f"no folder {root}: deeplabcut reads {ORIGIN.layout}")
    for pattern in ("labeled-data/*/CollectedData*.csv", "CollectedData*.csv", "*/CollectedData*.csv", "*.csv"):
        folders: dict[Path, list[Path]] = {}
        for file in sorted(root.glob(pattern)):
            folders.setdefault(file.parent, []).append(file)
        if folders:
            scorer = _settings(root).get("scorer")
            return [_of_scorer(files, scorer) for files in folders.values()]
    refuse_foreign_folder(root, "deeplabcut")
    raise ValueError(f"{root} holds no {ORIGIN.layout}; name your file with labels=FILE.csv")


def _of_scorer(files: list[Path], scorer: Any) -> Path:
    usual = ("CollectedData.csv", f"CollectedData_{scorer}.csv")
    fitting = [file for file in files if len(files) == 1 or file.name in usual]
    if len(fitting) != 1:
        listed = ", ".join(file.name for file in files[:10])
        raise ValueError(f"{files[0].parent} holds several CSVs: {listed}. Name yours with labels=FILE.csv")
    return fitting[0]


def _settings(root: Path) -> dict[str, Any]:
    """What config.yaml holds; nothing where it is not there, or cannot be read: then a warning says so."""
    file = root / "config.yaml"
    try:
        content = read_yaml(file) if file.is_file() else {}
    except BadAnnotation as error:
        warnings.warn(f"{error}; it is not looked at: edges follow from the names", stacklevel=3)
        return {}
    return content if isinstance(content, dict) else {}


def read_sheet(file: Path) -> Sheet:
    """The cells of a CSV, which commas, semicolons or tabs part. Raises BadAnnotation."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
        first = re.match(r'\s*"?scorer"?([,;\t])', text, re.IGNORECASE)
        if first is None:
            top = Words(text.lstrip().partition("\n")[0][:60].strip() or "nothing")
            wanted = "scorer,NAME,..., then bodyparts and coords: DeepLabCut's or Lightning Pose's CSV"
            raise BadAnnotation(file, "line 1", "the header", top, wanted)
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=first[1], strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        words = Words(f"{type(error).__name__}: {error}")
        raise BadAnnotation(file, "", "the content", words, "a CSV in UTF-8; save it as CSV UTF-8") from error
    header = _header(file, lines)
    start = next((k for k, cell in enumerate(header["coords"]) if k and cell), len(header["coords"]))
    empty = [""] * len(header["coords"])
    cells = (header.get(name, empty)[start:] for name in ("individuals", "bodyparts", "coords"))
    columns = [(animal, point, coord.lower()) for animal, point, coord in zip(*cells, strict=True)]
    _check_columns(file, columns)
    decimal = "," if first[1] == ";" else "."
    rows = []
    for number, line in enumerate(lines[len(header) :], len(header) + 1):
        if any(cell.strip() for cell in line):
            rows.append(_row(file, f"line {number}", line, start, columns, decimal))
    return Sheet(file, columns, rows)


def _header(file: Path, lines: list[list[str]]) -> dict[str, list[str]]:
    """The first three or four lines by their names."""
    header: dict[str, list[str]] = {}
    for line in lines[:4]:
        name = line[0].strip().lower() if line else ""
        if name in ("scorer", "individuals", "bodyparts", "coords"):
            header[name] = [cell.strip() for cell in line]
    if list(header) not in (["scorer", "bodyparts", "coords"], ["scorer", "individuals", "bodyparts", "coords"]):
        raise BadAnnotation(file, "", "the header", list(header), "lines scorer, (individuals,) bodyparts, coords")
    lengths = [len(line) for line in header.values()]
    if len(set(lengths)) > 1:
        raise BadAnnotation(file, "", "the header", Words(f"lines of {lengths} cells"), "as many in each")
    return header


def _check_columns(file: Path, columns: list[tuple[str, str, str]]) -> None:
    for animal, point, coord in columns:
        if coord not in COORDS or not point:
            raise BadAnnotation(file, "the header", "coords", [animal, point, coord], "x and y of a body part")
    points = dict.fromkeys((animal, point) for animal, point, _ in columns)
    for animal, point in points:
        there = sorted(coord for *of, coord in columns if of == [animal, point])
        if there not in (["x", "y"], ["likelihood", "x", "y"]):
            raise BadAnnotation(file, "the header", f"{animal} {point}".strip(), there, "x and y, each once")
    if not points:
        raise BadAnnotation(file, "the header", "bodyparts", Words("empty"), "the names of body parts")


def _row(
    file: Path, where: str, line: list[str], start: int, columns: list[tuple[str, str, str]], decimal: str
) -> tuple[str, list[str], list[float]]:
    if len(line) != start + len(columns):
        raise BadAnnotation(file, where, "the line", Words(f"of {len(line)} cells"), f"{start + len(columns)} cells")
    values = []
    for cell, (_, point, coord) in zip(line[start:], columns, strict=True):
        text = cell.strip().replace(decimal, ".")
        try:
            values.append(np.nan if text.lower() in EMPTY else float(text))
        except ValueError as error:
            raise BadAnnotation(file, where, f"{coord} of {point}", cell, "a number, or nothing") from error
    return where, [cell.strip() for cell in line[:start]], values


def _people(sheets: list[Sheet], root: Path, skeleton: str | None, bones: Any, block: int) -> People:
    """The animals of all CSVs, whose body parts need not be the same or in one order."""
    for sheet in sheets:
        if any(coord == "likelihood" for *_, coord in sheet.columns):
            warnings.warn(f"{sheet.file}: it has likelihoods: predictions are taken for labels", stacklevel=3)
    whole = [_without_single(sheet) for sheet in sheets]
    points = list(dict.fromkeys(point for sheet in whole for _, point, _ in sheet.columns))
    made, order = _skeleton(sheets[0].file, points, skeleton, bones)
    rows: dict[str, dict[str, Any]] = {}
    twice = []
    for sheet in whole:
        for row in _animals(sheet, root, points):
            if row["id"] in rows:
                twice.append(row["id"])
            else:
                rows[row["id"]] = row
    if twice:
        warnings.warn(f"{root}: {len(twice)} rows stand twice, {twice[0]} first: the earlier is taken", stacklevel=3)
    sequences, frames = recordings([row["picture"] for row in rows.values()], block)
    for row, sequence, frame in zip(rows.values(), sequences, frames, strict=True):
        row |= {"sequence": sequence, "frame": frame}
        row |= {field: row[field][order] for field in ("keypoints", "annotated")}
    labelled = [row | {"visible": row["annotated"]} for row in rows.values() if row["annotated"].any()]
    return table(sheets[0].file if len(sheets) == 1 else root, made, labelled)


def _without_single(sheet: Sheet) -> Sheet:
    animals = {animal for animal, *_ in sheet.columns}
    if "single" not in animals or len(animals) == 1:
        return sheet
    kept = [k for k, (animal, *_) in enumerate(sheet.columns) if animal != "single"]
    gone = len(sheet.columns) - len(kept)
    warnings.warn(f"{sheet.file}: {gone} columns of points that belong to no animal are left out", stacklevel=4)
    rows = [(where, name, [values[k] for k in kept]) for where, name, values in sheet.rows]
    return Sheet(sheet.file, [sheet.columns[k] for k in kept], rows)


def _skeleton(file: Path, points: list[str], skeleton: str | None, bones: Any) -> tuple[Skeleton, list[int]]:
    """The skeleton, and for each of its keypoints the body part: by name, or by place where names are others."""
    pairs = [pair for pair in bones if isinstance(pair, list)] if isinstance(bones, list) else []
    edges = [[points.index(str(end)) + 1 for end in pair] for pair in pairs if all(str(end) in points for end in pair)]
    own = {"name": "points", "keypoints": points, "skeleton": [edge for edge in edges if len(edge) == 2]}
    if skeleton is None:
        return of_category(own, file, "bodyparts"), list(range(len(points)))
    given, names = skeleton_of(skeleton), list(canonical(points))
    if set(names) == set(given.keypoints):
        return given, [names.index(name) for name in given.keypoints]
    if len(names) != len(given):
        raise BadAnnotation(file, "", "bodyparts", points, f"the {len(given)} keypoints of skeleton={skeleton}")
    return given, list(range(len(points)))


def _animals(sheet: Sheet, root: Path, points: list[str]) -> list[dict[str, Any]]:
    """A row for each animal of each picture, labelled or not."""
    places = {column: k for k, column in enumerate(sheet.columns)}
    animals = list(dict.fromkeys(animal for animal, *_ in sheet.columns))
    at = [[places.get((a, p, c), -1) for p in points for c in ("x", "y")] for a in animals]
    values = np.array([[*numbers, np.nan] for *_, numbers in sheet.rows]).reshape(len(sheet.rows), -1)
    xy = values[:, at].reshape(len(sheet.rows), len(animals), len(points), 2) if len(values) else values
    video = _video(sheet, root)
    rows = []
    for (where, index, _), of_picture in zip(sheet.rows, xy, strict=True):
        picture = f"{video}#{int(index[0])}" if video else _picture(sheet.file, root, where, index)
        for animal, joints in zip(animals, of_picture, strict=True):
            half = np.isnan(joints).sum(-1) == 1
            if half.any():
                point = points[int(half.argmax())]
                raise BadAnnotation(sheet.file, where, point, Words("one of x and y alone"), "both, or neither")
            annotated = ~np.isnan(joints).any(-1)
            keypoints = np.where(annotated[:, None], joints, 0) + 0.5
            name = f"{picture}:{animal}" if animal else picture
            rows.append({"picture": picture, "id": name, "keypoints": keypoints, "annotated": annotated})
    return rows


def _picture(file: Path, root: Path, where: str, index: Sequence[str]) -> str:
    """The picture's path below `root`: beside the CSV where it is there."""
    name = "/".join(index).replace("\\", "/")
    parts = [part for part in name.split("/") if part]
    folder, top = file.absolute().parent, root.absolute()
    beside = folder.relative_to(top).as_posix() if folder.is_relative_to(top) else "."
    usual = f"{beside}/{parts[-1]}" if parts else ""
    if parts and picture_name(usual, file, where) and os.path.isfile(root / usual):
        return str(PurePosixPath(usual))
    if "labeled-data" in parts and not name.startswith("labeled-data"):
        name = "/".join(parts[parts.index("labeled-data") :])
    elif name.startswith("/") or ".." in parts or ":" in (parts or [""])[0]:  # it leads out of the root
        name = usual
    return picture_name(name, file, where, "the picture")


def _video(sheet: Sheet, root: Path) -> str | None:
    """The video, below `root`, of rows that are numbers of its frames; None where rows name pictures."""
    numbered = [len(index) == 1 and index[0].isdecimal() and len(index[0]) < 10 for _, index, _ in sheet.rows]
    if not numbered or not all(numbered):
        return None
    names = [path.name for folder in (root, root / "videos") if folder.is_dir() for path in sorted(folder.iterdir())]
    fitting = [n for n in names if n.lower().endswith(VIDEOS) and sheet.file.name.startswith(Path(n).stem)]
    if not fitting:
        wanted = f"the names of pictures, or a video in {root} with whose name that of the CSV begins"
        raise BadAnnotation(sheet.file, "", "the first column", Words("numbers of frames"), wanted)
    name = max(fitting, key=len)
    return name if os.path.isfile(root / name) else f"videos/{name}"
