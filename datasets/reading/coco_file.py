"""People out of a COCO keypoint JSON: https://cocodataset.org/#format-data.

`images` (id, file_name), `annotations` (image_id, keypoints, bbox left, top, width, height) and `categories`
(keypoints: names, skeleton: edges from 1). Keypoints are indices of pixels, whose centres lie at +0.5: +0.5. Boxes are
continuous: 0. A flag v of 0 means not annotated, 1 hidden, 2 visible; a file that uses no 2 says with 1 that a joint
is annotated and not which are hidden (mmpose's conversions of hand sets, PoseTrack). Crowds and annotations without an
annotated keypoint are left out, with a warning those that have no keypoints at all (people who are boxes alone); x and
y of null are of a keypoint that is not annotated. Segmentation, area and num_keypoints other than 0 are not looked at.

Beyond COCO are read where present: `vid_id`, `video_id` or `seq_name` of an image, the recording it belongs to, and
`cam_param` (focal, princpt); `joint_cam` (mm, camera frame) of an annotation; and `hand_type` or `is_left` of an
annotation or category. 3D that not all annotations have is left out with a warning. So are boxes without an area: the
person's crop is then made of its true joints, in all of the file where no annotation has a box.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..own.skeleton_file import KNOWN, of_category
from ..skeleton import Skeleton
from .annotations import BadAnnotation, Words, entries, mapping, numbers, picture_name, read_json, unique, whole
from .coco_results import read_labels
from .people import AROUND_BOXES, AROUND_JOINTS, People

VIDEO_FIELDS = ("vid_id", "video_id", "seq_name")


def read_coco(
    file: Path, skeleton: Skeleton | None, block: int | None, below: str = ".", numbered: Path | None = None
) -> tuple[People, dict[str, Any]]:
    """The people of a COCO keypoint JSON whose pictures lie `below` the root, and what else names the rows.

    `skeleton` None: from the categories. `block` None: a sequence is a picture, else a recording where its
    image names one, else `block` pictures in the order of the file. `numbered` is a COCO file of the pictures that
    a list of results numbers. Raises BadAnnotation.
    """
    content = mapping(read_labels(file, numbered), file, "", "the content", ("images", "annotations"))
    kept, skeleton = _categories(content, file, skeleton)
    images = _images(entries(content["images"], file, "", "images"), file, block, below)
    rows = []
    for number, value in enumerate(entries(content["annotations"], file, "", "annotations")):
        row = _row(value, number, file, kept, images)
        if row is not None:
            rows.append(row)
    unique([f"annotation {row.id}" for row in rows], file)
    rows = _with_keypoints(rows, file)
    joints = _joints(rows, skeleton, file)
    some = np.flatnonzero((joints[..., 2] > 0).any(1))
    rows, joints = [rows[i] for i in some], joints[some]
    keypoints, annotated = joints[..., :2] + 0.5, joints[..., 2] > 0
    says_hidden = (joints[..., 2] == 2).any()
    boxes, guessed = _boxes(rows, keypoints, annotated, file)
    people = People(
        str(file),
        skeleton,
        [row.image["picture"] for row in rows],
        [row.id for row in rows],
        [row.image["sequence"] for row in rows],
        np.array([row.image["frame"] for row in rows], np.int64),
        keypoints,
        annotated,
        joints[..., 2] == 2 if says_hidden else annotated,
        boxes,
        _cameras(rows),
        _points(rows, len(skeleton), file),
        _mirrored(rows, file),
    )
    return people, {"boxes made of joints": guessed} if guessed else {}


def _categories(
    content: dict[str, Any], file: Path, skeleton: Skeleton | None
) -> tuple[dict[Any, dict[str, Any] | None], Skeleton]:
    """The categories by id, None for one without keypoints beside others that have some, and their one skeleton."""
    every: dict[Any, dict[str, Any]] = {}
    for number, value in enumerate(entries(content.get("categories") or [], file, "", "categories")):
        entry = f"category {number}"
        category = mapping(value, file, entry, "the category", ("id",))
        key = _key(category["id"], file, entry, "id")
        if key in every:
            raise BadAnnotation(file, entry, "id", Words(f"{key!r} again"), "an id of its own")
        every[key] = category
    named = {key: category for key, category in every.items() if category.get("keypoints")}
    kept = {key: category if key in named or not named else None for key, category in every.items()}
    if skeleton is not None:
        return kept, skeleton
    if not named:
        names = f"names: set skeleton to {', '.join(KNOWN)} or a YAML file"
        raise BadAnnotation(file, "", "keypoints in categories", Words("missing"), names)
    if len({repr(category["keypoints"]) for category in named.values()}) > 1:
        listed = [str(category.get("name", key)) for key, category in named.items()]
        raise BadAnnotation(file, "", "categories", listed, "the same keypoints in all of them; keep one category")
    key, category = next(iter(named.items()))
    return kept, of_category(category, file, f"category {key}")


def declared_sizes(file: Path, below: str = ".") -> dict[str, tuple[int, int]]:
    """Width and height that a COCO keypoint JSON gives its pictures, by their paths as `read_coco` names them.

    Pictures without both are left out. Raises BadAnnotation.
    """
    content = read_json(file)
    if isinstance(content, list):  # results, which say no sizes
        return {}
    mapping(content, file, "", "the content", ("images",))
    sizes = {}
    for number, value in enumerate(entries(content["images"], file, "", "images")):
        entry = f"image {number}"
        image = mapping(value, file, entry, "the image", ("file_name",))
        size = [image.get(side) for side in ("width", "height")]
        if None not in size:
            width, height = (whole(side, file, entry, "width and height") for side in size)
            sizes[_below(below, picture_name(image["file_name"], file, entry))] = width, height
    return sizes


def _below(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def _key(value: Any, file: Path, entry: str, field: str) -> int | str:
    """An id: a whole number, which may be a hash of 64 bits, or a printable text."""
    if type(value) is int:
        return value
    if isinstance(value, str) and value.isprintable() and 0 < len(value) < 1000:
        return value
    return whole(value, file, entry, field)


def _images(listed: list[Any], file: Path, block: int | None, below: str) -> dict[Any, dict[str, Any]]:
    """By id: picture, sequence, frame (place in the file), camera (None where there is none)."""
    images: dict[Any, dict[str, Any]] = {}
    place: dict[str, int] = {}
    for number, value in enumerate(listed):
        entry = f"image {number}"
        image = mapping(value, file, entry, "the image", ("id", "file_name"))
        key = _key(image["id"], file, entry, "id")
        if key in images:
            raise BadAnnotation(file, entry, "id", Words(f"{key!r} again"), "an id of its own")
        name = picture_name(image["file_name"], file, entry)
        first = place.setdefault(name, number)  # one picture listed twice stays on one side
        sequence = name
        if block is not None:
            video = next((image[field] for field in VIDEO_FIELDS if image.get(field) is not None), None)
            sequence = f"{first // block:09d}" if video is None else str(_key(video, file, entry, "the video's id"))
        images[key] = {
            **{"picture": _below(below, name), "sequence": sequence, "frame": number},
            "camera": _camera(image.get("cam_param"), file, entry),
        }
    return images


def _camera(value: Any, file: Path, entry: str) -> np.ndarray | None:
    if value is None:
        return None
    mapping(value, file, entry, "cam_param", ("focal", "princpt"))
    focal = numbers(value["focal"], (2,), file, entry, "focal")
    if not (focal > 0).all():
        raise BadAnnotation(file, entry, "focal", value["focal"], "two lengths above 0")
    return np.concatenate([focal, numbers(value["princpt"], (2,), file, entry, "princpt") + 0.5])


class _Row(NamedTuple):
    """An annotation that is taken."""

    id: str
    image: dict[str, Any]
    annotation: dict[str, Any]
    category: dict[str, Any]


def _row(
    value: Any, number: int, file: Path, kept: dict[Any, dict[str, Any] | None], images: dict[Any, dict[str, Any]]
) -> _Row | None:
    """None for an annotation that is left out."""
    annotation = mapping(value, file, f"annotation {number}", "the annotation")
    name = str(_key(annotation["id"], file, f"annotation {number}", "id")) if "id" in annotation else f"#{number}"
    entry = f"annotation {name}"
    crowd = annotation.get("iscrowd") or 0
    if crowd not in (0, 1):
        raise BadAnnotation(file, entry, "iscrowd", crowd, "0 or 1")
    category: dict[str, Any] | None = {}
    if kept and "category_id" in annotation:
        key = _key(annotation["category_id"], file, entry, "category_id")
        if key not in kept:
            raise BadAnnotation(file, entry, "category_id", key, "the id of an entry of categories")
        category = kept[key]
    if category is None or crowd or annotation.get("num_keypoints") == 0:
        return None
    mapping(annotation, file, entry, "the annotation", ("image_id",))
    image = images.get(_key(annotation["image_id"], file, entry, "image_id"))
    if image is None:
        raise BadAnnotation(file, entry, "image_id", annotation["image_id"], "the id of an entry of images")
    return _Row(name, image, annotation, category)


def _stack(values: list[Any], shape: tuple[int, ...], file: Path, rows: list[_Row], field: str) -> np.ndarray:
    """(N, *shape); at once, because a million rows one by one take half a minute."""
    if not values:
        return np.zeros((0, *shape))
    try:
        return numbers(values, (len(values), *shape), file, "", field).reshape(-1, *shape)
    except BadAnnotation:
        each = zip(values, rows, strict=True)
        return np.stack([numbers(value, shape, file, f"annotation {row.id}", field) for value, row in each])


def _with_keypoints(rows: list[_Row], file: Path) -> list[_Row]:
    """Those that are more than a box. Raises BadAnnotation where none is."""
    lacking = [row.id for row in rows if row.annotation.get("keypoints") in (None, [])]
    if not lacking:
        return rows
    if len(lacking) == len(rows):
        raise BadAnnotation(file, f"annotation {lacking[0]}", "keypoints", Words("missing"), "x, y, v of each keypoint")
    shown = f"{len(lacking)} of {len(rows)} annotations, the first {lacking[0]}"
    warnings.warn(f"{file}: {shown}, have no keypoints and are left out", stacklevel=4)
    gone = set(lacking)
    return [row for row in rows if row.id not in gone]


def _joints(rows: list[_Row], skeleton: Skeleton, file: Path) -> np.ndarray:
    """(N, K, 3) of x, y, v, flat or nested in the file."""
    k = len(skeleton)
    values = []
    for row in rows:
        value = row.annotation["keypoints"]
        if isinstance(value, list) and value and isinstance(value[0], list):
            value = [x for triple in value for x in (triple if isinstance(triple, list) else [triple])]
        if isinstance(value, list) and len(value) != 3 * k:
            wanted = f"x, y, v of the {k} keypoints of {skeleton.name}"
            raise BadAnnotation(file, f"annotation {row.id}", "keypoints", Words(f"{len(value)} numbers"), wanted)
        if isinstance(value, list) and None in value:
            value = [0 if x is None and value[n - n % 3 + 2] == 0 else x for n, x in enumerate(value)]
        values.append(value)
    joints = _stack(values, (3 * k,), file, rows, "keypoints").reshape(-1, k, 3)
    flags = joints[..., 2]
    wrong = np.flatnonzero(~((flags == 0) | (flags == 1) | (flags == 2)).all(1))
    if len(wrong):
        entry = f"annotation {rows[wrong[0]].id}"
        raise BadAnnotation(file, entry, "v in keypoints", flags[wrong[0]].tolist(), "0, 1 or 2")
    return joints


def _boxes(rows: list[_Row], keypoints: np.ndarray, annotated: np.ndarray, file: Path) -> tuple[np.ndarray | None, int]:
    """(N, 4) left, top, right, bottom, and how many had to be made of joints; None where no row has a box."""
    values = [row.annotation.get("bbox") or [0, 0, 0, 0] for row in rows]
    given = _stack(values, (4,), file, rows, "bbox")
    boxes = np.concatenate([given[:, :2], given[:, :2] + given[:, 2:]], 1)
    lacking = np.flatnonzero(~(given[:, 2:] > 0).all(1))
    if len(lacking) == len(rows):
        return None, 0
    for row in lacking:
        boxes[row] = joints_box(keypoints[row], annotated[row])
    if len(lacking):
        warn_of_boxes(file, len(lacking), len(rows), rows[lacking[0]].id)
    return boxes, len(lacking)


def _cameras(rows: list[_Row]) -> np.ndarray | None:
    known = [row.image["camera"] for row in rows]
    if all(camera is None for camera in known):
        return None
    return np.stack([np.zeros(4) if camera is None else camera for camera in known])


def _points(rows: list[_Row], k: int, file: Path) -> np.ndarray | None:
    """(N, K, 3); None, with a warning, where not all rows have finite ones."""
    values = [row.annotation.get("joint_cam") for row in rows]
    lacking = [row.id for row, value in zip(rows, values, strict=True) if value is None or _has_nan(value)]
    if len(lacking) == len(rows):
        return None
    if lacking:
        shown = f"{len(lacking)} of {len(rows)} annotations, the first {lacking[0]}"
        warnings.warn(f"{file}: {shown}, have no finite joint_cam: 3D is left out for all", stacklevel=4)
        return None
    return _stack(values, (k, 3), file, rows, "joint_cam")


def _has_nan(value: Any) -> bool:
    return isinstance(value, list) and any(x != x for row in value if isinstance(row, list) for x in row)


def _mirrored(rows: list[_Row], file: Path) -> np.ndarray | None:
    """(N,) which hands are right ones; None where it is not said."""
    sides = [_right(row, file) for row in rows]
    lacking = [row.id for row, side in zip(rows, sides, strict=True) if side is None]
    if 0 < len(lacking) < len(rows):
        wanted = "one of them, as other annotations have"
        raise BadAnnotation(file, f"annotation {lacking[0]}", "hand_type or is_left", Words("missing"), wanted)
    return None if lacking else np.array(sides, bool)


def _right(row: _Row, file: Path) -> bool | None:
    for source in (row.annotation, row.category):
        if source.get("hand_type") is not None:
            if source["hand_type"] not in ("left", "right"):
                raise BadAnnotation(file, f"annotation {row.id}", "hand_type", source["hand_type"], "left or right")
            return bool(source["hand_type"] == "right")
        if source.get("is_left") is not None:
            if source["is_left"] not in (0, 1):
                raise BadAnnotation(file, f"annotation {row.id}", "is_left", source["is_left"], "0 or 1")
            return not source["is_left"]
    return None


def joints_box(keypoints: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    """The box (4,) of a person that has none in a set that has boxes: its crop is that of boxes=truth, a leak."""
    known = keypoints[annotated]
    low, high = known.min(0), known.max(0)
    half = np.maximum((high - low) / 2 * AROUND_JOINTS / AROUND_BOXES, 1.0)
    return np.concatenate([(low + high) / 2 - half, (low + high) / 2 + half])


def warn_of_boxes(file: Path, count: int, total: int, first: str) -> None:
    warnings.warn(
        f"{file}: {count} of {total} people, the first {first}, have no box with an area: theirs are made of the true "
        "joints, which leaks where the set is a target. Set boxes=whole, or add the boxes",
        stacklevel=4,
    )
