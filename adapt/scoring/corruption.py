"""Source samples made harder in ways that keep their labels: a ladder on which a network's accuracy is known.

Of pictures, and of depth in mm from the crop's centre: steps towards the target (its low frequencies by a Fourier swap,
see style.py; a share of its pictures; patches of them), blur and noise. Of 2D keypoints: noise in shares of a sample's
own size. What is drawn is a function of the samples' rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ...datasets.sample import Labeled, Unlabeled
from ..style import coloured, fourier_swap

Change = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""From inputs (B, C, H, W) float, as many of the target, and a generator of draws."""
LEVELS = 255.0
PATCHES, PATCH = 2, 0.3
"""How many are put over a picture, and their side as a share of its."""


def untouched(image: Tensor, other: Tensor, draws: torch.Generator) -> Tensor:
    return image


def blurred(image: Tensor, other: Tensor, draws: torch.Generator, share: float) -> Tensor:
    """By a Gaussian whose sigma is a `share` of the picture's width."""
    sigma = share * image.shape[-1]
    radius = int(3 * sigma + 0.5)
    line = torch.arange(-radius, radius + 1, device=image.device)
    kernel = torch.exp(-0.5 * (line / sigma).square())
    kernel = (kernel / kernel.sum()).expand(image.shape[1], 1, 1, -1)
    padded = F.pad(image, (radius,) * 4, mode="replicate")
    across = F.conv2d(padded, kernel, groups=image.shape[1])
    return F.conv2d(across, kernel.transpose(2, 3), groups=image.shape[1])


def noisy(image: Tensor, other: Tensor, draws: torch.Generator, deviation: float) -> Tensor:
    return image + deviation * torch.randn(image.shape, generator=draws).to(image.device)


def shaken(places: Tensor, other: Tensor, draws: torch.Generator, share: float) -> Tensor:
    """Keypoints (B, T, K, 2) by a `share` of each sample's standard deviation."""
    spread = (places - places.mean((1, 2), keepdim=True)).square().mean((1, 2, 3), keepdim=True).sqrt()
    return places + share * spread * torch.randn(places.shape, generator=draws).to(places.device)


def mixed(image: Tensor, other: Tensor, draws: torch.Generator, share: float) -> Tensor:
    return torch.lerp(image, other, share)


def restyled(image: Tensor, other: Tensor, draws: torch.Generator, share: float) -> Tensor:
    return fourier_swap(image, other, share)


def patched(image: Tensor, other: Tensor, draws: torch.Generator) -> Tensor:
    """Squares of the target's pictures, at the same places of them."""
    for _ in range(PATCHES):
        low = torch.rand(2, len(image), 1, generator=draws).to(image.device) * (1 - PATCH)
        inside = []
        for start, size in zip(low, image.shape[-2:], strict=True):
            place = torch.arange(size, device=image.device) / size
            inside.append((place >= start) & (place < start + PATCH))
        image = torch.where((inside[0][:, :, None] & inside[1][:, None])[:, None], other, image)
    return image


COMMON: dict[str, Change] = {
    "restyled": partial(restyled, share=0.06),
    "mixed": partial(mixed, share=0.3),
    "drowned": partial(mixed, share=0.6),
    "patched": patched,
    "blurred": partial(blurred, share=0.023),
}
PICTURES: dict[str, Change] = COMMON | {"noisy": partial(noisy, deviation=30.0)}
DEPTHS: dict[str, Change] = COMMON | {"noisy": partial(noisy, deviation=20.0)}
KEYPOINTS: dict[str, Change] = {f"noisy {level}": partial(shaken, share=level) for level in (0.05, 0.1, 0.2)}


def ladder(sample: Unlabeled) -> dict[str, Change]:
    """What can be done to samples of this kind, by name: first nothing, and no more where they are neither pictures in
    colour, nor depth, nor keypoints."""
    changes = DEPTHS if "reach" in sample.inputs else PICTURES if coloured(sample) else {}
    return {"plain": untouched} | (KEYPOINTS if "keypoints2d" in sample.inputs else changes)


def changed(sample: Labeled, target: Mapping[str, Tensor], change: Change) -> Labeled:
    """A batch with its pictures, or 2D keypoints, changed; `target` has the inputs of M samples of the target."""
    name = "keypoints2d" if "keypoints2d" in sample.inputs else "image"
    own, row = sample.inputs[name], sample.row.cpu()
    draws = torch.Generator().manual_seed(int(row[0]))
    other = target[name][row % len(target[name])].to(own.device)
    if name == "keypoints2d":
        places = change(own[..., :2], other[..., :2], draws)
        return replaced(sample, name, torch.cat([places, own[..., 2:]], -1))
    image = change(own.float().flatten(0, -4), other.float().flatten(0, -4), draws).view(own.shape)
    return replaced(sample, name, image.clamp(0, LEVELS).round().to(own.dtype) if own.dtype == torch.uint8 else image)


def replaced(sample: Labeled, name: str, value: Tensor) -> Labeled:
    return replace(sample, inputs={**sample.inputs, name: value})
