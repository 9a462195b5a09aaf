"""`keyshift evaluate FILE.json NAME key=value ...`: people in space that `keyshift predict` wrote against a labelled
set, those who were missed and invented among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...adapt.scoring.matched_people import (
    MatchedPeople,
    matched,
    mupots_shares,
    paired,
    people_scores,
    root_precision,
)
from ...adapt.scoring.matching import SMALLEST
from ...adapt.scoring.mupots import Shares
from ...adapt.scoring.people import LabelledPeople, PredictedPeople
from ...adapt.scoring.space_scores import SHOWN
from ...datasets.catalog import open_dataset
from ...datasets.options import Options, option
from ...datasets.reading.splits import PARTS
from ...datasets.skeleton import Skeleton
from ..runs.progress import Reporter
from .data_words import read_words
from .evaluate_groups import group_names, in_order
from .labelled_people import Labels, labels_of
from .people_file import PeopleFile, places, read_people

LABELS = {
    "mm": "MPJPE from the root, mm",
    **{key: SHOWN[key].heading for key in ("pa_mm", "n_mm", "protocol1_mm", "protocol2_mm", "absolute_mm")},
    **{key: SHOWN[key].heading for key in ("mrpe", "mrpe_x", "mrpe_y", "mrpe_z")},
}
SHARES = {
    "pck_150mm": "3DPCK from the root, %",
    "auc_150mm": "AUC of that, %",
    "absolute_pck_150mm": "3DPCK absolute, %",
    "absolute_auc_150mm": "AUC of that, %",
}
GROUPED = ("mm", "pa_mm", "absolute_mm", "mrpe", "mrpe_z")


@dataclass(frozen=True)
class EvaluateOptions(Options):
    """Of the command, beside the dataset's."""

    part: str = option("test", "which part is scored on", choices=PARTS)


def evaluate_people(path: Path, words: list[str], reporter: Reporter, by: str | None = None) -> dict[str, Any]:
    """Print and return the scores of the people in `path` against a set: its name, then key=value of its options and of
    EvaluateOptions; `by` sequence or action too.

    Keypoints are paired by name. Labelled pictures that the file does not list have nobody in them; pictures that the
    set does not have are left out, and both are said. Raises ValueError for a file or set without points in mm, and
    where both have no root, or no picture, in common.
    """
    if not words or "=" in words[0]:
        raise ValueError(f"evaluate {path}: name the labelled set behind it: keyshift evaluate {path} NAME key=value")
    own, options = read_words(words[0], words[1:], EvaluateOptions)
    dataset, file = open_dataset(words[0], options, own.part), read_people(path)
    skeleton = in_common(file, dataset.skeleton, dataset.name)
    labels = chosen(labels_of(dataset), [dataset.skeleton.keypoints.index(name) for name in skeleton.keypoints])
    predicted, roots = placed_in(file, labels.pictures, skeleton, dataset.name, reporter)
    place, alone = matched(predicted, labels.people, SMALLEST * file.longer)
    people, valid = paired(predicted, roots, labels.people, place), labels.people.valid
    result: dict[str, Any] = people_scores(people.select(valid), skeleton)
    result |= root_precision(predicted, roots, labels.people, skeleton.root or 0)
    result |= {"labelled": int(valid.sum()), "missed": int((valid & (place < 0)).sum()), "invented": int(alone.sum())}
    reporter.say(
        f"{path} on {dataset.name}: {result['labelled']} people in {len(labels.pictures)} pictures, "
        f"{result['missed']} missed, {result['invented']} invented (second ones of a person among them), "
        f"{len(skeleton)} keypoints"
    )
    if file.roots is None:
        reporter.say(f"{path} has no root_mm: MRPE and AP are of the keypoint {skeleton.keypoints[skeleton.root or 0]}")
    print_people(result, reporter)
    shares = mupots_shares(predicted, labels.people, skeleton, group_names(labels.sequences, "sequence"))
    if shares:
        result["mupots"] = {name: one.total() for name, one in shares.items()}
        print_mupots(shares, reporter)
    if by is not None:
        names = np.array(group_names(labels.sequences, by))
        result["by"] = by_group(people, valid.numpy(), names, skeleton)
        print_by(result["by"], by, shares if by == "sequence" else {}, reporter)
    return result


def in_common(file: PeopleFile, skeleton: Skeleton, name: str) -> Skeleton:
    """The set's skeleton with the keypoints that the file has too. Raises ValueError where the root is not one."""
    names = tuple(one for one in skeleton.keypoints if one in file.keypoints)
    made = skeleton.select(names)
    if made.root is None:
        own = None if skeleton.root is None else skeleton.keypoints[skeleton.root]
        lacking = f"the root of {name} is {own}" if own else f"{name} has no root"
        raise ValueError(
            f"{lacking}; {file.path} has the keypoints {', '.join(file.keypoints)}. Errors are counted from a root "
            "that both have: a pelvis or wrist, under the same name"
        )
    return made


def chosen(labels: Labels, order: Sequence[int]) -> Labels:
    """The labels of some keypoints; people of whom none of these is known do not count."""
    people, k = labels.people, list(order)
    assert people.keypoints is not None
    known = people.annotated[:, k]
    some = LabelledPeople(people.points[:, k], known, known.any(1), people.image_index, people.keypoints[:, k])
    return replace(labels, people=some)


def placed_in(
    file: PeopleFile, pictures: Sequence[str], skeleton: Skeleton, name: str, reporter: Reporter
) -> tuple[PredictedPeople, torch.Tensor]:
    """The people of the file in the labelled `pictures`, with the skeleton's keypoints, and their roots (Q, 3) mm.
    Raises ValueError where no picture is labelled."""
    place = torch.tensor(places(file.pictures, pictures), dtype=torch.int64)
    known = place[place >= 0]
    if not len(known):
        raise ValueError(
            f"{file.path}: none of its pictures ({', '.join(file.pictures[:3])}, ...) is one of {name} "
            f"({', '.join(pictures[:3])}, ...); names must end alike"
        )
    left, absent = len(place) - len(known), len(pictures) - len(known)
    if left:
        reporter.say(f"{left} pictures of {file.path} are not labelled by {name} and are left out")
    if absent:
        reporter.say(f"{absent} of {len(pictures)} labelled pictures are not in {file.path}: their people are missed")
    image = place[file.image_index]
    rows, order = image >= 0, [file.keypoints.index(one) for one in skeleton.keypoints]
    points = file.points[rows][:, order]
    people = PredictedPeople(points, image[rows], file.score[rows], file.flat[rows][:, order])
    roots = points[:, skeleton.root or 0] if file.roots is None else file.roots[rows]
    return people, roots


def print_people(result: dict[str, Any], reporter: Reporter) -> None:
    """Errors of the people found, shares of those and of all."""
    rows = [[label, f"{result[key]:.1f}", ""] for key, label in LABELS.items() if key in result]
    for key, label in SHARES.items():
        rows.append([label, *(f"{100 * result[name]:.1f}" for name in (key, f"{key}_all"))])
    rows.append(["AP_root_25, %", "", f"{100 * result['ap_root_25']:.1f}"])
    rows.append(["AP_root_25 as RootNet's code sums it, %", "", f"{100 * result['rootnet_ap_25']:.1f}"])
    reporter.table("people in space", ["", "people found", "all people"], [[*map(dashed, row)] for row in rows])


def print_mupots(shares: dict[str, Shares], reporter: Reporter) -> None:
    """Means over sequences, as published."""
    rows = [[name, f"{100 * one.total():.1f}"] for name, one in shares.items()]
    reporter.table("MuPoTS-3D's own protocol, means over sequences", ["", "%"], rows)
    reporter.say(
        "published numbers are against univ_annot3, people scaled to one height; the labels here are those of the set "
        "as it was opened"
    )


def by_group(
    people: MatchedPeople, valid: np.ndarray, names: np.ndarray, skeleton: Skeleton
) -> dict[str, dict[str, float]]:
    """The scores of each group of the people that count."""
    made = {}
    for name in in_order(names[valid].tolist()):
        own = people.select(torch.from_numpy((names == name) & valid))
        counts = {"labelled": len(own.matched), "missed": int((~own.matched).sum())}
        made[name] = people_scores(own, skeleton) | counts
    return made


def print_by(groups: dict[str, dict[str, float]], by: str, shares: dict[str, Shares], reporter: Reporter) -> None:
    """A row for each group; errors are of the people found, shares of all."""
    protocol = {f"MuPoTS {name}, %": one.by_sequence() for name, one in shares.items() if name.startswith("3DPCK")}
    columns = [by, "people", "missed", *(LABELS[key] for key in GROUPED)]
    columns += ["3DPCK from the root of all, %", "3DPCK absolute of all, %"]
    rows = [
        [name, str(int(own["labelled"])), str(int(own["missed"]))]
        + [f"{own[key]:.1f}" for key in GROUPED]
        + [f"{100 * own[key]:.1f}" for key in ("pck_150mm_all", "absolute_pck_150mm_all")]
        + [f"{100 * values[name]:.1f}" for values in protocol.values()]
        for name, own in groups.items()
    ]
    reporter.table(f"by {by}", [*columns, *protocol], [[*map(dashed, row)] for row in rows])


def dashed(cell: str) -> str:
    """A dash for what nothing counts for."""
    return "–" if cell == "nan" else cell
