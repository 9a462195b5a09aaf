"""Deformable convolution, v1 and v2: every tap of the kernel is read where the features say.

Dai et al., ICCV 2017; Zhu et al., CVPR 2019. Bilinear samples of all taps at once, then one product of matrices: plain
operations, which exporters can write. It agrees with torchvision's operator, and on one thread of a CPU takes 0.2 to
1.0 of its time forward and 0.1 to 0.6 with the gradients (`keyshift bench deformable`). The price is memory: what taps
read stays until the gradients are taken, rows * columns * C numbers for each cell.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import DeformConv2d

Pair = tuple[int, int]


class DeformConv(DeformConv2d):
    """Torchvision's layer, its keys `weight` and `bias` and its first weights, by `deform_conv`."""

    def forward(self, image: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        place = self.stride, self.padding, self.dilation
        return deform_conv(image, offset, self.weight, self.bias, *place, mask)


def deform_conv(
    image: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    mask: Tensor | None = None,
) -> Tensor:
    """Maps (B, O, h, w) of images (B, C, H, W) and weights (O, C / groups, rows, columns): float32, of float64 images
    float64. Under autocast taps are read in float32, and the product, and so the maps, are of autocast's kind, as those
    of any convolution.

    `offset` (B, G * taps * 2, h, w) px, (dy, dx) of each tap, taps row by row; each of its G groups moves C / G
    channels. `mask` (B, G * taps, h, w) multiplies what a tap reads, as it is, without a sigmoid. Outside the image all
    is 0.
    """
    kind = torch.float64 if image.dtype == torch.float64 else torch.float32
    batch, channels, height, width = image.shape
    outputs, inputs, rows, columns = weight.shape
    size, taps, groups = offset.shape[-2:], rows * columns, channels // inputs
    moving = offset.shape[1] // (2 * taps)
    moved = offset.to(kind).reshape(batch * moving, taps, 2, *size)  # of each image and group of offsets
    y = _places(rows, size[0], stride[0], padding[0], dilation[0], moved).repeat_interleave(columns, 0)
    x = _places(columns, size[1], stride[1], padding[1], dilation[1], moved).repeat(rows, 1)
    y, x = moved[:, :, 0] + y[:, :, None], moved[:, :, 1] + x[:, None, :]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1).flatten(1, 2)
    pictures = image.to(kind).reshape(batch * moving, channels // moving, height, width)
    values = F.grid_sample(pictures, grid, "bilinear", "zeros", align_corners=False).unflatten(2, (taps, size[0]))
    if mask is not None:
        values = values * mask.to(kind).reshape(batch * moving, 1, taps, *size)
    values = values.reshape(batch, groups, inputs * taps, size[0] * size[1])
    kernels = weight.to(kind).reshape(groups, outputs // groups, inputs * taps)
    maps = (kernels @ values).reshape(batch, outputs, *size)
    return maps if bias is None else maps + bias.to(maps.dtype).view(-1, 1, 1)


def _places(taps: int, count: int, stride: int, padding: int, dilation: int, like: Tensor) -> Tensor:
    """Along one axis the pixels (taps, count) that a plain convolution reads."""
    places = torch.arange(count, device=like.device, dtype=like.dtype) * stride - padding
    return torch.arange(taps, device=like.device, dtype=like.dtype)[:, None] * dilation + places
