"""AP of predictions that a run keeps: of people who were found in whole pictures."""

from __future__ import annotations

import numpy as np
import torch

from ...datasets.skeleton import Skeleton
from ...models.output import Poses
from .oks_ap import HALF, FlatPeople, crowd_scores, judged, oks_scores
from .oks_sigmas import said
from .precision import Judged
from .predictions import Answers, Predictions
from .space_scores import Named

COCO = {
    "ap50": Named("AP50", "%", "average precision where an OKS of 0.50 is enough"),
    "ap75": Named("AP75", "%", "the same of 0.75"),
    "ap_medium": Named("AP medium", "%", "AP of people of 32² to 96² square pixels"),
    "ap_large": Named("AP large", "%", "AP of larger people"),
    "ar": Named("AR", "%", "the share of people who are found, averaged over OKS of 0.50 to 0.95"),
    "ar50": Named("AR50", "%", "the share of people who are found where an OKS of 0.50 is enough"),
    "ar75": Named("AR75", "%", "the same of 0.75"),
    "ap_easy": Named("AP easy", "%", "AP of pictures of a crowdIndex below 0.2 (CrowdPose)"),
    "ap_medium_crowd": Named("AP medium crowds", "%", "AP of pictures of a crowdIndex of 0.2 to 0.8"),
    "ap_hard": Named("AP hard", "%", "AP of pictures of a crowdIndex of 0.8 and more"),
    "pck": Named("PCK", "%", "the share of annotated joints near the truth, those of missed people being misses"),
}
"""What is said of people in pictures beside AP, in the order in which it is shown."""


def ap_scores(predictions: Predictions) -> dict[str, float]:
    """COCO's ten numbers, and CrowdPose's where pictures say how crowded they are; nothing of crops."""
    answers = predictions.answers
    if answers is None:
        return {}
    people, truth, sigmas = everyone(answers), labelled(predictions), answers.sigmas.tolist()
    made = oks_scores(people, truth, sigmas)
    if answers.crowded is not None:
        made |= crowd_scores(people, truth, sigmas, answers.picture, answers.crowded)
    return made


def oks_words(predictions: Predictions, skeleton: Skeleton) -> str | None:
    """Which fall-offs and areas AP was made with; None of crops."""
    if predictions.answers is None:
        return None
    area = "as the dataset gives them" if predictions.answers.own_area else "those of the boxes of annotated keypoints"
    return f"fall-offs (sigmas) are {said(skeleton)}; areas are {area}"


def judged_people(predictions: Predictions) -> Judged:
    """Who is right of those whom a system found. Raises ValueError for predictions of crops."""
    if predictions.answers is None:
        raise ValueError("these are predictions of crops: AP is of people who are found in pictures")
    sigmas = predictions.answers.sigmas.tolist()
    return judged(everyone(predictions.answers), labelled(predictions), sigmas)[0]


def sequences(answers: Answers) -> tuple[list[str], np.ndarray]:
    """The B sequences of the pictures in their order, and which one each of M pictures is of: (M,)."""
    names, block = np.unique(np.array(answers.sequence), return_inverse=True)
    return names.tolist(), block


def everyone(answers: Answers) -> Poses:
    """The people with the pictures' rows as their images."""
    ones = torch.ones(answers.points.shape[:2])
    return Poses(answers.points, ones, answers.row, answers.score)


def labelled(predictions: Predictions) -> FlatPeople:
    """The labelled people of pictures."""
    area, bounds, crowd = predictions.area, predictions.bounds, predictions.crowd
    assert area is not None
    assert bounds is not None
    assert crowd is not None
    return FlatPeople(
        predictions.truth, predictions.annotated, area.double(), bounds.double() + HALF, crowd, predictions.row
    )
