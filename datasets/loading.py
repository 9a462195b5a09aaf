"""From datasets to batches. A training batch is a pure function of (seed, domain, step): whatever the number of
workers or processes, whatever was drawn before."""

from __future__ import annotations

import signal
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .augment import Augmentation, crop_matrix, random_matrix, recolor, shift, warp
from .depth.center import UnusableDepth, check_center, check_depth
from .depth.crop import cut, disturb
from .reading.images import UnreadableImage
from .sample import Item, Labeled, PoseDataset, Unlabeled
from .skeleton import Skeleton

MAX_UNREADABLE = 0.01
"""Share of a dataset's files; more of them stop a run."""
MAX_UNUSABLE = 0.5
"""Share of depth frames: one without a hand in it is nothing unusual."""


UNUSABLE = "unusable"
"""The sequence of pictures and depth frames of which nothing is known."""


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


@dataclass
class Crop:
    """One warped item: image, label arrays in input pixels, the way back to the file."""

    item: Item
    image: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray
    annotated: np.ndarray
    to_file: np.ndarray
    side: float
    reach: float | None = None


def crop(
    item: Item,
    size: tuple[int, int],
    options: Augmentation | None,
    rng: np.random.Generator | None,
    flip: Sequence[int],
    how: str = "exact",
) -> Crop:
    """Cut `item` to `size` (width, height), augmented when options are given; a depth frame in the way `how` (see
    depth_crop.py). No joint is dropped; one that a mirrored view names otherwise changes place by `flip`."""
    extra = random_matrix(size, options, rng) if options is not None and rng is not None else np.eye(3)
    reach = None
    if item.cube is not None:
        reach = float(item.cube[2] / 2)
        image, back = cut(item, size, how, extra)
        if options is not None and rng is not None:
            image = disturb(image, reach, options, rng)
    else:
        mirror = shift(size[0], 0) @ np.diag([-1.0, 1.0, 1.0]) if item.mirrored else np.eye(3)
        matrix = extra @ mirror @ crop_matrix(item.box, size)
        stored = matrix if item.to_file is None else matrix @ np.vstack([item.to_file, [0, 0, 1]])
        image, back = warp(item.image, stored, size), np.linalg.inv(matrix)[:2]
        if options is not None and rng is not None:
            image = recolor(image, options, rng)
    order = list(flip) if np.linalg.det(back[:, :-1]) < 0 else list(range(len(flip)))
    there = np.linalg.inv(np.vstack([back, np.eye(len(back) + 1)[-1]]))
    keypoints = item.keypoints[order] @ there[:-1, :-1].T + there[:-1, -1]
    side = max(item.box[2] - item.box[0], item.box[3] - item.box[1])
    return Crop(item, image, keypoints, item.visible[order], item.annotated[order], back, float(side), reach)


def collate(crops: Sequence[Crop], labels: bool) -> Unlabeled | Labeled:
    """One batch of B crops, P = B people."""

    def stack(values: Iterable[Any], kind: Any = np.float32) -> Tensor:
        return torch.from_numpy(np.stack([np.asarray(v, kind) for v in values]))

    depth = crops[0].reach is not None
    if depth:
        images = stack(c.image for c in crops).unsqueeze(1)
    else:
        images = stack((c.image for c in crops), np.uint8).permute(0, 3, 1, 2).contiguous()
    shared: dict[str, Any] = {
        "image": images,
        "id": tuple(c.item.id for c in crops),
        "sequence": tuple(c.item.sequence for c in crops),
        "frame": stack((c.item.frame for c in crops), np.int64),
        "camera": stack(c.item.camera for c in crops),
        "to_file": stack(c.to_file for c in crops),
        "side": stack(c.side for c in crops),
        "reach": stack(c.reach for c in crops) if depth else None,
    }
    if not labels:
        return Unlabeled(**shared)
    return Labeled(
        **shared,
        keypoints=stack(c.keypoints for c in crops),
        visible=stack((c.visible for c in crops), np.bool_),
        annotated=stack((c.annotated for c in crops), np.bool_),
        image_index=torch.arange(len(crops)),
    )


class TrainingBatches(Dataset[Unlabeled]):
    """Item `step` is this process's slice of the global batch of that step, in augmented views.

    Epochs are permutations drawn from (seed, domain, epoch); crops and colours are drawn from (seed, domain, step,
    slot, view). An unreadable image is replaced by the next of the dataset and warned about with its path; more
    than 1 % of them stop the run with ValueError.
    """

    def __init__(
        self,
        dataset: PoseDataset,
        domain: str,
        seed: int,
        batch: int,
        size: tuple[int, int],
        augmentation: Augmentation,
        labels: bool,
        views: int = 1,
        rank: int = 0,
        processes: int = 1,
        how: str = "exact",
    ) -> None:
        if batch % processes:
            raise ValueError(f"batch={batch} does not divide among {processes} processes; choose a multiple")
        if len(dataset) < processes:
            raise ValueError(
                f"{dataset.name} has {len(dataset)} samples for {processes} processes; start fewer processes"
            )
        self.dataset = dataset if labels else WithoutLabels(dataset)
        self.key = np.array([seed, zlib.crc32(domain.encode())], np.uint64)
        self.batch, self.size, self.augmentation = batch, size, augmentation
        self.labels, self.views, self.how = labels, views, how
        share = batch // processes
        self.slots = range(rank * share, (rank + 1) * share)
        self.unreadable: set[int] = set()
        self.unusable: set[int] = set()
        self._epoch: tuple[int, np.ndarray] = (-1, np.empty(0))

    def generator(self, step: int, slot: int, view: int) -> np.random.Generator:
        # the low counter word runs while drawing, the others tell the streams apart
        return np.random.Generator(np.random.Philox(key=self.key, counter=[0, view + 1, slot, step]))

    def index(self, step: int, slot: int) -> int:
        epoch, place = divmod(step * self.batch + slot, len(self.dataset))
        if self._epoch[0] != epoch:
            rng = np.random.Generator(np.random.Philox(key=self.key, counter=[0, 0, 0, epoch]))
            self._epoch = (epoch, rng.permutation(len(self.dataset)))
        return int(self._epoch[1][place])

    def read(self, index: int) -> Item:
        while True:
            try:
                return check_item(self.dataset[index])
            except UnreadableImage as error:
                empty = isinstance(error, UnusableDepth)
                known, most = (self.unusable, MAX_UNUSABLE) if empty else (self.unreadable, MAX_UNREADABLE)
                if index not in known:
                    known.add(index)
                    warnings.warn(f"skipped: {error}", stacklevel=2)
                if len(known) > max(most * len(self.dataset), 1):
                    told = "depth frames are unusable" if empty else "images are unreadable"
                    raise ValueError(
                        f"{self.dataset.name}: more than {100 * most:g} % of the {told}, the last: {error}"
                    ) from error
                index = (index + 1) % len(self.dataset)

    def __getitem__(self, step: int) -> Unlabeled:
        cv2.setNumThreads(1)  # workers share the cores; one image is too little for several
        items = [self.read(self.index(step, slot)) for slot in self.slots]
        flip = self.dataset.skeleton.flip
        batches = []
        for view in range(self.views):
            rngs = [self.generator(step, slot, view) for slot in self.slots]
            crops = [crop(i, self.size, self.augmentation, r, flip, self.how) for i, r in zip(items, rngs, strict=True)]
            batches.append(collate(crops, self.labels))
        return replace(batches[0], views=tuple(batches[1:]))


class EvaluationBatches(Dataset[Labeled]):
    """The dataset in its order, plain crops: item i is the i-th batch.

    A picture that cannot be read, or a depth frame in which nothing can be found, is warned about and stays in its
    place, empty and with no joint annotated: predictions keep the dataset's order, and metrics leave it out. More than
    1 % unreadable pictures raise ValueError.
    """

    def __init__(self, dataset: PoseDataset, batch: int, size: tuple[int, int], how: str = "exact") -> None:
        self.dataset, self.batch, self.size, self.how = dataset, batch, size, how
        self.unreadable: set[int] = set()

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch)

    def read(self, index: int) -> Item:
        try:
            return check_item(self.dataset[index])
        except UnreadableImage as error:
            empty = isinstance(error, UnusableDepth)
            if not empty:
                self.unreadable.add(index)
            if len(self.unreadable) > max(MAX_UNREADABLE * len(self.dataset), 1):
                raise ValueError(
                    f"{self.dataset.name}: more than {100 * MAX_UNREADABLE:g} % of the images are unreadable, "
                    f"the last: {error}"
                ) from error
            warnings.warn(f"left out of the metrics: {error}", stacklevel=2)
            depth = empty or first_item(self.dataset).cube is not None
            return empty_item(f"{self.dataset.name}/{index}", len(self.dataset.skeleton), depth)

    def __getitem__(self, number: int) -> Labeled:
        if not 0 <= number < len(self):
            raise IndexError(number)
        cv2.setNumThreads(1)
        chosen = range(number * self.batch, min((number + 1) * self.batch, len(self.dataset)))
        flip = self.dataset.skeleton.flip
        crops = [crop(self.read(i), self.size, None, None, flip, self.how) for i in chosen]
        return cast(Labeled, collate(crops, labels=True))


def first_item(dataset: PoseDataset) -> Item:
    """The first item that can be read, of the first 100. Raises the first one's error where none can."""
    for index in range(min(len(dataset), 100)):
        with suppress(UnreadableImage):
            return check_item(dataset[index])
    return check_item(dataset[0])


def check_item(item: Item) -> Item:
    """`item`, where it can be cut. Raises UnusableDepth for a depth frame, centre or cube that cannot."""
    if item.center is not None and item.cube is not None:
        check_depth(item.image, item.id)
        check_center(item.center, item.cube, item.camera, item.image.shape, item.image, item.id)
    return item


def empty_item(name: str, keypoints: int, depth: bool) -> Item:
    """A picture or depth frame of which nothing is known."""
    none, ahead = np.zeros(keypoints, bool), np.array([8.0, 8.0, 1000.0])
    return Item(
        image=np.zeros((16, 16), np.float32) if depth else np.zeros((16, 16, 3), np.uint8),
        box=np.array([0.0, 0.0, 16.0, 16.0]),
        id=name,
        sequence=UNUSABLE,
        frame=0,
        camera=np.array([80.0, 80.0, 8.0, 8.0]),
        keypoints=np.tile(ahead if depth else ahead[:2], (keypoints, 1)),
        visible=none,
        annotated=none,
        center=ahead if depth else None,
        cube=np.full(3, 200.0) if depth else None,
    )


def loader(batches: Dataset[Any], steps: Iterable[int], workers: int = 0, pin: bool = False) -> Iterator[Any]:
    """Iterate over `batches[step]` in order, read ahead by `workers` spawned processes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # the number of workers is the user's to say
        made: DataLoader[Any] = DataLoader(
            batches,
            batch_size=None,
            sampler=list(steps),
            num_workers=workers,
            multiprocessing_context="spawn" if workers else None,
            worker_init_fn=_leave_interrupts_to_the_trainer if workers else None,
            pin_memory=pin,
        )
        return iter(made)


def _leave_interrupts_to_the_trainer(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
