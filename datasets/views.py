"""Datasets seen in another way: without labels, with fewer keypoints or samples. One base holds what all keep."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Self

import numpy as np

from .sample import MASK, PEOPLE, SEQUENCES, Item, PoseDataset
from .skeleton import Skeleton


class View:
    """A dataset around another one. A subclass says what it changes; all else is the inner one's.

    `changes` goes into `identity`, over what the inner dataset's says.
    """

    def __init__(
        self, dataset: PoseDataset, name: str | None = None, skeleton: Skeleton | None = None, **changes: Any
    ) -> None:
        self.dataset = dataset
        self.name = name or dataset.name
        self.skeleton: Skeleton = skeleton or dataset.skeleton
        self.identity: dict[str, Any] = dataset.identity | changes

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int, /) -> Item:
        return self.dataset[index]

    def for_space(self) -> Self:
        """The same view of what is beneath it `for_space`."""
        made = copy(self)
        made.dataset = for_space(self.dataset)
        return made

    def clips(self, frames: int) -> Self:
        """The same view of what is beneath it in clips of `frames` frames (clips.py)."""
        made = copy(self)
        made.dataset = as_clips(self.dataset, frames)
        made.identity = self.identity | {"frames": frames}
        return made

    def cameras(self) -> np.ndarray | None:
        """What `cameras_of` gives, of this view."""
        return cameras_of(self.dataset)

    def crowding(self) -> np.ndarray | None:
        """What `crowding_of` gives, of this view."""
        return crowding_of(self.dataset)


def for_space(dataset: PoseDataset) -> PoseDataset:
    """A dataset as systems in space read it, where it makes a difference: see PictureSet.for_space."""
    change = getattr(dataset, "for_space", None)
    return dataset if change is None else change()


def as_clips(dataset: PoseDataset, frames: int) -> PoseDataset:
    """A dataset of clips of `frames` frames that follow each other, an odd number, of which the middle one is the
    sample that it was, with that one's labels: pictures as `image` (T, H, W, 3) with `margins`, keypoints alone as
    `keypoints2d` (T, K, 3). Where a video ends or cuts, its last frame stands again, with a margin of 1.

    A dataset that knows its samples' neighbours has a method `clips(frames)`; one whose samples are such clips stays as
    it is. Raises ValueError for others.
    """
    if frames % 2 == 0:
        raise ValueError(f"clips have an odd number of frames, the middle one is the sample; got {frames}")
    clips = getattr(dataset, "clips", None)
    if clips is None and frames_in(dataset[0]) == frames:
        return dataset
    if clips is None:
        raise ValueError(
            f"{dataset.name} does not know which of its pictures follow each other, so that it gives no clips of "
            f"{frames} frames. Choose a set of videos, or a system and a strategy that read single pictures"
        )
    made: PoseDataset = clips(frames)
    return made


def frames_in(item: Item) -> int:
    """How many frames an item's clip has, of pictures or of 2D keypoints; 0 of a single picture."""
    if item.image.ndim == 4:
        return len(item.image)
    return len(item.inputs["keypoints2d"]) if "keypoints2d" in item.inputs else 0


def cameras_of(dataset: PoseDataset) -> np.ndarray | None:
    """The cameras (N, 4) of a dataset's samples, zeros where they are not known, without a look at its pictures; None
    where no table says them."""
    table = getattr(dataset, "cameras", None)
    return None if table is None else table()


def crowding_of(dataset: PoseDataset) -> np.ndarray | None:
    """How crowded the picture of each sample is (N,), CrowdPose's crowdIndex, 0 to 1; None where no table says it."""
    table = getattr(dataset, "crowding", None)
    return None if table is None else table()


def innermost(dataset: PoseDataset) -> PoseDataset:
    """The dataset beneath all views."""
    while isinstance(dataset, View):
        dataset = dataset.dataset
    return dataset


class WithoutLabels(View):
    """A dataset whose labels are gone before anything else sees them: nothing downstream can read them."""

    def __getitem__(self, index: int, /) -> Item:
        item = self.dataset[index]
        if item.keypoints.ndim == 3:  # how many people there are is a label too
            keypoints, none = item.keypoints[:0], item.visible[:0]
        else:
            keypoints, none = np.zeros_like(item.keypoints), np.zeros_like(item.visible)
        gone: dict[str, Any] = {"deep": None if item.deep is None else none, **dict.fromkeys(("points", *PEOPLE))}
        inputs = {name: value for name, value in item.inputs.items() if name != "random3d"}
        if MASK in inputs:
            inputs[MASK] = np.ones_like(inputs[MASK])
        return replace(item, inputs=inputs, keypoints=keypoints, visible=none, annotated=none, **gone)


class Selected(View):
    """A dataset reduced to the keypoints `names`, in that order: how two datasets are paired by name. `skeleton` gives
    them other names."""

    def __init__(self, dataset: PoseDataset, names: tuple[str, ...], skeleton: Skeleton | None = None) -> None:
        super().__init__(dataset, skeleton=skeleton or dataset.skeleton.select(names))
        self.order = [dataset.skeleton.keypoints.index(name) for name in names]

    def __getitem__(self, index: int, /) -> Item:
        item = self.dataset[index]
        inputs = {name: item.inputs[name][..., self.order, :] for name in item.inputs.keys() & SEQUENCES}
        return replace(
            item,
            inputs={**item.inputs, **inputs},
            keypoints=item.keypoints[..., self.order, :],
            visible=item.visible[..., self.order],
            annotated=item.annotated[..., self.order],
            points=None if item.points is None else item.points[..., self.order, :],
            deep=None if item.deep is None else item.deep[..., self.order],
        )


class InSpace(View):
    """A dataset of pictures whose keypoints get a z, mm along the optical axis from the camera, or where it is `rooted`
    from the skeleton's root: for systems that see people in space. Where the dataset knows no 3D point, one in front of
    the camera, or of the person no root, z is 0 and not `deep`. A sample says the skeleton's extent besides. The
    dataset itself is read `for_space`: crops are RootNet's, and where a picture has several people a sample may say
    where the others are.

    Raises ValueError where the skeleton has no extent, or no root that z could be counted from.
    """

    def __init__(self, dataset: PoseDataset, rooted: bool) -> None:
        super().__init__(for_space(dataset))
        skeleton = dataset.skeleton
        lacking = ["no extent in mm"] if skeleton.extent <= 0 else []
        lacking += ["no root"] if rooted and skeleton.root is None else []
        if lacking:
            raise ValueError(
                f"{dataset.name}: its skeleton {skeleton.name!r} ({', '.join(skeleton.keypoints)}) says "
                f"{' and '.join(lacking)}, which people in space need: a pelvis or wrist among the keypoints, or root= "
                "and extent= in a skeleton's YAML"
            )
        self.rooted, self.root, self.extent = rooted, skeleton.root or 0, np.array(skeleton.extent)

    def __getitem__(self, index: int, /) -> Item:
        item = self.dataset[index]
        if item.keypoints.shape[-1] != 2 or item.depth:
            raise ValueError(f"{self.name}: people in space are read from pictures with 2D keypoints and points in mm")
        deep, z = np.zeros_like(item.annotated), np.zeros(item.annotated.shape)
        if item.points is not None:
            z = item.points[..., 2].astype(np.float64)
            deep = item.annotated & (z > 0)
            if self.rooted:
                root = slice(self.root, self.root + 1)
                deep, z = deep & deep[..., root], z - z[..., root]
        keypoints = np.concatenate([item.keypoints, np.where(deep, z, 0.0)[..., None]], -1)
        inputs = {**item.inputs, "extent": self.extent}
        return replace(item, keypoints=keypoints, deep=deep, rooted=self.rooted, inputs=inputs)


class Flat(View):
    """People in space whose labels tell x and y alone: these count wherever they are annotated, and z means nothing."""

    def __getitem__(self, index: int, /) -> Item:
        return replace(self.dataset[index], deep=None)


class Extended(View):
    """A dataset of pictures seen with the keypoints of `skeleton`: those that it does not label are never annotated.
    Points that it does not know are zeros."""

    def __init__(self, dataset: PoseDataset, skeleton: Skeleton) -> None:
        super().__init__(dataset, skeleton=skeleton)
        names = dataset.skeleton.keypoints
        self.order = [names.index(name) for name in skeleton.keypoints if name in names]
        self.there = np.array([name in names for name in skeleton.keypoints])

    def __getitem__(self, index: int, /) -> Item:
        item = self.dataset[index]
        inputs = {name: self.spread_out(item.inputs[name], -2) for name in item.inputs.keys() & SEQUENCES}
        return replace(
            item,
            inputs={**item.inputs, **inputs},
            keypoints=self.spread_out(item.keypoints, -2),
            visible=self.spread_out(item.visible, -1),
            annotated=self.spread_out(item.annotated, -1),
            points=None if item.points is None else self.spread_out(item.points, -2),
            deep=None if item.deep is None else self.spread_out(item.deep, -1),
        )

    def spread_out(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Values of the dataset's keypoints along `axis` as the skeleton orders them, zeros between them."""
        moved = np.moveaxis(values, axis, 0)
        made = np.zeros((len(self.there), *moved.shape[1:]), values.dtype)
        made[self.there] = moved[self.order]
        return np.moveaxis(made, 0, axis)


class Rows(View):
    """A dataset reduced to some of its samples."""

    def __init__(self, dataset: PoseDataset, rows: Sequence[int]) -> None:
        super().__init__(dataset, count=len(rows))
        self.rows = list(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int, /) -> Item:
        return self.dataset[self.rows[index]]

    def cameras(self) -> np.ndarray | None:
        own = cameras_of(self.dataset)
        return None if own is None else own[self.rows]

    def crowding(self) -> np.ndarray | None:
        own = crowding_of(self.dataset)
        return None if own is None else own[self.rows]


def spread(dataset: PoseDataset, most: int) -> Rows:
    """At most `most` samples, spread over the dataset."""
    count = min(most, len(dataset))
    return Rows(dataset, [i * len(dataset) // count for i in range(count)])
