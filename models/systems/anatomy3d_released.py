"""The keys of Anatomy3D's released checkpoints (sunnychencool/Anatomy3D @ cdac552)."""

from __future__ import annotations

from collections.abc import Iterable

NAMES = {
    "direction.places": "expand_conv",
    "direction.places_norm": "expand_bn",
    "direction.scores": "expand_convscore",
    "direction.scores_norm": "expand_bnscore",
    "direction.first_directions": "shrink_direct_1",
    "head.directions": "shrink_direct_2",
    "head.joints.lengths": "lengthlinear",
    "head.joints.directions": "directlinear",
    "head.joints.vectors": "shrink",
    "length.entry.0": "layers_convbone.0",
    "length.entry.1": "layers_bnbone.0",
    "length.attention": "boneatt",
}
"""Our modules and theirs."""
NUMBERED = {
    "direction.first.{n}.conv": ("layers_conv", 0),
    "direction.first.{n}.norm": ("layers_bn", 0),
    "direction.first.{n}.point": ("layers_conv", 1),
    "direction.first.{n}.point_norm": ("layers_bn", 1),
    "direction.second.{n}.conv": ("layers_conv1", 0),
    "direction.second.{n}.norm": ("layers_bn1", 0),
    "direction.second.{n}.point": ("layers_conv1", 1),
    "direction.second.{n}.point_norm": ("layers_bn1", 1),
    "length.pairs.{n}.0": ("layers_convbone", 1),
    "length.pairs.{n}.1": ("layers_bnbone", 1),
    "length.pairs.{n}.4": ("layers_convbone", 2),
    "length.pairs.{n}.5": ("layers_bnbone", 2),
}
"""Those that come again: theirs is the list's name and, of number n, the place 2 n and this."""
SHIFTS = {"lengths": "lengthlinear", "directions": "directlinear", "vectors": "shrink_js"}
"""Of each of the two modules `shifts`, with their number behind."""
POINTWISE = {
    *("directlinear.weight", "directlinear_1.weight", "directlinear_2.weight", "shrink.weight"),
    *("shrink_js_1.weight", "shrink_js_2.weight", "shrink_direct_1.weight", "shrink_direct_2.weight"),
}
"""Convolutions of width 1 there, which are linear layers here."""


def released_names(keys: Iterable[str], pairs: int) -> dict[str, str]:
    """The keys of a checkpoint by ours, of a network whose window has `pairs` + 1 widths."""
    names = NAMES | {"length.last": f"layers_convbone.{2 * pairs + 1}"}
    for pattern, (begin, place) in NUMBERED.items():
        names |= {pattern.format(n=n): f"{begin}.{2 * n + place}" for n in range(pairs)}
    for ours, theirs in SHIFTS.items():
        names |= {f"shifts.{n}.{ours}": f"{theirs}_{n + 1}" for n in (0, 1)}
    split = ((key, *key.rsplit(".", 1)) for key in keys)
    return {key: f"{names[module]}.{leaf}" for key, module, leaf in split}
