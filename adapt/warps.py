"""UniFrame's own way with heatmaps, shared by MAPS and POST: maps and images are warped back by nearest sampling,
redrawn at their peaks, masked over the batch, and a square of the student's image is covered.

Kim et al., ECCV 2022; VisionLearningGroup/UDA_PoseEstimation @ baf85f1, utils.py, lib/models/loss.py, train_human.py.
A warp W(angle, shift, shear, scale) moves a point p, counted from the image's middle, to scale * A p + shift. What a
student's view was made by is given as six numbers that undo it, `parameters` (B, 6): angle in degrees, shift x and y
in px of the image, shear x and y in degrees, scale. The strategies carry points instead, which is exact; this is here
so that the published way can be had and compared.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..datasets.constants import constants
from ..models.output import Grid
from .processes import gather


def warp(maps: Tensor, angle: Tensor, shift: Tensor, shear: Tensor, scale: Tensor) -> Tensor:
    """Maps (B, C, H, W) warped by W: each cell takes the value nearest to where it came from, 0 from outside. angle and
    scale (B,), shift and shear (B, 2); degrees and cells. As torchvision's `affine`; gradients flow to the maps."""
    height, width = maps.shape[-2:]
    turn, slope = torch.deg2rad(angle), torch.deg2rad(shear)
    lean, tilt = torch.tan(slope[:, 0]), turn - slope[:, 1]
    a, c = tilt.cos() / slope[:, 1].cos(), tilt.sin() / slope[:, 1].cos()
    b, d = -a * lean - turn.sin(), -c * lean + turn.cos()  # A = [[a, b], [c, d]], its determinant is 1
    back = torch.stack([d, -b, -c, a], -1).view(-1, 2, 2) / scale.view(-1, 1, 1)
    matrix = torch.cat([back, -(back @ shift.unsqueeze(-1))], -1).to(maps)
    rows, columns = (torch.arange(n, device=maps.device, dtype=maps.dtype) - (n - 1) / 2 for n in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    cells = torch.stack([x, y, torch.ones_like(x)], -1).view(1, -1, 3).expand(len(maps), -1, -1)
    half = constants([0.5 * width, 0.5 * height], maps)
    places = cells.bmm(matrix.transpose(1, 2) / half).view(-1, height, width, 2)
    return F.grid_sample(maps, places, mode="nearest", padding_mode="zeros", align_corners=False)


def undo(maps: Tensor, parameters: Tensor, ratio: float = 1.0) -> Tensor:
    """Maps (B, C, H, W) of a view, back in the frame before its augmentation (`parameters` (B, 6)): shift / ratio, then
    turn and scale, then shear, three samplings. `ratio`: px of the image that a cell is wide. The reference warps the
    *image* with the ratio of its maps too (4), so that its shift is a quarter of the right one."""
    angle, shift, shear, scale = parameters.split([1, 2, 2, 1], 1)
    angle, scale = angle.squeeze(1), scale.squeeze(1)
    zero, none, one = torch.zeros_like(angle), torch.zeros_like(shift), torch.ones_like(scale)
    maps = warp(maps, zero, shift / ratio, none, one)
    maps = warp(maps, angle, none, none, scale)
    return warp(maps, zero, none, shear, one)


def redo(maps: Tensor, parameters: Tensor, ratio: float = 1.0) -> Tensor:
    """Maps (B, C, H, W) warped once by the negated parameters and 1 / scale, as the reference returns an image to its
    augmented frame. It is not the inverse of `undo`, whose parts follow each other in another order."""
    angle, shift, shear, scale = parameters.split([1, 2, 2, 1], 1)
    return warp(maps, -angle.squeeze(1), -shift / ratio, -shear, 1 / scale.squeeze(1))


def peaks(maps: Tensor) -> Tensor:
    """The cells (B, K, 2) int64, x first, of the maxima of maps (B, K, H, W); (0, 0) where no value is positive."""
    highest, index = maps.flatten(2).max(-1)
    index = torch.where(highest > 0, index, 0)
    return torch.stack([index % maps.shape[-1], index // maps.shape[-1]], -1)


def rectify(maps: Tensor, sigma: float) -> Tensor:
    """Maps (B, K, H, W) redrawn: Gaussians of peak 1 at their `peaks`, 0 beyond 3 sigma along either axis."""
    height, width = maps.shape[-2:]
    return Grid((height, width), (1.0, 1.0), (0.0, 0.0)).target(peaks(maps).to(maps), sigma, cut=3 * sigma)


def threshold(confidence: Tensor, masked: float) -> Tensor:
    """The int(masked * n)-th smallest of the n confidences (B, K) of all processes, (); -inf where that is none."""
    ordered = gather(confidence).flatten().sort().values
    rank = int(masked * ordered.numel())
    return ordered[rank - 1] if rank else ordered.new_full((), -torch.inf)


def above(confidence: Tensor, masked: float) -> Tensor:
    """UniFrame's mask: which of the confidences (B, K), in the reference the maxima of the teacher's maps, are higher
    than the `threshold` of the whole batch, bool. Easy images can mask hard ones entirely."""
    return confidence > threshold(confidence, masked)


def map_consistency(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of (student - teacher)^2 over all of (B, K, H, W); where the mask (B, K) is false the term is 0, and counts
    in the mean. Gradients reach the student alone."""
    error = (student - teacher.detach()).square()
    return error.mean() if mask is None else (error * mask[..., None, None]).mean()


def map_loss(maps: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Half the mean of (weight * (maps - target))^2 over all of (B, K, H, W); weight (B, K) or None."""
    error = maps - target
    return 0.5 * (error if weight is None else error * weight[..., None, None]).square().mean()


def covered(images: Tensor, centre: Tensor, corner: Tensor, where: Tensor, half: int) -> Tensor:
    """Images (B, C, H, W) with a square overwritten by another patch of the same image, in those of `where` (B,) bool.

    The square has rows y - half to y + half - 1 and columns x - half to x + half - 1 around `centre` (B, 2) int, x
    first, cut at the border; the equally large patch starts at `corner` (B, 2) int (x, y).
    """
    places = []
    for axis, count in ((1, images.shape[2]), (0, images.shape[3])):
        index = torch.arange(count, device=images.device)
        low = centre[:, axis, None] - half
        inside = (index >= low) & (index < low + 2 * half)
        places.append((index, inside, (corner[:, axis, None] + index - low.clamp_min(0)).clamp(0, count - 1)))
    (rows, in_rows, other_rows), (columns, in_columns, other_columns) = places
    inside = in_rows[:, :, None] & in_columns[:, None] & where[:, None, None]
    row = torch.where(inside, other_rows[:, :, None], rows[:, None])
    column = torch.where(inside, other_columns[:, None], columns)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return images.movedim(1, -1)[batch, row, column].movedim(-1, 1)


def patch_corner(centre: Tensor, size: tuple[int, int], half: int, share: Tensor) -> Tensor:
    """The upper left corner (B, 2) int (x, y) of a patch that is as large as the square around `centre` (B, 2) in
    images of `size` (width, height), at the share (B, 2) in [0, 1) of all places where it fits."""
    limit = constants(size, centre)
    extent = ((centre + half).minimum(limit) - (centre - half).clamp_min(0)).clamp_min(0)
    return (share * (limit - extent + 1)).long()


def chosen(sure: Tensor, image_index: Tensor, draws: Tensor) -> Tensor:
    """One of the sure keypoints (P, K) bool of the people in images (P,), for each image that has one: (P, K) bool.
    `draws` (images,) in [0, 1) say which: all are equally likely. They are an image's, and not a person's, because
    processes that hold different numbers of people have to draw alike."""
    order = image_index.argsort(stable=True)
    own = sure[order].long()
    many = own.new_zeros(len(draws)).index_add(0, image_index, sure.long().sum(1))
    before = own.flatten().cumsum(0).view_as(own) - own - (many.cumsum(0) - many)[image_index[order], None]
    taken = (draws * many).long().clamp_max(many - 1)[image_index[order], None]
    return sure & torch.zeros_like(sure).index_copy(0, order, before == taken)
