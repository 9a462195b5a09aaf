"""Maps of volumes that are made where they are read: all of a batch's are as large as its logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LazyMaps:
    """Maps (images, K, *shape), made anew each time that a slice of the images is read. They carry no gradient."""

    images: int
    make: Callable[[int, int], Tensor]
    """From the first image to the one before the second: (second - first, K, *shape)."""

    def __getitem__(self, some: slice) -> Tensor:
        first, stop, _ = some.indices(self.images)
        return self.make(first, stop)


Maps = Tensor | LazyMaps


def whole(maps: Maps) -> Tensor:
    """All of them in memory."""
    return maps if isinstance(maps, Tensor) else maps[:]


def each_image(maps: Maps, change: Callable[[Tensor], Tensor]) -> Maps:
    """The maps changed by what treats each image by itself, lazily where they are lazy."""
    if isinstance(maps, Tensor):
        return change(maps)
    return LazyMaps(maps.images, lambda first, stop: change(maps[first:stop]))
