"""`keyshift bench deformable`: our deformable convolution against torchvision's operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torchvision.ops import deform_conv2d

from ...models.parts.deformable import deform_conv
from .bench_memory import Step, compared

CASES = {
    "DEKR, 15 channels, 128 x 128": (1, 15, (128, 128), 1, False, 1),
    "DCPose, 17 channels in 17 groups, 96 x 72": (1, 17, (96, 72), 17, True, 3),
    "FastPose, 128 channels, 32 x 24, batch 4": (4, 128, (32, 24), 1, True, 1),
    "FastPose, 512 channels, 8 x 6, batch 4": (4, 512, (8, 6), 1, True, 1),
}
"""Batch, channels, rows and columns, groups of offsets, whether there are masks, dilation."""


def rows(device: str, alternate: Callable[..., dict[str, float]]) -> list[tuple[str, str, str]]:
    """Forward, then with all gradients, of each of CASES; on the CPU by one thread, as of volumes."""
    table, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    for name, (batch, channels, size, groups, masked, dilation) in CASES.items():
        torch.manual_seed(0)
        shapes = [(batch, channels, *size), (batch, 18 * groups, *size), (channels, channels, 3, 3)]
        shapes += [(batch, 9 * groups, *size)] * masked
        leaves = [torch.randn(shape, device=device, requires_grad=True) for shape in shapes]

        def forward(form: Callable[..., Any], leaves: Any = leaves, around: Any = (dilation, dilation)) -> Any:
            image, offset, weight, *mask = leaves
            return form(image, offset, weight, None, (1, 1), around, around, mask[0] if mask else None)

        def both(form: Callable[..., Any], leaves: Any = leaves, forward: Any = forward) -> Step:
            return lambda: torch.autograd.grad(forward(form).sum(), leaves)

        def without(form: Callable[..., Any], forward: Any = forward) -> Step:
            return torch.no_grad()(lambda: forward(form))

        ways = ("ours", "torchvision's")
        table += compared(without(deform_conv), without(deform_conv2d), device, alternate).rows(
            f"{name}, forward", ways
        )
        table += compared(both(deform_conv), both(deform_conv2d), device, alternate).rows(f"{name}, gradients", ways)
    torch.set_num_threads(threads)
    return table
