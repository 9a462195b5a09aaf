"""`keyshift data check` and `keyshift data prepare`: is a dataset what it should be, and its crops as fast arrays."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..datasets import prepared
from ..datasets.catalog import Entry, entry_of, open_dataset
from ..datasets.depth_center import UnusableDepth
from ..datasets.download import FOLDER, fetch, is_unpacked, only_one, unpack, write_synced
from ..datasets.images import UnreadableImage
from ..datasets.loading import check_item, first_item
from ..datasets.origin import Origin
from ..datasets.people import LEAKS
from ..datasets.sample import Item, PoseDataset
from ..datasets.skeleton_file import describe, order_doubts
from ..datasets.splits import PARTS
from .config import Data, build
from .progress import PLAIN_EVERY, Reporter
from .run import open_centered

SIZE = 256
"""Side in pixels of the crops that prepared pictures are kept for, where none is told."""
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


def check(name: str, overrides: list[str], reporter: Reporter) -> bool:
    """Read every sample of both parts of a dataset and print what is there and what is wrong; True where nothing is.

    Overrides are keys of the configuration's Data. Raises ValueError where the dataset cannot be opened.
    """
    config = build({"target": {"name": name}}, [f"target.{o}" for o in overrides])
    opened = {part: open_centered(config.target, part, config) for part in PARTS}
    _introduce(name, config.target, opened["train"], reporter)
    tallies = [_tally(part, dataset, reporter) for part, dataset in opened.items()]
    _print_counts(tallies, reporter)
    _print_joints(tallies, reporter)
    for note in [*_leaks(config.target, opened["test"]), *(n for t in tallies for n in _notes(t))]:
        reporter.say(f"note: {note}")
    problems = [*(p for t in tallies for p in _problems(t)), *_shared(*tallies)]
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


def _tally(part: str, dataset: PoseDataset, reporter: Reporter) -> Tally:
    cv2.setNumThreads(1)
    tally, rows = Tally(part, dataset), range(len(dataset))
    first_item(dataset)  # renders what is not cached yet, before threads ask for it
    with progress(reporter, f"reading {dataset.name}", len(dataset)) as told:
        for seen in prepared.in_order(lambda row: look(dataset, row), rows, prepared.workers(dataset)):
            tally.add(seen)
            told(len(tally.ids) + len(tally.twice) + len(tally.unreadable) + len(tally.unusable))
    return tally


@contextmanager
def progress(reporter: Reporter, name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, now and then a line elsewhere; gives what is called with the number done."""
    printed = time.monotonic()
    with reporter.stage(name, total) as step:

        def told(done: int) -> None:
            nonlocal printed
            step(done, {})
            if not reporter.live and time.monotonic() - printed > PLAIN_EVERY:
                printed = time.monotonic()
                reporter.say(f"{name}: {done:,}/{total:,}")

        yield told


def _introduce(name: str, data: Data, dataset: PoseDataset, reporter: Reporter) -> None:
    origin = entry_of(name).origin
    if origin is not None:
        reporter.say(f"{name}: {origin.title}\nlicence: {origin.licence}; from {origin.home}")
        reporter.say(f"layout: {origin.layout}")
    reporter.say(f"root: {data.root or 'none; it is rendered'}")
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
    table = [[told, *(value(tally) for tally in tallies)] for told, value in rows.items()]
    reporter.table("samples", ["", *(tally.part for tally in tallies)], table)


def _print_joints(tallies: list[Tally], reporter: Reporter) -> None:
    titles = [f"{tally.part} {what}" for tally in tallies for what in ("annotated", "visible")]
    counts = [values for tally in tallies for values in (tally.annotated, tally.visible)]
    names = tallies[0].dataset.skeleton.keypoints
    reporter.table(
        "joints", ["", *titles], [[name, *(f"{values[k]:,}" for values in counts)] for k, name in enumerate(names)]
    )


def _leaks(data: Data, dataset: PoseDataset) -> list[str]:
    """Which labels the input is made with, as far as the options say."""
    notes, cut = [], dataset.identity.get("boxes")
    if cut in LEAKS:
        notes.append(f"boxes={cut}: crops are cut by the true joints, a leak where this set is a target")
    if dataset.identity.get("centers") == "truth":
        notes.append("centers=truth: crops are centred on the true joints, a leak where this set is a target")
    if data.split == "frames":
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
    people = getattr(tally.dataset, "people", None)
    if people is not None:
        problems += [f"{part}: {doubt}; see whether skeleton= fits the labels" for doubt in order_doubts(people)]
    if tally.off:
        problems.append(f"{part}: {len(tally.off):,} boxes do not touch their picture{_some(tally.off)}; correct them")
    if tally.twice:
        problems.append(f"{part}: {len(tally.twice):,} ids stand twice{_some(tally.twice)}; remove one of each")
    return problems


def _shared(train: Tally, test: Tally) -> list[str]:
    """What stands in both parts, so that a test is no test."""
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


def prepare(name: str, overrides: list[str], reporter: Reporter, accept: bool = False, overwrite: bool = False) -> Path:
    """Get the raw set where it is missing and can be downloaded, and keep the crops of both parts as arrays.

    Overrides are keys of the configuration's Data, and output=FOLDER (default: ROOT-prepared/NAME). `accept`: the
    licence is accepted, which a terminal asks for. Goes on where an earlier call was stopped. Gives the output folder.
    Raises ValueError for rendered and depth sets, for a folder with something else in it or made from other options or
    other annotations (unless `overwrite`), and where the disk is too small.
    """
    outputs = [o.removeprefix("output=") for o in overrides if o.startswith("output=")]
    told = [o for o in overrides if not o.startswith("output=")]
    config = build({"target": {"name": name}}, [f"target.{o}" for o in told])
    size = config.target.size if any(o.startswith("size=") for o in told) else SIZE
    data, entry = replace(config.target, size=Data().size), entry_of(name)
    _refuse(data, entry)
    if data.root is not None:
        _obtain(name, entry.origin, Path(data.root).expanduser(), reporter, accept)
    opened = {part: open_dataset(data, part) for part in PARTS}
    raw = Path(str(data.root)).expanduser().resolve()
    output = Path(outputs[-1]).expanduser() if outputs else raw.with_name(f"{raw.name}-prepared") / name
    if output.resolve() in (raw, *raw.parents):
        raise ValueError(f"output={output} holds the raw set at {raw}; choose another folder")
    about = _plan(name, data, size, opened, entry.origin)
    if output.exists() and any(output.glob("[!.]*")) and not prepared.is_prepared(output):
        raise ValueError(f"{output} holds something else; choose another folder with output=FOLDER")
    _check_room(output, opened, size, overwrite, reporter)
    with only_one(output), _going_on():
        _write(output, about, opened, size, overwrite, reporter)
    reporter.say("use it with: " + _usage(name, output, about["options"]))
    return output


@contextmanager
def _going_on() -> Iterator[None]:
    """Ctrl-C says that the same command goes on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("stopped") from stop


def _refuse(data: Data, entry: Entry) -> None:
    if "train" in entry.options:
        raise ValueError(f"{data.name} is rendered, and kept ready in the cache already; nothing is to be prepared")
    if entry.depth or data.joints != "all":
        raise ValueError(f"{data.name} gives depth, of which whole frames are needed; use the raw set as it is")
    if prepared.is_prepared(data.root):
        raise ValueError(f"root={data.root} is prepared already; root must be the folder of the raw set")


def _obtain(name: str, origin: Origin | None, root: Path, reporter: Reporter, accept: bool) -> None:
    """Download and unpack into `root` what is not there: where it is empty, or where that was begun."""
    downloads = [d for d in (origin.downloads if origin else ()) if not is_unpacked(d, root)]
    begun = (root / FOLDER).is_dir() or not root.exists() or not any(root.iterdir())
    if origin is None or not downloads or not begun:
        return
    reporter.say(f"{name}: {origin.title}\nlicence: {origin.licence}; read and accept it at {origin.home}")
    if not accept and not _asked():
        raise ValueError(
            f"{name} is downloaded only under its licence ({origin.licence}; {origin.home}): pass --accept-licence"
        )
    with only_one(root / FOLDER), _going_on():
        for download in downloads:
            fetch(download, root, _megabytes(download.url, reporter))
            reporter.say(f"unpacking {download.url.rpartition('/')[2]}")
            unpack(download, root)
    reporter.say(f"all of it lies in {root}; the archives in {root / FOLDER} are no longer needed")


def _megabytes(url: str, reporter: Reporter) -> Callable[[int, int | None], None]:
    """Says now and then how much of a download is there."""
    reporter.say(f"downloading {url}")
    printed = time.monotonic()

    def told(done: int, total: int | None) -> None:
        nonlocal printed
        if time.monotonic() - printed > PLAIN_EVERY:
            printed = time.monotonic()
            reporter.say(f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB" if total else f"{done / 1e6:,.0f} MB")

    return told


def _asked() -> bool:
    if not sys.stdin.isatty():
        return False
    with suppress(EOFError):
        return input("Do you accept the licence? [y/N] ").strip().lower() in ("y", "yes")
    return False


def _plan(name: str, data: Data, size: int, opened: dict[str, PoseDataset], origin: Origin | None) -> dict[str, Any]:
    more: dict[str, Any] = {"keyshift": version("keyshift")}
    if origin is not None:
        more |= {"title": origin.title, "licence": origin.licence, "home": origin.home}
    made: dict[str, Any] = prepared.plan(name, prepared.given(data), size, opened, more)
    return made


def _check_room(output: Path, opened: dict[str, PoseDataset], size: int, overwrite: bool, reporter: Reporter) -> None:
    """Raises ValueError where the disk is smaller than what is still to be written."""
    if (output / prepared.DONE).is_file() and not overwrite:
        return
    there = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    needed = max(sum(prepared.bytes_needed(dataset, size) for dataset in opened.values()) - there, 0)
    standing = next(folder for folder in (output, *output.resolve().parents) if folder.is_dir())
    free = shutil.disk_usage(standing).free
    told = f"{needed / 1e9:.2f} GB to write to {output}, {free / 1e9:.2f} GB free there"
    if needed > free:
        raise ValueError(f"{told}: make room, choose another disk with output=FOLDER, or a smaller size=")
    reporter.say(told)


def _write(
    output: Path, about: dict[str, Any], opened: dict[str, PoseDataset], size: int, overwrite: bool, reporter: Reporter
) -> None:
    done, begun = output / prepared.DONE, output / prepared.BEGUN
    if overwrite:
        for path in (done, begun):
            path.unlink(missing_ok=True)
        for part in PARTS:
            shutil.rmtree(output / part, ignore_errors=True)
    for path in (done, begun):
        if path.is_file():
            _check_same(prepared.read_about(path), about, output)
    if done.is_file():
        reporter.say(f"{output} is finished already: nothing to do")
    else:
        _convert(output, about, opened, size, reporter)
    for path in (begun, *(output / part / prepared.MARK for part in PARTS)):
        path.unlink(missing_ok=True)


def _convert(
    output: Path, about: dict[str, Any], opened: dict[str, PoseDataset], size: int, reporter: Reporter
) -> None:
    write_synced(output / prepared.BEGUN, _text(about))
    for part, dataset in opened.items():
        with progress(reporter, f"preparing {dataset.name}", len(dataset)) as told:
            unreadable = prepared.convert(dataset, output / part, size, told)
        for _, reason in unreadable:
            reporter.say(f"left out: {reason}")
        about["parts"][part]["unreadable"] = unreadable
        reporter.say(f"{dataset.name}: {len(dataset) - len(unreadable):,} crops in {output / part}")
    write_synced(output / prepared.DONE, _text(about))


def _text(about: dict[str, Any]) -> str:
    return json.dumps(about, indent=1, ensure_ascii=False) + "\n"


def _check_same(there: dict[str, Any], about: dict[str, Any], output: Path) -> None:
    choice = "choose another folder with output=FOLDER, or pass --overwrite"
    named = [{"name": told["name"], "size": told["size"], **told["options"]} for told in (there, about)]
    if told := prepared.differences(*named):
        raise ValueError(f"{output} was prepared otherwise: {told}; {choice}")
    for part in PARTS:
        if told := prepared.differences(*(side["parts"][part]["identity"] for side in (there, about))):
            raise ValueError(f"the raw set has changed since {output} was prepared, {part}: {told}; {choice}")


def _usage(name: str, output: Path, options: dict[str, Any]) -> str:
    return " ".join(f"target.{key}={value}" for key, value in {"name": name, "root": output, **options}.items())
