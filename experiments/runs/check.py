"""Target pictures in `keyshift adapt`: those that cannot be read are left out, and labelled ones (--check) are opened
before, looked at after, and for the report alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...adapt.scoring.evaluation import Predictions, scores
from ...datasets.catalog import open_dataset, options_of
from ...datasets.reading.images import UnreadableImage, read_image
from ...datasets.reading.people import People, PictureSet
from ...datasets.reading.video import is_frame
from ...datasets.sample import PoseDataset
from ...datasets.views import Rows, Selected, innermost
from ...models.pose_model import PoseModel
from .conclusion import predicted
from .results import block_totals, summarize
from .task import Task

LABELLED = 30
"""Fewest labelled pictures that are worth a number."""


def without_unreadable(task: Task) -> tuple[Task, list[str]]:
    """The task without target pictures that cannot be read, and which these are. Frames of videos were decoded when
    the video was opened."""
    parts: dict[str, Any] = {}
    names: list[str] = []
    for part in ("target_train", "target_test"):
        dataset: Any = getattr(task, part)
        table = picture_set(dataset)
        if table is None:
            continue
        with ThreadPoolExecutor() as pool:
            fine = list(pool.map(partial(reads, table), range(len(table))))
        names += [table.people.pictures[row] for row, good in enumerate(fine) if not good]
        if not any(fine):
            raise ValueError(f"{dataset.name}: not one of {len(fine)} pictures can be read, {names[0]} first")
        if not all(fine):
            parts[part] = Rows(dataset, [row for row, good in enumerate(fine) if good])
    return replace(task, **parts), sorted(set(names))


def open_check(path: Path, target: Path, task: Task) -> PoseDataset:
    """The labelled target pictures of --check, cut as the target's are: whole, or by the target's own boxes. Raises
    ValueError for fewer than LABELLED that can be read."""
    root = target if target.is_dir() else target.parent
    said = {"root": str(root), "labels": [str(path), str(path)], "boxes": "whole"}
    options = options_of("coco_json", said, "--check")
    table = picture_set(open_dataset("coco_json", options, "test"))
    assert table is not None
    lacking = [name for name in task.skeleton.keypoints if name not in table.skeleton.keypoints]
    if lacking:
        raise ValueError(f"{path} does not label {', '.join(lacking)}, which the network predicts")
    rows = [row for row in range(len(table)) if reads(table, row)]
    boxes = target_boxes(task)
    if boxes is not None:
        rows = [row for row in rows if table.people.pictures[row] in boxes]
        people = table.people.select(rows)
        cuts = [nearest(boxes[name], people, row) for row, name in enumerate(people.pictures)]
        table = replace(table, boxes=None, people=replace(people, boxes=np.array(cuts).reshape(-1, 4)))
    else:
        table = replace(table, people=table.people.select(rows))
    count = len(set(table.people.pictures))
    if count < LABELLED:
        raise ValueError(
            f"{path} labels {count} pictures of {root} that can be read; a number takes {LABELLED} or more"
        )
    return Selected(table, task.skeleton.keypoints)


def target_boxes(task: Task) -> dict[str, list[np.ndarray]] | None:
    """The boxes of each target picture; None where pictures are cut whole."""
    boxes: dict[str, list[np.ndarray]] = {}
    for table in map(picture_set, task.target):
        if table is None or table.people.boxes is None or table.cut != "file":
            return None
        for name, box in zip(table.people.pictures, table.people.boxes, strict=True):
            boxes.setdefault(name, []).append(box)
    return boxes


def nearest(boxes: list[np.ndarray], people: People, row: int) -> np.ndarray:
    """The box whose middle is nearest to that of a person's labelled joints: whose box it is, and nothing more, is read
    off the labels."""
    middle = people.keypoints[row][people.annotated[row]].mean(0)
    return min(boxes, key=lambda box: float(np.linalg.norm((box[:2] + box[2:]) / 2 - middle)))


def judge(
    before: PoseModel, after: PoseModel, dataset: PoseDataset, task: Task, device: torch.device
) -> dict[str, Any]:
    """Scores of both models on labelled pictures, and the gain with its interval over blocks of pictures."""
    config, models = task.config, {"given": before, "adapted": after}
    predictions: dict[str, Predictions] = {n: predicted(m, task, dataset, device) for n, m in models.items()}
    headline = predictions["given"].headline(config.threshold)
    blocks = {name: block_totals(own, headline) for name, own in predictions.items()}
    sums, counts = ({name: part[i][None] for name, part in blocks.items()} for i in (0, 1))
    summary = summarize(sums, counts, headline)
    table = picture_set(dataset)
    assert table is not None
    return {
        "metric": headline.name,
        "pictures": len(set(table.people.pictures)),
        "before": scores(predictions["given"], task.skeleton, config.threshold),
        "after": scores(predictions["adapted"], task.skeleton, config.threshold),
        "gain": summary["adapted"]["gain"],
        "boxes": dataset.identity["boxes"],
    }


def picture_set(dataset: PoseDataset) -> PictureSet | None:
    """The picture set beneath a dataset; None where there is none."""
    base = innermost(dataset)
    return base if isinstance(base, PictureSet) else None


def reads(table: PictureSet, row: int) -> bool:
    """Whether a row's picture can be decoded; frames of videos were, when the video was opened."""
    if is_frame(table.people.pictures[row]):
        return True
    try:
        read_image(table.path(row))
    except UnreadableImage:
        return False
    return True
