"""Boxes of people or hands for pictures that have none: from a file, or from a detector of torchvision.

A file is a CSV,

    file,left,top,right,bottom,score        a line a box; score may be empty, or left out with its name up here
    day1/0007.jpg,10.5,20,200,310.5,0.93

whose columns may be left,top,width,height too, or a JSON: {"day1/0007.jpg": [[left, top, right, bottom], ...], ...},
or a list as COCO's detectors give it, [{"file_name": "day1/0007.jpg", "bbox": [left, top, width, height], "score":
0.93}, ...], where `image_id` may stand for `file_name` if it holds names; or a COCO label file, or what `keyshift
predict` wrote (coco_results.py beside). Names are paths below the root, with forward slashes; clip.mp4#12 is frame 12
of a video. detections.py reads the same files with their scores, and roots where they have some.
Coordinates are continuous pixels of the picture as it is shown, turned by its EXIF tag: the top left corner is (0, 0).
Boxes that are given a score below `SCORE` are left out, from files and detectors alike, unless another is asked for.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..rendered.cache import cache_root
from .annotations import read_json
from .box_rows import result_rows
from .detections import PERSON, Detections, checked, gathered, read_detections, write_results
from .files import from_home
from .fit import FEW, beside, leaves, misread
from .headers import read_headers
from .images import UnreadableImage
from .video import file_of, read_named
from .weights import fitting, read_content

SCORE = 0.7
"""A box of a lower score is left out."""
FILES = (".csv", ".json")
Boxes = dict[str, np.ndarray]


def read_boxes(path: Path, pictures: Sequence[str], others: Sequence[str] = ()) -> Boxes:
    """{picture: (n, 4) left, top, right, bottom}: the boxes of `read_scored`."""
    return {name: rows[:, :4] for name, rows in read_scored(path, pictures, others).items()}


def read_scored(path: Path, pictures: Sequence[str], others: Sequence[str] = (), least: float = SCORE) -> Boxes:
    """{picture: (n, 5) left, top, right, bottom, score} of those `pictures` that the file has boxes for, in the file's
    order; the score is 1 where the file says none.

    `others` are pictures, and videos for all their frames, that the file may name too; their boxes are passed over.
    Boxes of a score below `least`, and pictures without a box, are counted in a warning; another is of boxes that
    RootNet extended, around which crops are too large. Raises BadAnnotation, a ValueError, naming file, line or entry,
    and field.
    """
    detected = read_detections(path, pictures, others, least=least)
    if detected.extended:
        warnings.warn(
            f"{path}: these boxes are extended already, for PoseNet behind RootNet; crops around them are larger than "
            "around a detector's. Give the file without roots",
            stacklevel=3,
        )
    return scored(detected.people)


def scored(people: Mapping[str, Detections]) -> Boxes:
    """{picture: (n, 5)}: boxes with their scores."""
    return {name: np.concatenate([one.boxes, one.scores[:, None]], 1) for name, one in people.items()}


def touching(boxes: Boxes, root: Path, source: str) -> Boxes:
    """Those of `boxes` (n, 4 or 5) that touch their pictures below `root`, after a warning that counts the others, and
    one of boxes that seem to mean something else. Raises ValueError where none does; pictures that cannot be read keep
    theirs."""
    headers = read_headers(root, boxes)
    if not headers:
        return boxes
    every = np.concatenate([boxes[name][:, :4] for name in headers])
    names = [name for name in headers for _ in boxes[name]]
    size = np.array([headers[name][:2] for name in names], np.float64)
    off = beside(every, size)
    if off.any():
        row = int(off.argmax())
        width, height = headers[names[row]][:2]
        words = (
            f"do not touch their picture, the first {every[row].round(1).tolist()} in {names[row]}, {width}x{height}"
        )
        cause = "were the pictures made smaller after the boxes were?"
        if off.all() and len(headers) == len(boxes):
            raise ValueError(
                f"{source}: all {len(every)} boxes {words}; {cause} Give boxes in pixels of these pictures"
            )
        warnings.warn(f"{source}: {off.sum()} of {len(every)} boxes {words}, and are left out; {cause}", stacklevel=3)
    _doubt(every[~off], size[~off], source)
    stays = dict(zip(headers, np.split(~off, np.cumsum([len(boxes[name]) for name in headers])[:-1]), strict=True))
    kept = {name: rows[stays[name]] if name in stays else rows for name, rows in boxes.items()}
    return {name: rows for name, rows in kept.items() if len(rows)}


def _doubt(boxes: np.ndarray, size: np.ndarray, source: str) -> None:
    """Warns of boxes (N, 4) that seem to mean something else than left, top, right and bottom in their pictures."""
    reading = misread(boxes, np.zeros((len(boxes), 1, 2)), np.zeros((len(boxes), 1), bool), size)
    if reading is not None:
        warnings.warn(f"{source}: the boxes seem to be {reading}: so they would lie in their pictures", stacklevel=4)
        return
    far = leaves(boxes, size).sum()
    if far >= max(FEW, 0.5 * len(boxes)):
        words = "leave their pictures by far: are they of another resolution?"
        warnings.warn(f"{source}: {far} of {len(boxes)} boxes {words}", stacklevel=4)


def detector_names() -> list[str]:
    """The detectors of torchvision, all trained on COCO."""
    from torchvision.models import detection, list_models  # a second to import, and few need it

    return list_models(module=detection)


def detect(
    name: str,
    root: Path,
    pictures: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
    cache: str | Path | None = None,
    white: int | None = None,
) -> Boxes:
    """{picture: (n, 4)}: the boxes that `detect_people` gives."""
    people = detect_people(name, root, pictures, progress, cache, white)
    return {picture: one.boxes for picture, one in people.items()}


def detect_people(
    name: str,
    root: Path,
    pictures: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
    cache: str | Path | None = None,
    white: int | None = None,
    least: float = SCORE,
) -> dict[str, Detections]:
    """The people that a `Detector` sees in `pictures` below `root`, by picture, surest first.

    `progress` is called with the pictures done and their count; `white` is as in `read_image`. Pictures without a
    person, and unreadable ones, are counted in a warning. Raises ValueError as `Detector` does.
    """

    def image(name: str) -> np.ndarray | UnreadableImage:
        try:
            return read_named(root, name, white)
        except UnreadableImage as error:
            return error

    detector = Detector(name, root, pictures, cache, white, least)
    if not detector.done:
        for start in range(0, len(pictures), detector.batch):
            some = pictures[start : start + detector.batch]
            detector.search({name: image(name) for name in some})
            if progress:
                progress(start + len(some), len(pictures))
    return detector.finish()


class Detector:
    """A torchvision detector that is shown `pictures` below `root`, a batch after the other.

    `name` is a model's, with the weights that torchvision downloads, or NAME:PATH with a state_dict of your own.
    The people are kept in the cache as COCO results, and it is `done` at once while pictures and weights stay the same.
    Those of a score below `least` are left out. Raises ValueError for unknown names, impossible downloads and foreign
    files.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        pictures: Sequence[str],
        cache: str | Path | None = None,
        white: int | None = None,
        least: float = SCORE,
    ) -> None:
        check_detector(name)
        self.name, self.pictures, self.least = name, pictures, least
        self.file = cache_root(cache) / f"people-{_key(name, root, pictures, white, least)}.json"
        kept = _cached(self.file, pictures)
        self.done, self.people, self.broken = kept is not None, kept or {}, list[str]()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.batch = 8 if self.device.type == "cuda" else 1
        self.network = None if self.done else _load(name).to(self.device)

    def search(self, pictures: Mapping[str, np.ndarray | UnreadableImage]) -> dict[str, Detections]:
        """The people in `batch` pictures (H, W, 3) uint8 RGB, by picture, surest first. What cannot be read is
        counted."""
        assert self.network is not None
        self.broken += [str(one) for one in pictures.values() if isinstance(one, UnreadableImage)]
        readable = {name: one for name, one in pictures.items() if not isinstance(one, UnreadableImage)}
        images = [torch.from_numpy(one).to(self.device).permute(2, 0, 1) / 255 for one in readable.values()]
        with torch.inference_mode():
            detections = self.network(images) if images else []
        answers = ((name, _people(one, self.least)) for name, one in zip(readable, detections, strict=True))
        people = {name: one for name, one in answers if len(one.boxes)}
        self.people |= people
        return people

    def finish(self) -> dict[str, Detections]:
        """The people of all pictures that show some, which are kept. Warns of those that show nobody or cannot be
        read."""
        if not self.done:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_results(self.file, self.people)
            self.done, self.network = True, None
        if self.broken:
            first = f"{len(self.broken)} pictures cannot be searched for people, the first: {self.broken[0]}"
            warnings.warn(first, stacklevel=3)
        return checked(self.people, self.pictures, f"boxes={self.name}")


def check_detector(name: str) -> None:
    """Raises ValueError with the choices and the nearest where `name` is no detector's, or its PATH no file."""
    known, (model, apart, weights) = detector_names(), name.partition(":")
    if model not in known:
        near = difflib.get_close_matches(model, ["whole", *known], 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"boxes={name!r} is not known; choose whole, a .csv or .json file, or a detector of torchvision: "
            f"{', '.join(known)}; DETECTOR:PATH takes your own weights.{hint}"
        )
    if apart and not from_home(weights).is_file():
        raise ValueError(f"boxes={name}: no file {weights!r}. Give a state_dict of {model}, or its name alone")


def weights_of(name: str) -> str:
    """What names a detector's weights exactly: the published file's name, or the sum of a file's content."""
    from torchvision.models import get_model_weights

    model, apart, weights = name.partition(":")
    if not apart:
        return f"{model} {get_model_weights(model)['DEFAULT'].url.rpartition('/')[2]}"
    with from_home(weights).open("rb") as file:
        return f"{model} {hashlib.file_digest(file, 'sha256').hexdigest()}"


def _load(name: str) -> nn.Module:
    from torchvision.models import get_model, get_model_weights

    model, apart, weights = name.partition(":")
    network = get_model(model, weights=None, weights_backbone=None).eval()
    if apart:
        try:
            state = fitting(read_content(from_home(weights)), network.state_dict(), weights)
        except ValueError as error:
            raise ValueError(f"boxes={name}: not weights of torchvision's {model}: {error}") from error
    else:
        published = get_model_weights(model)["DEFAULT"]
        try:
            state = dict(published.get_state_dict(progress=False, check_hash=True))
        except (OSError, RuntimeError) as error:  # URLError is an OSError; a truncated download has another sum
            raise ValueError(
                f"boxes={name}: cannot download {published.url} ({error}). Download it elsewhere and give its path as "
                f"boxes={model}:PATH, or use boxes=whole or a .csv file"
            ) from error
    network.load_state_dict(state, strict=not apart)
    return network


def _people(detected: dict[str, torch.Tensor], least: float) -> Detections:
    """What torchvision's detectors answer for one picture: `boxes`, `labels`, `scores`."""
    boxes = detected["boxes"]
    kept = (detected["labels"] == PERSON) & (detected["scores"] >= least) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    order = detected["scores"][kept].argsort(descending=True, stable=True)
    edges = boxes[kept][order].double().cpu().numpy()
    edges[:, 2:] = edges[:, :2] + (edges[:, 2:] - edges[:, :2])  # as they are read back, to the last bit
    return Detections(edges, detected["scores"][kept][order].double().cpu().numpy())


def _key(name: str, root: Path, pictures: Sequence[str], white: int | None, least: float) -> str:
    """A name for these pictures on this disk, as they are now, and the detector."""
    total = hashlib.sha256(json.dumps([weights_of(name), least, white, str(root.absolute())]).encode())
    states: dict[str, str] = {}
    for picture in pictures:
        file = file_of(picture)
        if file not in states:
            try:
                state = (root / file).stat()
                states[file] = f"{state.st_size} {state.st_mtime_ns}"
            except OSError:
                states[file] = "missing"
        total.update(f"{picture}\0{states[file]}\0".encode("utf-8", "surrogateescape"))
    return total.hexdigest()[:16]


def _cached(file: Path, pictures: Sequence[str]) -> dict[str, Detections] | None:
    """What was kept; None where nothing is, or it is broken: then it is made anew."""
    try:
        return gathered(result_rows(read_json(file), file), file, pictures).people
    except (OSError, ValueError):
        return None
