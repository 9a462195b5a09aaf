"""Annotation files of 3DMPPE (Moon, Chang and Lee, ICCV 2019): people before pinhole cameras, in lists as of COCO.

`images` (id, file_name, width, height, and a camera whose fields differ by set) and `annotations` (id, image_id, bbox
left, top, width, height, and joints in the camera's frame). Columns are read for all people at once; where one is not
what it must be, the error names the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .annotations import BadAnnotation, Words, entries, mapping, numbers, picture_name, read_json, unique, whole
from .box_chain import process_boxes
from .cameras import NEAREST
from .notes import Notes
from .people import project

OFF = 10.0
"""px: a file whose median joint is farther from its projection has another camera, or another order of joints."""


@dataclass(frozen=True)
class Records:
    """N people of a file, and for each the image that it is in."""

    file: Path
    people: list[dict[str, Any]]
    """(N) annotations."""
    images: list[dict[str, Any]]
    """(N) entries of `images`, the same one for all people in it."""

    def __len__(self) -> int:
        return len(self.people)

    def select(self, rows: np.ndarray) -> Records:
        """Those of `rows`, indices or a mask."""
        index = np.arange(len(self))[rows]
        return replace(self, people=[self.people[i] for i in index], images=[self.images[i] for i in index])

    @property
    def ids(self) -> list[int]:
        return [person["id"] for person in self.people]

    def column(self, field: str, shape: tuple[int, ...], image: bool = False) -> np.ndarray:
        """(N, *shape) numbers of the people, or of their images. Raises BadAnnotation."""
        holders = self.images if image else self.people
        kind = "image" if image else "annotation"
        for holder in holders:
            mapping(holder, self.file, f"{kind} {holder['id']}", "the entry", (field,))
        values = [holder[field] for holder in holders]
        if not values:
            return np.zeros((0, *shape))
        try:
            return numbers(values, (None, *shape), self.file, "", field)
        except BadAnnotation:
            for holder in holders:
                numbers(holder[field], shape, self.file, f"{kind} {holder['id']}", field)
            raise

    def flags(self, field: str, keypoints: int) -> np.ndarray:
        """(N, K) bool of lists of 0 and 1, or of false and true. Raises BadAnnotation."""
        plain = [{**person, field: _numbered(person.get(field))} for person in self.people]
        flags = replace(self, people=plain).column(field, (keypoints,))
        fine = ((flags == 0) | (flags == 1)).all(1)
        if not fine.all():
            row = int(np.argmin(fine))
            raise BadAnnotation(self.file, f"annotation {self.ids[row]}", field, flags[row].tolist(), "0 or 1")
        return flags == 1

    def truths(self, field: str) -> np.ndarray:
        """(N,) bool of a 0 or 1, or false or true, of each person. Raises BadAnnotation."""
        listed = [{**person, field: [person.get(field)]} for person in self.people]
        return replace(self, people=listed).flags(field, 1)[:, 0]

    def pictures(self, folder: str = "") -> list[str]:
        """(N) paths of the pictures, which lie in `folder` below the root. Raises BadAnnotation."""
        return [f"{folder}{image['picture']}" for image in self.images]

    def boxes(self) -> np.ndarray:
        """(N, 4) left, top, right, bottom; width and height of them may be negative. Raises BadAnnotation."""
        corner, extent = np.split(self.column("bbox", (4,)), 2, 1)
        return np.concatenate([corner, corner + extent], 1)

    def sizes(self) -> np.ndarray:
        """(N, 2) width and height that the file says the pictures have."""
        return np.array([image["size"] for image in self.images], np.float64).reshape(-1, 2)


def _numbered(value: Any) -> Any:
    """A list of truths as one of numbers."""
    return [int(x) if isinstance(x, bool) else x for x in value] if isinstance(value, list) else value


def read_records(file: Path) -> Records:
    """The people in the order of the file. Raises BadAnnotation for entries without id, name, size, or image."""
    content = mapping(read_json(file), file, "", "the content", ("images", "annotations"))
    images: dict[int, dict[str, Any]] = {}
    for number, value in enumerate(entries(content["images"], file, "", "images")):
        image = _image(value, number, file)
        if images.setdefault(image["id"], image) is not image:
            raise BadAnnotation(file, f"image {number}", "id", Words(f"{image['id']} again"), "an id of its own")
    people = []
    for number, value in enumerate(entries(content["annotations"], file, "", "annotations")):
        place = f"annotation {number}, from 0"
        person = mapping(value, file, place, "the entry", ("id", "image_id", "bbox"))
        person |= {key: whole(person[key], file, place, key) for key in ("id", "image_id")}
        if person["image_id"] not in images:
            raise BadAnnotation(file, place, "image_id", person["image_id"], "the id of an entry of images")
        people.append(person)
    unique([str(person["id"]) for person in people], file)
    return Records(file, people, [images[person["image_id"]] for person in people])


def _image(value: Any, number: int, file: Path) -> dict[str, Any]:
    """The entry, with `picture` and `size` beside what it has."""
    place = f"image {number}"
    image = mapping(value, file, place, "the entry", ("id", "file_name", "width", "height"))
    size = tuple(whole(image[side], file, place, side) for side in ("width", "height"))
    if not all(0 < side <= 10**6 for side in size):
        raise BadAnnotation(file, place, "width and height", list(size), "pixels")
    name = picture_name(image["file_name"], file, place)
    return {**image, "id": whole(image["id"], file, place, "id"), "picture": name, "size": size}


def croppable(records: Records, points: np.ndarray) -> np.ndarray:
    """(N,) bool: who has a box in the picture and all of points (N, K, 3) before the camera. The others are counted in
    a warning: they are left out."""
    boxes, sizes, notes = records.column("bbox", (4,)), records.sizes(), Notes(records.file)
    inside, ahead = process_boxes(boxes, sizes)[1], (points[..., 2] >= NEAREST).all(-1)
    for fine, what in ((inside, "have a box outside their picture, or without an area"), (ahead, _BEHIND)):
        if not fine.all():
            notes.add(
                f"{what}, and are left out", f"annotation {records.ids[int(np.argmin(fine))]}", int((~fine).sum())
            )
    notes.warn(len(records), "people")
    return inside & ahead


_BEHIND = f"have joints less than {NEAREST:g} mm before the camera"


def camera_of(focal: np.ndarray, middle: np.ndarray, records: Records, field: str) -> np.ndarray:
    """(N, 4) of focal lengths (N, 2) and principal points (N, 2). Raises BadAnnotation naming `field`."""
    fine = (focal > 0).all(1)
    if not fine.all():
        row = int(np.argmin(fine))
        place = f"image {records.images[row]['id']}"
        raise BadAnnotation(records.file, place, field, focal[row].tolist(), "positive focal lengths, in pixels")
    return np.concatenate([focal, middle], 1)


def check_projection(points: np.ndarray, camera: np.ndarray, keypoints: np.ndarray, file: Path) -> None:
    """Raises BadAnnotation where cameras (N, 4) show points (N, K, 3) elsewhere than keypoints (N, K, 2) are."""
    off = np.linalg.norm(project(points, camera) - keypoints, axis=-1)
    if off.size and not np.median(off) <= OFF:
        shown = Words(f"{np.median(off):.1f} px away, in the median, from the joints in the camera's frame")
        raise BadAnnotation(file, "", "the keypoints' place", shown, f"their projection, to {OFF:g} px")


def sizes_by_name(pictures: Sequence[str], sizes: np.ndarray) -> partial[dict[str, tuple[int, int]]]:
    """For `PictureSet.declared`: what reads the sizes (N, 2) of pictures (N) by their names."""
    return partial(_by_name, pictures, sizes)


def _by_name(pictures: Sequence[str], sizes: np.ndarray) -> dict[str, tuple[int, int]]:
    whole_sizes = sizes.astype(int).tolist()
    return {name: (width, height) for name, (width, height) in zip(pictures, whole_sizes, strict=True)}
