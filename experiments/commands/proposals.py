"""`keyshift proposals`: how a detector's boxes differ from the true ones, measured on labelled pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...datasets.proposals import Proposals, measure, save_proposals, shown_of, true_boxes
from ...datasets.reading.boxes import FILES, SCORE, detect_people
from ...datasets.reading.detections import Detected, read_detections
from ...datasets.reading.files import check_output, from_home
from ...datasets.reading.headers import read_headers
from ...datasets.reading.people import PictureSet
from ...datasets.sample import PoseDataset
from ...datasets.views import innermost
from ..runs.progress import Reporter
from ..runs.task import check_cut
from .labelled_people import names_of, owners
from .prior import parts

SIDES = ("left", "top", "right", "bottom")
Array = np.ndarray


def measure_proposals(
    name: str,
    words: Sequence[str],
    boxes: str | None,
    output: Path | None,
    atoms: int | None,
    reporter: Reporter,
    overwrite: bool = False,
) -> Path:
    """Measure on the training part of the source of the experiment or run `name`, of the dataset of that name, or of a
    COCO label file, and write to `output` (default: NAME.proposals.json). `boxes` is a file of boxes, or a detector of
    torchvision; None: the set's own are a detector's.

    Raises ValueError for bad input, and where too few boxes are anybody's.
    """
    output = output or Path(f"{Path(name).name.removesuffix('.yaml').removesuffix('.json')}.proposals.json")
    check_output(output, overwrite)
    train, test = parts("coco_json", [f"labels={name}", *words]) if name.endswith(".json") else parts(name, words)
    check_cut("keyshift proposals", train)
    keypoints, annotated, shown = labels_of(train)
    true, usable = true_boxes(keypoints, annotated, shown)
    detected, has_box = own_boxes(train) if boxes is None else given_boxes(boxes, train, test, true)
    rows = usable & has_box
    source = f"its own boxes (boxes={train.identity.get('boxes')})" if boxes is None else boxes
    reporter.say(
        f"{train.name}: {len(train)} people, of whom {usable.sum()} have enough joints; {source}: {rows.sum()} of them"
    )
    measured = keypoints[rows], annotated[rows], true[rows], detected[rows]
    proposals = measure(*measured, train.skeleton.keypoints, atoms)
    about = {"labels": train.identity["name"], "boxes": source, "missed": int((usable & ~has_box).sum())}
    save_proposals(output, proposals, about)
    tell(proposals, measured, reporter)
    reporter.say(f"{output}: use it where boxes of the target are that detector's: proposals={output}")
    return output


def labels_of(dataset: PoseDataset) -> tuple[Array, Array, Array]:
    """Of each sample keypoints (N, K, 2), which are annotated (N, K), and what its picture shows (N, 4); nothing is
    annotated where the picture cannot be read."""
    table = innermost(dataset)
    if not isinstance(table, PictureSet):
        items = [dataset[row] for row in range(len(dataset))]
        arrays = [(item.keypoints[:, :2].astype(np.float64), item.annotated, shown_of(item)) for item in items]
        keypoints, annotated, shown = (np.stack(column) for column in zip(*arrays, strict=True))
        return keypoints, annotated, shown
    people, columns = table.people, [table.skeleton.keypoints.index(name) for name in dataset.skeleton.keypoints]
    headers = read_headers(table.root, people.pictures)
    sizes = np.array([headers[name][:2] if name in headers else (0, 0) for name in people.pictures], np.float64)
    annotated = people.annotated[:, columns] & (sizes > 0).all(1, keepdims=True)
    return people.keypoints[:, columns], annotated, np.concatenate([np.zeros_like(sizes), sizes], 1)


def own_boxes(dataset: PoseDataset) -> tuple[Array, Array]:
    """The boxes (N, 4) that a set gives its people, and that all have one. Raises ValueError for a set without."""
    read = getattr(innermost(dataset), "own_boxes", None)
    boxes = None if read is None else read()
    if boxes is None:
        raise ValueError(f"{dataset.name} has no boxes of its own: name a file or a detector with --boxes")
    return boxes, np.ones(len(boxes), bool)


def given_boxes(source: str, train: PoseDataset, test: PoseDataset, true: Array) -> tuple[Array, Array]:
    """The boxes (N, 4) of a file or detector that overlap the people's `true` ones (N, 4) most, and who has one (N,).
    Raises ValueError where nobody has."""
    base = innermost(train)
    names, others = names_of(base), names_of(innermost(test))
    pictures = list(dict.fromkeys(names))
    if Path(source).suffix.lower() in FILES:
        detected = read_detections(from_home(source), pictures, others, least=SCORE)
    elif isinstance(base, PictureSet):
        detected = Detected(detect_people(source, base.root, pictures, white=base.white), False)
    else:
        raise ValueError(f"--boxes {source}: {train.name} has no picture files for a detector to see; give a file")
    if detected.extended:
        raise ValueError(f"{source}: these boxes are extended already, for PoseNet behind RootNet: give the detector's")
    place = {name: number for number, name in enumerate(pictures)}
    people = detected.people
    boxes = np.concatenate([np.zeros((0, 4)), *(one.boxes for one in people.values())])
    scores = np.concatenate([np.zeros(0), *(one.scores for one in people.values())])
    images = np.repeat([place[name] for name in people], [len(one.boxes) for one in people.values()]).astype(np.int64)
    owner = owners(true, np.array([place[name] for name in names]), boxes, scores, images)
    if not owner:
        raise ValueError(f"{source}: no box is of any of the {len(names)} people of {train.name}")
    matched, has_box = np.zeros((len(names), 4)), np.zeros(len(names), bool)
    rows = list(owner)
    matched[rows], has_box[rows] = boxes[[owner[row] for row in rows]], True
    return matched, has_box


def tell(proposals: Proposals, measured: tuple[Array, Array, Array, Array], reporter: Reporter) -> None:
    """A row for each atom."""
    rows, true = list[list[str]](), measured[2]
    for k, people in enumerate(proposals.people):
        offsets = zip(100 * proposals.mean[k], 100 * proposals.std[k], strict=True)
        rows.append([str(k), str(people), *(f"{mean:+.1f} ± {std:.1f}" for mean, std in offsets)])
    rows.append(["all", str(len(true)), *_all(measured[3] - true, true)])
    title = "offsets of detected sides from true ones, % of width or height"
    reporter.table(title, ["atom", "people", *SIDES], rows)


def _all(moved: Array, true: Array) -> list[str]:
    offsets = 100 * moved / np.tile(true[:, 2:] - true[:, :2], 2)
    return [f"{mean:+.1f} ± {std:.1f}" for mean, std in zip(offsets.mean(0), offsets.std(0), strict=True)]
