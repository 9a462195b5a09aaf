"""How much of its crop a subject fills: in what a network was trained on, and in what it is given."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ...adapt.scoring.evaluation import predict_people
from ...datasets.loading import loader
from ...datasets.reading.files import write_json
from ...datasets.reading.fit import extents
from ...datasets.reading.headers import read_headers
from ...datasets.reading.people import PictureSet
from ...datasets.sample import PoseDataset
from ...datasets.views import WithoutLabels, innermost, spread
from ...models.pose_model import PoseModel
from .progress import Reporter
from .task import Task

FILE = "subjects.json"
SOME = 200
"""Samples that are looked at."""
NEARLY_WHOLE = 0.75
"""Part of a picture above which a crop is as good as the whole."""
FEWEST = 5
"""Answers that say how large subjects are."""
OTHER_SIZE = 1.25
"""How many times as large or as small the middle answer is where the pictures are surely cut otherwise."""


@dataclass(frozen=True)
class Subjects:
    """The longer side of a subject's joints over its crop's side, in a training set."""

    part: float
    """The middle crop's side over its picture's longer one; near 1 the network knows whole pictures."""
    low: float
    middle: float
    high: float
    """The 5, 50 and 95 % quantiles."""


def subjects_of(dataset: PoseDataset) -> Subjects | None:
    """Measured on some of a labelled set of pictures; None of other sets, and where too few are labelled."""
    table = innermost(dataset)
    if not isinstance(table, PictureSet):
        return None
    people = table.people
    headers = read_headers(table.root, people.pictures, SOME)
    columns = [people.skeleton.keypoints.index(name) for name in dataset.skeleton.keypoints]
    rows = [row for row, name in enumerate(people.pictures) if name in headers]
    low, high = extents(people.keypoints[rows][:, columns], people.annotated[rows][:, columns])
    boxes = np.array([table.box(row, *headers[people.pictures[row]][:2]) for row in rows]).reshape(-1, 4)
    side = boxes[:, 2] - boxes[:, 0]
    part = np.median(side / [max(headers[people.pictures[row]][:2]) for row in rows]) if rows else 1.0
    shares = (high - low).max(1) / side
    shares = shares[np.isfinite(shares) & (shares > 0)]
    if len(shares) < FEWEST:
        return None
    return Subjects(*(round(float(share), 4) for share in (part, *np.quantile(shares, (0.05, 0.5, 0.95)))))


def keep(folder: Path, subjects: Subjects | None) -> None:
    """Write down beside a run's weights how large subjects were in its crops."""
    if subjects is not None and not (folder / FILE).exists():
        write_json(folder / FILE, asdict(subjects))


def recall(run: Path | None) -> Subjects | None:
    """What a run folder says of it; None where it does not, as those of earlier versions."""
    try:
        return None if run is None else Subjects(**json.loads((run / FILE).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def compare_whole(subjects: Subjects | None, spans: np.ndarray, remedy: str, reporter: Reporter) -> None:
    """Say that a network of crops is given whole pictures, in which its answers span `spans` (N,) of the side: a
    warning where these are not the spans that it learned, or scatter as guesses do. `remedy` is what to give."""
    if subjects is None or subjects.part > NEARLY_WHOLE or len(spans) < FEWEST:
        return
    learned, here = (subjects.low, subjects.middle, subjects.high), np.quantile(spans, (0.05, 0.5, 0.95))
    then, now = ("{1:.0%} ({0:.0%} to {2:.0%})".format(*shares) for shares in (learned, here))
    text = (
        f"the network was trained on crops in which people fill {then} of a crop's side, and is given whole pictures, "
        f"of which its answers fill {now}. Where people are smaller in the pictures than in such crops, give {remedy}"
    )
    other = not 1 / OTHER_SIZE < here[1] / learned[1] < OTHER_SIZE
    scattered = (here[2] - here[0]) / here[1] > 1.5 * (learned[2] - learned[0]) / learned[1] + 0.25
    if other or scattered:
        warnings.warn(text, stacklevel=3)
    else:
        reporter.say(f"note: {text}")


def look_at_target(
    subjects: Subjects | None, model: PoseModel, task: Task, device: torch.device, reporter: Reporter
) -> None:
    """`compare_whole` for the pictures of an unlabelled target, where nobody said that they are to be taken whole."""
    table = innermost(task.target[0])
    said = getattr(task.target_options, "boxes", None)
    if subjects is None or not isinstance(table, PictureSet) or table.cut != "whole" or said is not None:
        return
    if not model.single or set(model.reads) != {"image"}:
        return
    batches = task.batches(spread(WithoutLabels(task.target[0]), SOME))
    read = list(loader(batches, range(len(batches))))
    points = predict_people(model, read, device).points[..., :2].cpu().numpy()
    side = np.concatenate([batch.side.numpy() for batch in read])
    remedy = "target.boxes=FILE, or a detector's name; where they are such crops, say target.boxes=whole"
    compare_whole(subjects, np.ptp(points, 1).max(1) / side, remedy, reporter)
