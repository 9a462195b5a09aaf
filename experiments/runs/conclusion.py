"""What a finished run leaves: scores of the selected weights, their predictions, a sheet of pictures, and ONNX."""

from __future__ import annotations

import json
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ...adapt.guard import sentence
from ...adapt.scoring.evaluation import Predictions, predict, scores
from ...adapt.scoring.people_ap import oks_words
from ...adapt.scoring.selection import Headline
from ...datasets.reading.files import write_json, write_text
from ...datasets.sample import Labeled, PoseDataset
from ...datasets.views import crowding_of
from ...models.bundle import answers_alone, runtime_of
from ...models.export import to_onnx
from ...models.pose_model import PoseModel
from ...models.saved import load_checkpoint, load_model
from ..report.drawing import prediction_sheet, write_picture
from .before_training import CHOICE
from .folder import selected_weights
from .task import Task


def conclude(task: Task, folder: Path, device: torch.device, keep: bool = True) -> dict[str, Any]:
    """Score the selected weights, keep their predictions, and collect what each selection rule would have used. Of
    several processes all predict their share, and one is to `keep` what is kept.

    "source" is null where no source was opened, and "target" where there is no target: then the predictions, and
    what the rules would have used, are the source's. "guard" says how the run left the road, null where it did not, and
    "batch_norm" what `auto` chose, null of another policy. "oks" says how people's likeness was measured, null of
    crops.
    """
    config = task.config
    checkpoint = load_checkpoint(folder / "checkpoint.pt", ("selection",))
    state = checkpoint["selection"]
    model, _ = load_model(selected_weights(folder, config.selection, state))
    model.to(device)
    result: dict[str, Any] = {"source": None, "target": None}
    for side, dataset in task.test_sets().items():
        predictions = predicted(model, task, dataset, device, task.held_out[side])
        result[side] = scores(predictions, task.skeleton, config.threshold)
        if side == task.judged:
            headline = predictions.headline(config.threshold)
            result["oks"] = oks_words(predictions, task.skeleton)
            if keep:
                predictions.save(folder / "predictions.npz")
            if keep and config.report.pictures == "all" and "image" in model.reads and not dataset[0].in_camera:
                write_picture(folder / "predictions.png", prediction_sheet(dataset, predictions))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    side = task.judged
    evaluated = {line["step"]: line["metrics"] for line in lines if f"{side}/{headline.key}" in line["metrics"]}
    given = scored(
        result[side], side, headline
    )  # what all rules have used where the guard went back to the given weights
    result["selected"] = {
        rule: {"step": step, side: _selected(evaluated[step] if step else given, side, headline)}
        for rule, step in state["steps"].items()
    }
    left = (checkpoint.get("guard") or {}).get("left")
    result["guard"] = left and left | {"said": sentence(left, config.steps)}
    settled = folder / CHOICE
    result["batch_norm"] = json.loads(settled.read_text("utf-8")) if settled.exists() else None
    seconds = [line["metrics"]["seconds/iteration"] for line in lines if "seconds/iteration" in line["metrics"]]
    result["seconds_per_iteration"] = statistics.median(seconds) if seconds else None
    if keep:
        export(model.cpu(), task, folder)
    return result


def predicted(
    model: PoseModel, task: Task, dataset: PoseDataset, device: torch.device, batches: Sequence[Labeled] | None = None
) -> Predictions:
    """The model's predictions for a dataset in its order, of which there may be `batches` already."""
    crowding = crowding_of(dataset)
    made = predict(model, batches or task.batches(dataset), device, task.mirror, task.skeleton)
    if made.answers is None or crowding is None:
        return made
    return replace(made, answers=replace(made.answers, crowded=torch.from_numpy(crowding)[made.answers.picture]))


def export(model: PoseModel, task: Task, folder: Path) -> None:
    """The predictor as ONNX, for MLflow and for use elsewhere. A run's numbers do not hang on it."""
    try:
        to_onnx(model, task.size, folder / "model.onnx", task.skeleton)
    except ImportError:
        warnings.warn("no model.onnx: it takes pip install 'keyshift[export]'", stacklevel=2)
        return
    except Exception as error:  # the exporter's own troubles
        warnings.warn(f"no model.onnx: {type(error).__name__}: {error}", stacklevel=2)
        return
    if answers_alone(model):
        write_text(folder / "model.py", runtime_of(type(model), "model.onnx", "model.py"))
    about = {"input": {"width": task.size[0], "height": task.size[1]}, "keypoints": list(task.skeleton.keypoints)}
    write_json(folder / "model.json", about)


def scored(score: dict[str, Any], side: str, headline: Headline) -> dict[str, float]:
    """The scores of a side as metrics.jsonl names them: the headline, what single joints are judged by, groups of them,
    EPE."""
    joint = headline.by_joint.key
    groups = {f"{side}/{joint}/{name}": value for name, value in score["groups"].items()}
    return {f"{side}/{key}": score[key] for key in (headline.key, joint, "epe")} | groups


def _selected(metrics: dict[str, float], side: str, headline: Headline) -> dict[str, Any]:
    joint = headline.by_joint.key
    groups = {name.split("/")[2]: value for name, value in metrics.items() if name.startswith(f"{side}/{joint}/")}
    return {key: metrics[f"{side}/{key}"] for key in (headline.key, joint, "epe")} | {"groups": groups}
