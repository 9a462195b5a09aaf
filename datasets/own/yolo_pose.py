"""Your own labels in the text files of Ultralytics' YOLO pose: https://docs.ultralytics.com/datasets/pose/

    ROOT/data.yaml                  kpt_shape: [K, 2 or 3], flip_idx, kpt_names, names of the classes, train, val, test
    ROOT/images/train/a.jpg         or ROOT/train/images/a.jpg, or ROOT/images/a.jpg where nothing is parted
    ROOT/labels/train/a.txt         a line a person: class, box (x, y of its middle, width, height), x, y(, v) of points

`train` trains; `test` tests, or where it has no labels `val`. Where there is neither, or they are pictures of `train`,
each fifth folder or block of `block` pictures tests. Entries of the YAML are looked for below the root: its `path`, and
what leads out of it (`../train/images`, another machine's `/home/…/train/images`), only as far as they end there.
Without a YAML, parts are the folders of these names, and skeleton= says how many keypoints there are.

All numbers are shares of the picture as it is shown, from edge to edge: Ultralytics mirrors x to width - x
(ultralytics/utils/instance.py), so nothing is added. Its converter from COCO divides indices of pixels: such files are
half a pixel off, and do not say so. v of 0: not annotated, 1 hidden, 2 visible; files without a 2 do not say what is
hidden. With two numbers a point is not annotated where it is 0, 0 or negative. A picture without a file, or with an
empty one, shows nobody. Points have names where kpt_names gives them, or where flip_idx is that of COCO's 17; else they
are point0, point1, ..., and change places in a mirrored picture as flip_idx says. Lines without an annotated point are
left out; in whole pictures no label counts in their boxes.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..bodies.skeletons import COCO17
from ..options import option
from ..reading.annotations import BadAnnotation, Words, entries, mapping, picture_name, read_yaml
from ..reading.files import from_home
from ..reading.headers import read_header
from ..reading.images import PICTURES
from ..reading.levels import white_of
from ..reading.listing import by_path, walk
from ..reading.origin import Origin
from ..reading.people import WHOLE, People, PictureSet, joints_box, warn_of_boxes
from ..reading.regions import rectangle
from ..reading.splits import check_part
from ..skeleton import Skeleton
from ..words import Texts
from .foreign import refuse_foreign, refuse_foreign_folder
from .label_files import LabelOptions, recordings
from .labels import take_part
from .skeleton_file import of_category, skeleton_of

ORIGIN = Origin(
    "your own labels in Ultralytics' YOLO pose format",
    "yours",
    "your disk",
    "data.yaml, images/train/ and labels/train/, images/val/ and labels/val/",
)
PARTS = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}
"""Names of the folders of parts, by the YAML's keys."""
NOTHING = (None, "", "null", "~")
"""Entries of a YAML, whose scalars are all read as texts, that name no pictures."""
FARTHEST = 2.0
"""Shares beyond this are no shares; a little outside the picture a point may lie."""


@dataclass(frozen=True)
class Options(LabelOptions):
    """The options of YOLO pose labels; `root` is the folder that holds the YAML, or the YAML."""

    labels: Texts = option(None, "the data YAML; null: the one in root")
    category: str | None = option(None, "the class to read, by its name or number; null: all")


class Lines(NamedTuple):
    """The people of all label files, one row each."""

    pictures: list[str]
    """(N)"""
    ids: list[str]
    values: np.ndarray
    """(N, 5 + K * D) as they stand there."""
    sizes: np.ndarray
    """(N, 2) width and height of their pictures."""
    nobody: list[bool]
    """(N) the row stands for a picture that shows nobody."""


def yolo_pose(options: Options, part: str) -> PictureSet:
    """The people of `part`. Raises ValueError for files that are not there, malformed or leave a part empty."""
    check_part(part)
    file, root = _yaml(options)
    content = {} if file is None else mapping(read_yaml(file), file, "", "the content")
    source = file or root
    shape = _shape(content, source)
    if shape is None and options.skeleton is None:
        refuse_foreign_folder(root, "yolo_pose")
    skeleton = _skeleton(content, source, shape, options)
    pictures, parted = _parts(content, source, root, part)
    total = hashlib.sha256(repr(sorted(content.items())).encode("utf-8", "surrogatepass"))
    everyone, wanted = options.crops == WHOLE, _wanted_class(content, source, options.category)
    lines = _lines(root, pictures, len(skeleton), shape, total, wanted, everyone)
    people, about = take_part(_people(source, lines, skeleton, options.block, everyone), part, options, parted)
    about |= {"category": options.category, "sha256": total.hexdigest()}
    if parted and options.white == "auto":  # one white for both parts
        pictures = [*pictures, *_parts(content, source, root, "train" if part == "test" else "test")[0]]
    white = white_of(options.white, root, pictures)
    return PictureSet(f"yolo_pose.{part}", root, people, about, ORIGIN, options.boxes, fallback="truth", white=white)


def _yaml(options: Options) -> tuple[Path | None, Path]:
    """The data YAML, None where there is none, and the root."""
    if options.labels is None and options.root is None:
        raise ValueError("yolo_pose needs root=FOLDER or labels=data.yaml")
    if isinstance(options.labels, list | tuple):
        raise ValueError(f"labels={options.labels} must be one data YAML, which names the parts")
    named = options.folder if options.labels is None else from_home(options.labels)
    if named.is_file():
        refuse_foreign(named, "yolo_pose")
        if named.suffix.lower() not in (".yaml", ".yml"):
            raise ValueError(f"yolo_pose: {named} is no data YAML; name that, or the folder that holds it")
        return named, named.parent if options.labels is None or options.root is None else options.folder
    if not named.is_dir():
        raise ValueError(f"no folder {named}: yolo_pose reads {ORIGIN.layout}")
    files = sorted(path for path in named.glob("*") if path.suffix.lower() in (".yaml", ".yml") and path.is_file())
    if len(files) > 1:
        files = [path for path in files if "kpt_shape" in path.read_text("utf-8", "replace")]
    if len(files) > 1:
        listed = ", ".join(path.name for path in files)
        raise ValueError(f"{named} holds several YAML files: {listed}. Name yours with labels=FILE")
    return (files[0] if files else None), named


def _shape(content: dict[str, Any], source: Path) -> tuple[int, int] | None:
    """K and how many numbers a keypoint has; None where nothing says it."""
    if "kpt_shape" not in content:
        return None
    numbers = [_whole(n, source, "kpt_shape") for n in entries(content["kpt_shape"], source, "", "kpt_shape")]
    if len(numbers) != 2 or not 1 <= numbers[0] <= 10_000 or numbers[1] not in (2, 3):
        raise BadAnnotation(source, "", "kpt_shape", numbers, "[how many keypoints, 2 or 3]")
    return numbers[0], numbers[1]


def _whole(text: Any, source: Path, field: str) -> int:
    if not isinstance(text, str) or not text.strip().isdecimal() or len(text) > 9:
        raise BadAnnotation(source, "", field, text, "a whole number from 0")
    return int(text)


def _skeleton(content: dict[str, Any], source: Path, shape: tuple[int, int] | None, options: Options) -> Skeleton:
    flip = [_whole(n, source, "flip_idx") for n in entries(content.get("flip_idx") or [], source, "", "flip_idx")]
    if options.skeleton is not None:
        given = skeleton_of(options.skeleton)
        if shape is not None and shape[0] != len(given):
            words = Words(f"{shape[0]} keypoints")
            raise BadAnnotation(source, "", "kpt_shape", words, f"the {len(given)} of skeleton={options.skeleton}")
        return given
    if shape is None:
        lacks = "holds no data.yaml, and" if source.is_dir() else "has no kpt_shape:"
        raise ValueError(
            f"{source} {lacks} nothing says how many keypoints a line has. Write kpt_shape: [K, 3] into data.yaml, or "
            "set skeleton to a known name or a YAML file; a COCO JSON is read by coco_json, a CSV by deeplabcut"
        )
    if flip and (sorted(flip) != list(range(shape[0])) or any(flip[flip[k]] != k for k in range(shape[0]))):
        raise BadAnnotation(source, "", "flip_idx", flip, f"each of 0 to {shape[0] - 1} once, in pairs")
    names = _names(content.get("kpt_names"), source, shape[0])
    if names is None and flip == COCO17.flip:
        return COCO17
    category = {"name": "points", "keypoints": names or [f"point{k}" for k in range(shape[0])]}
    made = of_category(category, source, "kpt_names")
    pairs = tuple((k, other) for k, other in enumerate(flip) if k < other)
    return replace(made, flip_pairs=pairs) if pairs else made


def _names(value: Any, source: Path, count: int) -> list[Any] | None:
    """Of the keypoints; None where there are none. Ultralytics keeps a list of them for each class."""
    if isinstance(value, dict) and value:
        value = next(iter(value.values()))
    if not value:
        return None
    names = entries(value, source, "", "kpt_names")
    if len(names) != count:
        raise BadAnnotation(source, "", "kpt_names", names, f"{count} names, as kpt_shape says")
    return names


def _wanted_class(content: dict[str, Any], source: Path, category: str | None) -> int | None:
    names = content.get("names") or []
    pairs = names.items() if isinstance(names, dict) else enumerate(entries(names, source, "", "names"))
    classes = {str(name): _whole(str(key), source, "names") for key, name in pairs}
    if category is None:
        return None
    if category not in classes and not category.isdecimal():
        raise ValueError(f"category={category!r} is no class of {source}; choose one of {', '.join(classes) or 'none'}")
    return classes.get(category, int(category) if category.isdecimal() else -1)


def _parts(content: dict[str, Any], source: Path, root: Path, part: str) -> tuple[list[str], bool]:
    """The pictures of `part`, or all of them, and whether they are parted already."""
    base = content.get("path")
    listed = {key: _entry(content.get(key), base, root) for key in PARTS}
    for key in ("train", "val"):  # Roboflow names a test set where there is none
        text = content.get(key)
        if text not in NOTHING and not listed[key]:
            warnings.warn(f"{source}: {key}: {str(text)[:80]} is not there below {root}", stacklevel=4)
    if not any(listed.values()):
        if content.get("train") not in NOTHING:
            wanted = f"a folder or list of pictures below {root}; set root to the folder that it starts from"
            raise BadAnnotation(source, "", "train", content["train"], wanted)
        listed = {key: _in_folders(root, names) for key, names in PARTS.items()}
    train = listed["train"] or listed["val"] or listed["test"] or _in_folders(root, (".",))
    train = train or _pictures_of(root, ".")
    if not train:
        raise ValueError(f"{root}: no pictures; yolo_pose reads {ORIGIN.layout}")
    labelled = {key: any(os.path.isfile(_label(root, name)) for name in names) for key, names in listed.items()}
    held_out = [listed[key] for key in ("test", "val") if labelled[key]]
    if not held_out or set(held_out[0]) <= set(train):
        return train, False
    return (train if part == "train" else held_out[0]), True


def _in_folders(root: Path, names: tuple[str, ...]) -> list[str]:
    for name in names:
        for folder in (f"images/{name}", f"{name}/images"):
            if (root / folder).is_dir():
                return _pictures_of(root, Path(folder).as_posix())
    return []


def _entry(value: Any, base: Any, root: Path) -> list[str]:
    """The pictures of an entry of the YAML: a folder, a list of pictures in a text file, or several of these."""
    texts = value if isinstance(value, list) else [] if value in NOTHING else [value]
    pictures: list[str] = []
    for text in texts:
        place = _place(text, base, root) if isinstance(text, str) else None
        if place is None:
            continue
        if (root / place).is_dir():
            pictures += _pictures_of(root, place)
        elif place.lower().endswith(".txt"):
            pictures += _of_list(root, place)
        else:
            pictures.append(place)
    return list(dict.fromkeys(pictures))


def _place(text: str, base: Any, root: Path) -> str | None:
    """Where a path of the YAML or a list lies below the root: it ends there, however it begins."""
    before = _names_in(base) if isinstance(base, str) else []
    parts = _names_in(text)
    foreign = text.startswith(("/", "\\")) or text[1:2] == ":"
    tries = [parts[k:] for k in range(max(len(parts) - 1, 1))] if foreign else []
    tries += [before[k:] + parts for k in range(len(before) + 1)]
    for names in tries:
        try:
            place = picture_name("/".join(names) or ".", root, "")
            if os.path.exists(root / place):
                return place
        except BadAnnotation:
            continue
    return None


def _names_in(text: str) -> list[str]:
    return [name for name in text.replace("\\", "/").split("/") if name not in ("", ".", "..") and ":" not in name]


def _pictures_of(root: Path, folder: str) -> list[str]:
    names = (name for name in walk(root / folder) if name.lower().endswith(PICTURES))
    below = "" if folder == "." else f"{folder}/"
    return [below + name for name in sorted(names, key=by_path)]


def _of_list(root: Path, file: str) -> list[str]:
    pictures = []
    for number, line in enumerate(_text(root / file).splitlines(), 1):
        if line.strip():
            place = _place(line.strip(), Path(file).parent.as_posix(), root)
            if place is None or not os.path.isfile(root / place):
                raise BadAnnotation(root / file, f"line {number}", "the picture", line, f"a file below {root}")
            pictures.append(place)
    return pictures


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        words = Words(f"{type(error).__name__}: {error}")
        raise BadAnnotation(file, "", "the content", words, "text in UTF-8") from error


def _label(root: Path, picture: str) -> Path:
    """The label file of a picture: in the twin `labels` of its last folder `images`, or beside it."""
    *folders, name = picture.split("/")
    if "images" in folders:
        folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return root.joinpath(*folders, name).with_suffix(".txt")


def _lines(
    root: Path,
    pictures: list[str],
    count: int,
    shape: tuple[int, int] | None,
    total: Any,
    wanted: int | None,
    everyone: bool,
) -> Lines:
    """The people with keypoints; with `everyone` boxes without too, their keypoints zeros, and pictures of nobody."""
    rows: list[list[float]] = []
    names, ids, sizes, nobody, unreadable, bare, files = [], [], [], [], [], 0, 0
    for picture in pictures:
        file = _label(root, picture)
        people: list[list[float]] = []
        if os.path.isfile(file):
            files += 1
            text = _text(file)
            total.update(f"{picture}\0{text}\0".encode())
            people = [row for row in _rows(file, text, count, shape) if wanted in (None, row[0])]
            bare += sum(len(row) == 5 for row in people)
            people = [row for row in people if len(row) > 5 or everyone]
        if not people and everyone:
            people = [[]]
        if not people:
            continue
        header = read_header(root, picture)
        if header is None:
            unreadable.append(picture)
            continue
        for k, row in enumerate(people):
            rows.append(row)
            names.append(picture)
            ids.append(picture if len(people) == 1 else f"{picture}/{k}")
            sizes.append(header[:2])
            nobody.append(not row)
    if not files:
        expected = _label(root, pictures[0]).relative_to(root)
        raise ValueError(f"{root}: no label file of any of {len(pictures)} pictures; expected {expected} and its like")
    if unreadable:
        shown = f"{len(unreadable)} pictures that cannot be read, {unreadable[0]} first"
        warnings.warn(f"{root}: {shown}, are left out: their labels are shares of unknown sizes", stacklevel=3)
    lengths = {len(row) for row in rows} - {0, 5}
    if bare and not lengths:
        raise ValueError(
            f"{root}: all {bare} lines of its labels are boxes without keypoints, those of object detection. Export "
            "YOLO pose labels, whose lines go on with x, y and v of each keypoint"
        )
    if bare and not everyone:
        warnings.warn(f"{root}: {bare} lines are boxes without keypoints and are left out", stacklevel=3)
    width = max(lengths, default=5 + 3 * count)
    values = np.array([row + [0.0] * (width - len(row)) for row in rows]).reshape(len(rows), width)
    return Lines(names, ids, values, np.array(sizes).reshape(len(rows), 2), nobody)


def _rows(file: Path, text: str, count: int, shape: tuple[int, int] | None) -> Iterator[list[float]]:
    """The numbers of each line: the class and the box, and the keypoints where it has them."""
    lengths = [5 + count * (shape[1] if shape else dims) for dims in (2, 3)]
    for number, line in enumerate(text.splitlines(), 1):
        where, words = f"line {number}", line.split()
        if not words:
            continue
        if len(words) not in (5, *lengths):
            wanted = " or ".join(str(n) for n in dict.fromkeys(lengths))
            raise BadAnnotation(file, where, "the line", Words(f"of {len(words)} numbers"), f"{wanted}, or 5 of a box")
        try:
            values = [float(word) for word in words]
        except ValueError as error:
            raise BadAnnotation(file, where, "the line", line, "numbers with blanks between") from error
        if not (values[0] >= 0 and values[0].is_integer()):
            raise BadAnnotation(file, where, "the class", words[0], "a whole number from 0")
        yield values


def _people(source: Path, lines: Lines, skeleton: Skeleton, block: int, everyone: bool) -> People:
    n, k = len(lines.pictures), len(skeleton)
    joints = lines.values[:, 5:].reshape(n, k, -1)
    shares = np.concatenate([lines.values[:, 1:5], joints[..., :2].reshape(n, -1)], 1)
    wrong = np.flatnonzero(~(np.abs(shares) <= FARTHEST).all(1))
    if len(wrong):
        numbers, wanted = shares[wrong[0]].tolist(), "shares of the picture, between 0 and 1"
        raise BadAnnotation(source, lines.ids[wrong[0]], "the line", numbers, wanted)
    if joints.shape[2] == 3:
        flags = joints[..., 2]
        if not np.isin(flags, (0, 1, 2)).all():
            wrong = np.flatnonzero(~np.isin(flags, (0, 1, 2)).all(1))
            wanted = "0, 1 or 2; YOLO's predictions have confidences there"
            raise BadAnnotation(source, lines.ids[wrong[0]], "v", flags[wrong[0]].tolist(), wanted)
        annotated, says_hidden = flags > 0, (flags == 2).any()
        visible = flags > (1 if says_hidden else 0)
    else:
        annotated = visible = np.logical_and((joints >= 0).all(-1), (joints > 0).any(-1))
    keypoints = np.where(annotated[..., None], joints[..., :2], 0) * lines.sizes[:, None]
    middle, half = lines.values[:, 1:3] * lines.sizes, lines.values[:, 3:5] * lines.sizes / 2
    boxes = np.concatenate([middle - half, middle + half], 1)
    lacking = np.flatnonzero(~(half > 0).all(1) & annotated.any(1))
    boxes[~(half > 0).all(1)] = 0, 0, 1, 1  # of people without a keypoint too, who are left out
    for row in lacking:
        boxes[row] = joints_box(keypoints[row], annotated[row])
    if len(lacking):
        warn_of_boxes(source, len(lacking), n, lines.ids[lacking[0]])
    sequences, frames = recordings(lines.pictures, block)
    people = People(
        str(source), skeleton, lines.pictures, lines.ids, sequences, frames, keypoints, annotated, visible, boxes
    )
    if not everyone:
        return people.select(np.flatnonzero(annotated.any(1)))
    nobody, known = np.array(lines.nobody, bool), np.asarray(annotated.any(1))
    regions = [None if seen or none else rectangle(box) for seen, none, box in zip(known, nobody, boxes, strict=True)]
    whole = replace(people, nobody=nobody, unlabelled=regions)
    return whole.select(np.flatnonzero(known | nobody | (half > 0).all(1)))
