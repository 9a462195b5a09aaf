"""Metrics of people in space: pure functions on tensors with a mask, pooled over everything they are given.

Points are (N, K, 3) mm in the camera's frame, predictions row by row beside the truth that they are matched with; masks
(N, K) bool. Functions that end in `errors` give each joint's distance (N, K) in mm, for `metrics.mean_per_joint`,
`by_group`, and 3DPCK with its area: `metrics.pck(errors, mask, 150)` and `metrics.auc(errors, mask, 150)`. Where poses
are counted from a `root`, a person counts only if the root does (`rooted`); `root=None` leaves points where they are.
The root's own error, always 0, counts as in the references, unless `count_root` is off. A metric of nothing is NaN.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from . import metrics
from .alignment import rigid_aligned, root_aligned, scaled, similarity_aligned

THRESHOLD = 150.0
"""mm, that of 3DPCK: Mehta et al., 3DV 2017."""


def rooted(mask: Tensor, root: int | None, count_root: bool = True) -> Tensor:
    """The mask (N, K) less the people whose root is not in it and, without `count_root`, less the root itself."""
    if root is None:
        return mask
    own = torch.arange(mask.shape[1], device=mask.device) == root
    return mask & mask[:, root : root + 1] & (count_root | ~own)


def root_errors(predicted: Tensor, truth: Tensor, root: int | None) -> Tensor:
    """Distances (N, K) after both are counted from their own roots."""
    if root is None:
        return metrics.distances(predicted.double(), truth.double())
    return metrics.distances(root_aligned(predicted, root), root_aligned(truth, root))


def mpjpe(predicted: Tensor, truth: Tensor, mask: Tensor, root: int | None, count_root: bool = True) -> Tensor:
    """Mean error of the joints, mm, counted from the root; of `root=None` the absolute one."""
    return metrics.mean(root_errors(predicted, truth, root), rooted(mask, root, count_root))


def pa_errors(predicted: Tensor, truth: Tensor, mask: Tensor, scale: bool = True) -> Tensor:
    """Distances (N, K) after the similarity that fits best; of `scale=False` after turning and shifting alone."""
    aligned = (similarity_aligned if scale else rigid_aligned)(predicted, truth, mask)
    return metrics.distances(aligned, truth.double())


def pa_mpjpe(predicted: Tensor, truth: Tensor, mask: Tensor, scale: bool = True) -> Tensor:
    """Mean of `pa_errors`, mm. `scale=False` is PoseNet's, which is larger."""
    return metrics.mean(pa_errors(predicted, truth, mask, scale), mask)


def n_errors(predicted: Tensor, truth: Tensor, mask: Tensor, root: int | None) -> Tensor:
    """Distances (N, K), counted from the root, after each prediction has the scale that fits best; of `root=None` about
    the origin."""
    if root is not None:
        predicted, truth = root_aligned(predicted, root), root_aligned(truth, root)
    return metrics.distances(scaled(predicted, truth, rooted(mask, root)), truth.double())


def n_mpjpe(predicted: Tensor, truth: Tensor, mask: Tensor, root: int | None, count_root: bool = True) -> Tensor:
    """Mean of `n_errors`, mm (Rhodin, Salzmann, Fua, ECCV 2018)."""
    return metrics.mean(n_errors(predicted, truth, mask, root), rooted(mask, root, count_root))


def mpjve(
    predicted: Tensor, truth: Tensor, mask: Tensor, root: int | None, track: Tensor, frame: Tensor, step: int = 1
) -> Tensor:
    """Mean error of the joints' velocities, mm a step: the first differences along time of VideoPose3D.

    `track` (N,) int64 says whose pose in which sequence a row is, `frame` (N,) int64 when; rows come in any order.
    Differences are taken between poses of one track that are `step` frames apart and, where that is so, of joints that
    count in both. Raises ValueError where a track has two poses in one frame.
    """
    order = frame.argsort(stable=True)
    order = order[track[order].argsort(stable=True)]
    same = track[order].diff() == 0
    apart = frame[order].diff()
    twice = same & (apart == 0)
    if twice.any():
        row = int(order[1:][twice][0])
        raise ValueError(
            f"track {int(track[row])} has two poses in frame {int(frame[row])}: velocities need one; give each person "
            "of a sequence a track of its own"
        )
    if root is not None:
        predicted, truth, mask = root_aligned(predicted, root), root_aligned(truth, root), rooted(mask, root)
    moved, true_move = predicted[order].double().diff(dim=0), truth[order].double().diff(dim=0)
    counted = mask[order][1:] & mask[order][:-1] & (same & (apart == step)).unsqueeze(1)
    return metrics.mean(metrics.distances(moved, true_move), counted)


def mrpe(predicted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Mean distance, mm, of predicted roots (N, 3) from the true ones, in the camera's frame; mask (N,). Moon, Chang,
    Lee, ICCV 2019."""
    return metrics.mean(metrics.distances(predicted.double(), truth.double()), mask)


def mrpe_axes(predicted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """The same along x, y and z by themselves: (3,)."""
    away = (predicted.double() - truth.double()).abs()
    return metrics.mean_per_joint(away, mask.unsqueeze(1).expand(-1, 3))


def by_group(values: Tensor, mask: Tensor, labels: Sequence[Hashable] | Tensor) -> dict[Hashable, float]:
    """Mean of values (N, K) over the masked joints of the rows with each label: of each action, or each sequence.

    Groups come in the order in which the labels do; one of which nothing counts is NaN. Raises ValueError where there
    is not one label a row.
    """
    names, index = numbered(labels, values)
    sums = values.double().masked_fill(~mask, 0).sum(1)
    zeros = sums.new_zeros(len(names))
    means = zeros.index_add(0, index, sums) / zeros.index_add(0, index, mask.sum(1).double())
    return dict(zip(names, means.tolist(), strict=True))


def numbered(labels: Sequence[Hashable] | Tensor, values: Tensor) -> tuple[list[Hashable], Tensor]:
    """The labels that there are, in the order in which they come, and which of them each row of values (N, ...) has:
    (N,). Raises ValueError where there is not one label a row."""
    if len(labels) != len(values):
        raise ValueError(f"{len(labels)} labels for {len(values)} people: means by group need one a person")
    words = labels.tolist() if isinstance(labels, Tensor) else labels
    place = {label: i for i, label in enumerate(dict.fromkeys(words))}
    return list(place), torch.tensor([place[word] for word in words], dtype=torch.int64, device=values.device)
