"""`keyshift evaluate FILE.json posetrack key=value ...`: people found in videos against PoseTrack's labels, by the
average precision of joints that PoseTrack is published with.

FILE.json is what `keyshift predict` wrote, or PoseTrack's own form, which is COCO's too: `images` (id, file_name),
`categories` with the names of keypoints, and `annotations` with image_id, keypoints and the scores of each joint,
`keypoint_scores` or `scores`. A joint's score is that times `box_score`, the detector's, where an entry has it, as in
DCPose. Joints in regions to ignore do not count, predicted or labelled; nor do pictures in which nobody is labelled.
`write=FOLDER` writes the same people for PoseTrack's published tool, which knows MOTA too (posetrack_files.py).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...adapt.scoring.posetrack_ap import PARTS, HeadedPeople, by_part, posetrack_ap
from ...datasets.bodies.posetrack import HALVES, PoseTrackOptions, label_files
from ...datasets.catalog import open_dataset
from ...datasets.options import option
from ...datasets.reading.annotations import BadAnnotation, Words, entries, mapping, numbers
from ...datasets.reading.files import from_home
from ...datasets.reading.people import WHOLE, People
from ...datasets.reading.whole_pictures import WholePictures
from ...models.output import Poses
from ..runs.progress import Reporter
from .data_words import read_words
from .evaluate_people import EvaluateOptions
from .evaluate_pictures import dashed
from .keypoint_files import content_of, joints_of, table
from .people_file import places
from .posetrack_files import write_posetrack

NAME = "posetrack"
JOINT_SCORES = ("keypoint_scores", "scores")


@dataclass(frozen=True)
class PoseTrackEvaluation(EvaluateOptions):
    """Of the command, beside the dataset's."""

    write: str | None = option(None, "a folder for the same people in the form of PoseTrack's published tool")


def evaluate_posetrack(path: Path, words: list[str], reporter: Reporter) -> dict[str, Any]:
    """Print and return AP of joints, their groups and their mean of the people in `path`; `words` are key=value of the
    set's options and of PoseTrackEvaluation. Shares of 1, NaN of joints without labels.

    Pictures are paired by name, keypoints too; labelled pictures that the file does not list have nobody in them.
    Raises ValueError where none is the set's, where the file lacks a keypoint, and BadAnnotation for other files.
    """
    own, options = read_words(NAME, words, PoseTrackEvaluation)
    assert isinstance(options, PoseTrackOptions)
    dataset = open_dataset(NAME, replace(options, crops=WHOLE, boxes=None, detections=None), own.part)
    if not isinstance(dataset, WholePictures):
        raise ValueError(f"{dataset.name} is prepared, without boxes of heads: set root to the raw set")
    labels = dataset.people
    assert labels.crowd is not None
    assert labels.heads is not None
    rows: list[int] = np.flatnonzero(dataset.somebody & ~labels.crowd).tolist()
    pictures = list(dict.fromkeys(labels.pictures[row] for row in rows))
    people, given, tracks, left_out = _read(path, pictures, labels.skeleton.keypoints, dataset.name)
    place = {name: number for number, name in enumerate(pictures)}
    truth = HeadedPeople(
        torch.from_numpy(labels.keypoints[rows]),
        torch.from_numpy(labels.annotated[rows]),
        torch.from_numpy(labels.heads[rows]),
        torch.tensor([place[labels.pictures[row]] for row in rows]),
    )
    if own.write is not None:
        _, files = label_files(options.folder, HALVES[own.part])
        made = write_posetrack(from_home(own.write), files, people, given.numpy(), tracks, pictures)
        reporter.say(f"written to {own.write}: {len(made)} files, the first {made[0].name}")
    given, known = (
        joints & ~ignored(labels, place, points, image)
        for joints, points, image in (
            (given, people.points, people.image_index),
            (truth.annotated, truth.points, truth.image_index),
        )
    )
    ap = posetrack_ap(people, replace(truth, annotated=known), given)
    parts, headless = by_part(ap, labels.skeleton.keypoints), (truth.heads[:, 2:] <= truth.heads[:, :2]).any(1)
    reporter.say(
        f"{path} on {dataset.name}: {len(people.points)} people found, {len(rows)} labelled in {len(pictures)} pictures"
    )
    if left_out:
        reporter.say(f"{left_out} people of {path} are in pictures where nobody is labelled, and are left out")
    if headless.any():
        reporter.say(f"{int(headless.sum())} labelled people have no box of the head, so that nothing is right of them")
    heads = [*(part for part in PARTS if part in parts), "total"]
    reporter.table("PoseTrack's mAP, %", heads, [[dashed(f"{100 * parts[part]:.1f}") for part in heads]])
    reporter.say("PoseTrack's MOTA, of tracks, is not computed here")
    return {"ap": dict(zip(labels.skeleton.keypoints, ap.tolist(), strict=True)), "parts": parts, "map": parts["total"]}


def _read(
    path: Path, pictures: list[str], keypoints: tuple[str, ...], name: str
) -> tuple[Poses, Tensor, np.ndarray, int]:
    """The people in the labelled `pictures`, joints in the order of `keypoints` and their scores as confidence; which
    joints there are (Q, K); their tracks (Q,), -1 of who has none; and how many people are in other
    pictures."""
    content, skeleton, _, ids, titles = content_of(path, "evaluate takes what `keyshift predict` wrote")
    there = _renamed(skeleton.keypoints)
    lacking = [one for one in keypoints if one not in there]
    if lacking:
        raise ValueError(
            f"{path} has the keypoints {', '.join(there)}, and not {', '.join(lacking)}, which {name} counts"
        )
    place = places(titles, pictures)
    if max(place, default=-1) < 0:
        raise ValueError(f"{path}: none of its pictures ({', '.join(titles[:3])}, ...) is labelled by {name}")
    joints, scores, images, tracks, order = [], [], [], [], [there.index(one) for one in keypoints]
    for number, value in enumerate(entries(content["annotations"], path, "", "annotations")):
        where = f"annotation {number}"
        entry = mapping(value, path, where, "the person", ("image_id", "keypoints"))
        if entry["image_id"] not in ids:
            raise BadAnnotation(path, where, "image_id", entry["image_id"], "the id of one of images")
        images.append(place[ids[entry["image_id"]]])
        tracks.append(int(numbers(entry.get("track_id", -1), (), path, where, "track_id")))
        joints.append(joints_of(entry, len(there), path, where)[order])
        scores.append(_scores(entry, len(there), path, where)[order])
    image = torch.tensor(images, dtype=torch.int64)
    known, kept = table(joints, len(keypoints), 3), image >= 0
    sure = table(scores, len(keypoints))
    people = Poses(known[..., :2] + 0.5, sure, image, sure.mean(1))
    chosen = Poses(*(getattr(people, one.name)[kept] for one in fields(Poses)))
    return chosen, (known[..., 2] > 0)[kept], np.array(tracks, np.int64)[kept.numpy()], int((~kept).sum())


def _renamed(keypoints: tuple[str, ...]) -> list[str]:
    """The names as the set has them: PoseTrack's own files say head_bottom."""
    return ["neck" if name == "head_bottom" else name for name in keypoints]


def _scores(entry: dict[str, Any], count: int, path: Path, where: str) -> np.ndarray:
    """(K,) the scores of a person's joints."""
    given = next((entry[name] for name in JOINT_SCORES if entry.get(name)), None)
    if given is None:
        raise BadAnnotation(path, where, " or ".join(JOINT_SCORES), Words("missing"), "a score of each joint")
    scores = numbers(given, (count,), path, where, "the scores of joints")
    return scores * float(numbers(entry.get("box_score", 1.0), (), path, where, "box_score"))


def ignored(labels: People, place: dict[str, int], points: Tensor, image_index: Tensor) -> Tensor:
    """Which points (Q, K, 2) of people in images (Q,) lie in a region of their picture that is to be ignored: (Q, K)
    bool."""
    made = torch.zeros(points.shape[:2], dtype=torch.bool)
    assert labels.unlabelled is not None
    assert labels.crowd is not None
    for picture, region, crowd in zip(labels.pictures, labels.unlabelled, labels.crowd, strict=True):
        if region is not None and crowd and picture in place:
            rows = (image_index == place[picture]).nonzero()[:, 0]
            inside = region.holds(points[rows].reshape(-1, 2).numpy()).reshape(len(rows), points.shape[1])
            made[rows] |= torch.from_numpy(inside)
    return made
