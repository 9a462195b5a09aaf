"""What `keyshift predict` reads: any pictures, folders and videos, cut into crops ahead of their use."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, NamedTuple, TypeVar

import cv2
import numpy as np

from ...datasets.augment import Augmentation
from ...datasets.loading import Crop, crop, empty_item
from ...datasets.own.pictures import UNKNOWN, Listing, broken, listed_frames, usable
from ...datasets.reading.boxes import FILES, SCORE, Boxes, Detector, check_detector, read_scored, scored, touching
from ...datasets.reading.detections import Detections
from ...datasets.reading.files import cores, from_home
from ...datasets.reading.images import PICTURES, UnreadableImage
from ...datasets.reading.levels import white_of
from ...datasets.reading.listing import by_path, walk
from ...datasets.reading.people import AROUND_BOXES, square
from ...datasets.reading.turns import in_turn
from ...datasets.reading.video import VIDEOS, file_of, frame_rate, frame_time, is_frame, read_named
from ...datasets.sample import Item
from ...datasets.skeleton import Skeleton


@dataclass
class Inputs:
    """Pictures and frames below one folder, in order."""

    root: Path
    names: list[str]
    """(P) paths below the root, with forward slashes; `clip.mp4#12` is frame 12, from 0, of a video."""
    boxes: Boxes | None = None
    """People by picture, (n, 5) left, top, right, bottom, score; None: each picture is one crop."""
    boxes_from: str = "whole"
    """Where the boxes come from."""
    detector: Detector | None = None
    """What sees the pictures as they are read, and gives the boxes of each before it is cut."""
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """Files that are known to be no pictures, and why."""
    folders: list[Path] = field(default_factory=list)
    """All that lies below them is read."""
    files: list[str] = field(default_factory=list)
    """Pictures and videos below the root that can be read, of which `names` are."""
    white: int | None = None
    """The level of pictures of 16 bit that is white; None: 65535."""
    views: tuple[Augmentation, int] = (Augmentation(), 0)
    """As what, and how many times, each crop comes augmented besides."""
    said: dict[str, Any] = field(default_factory=dict)
    """What the JSON says besides."""
    numbers: list[int] = field(default_factory=list)
    """(P) places of frames in their video, and of pictures in their folder."""
    held: Held | None = None
    """Pictures that were read and are to be drawn on; None: nothing is drawn while it is read."""

    ordered: ClassVar[bool] = False
    """Whether pictures must be read one after the other."""

    def people(self, name: str) -> int:
        """How many crops a picture gives."""
        return 1 if self.boxes is None else len(self.boxes.get(name, ()))

    def picture(self, place: int, rows: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB to draw the people `rows` (see `Predicted`) on. Raises UnreadableImage."""
        held = None if self.held is None else self.held.take(place)
        return held if held is not None else read_named(self.root, self.names[place], self.white)

    def about(self) -> dict[str, Any]:
        """What the JSON says of how crops were made."""
        return {"boxes": self.boxes_from, **self.said}

    def about_picture(self, name: str, size: Sequence[int]) -> dict[str, Any]:
        """What the JSON says of a picture of that width and height besides."""
        return {}

    def time(self, name: str) -> float | None:
        """Seconds from a video's first frame to the frame `name`; None where that is not known."""
        return frame_time(self.root / file_of(name), int(name.rpartition("#")[2]))

    def frame_rate(self, video: str) -> float:
        """Frames a second of a video, on average."""
        return frame_rate(self.root / video)

    def lists(self, nobody: Sequence[str]) -> dict[str, list[Any]]:
        """Lists that the JSON has besides, where the pictures `nobody` were read and have no people."""
        return {}

    def squares(self, name: str, width: int, height: int) -> list[np.ndarray]:
        """The square crops (4,) of a picture of that size."""
        if self.boxes is None:
            return [square(np.array([0.0, 0.0, width, height]), 1.0)]
        return [square(box[:4], AROUND_BOXES) for box in self.boxes.get(name, ())]

    def add(self, people: dict[str, Detections]) -> None:
        """Take in what the detector sees in pictures."""
        assert self.boxes is not None
        self.boxes |= scored(people)

    def read(self, place: int) -> Seen:
        """One picture, which is read once. Raises UnreadableImage."""
        return Seen([read_named(self.root, self.names[place], self.white)])

    def cut(self, place: int, seen: Seen, size: tuple[int, int], skeleton: Skeleton, mirror: bool) -> Cut:
        """The crops of one picture."""
        name = self.names[place]
        height, width = seen.image.shape[:2]
        item = replace(empty_item(name, len(skeleton), False), image=seen.image, mirrored=mirror)
        if seen.margins is not None:
            item = replace(item, image=np.stack(seen.clip), inputs={"margins": seen.margins})
        people = enumerate(self.squares(name, width, height))
        crops = [self.views_of(replace(item, box=box), size, skeleton, [place, person]) for person, box in people]
        return Cut(width, height, crops)

    def views_of(
        self, item: Item, size: tuple[int, int], skeleton: Skeleton, key: list[int], mode: str = "exact"
    ) -> list[Crop]:
        """The plain crop, then the augmented ones, drawn from `key` alone; the picture itself is gone."""
        options, count = self.views
        draws = [None, *(np.random.default_rng([*key, view]) for view in range(count))]
        crops = [crop(item, size, options if draw else None, draw, skeleton.flip, mode) for draw in draws]
        return [replace(made, item=replace(item, image=np.empty_like(item.image[:0]))) for made in crops]


def is_video(name: str) -> bool:
    return name.lower().endswith(VIDEOS)


def open_inputs(
    paths: Sequence[Path],
    boxes: str | None = None,
    stride: int | None = None,
    duplicates: float | None = None,
    white: int | str | None = None,
    box_score: float = SCORE,
) -> Inputs:
    """The pictures and frames of `paths`, in the order of datasets/own/pictures.py, whose options these are; a file
    that two paths lead to is taken once. `box_score` is the least of boxes that are taken.

    Empty files and broken videos are `unreadable`. Raises ValueError for paths that are not there or without
    pictures, and for unknown options.
    """
    if boxes not in (None, "whole") and not boxes.lower().endswith(FILES):
        check_detector(boxes)
    root = common_root(paths)
    listing, left_out = Listing(root), {}
    for path in paths:
        for file in listed(path):
            name = Path(os.path.relpath(file, root)).as_posix()
            reason, size = usable(root, name)
            if reason is None:
                reason = broken(file)
            if reason is None:
                listing.sizes[name] = size
            elif reason:
                left_out[name] = "of a type that is not read" if reason == UNKNOWN else reason
    frames = listed_frames(listing, 1, stride, duplicates)
    names, numbers = [frame.name for frame in frames], [frame.number for frame in frames]
    level, folders = white_of(white, root, list(listing.sizes)), [path for path in paths if path.is_dir()]
    inputs = Inputs(
        root,
        names,
        boxes_from=boxes or "whole",
        unreadable=list(left_out.items()),
        folders=folders,
        files=list(listing.sizes),
        white=level,
        numbers=numbers,
    )
    if boxes in (None, "whole") or not names:
        return inputs
    if boxes.lower().endswith(FILES):
        path = from_home(boxes)
        return replace(inputs, boxes=touching(read_scored(path, names, inputs.files, box_score), root, str(path)))
    detector = Detector(boxes, root, names, white=level, least=box_score)
    if detector.done:
        return replace(inputs, boxes=scored(detector.finish()))
    return replace(inputs, boxes={}, detector=detector)


def common_root(paths: Sequence[Path]) -> Path:
    """The folder itself where one is given, else the nearest one that holds all of them."""
    if not paths:
        raise ValueError("name pictures, folders or videos to predict")
    for path in paths:
        if not path.exists():
            raise ValueError(f"no picture, folder or video {path}")
    folders = [path if path.is_dir() else path.parent for path in paths]
    return folders[0] if len(paths) == 1 else Path(os.path.commonpath([os.path.abspath(f) for f in folders]))


def listed(path: Path) -> list[Path]:
    """A picture or video itself, or all of a folder and below, in the order of their paths, numbers by value."""
    files = [path]
    if path.is_dir():
        files = [path / name for name in sorted(walk(path), key=by_path)]
    if not any(usable(file.parent, file.name)[0] != "" for file in files):
        raise ValueError(f"{path}: no picture or video; expected {', '.join((*PICTURES, *VIDEOS))}")
    return files


HELD = 2**30
"""Bytes of pictures that wait to be drawn on, at most."""


class Seen(NamedTuple):
    """One picture that was read, with those around it where the network reads them too."""

    clip: list[np.ndarray]
    """(H, W, 3) uint8 RGB each, or (H, W) depth in mm; an odd number."""
    margins: np.ndarray | None = None
    """(T - 1,) frames from each of a clip to the next; None of a picture alone."""
    item: Item | None = None
    """A depth frame with what is known of it."""

    @property
    def image(self) -> np.ndarray:
        return self.clip[len(self.clip) // 2]


class Held:
    """Pictures from when they are read until they are drawn on, as long as there is room: others are read again."""

    def __init__(self, room: int = HELD) -> None:
        self.pictures, self.room, self.lock = dict[int, np.ndarray](), room, Lock()

    def keep(self, place: int, picture: np.ndarray) -> None:
        with self.lock:
            if picture.nbytes <= self.room:
                self.pictures[place] = picture
                self.room -= picture.nbytes

    def take(self, place: int) -> np.ndarray | None:
        with self.lock:
            picture = self.pictures.pop(place, None)
            self.room += 0 if picture is None else picture.nbytes
            return picture


class Cut(NamedTuple):
    """One picture's people as the network sees them; the picture itself is gone."""

    width: int
    height: int
    crops: list[list[Crop]]
    """Of each person the plain crop, and augmented ones behind it."""


MOST = 8
"""Threads that read, where nobody says how many: more wait for each other between OpenCV's calls."""
T = TypeVar("T")


def one_ahead(made: Iterator[T]) -> Iterator[T]:
    """The same, each made by a thread while the one before it is used."""
    with ThreadPoolExecutor(1) as thread:
        waiting: Future[T | None] = thread.submit(next, made, None)
        while (one := waiting.result()) is not None:
            waiting = thread.submit(next, made, None)
            yield one


def read_ahead(
    inputs: Inputs, size: tuple[int, int], skeleton: Skeleton, mirror: bool, ahead: int, workers: int | None = None
) -> Iterator[Cut | UnreadableImage]:
    """Every picture in its order, read by `workers` threads (None: one for each core, up to MOST), at most `ahead`
    before their use; those that cannot be read as their errors. Decoding and cutting leave Python alone, so that
    threads do what processes would, and hand over no copies. Frames of videos are decoded by one thread, in their
    order, and so are all pictures of inputs that are `ordered`. A detector sees what is read, and waits for it."""

    def read(place: int) -> Seen | UnreadableImage:
        try:
            seen = inputs.read(place)
        except UnreadableImage as error:
            return error
        if inputs.held is not None:
            inputs.held.keep(place, seen.image)
        return seen

    def cut(place: int, seen: Seen | UnreadableImage) -> Cut | UnreadableImage:
        try:
            return seen if isinstance(seen, UnreadableImage) else inputs.cut(place, seen, size, skeleton, mirror)
        except UnreadableImage as error:
            return error

    cv2.setNumThreads(1)  # the threads share the cores
    with ThreadPoolExecutor(workers or min(cores(), MOST)) as many, ThreadPoolExecutor(1) as one:

        def reader(place: int) -> Executor:
            return one if inputs.ordered or is_frame(inputs.names[place]) else many

        places = range(len(inputs.names))
        if inputs.detector is None:
            yield from in_turn((reader(place).submit(lambda p: cut(p, read(p)), place) for place in places), ahead)
            return
        pictures = in_turn((reader(place).submit(read, place) for place in places), 2 * inputs.detector.batch)
        seen = enumerate(searched(inputs, inputs.detector, pictures))
        yield from in_turn((many.submit(cut, place, picture) for place, picture in seen), inputs.detector.batch)


def searched(
    inputs: Inputs, detector: Detector, pictures: Iterator[Seen | UnreadableImage]
) -> Iterator[Seen | UnreadableImage]:
    """The same, once the detector has seen them and the inputs know whom it sees."""
    names = iter(inputs.names)
    while some := list(islice(pictures, detector.batch)):
        images = (one if isinstance(one, UnreadableImage) else one.image for one in some)
        inputs.add(detector.search(dict(zip(islice(names, len(some)), images, strict=True))))
        yield from some
    detector.finish()
