"""People out of a COCO keypoint JSON: https://cocodataset.org/#format-data.

`images` (id, file_name), `annotations` (image_id, keypoints, bbox left, top, width, height) and `categories`
(keypoints: names, skeleton: edges from 1). Keypoints are indices of pixels, whose centres lie at +0.5: +0.5. Boxes are
continuous: 0. A flag v of 0 means not annotated, 1 hidden, 2 visible; a file that uses no 2 says with 1 that a joint
is annotated and not which are hidden (mmpose's conversions of hand sets, PoseTrack). Crowds and annotations without an
annotated keypoint are left out, with a warning those that have no keypoints at all (people who are boxes alone).
Segmentation, area and num_keypoints are not looked at. For whole pictures all of that is read too: coco_whole.py.

What tools write otherwise is read with one warning that counts it: coco_joints.py tells of keypoints and flags,
coco_names.py of pictures' names. Ids of annotations that repeat are numbered anew, ids that are texts here and numbers
there are the same, and of the categories those count that annotations use.

Beyond COCO are read where present: `vid_id`, `video_id` or `seq_name` of an image, the recording it belongs to, and
`cam_param` (focal, princpt); `joint_cam` (mm, camera frame) of an annotation; and `hand_type` or `is_left` of an
annotation or category. 3D that not all annotations have is left out with a warning. So are boxes without an area: the
person's crop is then made of its true joints, in all of the file where no annotation has a box.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..own.skeleton_file import KNOWN, doubt_edges, of_category
from ..skeleton import Skeleton
from .annotations import BadAnnotation, Words, entries, mapping, numbers, whole
from .coco_joints import read_joints
from .coco_names import picture_names
from .coco_results import read_labels
from .coco_rows import Row, boxes_of, cameras_of, stack
from .coco_whole import with_everyone
from .json_stream import read_without
from .notes import Notes
from .people import People, joints_box, together, warn_of_boxes
from .tables import read_table

NOWHERE = "are of an image that is not listed, and are left out"
UNREAD = ("coco_url", "flickr_url", "date_captured", "license")
"""Fields of images that nobody asks for, which would take more room than all others."""
VIDEO_FIELDS = ("vid_id", "video_id", "seq_name")


def read_coco(
    file: Path,
    skeleton: Skeleton | None,
    block: int | None,
    below: str = ".",
    *,
    root: Path | None = None,
    category: str | None = None,
    edges_from: int | None = None,
    numbered: Path | None = None,
    everyone: bool = False,
    content: dict[str, Any] | None = None,
) -> tuple[People, dict[str, Any]]:
    """The people of a COCO keypoint JSON whose pictures lie `below` the root, and what else names the rows.

    `skeleton` None: from the categories, whose edges count from `edges_from` (None: 1, or 0 where one is 0). `block`
    None: a sequence is a picture, else a recording where its image names one, else `block` pictures in the order of the
    file. `root` is the folder in which pictures with names from elsewhere are looked for; None: they are refused.
    `category` is the name or id of the only one that is read. `numbered` is a COCO file of the pictures that a list of
    results numbers. With `everyone` the table is that of whole pictures, as coco_whole.py says. `content` is
    what is read in place of the file's, of one in another form. Raises BadAnnotation.
    """
    unread = UNREAD if everyone else {*UNREAD, "segmentation"}
    content = mapping(
        content or read_labels(file, numbered, unread), file, "", "the content", ("images", "annotations")
    )
    listed, notes = entries(content["annotations"], file, "", "annotations"), Notes(file)
    kept, described = _categories(content, listed, file, skeleton, category)
    made = skeleton or of_category(described, file, f"category {described['id']}", edges_from)
    images = _images(entries(content["images"], file, "", "images"), file, block, below, root, notes)
    notes.warn(len(content["images"]), "images")
    matched = _Ids(images), _Ids({} if category is None and _strange(listed, kept, notes) else kept)
    taken = (_row(value, number, file, *matched, notes, everyone) for number, value in enumerate(listed))
    every = [row for row in taken if row is not None]
    rows = [row for row in every if row.labelled] if everyone else every
    if category is None:
        _note_lost(listed, kept, notes)
    if not rows and NOWHERE in notes.met:
        wanted = "the id of an entry of images, as in none of the annotations"
        first, remedy = notes.met[NOWHERE][1], "Give the labels of these images"
        raise BadAnnotation(file, first, "image_id", Words("another"), wanted, remedy)
    rows = _with_keypoints(rows, file, notes)
    joints = read_joints([row.annotation["keypoints"] for row in rows], [row.id for row in rows], made, file, notes)
    some = np.flatnonzero((joints[..., 2] > 0).any(1))
    rows, joints = [rows[i] for i in some], joints[some]
    rows = _numbered(rows, notes)
    for row in rows:
        if row.annotation.get("num_keypoints") == 0:
            notes.add("say num_keypoints 0 beside labelled joints: the flags v are believed", row.id)
    keypoints, annotated = joints[..., :2] + 0.5, joints[..., 2] > 0
    boxes, guessed = _boxes(rows, keypoints, annotated, file, notes, everyone)
    notes.warn(len(listed), "annotations")
    if skeleton is None and edges_from is None:
        doubt_edges(described, made, keypoints, annotated, file)
    says_hidden = (joints[..., 2] == 2).any()
    people = People(
        str(file),
        made,
        [row.image["picture"] for row in rows],
        [row.id for row in rows],
        [row.image["sequence"] for row in rows],
        np.array([row.image["frame"] for row in rows], np.int64),
        keypoints,
        annotated,
        joints[..., 2] == 2 if says_hidden else annotated,
        boxes,
        cameras_of([row.image for row in rows]),
        _points(rows, len(made), file),
        _mirrored(rows, file),
    )
    if everyone:
        numbers_of = {row.number for row in rows}
        others = _numbered([row for row in every if row.number not in numbers_of], Notes(file))
        people = with_everyone(people, rows, others, images.values(), file)
    return people, {"boxes made of joints": guessed} if guessed else {}


def kept_coco(
    name: str, files: Sequence[Path], choice: dict[str, Any], read: Callable[[Path], tuple[People, dict[str, Any]]]
) -> tuple[People, dict[str, Any]]:
    """What `read` makes of the files, one after the other, as a table that is kept: see `read_table`."""

    def parse(about: dict[str, Any]) -> list[People]:
        tables = []
        for file in files:
            people, more = read(file)
            tables.append(people)
            about |= {key: about.get(key, 0) + count for key, count in more.items()}
        return [together(tables)]

    return read_table(name, files, choice, parse)


def _categories(
    content: dict[str, Any], annotations: list[Any], file: Path, skeleton: Skeleton | None, chosen: str | None
) -> tuple[dict[Any, dict[str, Any] | None], dict[str, Any]]:
    """The categories by id, None for one that is not read, and the one that describes the skeleton of all that are."""
    every: dict[Any, dict[str, Any]] = {}
    for number, value in enumerate(entries(content.get("categories") or [], file, "", "categories")):
        entry = f"category {number}"
        category = mapping(value, file, entry, "the category", ("id",))
        key = _key(category["id"], file, entry, "id")
        if every.setdefault(key, category) != category:
            raise BadAnnotation(file, entry, "id", Words(f"{key!r} again"), "an id of its own")
    if chosen is not None:
        taken = {key for key, one in every.items() if chosen in (str(one.get("name")), str(key))}
        if not taken:
            names = ", ".join(str(one.get("name", key)) for key, one in every.items()) or "none"
            raise ValueError(f"{file}: category={chosen} is none of its categories, which are {names}")
    else:
        taken = _used(every, annotations)
    named = {key: every[key] for key in every if key in taken and every[key].get("keypoints")}
    kept = {key: one if key in named or (key in taken and not named) else None for key, one in every.items()}
    if skeleton is None and not named:
        names = f"names: set skeleton to {', '.join(KNOWN)} or a YAML file"
        raise BadAnnotation(file, "", "keypoints in categories", Words("missing"), names)
    if len({_described(category, skeleton) for category in named.values()}) > 1:
        listed = [str(category.get("name", key)) for key, category in named.items()]
        wanted = "the same keypoints in all that annotations use"
        raise BadAnnotation(file, "", "categories", listed, wanted, "Choose one with category=NAME")
    return kept, next(iter(named.values()), {})


def _strange(annotations: list[Any], kept: dict[Any, Any], notes: Notes) -> bool:
    """Whether all annotations name one category, which is not listed, and one is."""
    ids = {_twin(one["category_id"]) for one in annotations if isinstance(one, dict) and _plain(one.get("category_id"))}
    strange = len(kept) == len(ids) == 1 and not ids & {_twin(key) for key in kept}
    if strange:
        words = f"are of category {ids.pop()}, which is not listed: the only one is taken"
        notes.add(words, "0", len(annotations))
    return strange


def _plain(key: Any) -> bool:
    return isinstance(key, int | str | float)


def _described(category: dict[str, Any], skeleton: Skeleton | None) -> str:
    """What must be the same in all categories: the names of keypoints, or how many they are where a skeleton names
    them."""
    keypoints = category["keypoints"]
    return repr(keypoints) if skeleton is None or not isinstance(keypoints, list) else str(len(keypoints))


def _used(every: dict[Any, dict[str, Any]], annotations: list[Any]) -> set[Any]:
    """The ids of categories with keypoints that annotations use; of all categories where they use none such."""
    ids = (one.get("category_id") for one in annotations if isinstance(one, dict))
    named = {_twin(key) for key in ids if _plain(key)}
    used = {key for key, one in every.items() if _twin(key) in named and one.get("keypoints")}
    return used or set(every)


def _twin(key: Any) -> Any:
    """The number that a text stands for, else the id itself."""
    return int(key) if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 20 else key


class _Ids:
    """Entries by their ids; a text and the number that it stands for are one, where that is no other's."""

    def __init__(self, entries: dict[Any, Any]) -> None:
        self.entries = entries
        self.others: dict[Any, list[Any]] | None = None

    def match(self, key: Any) -> Any:
        """The id of the entry that is meant; KeyError where there is none."""
        if key in self.entries:
            return key
        if self.others is None:
            self.others = {}
            for one in self.entries:
                self.others.setdefault(_twin(one), []).append(one)
        others = self.others.get(_twin(key), [])
        if len(others) != 1:
            raise KeyError(key)
        return others[0]


def declared_sizes(file: Path, below: str = ".", root: Path | None = None) -> dict[str, tuple[int, int]]:
    """Width and height that a COCO keypoint JSON gives its pictures, by their paths as `read_coco` names them.

    Pictures without both are left out. A file that has not changed is parsed once for both parts of a set and all that
    is asked of them. Raises BadAnnotation.
    """
    state = file.stat()
    return _declared(file, (state.st_mtime_ns, state.st_size), below, root)


@lru_cache(maxsize=4)
def _declared(file: Path, state: tuple[int, int], below: str, root: Path | None) -> dict[str, tuple[int, int]]:
    content = read_without(file, {*UNREAD, "annotations"})
    if isinstance(content, list):  # results, which say no sizes
        return {}
    mapping(content, file, "", "the content", ("images",))
    images = [
        mapping(value, file, f"image {number}", "the image", ("file_name",))
        for number, value in enumerate(entries(content["images"], file, "", "images"))
    ]
    names = picture_names([image["file_name"] for image in images], file, root, Notes(file))
    sizes = {}
    for number, (image, name) in enumerate(zip(images, names, strict=True)):
        size = [image.get(side) for side in ("width", "height")]
        if None not in size:
            width, height = (whole(_twin(side), file, f"image {number}", "width and height") for side in size)
            if width and height:  # 0 stands for what a tool did not know
                sizes[_below(below, name)] = width, height
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


def _images(
    listed: list[Any], file: Path, block: int | None, below: str, root: Path | None, notes: Notes
) -> dict[Any, dict[str, Any]]:
    """By id: picture, sequence, frame (place in the file), camera (None where there is none)."""
    images: dict[Any, dict[str, Any]] = {}
    place: dict[str, int] = {}
    for number, value in enumerate(listed):
        mapping(value, file, f"image {number}", "the image", ("id", "file_name"))
    names = picture_names([image["file_name"] for image in listed], file, root, notes)
    for number, (image, name) in enumerate(zip(listed, names, strict=True)):
        entry = f"image {number}"
        key = _key(image["id"], file, entry, "id")
        if key in images and images[key]["picture"] == _below(below, name):
            notes.add("are listed twice, under one id, and taken once", str(key))
            continue
        if key in images:
            raise BadAnnotation(file, entry, "id", Words(f"{key!r} again"), "an id of its own")
        first = place.setdefault(name, number)  # one picture listed twice stays on one side
        sequence = name
        if block is not None:
            video = next((image[field] for field in VIDEO_FIELDS if image.get(field) is not None), None)
            sequence = f"{first // block:09d}" if video is None else str(_key(video, file, entry, "the video's id"))
        images[key] = {
            **{"picture": _below(below, name), "sequence": sequence, "frame": number},
            "camera": _camera(image.get("cam_param"), file, entry),
            "crowding": image.get("crowdIndex"),
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


def _row(value: Any, number: int, file: Path, images: _Ids, kept: _Ids, notes: Notes, everyone: bool) -> Row | None:
    """None for an annotation that is left out."""
    annotation = mapping(value, file, f"annotation {number}", "the annotation")
    name = (
        str(_key(annotation["id"], file, f"annotation {number}", "id"))
        if annotation.get("id") is not None
        else f"#{number}"
    )
    entry = f"annotation {name}"
    crowd = _twin(annotation.get("iscrowd")) or 0
    if crowd not in (0, 1):
        raise BadAnnotation(file, entry, "iscrowd", crowd, "0 or 1")
    category: dict[str, Any] | None = {}
    if kept.entries and "category_id" in annotation:
        key = _match(kept, annotation, "category_id", "categories", file, entry, notes)
        if key is None:
            wanted = "the id of an entry of categories"
            raise BadAnnotation(file, entry, "category_id", annotation["category_id"], wanted)
        category = kept.entries[key]
    bare = bool(crowd) or (annotation.get("num_keypoints") == 0 and not annotation.get("keypoints"))
    if category is None or (bare and not everyone):
        return None
    mapping(annotation, file, entry, "the annotation", ("image_id",))
    key = _match(images, annotation, "image_id", "images", file, entry, notes)
    if key is None:
        notes.add(NOWHERE, entry)
        return None
    return Row(name, number, images.entries[key], annotation, category, bool(crowd))


def _match(ids: _Ids, annotation: dict[str, Any], field: str, of: str, file: Path, entry: str, notes: Notes) -> Any:
    """The id of the entry that a field of an annotation names, None where there is none."""
    key = _key(annotation[field], file, entry, field)
    try:
        match = ids.match(key)
    except KeyError:
        return None
    if match is not key and match != key:
        notes.add(f"spell their {field} otherwise than {of} do, as text or number: they are taken as the same", entry)
    return match


def _note_lost(listed: list[Any], kept: dict[Any, Any], notes: Notes) -> None:
    """Annotations that are left out for their category alone."""
    for one in listed if None in kept.values() else []:
        joints = one.get("keypoints")
        if kept.get(one.get("category_id"), one) is None and isinstance(joints, list) and any(joints):
            notes.add("have keypoints and a category without: they are left out", str(one.get("id")))


def _numbered(rows: list[Row], notes: Notes) -> list[Row]:
    """Ids that repeat are replaced by places in the file."""
    again = len(rows) - len({row.id for row in rows})
    if not again:
        return rows
    seen: set[str] = set()
    first = next(row.id for row in rows if row.id in seen or seen.add(row.id))  # type: ignore[func-returns-value]
    notes.add("have an id that stood there before: all are numbered by their place in the file", first, again)
    return [row._replace(id=str(row.number)) for row in rows]


def _with_keypoints(rows: list[Row], file: Path, notes: Notes) -> list[Row]:
    """Those that are more than a box. Raises BadAnnotation where none is."""
    lacking = [row.id for row in rows if row.annotation.get("keypoints") in (None, [], "")]
    if not lacking:
        return rows
    if len(lacking) == len(rows):
        raise BadAnnotation(file, f"annotation {lacking[0]}", "keypoints", Words("missing"), "x, y, v of each keypoint")
    notes.add("have no keypoints and are left out", lacking[0], len(lacking))
    return [row for row in rows if row.annotation.get("keypoints") not in (None, [], "")]


def _boxes(
    rows: list[Row], keypoints: np.ndarray, annotated: np.ndarray, file: Path, notes: Notes, everyone: bool
) -> tuple[np.ndarray | None, int]:
    """(N, 4) left, top, right, bottom, and how many had to be made of joints, which is a leak where crops are cut by
    them, and none where pictures are read whole; None where no row has a box."""
    boxes, sides = boxes_of(rows, file)
    lacking = np.flatnonzero((sides == 0).any(1))
    drawn = np.flatnonzero((sides < 0).any(1))
    notes.add(
        "have a width or height below 0, as of a box drawn from its other end: it is taken so",
        rows[drawn[0]].id if len(drawn) else "",
        len(drawn),
    )
    if len(lacking) == len(rows):
        return None, 0
    for row in lacking:
        boxes[row] = joints_box(keypoints[row], annotated[row])
    if len(lacking) and not everyone:
        warn_of_boxes(file, len(lacking), len(rows), rows[lacking[0]].id)
    return boxes, len(lacking)


def _points(rows: list[Row], k: int, file: Path) -> np.ndarray | None:
    """(N, K, 3); None, with a warning, where not all rows have finite ones."""
    values = [row.annotation.get("joint_cam") for row in rows]
    lacking = [row.id for row, value in zip(rows, values, strict=True) if value is None or _has_nan(value)]
    if len(lacking) == len(rows):
        return None
    if lacking:
        shown = f"{len(lacking)} of {len(rows)} annotations, the first {lacking[0]}"
        warnings.warn(f"{file}: {shown}, have no finite joint_cam: 3D is left out for all", stacklevel=4)
        return None
    return stack(values, (k, 3), file, rows, "joint_cam")


def _has_nan(value: Any) -> bool:
    return isinstance(value, list) and any(x != x for row in value if isinstance(row, list) for x in row)


def _mirrored(rows: list[Row], file: Path) -> np.ndarray | None:
    """(N,) which hands are right ones; None where it is not said."""
    sides = [_right(row, file) for row in rows]
    lacking = [row.id for row, side in zip(rows, sides, strict=True) if side is None]
    if 0 < len(lacking) < len(rows):
        wanted = "one of them, as other annotations have"
        raise BadAnnotation(file, f"annotation {lacking[0]}", "hand_type or is_left", Words("missing"), wanted)
    return None if lacking else np.array(sides, bool)


def _right(row: Row, file: Path) -> bool | None:
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
