"""PoseTrack 2017 and 2018: several people in videos, 15 joints, who is who over time; Andriluka et al., CVPR 2018.

Layouts, with all pictures below images/ as the files name them:

    annotations/{train,val}/*.json                      2018 as it is published, a file a video
    posetrack_{train,val}.json, posetrack17_..., posetrack18_...
                                                        one file a part, in the root, annotations/ or jsons/: 2017 in
                                                        COCO's form, which DCPose trains on, or 2018 put together

They are COCO keypoint files (datasets/reading/coco_file.py) of 17 keypoints, of which the ears are not labelled and
left out; head_bottom is MPII's upper neck, and called neck here. Beyond COCO an image says `is_labeled`, of false it is
no sample, but stands beside others in clips, and `ignore_regions_x` and `_y`, polygons in which people are not
labelled: in whole pictures no label counts there, and nobody is invented. An annotation has `bbox_head` and `track_id`.
Pixel origin: taken as indices of pixels, whose centres lie at +0.5, as in COCO; nobody states it. Regions reach from 0
to a picture's last row and column.

The part `test` is the publisher's val, whose labels are public. A `sequence` is a video, `frame` the number in the
picture's name.

Boxes: the annotations' are those of the labelled joints, 1.3 times as large (`boxes=joints`, which leaks where the set
is a target). `detections`, a .json or .csv file of a detector's boxes (datasets/reading/boxes.py; pictures may be named
by their ids), gives a sample for each box of a score of at least 0.2, as in DCPose, with the labels of the person in
it; where there is nobody, nothing is annotated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..options import option
from ..reading.annotations import BadAnnotation, Words, entries, mapping, need_file, numbers, read_json
from ..reading.box_rows import result_rows, rows_of
from ..reading.coco_file import read_coco
from ..reading.detected_people import by_boxes
from ..reading.detections import checked, gathered
from ..reading.files import from_home
from ..reading.mppe_file import sizes_by_name
from ..reading.origin import Origin
from ..reading.people import JOINTS, WHOLE, People, PictureOptions, PictureSet, digest
from ..reading.splits import check_part
from ..skeleton import Skeleton
from .skeletons import POSETRACK15

ORIGIN = Origin(
    "PoseTrack of Andriluka, Iqbal, Insafutdinov, Pishchulin, Milan, Gall and Schiele, CVPR 2018",
    "non-commercial research, by the publisher's terms; the videos are those of MPII Human Pose",
    "https://posetrack.net",
    "annotations/{train,val}/*.json or posetrack_{train,val}.json, images/",
)
SCORE = 0.2
"""A detector's boxes of a lower score are left out, as in DCPose."""
SLOTS = Skeleton("posetrack17", (*POSETRACK15.keypoints[:3], "left_ear", "right_ear", *POSETRACK15.keypoints[3:]))
"""The keypoints of the files."""
HALVES = {"train": "train", "test": "val"}
"""What the publisher calls the parts."""
NAMES = ("posetrack_{}.json", "posetrack17_{}.json", "posetrack18_{}.json")
FOLDERS = (".", "annotations", "jsons")


@dataclass(frozen=True)
class PoseTrackOptions(PictureOptions):
    """The options of PoseTrack."""

    detections: str | None = option(
        None, "a .json or .csv file of a detector's boxes, which crops are made from; null: what `boxes` says"
    )


def posetrack(options: PoseTrackOptions, part: str) -> PictureSet:
    """The people of `part`. Raises ValueError for missing files and boxes that do not fit, BadAnnotation for malformed
    ones."""
    check_part(part)
    if options.detections is not None and (options.boxes is not None or options.crops == WHOLE):
        beside = f"boxes={options.boxes}" if options.boxes is not None else "crops=whole"
        raise ValueError(f"detections={options.detections} says how people are cut out: leave out {beside}")
    place, files = label_files(options.folder, HALVES[part])
    images, annotations = _content(files)
    about: dict[str, Any] = {"part": part, "sha256": digest(*files)}
    people, more = _people(place, images, annotations, options.crops == WHOLE)
    if options.detections is not None:
        path = need_file(from_home(options.detections), "detections= takes a .json or .csv file of boxes")
        people, about = _detected(people, path, images), about | {"boxes_from": digest(path)}
    shown = [image for image in images if {"width", "height"} <= image.keys()]
    sizes = np.array([(image["width"], image["height"]) for image in shown], np.float64).reshape(-1, 2)
    return PictureSet(
        f"posetrack.{part}",
        options.folder,
        people,
        about | more,
        ORIGIN,
        options.boxes,
        declared=sizes_by_name([str(image["file_name"]) for image in shown], sizes),
        own=JOINTS if options.detections is None else "file",
    )


def label_files(root: Path, half: str) -> tuple[Path, list[Path]]:
    """The file or folder that errors name, and all files of the labels of `half`, train or val. Raises ValueError."""
    folder = root / "annotations" / half
    files = sorted(folder.glob("*.json")) if folder.is_dir() else []
    if files:
        return folder, files
    places = [root / below / name.format(half) for below in FOLDERS for name in NAMES]
    there = next((path for path in places if path.is_file()), None)
    if there is None:
        names = ", ".join(name.format(half) for name in NAMES)
        raise ValueError(f"no labels in {folder}, nor {names} below {root}: PoseTrack's layout is {ORIGIN.layout}")
    return there, [there]


def _content(files: Sequence[Path]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The labelled and unlabelled images and the annotations of all files, each annotation under the number that it has
    among all. Raises BadAnnotation."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for file in files:
        content = mapping(read_json(file), file, "", "the content", ("images", "annotations"))
        for n, value in enumerate(entries(content["images"], file, "", "images")):
            images.append(mapping(value, file, f"image {n}", "the image", ("id", "file_name")))
        for n, value in enumerate(entries(content["annotations"], file, "", "annotations")):
            annotation = mapping(value, file, f"annotation {n}", "the annotation", ("image_id",))
            annotations.append({**annotation, "id": len(annotations), "own": annotation.get("id")})
    return images, annotations


def _people(
    place: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]], everyone: bool
) -> tuple[People, dict[str, Any]]:
    """The table of the labelled images, with heads and tracks, and what else names the rows."""
    labelled = [image for image in images if image.get("is_labeled") is not False]
    ids = {image["id"] for image in labelled}
    rows = [one for one in annotations if one["image_id"] in ids]
    crowds = _ignored(labelled, place) if everyone else []
    content = {"images": labelled, "annotations": [*rows, *crowds], "categories": []}
    people, more = read_coco(place, SLOTS, None, everyone=everyone, content=content)
    by_id = {str(one["id"]): one for one in rows}
    own = [by_id.get(row, {}) for row in people.ids]
    named = len({str(one["own"]) for one in rows}) == len(rows)
    heads = [_head(one, place) for one in own]
    corners = np.stack(heads) if heads else np.zeros((0, 4))
    order = [SLOTS.keypoints.index(name) for name in POSETRACK15.keypoints]
    made = replace(
        people.choose(POSETRACK15, order),
        ids=[str(one["own"]) if named and one else row for one, row in zip(own, people.ids, strict=True)],
        sequences=[picture.rpartition("/")[0] for picture in people.pictures],
        frames=np.array([_number(picture, place) for picture in people.pictures], np.int64),
        heads=np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:]], 1),
        tracks=np.array([_track(one, place) for one in own], np.int64),
    )
    return (made if everyone else made.select(np.flatnonzero(made.annotated.any(1)))), more


def _ignored(images: list[dict[str, Any]], place: Path) -> list[dict[str, Any]]:
    """The regions in which people are not labelled, as COCO's crowds."""
    made = []
    for image in images:
        entry = f"image {image['id']}"
        fields = ("ignore_regions_x", "ignore_regions_y")
        sides = [entries(image.get(field) or [], place, entry, field) for field in fields]
        flat = bool(sides[0]) and not isinstance(sides[0][0], list)
        across, down = ([side] if flat else side for side in sides)
        if len(across) != len(down) or any(len(x) != len(y) for x, y in zip(across, down, strict=True)):
            raise BadAnnotation(place, entry, "ignore_regions", Words("of several lengths"), "an x for each y")
        corners = [np.array([x, y], np.float64).T + 0.5 for x, y in zip(across, down, strict=True)]
        polygons = [polygon.ravel().tolist() for polygon in corners if len(polygon) > 2]
        if polygons:
            crowd = {"image_id": image["id"], "iscrowd": 1, "segmentation": polygons, "category_id": 1}
            made.append({**crowd, "id": f"ignored {image['id']}"})
    return made


def _number(picture: str, place: Path) -> int:
    match = re.search(r"(\d+)\.\w+$", picture)
    if match is None:
        raise BadAnnotation(place, "an image", "file_name", picture, "a number at the end, 000012.jpg")
    return int(match[1])


def _head(annotation: dict[str, Any], place: Path) -> np.ndarray:
    given = annotation.get("bbox_head") or [0] * 4
    return numbers(given, (4,), place, f"annotation {annotation.get('own')}", "bbox_head")


def _track(annotation: dict[str, Any], place: Path) -> int:
    track = annotation.get("track_id", -1)
    if type(track) is not int:
        raise BadAnnotation(place, f"annotation {annotation.get('own')}", "track_id", track, "a whole number")
    return track


def _detected(people: People, path: Path, images: list[dict[str, Any]]) -> People:
    """The people whom a detector's file finds. Raises BadAnnotation, and ValueError where it has no box for them."""
    names = {str(image["id"]): str(image["file_name"]) for image in images}
    content = read_json(path) if path.suffix.lower() == ".json" else None
    rows = result_rows(content, path, names) if isinstance(content, list) else rows_of(path)
    pictures = list(dict.fromkeys(people.pictures))
    detections = checked(gathered(rows, path, pictures, list(names.values()), least=SCORE).people, pictures, str(path))
    made = by_boxes(people, detections)
    if not len(made):
        raise ValueError(f"detections={path}: no box of a score of {SCORE:g} in the {len(pictures)} labelled pictures")
    return made
