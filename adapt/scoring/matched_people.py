"""People in space as a whole chain answers them, missed and invented ones among them, beside the labelled people."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ...datasets.bodies.skeletons import MPI3DHP17
from ...datasets.skeleton import Skeleton
from . import metrics, mupots, people_metrics
from .matching import match_within, unmatched
from .people import LabelledPeople, PredictedPeople
from .root_ap import root_ap, rootnet_ap
from .space_scores import pose_errors, root_errors

ALIKE = 0.3
"""Similarity below which two people are not the same. Sets leave people out (MuPoTS-3D's invalid ones): with less, a
prediction of one of those takes a labelled person who stands before or behind."""


@dataclass(frozen=True)
class MatchedPeople:
    """P labelled people and whom a chain took for them."""

    points: Tensor
    """(P, K, 3) mm in the camera's frame, zeros of missed people."""
    roots: Tensor
    """(P, 3) mm, zeros of missed people."""
    truth: Tensor
    """(P, K, 3)"""
    annotated: Tensor
    """(P, K) bool"""
    matched: Tensor
    """(P,) bool"""

    def select(self, rows: Tensor) -> MatchedPeople:
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def matched(predicted: PredictedPeople, truth: LabelledPeople, smallest: float) -> tuple[Tensor, Tensor]:
    """For each labelled person the predicted one, (P,), -1 for nobody, and which predictions nobody was taken for, (Q,)
    bool. People are matched in the picture, by the similarity of their keypoints (`matching`), so that one whose
    distance is far off is found all the same; `smallest` is px. Raises ValueError without keypoints."""
    if predicted.keypoints is None or truth.keypoints is None:
        raise ValueError("people are matched in the picture: predictions and labels need keypoints in file pixels")
    counted = truth.annotated & truth.valid.unsqueeze(1)
    place = match_within(
        predicted.keypoints.double(),
        predicted.image_index,
        predicted.score,
        truth.keypoints,
        counted,
        truth.image_index,
        smallest,
        ALIKE,
    )
    return place, unmatched(place, len(predicted))


def paired(predicted: PredictedPeople, roots: Tensor, truth: LabelledPeople, place: Tensor) -> MatchedPeople:
    """The labelled people beside those at `place` (P,) of the predicted ones, whose roots are (Q, 3) mm."""
    matched = place >= 0

    def taken(values: Tensor) -> Tensor:
        made = values.new_zeros(len(place), *values.shape[1:], dtype=torch.float64)
        made[matched] = values[place[matched]].double()
        return made

    return MatchedPeople(taken(predicted.points), taken(roots), truth.points.double(), truth.annotated, matched)


def people_scores(people: MatchedPeople, skeleton: Skeleton) -> dict[str, float]:
    """Errors of the people who were found, mm, and 3DPCK and its area, relative (`pck_150mm`) and absolute, of those
    and, as `..._all`, of all labelled ones, where a missed person's joints are misses. NaN where nobody was found."""
    root, those = skeleton.root or 0, people.select(people.matched)
    values = pose_errors(those.points, those.truth, those.annotated, root, skeleton)
    values |= root_errors(those.roots, those.truth[:, root], those.annotated[:, root])
    away = metrics.distances(people.points, people.truth)
    relative = people_metrics.root_errors(people.points, people.truth, root)
    values["absolute_mm"] = float(metrics.mean(away[people.matched], those.annotated))
    joints = people_metrics.rooted(people.annotated, root, count_root=False)
    for kind, errors, mask in (("", relative, joints), ("absolute_", away, people.annotated)):
        errors = torch.where(people.matched[:, None], errors, torch.inf)
        for name, rows in (("", people.matched), ("_all", torch.ones_like(people.matched))):
            values[f"{kind}pck_150mm{name}"] = float(metrics.pck(errors[rows], mask[rows], people_metrics.THRESHOLD))
            values[f"{kind}auc_150mm{name}"] = float(metrics.auc(errors[rows], mask[rows], people_metrics.THRESHOLD))
    return values


def root_precision(predicted: PredictedPeople, roots: Tensor, truth: LabelledPeople, root: int) -> dict[str, float]:
    """AP_root_25, and the same as RootNet's code sums it, of predicted roots (Q, 3) mm."""
    here = replace(predicted, points=roots[:, None], keypoints=None)
    there = replace(truth, points=truth.points[:, root, None], annotated=truth.annotated[:, root, None], keypoints=None)
    return {"ap_root_25": float(root_ap(here, there, 0)), "rootnet_ap_25": float(rootnet_ap(here, there, 0))}


def mupots_shares(
    predicted: PredictedPeople, truth: LabelledPeople, skeleton: Skeleton, sequences: list[str]
) -> dict[str, mupots.Shares]:
    """3DPCK and its area by MuPoTS-3D's own protocol: pck and auc, relative and absolute, of all people and of those
    matched, by name; empty for a skeleton without its 17 joints, of which the neck may be called thorax, as in the
    references."""
    neck = "neck" if "neck" in skeleton.keypoints else "thorax"
    names = [neck if name == "neck" else name for name in MPI3DHP17.keypoints]
    if not set(names) <= set(skeleton.keypoints):
        return {}
    order = [skeleton.keypoints.index(name) for name in names]
    assert predicted.keypoints is not None
    assert truth.keypoints is not None
    here = replace(predicted, points=predicted.points[:, order], keypoints=predicted.keypoints[:, order])
    there = replace(
        truth,
        points=truth.points[:, order],
        annotated=truth.annotated[:, order],
        keypoints=truth.keypoints[:, order],
    )
    made: dict[str, mupots.Shares] = {}
    for relative in (True, False):
        errors = mupots.errors(here, there, relative)
        for only_matched in (False, True):
            both = mupots.shares(*errors, sequences, only_matched)
            kind = f"{'relative' if relative else 'absolute'}, {'matched' if only_matched else 'all'}"
            made |= {f"{name}, {kind}": one for name, one in zip(("3DPCK", "AUC"), both, strict=True)}
    return made
