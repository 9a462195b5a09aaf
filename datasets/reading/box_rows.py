"""Files of boxes, row by row: the forms that boxes.py and detections.py name."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .annotations import BadAnnotation, Words, entries, mapping, numbers, read_json
from .coco_results import boxes_of

SIDES = ("left", "top", "right", "bottom")
EXTENTS = ("left", "top", "width", "height")


class Row(NamedTuple):
    """What a file says of one box, not checked yet."""

    where: str
    """As errors name it."""
    picture: Any
    box: Any
    """left, top, right, bottom"""
    score: Any = None
    root: Any = None
    """x, y, z of the root joint in mm in the camera's frame, where the file has one."""
    extended: Any = None
    """Whether the file says that the box was clipped and extended, or was not."""


def rows_of(path: Path, images: Path | None = None) -> Iterator[Row]:
    """The rows of a .csv, or of a JSON of any form; `images` is a COCO file that says which picture a number is. Raises
    BadAnnotation."""
    if path.suffix.lower() == ".csv":
        yield from _csv_rows(path)
        return
    content = read_json(path)
    if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
        yield from (Row(*row) for row in boxes_of(content, path))
    elif isinstance(content, dict):
        for name, boxes in content.items():
            for k, box in enumerate(entries(boxes, path, name, "the boxes")):
                yield Row(f"{name}, box {k}", name, box)
    else:
        yield from result_rows(content, path, None if images is None else _names(images))


def result_rows(content: Any, path: Path, names: dict[str, str] | None = None) -> Iterator[Row]:
    """The rows of a list as COCO's detectors give it; `names` are the pictures by their numbers. Raises
    BadAnnotation."""
    classes = set()
    for k, entry in enumerate(entries(content, path, "", "the content")):
        where = f"entry {k}"
        row = mapping(entry, path, where, "the detection", ("bbox",))
        box = numbers(row["bbox"], (4,), path, where, "bbox")
        classes.add(str(row.get("category_id", "")))
        if len(classes) > 1:
            raise BadAnnotation(path, where, "category_id", row.get("category_id"), "one class in all entries")
        picture, number = row.get("file_name", row.get("image_id")), row.get("image_id")
        if names is not None and "file_name" not in row:
            if str(number) not in names:
                raise BadAnnotation(path, where, "image_id", number, "the id of an entry of images")
            picture = names[str(number)]
        elif isinstance(picture, int) and not isinstance(picture, bool):
            wanted = "a picture's path below the root: numbers need the COCO file that numbers the pictures (images)"
            raise BadAnnotation(path, where, "file", picture, wanted)
        edges = np.concatenate([box[:2], box[:2] + box[2:]])
        yield Row(where, picture, edges, row.get("score"), row.get("root_cam"), row.get("extended"))


def _names(images: Path) -> dict[str, str]:
    """The pictures of a COCO file by their numbers."""
    content = mapping(read_json(images), images, "", "the content", ("images",))
    names = {}
    for number, value in enumerate(entries(content["images"], images, "", "images")):
        image = mapping(value, images, f"image {number}", "the image", ("id", "file_name"))
        if str(image["id"]) in names:
            raise BadAnnotation(images, f"image {number}", "id", Words("there twice"), "one of each")
        names[str(image["id"])] = image["file_name"]
    return names


def _csv_rows(path: Path) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            if header[5:] not in ([], ["score"]) or header[:5] not in (["file", *SIDES], ["file", *EXTENTS]):
                wanted = f"file,{','.join(SIDES)}[,score], or file,{','.join(EXTENTS)}[,score]"
                raise BadAnnotation(path, "line 1", "the header", ",".join(header), wanted)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield _csv_row(path, f"line {reader.line_num}", header, cells)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadAnnotation(path, "", "the content", str(error), "a UTF-8 CSV file") from error


def _csv_row(path: Path, where: str, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        raise BadAnnotation(path, where, "the line", ",".join(cells), f"{len(header)} cells: {','.join(header)}")
    values = []
    for column, cell in zip(header[1:], cells[1:], strict=True):
        if column == "score" and not cell.strip():
            break
        try:
            values.append(float(cell))
        except ValueError as error:
            raise BadAnnotation(path, where, column, cell, "a number") from error
    box = values[:4]
    if tuple(header[1:5]) == EXTENTS:
        box = [*box[:2], box[0] + box[2], box[1] + box[3]]
    return Row(where, cells[0].strip(), box, values[4] if len(values) == 5 else None)
