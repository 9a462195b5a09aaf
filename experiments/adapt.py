"""`keyshift adapt`: the new camera. A model and unlabelled pictures in; an adapted model and a report out.

Nothing here has a target label to look at. The checkpoint with the best label-free score (agreement of predictions
under known warps of the pictures trained on) is shipped where it beats the given model's, there and on held-out
pictures; else the given model is shipped again, and the report says so. Labels given with --check are for the report
alone.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..adapt.distance import Distance, distance
from ..adapt.evaluation import Predictions, predict, scores
from ..adapt.files import load_model, save_model
from ..datasets.files import write_json
from ..datasets.loading import EvaluationBatches, Selected, Thinned, TrainingBatches, WithoutLabels, loader
from ..datasets.people import LEAKS
from ..datasets.sample import PoseDataset
from ..models.pose_model import PoseModel
from . import adapt_report as words
from .compare import tracking_uri
from .config import Config, Data, build, load, load_folder, plain
from .predict import locate
from .progress import Reporter
from .results import block_totals, summarize
from .run import (
    SCORED,
    Task,
    evaluator,
    export,
    fit,
    locked,
    make_fabric,
    of_run,
    open_centered,
    open_folder,
    prepare,
)
from .tracking import Mirror

PATIENCE = 2
"""Evaluations in a row that are worse than the start, before training stops."""
LABELLED = 30
"""Fewest labelled pictures that are worth a number."""


class GotWorse(Exception):
    """The label-free score fell below where it started."""


def adapt(
    model: Path,
    target: Path,
    source: str | None,
    strategy: str,
    check: Path | None,
    overrides: list[str],
    folder: Path | None,
    overwrite: bool,
    reporter: Reporter,
) -> dict[str, Any]:
    """Adapt the weights of `model` (a run folder or a weights file) to the pictures of `target`; returns what
    adapt.json holds. `source` is an experiment or run whose source data and schedule are used; None takes the model's
    own run. Raises ValueError for bad input, before anything is written.
    """
    weights, config = settings(model, target, source, strategy, overrides)
    start, keypoints = load_model(weights)
    task = prepare(config, training=False, keypoints=tuple(keypoints))
    checked = None if check is None else open_check(check, target, task)
    folder = folder or Path("runs") / f"adapt-{target.resolve().stem}"
    with locked(folder, overwrite):
        if (folder / "adapt.json").exists():
            told = dict(json.loads((folder / "adapt.json").read_text()))
            reporter.say(f"{folder} is finished; --overwrite starts anew")
            words.tell(told, folder, reporter)
            return told
        _hold_to(folder, weights)
        fabric = make_fabric(config)
        open_folder(folder, of_run(config, strategy, config.seed), task, fabric.device)
        reporter.say(f"{len(task.target_train)} pictures to adapt to, {len(task.target_test)} held out to judge by")
        start.to(fabric.device)
        before = measure(start, task, fabric.device)
        reporter.say(f"before: {words.distance(before)}")
        mirror = Mirror(folder, tracking_uri(config, folder), say=reporter.say)
        try:
            first = evaluator(task, fabric.device)(start)["target/score"]
            best, why = train(task, strategy, folder, fabric, weights, first, reporter, mirror.notify)
            shipped = start if best is None else load_model(folder / f"weights-{best:06d}.pt")[0].to(fabric.device)
            after = before if best is None else measure(shipped, task, fabric.device)
            if after.consistency < before.consistency:
                why += f"; update {best} is less consistent on held-out pictures, {after.consistency:.3f}"
                best, shipped, after = None, start, before
            told = {
                "strategy": strategy,
                "given": str(model),
                "updates": best or 0,
                "adapted": best is not None,
                "why": why,
                "before": asdict(before),
                "after": asdict(after),
                "check": None if checked is None else judge(start, shipped, checked, task, fabric.device),
            }
            save_model(folder / "model.pt", shipped, task.skeleton, best or 0)
            export(shipped.cpu(), task, folder)
            words.write(folder, told, start.cpu(), shipped, task)
            write_json(folder / "adapt.json", told)
        finally:
            mirror.close()
    words.tell(told, folder, reporter)
    return told


def settings(model: Path, target: Path, source: str | None, strategy: str, overrides: list[str]) -> tuple[Path, Config]:
    """The weights to start from and the configuration of the job."""
    weights, run = locate(model)
    if source is not None:
        base = load_folder(Path(source)) if (Path(source) / "config.yaml").is_file() else load(source)
    elif run is not None:
        base = load_folder(run)
    else:
        raise ValueError(f"{model} is a weights file without its run: say --source EXPERIMENT, what it was trained on")
    if not target.exists():
        raise ValueError(f"no target {target}: give a folder of pictures, or a video")
    told = plain(base) | {"name": f"adapt-{target.resolve().stem}", "strategy": strategy, "pretrain_steps": 0}
    told |= {"target": {"name": "pictures", "root": str(target)}, "selection": "target_score"}
    config = build(told, overrides, str(model))
    if config.selection in ("oracle", "source"):
        raise ValueError(f"selection={config.selection}: without target labels adapt selects by target_score")
    return weights, config


def _hold_to(folder: Path, weights: Path) -> None:
    """Write down which weights a folder starts from. Raises ValueError where it started from others."""
    told = {"weights": str(weights), "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
    place = folder / "start.json"
    if place.exists() and json.loads(place.read_text())["sha256"] != told["sha256"]:
        raise ValueError(f"{folder} was started from other weights; choose another --output, or pass --overwrite")
    write_json(place, told)


def measure(model: PoseModel, task: Task, device: torch.device) -> Distance:
    """How far the held-out target is from the source, for this model; no label is read."""
    config = task.config

    def plain_batches(dataset: PoseDataset) -> Any:
        few = Thinned(WithoutLabels(dataset), SCORED)
        batches = EvaluationBatches(few, 64, task.size, config.crop)
        return loader(batches, range(len(batches)))

    held = WithoutLabels(task.target_test)
    how: dict[str, Any] = {"labels": False, "views": 2, "how": config.crop}
    views = TrainingBatches(held, "score", 0, 64, task.size, config.augmentation, **how)
    steps = range(-(-min(SCORED, len(held)) // 64))
    parts = plain_batches(task.source_test), plain_batches(task.target_test)
    return distance(model, *parts, (views[step] for step in steps), task.skeleton.flip, device)


def train(
    task: Task,
    strategy: str,
    folder: Path,
    fabric: Any,
    weights: Path,
    before: float,
    reporter: Reporter,
    notify: Callable[[], None],
) -> tuple[int | None, str]:
    """Train in `folder`. Returns the step with the best score, None where none beats `before`, and why it ended."""
    config = task.config
    noise = math.sqrt(max(before * (1 - before), 1e-4) / min(SCORED, len(task.target_train)))
    why = f"all {config.steps} updates were made"

    def found() -> dict[int, float]:
        lines = (json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())
        listed = {line["step"]: line["metrics"].get("target/score") for line in lines}
        return {step: score for step, score in listed.items() if score is not None}

    with reporter.stage(strategy, config.steps) as show:

        def watch(step: int, metrics: dict[str, float]) -> None:
            show(step, metrics)
            if metrics:
                notify()
            if "target/score" in metrics:
                last = list(found().values())[-PATIENCE:]
                if len(last) == PATIENCE and all(score < before - noise for score in last):
                    raise GotWorse(
                        f"stopped at update {step} of {config.steps}: the label-free score fell from {before:.3f} to "
                        f"{last[-1]:.3f}, {PATIENCE} evaluations in a row by more than its noise of {noise:.3f}"
                    )

        try:
            fit(task, strategy, config.seed, folder, fabric, config.optimization, config.steps, weights, watch)
        except GotWorse as stop:
            why = str(stop)
            reporter.say(why)
    listed = found()
    best = max(listed, key=lambda step: (listed[step], -step), default=None)
    return (best if best is not None and listed[best] > before else None), why


def open_check(path: Path, target: Path, task: Task) -> PoseDataset:
    """The labelled target pictures of --check. Raises ValueError for fewer than LABELLED."""
    root = target if target.is_dir() else target.parent
    data = Data(name="coco_json", root=str(root), labels=[str(path), str(path)])
    dataset = open_centered(data, "test", task.config)
    lacking = [name for name in task.skeleton.keypoints if name not in dataset.skeleton.keypoints]
    if lacking:
        raise ValueError(f"{path} does not label {', '.join(lacking)}, which the network predicts")
    if len(dataset) < LABELLED:
        raise ValueError(f"{path} labels {len(dataset)} pictures; a number takes {LABELLED} or more")
    return Selected(dataset, task.skeleton.keypoints)


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
    leak = dataset.identity.get("boxes")
    return {
        "metric": headline.name,
        "pictures": len(dataset),
        "before": scores(found["before"], task.skeleton, config.threshold),
        "after": scores(found["after"], task.skeleton, config.threshold),
        "gain": summary["adapted"]["gain"],
        "boxes": leak,
        "leak": leak in LEAKS,
    }
