"""Two labelled sets as one, half and half: a set with 3D points beside a 2D set that shows more places and people.

3DMPPE_ROOTNET_RELEASE @ 735ce21, data/multiple_datasets.py: as many samples of each as the larger one has; the smaller
one is repeated a whole number of times, and what is left is drawn at random, here by the place alone, so that the same
place is the same sample in every epoch and process.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .loading import first_item
from .sample import MASK, Item, PoseDataset
from .views import Extended, as_clips, for_space


class Mixed:
    """`first` and, under its keypoints, `second`; keypoints that the second does not label are not annotated there.

    Samples of both have the same inputs: one that only one set gives is 0 in the other (a mask 1), and so are points in
    mm. Raises ValueError where they share no keypoint, or are no sets of one kind.
    """

    def __init__(self, first: PoseDataset, second: PoseDataset) -> None:
        shared = [name for name in first.skeleton.keypoints if name in second.skeleton.keypoints]
        if not shared:
            raise ValueError(
                f"{first.name} and {second.name} share no keypoint name: {', '.join(first.skeleton.keypoints)}; "
                f"{', '.join(second.skeleton.keypoints)}"
            )
        self.first, self.second = first, Extended(second, first.skeleton)
        self.name, self.skeleton = f"{first.name}+{second.name}", first.skeleton
        self.identity: dict[str, Any] = first.identity | {"beside": second.identity}
        self.half = max(len(first), len(second))
        items = [first_item(dataset) for dataset in (first, second)]
        self.check(first, second, *items)
        empty = [{name: np.zeros_like(value) for name, value in item.inputs.items()} for item in items]
        self.empty: dict[str, np.ndarray] = empty[0] | empty[1]
        self.masked = self.empty.pop(MASK, None) is not None
        self.deep = any(item.points is not None for item in items)

    @staticmethod
    def check(first: PoseDataset, second: PoseDataset, one: Item, other: Item) -> None:
        """Raises ValueError where the sets, of which `one` and `other` are items, do not go into one batch."""
        kinds, apart = [kind(item) for item in (one, other)], ""
        extents = [dataset.skeleton.extent for dataset in (first, second)]
        if kinds[0] != kinds[1]:
            apart = " and ".join(f"{d.name} gives {k}" for d, k in zip((first, second), kinds, strict=True))
        elif 0 < min(extents) < max(extents):
            apart = " and ".join(f"{d.name} shows {d.skeleton.extent:g} mm" for d in (first, second))
        shared = (one.inputs.keys() & other.inputs.keys()) - {MASK}
        unequal = [n for n in shared if one.inputs[n].shape != other.inputs[n].shape]
        if not apart and unequal and unequal != ["keypoints2d"]:
            apart = " and ".join(
                f"{unequal[0]} of {d.name} is {i.inputs[unequal[0]].shape}"
                for d, i in zip((first, second), (one, other), strict=True)
            )
        if apart:
            raise ValueError(f"{apart}: sets of two kinds are no one source; choose another set beside the source")

    def for_space(self) -> Mixed:
        """Both as systems in space read them."""
        return Mixed(for_space(self.first), for_space(self.second.dataset))

    def clips(self, frames: int) -> Mixed:
        """Both in clips of `frames` frames."""
        return Mixed(as_clips(self.first, frames), as_clips(self.second.dataset, frames))

    def __len__(self) -> int:
        return 2 * self.half

    def __getitem__(self, index: int, /) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has items 0 to {len(self) - 1}, not {index}")
        beside, place = divmod(index, self.half)
        dataset = self.second if beside else self.first
        item = dataset[drawn(place, len(dataset), self.half)]
        unknown = np.zeros((*item.annotated.shape, 3)) if self.deep else None
        points = unknown if item.points is None else item.points
        masks = {MASK: np.ones(item.image.shape[-3:-1], np.uint8)} if self.masked else {}
        return replace(item, inputs={**self.empty, **masks, **item.inputs}, points=points)


def kind(item: Item) -> str:
    """What an item is, in words."""
    if item.depth:
        return "depth frames"
    looks = {0: "keypoints alone", 4: "clips"}.get(item.image.ndim if item.image.size else 0, "pictures")
    people = " of several people" if item.keypoints.ndim == 3 else ""
    return f"{looks}{people} in {item.space}"


def drawn(place: int, count: int, total: int) -> int:
    """Which of `count` samples stands at a place of `total`."""
    if place < total // count * count:
        return place % count
    return int(np.random.default_rng([total, place]).integers(count))
