"""What a skeleton says of a pose: directions, lengths and proportions of its bones, angles between them, and how
alike its two sides are. Pure functions of points (P, K, D) of P people, in 2D and in 3D.

The directions and the soft argmax are POST's (Raychaudhuri et al., ICCV 2023; driptaRC/POST @ 42e1186,
lib/datasets/util.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from ..datasets.sample import PIXELS_AND_MM, ROOT_MM, Unlabeled, renamed, swaps, to_space, transform
from ..models.output import Grid, Poses, Votes

Bones = Sequence[tuple[int, int]]
COINCIDENT = 1e-4
"""Two joints nearer than this, px or mm, are in one place: there is no direction between them."""


def soft_argmax(maps: Tensor, beta: float) -> Tensor:
    """The expected cell (B, K, D), x first, under the softmax of beta * maps (B, K, *shape)."""
    ones = (1.0,) * (maps.dim() - 2)
    return Votes.from_maps(Grid(tuple(maps.shape[2:]), ones, tuple(0.0 for _ in ones)), beta * maps).mean()


def vectors(points: Tensor, bones: Tensor) -> Tensor:
    """From the first joint of each of the bones (E, 2) to its second: (P, E, D)."""
    return points[:, bones[:, 1]] - points[:, bones[:, 0]]


def orientations(points: Tensor, bones: Tensor) -> Tensor:
    """Unit vectors along the bones (E, 2): (P, E, D). A bone whose joints are in one place has none: it gives zeros and
    no gradient, where the reference gives NaN."""
    vector = vectors(points, bones)
    length = vector.norm(dim=-1, keepdim=True)
    apart = length > COINCIDENT
    return torch.where(apart, vector / torch.where(apart, length, 1.0), 0.0)


def lengths(points: Tensor, bones: Tensor) -> Tensor:
    """Lengths of the bones (E, 2): (P, E)."""
    return vectors(points, bones).norm(dim=-1)


def proportions(lengths: Tensor) -> Tensor:
    """Lengths (P, E) as multiples of each person's mean length: in a picture size says little."""
    return lengths / lengths.mean(-1, keepdim=True).clamp_min(COINCIDENT)


def cosines(points: Tensor, corners: Tensor) -> Tensor:
    """Cosines of the angles at joints: of the corners (A, 3), (end, joint, end), (P, A). 1: both bones point the same
    way; 0 also where a bone has no direction."""
    first, second = (orientations(points, ends) for ends in (corners[:, :2].flip(1), corners[:, 1:]))
    return (first * second).sum(-1)


def asymmetry(lengths: Tensor, sides: Tensor) -> Tensor:
    """How far apart the lengths (P, E) of left and right bones are, as a share of their sum, for the pairs of bones
    `sides` (S, 2): (P, S) in [0, 1]."""
    left, right = lengths[:, sides].unbind(-1)
    return (left - right).abs() / (left + right).clamp_min(COINCIDENT)


def corners_of(bones: Bones) -> list[tuple[int, int, int]]:
    """All pairs of bones that meet in a joint, as (end, joint, end)."""
    ends: dict[int, list[int]] = {}
    for a, b in bones:
        ends.setdefault(a, []).append(b)
        ends.setdefault(b, []).append(a)
    return [(one, joint, other) for joint in sorted(ends) for one, other in combinations(ends[joint], 2)]


def sides_of(bones: Bones, flip: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of bones, by their index, of which each is the other's mirror image by the permutation `flip` of joints."""
    place = {frozenset(bone): index for index, bone in enumerate(bones)}
    mirror = [place.get(frozenset((flip[a], flip[b]))) for a, b in bones]
    return [(index, other) for index, other in enumerate(mirror) if other is not None and index < other]


def parents_of(bones: Bones) -> list[int]:
    """The bones as a tree that grows from the first: for each the bone that it hangs on, -1 of the first. Where bones
    are not connected each part has its own root."""
    parents: dict[int, int] = {}
    for root in range(len(bones)):
        queue = [] if root in parents else [root]
        if queue:
            parents[root] = -1
        for bone in queue:  # which grows on the way
            for other in range(len(bones)):
                if other not in parents and set(bones[bone]) & set(bones[other]):
                    parents[other] = bone
                    queue.append(other)
    return [parents[index] for index in range(len(bones))]


def in_file(points: Tensor, sample: Unlabeled, image_index: Tensor, flip: list[int]) -> Tensor:
    """Points (P, K, D) of a view as they are in the file, where up is up and left is left: px, or in 3D mm in the
    camera's frame, relative to a root of unknown depth in mm of a person who fills the crop. Differentiable. Keypoints
    of mirrored views change places back by the permutation `flip`."""
    there = renamed(transform(sample.to_file[image_index], points), flip, swaps(sample)[image_index])
    if points.shape[-1] == 2 or sample.space not in (PIXELS_AND_MM, ROOT_MM):
        return there
    if sample.space == PIXELS_AND_MM:
        return to_space(there, sample.camera[image_index])
    scale = (sample.inputs["extent"] / sample.side)[image_index].view(-1, 1, 1)  # as if the crop held just the extent
    return torch.cat([there[..., :2] * scale, there[..., 2:]], -1)


def located(votes: Votes, poses: Poses, single: bool, sigma: float) -> Tensor:
    """Where `votes` see the people of `poses`: points (P, K, D) that carry gradient. Of a model that answers with a
    `single` person the mean of the votes; else their mean under Gaussians of `sigma` cells around the poses' points."""
    if single:
        return votes.mean()
    parts = []
    for one, window in zip(votes.marginals(), votes.grid.targets(poses.points, sigma), strict=True):
        density = one.log_density()[poses.image_index] + window.clamp_min(1e-12).log()
        parts.append(Votes.from_maps(one.grid, density).mean())
    return torch.cat(parts, -1)
