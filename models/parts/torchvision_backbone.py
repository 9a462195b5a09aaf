"""Torchvision's convolutional networks below their classifiers, by name, with published weights or those of a file."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterable

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models

from ...datasets.options import choose
from ...datasets.reading.files import from_home
from ...datasets.reading.weights import fitting, read_content
from .hrnet import HRNETS

CLASSIFIERS = ("avgpool", "classifier", "fc", "head")
"""Parts of torchvision's networks from which on there is no grid."""
NO_GRID = "has no regular grid of features below its classifier; choose another, as timm:vit_base_patch16_224 of a ViT"


class TorchvisionBackbone(nn.Module):
    """What is below a network's classifier: (B, 3, H, W) to (B, channels, H/stride, W/stride), its own keys.

    `dilated`: a ResNet's layer4 is dilated instead of strided, its first block not yet (torchvision's
    replace_stride_with_dilation). Raises ValueError for unknown names, networks without a regular grid, and weights as
    `read_weights` does.
    """

    stride: int

    def __init__(self, name: str, weights: str | None = None, dilated: bool = False) -> None:
        super().__init__()
        choose("model.backbone", name, ["small", *HRNETS, *list_models(module=torchvision.models), "timm:NAME"])
        form = {"replace_stride_with_dilation": [False, False, True]} if dilated else {}
        network = get_model(name, weights=None, **form)
        if weights is not None:
            network.load_state_dict(read_weights(name, weights), strict=False)  # the classifier is not used
        for part, module in network.named_children():
            if part in CLASSIFIERS:
                break
            self.add_module(part, module)
        try:
            ((self.channels, self.stride),) = measured([self])
        except (RuntimeError, NotImplementedError, AssertionError) as error:
            raise ValueError(f"model.backbone={name!r} {NO_GRID}") from error
        if not self.stride:
            raise ValueError(f"model.backbone={name!r} {NO_GRID}")

    def forward(self, image: Tensor) -> Tensor:
        for module in self.children():
            image = module(image)
        return image


@torch.no_grad()
def measured(parts: Iterable[nn.Module]) -> list[tuple[int, int]]:
    """Channels and stride behind each of the parts that a picture passes one after the other; a stride of 0 where the
    grid is none, or none whose stride is a power of two."""
    height, width = 64, 128
    rows, image = [], torch.zeros(1, 3, height, width)
    for part in parts:
        training = part.training
        image = part.eval()(image)
        part.train(training)
        stride = width // image.shape[-1]
        regular = image.dim() == 4 and image.shape[-2:] == (height // stride, width // stride)
        rows.append((image.shape[1], stride if regular and stride & (stride - 1) == 0 else 0))
    return rows


def layers_of(backbone: nn.Module) -> list[nn.Module]:
    """A network's layers one behind the other, those of its sequences among them."""
    return [m for one in backbone.children() for m in (one if isinstance(one, nn.Sequential) else [one])]


def halves(backbone: TorchvisionBackbone, name: str) -> tuple[nn.Sequential, nn.Sequential]:
    """The network up to half its stride, and the rest. Raises ValueError where it does not come apart so."""
    parts = layers_of(backbone)
    strides = [stride for _, stride in measured(parts)]
    cut = strides.index(backbone.stride)
    if not cut or 2 * strides[cut - 1] != backbone.stride:
        raise ValueError(f"model.backbone={name!r} does not show its last two levels; choose another, or timm:NAME")
    return nn.Sequential(*parts[:cut]), nn.Sequential(*parts[cut:])


def read_weights(name: str, weights: str) -> dict[str, Tensor]:
    """The weights of torchvision's network `name`: of a local file, or published ones by their name. Raises ValueError
    for foreign files, unknown names and impossible downloads, with what to do."""
    path = from_home(weights)
    if path.is_file():
        network = get_model(name, weights=None).state_dict()
        unused = tuple(f"{part}." for part in CLASSIFIERS)
        wanted = {key: value for key, value in network.items() if not key.startswith(unused)}
        try:
            return fitting(read_content(path), wanted, weights, more=unused)
        except ValueError as error:
            raise ValueError(f"model.weights={weights}: not weights of torchvision's {name}: {error}") from error
    if path.suffix or "/" in weights:
        raise ValueError(f"model.weights={weights}: no such file. Give a state_dict's path, a torchvision name or null")
    published = get_model_weights(name).__members__
    if weights not in published:
        raise ValueError(
            f"model.weights={weights!r}: torchvision's {name} has no weights of that name; choose one of "
            f"{', '.join(published)}"
        )
    entry = published[weights]
    try:
        return dict(entry.get_state_dict(progress=False, check_hash=True))
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise ValueError(
            f"model.weights={weights}: cannot download {entry.url} ({error}). Download it elsewhere and give its "
            "path as model.weights, or start from random weights with model.weights=null"
        ) from error
