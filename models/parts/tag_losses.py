"""What maps of several people learn: Gaussians at everybody's keypoints, the loss from them where labels count, and
associative embedding, by which a person's keypoints get one tag and people different ones.

Newell et al., NIPS 2017; Cheng et al., CVPR 2020: HRNet/HigherHRNet-Human-Pose-Estimation @ aa23881,
lib/dataset/target_generators and lib/core/loss.py, with which all of it agrees numerically.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ...datasets.constants import constants

PUSHES = ("exp", "max")


def cells_of(points: Tensor, size: Sequence[int], stride: float) -> tuple[Tensor, Tensor]:
    """The cells (P, K, 2) int64, x first, of points px on maps of `size` (rows, columns), and which lie on them (P, K).

    Towards 0, as the reference's int(): what is less than a cell left of or above the picture is taken to its border.
    """
    cells = (points / stride).trunc()
    inside = ((cells >= 0) & (cells < constants(tuple(size)[::-1], cells))).all(-1)
    return torch.where(inside[..., None], cells, 0.0).long(), inside


@torch.no_grad()
def drawn_maps(
    cells: Tensor, counted: Tensor, image_index: Tensor, images: int, size: Sequence[int], sigma: float
) -> Tensor:
    """Gaussians of peak 1 in squares of 2 (3 sigma + 1) + 1 cells about `cells` (P, K, 2) of the keypoints that are
    `counted` (P, K), the highest of an image's people: (images, K, rows, columns). Only the squares are made."""
    (rows, columns), keypoints = size, cells.shape[1]
    reach = int(3 * sigma) + 1
    away = torch.arange(-reach, reach + 1, dtype=torch.float64).square()  # not on the device: Apple's have no float64
    patch = constants(torch.exp(-(away[:, None] + away) / (2 * sigma**2)).tolist(), cells, torch.float32)
    line = torch.arange(-reach, reach + 1, device=cells.device)
    x, y = (cells[..., None, None, dim] + step for dim, step in enumerate((line, line[:, None])))
    inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows) & counted[..., None, None]
    map_index = image_index[:, None] * keypoints + torch.arange(keypoints, device=cells.device)
    place = (map_index[..., None, None] * rows + y) * columns + x
    flat = patch.new_zeros(images * keypoints * rows * columns)
    flat.scatter_reduce_(0, torch.where(inside, place, 0).flatten(), (patch * inside).flatten(), "amax")
    return flat.view(images, keypoints, rows, columns)


def masked_error(maps: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """(B,) means over all cells of the squared error of maps (B, K, H, W), 0 where the mask (B, H, W) is."""
    error = (maps.float() - target).square()
    return (error if mask is None else error * mask[:, None]).mean((1, 2, 3))


def mask_of(given: Tensor | None, size: Sequence[int]) -> Tensor | None:
    """A mask (B, H, W) of the input on maps of `size` (rows, columns): 1 of cells of which more than half counts."""
    if given is None:
        return None
    rows, columns = size
    shares = functional.adaptive_avg_pool2d(given.float()[:, None], (rows, columns))
    return (shares[:, 0] > 0.5).float()


def tag_losses(
    tags: Tensor, cells: Tensor, counted: Tensor, image_index: Tensor, kind: str = "exp"
) -> tuple[Tensor, Tensor]:
    """Push and pull (B,) of tags (B, K, h, w) at the cells (P, K, 2) of people's keypoints that are `counted` (P, K).

    t_n is the mean of person n's tags. Pull: the mean over an image's people of the mean of (tag - t_n)^2. Push: half
    the mean over pairs of different people of exp(-(t_n - t_m)^2), or with `kind` max of max(0, 1 - |t_n - t_m|). A
    person of whom nothing counts is nobody.
    """
    images, keypoint = tags.shape[0], torch.arange(tags.shape[1], device=tags.device)
    own = tags.float()[image_index[:, None], keypoint, cells[..., 1], cells[..., 0]]
    weight = counted.float()
    known = weight.sum(1)
    number = known.clamp_min(1)
    mean = (own * weight).sum(1) / number
    spread = ((own - mean[:, None]).square() * weight).sum(1) / number
    someone = (known > 0).float()
    member = (image_index == torch.arange(images, device=tags.device)[:, None]).float() * someone  # one order of sums
    people = member.sum(1)
    apart = mean[:, None] - mean
    near = torch.exp(-apart.square()) if kind == "exp" else (1 - apart.abs()).clamp_min(0)
    pairs = (image_index[:, None] == image_index) * someone[:, None] * someone
    shared = member @ (near * pairs).sum(1)
    push = 0.5 * (shared - people) / (people * (people - 1)).clamp_min(1)
    return push, member @ spread / people.clamp_min(1)
