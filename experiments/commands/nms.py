"""`keyshift nms PREDICTIONS LABELS`: what NMS is worth on labelled pictures, and its parameters fitted to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ...adapt.scoring.nms_fit import TRIALS, Candidates, fit, precision_of
from ...adapt.scoring.oks_ap import FlatPeople
from ...datasets.bodies.skeletons import oks_sigmas
from ...datasets.reading.files import check_output
from ...datasets.skeleton import Skeleton
from ...models.output import Poses
from ...models.pose_nms import PRESETS, OksNMS, PoseNMS
from ..runs.people_nms import write_nms
from ..runs.progress import Reporter
from .keypoint_files import CandidateFile, LabelFile, read_candidates, read_flat_labels
from .people_file import places

FEW = 50
"""Labelled people in a half, below which an average precision says little."""


def fit_nms(predictions: Path, labels: Path, output: Path, reporter: Reporter, overwrite: bool = False) -> PoseNMS:
    """Print OKS-AP of the candidates that `keyshift predict` wrote without --nms, of what each of PRESETS makes of
    them, and of fitted parameters; write these to `output`, for --nms.

    They are fitted on the first half of the pictures that both files have, in the order of the labels, and the second
    tests. Raises ValueError for files that are none, that have no keypoint or no two pictures in common, and where the
    fall-offs of OKS are not published.
    """
    check_output(output, overwrite)
    both = in_common(read_candidates(predictions), read_flat_labels(labels), reporter)
    sigmas, halves = oks_sigmas(both.skeleton), halved(both, labels)
    seen, known = halves[0]

    def score(options: PoseNMS) -> float:
        return precision_of(seen, options, known, sigmas)[0]

    with reporter.counted("trials", TRIALS) as count:
        start = max((one for one in PRESETS.values() if isinstance(one, PoseNMS)), key=score)
        fitted = fit(start, score, count)
    tried: dict[str, PoseNMS | OksNMS | None] = {"none": None, **PRESETS, "fitted": fitted}
    rows = []
    for name, options in tried.items():
        values = [precision_of(here, options, there, sigmas) for here, there in halves]
        rows.append([name, *(cell for ap, people in values for cell in (f"{100 * ap:.1f}", str(people)))])
    labelled = [int((~there.ignored).sum()) for _, there in halves]
    title = f"OKS-AP, %, by {len(both.skeleton)} keypoints; {labelled[0]} and {labelled[1]} people are labelled"
    reporter.table(title, ["--nms", "fitted on", "people", "held out", "people"], rows)
    if min(labelled) < FEW:
        reporter.say(f"fewer than {FEW} labelled people in a half: what is fitted and measured on so few says little")
    write_nms(output, fitted)
    reporter.say(f"{output}: use it with keyshift predict --nms {output}")
    return fitted


class Common(NamedTuple):
    """What both files have."""

    candidates: Candidates
    truth: FlatPeople
    pictures: Tensor
    """(n,) those that both list, by their number in the labels, as image_index counts them; rising."""
    skeleton: Skeleton


def in_common(file: CandidateFile, labelled: LabelFile, reporter: Reporter) -> Common:
    """Candidates and labelled people by the keypoints and in the pictures that both files have. Raises ValueError where
    there are none."""
    names = tuple(name for name in labelled.skeleton.keypoints if name in file.skeleton.keypoints)
    if not names:
        raise ValueError(
            f"{file.path} has the keypoints {', '.join(file.skeleton.keypoints)}, and {labelled.path} has "
            f"{', '.join(labelled.skeleton.keypoints)}: none has the same name"
        )
    place = torch.tensor(places(file.pictures, labelled.pictures), dtype=torch.int64)
    known = place[place >= 0].sort().values
    if not len(known):
        raise ValueError(
            f"{file.path}: none of its pictures ({', '.join(file.pictures[:3])}, ...) is one of {labelled.path} "
            f"({', '.join(labelled.pictures[:3])}, ...); names must end alike"
        )
    left = len(file.pictures) + len(labelled.pictures) - 2 * len(known)
    if left:
        reporter.say(f"{left} pictures are in one of the files alone, and are left out")
    ours, theirs = ([one.keypoints.index(name) for name in names] for one in (file.skeleton, labelled.skeleton))
    poses, people = file.people.poses, labelled.people
    image = place[poses.image_index]
    order = image.argsort(stable=True)
    order = order[image[order] >= 0]
    renumbered = Poses(poses.points[:, ours], poses.confidence[:, ours], image, poses.score)
    candidates = Candidates(
        renumbered.each(lambda value: value[order]), file.people.boxes[order], file.people.box_scores[order]
    )
    truth = replace(people, points=people.points[:, theirs], annotated=people.annotated[:, theirs])
    return Common(candidates, truth, known, labelled.skeleton.select(names))


def halved(both: Common, labels: Path) -> list[tuple[Candidates, FlatPeople]]:
    """The first and second half of the pictures. Raises ValueError where nobody is labelled in one."""
    halves = [(both.candidates.of(half), both.truth.of(half)) for half in both.pictures.tensor_split(2)]
    if not all(bool((~truth.ignored).any()) for _, truth in halves):
        raise ValueError(
            f"{labels}: one half of the {len(both.pictures)} pictures that are predicted is fitted on and one tests, "
            "and in one nobody is labelled; predict more of the labelled pictures"
        )
    return halves
