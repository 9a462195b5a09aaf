"""Predictions in COCO's forms: a list of results, [{image_id, category_id, keypoints, bbox, score}, ...], as detectors
and `keyshift predict --format results` write it, brought into the form of a label file; and the boxes of a label file.

An entry names its picture by `file_name`, by an `image_id` that is a text, or by the number that it has in `images`, a
COCO file of these pictures. What stands behind x and y is a confidence or a flag: above 0 a keypoint is taken.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .annotations import BadAnnotation, Words, entries, mapping, numbers, read_json
from .json_stream import read_without
from .people import joints_box

HINT = "a file name; or name the COCO file that numbers the pictures with images=FILE"


def read_labels(file: Path, images: Path | None = None, unread: Collection[str] = ()) -> Any:
    """What a COCO JSON holds, without the fields `unread`; of a list of results the same as a label file. Raises
    BadAnnotation."""
    content = read_without(file, unread)
    results = isinstance(content, list) and content and isinstance(content[0], dict)
    return as_labels(content, file, images) if results else content


def as_labels(results: list[Any], file: Path, images: Path | None = None) -> dict[str, Any]:
    """The results as a label file: its images, annotations, and the categories of `images`."""
    base = {} if images is None else mapping(read_json(images), images, "", "the content", ("images",))
    pictures: dict[str, int] = {}
    annotations, scores = [], []
    for number, entry in enumerate(results):
        row = mapping(entry, file, f"entry {number}", "the result", ("keypoints",))
        named = row.get("file_name", row.get("image_id"))
        if images is None and not isinstance(named, str):
            raise BadAnnotation(file, f"entry {number}", "image_id", named, HINT)
        image = row.get("image_id") if images is not None else pictures.setdefault(str(named), len(pictures))
        made = {"id": number, "image_id": image, "keypoints": _flags(row["keypoints"]), "bbox": row.get("bbox")}
        if base and "category_id" in row:
            made["category_id"] = row["category_id"]
        annotations.append(made)
        if row.get("score") is not None:
            scores.append(float(numbers(row["score"], (), file, f"entry {number}", "score")))
    if annotations:
        shown = f", of scores from {min(scores):.3g} to {max(scores):.3g}," if scores else ""
        warnings.warn(f"{file}: {len(annotations)} predictions{shown} are taken for labels", stacklevel=5)
    own = [{"id": number, "file_name": name} for name, number in pictures.items()]
    return {"images": base.get("images", own), "annotations": annotations, "categories": base.get("categories")}


def _flags(keypoints: Any) -> Any:
    """x, y, v with v of 2 for what is above 0; anything else as it stands, for the reader of labels to refuse."""
    if not isinstance(keypoints, list) or len(keypoints) % 3:
        return keypoints
    plain = [type(v) in (int, float) for v in keypoints[2::3]]
    return [2 * (v > 0) if k % 3 == 2 and plain[k // 3] and v == v else v for k, v in enumerate(keypoints)]


def boxes_of(content: dict[str, Any], file: Path) -> Iterator[tuple[str, Any, Any, Any, Any, Any]]:
    """(where, picture, left, top, right, bottom, score, root_cam, extended) of the people of a COCO file, crowds and
    people without a box left out: those of the category with keypoints, or of the only one. What `keyshift predict`
    wrote holds crops, and no boxes: they are made of its keypoints. Raises BadAnnotation."""
    names = {}
    for number, value in enumerate(entries(content["images"], file, "", "images")):
        image = mapping(value, file, f"image {number}", "the image", ("id", "file_name"))
        names[str(image["id"])] = image["file_name"]
    wanted, seen = _with_keypoints(content.get("categories"), file), set()
    for number, value in enumerate(entries(content["annotations"], file, "", "annotations")):
        where = f"annotation {number}"
        row = mapping(value, file, where, "the annotation", ("image_id",))
        category = str(row.get("category_id", ""))
        if row.get("iscrowd") or not row.get("bbox") or (wanted and category not in wanted):
            continue
        seen.add(category)
        if len(seen) > 1 and not wanted:
            words = Words(f"{category} after others")
            raise BadAnnotation(file, where, "category_id", words, "one class, or one category that has keypoints")
        if str(row["image_id"]) not in names:
            raise BadAnnotation(file, where, "image_id", row["image_id"], "the id of an entry of images")
        left, top, width, height = numbers(row["bbox"], (4,), file, where, "bbox").tolist()
        box = np.array([left, top, left + width, top + height])
        if "keypoint_scores" in row:
            joints = numbers(row.get("keypoints"), (None,), file, where, "keypoints")
            if not len(joints) or len(joints) % 3:
                raise BadAnnotation(file, where, "keypoints", Words(f"{len(joints)} numbers"), "x, y, v of each")
            box = joints_box(joints.reshape(-1, 3)[:, :2] + 0.5, np.ones(len(joints) // 3, bool))
        if width > 0 and height > 0:
            name = names[str(row["image_id"])]
            yield where, name, box, row.get("score"), row.get("root_cam"), row.get("extended")


def _with_keypoints(categories: Any, file: Path) -> set[str]:
    listed = [mapping(c, file, "categories", "the category") for c in entries(categories or [], file, "", "categories")]
    return {str(category.get("id")) for category in listed if category.get("keypoints")}
