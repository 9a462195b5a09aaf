"""Backbones of timm (the extra `backbones`), by name and stride, with published weights or those of a file."""

from __future__ import annotations

import difflib
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...datasets.reading.weights import WRAPPERS, read_content
from .hub import library, weights_file
from .levels import joined


class TimmBackbone(nn.Module):
    """The deepest features of a timm network, or with NAME@STRIDE the deepest of that stride: (B, 3, H, W) to
    (B, channels, H/stride, W/stride). A ViT gives its patches as a grid.

    With `levels=2` the level before is put in front, the later one enlarged to it, and `channels` are those of both.
    `maps` gives the levels as they are, of `strides`. `size` is the input's width and height. A network whose stride is
    no power of two, as DINOv2's of 14, sees the picture smaller, so that its stride is the next one: 14 / 16 of it, 16.
    Raises ValueError without timm, for unknown names, for a stride that the network does not have, and for weights as
    `_weights` does.
    """

    def __init__(
        self, name: str, weights: str | None = None, size: tuple[int, int] = (256, 256), levels: int = 1
    ) -> None:
        super().__init__()
        timm = library("timm", f"model.backbone=timm:{name}")
        name, _, stride = name.partition("@")
        _check(timm, name)
        state = None if weights is None else _weights(timm, name, weights)
        info: Any = _network(name, size).feature_info
        places = [i for i, step in enumerate(info.reduction()) if stride in ("", str(step))][-levels:]
        if len(places) < levels or (stride and not stride.isdigit()):
            raise ValueError(f"model.backbone=timm:{name}@{stride}: its strides are {sorted(set(info.reduction()))}")
        chosen = [info.out_indices[place] for place in places]
        self.own_stride = int(info.reduction()[places[0]])
        self.stride = 1 << (self.own_stride - 1).bit_length()
        self.strides = tuple(info.reduction()[place] * self.stride // self.own_stride for place in places)
        width, height = (self.seen(side) for side in size)
        if state is None:
            self.network = _network(name, (width, height), out_indices=chosen)
        else:
            self.network = _loaded(name, (width, height), chosen, state, f"model.weights={weights}")
        channels = [info.channels()[place] for place in places]
        self.channels = channels[0] if levels == 1 else tuple(channels)

    def seen(self, side: int) -> int:
        """How many pixels of a picture's side the network sees."""
        return side * self.own_stride // self.stride

    def maps(self, image: Tensor) -> list[Tensor]:
        """The levels (B, C, H/stride, W/stride), each at its own resolution."""
        if self.own_stride != self.stride:
            size = [self.seen(side) for side in image.shape[-2:]]
            image = functional.interpolate(image, size, mode="bilinear")
        return list(self.network(image))

    def forward(self, image: Tensor) -> Tensor:
        return joined(self.maps(image))


def _check(timm: Any, name: str) -> None:
    """Raises ValueError for what is no name of a network, a name with a tag among it."""
    plain, _, tag = name.partition(".")
    if timm.is_model(plain) and not tag:
        return
    if timm.is_model(plain):
        raise ValueError(
            f"model.backbone=timm:{name} names weights too; choose model.backbone=timm:{plain} model.weights={tag}"
        )
    near = difflib.get_close_matches(plain, timm.list_models(), 3)
    hint = f"Did you mean {', '.join(near)}?" if near else "timm.list_models() lists those it has"
    raise ValueError(f"model.backbone=timm:{name} is not known to timm {timm.__version__}. {hint}")


def _network(name: str, size: tuple[int, int], **form: Any) -> nn.Module:
    """timm's network; those that are made for one size are made for `size`."""
    import timm

    form |= {"features_only": True}
    try:
        return timm.create_model(name, img_size=size[::-1], **form)
    except TypeError:  # a network of convolutions takes any
        try:
            return timm.create_model(name, **form)
        except Exception as error:
            raise ValueError(f"model.backbone=timm:{name} gives no features in levels: {error}") from error


def _loaded(name: str, size: tuple[int, int], chosen: list[int], state: Any, said: str) -> nn.Module:
    """The network with the weights of `state`, under timm's keys or those that it converts. Raises ValueError where
    some of the network's weights are not in it."""
    networks = []
    for source in ({}, {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": state}}):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                networks.append(_network(name, size, out_indices=chosen, **source))
            except (RuntimeError, KeyError) as error:
                raise ValueError(f"{said}: not weights of timm's {name}: {str(error)[:300]}") from error
    random, loaded = (dict(network.named_parameters()) for network in networks)
    same = [key for key, value in loaded.items() if value.dim() > 1 and torch.equal(value, random[key])]
    if same:
        raise ValueError(f"{said}: not weights of timm's {name}: {len(same)} are missing, as {', '.join(same[:3])}")
    return networks[1]


def _weights(timm: Any, name: str, weights: str) -> Any:
    """The state of a local file, or of published weights by their tag. Raises ValueError for files that are none,
    unknown tags and impossible downloads."""
    published = {one.partition(".")[2]: timm.get_pretrained_cfg(one) for one in timm.list_pretrained(f"{name}.*")}
    path = weights_file(weights, {tag: config.hf_hub_id for tag, config in published.items()})
    if weights in published:
        _warn_of_range(f"model.weights={weights} of {name}", published[weights])
    try:
        content = read_content(path)
    except ValueError as error:
        raise ValueError(f"model.weights={weights}: {error}") from error
    nested = [content[key] for key in ("state_dict", "model") if isinstance(content, dict) and key in content]
    return {WRAPPERS.sub("", key): value for key, value in [*nested, content][0].items()}


def _warn_of_range(subject: str, config: Any) -> None:
    """A warning where weights learned from pictures that were normalised otherwise than ours."""
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    if (config.mean, config.std) != (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD):
        warnings.warn(
            f"{subject} learned from pictures normalised by mean {config.mean} and std {config.std}; here they see "
            f"{IMAGENET_DEFAULT_MEAN} and {IMAGENET_DEFAULT_STD}: their features fit once they are trained further",
            stacklevel=2,
        )
