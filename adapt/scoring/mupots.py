"""MuPoTS-3D's own protocol: 3DPCK and its area, relative and absolute, over the set's 20 sequences.

Mehta et al., Single-Shot Multi-Person 3D Pose Estimation, 3DV 2018; mpii_mupots_multiperson_eval.m as it is in
mks0601/3DMPPE_POSENET_RELEASE, data/MuPoTS @ dd025c5, and the functions of the set's own archive that it calls. Joints
are the 17 of `skeletons.MPI3DHP17`, points mm, keypoints file pixels. The protocol takes the 3D labels `univ_annot3`,
which are scaled to one person's height, also for the absolute form. The published numbers come of

    pck, auc = shares(*errors(predicted, truth, relative=True), sequence)
    pck.total(), pck.by_sequence(), auc.groups()
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...datasets.bodies.skeletons import MPI3DHP17
from .alignment import root_aligned
from .matching import choose
from .metrics import distances, group_means
from .people import LabelledPeople, PredictedPeople
from .people_metrics import THRESHOLD, numbered

PELVIS = 14
PARENTS = (1, 15, 1, 2, 3, 1, 5, 6, 14, 8, 9, 14, 11, 12, 14, 14, 1)
"""Of each joint; the pelvis is its own."""
FROM_PELVIS = (15, 1, 0, 16, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)
"""The joints, each after its parent."""
MATCHED = slice(1, 14)
"""The joints that people are matched by: all but the top of the head, pelvis, spine and head."""
REACH = 40.0
"""px, along x and along y, within which two joints are one."""
MISSED = 1e5
"""mm: where each joint of a missed person is taken to be, on every axis."""
STEPS = torch.arange(0, 151, 5, dtype=torch.float64)
"""mm, the 31 thresholds whose mean is the area."""
GROUPS = {
    **{"head": (0,), "neck": (1,), "shoulder": (2, 5), "elbow": (3, 6), "wrist": (4, 7)},
    **{"hip": (8, 11), "knee": (9, 12), "ankle": (10, 13)},
}
"""The 14 joints that count; pelvis, spine and the middle of the head do not."""
COUNTED = sorted(k for members in GROUPS.values() for k in members)


def match(predicted: PredictedPeople, truth: LabelledPeople) -> Tensor:
    """For each labelled person the predicted one, (P,), -1 for nobody: the valid people of an image choose in the order
    of the labels, each whom most joints are within reach of among those that are left, and at least one.

    Scores do not matter. A predicted keypoint at exactly (0, 0) is not seen. Raises ValueError without keypoints.
    """
    _check(predicted, truth)
    here, there = predicted.keypoints, truth.keypoints
    if here is None or there is None:
        raise ValueError("MuPoTS matches people in the picture: predictions and labels need keypoints in file pixels")
    own, seen = there[:, MATCHED], here[:, MATCHED]
    shown = (seen != 0).any(-1)

    def joints(labelled: Tensor, people: Tensor) -> Tensor:
        near = ((own[labelled].unsqueeze(2) - seen[people].unsqueeze(1)).abs() < REACH).all(-1)
        return (near & shown[people].unsqueeze(1)).sum(-1)

    valid = truth.valid.nonzero().squeeze(1)
    place = torch.full_like(truth.image_index, -1)
    place[valid] = choose(
        lambda rows, people: joints(valid[rows], people), truth.image_index[valid], predicted.image_index, 1
    )
    return place


def with_true_bones(predicted: Tensor, truth: Tensor) -> Tensor:
    """Predicted poses (N, 17, 3) whose bones have the length of the true ones and keep their direction, from the pelvis
    outwards. A bone without length has no direction: its end stays on its start (the reference's becomes NaN, a miss).
    """
    parents = list(PARENTS)
    bone, true_bone = (points.double() - points[:, parents].double() for points in (predicted, truth))
    length, true_length = (torch.linalg.vector_norm(b, dim=-1, keepdim=True) for b in (bone, true_bone))
    bone = bone * torch.where(length > 0, true_length / length, 0.0)
    points = predicted.double().clone()
    for joint in FROM_PELVIS:
        points[:, joint] = points[:, PARENTS[joint]] + bone[:, joint]
    return points


def errors(predicted: PredictedPeople, truth: LabelledPeople, relative: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Distances (P, 17) mm of the labelled people from those matched with them, who get the true bone lengths, which
    people are valid (P,) and which are found (P,). `relative` counts both poses from the pelvis."""
    place = match(predicted, truth)
    matched = place >= 0
    points, own = (root_aligned(p, PELVIS) if relative else p.double() for p in (predicted.points, truth.points))
    missed = own.new_full(own.shape, MISSED)
    nearest = missed.clone()
    nearest[matched] = with_true_bones(points[place[matched]], own[matched])
    return distances(nearest, own), truth.valid, matched


@dataclass(frozen=True)
class Shares:
    """Shares of S sequences, joint by joint; NaN of a sequence of which nobody counts, which no mean is made of."""

    sequences: tuple[Hashable, ...]
    values: Tensor
    """(S, 17)"""

    def joints(self) -> dict[str, float]:
        """Of each joint the mean over sequences."""
        return dict(zip(MPI3DHP17.keypoints, self.values.nanmean(0).tolist(), strict=True))

    def groups(self) -> dict[str, float]:
        """Of each group of joints the mean over sequences."""
        return group_means(self.values.nanmean(0), GROUPS)

    def by_sequence(self) -> dict[Hashable, float]:
        """Of each sequence the mean over the 14 joints that count."""
        return dict(zip(self.sequences, self._each().tolist(), strict=True))

    def total(self) -> float:
        """The mean over sequences, not over people: what tables give for the set."""
        return float(self._each().nanmean())

    def _each(self) -> Tensor:
        return self.values[:, COUNTED].mean(1)


def shares(
    errors: Tensor, valid: Tensor, matched: Tensor, sequence: Sequence[Hashable], only_matched: bool = False
) -> tuple[Shares, Shares]:
    """3DPCK and its area from `errors` of P people in `sequence` (P,): of all valid people, or `only_matched` ones.

    3DPCK is the share of joints nearer than 150 mm, where the limit itself is too far; the area is the mean of the same
    at 0, 5, ... 150 mm. Raises ValueError where there is not one sequence a person.
    """
    names, index = numbered(sequence, errors)
    counted = valid & matched if only_matched else valid
    index, kept = index[counted], errors[counted].double().contiguous()
    # A distance is below all steps but those up to it.
    below = len(STEPS) - torch.searchsorted(STEPS.to(errors.device), kept, right=True)
    count = torch.bincount(index, minlength=len(names)).unsqueeze(1)
    zeros = kept.new_zeros(len(names), kept.shape[1])
    pck = zeros.index_add(0, index, (kept < THRESHOLD).double()) / count
    auc = zeros.index_add(0, index, below.double() / len(STEPS)) / count
    return Shares(tuple(names), pck), Shares(tuple(names), auc)


def _check(predicted: PredictedPeople, truth: LabelledPeople) -> None:
    for people in (predicted, truth):
        if people.points.shape[1] != len(PARENTS):
            raise ValueError(
                f"{type(people).__name__} of {people.points.shape[1]} joints: MuPoTS has {len(PARENTS)}, in the order "
                f"{', '.join(MPI3DHP17.keypoints)}; of MuCo's 21 take the first 17"
            )
