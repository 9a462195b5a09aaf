"""`keyshift data check`: is a dataset what it should be?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from ...datasets.catalog import entry_of
from ...datasets.depth.center import UnusableDepth
from ...datasets.doubts import gathered
from ...datasets.loading import check_item, first_item
from ...datasets.options import Options, option, plain_options
from ...datasets.own import pictures
from ...datasets.own.skeleton_file import describe
from ...datasets.reading.doubts import FAR_OUT, some
from ...datasets.reading.images import UnreadableImage
from ...datasets.reading.levels import dark
from ...datasets.reading.parallel import shared_out
from ...datasets.reading.people import LEAKS, PictureSet
from ...datasets.reading.prepared import is_prepared
from ...datasets.reading.splits import PARTS, SAME
from ...datasets.rendered.options import RenderedOptions
from ...datasets.sample import Item, PoseDataset
from ...datasets.skeleton import HAND
from ...datasets.views import innermost
from ..report.drawing import in_picture, middle_frame
from ..runs.centers import open_centered
from ..runs.progress import Reporter
from .data_words import read_words

EMPTY = 0.5
"""Share of unusable depth frames above which a run would stop."""


@dataclass(frozen=True)
class CheckOptions(Options):
    """Of the command, beside the dataset's."""

    part: str | None = option(None, "which part alone is checked; null: both, and what they share", choices=PARTS)


@dataclass
class Seen:
    """What is remembered of one sample that can be read."""

    id: str
    sequence: str
    picture: int
    """64 bits of a hash of its pixels, or 2D keypoints: the same picture under another name is found too."""
    size: tuple[int, int]
    annotated: np.ndarray
    """(K,) of how many people."""
    visible: np.ndarray
    people: int | None
    """Of a whole picture those with an annotated joint; None of a crop."""
    unlabelled: bool
    """It is a whole picture, which shows people, and no joint of them is annotated."""
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
    bare: int = 0
    """Samples without an annotated joint."""
    unlabelled: int = 0
    """Whole pictures of those, which show people."""
    outside: int = 0
    people: int | None = None

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
        self.visible += seen.visible
        if seen.people is not None:
            self.people = (self.people or 0) + seen.people
        self.bare += not seen.annotated.any()
        self.unlabelled += seen.unlabelled
        self.outside += seen.outside


def check(name: str, words: list[str], reporter: Reporter) -> bool:
    """Read every sample of a dataset, of both parts or of one, and print what is there and what is wrong; True where
    nothing is.

    `words` are key=value of the dataset's options and of CheckOptions. Raises ValueError where the dataset cannot be
    opened.
    """
    asked, options = read_words(name, words, CheckOptions)
    own = options if isinstance(options, pictures.Options) and not is_prepared(options.root) else None
    if own is not None and own.skeleton is None:
        reporter.say(f"skeleton= is not told: {HAND.name} is taken, which changes nothing in what is checked here")
    parts = PARTS if asked.part is None else (asked.part,)
    opened = {part: open_centered(name, options, part, HAND) for part in parts}
    _introduce(name, options, opened[parts[0]], reporter)
    tallies = [_tally(part, dataset, reporter) for part, dataset in opened.items()]
    _print_counts(tallies, reporter)
    if any(tally.annotated.any() for tally in tallies):
        _print_joints(tallies, reporter)
    doubted = gathered(opened.items(), max(map(len, opened.values())))
    notes = [f"{names}: {doubt.text}" for doubt, names in doubted.items() if not doubt.problem]
    for note in [*_leaks(opened[parts[-1]]), *(n for t in tallies for n in _notes(t)), *notes]:
        reporter.say(f"note: {note}")
    problems = [*(p for t in tallies for p in _problems(t)), *(_shared(*tallies) if len(parts) == 2 else ())]
    problems += [f"{names}: {doubt.text}" for doubt, names in doubted.items() if doubt.problem]
    problems += [] if own is None else _empty(own.folder)
    problems += _dark(opened.values())
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
    width, height = item.image.shape[1::-1] if item.image.size else (int(side) for side in item.box[2:])
    corners = _in_picture(item, np.asarray(item.box, np.float64).reshape(2, 2))
    people = item.annotated.reshape(-1, item.annotated.shape[-1])
    flat = in_picture(item.keypoints.reshape(-1, *item.keypoints.shape[-2:]), item)
    xy = _in_picture(item, flat[..., :2])
    beyond = ((xy < 0) | (xy > (width, height))).any(-1)
    return Seen(
        id=item.id,
        sequence=item.sequence,
        picture=_hash(item.image if item.image.size else middle_frame(item)),
        size=(width, height),
        annotated=people.sum(0),
        visible=(people & item.visible.reshape(people.shape)).sum(0),
        people=int(people.any(1).sum()) if item.annotated.ndim == 2 else None,
        unlabelled=item.annotated.ndim == 2 and len(people) > 0 and not people.any(),
        outside=int((people & beyond).sum()),
        off=bool((corners[1] <= 0).any() or (corners[0] >= (width, height)).any()),
    )


def _hash(image: np.ndarray) -> int:
    return int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "big")


def _in_picture(item: Item, xy: np.ndarray) -> np.ndarray:
    """Points in file pixels as pixels of `item.image`, which may be a part of the file at another scale."""
    if item.to_file is None:
        return xy
    return (xy - item.to_file[:, 2]) @ np.linalg.inv(item.to_file[:, :2]).T


def _empty(root: Path) -> list[str]:
    return [f"unreadable, and in neither part: {reason}" for reason in pictures.unreadable_files(root).values()]


def _dark(parts: Iterable[PoseDataset]) -> list[str]:
    """Pictures of 16 bit that are nearly black as they are read."""
    sets = [inner for part in parts if isinstance(inner := innermost(part), PictureSet) and inner.white is None]
    names = list(dict.fromkeys(name for inner in sets for name in inner.people.pictures))
    doubt = dark(sets[0].root, names) if sets else None
    return [doubt] if doubt else []


def _tally(part: str, dataset: PoseDataset, reporter: Reporter) -> Tally:
    cv2.setNumThreads(1)
    tally, rows = Tally(part, dataset), range(len(dataset))
    first_item(dataset)  # renders what is not cached yet, before all ask for it
    with (
        reporter.counted(f"reading {dataset.name}", len(dataset)) as progress,
        shared_out(partial(look, dataset), dataset, rows) as every,
    ):
        for done, seen in enumerate(every, 1):
            tally.add(seen)
            progress(done)
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
        **({"labelled people": lambda t: f"{t.people or 0:,}"} if any(t.people is not None for t in tallies) else {}),
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
    if dataset.identity.get("split") == SAME:
        notes.append("train and test are the same pictures: a leak where this set is a source, or is seen with labels")
    return notes


def _notes(tally: Tally) -> list[str]:
    notes, readable = [], len(tally.ids) + len(tally.twice)
    if readable and tally.bare == readable:
        notes.append(f"{tally.part} has no labels: it can be a target's train part, and nothing can be scored on it")
    elif tally.people is not None:
        if nobody := tally.bare - tally.unlabelled:
            notes.append(f"{tally.part}: {nobody:,} pictures show nobody; whoever is found there is invented")
        if tally.unlabelled:
            alone = f"{tally.unlabelled:,} pictures show crowds or people without keypoints alone"
            notes.append(f"{tally.part}: {alone}; whoever is found elsewhere in them is invented")
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
    if not isinstance(innermost(tally.dataset), PictureSet) and tally.outside > FAR_OUT * max(tally.annotated.sum(), 1):
        problems.append(
            f"{part}: {tally.outside:,} of {tally.annotated.sum():,} joints lie outside their pictures; see whether "
            f"labels and pictures belong together with: keyshift data show NAME part={part}"
        )
    if tally.twice:
        problems.append(f"{part}: {len(tally.twice):,} ids stand twice{some(tally.twice)}; remove one of each")
    return problems


def _shared(train: Tally, test: Tally) -> list[str]:
    """What stands in both parts, so that a test is no test; without labels there is none. Two label files number their
    entries each for itself, so that of them pictures and recordings with names alone are compared."""
    if not train.annotated.any() and not test.annotated.any():
        return []
    if test.dataset.identity.get("split") == SAME:  # which a note says
        return []
    files = test.dataset.identity.get("split") == "files"
    sequences = train.sequences & test.sequences if files or len(train.sequences | test.sequences) > 1 else set()
    both = {
        "samples": [] if files else sorted(train.ids & test.ids),
        "sequences": sorted(name for name in sequences if not (files and name.isdecimal())),
        "pictures, by their pixels,": [f"{picture:016x}" for picture in train.pictures & test.pictures],
    }
    remedy = "Take them out of one of the two" if files else "Take them out of one of the two, or leave split unset"
    return [
        f"{len(names):,} {what} stand in train and in test{some(names)}: a leak. {remedy}"
        for what, names in both.items()
        if names
    ]
