"""`keyshift evaluate FILE.json LABELS.json`: people who were found in pictures against a COCO keypoint JSON: OKS-AP and
what stands beside it, people who were missed and invented."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ...adapt.scoring.evaluation import picked, scores
from ...adapt.scoring.finding import nobodys
from ...adapt.scoring.matching import SMALLEST, match_within
from ...adapt.scoring.oks_ap import HALF, oks_scores
from ...adapt.scoring.oks_sigmas import fall_offs, said
from ...adapt.scoring.people_ap import COCO
from ...adapt.scoring.predictions import Answers, Predictions
from ...datasets.skeleton import Skeleton
from ..runs.progress import Reporter
from .found_file import FoundFile, read_found
from .keypoint_files import LabelFile, read_flat_labels

THRESHOLD = 0.1
"""Of PCK beside it, as a share of a picture's longer side."""


@dataclass(frozen=True)
class Pair:
    """People found and labelled in the same pictures, by the same K keypoints."""

    answers: FoundFile
    labels: LabelFile
    skeleton: Skeleton


def evaluate_pictures(path: Path, labels: Path, reporter: Reporter) -> dict[str, Any]:
    """Print and return the scores of the people in `path`, what `keyshift predict` wrote or a list of COCO's results,
    against `labels`.

    Keypoints are paired by name; a list of results has no names, and those of the labels in their order. All labelled
    pictures count: people in those that the file does not hold are missed; pictures without labels are left out. AP is
    what COCO's tool says, and of labels without areas CrowdPose's. Raises ValueError for files that are none, and where
    they have no keypoint or no picture in common.
    """
    pair = paired(read_flat_labels(labels), path, reporter)
    made = as_predictions(pair)
    assert made.answers is not None
    people, truth = pair.answers.people, pair.labels.people
    result = scores(made, pair.skeleton, THRESHOLD)
    result |= oks_scores(people, truth, made.answers.sigmas.tolist(), pair.answers.area)
    counted = int((~truth.ignored).sum())
    reporter.say(
        f"{path} on {labels}: {len(people)} people found, {counted} labelled in {len(pair.labels.pictures)} pictures, "
        f"{result['missed']} missed, {result['invented']} invented (second ones of a person among them), "
        f"{len(pair.skeleton)} keypoints"
    )
    shown = {name: score for name, score in COCO.items() if name in result and (name != "pck" or pair.labels.longer)}
    rows = [["OKS-AP, %", f"{100 * result['ap']:.2f}"]]
    rows += [[score.heading, score.show(result[name], 2)] for name, score in shown.items()]
    rows += [["EPE of people found, px", f"{result['epe']:.2f}"]]
    reporter.table("people in pictures", ["", "score"], [[*map(dashed, row)] for row in rows])
    areas = "of the labels" if pair.labels.areas else "0.53 of the boxes' where the labels have none, as of CrowdPose"
    reporter.say(f"OKS: fall-offs (sigmas) are {said(pair.skeleton)}; areas are {areas}")
    return result | {"labelled": counted, "found": len(people)}


def paired(labelled: LabelFile, path: Path, reporter: Reporter) -> Pair:
    """The two files by the keypoints that both have. Raises ValueError where there are none, and no picture is."""
    file = read_found(path, labelled)
    names = tuple(name for name in labelled.skeleton.keypoints if name in file.skeleton.keypoints)
    if not names:
        raise ValueError(
            f"{path} has the keypoints {', '.join(file.skeleton.keypoints)}, and {labelled.path} has "
            f"{', '.join(labelled.skeleton.keypoints)}: none has the same name"
        )
    if not file.listed:
        raise ValueError(
            f"{path}: none of its pictures is one of {labelled.path} ({', '.join(labelled.pictures[:3])}, ...); names "
            "must end alike, numbers be the same"
        )
    if file.left_out:
        reporter.say(f"{file.left_out} people of {path} are in pictures that are not labelled, and are left out")
    if file.listed < len(labelled.pictures):
        absent = len(labelled.pictures) - file.listed
        reporter.say(
            f"{absent} of {len(labelled.pictures)} labelled pictures are not in {path}: their people are missed"
        )
    ours, theirs = ([one.keypoints.index(name) for name in names] for one in (file.skeleton, labelled.skeleton))
    people = replace(file.people, points=file.people.points[:, ours], confidence=file.people.confidence[:, ours])
    truth = replace(
        labelled.people, points=labelled.people.points[:, theirs], annotated=labelled.people.annotated[:, theirs]
    )
    skeleton = labelled.skeleton.select(names)
    return Pair(replace(file, people=people), replace(labelled, people=truth), skeleton)


def as_predictions(pair: Pair) -> Predictions:
    """What a run keeps of the same."""
    people, labels, sigmas = pair.answers.people, pair.labels, fall_offs(pair.skeleton)
    truth, side = labels.people, labels.longer or 1.0
    known = truth.annotated & ~truth.crowd[:, None]
    place = match_within(
        people.points, people.image_index, people.score, truth.points, known, truth.image_index, SMALLEST * side
    )
    matched, pictures = place >= 0, len(labels.pictures)
    alone = nobodys(people, place, replace(truth, annotated=known), sigmas)
    answers = Answers(
        points=people.points,
        score=people.score,
        row=people.image_index,
        invented=alone,
        picture=torch.arange(pictures),
        sequence=tuple(labels.pictures),
        sigmas=torch.tensor(sigmas, dtype=torch.float64),
        own_area=labels.areas,
        crowded=labels.crowded,
    )
    return Predictions(
        points=picked(people.points, place.clamp_min(0), matched),
        confidence=picked(people.confidence, place.clamp_min(0), matched),
        truth=truth.points,
        annotated=known,
        visible=known,
        side=torch.full((len(truth),), side),
        camera=torch.zeros(len(truth), 4),
        sequence=tuple(labels.pictures[image] for image in truth.image_index.tolist()),
        id=tuple(labels.pictures[image] for image in truth.image_index.tolist()),
        row=truth.image_index,
        matched=matched,
        invented=int(alone.sum()),
        area=truth.area,
        bounds=truth.boxes - HALF,
        crowd=truth.crowd,
        answers=answers,
    )


def dashed(cell: str) -> str:
    """A dash for what nothing counts for."""
    return "–" if cell == "nan" else cell
