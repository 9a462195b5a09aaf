"""Bones as Anatomy3D counts them: pairs of keypoints, one fewer than keypoints; their lengths and directions, and poses
whose bones are longer or shorter."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...datasets.bodies.skeletons import H36M17
from ...datasets.skeleton import Skeleton
from ...datasets.tree import parents

PUBLISHED = (
    *((16, 15), (15, 14), (13, 12), (12, 11), (10, 9), (9, 8), (8, 7), (8, 11), (8, 14), (7, 0), (3, 2), (2, 1)),
    *((6, 5), (5, 4), (1, 0), (4, 0)),
)
"""Of Human3.6M's 17 joints, (one, other), in the order of released weights: two of them point down the tree."""


def bones_of(skeleton: Skeleton) -> tuple[tuple[int, int], ...]:
    """The bones of a skeleton, (one, other): the published ones where it has Human3.6M's 17 joints, in whatever order,
    else each keypoint with its parent. What its edges do not reach hangs on the root."""
    if set(skeleton.keypoints) == set(H36M17.keypoints):
        place = [skeleton.keypoints.index(name) for name in H36M17.keypoints]
        return tuple((place[one], place[other]) for one, other in PUBLISHED)
    root = skeleton.root or 0
    return tuple((k, above if above >= 0 else root) for k, above in enumerate(parents(skeleton)) if k != root)


def star(keypoints: int) -> tuple[tuple[int, int], ...]:
    """The bones of as many keypoints of which nothing is known: each hangs on the first."""
    return tuple((k, 0) for k in range(1, keypoints))


def below(bones: tuple[tuple[int, int], ...], root: int, keypoints: int) -> Tensor:
    """(bones, K): 1 where a keypoint moves along a bone as it is drawn, from the other end to the one, when that grows,
    -1 where it moves against it, 0 where it stays. The root stays."""
    moves, reached = torch.zeros(len(bones), keypoints), [root]
    for end in reached:
        for number, (one, other) in enumerate(bones):
            far = one if other == end else other if one == end else end
            if far not in reached:
                moves[:, far] = moves[:, end]
                moves[number, far] = 1.0 if far == one else -1.0
                reached.append(far)
    return moves


def shifts(bones: tuple[tuple[int, int], ...], keypoints: int) -> list[tuple[int, int]]:
    """Pairs of keypoints i <= j that no bone joins, those of a keypoint with itself among them, as in the reference."""
    joined = {frozenset(bone) for bone in bones}
    return [(i, j) for i in range(keypoints) for j in range(i, keypoints) if frozenset((i, j)) not in joined]


def vectors(poses: Tensor, ends: Tensor) -> Tensor:
    """Of poses (..., K, 3) and pairs (N, 2) of keypoints the vectors (..., N, 3) from the second to the first."""
    return poses[..., ends[:, 0], :] - poses[..., ends[:, 1], :]


def lengthened(poses: Tensor, ends: Tensor, moves: Tensor, change: Tensor) -> Tensor:
    """Poses (B, R, K, 3) of which the bones, by `ends` (N, 2) and `moves` (N, K), are longer by `change` (B, N), in
    their unit, and point where they did."""
    along = F.normalize(vectors(poses, ends), dim=-1) * change[:, None, :, None]
    return poses + torch.einsum("brnc,nk->brkc", along, moves)
