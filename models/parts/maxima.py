"""Local maxima of maps: the candidates of systems that read several people from them."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional


def local_maxima(maps: Tensor, side: int) -> Tensor:
    """Maps (..., H, W) where no cell in the square of `side` cells about it, an odd number, is higher; elsewhere 0."""
    return torch.where(highest(maps, side) == maps, maps, 0.0)


def highest(maps: Tensor, side: int) -> Tensor:
    """The highest value in the square of `side` cells about each cell of maps (..., H, W). On CPUs twice as fast as
    torch's pooling, which says where it stands too."""
    reach = side // 2
    for dim, sides in ((-2, (0, 0, reach, reach)), (-1, (reach, reach))):
        wide = functional.pad(maps, sides, value=-torch.inf)
        maps = reduce(torch.maximum, (wide.narrow(dim, step, maps.shape[dim]) for step in range(side)))
    return maps
