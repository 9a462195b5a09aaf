"""Boxes cut from feature maps so that gradient reaches both, the maps and the boxes."""

from __future__ import annotations

import torch
from torch import Tensor

REACH = 1.25
"""A crop's sides, as multiples of the box's."""


def cut_boxes(maps: Tensor, boxes: Tensor, cells: int) -> Tensor:
    """Maps (B, C, H, W) at `cells` x `cells` points of boxes (B, N, 4), middle x, y, width and height in shares of the
    picture: (B, N, C, cells, cells).

    Points are -REACH .. REACH of half the box's sides from its middle, the first and last on the crop's border, and a
    map is bilinear between the middles of its cells and constant beyond the outer ones: what torch's grid_sample gives
    for the places width * u + 2 * x - 1, u = linspace(-1.25, 1.25, cells), with border padding. As the places are those
    of rows and columns, it is two products with the bilinear weights here: all people of a picture at once, without a
    copy of its maps for each, and with a gradient that on CUDA has one order, so that a resumed run equals the whole
    one (grid_sample's adds in any).
    """
    x, y, width, height = boxes.unbind(-1)
    lines = (y, height, maps.shape[-2]), (x, width, maps.shape[-1])
    rows, columns = (bilinear(*line, cells).to(maps.dtype) for line in lines)
    return torch.einsum("bnicw,bnjw->bncij", torch.einsum("bnih,bchw->bnicw", rows, maps), columns)


def bilinear(middle: Tensor, length: Tensor, count: int, cells: int) -> Tensor:
    """The shares (..., cells, count) of a line of `count` cells in points of intervals (...) of it, whose middle and
    length are in shares of the line."""
    steps = torch.linspace(-REACH / 2, REACH / 2, cells, device=middle.device, dtype=middle.dtype)
    place = (middle[..., None] + length[..., None] * steps) * count - 0.5
    index = torch.arange(count, device=middle.device, dtype=middle.dtype)
    return (1 - (place.clamp(0, count - 1)[..., None] - index).abs()).clamp_min(0)


def from_boxes(shares: Tensor, boxes: Tensor) -> Tensor:
    """Points (..., 2) in shares of the crops, 0 to 1, of boxes (..., 4): in shares of the picture."""
    return boxes[..., :2] + (shares - 0.5) * REACH * boxes[..., 2:]


def in_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """The inverse of `from_boxes`."""
    return (points - boxes[..., :2]) / (REACH * boxes[..., 2:]) + 0.5
