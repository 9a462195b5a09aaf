"""A symmetric spatial transformer: a network sees a picture turned, moved and scaled as another network says, and its
answers come back to the picture as it was.

Jaderberg et al., "Spatial Transformer Networks", NIPS 2015; Fang et al., "RMPE: Regional Multi-Person Pose Estimation",
ICCV 2017, equations 1 to 4. theta (2, 3) maps coordinates of what is seen to those of the picture, both from -1 in the
middle of the first pixel to 1 in that of the last, x first; outside the picture there is nothing. Here it is turned
into pixels at once, for keypoints, and maps whose cells stand at other places than the corners, are to be exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...datasets.constants import constants
from ...datasets.sample import transform
from ..output import Grid, Votes
from .backbones import build_backbone


class Localisation(nn.Module):
    """Pictures (B, 3, H, W) to theta (B, 2, 3) float32: a backbone, the mean over its cells, and a linear layer, which
    answers with the identity at first."""

    def __init__(self, backbone: str, size: tuple[int, int]) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone, None, size)
        self.linear = nn.Linear(self.backbone.channels, 6)
        nn.init.zeros_(self.linear.weight)
        with torch.no_grad():
            self.linear.bias.copy_(torch.eye(2, 3).flatten())

    def forward(self, image: Tensor) -> Tensor:
        pooled = self.backbone(image).float().mean((2, 3))
        with torch.autocast(image.device.type, enabled=False):  # half a percent of a picture's side is pixels
            return self.linear(pooled).view(-1, 2, 3)


def in_pixels(theta: Tensor, size: Sequence[int]) -> Tensor:
    """theta (B, 2, 3) as affines (B, 2, 3) of pixels of what is seen to pixels of the picture, both of `size` (width,
    height)."""
    half = constants([(side - 1) / 2 for side in size], theta)
    middle = half + 0.5
    linear = theta[:, :, :2] * half[:, None] / half
    shift = theta[:, :, 2] * half + middle - (linear * middle).sum(-1)
    return torch.cat([linear, shift.unsqueeze(-1)], -1)


def inverse(affine: Tensor) -> Tensor:
    """gamma of RMPE: the inverse of affines (B, 2, 3), in plain operations, which all exporters know and which are as
    exact under autocast. One that flattens the picture is taken for one that nearly does."""
    (a, b, c), (d, e, f) = (row.unbind(-1) for row in affine.unbind(1))
    det = a * e - b * d
    det = torch.where(det.abs() < 1e-6, 1e-6, det)
    rows = [e, -b, b * f - c * e], [-d, a, c * d - a * f]
    return torch.stack([torch.stack(row, -1) for row in rows], 1) / det[:, None, None]


def sampled(maps: Tensor, cells: Tensor, padding: str = "zeros") -> Tensor:
    """Maps (B, C, rows, columns) at fractional cells (B, N, M, 2), x first: (B, C, N, M) float32, bilinear."""
    last = constants([max(side - 1, 1) for side in maps.shape[:-3:-1]], cells)
    return F.grid_sample(maps.float(), 2 * cells / last - 1, padding_mode=padding, align_corners=True)


def seen(picture: Tensor, affine: Tensor, outside: Tensor) -> Tensor:
    """What the picture (B, C, H, W) looks like through affines (B, 2, 3) of what is seen to it: the same size, and
    `outside` (B or 1, C or 1, 1, 1) where the picture ends."""
    pixels = lattice(Grid((picture.shape[-2], picture.shape[-1]), (1.0, 1.0), (0.5, 0.5)), affine)
    return sampled(picture - outside, transform(affine, pixels) - 0.5) + outside


def lattice(grid: Grid, like: Tensor) -> Tensor:
    """Where the cells of a grid stand, px: (B, rows, columns, 2), B being that of `like`."""
    x, y = (grid.axis(dim, like.detach()) for dim in (0, 1))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).expand(len(like), -1, -1, -1)


def brought_back(votes: Votes, affine: Tensor) -> Votes:
    """Votes on what is seen as votes on the picture, through affines (B, 2, 3) of the former to the latter.

    Where there is a candidate for each cell, what the cells say is sampled where the picture's cells are seen; a cell
    that is not seen has the least logit of all that are. Candidates' places, of those too, are moved. A third
    coordinate stays. Raises ValueError for votes with something besides, which is of what is seen. Not of volumes.
    """
    if votes.extra:
        raise ValueError(f"votes with {', '.join(votes.extra)} besides cannot be brought back")
    grid, logits, where = votes.grid, votes.logits, None if votes.flat else votes.where
    if where is not None and logits.shape[1] != grid.cells:
        return replace(votes, where=moved(where, affine))
    cells = grid.to_cells(transform(inverse(affine), lattice(grid, affine)))
    maps = as_maps(logits, grid)
    least = maps.detach().amin((2, 3), keepdim=True)
    logits = as_candidates(sampled(maps - least, cells) + least)
    if where is None:
        return replace(votes, logits=logits)
    places = as_candidates(sampled(as_maps(where.flatten(2), grid), cells, "border"))
    return replace(votes, logits=logits, where=moved(places.view_as(where), affine))


def moved(where: Tensor, affine: Tensor) -> Tensor:
    """Places (B, ..., 2 or 3), the first two coordinates of which are px."""
    return torch.cat([transform(affine, where[..., :2].float()), where[..., 2:].float()], -1)


def as_maps(candidates: Tensor, grid: Grid) -> Tensor:
    """(B, cells, C) as maps (B, C, rows, columns)."""
    return candidates.transpose(1, 2).unflatten(2, grid.shape)


def as_candidates(maps: Tensor) -> Tensor:
    """The inverse of `as_maps`."""
    return maps.flatten(2).transpose(1, 2)
