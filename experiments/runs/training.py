"""One run: one strategy with one seed, trained in one folder, from pretrained or given weights."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.utils.data import Dataset

from ...adapt.guard import sentence
from ...adapt.processes import any_process, of_first
from ...adapt.scoring.evaluation import everyone, predict, scores
from ...adapt.scoring.evidence import Evidence
from ...adapt.scoring.label_free import SCORES, Score
from ...adapt.shared_norm import share_statistics
from ...adapt.strategies import STRATEGIES
from ...adapt.strategy import Optimization, Strategy, Target, frames_of
from ...adapt.trainer import Callback, Evaluate, Loop, Trainer
from ...datasets.loading import Kept, Mapped, TrainingBatches, loader
from ...datasets.reading.files import write_json, write_text
from ...datasets.sample import PoseDataset, Unlabeled
from ...datasets.sensor import Sensor
from ...datasets.views import WithoutLabels, as_clips
from ...models.pose_model import PoseModel
from ...models.saved import load_model
from ..config import AUTO, Config, of_pretraining, of_run
from ..report.drawing import sensor_sheet, write_picture
from ..tracking.records import FILES
from .before_training import JUDGED, WATCHED, Say, Settled, guard_of, looks_of, settled
from .conclusion import conclude, scored
from .device import choose_device, repeatable
from .folder import check_folder, describe, locked, open_folder, threads_of, world_size
from .precision import fastest
from .pretrained import pretrained_folder
from .subjects import keep, subjects_of
from .task import AT_ONCE, Task, build_model, files_of

Stage = Callable[[str, int], AbstractContextManager[Callback]]
"""Opens the display of a stage, (title, updates), and gives the callback for it."""
SCORED = 256
"""Unlabelled target images that the label-free score is read from."""
SHOWN = 8
"""Crops of each domain on the sheet of a sensor."""


@dataclass(frozen=True)
class Phase:
    """What is trained: a strategy for so many updates, from a weights file or afresh."""

    strategy: str
    steps: int
    rates: Optimization
    start: Path | None
    batch_norm: str


def silent(_: str) -> None:
    pass


def train(
    task: Task, name: str, seed: int, folder: Path, cache: Path, stage: Stage, say: Say = silent
) -> dict[str, Any]:
    """Pretrain (or take it from the folder `cache`), then train strategy `name` in `folder` and write its results.

    A finished folder is returned as it is; an unfinished one is continued.
    """
    config, identity = task.config, task.identity() | files_of(task.config, [name])
    result = folder / "result.json"
    if result.exists():
        check_folder(folder, of_run(config, name, seed), identity)
        return dict(json.loads(result.read_text()))
    fabric = make_fabric(config)
    if fabric.is_global_zero:
        open_folder(folder, of_run(config, name, seed), identity, fabric.device)
        if task.source_train is not None:
            keep(folder, subjects_of(task.source_train))
        begun, threads = threads_of(folder), torch.get_num_threads()
        if begun not in (None, threads):
            say(f"{name} seed {seed} was begun with {begun} threads and goes on with {threads}: last digits may differ")
    fabric.barrier()
    if not (folder / "config.yaml").exists():
        raise ValueError(
            f"{folder} is on another machine: process {fabric.global_rank} does not find what the first one wrote "
            "there. Several machines need one folder on shared storage: output=FOLDER"
        )
    start = started(task, seed, cache, fabric, stage)
    with stage(name, config.steps) as callback:
        left = fit(task, adaptation(config, name, start), seed, folder, fabric, callback, say=say)
    if left is not None:
        say(f"{name} seed {seed}: {left}")
    fabric.barrier()  # the first process has written its checkpoint
    concluded = conclude(task, folder, fabric.device, fabric.is_global_zero)
    if fabric.is_global_zero:
        write_json(result, concluded)
    return dict(of_first(json.loads(result.read_text()) if fabric.is_global_zero else None))


def adaptation(config: Config, strategy: str, start: Path | None) -> Phase:
    """The phase in which a strategy goes on from the weights `start`."""
    return Phase(strategy, config.steps, config.optimization, start, config.policy(strategy, start is not None))


def started(
    task: Task, seed: int, cache: Path, fabric: Fabric, stage: Stage, evaluate: Evaluate | None = None
) -> Path | None:
    """The weights that every strategy of `seed` starts from: those given, or those pretrained; None for fresh ones."""
    if pretraining_folder(task, seed, cache) is None:
        return task.start
    return pretrained(task, seed, cache, fabric, stage, evaluate)


def pretraining_folder(task: Task, seed: int, cache: Path) -> Path | None:
    """Where in `cache` the pretrained weights of `seed` lie, or will; None where nothing is pretrained."""
    if task.start is not None or task.config.pretrain_steps == 0:
        return None
    assert task.source_train is not None
    return pretrained_folder(cache, _about(task, seed), task.source_train.identity)


def _about(task: Task, seed: int) -> dict[str, Any]:
    """What pretrained weights of `seed` depend on, besides their source."""
    about = of_pretraining(task.config) | {"seed": seed, "keypoints": list(task.skeleton.keypoints)}
    return about | files_of(task.config, []).get(FILES, {})  # what is in a file counts, not where it lies


def pretrained(
    task: Task, seed: int, cache: Path, fabric: Fabric, stage: Stage, evaluate: Evaluate | None = None
) -> Path:
    """Weights of the source pretraining of `seed`: trained once, shared by all strategies, kept in `cache`."""
    config, folder = task.config, pretraining_folder(task, seed, cache)
    assert folder is not None
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, wait=True), stage("pretraining", config.pretrain_steps) as callback:
            if fabric.is_global_zero:
                describe(folder, _about(task, seed), task.identity(), fabric.device)
            phase = Phase("source_only", config.pretrain_steps, config.pretrain, None, "target")
            fit(task, phase, seed, folder, fabric, callback, evaluate=evaluate)
        if fabric.is_global_zero:
            write_text(folder / "done", "")
        fabric.barrier()
    return folder / f"weights-{config.pretrain_steps:06d}.pt"


def fit(
    task: Task,
    phase: Phase,
    seed: int,
    folder: Path,
    fabric: Fabric,
    callback: Callback,
    evaluate: Evaluate | None = None,
    keep_all: bool = False,
    say: Say = silent,
) -> str | None:
    """Train one phase in `folder`, from its checkpoint if there is one; evaluated as `evaluator` does unless another
    way is given, the weights of all evaluations kept with `keep_all`. Gives what its guard says, where that says
    anything; what is to be known before the first update is said by `say`."""
    config, sensor = task.config, task.sensor_of(phase.strategy)
    if sensor is not None and fabric.is_global_zero and config.report.pictures == "all":
        write_picture(folder / "sensor.png", sensor_sheet(*task.looks(SHOWN), sensor))
    if evaluate is None:
        given = starting_model(task, phase, seed).to(fabric.device)
        looks = None if task.target_train is None else looks_of(task, fabric.device, JUDGED)
        evaluate = evaluator(task, fabric.device, None if looks is None else Evidence(given, looks))
    target = task.target_train
    few = None if target is None else Kept(warped_batches(task, target, WATCHED))
    norm = settled(task, phase.strategy, phase.batch_norm, phase.start, folder, say, fabric)
    strategy = build_strategy(task, phase, seed, norm)
    if not (folder / "checkpoint.pt").exists():
        source = None if task.source_train is None else plain_batches(task, task.source_train)
        strategy.to(fabric.device).see_source(source)
    if fabric.world_size > 1:
        share_statistics(strategy)
    guard = guard_of(task, phase.strategy, phase.start, few, fabric.device)
    Trainer(
        fabric,
        strategy,
        training_batches(task, strategy, seed, fabric, sensor),
        folder,
        _loop(config, phase.steps, keep_all),
        seed,
        evaluate,
        lambda model: target_of(task, model, fabric.device),
        [callback],
        guard,
    ).fit()
    return None if guard is None or guard.left is None else sentence(guard.left, phase.steps)


def _loop(config: Config, steps: int, keep_all: bool) -> Loop:
    every = config.log_every, config.evaluate_every, config.checkpoint_every
    layout = bool(config.channels_last)
    return Loop(steps, *every, config.workers, layout, config.selection, keep_all, config.compile)


def starting_model(task: Task, phase: Phase, seed: int) -> PoseModel:
    """The model of the phase's weights, or a fresh one."""
    torch.manual_seed(seed)
    if phase.start is not None:
        return load_model(phase.start)[0].resumed(task.config.model.options)
    return build_model(task.config.model, task.skeleton)


def build_strategy(task: Task, phase: Phase, seed: int, norm: Settled | None = None) -> Strategy:
    """The strategy around the starting model, or the one with batch norm as it was settled."""
    norm, own = norm or Settled(phase.batch_norm), task.config.model.options
    model = starting_model(task, phase, seed) if norm.start is None else norm.start.resumed(own)
    torch.manual_seed(seed + 1)
    kind, options = STRATEGIES[phase.strategy], task.config.method(phase.strategy)
    return kind(model, task.skeleton, phase.rates, norm.policy, options)


def make_fabric(config: Config) -> Fabric:
    """Under torchrun one process of many, else one."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it says the precision, which was said
    processes, device = world_size(), choose_device(config.device)
    repeatable(device)
    places: dict[str, Any] = {"devices": 1 if device.index is None else [device.index]}
    if processes > 1:
        if device.index is not None:
            raise ValueError(f"device={device} is one GPU for {processes} processes; use device=cuda")
        local = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
        places = {"strategy": "ddp", "devices": local, "num_nodes": processes // local}
    precision: Any = fastest(device) if config.precision == AUTO else config.precision
    fabric = Fabric(accelerator=device.type, precision=precision, **places)
    fabric.launch()
    if any_process(of_first(precision) != precision):
        raise ValueError(
            "the processes of this run are on machines of which one is faster in bf16 and another is not: say which "
            "precision all of them use, precision=bf16-mixed or precision=32-true"
        )
    return fabric


def training_batches(
    task: Task, strategy: Strategy, seed: int, fabric: Fabric, sensor: Sensor | None = None
) -> dict[str, Dataset[Any]]:
    """By domain, those that the strategy needs; the target's without labels but for the oracle."""
    config = task.config

    def batches(dataset: PoseDataset, domain: str, labels: bool, **shown: Any) -> TrainingBatches:
        share = fabric.global_rank, fabric.world_size
        cut = config.batch, task.size, config.augmentation
        views = strategy.views[domain]
        return TrainingBatches(dataset, domain, seed, *cut, labels, views, *share, config.crop, **shown)

    made: dict[str, Dataset[Any]] = {}
    if task.target_train is not None:
        target = task.target_train
        if strategy.clip > 1:  # training samples alone: what else looks at the target sees what the model reads
            target = as_clips(target, frames_of(strategy.model, strategy.clip))
        made["target"] = batches(target, "target", strategy.labelled_target)
    if task.source_train is not None:
        cameras = config.cameras if config.cameras.others else None
        shown = {"cameras": cameras, "sensor": sensor, "proposals": task.proposals}
        made["source"] = batches(task.source_train, "source", True, **shown)
    return made


def plain_batches(task: Task, dataset: PoseDataset) -> Callable[[], Iterator[Unlabeled]]:
    """Reads all samples without their labels, in their order and not augmented."""
    batches = task.batches(WithoutLabels(dataset))
    return lambda: loader(batches, range(len(batches)), task.config.workers)


def warped_batches(task: Task, dataset: PoseDataset, most: int = SCORED) -> Sequence[Unlabeled]:
    """`most` samples or fewer without their labels, in two known warps."""
    size, augmentation = task.size, task.config.augmentation
    unlabeled = WithoutLabels(dataset)
    batches = TrainingBatches(
        unlabeled, "score", 0, AT_ONCE, size, augmentation, labels=False, views=2, mode=task.config.crop
    )
    return Mapped(range(-(-min(most, len(unlabeled)) // AT_ONCE)), batches.__getitem__)


def target_of(task: Task, model: PoseModel, device: torch.device) -> Target:
    """All target training samples, with the model's poses for them; it sees no label."""
    config = task.config
    return everyone(model, task.target[0], AT_ONCE, task.size, config.augmentation, device, config.crop)


def evaluator(task: Task, device: torch.device, given: Evidence | None, score: Score | None = None) -> Evaluate:
    """The headline on held-out source and target, and the label-free score of the unlabelled target training images,
    `score` or the configuration's, beside what is seen of the `given` network; without a target neither of its."""
    config = task.config

    def evaluate(model: PoseModel) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for side, own in task.held_out.items():
            predictions = predict(model, own, device, task.mirror, task.skeleton)
            headline = predictions.headline(config.threshold)
            metrics |= scored(scores(predictions, task.skeleton, config.threshold), side, headline)
        if given is not None:
            metrics["target/score"] = (score or SCORES[config.score])(Evidence(model, given.looks, given))
        return metrics

    return evaluate
