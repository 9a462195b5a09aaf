"""`keyshift data check`: is a dataset what it should be?"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ...datasets.catalog import entry_of
from ...datasets.depth.center import UnusableDepth
from ...datasets.loading import check_item, first_item
from ...datasets.options import Options, plain_options
from ...datasets.own import pictures
from ...datasets.own.depth_problems import camera_problems
from ...datasets.own.skeleton_file import describe, order_doubts
from ...datasets.reading.images import UnreadableImage
from ...datasets.reading.people import LEAKS, PictureSet
from ...datasets.reading.prepared import is_prepared
from ...datasets.reading.preparing import in_order, workers
from ...datasets.reading.splits import PARTS
from ...datasets.rendered.options import RenderedOptions
from ...datasets.sample import Item, PoseDataset
from ...datasets.skeleton import HAND
from ...datasets.views import innermost
from ..runs.centers import open_centered
from ..runs.progress import Reporter
from .data_words import read_words

FAR_OUT = 0.2
"""Share of joints outside their pictures, above which labels and pictures seem not to belong together."""
EMPTY = 0.5
"""Share of unusable depth frames above which a run would stop."""


@dataclass
class Seen:
    """What is remembered of one sample that can be read."""

    id: str
    sequence: str
    picture: int
    """64 bits of a hash of its pixels: the same picture under another name is found too."""
    size: tuple[int, int]
    annotated: np.ndarray
    visible: np.ndarray
    outside: int
    """Annotated joints that are not in the picture."""
    off: bool
    """Its box does not touch the picture."""


@dataclass
class Tally:
    """What one part of a dataset holds."""

    part: str
    dataset: PoseDataset
    ids: set[str] = field(default_factory=set)
    sequences: set[str] = field(default_factory=set)
    pictures: set[int] = field(default_factory=set)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    unreadable: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)
    off: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    resized: dict[str, str] = field(default_factory=dict)
    """Pictures that are of another size than their labels say, and both sizes."""
    bare: int = 0
    """Samples without an annotated joint."""
    outside: int = 0

    def __post_init__(self) -> None:
        self.annotated = np.zeros(len(self.dataset.skeleton), np.int64)
        self.visible = np.zeros(len(self.dataset.skeleton), np.int64)

    def add(self, seen: Seen | UnreadableImage) -> None:
        if isinstance(seen, UnreadableImage):
            (self.unusable if isinstance(seen, UnusableDepth) else self.unreadable).append(str(seen))
            return
        if seen.id in self.ids:
            self.twice.append(seen.id)
        if seen.off:
            self.off.append(seen.id)
        self.ids.add(seen.id)
        self.sequences.add(seen.sequence)
        self.pictures.add(seen.picture)
        self.sizes.add(seen.size)
        self.annotated += seen.annotated
        self.visible += seen.visible & seen.annotated
        self.bare += not seen.annotated.any()
        self.outside += seen.outside


def check(name: str, words: list[str], reporter: Reporter) -> bool:
    """Read every sample of both parts of a dataset and print what is there and what is wrong; True where nothing is.

    `words` are key=value of the dataset's options. Raises ValueError where the dataset cannot be opened.
    """
    _, options = read_words(name, words, Options)
    own = options if isinstance(options, pictures.Options) and not is_prepared(options.root) else None
    if own is not None and own.skeleton is None:
        reporter.say(f"skeleton= is not told: {HAND.name} is taken, which changes nothing in what is checked here")
    opened = {part: open_centered(name, options, part, HAND) for part in PARTS}
    _introduce(name, options, opened["train"], reporter)
    tallies = [_tally(part, dataset, reporter) for part, dataset in opened.items()]
    _print_counts(tallies, reporter)
    _print_joints(tallies, reporter)
    for note in [*_leaks(opened["test"]), *(n for t in tallies for n in _notes(t))]:
        reporter.say(f"note: {note}")
    problems = [*(p for t in tallies for p in _problems(t)), *_shared(*tallies)]
    problems += [] if own is None else _empty(own.folder)
    problems += camera_problems(opened.values())
    for problem in problems:
        reporter.say(f"PROBLEM: {problem}")
    reporter.say(f"{name}: " + (f"{len(problems)} problems" if problems else "no problem found"))
    return not problems


def look(dataset: PoseDataset, row: int) -> Seen | UnreadableImage:
    """One sample, read and reduced to what `check` counts."""
    try:
        item = check_item(dataset[row])
    except UnreadableImage as error:
        return error
    height, width = item.image.shape[:2]
    corners = _in_picture(item, np.asarray(item.box, np.float64).reshape(2, 2))
    xy = _in_picture(item, item.keypoints[:, :2])
    inside = ((xy >= 0) & (xy <= (width, height))).all(1)
    return Seen(
        id=item.id,
        sequence=item.sequence,
        picture=_hash(item.image),
        size=(width, height),
        annotated=item.annotated,
        visible=item.visible,
        outside=int((item.annotated & ~inside).sum()),
        off=bool((corners[1] <= 0).any() or (corners[0] >= (width, height)).any()),
    )


def _hash(image: np.ndarray) -> int:
    return int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "big")


def _in_picture(item: Item, xy: np.ndarray) -> np.ndarray:
    """Points in file pixels as pixels of `item.image`, which may be a part of the file at another scale."""
    if item.to_file is None:
        return xy
    return (xy - item.to_file[:, 2]) @ np.linalg.inv(item.to_file[:, :2]).T


def _declared(dataset: PoseDataset) -> dict[int, tuple[str, tuple[int, int]]]:
    """By row, the picture and the width and height that its label file gives it."""
    inner = innermost(dataset)
    if not isinstance(inner, PictureSet) or inner.declared is None:
        return {}
    sizes = inner.declared()
    return {row: (picture, sizes[picture]) for row, picture in enumerate(inner.people.pictures) if picture in sizes}


def _empty(root: Path) -> list[str]:
    return [f"unreadable, and in neither part: {root / name}: the file is empty" for name in pictures.empty_files(root)]


def _tally(part: str, dataset: PoseDataset, reporter: Reporter) -> Tally:
    cv2.setNumThreads(1)
    tally, rows, declared = Tally(part, dataset), range(len(dataset)), _declared(dataset)
    first_item(dataset)  # renders what is not cached yet, before threads ask for it
    with reporter.counted(f"reading {dataset.name}", len(dataset)) as progress:
        for row, seen in enumerate(in_order(lambda row: look(dataset, row), rows, workers(dataset))):
            tally.add(seen)
            if row in declared and isinstance(seen, Seen) and seen.size != declared[row][1]:
                picture, (width, height) = declared[row]
                tally.resized[picture] = f"{width}x{height} there, {seen.size[0]}x{seen.size[1]} as it is shown"
            progress(len(tally.ids) + len(tally.twice) + len(tally.unreadable) + len(tally.unusable))
    return tally


def _introduce(name: str, options: Options, dataset: PoseDataset, reporter: Reporter) -> None:
    origin = entry_of(name).origin
    if origin is not None:
        reporter.say(f"{name}: {origin.title}\nlicence: {origin.licence}; from {origin.home}")
        reporter.say(f"layout: {origin.layout}")
    rendered = "; it is rendered" if isinstance(options, RenderedOptions) else ""
    reporter.say(f"root: {plain_options(options).get('root') or f'none{rendered}'}")
    reporter.say(f"skeleton {describe(dataset.skeleton)}")


def _print_counts(tallies: list[Tally], reporter: Reporter) -> None:
    def sizes(tally: Tally) -> str:
        ends = sorted({min(tally.sizes, key=np.prod), max(tally.sizes, key=np.prod)}) if tally.sizes else []
        return " to ".join(f"{w}x{h}" for w, h in ends)

    rows = {
        "samples": lambda t: f"{len(t.dataset):,}",
        "pictures": lambda t: f"{len(t.pictures):,}",
        "sequences": lambda t: f"{len(t.sequences):,}",
        "picture sizes": sizes,
        "unreadable": lambda t: f"{len(t.unreadable):,}",
        "unusable depth frames": lambda t: f"{len(t.unusable):,}",
        "without an annotated joint": lambda t: f"{t.bare:,}",
        "joints outside the picture": lambda t: f"{t.outside:,}",
        "boxes beside the picture": lambda t: f"{len(t.off):,}",
    }
    table = [[title, *(value(tally) for tally in tallies)] for title, value in rows.items()]
    reporter.table("samples", ["", *(tally.part for tally in tallies)], table)


def _print_joints(tallies: list[Tally], reporter: Reporter) -> None:
    titles = [f"{tally.part} {what}" for tally in tallies for what in ("annotated", "visible")]
    counts = [values for tally in tallies for values in (tally.annotated, tally.visible)]
    names = tallies[0].dataset.skeleton.keypoints
    reporter.table(
        "joints", ["", *titles], [[name, *(f"{values[k]:,}" for values in counts)] for k, name in enumerate(names)]
    )


def _leaks(dataset: PoseDataset) -> list[str]:
    """Which labels the input is made with, as far as the dataset says."""
    notes, cut = [], dataset.identity.get("boxes")
    if cut in LEAKS:
        notes.append(f"boxes={cut}: crops are cut by the true joints, a leak where this set is a target")
    if dataset.identity.get("centers") == "truth":
        notes.append("centers=truth: crops are centred on the true joints, a leak where this set is a target")
    if dataset.identity.get("split") == "frames":
        notes.append("split=frames: neighbours in time are parted at random, a leak between train and test")
    return notes


def _notes(tally: Tally) -> list[str]:
    notes, readable = [], len(tally.ids) + len(tally.twice)
    if readable and tally.bare == readable:
        notes.append(f"{tally.part} has no labels: it can be a target's train part, and nothing can be scored on it")
    elif tally.bare:
        notes.append(f"{tally.part}: {tally.bare:,} samples have no annotated joint; losses and metrics skip them")
    notes += [f"{tally.part}, unusable: {reason}" for reason in tally.unusable[:5]]
    return notes


def _problems(tally: Tally) -> list[str]:
    part, problems = tally.part, [f"{tally.part}, unreadable: {reason}" for reason in tally.unreadable]
    if len(tally.unusable) > EMPTY * len(tally.dataset):
        problems.append(
            f"{part}: {len(tally.unusable):,} of {len(tally.dataset):,} depth frames are unusable; look at the unit "
            "and the camera, or give centers"
        )
    if tally.outside > FAR_OUT * max(tally.annotated.sum(), 1):
        problems.append(
            f"{part}: {tally.outside:,} of {tally.annotated.sum():,} joints lie outside their pictures; see whether "
            f"labels and pictures belong together with: keyshift data show NAME part={part}"
        )
    inner = innermost(tally.dataset)
    if isinstance(inner, PictureSet):
        doubts = order_doubts(inner.people)
        problems += [f"{part}: {doubt}; see whether skeleton= fits the labels" for doubt in doubts]
    if tally.off:
        problems.append(f"{part}: {len(tally.off):,} boxes do not touch their picture{_some(tally.off)}; correct them")
    if tally.resized:
        picture, sizes = next(iter(tally.resized.items()))
        problems.append(
            f"{part}: {len(tally.resized):,} pictures are not of the size that the labels declare, the first {picture}:"
            f" {sizes}. Sides that changed places come of an EXIF tag that turns the picture: keypoints and boxes must "
            "be those of the picture as it is shown"
        )
    if tally.twice:
        problems.append(f"{part}: {len(tally.twice):,} ids stand twice{_some(tally.twice)}; remove one of each")
    return problems


def _shared(train: Tally, test: Tally) -> list[str]:
    """What stands in both parts, so that a test is no test; without labels there is none."""
    if not train.annotated.any() and not test.annotated.any():
        return []
    both = {
        "samples": sorted(train.ids & test.ids),
        "sequences": sorted(train.sequences & test.sequences),
        "pictures, by their pixels,": [f"{picture:016x}" for picture in train.pictures & test.pictures],
    }
    return [
        f"{len(names):,} {what} stand in train and in test{_some(names)}: a leak. Take them out of one of the two, or "
        "leave split unset"
        for what, names in both.items()
        if names
    ]


def _some(names: list[str]) -> str:
    return f" ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
