"""Labelled target pictures in `keyshift adapt`: opened before, looked at after, and for the report alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...adapt.scoring.evaluation import Predictions, predict, scores
from ...datasets.catalog import open_dataset
from ...datasets.reading.images import UnreadableImage, read_image
from ...datasets.loading import EvaluationBatches, Selected, loader
from ...datasets.reading.people import People, PictureSet
from ...datasets.sample import PoseDataset
from ...datasets.reading.video import is_frame
from ...models.pose_model import PoseModel
from ..config import Data
from .results import block_totals, summarize
from .run import Task

LABELLED = 30
"""Fewest labelled pictures that are worth a number."""


def open_check(path: Path, target: Path, task: Task) -> PoseDataset:
    """The labelled target pictures of --check, cut as the target's are: whole, or by the target's own boxes. Raises
    ValueError for fewer than LABELLED that can be read."""
    root = target if target.is_dir() else target.parent
    data = Data(name="coco_json", root=str(root), labels=[str(path), str(path)], boxes="whole")
    table = picture_set(open_dataset(data, "test"))
    assert table is not None
    lacking = [name for name in task.skeleton.keypoints if name not in table.skeleton.keypoints]
    if lacking:
        raise ValueError(f"{path} does not label {', '.join(lacking)}, which the network predicts")
    rows = [row for row in range(len(table)) if reads(table, row)]
    boxes = target_boxes(task)
    if boxes is not None:
        rows = [row for row in rows if table.people.pictures[row] in boxes]
        people = table.people.select(rows)
        found = [nearest(boxes[name], people, row) for row, name in enumerate(people.pictures)]
        table = replace(table, boxes=None, people=replace(people, boxes=np.array(found).reshape(-1, 4)))
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
    found: dict[str, list[np.ndarray]] = {}
    for table in (picture_set(task.target_train), picture_set(task.target_test)):
        if table is None or table.people.boxes is None or table.cut != "file":
            return None
        for name, box in zip(table.people.pictures, table.people.boxes, strict=True):
            found.setdefault(name, []).append(box)
    return found


def nearest(boxes: list[np.ndarray], people: People, row: int) -> np.ndarray:
    """The box whose middle is nearest to that of a person's labelled joints: whose box it is, and nothing more, is read
    off the labels."""
    middle = people.keypoints[row][people.annotated[row]].mean(0)
    return min(boxes, key=lambda box: float(np.linalg.norm((box[:2] + box[2:]) / 2 - middle)))


def judge(
    before: PoseModel, after: PoseModel, dataset: PoseDataset, task: Task, device: torch.device
) -> dict[str, Any]:
    """Scores of both models on labelled pictures, and the gain with its interval over blocks of pictures."""
    config = task.config
    found: dict[str, Predictions] = {}
    for name, model in (("before", before), ("after", after)):
        batches = EvaluationBatches(dataset, 64, task.size, config.crop)
        found[name] = predict(model, loader(batches, range(len(batches))), device)
    headline = found["before"].headline(config.threshold)
    totals = {name: block_totals(predictions, headline) for name, predictions in found.items()}
    names = {"before": "source_only", "after": "adapted"}
    summary = summarize({names[n]: total[None] for n, (total, _) in totals.items()}, totals["before"][1], headline)
    table = picture_set(dataset)
    assert table is not None
    return {
        "metric": headline.name,
        "pictures": len(set(table.people.pictures)),
        "before": scores(found["before"], task.skeleton, config.threshold),
        "after": scores(found["after"], task.skeleton, config.threshold),
        "gain": summary["adapted"]["gain"],
        "boxes": dataset.identity["boxes"],
    }


def picture_set(dataset: Any) -> PictureSet | None:
    """The picture set beneath a dataset; None where there is none."""
    while not isinstance(dataset, PictureSet) and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    return dataset if isinstance(dataset, PictureSet) else None


def reads(table: PictureSet, row: int) -> bool:
    """Whether a row's picture can be decoded; frames of videos were, when the video was opened."""
    if is_frame(table.people.pictures[row]):
        return True
    try:
        read_image(table.path(row))
    except UnreadableImage:
        return False
    return True
