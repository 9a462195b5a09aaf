"""Backbones of timm (the extra `backbones`), by name and stride, with published weights or those of a file."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...datasets.options import choose
from ...datasets.reading.weights import WRAPPERS, read_content
from .hub import library, weights_file
from .levels import joined


class TimmBackbone(nn.Module):
    """The deepest features of a timm network, or with NAME@STRIDE the deepest of that stride: (B, 3, H, W) to
    (B, channels, H/stride, W/stride). A ViT gives its patches as a grid.

    With `levels=2` the level before is put in front, the later one enlarged to it, and `channels` are those of both.
    `size` is the input's width and height. Raises ValueError without timm, for unknown names, for a stride that the
    network does not have, and for weights as `_weights` does.
    """

    def __init__(
        self, name: str, weights: str | None = None, size: tuple[int, int] = (256, 256), levels: int = 1
    ) -> None:
        super().__init__()
        timm = library("timm", f"model.backbone=timm:{name}")
        name, _, stride = name.partition("@")
        if "." in name or not timm.is_model(name):
            choose("model.backbone=timm:NAME, NAME", name, timm.list_models())
        state = None if weights is None else _weights(timm, name, weights)
        info: Any = _network(name, size).feature_info
        places = [i for i, step in enumerate(info.reduction()) if stride in ("", str(step))][-levels:]
        if len(places) < levels or (stride and not stride.isdigit()):
            raise ValueError(f"model.backbone=timm:{name}@{stride}: its strides are {sorted(set(info.reduction()))}")
        chosen = [info.out_indices[place] for place in places]
        self.network = _network(name, size, out_indices=chosen)
        if state is not None:
            self.network = _loaded(name, size, chosen, state, f"model.weights={weights}")
        channels = [info.channels()[place] for place in places]
        self.channels = channels[0] if levels == 1 else tuple(channels)
        self.stride = int(info.reduction()[places[0]])
        if self.stride & (self.stride - 1):
            raise ValueError(f"model.backbone=timm:{name} has a stride of {self.stride}, which is no power of two")

    def forward(self, image: Tensor) -> Tensor:
        return joined(self.network(image))


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
    tags = [one.partition(".")[2] for one in timm.list_pretrained(f"{name}.*")]
    path = weights_file(weights, {tag: timm.get_pretrained_cfg(f"{name}.{tag}").hf_hub_id for tag in tags})
    try:
        content = read_content(path)
    except ValueError as error:
        raise ValueError(f"model.weights={weights}: {error}") from error
    nested = [content[key] for key in ("state_dict", "model") if isinstance(content, dict) and key in content]
    return {WRAPPERS.sub("", key): value for key, value in [*nested, content][0].items()}
