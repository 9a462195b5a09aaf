"""Released checkpoints of the literature's networks: their tensors under our names, and into a network of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor

from ..datasets.reading.weights import unwrapped
from .pose_model import PoseModel

System = TypeVar("System", bound=PoseModel)


def read_released(
    state: Mapping[str, Tensor], kind: type[PoseModel], wanted: tuple[str, ...], keys: Mapping[str, str]
) -> dict[str, Tensor]:
    """A released checkpoint's tensors under our names: `keys` maps the beginnings of its keys to ours; a classifier
    that is not used is left out. Raises ValueError where one of the keys `wanted` is not among them."""
    plain = unwrapped(state, wanted[0])
    if any(key not in plain for key in wanted):
        raise ValueError(
            f"not a {kind.__name__} checkpoint: found {len(plain)} entries such as {sorted(plain)[:3]}; expected "
            f"{', '.join(wanted)}"
        )
    renamed = {}
    for key, value in plain.items():
        if not key.startswith("backbone.fc."):
            begin = next((begin for begin in keys if key.startswith(begin)), "")
            renamed[keys.get(begin, "") + key.removeprefix(begin)] = value
    return renamed


def loaded(model: System, state: Mapping[str, Tensor]) -> System:
    """The network with a released checkpoint's weights, in evaluation mode. Raises ValueError where they do not fit."""
    options: Any = model.options
    try:
        model.load_state_dict(dict(state))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"not a {type(model).__name__} checkpoint of {options.backbone}: {reason}") from error
    return model.eval()
