"""What DEKR learns from people's keypoints: heatmaps with the mask of their loss, and offsets with their weights.

HRNet/DEKR @ 7a30313, lib/dataset/target_generators/target_generators.py, with which it agrees numerically. Made on the
device from coordinates, of all people of a batch together. Points are in cells of the map, (x, y), cells at integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...datasets.constants import constants


def heatmaps(
    cells: Tensor, drawn: Tensor, sigmas: Sequence[float], image_index: Tensor, images: int, shape: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Gaussians of peak 1 at the points (P, K, 2) that are `drawn` (P, K), `sigmas` (K) cells wide, the highest of an
    image's people: (images, K, *shape), and where any was drawn, bool. Each is cut to its patch, which ends 3 sigma and
    one or two cells from the point, and its middle stands between cells."""
    sigma = constants(sigmas, cells)[:, None]
    first, end = (cells - 3 * sigma - 1).floor(), (cells + 3 * sigma + 2).ceil()
    places = first[..., None] + torch.arange(math.ceil(6 * max(sigmas) + 4), device=cells.device, dtype=cells.dtype)
    lines = torch.exp((places - cells[..., None]).square() / (-2 * sigma[..., None] ** 2))  # (P, K, 2, cells of a line)
    inside = (places < end[..., None]) & (places >= 0) & (places < constants(shape[::-1], cells)[:, None])
    values = lines[:, :, 1, :, None] * lines[:, :, 0, None]
    shown = inside[:, :, 1, :, None] & inside[:, :, 0, None] & drawn[..., None, None]
    maps = image_index[:, None] * len(sigmas) + torch.arange(len(sigmas), device=cells.device)
    x, y = places[:, :, 0].long(), places[:, :, 1].long()
    index = (maps[..., None, None] * shape[0] + y[..., None]) * shape[1] + x[:, :, None]
    flat = cells.new_zeros(images * len(sigmas) * shape[0] * shape[1])
    flat.scatter_reduce_(0, (index * shown).flatten(), (values * shown).flatten(), "amax")
    return (whole := flat.view(images, len(sigmas), *shape)), whole > 0


def windows(centers: Tensor, radius: int, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The square of cells about each centre (P, 2), from its whole part less the radius up to that plus the radius, but
    the last: places (P, S, 2), x first, and which of them are on the map, (P, S) bool."""
    line = torch.arange(-radius, radius, device=centers.device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    places = centers.trunc().long()[:, None] + torch.stack([x, y], -1).flatten(0, 1)
    inside = (places >= 0) & (places < constants(shape[::-1], places))
    return places, inside.all(-1)


def owners(
    centers: Tensor, known: Tensor, area: Tensor, image_index: Tensor, images: int, radius: int, shape: Sequence[int]
) -> Tensor:
    """Whose offsets the cells learn: (images, K, *shape) int64, the person's number, or -1.

    In the window of its centre (P, 2) a person owns a cell for its `known` (P, K) keypoints, of several people the one
    of the smallest `area` (P,), and among equals the last."""
    people, keypoints = known.shape
    order = area.flip(0).argsort(stable=True)
    person = (people - 1 - order).to(image_index)  # the strongest claim first
    rank = torch.empty_like(person).scatter_(0, person, torch.arange(people, device=person.device))
    places, inside = windows(centers, radius, shape)
    index, claims = _cells(places, known, image_index, shape), known[..., None] & inside[:, None]
    flat = rank.new_full((images * keypoints * shape[0] * shape[1],), people)
    ranks = torch.where(claims, rank[:, None, None], people)
    flat.scatter_reduce_(0, (index * claims).flatten(), ranks.flatten(), "amin")
    person = torch.cat([person, person.new_full((1,), -1)])
    return person[flat].view(images, keypoints, *shape)


def owners_by_turns(
    cells: Tensor,
    centers: Tensor,
    known: Tensor,
    area: Tensor,
    image_index: Tensor,
    images: int,
    radius: int,
    shape: Sequence[int],
) -> Tensor:
    """The same as the reference has it, which takes people in turn. A person gets a cell for a keypoint unless that of
    a smaller person is there; but where that one's offset is (0, 0) nothing counts as there, and the size is kept once
    for all keypoints of a cell, so that who has got it for one keypoint gets it for all that follow. `cells` (P, K, 2)
    are the keypoints."""
    people, keypoints = known.shape
    places, inside = windows(centers, radius, shape)
    index, claims = _cells(places, known, image_index, shape), known[..., None] & inside[:, None]
    zero = (places[:, None] == cells[:, :, None]).all(-1)
    plane = (index[:, 0] // (keypoints * shape[0] * shape[1])) * shape[0] * shape[1] + index[:, 0] % math.prod(shape)
    owner = index.new_full((images * keypoints * shape[0] * shape[1],), -1)
    empty = torch.ones_like(owner, dtype=torch.bool)
    smallest = area.new_zeros(images * shape[0] * shape[1])
    for person in range(people):
        here = inside[person]
        cell, where, claim = plane[person, here], index[person][:, here], claims[person][:, here]
        late = (claim & empty[where]).long().cumsum(0) > 0
        taken = claim & (late | (smallest[cell] >= area[person]))
        owner[where[taken]] = person
        empty[where[taken]] = zero[person][:, here][taken]
        smallest[cell[taken.any(0)]] = area[person]
    return owner.view(images, keypoints, *shape)


def _cells(places: Tensor, known: Tensor, image_index: Tensor, shape: Sequence[int]) -> Tensor:
    """The place in maps (images, K, *shape), made flat, of the cells (P, S, 2) for each keypoint: (P, K, S)."""
    keypoints = torch.arange(known.shape[1], device=places.device)
    maps = image_index[:, None] * known.shape[1] + keypoints
    return (maps[..., None] * shape[0] + places[:, None, :, 1]) * shape[1] + places[:, None, :, 0]


def offsets(owner: Tensor, cells: Tensor, area: Tensor) -> tuple[Tensor, Tensor]:
    """From each cell's owner (images, K, H, W) the offsets from the owner's keypoint to it, (images, K, 2, H, W), and
    their weights (images, K, H, W), 1 / sqrt(area) of the person, 0 where nobody is."""
    if not len(cells):
        return cells.new_zeros(*owner.shape[:2], 2, *owner.shape[2:]), cells.new_zeros(owner.shape)
    taken = owner.clamp_min(0)
    keypoint = torch.arange(owner.shape[1], device=owner.device)[:, None, None]
    rows, columns = (torch.arange(side, device=cells.device, dtype=cells.dtype) for side in owner.shape[2:])
    away = columns - cells[taken, keypoint, 0], rows[:, None] - cells[taken, keypoint, 1]
    someone = owner >= 0
    return torch.stack(away, 2) * someone[:, :, None], area.rsqrt()[taken] * someone
