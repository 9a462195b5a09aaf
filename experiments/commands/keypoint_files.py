"""People in pictures from COCO's JSON: those whom `keyshift predict` wrote, with the boxes that they were cut by, and
labelled ones with what COCO's AP needs: areas, crowds, and people without keypoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...adapt.scoring.nms_fit import Candidates
from ...adapt.scoring.oks_ap import HALF, FlatPeople
from ...datasets.own.skeleton_file import of_category
from ...datasets.reading.annotations import BadAnnotation, Words, entries, mapping, need_file, numbers, read_json
from ...datasets.reading.people import joints_box
from ...datasets.reading.whole_pictures import SEGMENT
from ...datasets.skeleton import Skeleton
from ...models.output import Poses
from ..runs.people_nms import KIND, shrunk


@dataclass(frozen=True)
class CandidateFile:
    path: Path
    skeleton: Skeleton
    pictures: list[str]
    people: Candidates
    """image_index says which of `pictures`."""


@dataclass(frozen=True)
class LabelFile:
    path: Path
    skeleton: Skeleton
    pictures: list[str]
    people: FlatPeople
    ids: dict[Any, int]
    """The places of pictures by their ids."""
    longer: float | None
    """px, the longer side of a picture, the median of all; None where the file does not say it."""
    areas: bool
    """Whether the file says all areas."""
    crowded: Tensor | None
    """(M,) the crowdIndex of each picture, NaN where it is not said; None where no picture has it (CrowdPose)."""


def read_candidates(path: Path) -> CandidateFile:
    """What `keyshift predict` wrote in its form coco. Raises BadAnnotation, a ValueError, naming entry and field."""
    content, skeleton, _, pictures, titles = content_of(path, "keyshift nms takes what `keyshift predict` wrote")
    if KIND in mapping(content.get("info", {}), path, "", "info"):
        wanted = "all candidates: predict without --nms"
        raise BadAnnotation(path, "info", KIND, Words("there: these are put together"), wanted)
    columns: dict[str, list[Any]] = {name: [] for name in ("points", "confidence", "image", "score", "box", "of_box")}
    for number, value in enumerate(entries(content["annotations"], path, "", "annotations")):
        where, fields = f"annotation {number}", ("image_id", "keypoints", "keypoint_scores", "bbox", "score")
        entry = mapping(value, path, where, "the person", fields)
        columns["image"].append(_picture(entry, pictures, path, where))
        columns["points"].append(joints_of(entry, len(skeleton), path, where)[:, :2])
        sure = numbers(entry["keypoint_scores"], (len(skeleton),), path, where, "keypoint_scores")
        columns["confidence"].append(sure)
        columns["score"].append(float(numbers(entry["score"], (), path, where, "score")))
        box = _box(entry, path, where)
        cut = "box_score" in entry
        columns["box"].append(shrunk(box[None])[0] if cut else box)
        of_box = numbers(entry["box_score"], (), path, where, "box_score") if cut else columns["score"][-1]
        columns["of_box"].append(float(of_box))
    k = len(skeleton)
    poses = Poses(
        table(columns["points"], k, 2) + 0.5,
        table(columns["confidence"], k),
        torch.tensor(columns["image"], dtype=torch.int64),
        table(columns["score"]),
    )
    order = poses.image_index.argsort(stable=True)
    people = Candidates(
        poses.each(lambda v: v[order]), table(columns["box"], 4)[order], table(columns["of_box"])[order]
    )
    return CandidateFile(path, skeleton, titles, people)


def read_flat_labels(path: Path) -> LabelFile:
    """The people of a COCO keypoint JSON, crowds and those without keypoints among them; pictures by their ids, as
    COCO's tool takes them, which tells whom it takes first of equally sure people. Where an annotation has no area, it
    is SEGMENT of its box, which without one is that of its joints; without either it is left out. Raises BadAnnotation,
    a ValueError, naming entry and field."""
    content, skeleton, category, _, _ = content_of(path, "labels are a COCO keypoint JSON")
    images = content["images"]
    if all(type(image["id"]) is int for image in images):
        images = sorted(images, key=lambda image: image["id"])
    pictures, titles = _listed(images)
    k = len(skeleton)
    columns: dict[str, list[Any]] = {name: [] for name in ("joints", "area", "box", "crowd", "image")}
    guessed = 0
    for number, value in enumerate(entries(content["annotations"], path, "", "annotations")):
        where = f"annotation {number}"
        entry = mapping(value, path, where, "the annotation", ("image_id",))
        if str(entry.get("category_id", category)) != str(category):
            continue
        crowd = entry.get("iscrowd") or 0
        if crowd not in (0, 1):
            raise BadAnnotation(path, where, "iscrowd", crowd, "0 or 1")
        joints = joints_of(entry, k, path, where) if entry.get("keypoints") else np.zeros((k, 3))
        if entry.get("bbox"):
            box = _box(entry, path, where)
        elif (joints[:, 2] > 0).any():
            box = joints_box(joints[:, :2] + HALF, joints[:, 2] > 0)
        else:
            continue
        area = SEGMENT * float((box[2:] - box[:2]).prod())
        if entry.get("area") is not None:
            area = float(numbers(entry["area"], (), path, where, "area"))
        guessed += entry.get("area") is None
        columns["joints"].append(joints)
        columns["area"].append(area)
        columns["box"].append(box)
        columns["crowd"].append(bool(crowd))
        columns["image"].append(_picture(entry, pictures, path, where))
    every = table(columns["joints"], k, 3)
    people = FlatPeople(
        points=every[..., :2] + 0.5,
        annotated=every[..., 2] > 0,
        area=table(columns["area"]),
        boxes=table(columns["box"], 4) + HALF,
        crowd=torch.tensor(columns["crowd"], dtype=torch.bool),
        image_index=torch.tensor(columns["image"], dtype=torch.int64),
    )
    sides, crowded = _of_pictures(images, path)
    return LabelFile(path, skeleton, titles, people, pictures, sides, not guessed, crowded)


def _of_pictures(images: list[dict[str, Any]], path: Path) -> tuple[float | None, Tensor | None]:
    """The median longer side, and the crowdIndex of each, of entries of which all, or any, say it."""
    sides = [(image.get("width"), image.get("height")) for image in images]
    said = bool(sides) and all(None not in side for side in sides)
    longer = [max(numbers(list(side), (2,), path, "images", "width, height")) for side in sides] if said else []
    crowded = [
        np.nan
        if image.get("crowdIndex") is None
        else float(numbers(image["crowdIndex"], (), path, "images", "crowdIndex"))
        for image in images
    ]
    known = not np.isnan(crowded).all()
    return float(np.median(longer)) if said else None, torch.tensor(crowded) if known else None


def content_of(path: Path, what: str) -> tuple[dict[str, Any], Skeleton, Any, dict[Any, int], list[str]]:
    """The content, its only skeleton, the id of that category, and the pictures: places by id, and names."""
    content = mapping(
        read_json(need_file(path, what)), path, "", "the content", ("images", "annotations", "categories")
    )
    listed = [
        mapping(one, path, "categories", "the category")
        for one in entries(content["categories"], path, "", "categories")
    ]
    named = [one for one in listed if one.get("keypoints")]
    if len(named) != 1:
        raise BadAnnotation(
            path, "", "categories", Words(f"{len(named)} with keypoints"), "one category with keypoints"
        )
    for number, value in enumerate(entries(content["images"], path, "", "images")):
        mapping(value, path, f"image {number}", "the image", ("id", "file_name"))
    skeleton = of_category({**named[0], "skeleton": []}, path, "the category")
    return content, skeleton, named[0].get("id"), *_listed(content["images"])


def _listed(images: list[dict[str, Any]]) -> tuple[dict[Any, int], list[str]]:
    """The places of pictures by their ids, and their names."""
    return {image["id"]: number for number, image in enumerate(images)}, [str(image["file_name"]) for image in images]


def _picture(entry: dict[str, Any], pictures: dict[Any, int], path: Path, where: str) -> int:
    if entry["image_id"] not in pictures:
        raise BadAnnotation(path, where, "image_id", entry["image_id"], "the id of an entry of images")
    return pictures[entry["image_id"]]


def joints_of(entry: dict[str, Any], count: int, path: Path, where: str) -> np.ndarray:
    return numbers(entry["keypoints"], (3 * count,), path, where, "keypoints").reshape(-1, 3)


def _box(entry: dict[str, Any], path: Path, where: str) -> np.ndarray:
    box = numbers(entry["bbox"], (4,), path, where, "bbox")
    return np.concatenate([box[:2], box[:2] + box[2:]])


def table(values: list[Any], *shape: int) -> Tensor:
    return torch.from_numpy(np.array(values, np.float64).reshape(len(values), *shape))
