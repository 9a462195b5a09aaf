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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ...adapt.scoring.distance import Distance, distance
from ...adapt.strategies import STRATEGIES
from ...datasets.loading import EvaluationBatches, Rows, TrainingBatches, WithoutLabels, loader, spread
from ...datasets.reading.files import write_json
from ...datasets.sample import PoseDataset
from ...models.pose_model import PoseModel
from ...models.saved import load_model, save_model
from ..config import Config, build, load, load_folder, plain
from ..report import adapt as words
from ..runs.check import judge, open_check, picture_set, reads
from ..runs.comparison import tracking_uri
from ..runs.progress import Reporter
from ..runs.run import (
    SCORED,
    Task,
    build_model,
    evaluator,
    export,
    fit,
    locked,
    make_fabric,
    of_run,
    open_folder,
    prepare,
)
from ..tracking.mirror import Mirror
from .predict import locate

PATIENCE = 2
"""Evaluations in a row that are worse than the start, before training stops."""


TOLD = {
    "strategy": "adapt takes --strategy",
    "selection": "without target labels adapt selects by target_score",
    "target.root": "adapt takes --target",
    "pretrain_steps": "adapt starts from MODEL",
}
"""Keys that the command says in another way."""


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
    config, given = settings(model, target, source, strategy, overrides)
    start, names = (None, None) if given is None else load_model(given)
    task = prepare(config, training=given is None, keypoints=None if names is None else tuple(names))
    start = start or build_model(config, len(task.skeleton))
    task, unreadable = without_unreadable(task)
    checked = None if check is None else open_check(check, target, task)
    folder = folder or Path("runs") / f"adapt-{target.resolve().stem}"
    with locked(folder, overwrite):
        fabric = make_fabric(config)
        open_folder(folder, of_run(config, strategy, config.seed), task, fabric.device)
        weights = hold_to(folder, given, start, task)
        if unreadable:
            reporter.say(f"left out, because they cannot be read: {len(unreadable)} pictures, {unreadable[0]} first")
        start.to(fabric.device)
        if (folder / "adapt.json").exists():
            reporter.say(f"{folder} is finished; --overwrite starts anew")
            told = dict(json.loads((folder / "adapt.json").read_text()))
            shipped = load_model(folder / "model.pt")[0].to(fabric.device)
        else:
            told, shipped = work(task, strategy, folder, fabric, weights, start, reporter)
            told |= {"given": str(model), "unreadable": unreadable, "check": None}
            save_model(folder / "model.pt", shipped, task.skeleton, told["updates"])
            export(shipped.cpu(), task, folder)
            shipped.to(fabric.device)
        if checked is not None:
            told["check"] = judge(start, shipped, checked, task, fabric.device)
        words.write(folder, told, start.cpu(), shipped.cpu(), task)
        write_json(folder / "adapt.json", told)
    words.tell(told, folder, reporter)
    return told


def work(
    task: Task, strategy: str, folder: Path, fabric: Any, weights: Path, start: PoseModel, reporter: Reporter
) -> tuple[dict[str, Any], PoseModel]:
    """Train, and choose what is shipped without a label. Gives what is known then, and the network."""
    reporter.say(f"{len(task.target_train)} pictures to adapt to, {len(task.target_test)} held out to judge by")
    before = measure(start, task, fabric.device)
    reporter.say(f"before: {words.distance(before)}")
    mirror = Mirror(folder, tracking_uri(task.config, folder), say=reporter.say)
    try:
        first = evaluator(task, fabric.device)(start)["target/score"]
        best, why = train(task, strategy, folder, fabric, weights, first, reporter, mirror.notify)
    finally:
        mirror.close()
    shipped = start if best is None else load_model(folder / f"weights-{best:06d}.pt")[0].to(fabric.device)
    after = before if best is None else measure(shipped, task, fabric.device)
    if after.consistency < before.consistency:
        why += f"; update {best} is less consistent on held-out pictures, {after.consistency:.3f}"
        best, shipped, after = None, start, before
    told = {"strategy": strategy, "updates": best or 0, "adapted": best is not None, "why": why}
    return told | {"before": asdict(before), "after": asdict(after)}, shipped


def settings(
    model: Path, target: Path, source: str | None, strategy: str, overrides: list[str]
) -> tuple[Config, Path | None]:
    """The configuration of the job, and the weights to start from; None where an experiment's YAML names a network of
    one's own with its weights."""
    for override in overrides:
        key = override.partition("=")[0]
        if key in TOLD:
            raise ValueError(f"{override}: {TOLD[key]}")
    if not target.exists():
        raise ValueError(f"no target {target}: give a folder of pictures, or a video")
    own = model.suffix in (".yaml", ".yml")
    weights, run = (None, None) if own else locate(model)
    if source is not None:
        base = load_folder(Path(source)) if (Path(source) / "config.yaml").is_file() else load(source)
    elif own or run is not None:
        base = load(str(model)) if run is None else load_folder(run)
    else:
        raise ValueError(f"{model} is a weights file without its run: say --source EXPERIMENT, what it was trained on")
    if own:
        base.model = load(str(model)).model
        if base.model.name != "own" or base.model.own.weights is None:
            raise ValueError(f"{model}: expected model.name=own and the trained weights as model.own.weights")
    told = plain(base) | {"name": f"adapt-{target.resolve().stem}", "strategy": strategy, "pretrain_steps": 0}
    told |= {"target": {"name": "pictures", "root": str(target)}, "selection": "target_score"}
    config = build(told, overrides, str(model))
    kind = STRATEGIES[strategy]
    if kind.labelled_target or "target" not in kind.needs:
        fitting = [name for name, k in STRATEGIES.items() if "target" in k.needs and not k.labelled_target]
        told_of = ", ".join(fitting)
        raise ValueError(f"--strategy {strategy} does not adapt to unlabelled pictures; choose one of {told_of}")
    return config, weights


def hold_to(folder: Path, given: Path | None, start: PoseModel, task: Task) -> Path:
    """The weights file that the job starts from, written down with its sum. Raises ValueError where the folder was
    started from others."""
    weights = given or folder / "given.pt"
    if given is None and not weights.exists():
        save_model(weights, start, task.skeleton, 0)
    told = {"weights": str(weights), "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
    place = folder / "start.json"
    if place.exists() and json.loads(place.read_text())["sha256"] != told["sha256"]:
        raise ValueError(f"{folder} was started from other weights; choose another --output, or pass --overwrite")
    write_json(place, told)
    return weights


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


def measure(model: PoseModel, task: Task, device: torch.device) -> Distance:
    """How far the target is from the source, for this model; no label is read. Entropy and consistency are those of
    held-out pictures; the classifier sees all, or it would have too few recordings to hold some out."""
    config = task.config

    def plain_batches(dataset: PoseDataset) -> Any:
        batches = EvaluationBatches(spread(WithoutLabels(dataset), SCORED), 64, task.size, config.crop)
        return loader(batches, range(len(batches)))

    held = WithoutLabels(task.target_test)
    how: dict[str, Any] = {"labels": False, "views": 2, "how": config.crop}
    views = TrainingBatches(held, "score", 0, 64, task.size, config.augmentation, **how)
    steps = range(-(-min(SCORED, len(held)) // 64))
    target = plain_batches(task.target_train), plain_batches(task.target_test)
    source, warped = plain_batches(task.source_test), (views[step] for step in steps)
    return distance(model, source, target, warped, task.skeleton.flip, device)


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
