"""Views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .sample import Item, PoseDataset
from .skeleton import Skeleton


class WithoutLabels:
    """A dataset whose labels are gone before anything else sees them: nothing downstream can read them."""

    def __init__(self, dataset: PoseDataset) -> None:
        self.dataset, self.name, self.identity = dataset, dataset.name, dataset.identity
        self.skeleton: Skeleton = dataset.skeleton

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int, /) -> Item:
        item = self.dataset[index]
        none = np.zeros_like(item.visible)
        return replace(item, keypoints=np.zeros_like(item.keypoints), visible=none, annotated=none, points=None)


class Selected:
    """A dataset reduced to the keypoints `names`, in that order: how two datasets are paired by name."""

    def __init__(self, dataset: PoseDataset, names: tuple[str, ...]) -> None:
        self.dataset, self.name, self.identity = dataset, dataset.name, dataset.identity
        self.order = [dataset.skeleton.keypoints.index(name) for name in names]
        self.skeleton: Skeleton = dataset.skeleton.select(names)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int, /) -> Item:
        item = self.dataset[index]
        return replace(
            item,
            keypoints=item.keypoints[self.order],
            visible=item.visible[self.order],
            annotated=item.annotated[self.order],
            points=None if item.points is None else item.points[self.order],
        )


class Rows:
    """A dataset reduced to some of its samples."""

    def __init__(self, dataset: PoseDataset, rows: Sequence[int]) -> None:
        self.dataset, self.rows, self.name = dataset, list(rows), dataset.name
        self.identity = dataset.identity | {"count": len(self.rows)}
        self.skeleton: Skeleton = dataset.skeleton

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int, /) -> Item:
        return self.dataset[self.rows[index]]


def spread(dataset: PoseDataset, most: int) -> Rows:
    """At most `most` samples, spread over the dataset."""
    count = min(most, len(dataset))
    return Rows(dataset, [i * len(dataset) // count for i in range(count)])
