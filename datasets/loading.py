"""From datasets to batches. A training batch is a pure function of (seed, domain, step): whatever the number of
workers or processes, whatever was drawn before."""

from __future__ import annotations

import signal
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, cast

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .augment import Augmentation, crop_matrix, disturbed, random_matrix, recolor, shift, warp, warp_mask
from .cameras import Cameras, another
from .depth.center import UnusableDepth, check_center, check_depth
from .depth.crop import cut, disturb
from .proposals import Proposals, proposed
from .reading.images import UnreadableImage
from .sample import MASK, MOVED, PEOPLE, SEQUENCES, Item, Labeled, PoseDataset, Unlabeled, distance_measure, there
from .sensor import Sensor
from .views import WithoutLabels

MAX_UNREADABLE = 0.01
"""Share of a dataset's files; more of them stop a run."""
MOST_KEPT = 2**27
"""Bytes that what is evaluated again and again is kept in at most, of each set: 680 pictures of 256 x 256."""
MAX_UNUSABLE = 0.5
"""Share of depth frames: one without a hand in it is nothing unusual."""


CAMERA = 1 << 32
"""In the place of a view: what another camera is drawn from."""
BOX = CAMERA + 1
"""The same of a detector's box."""
UNUSABLE = "unusable"
"""The sequence of pictures and depth frames of which nothing is known."""


@dataclass
class Crop:
    """One warped item: what a system reads, label arrays in the input's coordinates, the way back to the file."""

    item: Item
    inputs: dict[str, np.ndarray]
    keypoints: np.ndarray
    """(P, K, D)"""
    visible: np.ndarray
    annotated: np.ndarray
    to_file: np.ndarray
    side: float
    points: np.ndarray | None
    row: int = 0
    """The item's place in its dataset."""
    deep: np.ndarray | None = None


def crop(
    item: Item,
    size: tuple[int, int],
    options: Augmentation | None,
    rng: np.random.Generator | None,
    flip: Sequence[int],
    mode: str = "exact",
    row: int = 0,
) -> Crop:
    """Cut `item` to `size` (width, height), augmented when options are given; a depth frame in the `mode` that
    depth/crop.py explains. No joint is dropped; one that a mirrored view names otherwise changes place by `flip`."""
    augment = None if options is None or rng is None else (options, rng)
    if augment is not None and item.in_camera:  # a turned picture would ask for a turned camera
        augment = replace(augment[0], rotation=0.0), augment[1]
    extra = np.eye(3) if augment is None else random_matrix(size, *augment)
    if item.mirrored:
        extra = extra @ shift(size[0], 0) @ np.diag([-1.0, 1.0, 1.0])
    inputs, back = (_depth if item.depth else _picture)(item, size, extra, augment, mode)
    mirrored = np.linalg.det(back[:, :-1]) < 0
    order = list(flip) if mirrored else list(range(len(flip)))
    for name in inputs.keys() & SEQUENCES:
        inputs[name] = inputs[name][..., order, :]
    if mirrored and "random3d" in inputs:
        inputs["random3d"] = inputs["random3d"] * [-1.0, 1.0, 1.0]
    if item.in_camera:
        back = np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0, 1.0])[:3]
    elif item.keypoints.shape[-1] == len(back) + 1:  # z stays what it is
        back = np.insert(np.insert(back, 2, 0.0, 1), 2, [0.0, 0.0, 1.0, 0.0], 0)
    there = np.linalg.inv(np.vstack([back, np.eye(len(back) + 1)[-1]]))
    keypoints = item.keypoints[..., order, :] @ there[:-1, :-1].T + there[:-1, -1]
    side = max(item.box[2] - item.box[0], item.box[3] - item.box[1])
    return Crop(
        item=item,
        inputs=inputs,
        keypoints=keypoints.reshape(-1, *keypoints.shape[-2:]),
        visible=item.visible[..., order].reshape(-1, len(order)),
        annotated=item.annotated[..., order].reshape(-1, len(order)),
        to_file=back,
        side=float(side),
        points=None if item.points is None else item.points[..., order, :].reshape(-1, len(order), 3),
        row=row,
        deep=None if item.deep is None else item.deep[..., order].reshape(-1, len(order)),
    )


Augment = tuple[Augmentation, np.random.Generator]


def _depth(
    item: Item, size: tuple[int, int], extra: np.ndarray, augment: Augment | None, mode: str
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The inputs of a depth frame, and the affine (3, 4) back to the file."""
    assert item.cube is not None
    reach = float(item.cube[2] / 2)
    image, back = cut(item, size, mode, extra)
    if augment is not None:
        image = disturb(image, reach, *augment)
    return {"image": image[None], "reach": np.array(reach), **item.inputs}, back


def _picture(
    item: Item, size: tuple[int, int], extra: np.ndarray, augment: Augment | None, mode: str
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The inputs of a picture, a clip or keypoints alone, and the affine (2, 3) back to the file."""
    matrix = extra @ crop_matrix(item.box, size)
    inputs = dict(item.inputs)
    if item.image.size:
        stored = matrix if item.to_file is None else matrix @ np.vstack([item.to_file, [0, 0, 1]])
        frames = item.image if item.image.ndim == 4 else item.image[None]
        warped = [warp(frame, stored, size) for frame in frames]
        if augment is not None:  # a clip's frames share what is drawn
            options, rng = augment
            draws = [rng, *(deepcopy(rng) for _ in frames[1:])]
            warped = [recolor(frame, options, draw) for frame, draw in zip(warped, draws[::-1], strict=True)]
        image = np.stack(warped) if item.image.ndim == 4 else warped[0]
        inputs["image"] = np.moveaxis(image, -1, -3)
        if MASK in inputs:
            inputs[MASK] = warp_mask(inputs[MASK], stored, size)
    for name in MOVED & inputs.keys():
        moved = inputs[name].astype(np.float64)
        moved[..., :2] = moved[..., :2] @ matrix[:2, :2].T + matrix[:2, 2]
        inputs[name] = there(name, moved).astype(np.float32)
    if augment is not None:
        for name in [name for name in ("keypoints2d", "random2d") if name in inputs]:  # draws have an order
            inputs[name] = disturbed(inputs[name], size[0], *augment).astype(np.float32)
    if "keypoints2d" in inputs:
        inputs["lens"] = lens(item.camera, matrix)
    if "extent" in inputs:
        shown = size[0] * size[1] / abs(np.linalg.det(matrix[:2, :2]))
        inputs["k"] = np.array(distance_measure(item.camera.astype(np.float64), shown, inputs["extent"]))
    return inputs, np.linalg.inv(matrix)[:2]


def lens(camera: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(4,) a camera in file px under the 3x3 `matrix` to px of the input, where it is the one that sees a mirror
    image's mirrored points; zeros where it is unknown."""
    scale = np.abs(np.diag(matrix)[:2])
    moved = np.concatenate([camera[:2] * scale, matrix[:2, :2] @ camera[2:] + matrix[:2, 2]])
    return moved.astype(np.float32) * (camera[:2] > 0).all()


def collate(crops: Sequence[Crop], labels: bool) -> Unlabeled | Labeled:
    """One batch of B samples with all their people, P in number."""

    def stack(values: Iterable[Any], kind: Any = np.float32) -> Tensor:
        return torch.from_numpy(np.stack([np.asarray(v, kind) for v in values]))

    def people(name: str, kind: Any = np.float32) -> Tensor:
        return torch.from_numpy(np.concatenate([np.asarray(getattr(c, name), kind) for c in crops]))

    def read(name: str) -> Tensor:
        kind = np.uint8 if crops[0].inputs[name].dtype == np.uint8 else np.float32
        return stack((c.inputs[name] for c in crops), kind).contiguous()

    def of_whole(name: str) -> Tensor:
        kind = np.bool_ if name == "crowd" else np.float32
        return torch.from_numpy(np.concatenate([np.asarray(getattr(c.item, name), kind) for c in crops]))

    shared: dict[str, Any] = {
        "inputs": {name: read(name) for name in crops[0].inputs},
        "id": tuple(c.item.id for c in crops),
        "sequence": tuple(c.item.sequence for c in crops),
        "frame": stack((c.item.frame for c in crops), np.int64),
        "camera": stack(c.item.camera for c in crops),
        "to_file": stack(c.to_file for c in crops),
        "side": stack(c.side for c in crops),
        "row": stack((c.row for c in crops), np.int64),
        "space": crops[0].item.space,
    }
    if not labels:
        return Unlabeled(**shared)
    extents = {name: None if any(getattr(c.item, name) is None for c in crops) else of_whole(name) for name in PEOPLE}
    return Labeled(
        **shared | extents,
        keypoints=people("keypoints"),
        visible=people("visible", np.bool_),
        annotated=people("annotated", np.bool_),
        image_index=torch.arange(len(crops)).repeat_interleave(torch.tensor([len(c.keypoints) for c in crops])),
        points=None if any(c.points is None for c in crops) else people("points"),
        deep=None if any(c.deep is None for c in crops) else people("deep", np.bool_),
    )


class TrainingBatches(Dataset[Unlabeled]):
    """Item `step` is this process's slice of the global batch of that step, in augmented views.

    With `cameras` each sample, in all its views, is shown by another one, with `sensor` as that would show it, with
    `proposals` cut as another detector would: for labelled sources, whose views need not be carried back to the file.
    Proposals look at labels: without those they raise ValueError.

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
        mode: str = "exact",
        cameras: Cameras | None = None,
        sensor: Sensor | None = None,
        proposals: Proposals | None = None,
    ) -> None:
        if proposals is not None and not labels:
            raise ValueError(f"{dataset.name} is read without its labels, by which proposals move boxes")
        if batch % processes:
            raise ValueError(f"batch={batch} does not divide among {processes} processes; choose a multiple")
        if len(dataset) < processes:
            raise ValueError(
                f"{dataset.name} has {len(dataset)} samples for {processes} processes; start fewer processes"
            )
        self.dataset = dataset if labels else WithoutLabels(dataset)
        self.key = np.array([seed, zlib.crc32(domain.encode())], np.uint64)
        self.batch, self.size, self.augmentation = batch, size, augmentation
        self.labels, self.views, self.mode = labels, views, mode
        self.cameras, self.sensor, self.proposals = cameras, sensor, proposals
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

    def read(self, index: int) -> tuple[int, Item]:
        """The item at `index`, or the next that can be read, with its place."""
        while True:
            try:
                return index, check_item(self.dataset[index])
            except UnreadableImage as error:
                empty = isinstance(error, UnusableDepth)
                known, most = (self.unusable, MAX_UNUSABLE) if empty else (self.unreadable, MAX_UNREADABLE)
                if index not in known:
                    known.add(index)
                    warnings.warn(f"skipped: {error}", stacklevel=2)
                if len(known) > max(most * len(self.dataset), 1):
                    problem = "depth frames are unusable" if empty else "images are unreadable"
                    raise ValueError(
                        f"{self.dataset.name}: more than {100 * most:g} % of the {problem}, the last: {error}"
                    ) from error
                index = (index + 1) % len(self.dataset)

    def __getitem__(self, step: int) -> Unlabeled:
        cv2.setNumThreads(1)  # workers share the cores; one image is too little for several
        items = [self.read(self.index(step, slot)) for slot in self.slots]
        if self.cameras is not None:
            drawn = [self.generator(step, slot, CAMERA) for slot in self.slots]
            items = [(row, another(item, self.cameras, rng)) for (row, item), rng in zip(items, drawn, strict=True)]
        if self.proposals is not None:
            drawn = [self.generator(step, slot, BOX) for slot in self.slots]
            items = [(row, proposed(item, self.proposals, rng)) for (row, item), rng in zip(items, drawn, strict=True)]
        flip = self.dataset.skeleton.flip
        batches = []
        for view in range(self.views):
            rngs = [self.generator(step, slot, view) for slot in self.slots]
            crops = [self.cut(row, item, rng, flip) for (row, item), rng in zip(items, rngs, strict=True)]
            batches.append(collate(crops, self.labels))
        return replace(batches[0], views=tuple(batches[1:]))

    def cut(self, row: int, item: Item, rng: np.random.Generator, flip: list[int]) -> Crop:
        """One augmented view of an item."""
        made = crop(item, self.size, self.augmentation, rng, flip, self.mode, row)
        if self.sensor is not None and "image" in made.inputs:
            made.inputs["image"] = sensed(made.inputs["image"], self.sensor, rng)
        return made


def sensed(image: np.ndarray, sensor: Sensor, rng: np.random.Generator) -> np.ndarray:
    """A crop's input image ([T,] 3 or 1, H, W) as `sensor` shows it."""
    if image.ndim == 3 and len(image) == 1:
        return sensor.apply(image[0], rng)[None]
    return np.moveaxis(sensor.apply(np.moveaxis(image, -3, -1), rng), -1, -3)


class EvaluationBatches(Dataset[Labeled]):
    """The dataset in its order: item i is the i-th batch. Plain crops, or views augmented as the draw of the number in
    `warp` says.

    A picture that cannot be read, or a depth frame in which nothing can be found, is warned about and stays in its
    place, empty and with no joint annotated: predictions keep the dataset's order, and metrics leave it out. More than
    1 % unreadable pictures raise ValueError.
    """

    def __init__(
        self,
        dataset: PoseDataset,
        batch: int,
        size: tuple[int, int],
        mode: str = "exact",
        warp: tuple[Augmentation, int] | None = None,
    ) -> None:
        self.dataset, self.batch, self.size, self.mode, self.warp = dataset, batch, size, mode, warp
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
            return empty_like(f"{self.dataset.name}/{index}", first_item(self.dataset))

    def __iter__(self) -> Iterator[Labeled]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Labeled:
        if not 0 <= number < len(self):
            raise IndexError(number)
        cv2.setNumThreads(1)
        chosen = range(number * self.batch, min((number + 1) * self.batch, len(self.dataset)))
        flip = self.dataset.skeleton.flip
        options, draw = self.warp or (None, 0)
        crops = [
            crop(self.read(i), self.size, options, np.random.default_rng([draw, i]), flip, self.mode, i) for i in chosen
        ]
        return cast(Labeled, collate(crops, labels=True))


class Mapped(Sequence[Any]):
    """What `change` makes of each of `items`, made when it is read."""

    def __init__(self, items: Any, change: Callable[[Any], Any]) -> None:
        self.items, self.change = items, change

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: Any) -> Any:
        return self.change(self.items[number])


class Kept(Sequence[Any]):
    """Batches that are the same whenever they are read: each made once and kept, the first ones up to MOST_KEPT bytes;
    what is beyond is made anew at each reading. Whoever reads them leaves them as they are."""

    def __init__(self, batches: Any) -> None:
        self.batches, self.kept, self.room = batches, dict[int, Unlabeled](), MOST_KEPT

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: Any) -> Any:
        if number in self.kept:
            return self.kept[number]
        batch = self.batches[number]
        size = sum(sum(value.nbytes for value in part.inputs.values()) for part in (batch, *batch.views))
        if size <= self.room:
            self.kept[number], self.room = batch, self.room - size
        return batch


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


def empty_like(name: str, item: Item) -> Item:
    """What stands for an item of the same dataset that cannot be read: the same inputs, empty, and nothing known."""
    keypoints = item.annotated.shape[-1]
    if item.depth or item.image.size:
        empty = empty_item(name, keypoints, item.depth)
    else:
        empty = replace(item, id=name, sequence=UNUSABLE, annotated=np.zeros_like(item.annotated))
    if item.image.ndim == 4:
        empty = replace(empty, image=np.zeros((len(item.image), 16, 16, 3), np.uint8))
    if item.image.size and item.keypoints.shape[-1] == 3 and not (item.depth or item.in_camera):
        flat = np.concatenate([empty.keypoints, np.zeros((keypoints, 1))], 1)
        deep = None if item.deep is None else np.zeros(keypoints, bool)
        empty = replace(empty, keypoints=flat, rooted=item.rooted, deep=deep)
    if item.in_camera:
        middle = np.array([0.0, 0.0, 0.0 if item.rooted else 1000.0])
        empty = replace(empty, in_camera=True, rooted=item.rooted, keypoints=np.tile(middle, (keypoints, 1)))
    points = None if item.points is None else np.zeros((keypoints, 3))
    inputs = {name: np.zeros_like(value) for name, value in item.inputs.items()}
    inputs |= {name: value for name, value in item.inputs.items() if name == "extent"}  # of the set, not of the sample
    if MASK in inputs:
        inputs[MASK] = np.zeros(empty.image.shape[:2], np.uint8)
    empty = replace(empty, inputs=inputs, points=points)
    return _crowded(empty, item) if item.keypoints.ndim == 3 else empty


def _crowded(empty: Item, item: Item) -> Item:
    """One person as a picture's only one, of whom nothing is labelled; where the set's other items, as `item`, tell of
    areas, a crowd that fills the picture, so that whoever is found there is not invented."""
    people = {name: getattr(empty, name) for name in ("keypoints", "visible", "annotated", "points", "deep")}
    one: dict[str, Any] = {name: value[None] for name, value in people.items() if value is not None}
    if item.area is not None:
        width, height = empty.box[2:] - empty.box[:2]
        one |= {"area": np.array([width * height]), "bounds": empty.box[None], "crowd": np.ones(1, bool)}
    return replace(empty, **one)


def loader(batches: Dataset[Any], steps: Iterable[int], workers: int = 0, pin: bool = False) -> Iterator[Any]:
    """Iterate over `batches[step]` in order, read ahead by `workers` spawned processes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # the number of workers is the user's to say
        batched: DataLoader[Any] = DataLoader(
            batches,
            batch_size=None,
            sampler=list(steps),
            num_workers=workers,
            multiprocessing_context="spawn" if workers else None,
            worker_init_fn=_leave_interrupts_to_the_trainer if workers else None,
            pin_memory=pin,
        )
        return iter(batched)


def _leave_interrupts_to_the_trainer(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
