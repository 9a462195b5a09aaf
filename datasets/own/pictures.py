"""Your own camera: pictures and videos without labels, to adapt to and to predict on.

    ROOT/any/folders/IMG_0001.jpg       pictures of any size, turned by their EXIF tag; see datasets/reading/images.py
    ROOT/any/folders/clip.mp4           videos; see datasets/reading/video.py

or ROOT itself is one video or one picture. Pictures come in the order of their paths, numbers by value, and the frames
of a video (`clip.mp4#12`) in its place. Hidden files and folders, __MACOSX and what lies beside pictures (SIDE) are
passed over. Every other file that is not used is counted in a warning: empty, of a type that nothing here reads
(.heic, raw), a broken video. Broken pictures are noticed when they are read. Links are followed, each folder once.

Labels: none; all keypoints are zeros and not annotated. `skeleton` says what is looked for: a known name or a YAML file
(datasets/own/skeleton_file.py); without it a run takes the source's.

Boxes: null or whole, the whole picture; a .csv or .json file, or a detector's name (datasets/reading/boxes.py): one row
a box, pictures without one are left out.

Cameras: none, unless `focal` or `camera` says which (datasets/reading/intrinsics.py); a run whose system reads a camera
asks for camera=assumed where neither does, and says what follows from that.

Split: pictures of one folder, and frames of one video, follow each other in time; they are cut into blocks of `block`,
which are the sequences, and every fifth block tests. Of a single folder or video of fewer than five blocks the last
fifth tests. A single picture is in both parts: nothing is held out then.

`stride` takes every n-th picture of a folder and every n-th frame of a video; `duplicates` passes over frames of videos
(not pictures of folders) that differ less than so many grey levels from the last one kept.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..options import option
from ..reading.annotations import BadAnnotation, picture_name
from ..reading.boxes import FILES, Boxes, check_detector, detect, read_boxes, touching, weights_of
from ..reading.files import from_home
from ..reading.headers import read_headers
from ..reading.images import PICTURES, UnreadableImage, pictures_in
from ..reading.intrinsics import CameraOptions, open_intrinsics
from ..reading.levels import LOOKED_AT, LevelOptions, white_of
from ..reading.listing import by_path, evenly, walk
from ..reading.origin import FolderOptions, Origin
from ..reading.people import CROPS, WHOLE, People, PictureSet, digest
from ..reading.splits import EVERY, BlockOptions, by_end, by_group, check_part
from ..reading.video import VIDEOS, check_video, frames_of, is_hdr, pixel_aspect
from ..skeleton import Skeleton
from .skeleton_file import skeleton_of

SIDE = (
    *(".json", ".jsonl", ".csv", ".tsv", ".txt", ".md", ".yaml", ".yml", ".xml", ".toml", ".ini", ".cfg", ".log"),
    *(".npy", ".npz", ".mat", ".h5", ".hdf5", ".pkl", ".pickle", ".parquet", ".xlsx", ".xls", ".pdf", ".html", ".db"),
    *(".py", ".ipynb", ".sh", ".m", ".pt", ".pth", ".onnx", ".xmp", ".aae", ".thm", ".srt", ".vtt", ".gpx", ".sha256"),
    *(".ifo", ".bup", ".cpi", ".mpl", ".bdm", ".moi", ".inf", ".url", ".lnk", ".md5", ".bak", ".tmp"),
)
"""Labels, notes, and what cameras and systems leave beside pictures: no word is said of these."""
ORIGIN = Origin(
    "your own pictures and videos",
    "yours",
    "your disk",
    f"any folders of pictures ({', '.join(PICTURES)}) and videos ({', '.join(VIDEOS)}), or one such file",
)
UNKNOWN, BROKEN, EMPTY = "of types that are not read", "videos that are broken or have no pictures", "empty"
"""Why files are left out."""
SEVERAL = (".gif", ".png", ".apng", ".webp", ".tif", ".tiff", ".avif")
"""Types of which a file can hold several pictures."""
STRETCHED = 1.05
"""From this ratio of a stored pixel's sides on, a word is said."""
SAY_EVERY = 10.0
"""Seconds between lines about how far a detector is."""


@dataclass(frozen=True)
class Options(CameraOptions, BlockOptions, LevelOptions, FolderOptions):
    """The options of your own pictures and videos; `root` is a folder of them, or one of them."""

    boxes: str | None = option(None, "null, whole: the whole picture; a .csv or .json file of boxes; a detector's name")
    stride: int | None = option(None, "every how many-th picture and frame; null: each", low=1, high=1e6)
    duplicates: float | None = option(
        None,
        "videos: frames that differ less than this, in grey levels, from the last one kept are skipped",
        low=0,
        high=255,
    )
    crops: str | None = option(
        None,
        "what a sample is: person, a picture or what a box cuts out of it, for systems of one person; whole, a whole "
        "picture, for systems that find people; null: as the system that reads needs it",
        choices=CROPS,
    )
    skeleton: str | None = option(
        None, "what is looked for: a skeleton's name, or a YAML file; null: the source's keypoints"
    )


def own_pictures(options: Options, part: str, default_skeleton: Skeleton | None = None) -> PictureSet:
    """The pictures and frames below `root`, or of the one file that it is, in the file's pixels; see above.
    `default_skeleton` is what is looked for where the options do not say it.

    No picture is decoded here: one that is broken raises UnreadableImage when it is read. Videos are decoded through
    once. Raises ValueError for a root without pictures, boxes that do not fit, and broken videos.
    """
    check_part(part)
    skeleton = default_skeleton if options.skeleton is None else skeleton_of(options.skeleton)
    if skeleton is None:
        raise ValueError("pictures without labels: say what to look for with skeleton=, a known name or a YAML file")
    _check_boxes(options.boxes)
    listing = _list(options.folder)
    frames = listed_frames(listing, options.block, options.stride, options.duplicates)
    rows = [frames[i] for i in _part(frames, part)]
    about: dict[str, Any] = {
        **{"part": part, "block": options.block, "stride": options.stride, "duplicates": options.duplicates},
        **{"skeleton": skeleton.name, "keypoints": list(skeleton.keypoints), "sha256": _digest(listing.sizes)},
    }
    boxes, cameras = None, None
    said: tuple[str, ...] = ()
    white = white_of(options.white, listing.root, list(listing.sizes))
    if options.boxes not in (None, "whole"):
        boxes, about["boxes_from"] = _boxes(str(options.boxes), listing, rows, frames, white)
        if not boxes:
            raise ValueError(
                f"boxes={options.boxes}: not one box in the {len(rows)} pictures of {options.root}, {part}"
            )
    if options.camera is not None or options.focal is not None:
        cameras, said = _cameras(options, listing.root, frames)
        about |= {"focal": options.focal, "camera": options.camera}
    people = _people(str(options.root), rows, boxes, skeleton, cameras)
    if options.crops == WHOLE:
        people = replace(people, nobody=np.ones(len(people), bool))
    return PictureSet(
        f"pictures.{part}",
        listing.root,
        people,
        about=about,
        origin=ORIGIN,
        boxes="whole" if boxes is None else None,
        white=white,
        said=said,
    )


def _boxes(
    source: str, listing: Listing, rows: list[_Frame], frames: list[_Frame], white: int | None
) -> tuple[Boxes, str]:
    """The boxes of `rows` from a file or a detector, and what names their source exactly."""
    names = [row.name for row in rows]
    if source.lower().endswith(FILES):
        path = from_home(source)
        boxes = read_boxes(path, names, [*listing.sizes, *(frame.name for frame in frames)])
        return touching(boxes, listing.root, str(path)), digest(path)
    return detect(source, listing.root, names, teller(source), white=white), weights_of(source)


def _cameras(options: Options, root: Path, frames: list[_Frame]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The cameras (4,) of all pictures that can be read, and where they are from, for people."""
    headers = read_headers(root, (frame.name for frame in frames))
    sizes = [(header.width, header.height) for header in headers.values()]
    intrinsics = open_intrinsics(options, root, list(headers), sizes)
    cameras = {name: intrinsics.of(name, *size) for name, size in zip(headers, sizes, strict=True)}
    return cameras, (intrinsics.note,)


def _check_boxes(boxes: str | None) -> None:
    if boxes in ("truth", "tllib"):
        raise ValueError(f"boxes={boxes}: these pictures have no labels; use whole, a .csv or .json, or a detector")
    if boxes not in (None, "whole") and not boxes.lower().endswith(FILES):
        check_detector(boxes)


@dataclass
class Listing:
    root: Path
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of the files that are used, by their path below the root, in their order."""


def _list(root: Path) -> Listing:
    if root.is_file():
        files, folder = [root.name], root.parent
    elif root.is_dir():
        files, folder = list(walk(root)), root
    else:
        raise ValueError(f"root={root}: no such folder or file. Give a folder of pictures and videos, or one of them")
    listing, left_out, reason = Listing(folder), defaultdict(list), None
    for name in sorted(files, key=by_path):
        why, size = usable(folder, name)
        if why is None and root.is_dir() and (problem := broken(folder / name)):
            why, reason = BROKEN, reason or problem
        if why is None:
            listing.sizes[name] = size
        elif why:
            left_out[why].append(name)
    listed = "; ".join(
        f"{len(names)} {why}{_kinds(why, names)}, the first {names[0]!r}" for why, names in left_out.items()
    )
    listed += f" ({reason})" if reason else ""
    if not listing.sizes:
        raise ValueError(
            f"root={root}: no picture or video; expected {', '.join((*PICTURES, *VIDEOS))}; found "
            f"{_counted(files) or 'no files'}{f' ({listed})' if listed else ''}"
        )
    if listed:
        warnings.warn(f"{root}: left out {listed}", stacklevel=3)
    return listing


def _counted(files: Iterable[str]) -> str:
    """How many there are of each suffix."""
    kinds = Counter(Path(name).suffix.lower() or "without suffix" for name in files)
    return ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())


def _kinds(why: str, names: list[str]) -> str:
    return f" ({_counted(names)}): convert those that are wanted" if why == UNKNOWN else ""


def usable(folder: Path, name: str) -> tuple[str | None, int]:
    """Why a file is not used, "" where it is none of ours to speak of, None where it is; and its bytes."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in SIDE:
        return "", 0
    if suffix not in (*PICTURES, *VIDEOS):
        return (UNKNOWN if os.path.isfile(folder / name) else ""), 0
    try:
        state = os.stat(folder / name)
        picture_name(name, folder, "", "the name")
    except OSError:
        return "that cannot be opened", 0
    except BadAnnotation:
        return "of names with \\, : or signs that are none: rename them", 0
    if not stat.S_ISREG(state.st_mode):
        return "that are no files", 0
    return (None if state.st_size else EMPTY), state.st_size


def broken(path: Path) -> str | None:
    """What is wrong with a video; None where nothing is, and for pictures."""
    try:
        if path.name.lower().endswith(VIDEOS):
            check_video(path)
    except UnreadableImage as error:
        return str(error)
    return None


def unreadable_files(root: Path) -> dict[str, str]:
    """What is wrong with files below `root` that are in no part, by path: empty ones and broken videos."""
    if not root.is_dir():
        return {}
    reasons = {name: (usable(root, name)[0], root / name) for name in sorted(walk(root))}
    empty = {name: f"{path}: the file is empty" for name, (why, path) in reasons.items() if why == EMPTY}
    return empty | {name: why for name, (reason, path) in reasons.items() if reason is None and (why := broken(path))}


@dataclass(frozen=True)
class _Frame:
    name: str
    sequence: str
    number: int


def listed_frames(listing: Listing, block: int, stride: int | None, duplicates: float | None) -> list[_Frame]:
    videos = [name for name in listing.sizes if name.lower().endswith(VIDEOS)]
    if duplicates is not None and not videos:
        raise ValueError(f"duplicates={duplicates} is for videos, and there is none below {listing.root}; leave it out")
    if stride is not None and stride < 1:
        raise ValueError(f"stride={stride} must be at least 1 frame")
    _remark(listing, videos)
    places: Counter[str] = Counter()
    frames, step = [], stride or 1
    for name in listing.sizes:
        if name.lower().endswith(VIDEOS):
            for k, number in enumerate(frames_of(listing.root / name, stride, duplicates)):
                frames.append(_Frame(f"{name}#{number}", f"{name}/{k // block:03d}", number))
            continue
        folder = name.rpartition("/")[0] or "."
        place = places[folder]
        places[folder] += 1
        if place % step == 0:
            frames.append(_Frame(name, f"{folder}/{place // step // block:03d}", place))
    return frames


def _remark(listing: Listing, videos: list[str]) -> None:
    """Warns of what is read otherwise than one may think: stored pixels that are not square, the first of several
    pictures in a file."""
    aspects = {name: pixel_aspect(listing.root / name) for name in videos}
    stretched = {name: a for name, a in aspects.items() if max(a, 1 / a) >= STRETCHED}
    if stretched:
        name, aspect = next(iter(stretched.items()))
        warnings.warn(
            f"{listing.root}: {len(stretched)} videos have pixels that are not square, the first {name!r} {aspect:.3g} "
            "times as wide as high: pictures and coordinates are those of the stored pixels, which players stretch",
            stacklevel=4,
        )
    bright = [name for name in videos if is_hdr(listing.root / name)]
    if bright:
        warnings.warn(
            f"{listing.root}: {len(bright)} videos are HDR, the first {bright[0]!r}: their levels are read as they "
            "are, and pictures look paler than players show them. Export them as SDR if the other data are",
            stacklevel=4,
        )
    some = evenly([name for name in listing.sizes if name.lower().endswith(SEVERAL)], LOOKED_AT)
    several = [name for name in some if pictures_in(listing.root / name) > 1]
    if several:
        warnings.warn(
            f"{listing.root}: {len(several)} of {len(some)} files that were looked at hold several pictures (pages, or "
            f"an animation), the first {several[0]!r}: the first picture of each is read. Export the others as "
            "files of their own, or as a video",
            stacklevel=4,
        )


def _part(frames: list[_Frame], part: str) -> np.ndarray:
    order = {sequence: f"{k:09d}" for k, sequence in enumerate(dict.fromkeys(frame.sequence for frame in frames))}
    recordings = {sequence.rpartition("/")[0] for sequence in order}
    if len(recordings) == 1 and len(order) < EVERY:
        return by_end([frame.name for frame in frames], part)
    return by_group([order[frame.sequence] for frame in frames], part)


def _people(
    root: str,
    frames: list[_Frame],
    boxes: Boxes | None,
    skeleton: Skeleton,
    cameras: dict[str, np.ndarray] | None = None,
) -> People:
    """One row a box, or a picture where there are no boxes. A picture's only box has its name, several name/k. The
    camera of a picture that cannot be read is zeros."""
    ids, rows = [], []
    for frame in frames:
        count = 1 if boxes is None else len(boxes.get(frame.name, ()))
        ids += [frame.name] if count == 1 else [f"{frame.name}/{k}" for k in range(count)]
        rows += [frame] * count
    n, k = len(rows), len(skeleton)
    return People(
        root,
        skeleton,
        [row.name for row in rows],
        ids,
        [row.sequence for row in rows],
        np.array([row.number for row in rows], np.int64),
        np.zeros((n, k, 2)),
        np.zeros((n, k), bool),
        np.zeros((n, k), bool),
        boxes=None if boxes is None else np.concatenate([boxes[frame.name] for frame in frames if frame.name in boxes]),
        camera=None if cameras is None else np.stack([cameras.get(row.name, np.zeros(4)) for row in rows]),
    )


def _digest(sizes: dict[str, int]) -> str:
    """A name for these files by their paths and bytes, the same on every disk that they are copied to."""
    return hashlib.sha256("".join(f"{name}\0{size}\0" for name, size in sizes.items()).encode()).hexdigest()


def teller(detector: str) -> Callable[[int, int], None]:
    """Says on stderr now and then how far the detector is: it can take hours."""
    last = time.monotonic()

    def tell(done: int, count: int) -> None:
        nonlocal last
        if time.monotonic() - last > SAY_EVERY:
            last = time.monotonic()
            print(f"{detector}: searched {done} of {count} pictures for people", file=sys.stderr)

    return tell
