"""OCHuman: people who hide each other, 17 of COCO's joints; to adapt to and to test on.

Zhang et al., CVPR 2019. Pictures lie in images/. The part `train` is the publisher's val (the first 2500 pictures),
`test` its test; nobody trains a network on it. Two forms are read (liruilong940607/OCHumanApi @ c4be64e):

    form=coco   ochuman_coco_format_val_range_0.00_1.00.json and ..._test_..., the publisher's own conversion: of the
                people those with keypoints and an outline, 8110; what is published is of these
    form=own    ochuman.json: the people too who have keypoints alone, or a box alone (13360 in all), in the same
                pictures; in whole pictures no label counts in the boxes of those without keypoints

In ochuman.json boxes are left, top, right, bottom, a joint's flag is 0 missing, 1 seen, 2 hidden by the person's own
body, 3 by another's; the conversion calls 1 and 2 visible, and so does form=own. The area is the box's, as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..options import option
from ..reading.annotations import BadAnnotation, entries, mapping, need_file, numbers, read_json, whole
from ..reading.coco_file import read_coco
from ..reading.origin import Origin
from ..reading.people import WHOLE, PictureOptions, PictureSet, digest
from ..reading.splits import check_part
from .skeletons import COCO17

ORIGIN = Origin(
    "OCHuman, Zhang et al., CVPR 2019",
    "for research, by the form in which its authors give it",
    "https://github.com/liruilong940607/OCHumanApi",
    "ochuman.json or ochuman_coco_format_{val,test}_range_0.00_1.00.json, images/",
)
FIRST = 2500
"""Pictures of the publisher's val, of those that hold a person with keypoints and outline, by their ids."""
FLAGS = np.array([0, 2, 2, 1])
"""What COCO calls the flags of ochuman.json."""


@dataclass(frozen=True)
class OCHumanOptions(PictureOptions):
    """The options of OCHuman."""

    form: str = option(
        "coco",
        "coco, the publisher's conversion, of the people with keypoints and outline; own, ochuman.json, of everyone",
        choices=("coco", "own"),
    )


def ochuman(options: OCHumanOptions, part: str) -> PictureSet:
    """The people of `part`. Raises ValueError for a missing file, BadAnnotation for a malformed one."""
    check_part(part)
    half = "val" if part == "train" else "test"
    name = "ochuman.json" if options.form == "own" else f"ochuman_coco_format_{half}_range_0.00_1.00.json"
    file = need_file(options.folder / name, f"OCHuman's layout is {ORIGIN.layout}")
    content = as_coco(file, part) if options.form == "own" else None
    people, about = read_coco(file, COCO17, None, "images", everyone=options.crops == WHOLE, content=content)
    about = {"part": part, "form": options.form, **about, "sha256": digest(file)}
    return PictureSet(f"ochuman.{part}", options.folder, people, about, ORIGIN, options.boxes, fallback="truth")


def as_coco(file: Path, part: str) -> dict[str, Any]:
    """The pictures of `part` in ochuman.json, as COCO's format has them. Raises BadAnnotation."""
    content = mapping(read_json(file), file, "", "the content", ("images", "keypoint_names"))
    names = entries(content["keypoint_names"], file, "", "keypoint_names")
    lacking = [name for name in COCO17.keypoints if name not in names]
    if lacking:
        raise BadAnnotation(file, "", "keypoint_names", names, f"{', '.join(lacking)} among them")
    order = [names.index(name) for name in COCO17.keypoints]
    pictures = [
        mapping(image, file, f"image {number}", "the image", ("image_id", "file_name", "annotations"))
        for number, image in enumerate(entries(content["images"], file, "", "images"))
    ]
    for image in pictures:
        if not isinstance(image["image_id"], str):
            whole(image["image_id"], file, "an image", "image_id")
    full = [
        image for image in pictures if any(one.get("keypoints") and one.get("segms") for one in _people(image, file))
    ]
    full = sorted(full, key=lambda image: (isinstance(image["image_id"], str), image["image_id"]))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(full[:FIRST] if part == "train" else full[FIRST:]):
        images.append({"id": number, **{key: image.get(key) for key in ("file_name", "width", "height")}})
        for person in _people(image, file):
            made = _annotation(person, order, len(names), file, f"image {image['image_id']}")
            annotations.append({"id": len(annotations), "image_id": number, **made})
    return {"images": images, "annotations": annotations, "categories": []}


def _people(image: dict[str, Any], file: Path) -> list[dict[str, Any]]:
    entry = f"image {image['image_id']}"
    listed = entries(image["annotations"], file, entry, "annotations")
    return [mapping(person, file, entry, "a person", ("bbox", "keypoints")) for person in listed]


def _annotation(person: dict[str, Any], order: list[int], count: int, file: Path, entry: str) -> dict[str, Any]:
    left, top, right, bottom = numbers(person["bbox"], (4,), file, entry, "bbox").tolist()
    box = {"bbox": [left, top, right - left, bottom - top], "area": abs((right - left) * (bottom - top))}
    if not person["keypoints"]:
        return {**box, "num_keypoints": 0}
    joints = numbers(person["keypoints"], (3 * count,), file, entry, "keypoints").reshape(-1, 3)[order]
    if not np.isin(joints[:, 2], range(len(FLAGS))).all():
        raise BadAnnotation(file, entry, "v in keypoints", joints[:, 2].tolist(), "0, 1, 2 or 3")
    joints[:, 2] = FLAGS[joints[:, 2].astype(int)]
    return {**box, "keypoints": joints.ravel().tolist()}
