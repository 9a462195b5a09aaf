"""Numbers of the code as tensors on a device, which cross to it once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


def constants(values: Sequence[Any], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """`values`, numbers or rows of numbers, as a tensor on the device of `like`, of its dtype unless another is given.
    Not to be written into: on a GPU it is made once and kept, for each copy of values from the host waits until the GPU
    has done all that it was asked for before."""
    dtype = dtype or like.dtype
    if like.device.type == "cpu" or torch.compiler.is_compiling():
        return like.new_tensor(values, dtype=dtype)
    return _kept(_fixed(values), dtype, like.device)


def _fixed(values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(_fixed(value) if isinstance(value, (list, tuple)) else value for value in values)


@lru_cache(maxsize=1024)
def _kept(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)
