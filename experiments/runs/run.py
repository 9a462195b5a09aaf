"""One run: one strategy with one seed, trained in one folder."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import platform
import shutil
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning_fabric import Fabric
from torch.utils.data import Dataset

from ...adapt.scoring.evaluation import agreement, predict, scores
from ...models.saved import MODELS, load_checkpoint, load_model
from ...adapt.strategies import STRATEGIES
from ...adapt.strategy import Optimization, Strategy
from ...adapt.trainer import Callback, Loop, Trainer
from ...datasets.catalog import open_dataset
from ...datasets.reading.files import only_one, write_json, write_text
from ...datasets.reading.images import UnreadableImage
from ...datasets.loading import EvaluationBatches, Selected, TrainingBatches, WithoutLabels, first_item, loader
from ...datasets.reading.origin import MissingData
from ...datasets.sample import Item, PoseDataset
from ...datasets.skeleton import Skeleton, pair
from ...models.export import to_onnx
from ...models.pose_model import PoseModel
from .centers import recenter
from ..config import FREE, Config, Data, Model, load_folder, plain
from ..report.drawing import prediction_sheet, write_picture

Stage = Callable[[str, int], AbstractContextManager[Callback]]
"""Opens the display of a stage, (title, updates), and gives the callback for it."""
PRETRAINING = (
    "source",
    "model",
    "pretrain",
    "pretrain_steps",
    "batch",
    "augmentation",
    "crop",
    "precision",
    "channels_last",
)
"""Keys that pretrained weights depend on."""
SCORED = 256
"""Unlabelled target images that the label-free score is read from."""


@dataclass
class Task:
    """A configuration with its four datasets, paired by keypoint name."""

    config: Config
    skeleton: Skeleton
    left_out: list[str]
    source_train: PoseDataset
    source_test: PoseDataset
    target_train: PoseDataset
    target_test: PoseDataset

    @property
    def size(self) -> tuple[int, int]:
        width, height = self.config.model.input_size
        return width, height

    def identity(self) -> dict[str, Any]:
        names = ("source_train", "source_test", "target_train", "target_test")
        return {name: getattr(self, name).identity for name in names}


def prepare(config: Config, training: bool = True, keypoints: tuple[str, ...] | None = None) -> Task:
    """Open the data and check that everything fits, before anything is written. Raises ValueError.

    `keypoints` are those of a network that is there already; else they are the ones that both sides have.
    """
    if config.model.name != "own":  # how many keypoints that one has is in its file
        build_model(config, 1, weights=False)  # sizes and names, before data is read
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda: torch sees no GPU here; use device=auto or device=cpu")
    processes = world_size()
    if config.batch % processes:
        raise ValueError(f"batch={config.batch} does not divide among {processes} processes; choose a multiple")
    opened = open_sides(config)
    skeleton, left_out = pair(opened["source_train"].skeleton, opened["target_train"].skeleton)
    if keypoints is not None:
        lacking = [name for name in keypoints if name not in skeleton.keypoints]
        if lacking:
            raise ValueError(
                f"the network predicts {', '.join(lacking)}, which {opened['source_train'].name} and "
                f"{opened['target_train'].name} do not both have: choose the source it was trained on"
            )
        left_out, skeleton = [name for name in skeleton.keypoints if name not in keypoints], skeleton.select(keypoints)
    if config.model.name == "own" or (training and config.model.weights is not None):
        build_model(config, len(skeleton), weights=training)
    for name, dataset in opened.items():
        if len(dataset) < processes:
            raise ValueError(
                f"{dataset.name} has {len(dataset)} samples for {processes} processes; start fewer processes"
            )
        if dataset.skeleton.keypoints != skeleton.keypoints:
            opened[name] = Selected(dataset, skeleton.keypoints)
    for dataset in opened.values():
        check_fits(config, dataset, first_item(dataset))  # renders what is not cached yet
    return Task(config, skeleton, left_out, **opened)


def open_sides(config: Config) -> dict[str, PoseDataset]:
    """The four datasets, source_train to target_test. Raises MissingData that tells of both sides."""
    opened: dict[str, PoseDataset] = {}
    missing: list[MissingData] = []
    for side in ("source", "target"):
        own = opened["source_train"].skeleton if side == "target" and not missing else None
        try:
            for part in ("train", "test"):
                opened[f"{side}_{part}"] = open_centered(getattr(config, side), part, config, own)
        except MissingData as error:
            missing.append(error)
        except ValueError:
            if not missing:  # what is wrong with the target may follow from the source that is not there
                raise
    if missing:
        raise MissingData("\n".join(dict.fromkeys(map(str, missing))))
    return opened


def check_fits(config: Config, dataset: PoseDataset, item: Item) -> None:
    """Raises ValueError where the network cannot read what the dataset gives."""
    wanted, found = MODELS[config.model.name].reads, "depth" if item.cube is not None else "pictures"
    if found != wanted:
        raise ValueError(f"model.name={config.model.name} reads {wanted}, {dataset.name} gives {found}")
    if found == "pictures" and config.crop != "exact":
        raise ValueError(f"crop={config.crop} is of depth; {dataset.name} gives pictures")
    covered = getattr(getattr(config.model, config.model.name, None), "depth_reach", None)
    if item.cube is not None and covered is not None and covered < item.cube[2] / 2:
        raise ValueError(
            f"model.{config.model.name}.depth_reach={covered:g} does not cover the cubes of {dataset.name}, "
            f"which reach {item.cube[2] / 2:g} mm to either side; set it to that or more"
        )


def check_labels(dataset: PoseDataset) -> None:
    """Raises ValueError for an oracle without labels; 20 frames spread over the dataset are tried."""
    for index in range(0, len(dataset), -(-len(dataset) // 20)):
        with suppress(UnreadableImage):
            if dataset[index].annotated.any():
                return
    raise ValueError(f"{dataset.name} has no labels, so there can be no oracle: leave it out of strategies=[...]")


def open_centered(data: Data, part: str, config: Config, skeleton: Skeleton | None = None) -> PoseDataset:
    """A dataset; where `centers` is a run folder, around the centres that its network finds. `skeleton` is for one that
    has no labels."""
    run = Path(data.centers or "")
    if not (run / "config.yaml").is_file():
        return open_dataset(data, part, skeleton)
    if list(run.glob("*-seed*/config.yaml")):
        raise ValueError(f"centers={run} is a comparison; name one of its runs, for example {run}/source_only-seed0")
    trained, state = load_folder(run), load_checkpoint(run / "checkpoint.pt", ("selection",))
    weights = selected_weights(run, trained.selection, state["selection"])
    device = torch.device("cuda" if torch.cuda.is_available() and config.device != "cpu" else "cpu")
    return recenter(open_dataset(replace(data, centers="threshold"), part), weights, trained, device)


def build_model(config: Config, keypoints: int, weights: bool = True) -> PoseModel:
    """A fresh network. Raises ValueError for an unknown name, and for options that are another network's."""
    told = {key: value for key, value in vars(config.model).items() if key not in ("name", *MODELS)}
    if config.model.name not in MODELS:
        raise ValueError(f"model.name={config.model.name!r} is not known; choose one of {', '.join(MODELS)}")
    kind = MODELS[config.model.name]
    known = inspect.signature(kind).parameters
    usual = vars(Model())
    for other in MODELS.keys() & usual.keys() - {config.model.name}:
        if getattr(config.model, other) != usual[other]:
            raise ValueError(f"options of model.{other} have no effect under model.name={config.model.name}")
    own = getattr(config.model, config.model.name, None)
    nested = vars(own) if own else {}
    for key in told.keys() - (known.keys() - nested.keys()):
        if told[key] != usual[key]:
            raise ValueError(f"model.{key}={told[key]} is no option of model.name={config.model.name}")
    options = {key: value for key, value in told.items() if key in known and value is not None} | nested
    if not weights:
        options.pop("weights", None)
    return kind(keypoints, **options)


def build_strategy(task: Task, name: str, seed: int, optimization: Optimization, start: Path | None) -> Strategy:
    """The strategy around a model from the weights file `start`, or a fresh one."""
    config = task.config
    torch.manual_seed(seed)
    if start is None:
        model = build_model(config, len(task.skeleton))
    else:
        model = load_model(start)[0]
    how: dict[str, Any] = {"options": getattr(config, name)} if hasattr(config, name) else {}
    torch.manual_seed(seed + 1)
    return STRATEGIES[name](model, task.skeleton, optimization, config.batch_norm, **how)


def make_fabric(config: Config) -> Fabric:
    """Under torchrun one process of many, else one."""
    torch.backends.cudnn.deterministic = True
    processes = world_size()
    many: dict[str, Any] = {}
    if processes > 1:
        local = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
        many = {"strategy": "ddp", "devices": local, "num_nodes": processes // local}
    fabric = Fabric(accelerator=config.device, precision=config.precision, **({"devices": 1} | many))  # type: ignore[arg-type]
    fabric.launch()
    return fabric


def training_batches(task: Task, strategy: type[Strategy], seed: int, fabric: Fabric) -> dict[str, Dataset[Any]]:
    config = task.config

    def batches(dataset: PoseDataset, domain: str, labels: bool, views: int) -> TrainingBatches:
        where = fabric.global_rank, fabric.world_size
        how = config.batch, task.size, config.augmentation
        return TrainingBatches(dataset, domain, seed, *how, labels, views, *where, config.crop)

    return {
        "source": batches(task.source_train, "source", True, 1),
        "target": batches(task.target_train, "target", strategy.labelled_target, strategy.views),
    }


def evaluator(task: Task, device: torch.device) -> Callable[[PoseModel], dict[str, float]]:
    """The headline on held-out source and target, and the label-free score of the unlabelled target training images."""
    config, size = task.config, task.size
    batches = [EvaluationBatches(d, 64, size, config.crop) for d in (task.source_test, task.target_test)]
    unlabeled = WithoutLabels(task.target_train)
    how: dict[str, Any] = {"labels": False, "views": 2, "how": config.crop}
    two_views = TrainingBatches(unlabeled, "score", 0, 64, size, config.augmentation, **how)
    steps = range(-(-min(SCORED, len(unlabeled)) // 64))

    def evaluate(model: PoseModel) -> dict[str, float]:
        found: dict[str, float] = {}
        for side, plain_batches in zip(("source", "target"), batches, strict=True):
            predictions = predict(model, (plain_batches[i] for i in range(len(plain_batches))), device)
            key = predictions.headline(config.threshold).key
            score = scores(predictions, task.skeleton, config.threshold)
            found |= {f"{side}/{key}": score[key], f"{side}/epe": score["epe"]}
            found |= {f"{side}/{key}/{name}": value for name, value in score["groups"].items()}
        views = (two_views[step] for step in steps)
        found["target/score"] = agreement(model, views, task.skeleton.flip, device)
        return found

    return evaluate


def train(task: Task, name: str, seed: int, folder: Path, cache: Path, stage: Stage) -> dict[str, Any]:
    """Pretrain (or take it from the folder `cache`), then train strategy `name` in `folder` and write its results.

    A finished folder is returned as it is; an unfinished one is continued.
    """
    config = task.config
    result = folder / "result.json"
    if result.exists():
        return dict(json.loads(result.read_text()))
    fabric = make_fabric(config)
    if fabric.is_global_zero:
        open_folder(folder, of_run(config, name, seed), task, fabric.device)
    fabric.barrier()
    start = None if config.pretrain_steps == 0 else pretrained(task, seed, cache, fabric, stage)
    with stage(name, config.steps) as callback:
        fit(task, name, seed, folder, fabric, config.optimization, config.steps, start, callback)
    if fabric.is_global_zero:
        write_json(result, conclude(task, folder, fabric.device))
    fabric.barrier()
    return dict(json.loads(result.read_text()))


def fit(
    task: Task,
    name: str,
    seed: int,
    folder: Path,
    fabric: Fabric,
    optimization: Optimization,
    steps: int,
    start: Path | None,
    callback: Callback,
) -> None:
    config = task.config
    strategy = build_strategy(task, name, seed, optimization, start)
    loop = Loop(
        steps,
        config.log_every,
        config.evaluate_every,
        config.checkpoint_every,
        config.workers,
        config.channels_last,
        config.selection,
    )
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        strategy = torch.nn.SyncBatchNorm.convert_sync_batchnorm(strategy)
    batches = training_batches(task, type(strategy), seed, fabric)
    evaluate = evaluator(task, fabric.device)
    Trainer(fabric, strategy, batches, folder, loop, seed, evaluate, [callback]).fit()


def pretrained(task: Task, seed: int, cache: Path, fabric: Fabric, stage: Stage) -> Path:
    """Weights of the source pretraining of `seed`: trained once, shared by all strategies, kept in
    `cache` by a hash of all that it depends on."""
    config = task.config
    depends = {key: plain(config)[key] for key in PRETRAINING}
    own = config.model.own.file  # a network of yours is what its file says now
    content = [hashlib.sha256(Path(own).read_bytes()).hexdigest()] if own else []
    named = [depends, task.source_train.identity, task.skeleton.keypoints, seed, *content]
    told = json.dumps(named, sort_keys=True, default=str)
    folder = cache / f"{hashlib.sha256(told.encode()).hexdigest()[:12]}-seed{seed}"
    weights = folder / f"weights-{config.pretrain_steps:06d}.pt"
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, wait=True), stage("pretraining", config.pretrain_steps) as callback:
            if fabric.is_global_zero:
                open_folder(folder, depends | {"seed": seed}, task, fabric.device)
            fit(task, "source_only", seed, folder, fabric, config.pretrain, config.pretrain_steps, None, callback)
        if fabric.is_global_zero:
            write_text(folder / "done", "")
        fabric.barrier()
    return weights


def conclude(task: Task, folder: Path, device: torch.device) -> dict[str, Any]:
    """Score the selected weights, keep their predictions, and collect what each selection rule would have used."""
    config = task.config
    state = load_checkpoint(folder / "checkpoint.pt", ("selection",))["selection"]
    model, _ = load_model(selected_weights(folder, config.selection, state))
    model.to(device)
    found: dict[str, Any] = {}
    for side, dataset in (("target", task.target_test), ("source", task.source_test)):
        batches = loader(EvaluationBatches(dataset, 64, task.size, config.crop), range(-(-len(dataset) // 64)))
        predictions = predict(model, batches, device)
        found[side] = scores(predictions, task.skeleton, config.threshold)
        if side == "target":
            key = predictions.headline(config.threshold).key
            predictions.save(folder / "predictions.npz")
            if config.report.pictures == "all":
                sheet = prediction_sheet(dataset, predictions.points.numpy(), predictions.annotated.numpy())
                write_picture(folder / "predictions.png", sheet)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    evaluated = {line["step"]: line["metrics"] for line in lines if f"target/{key}" in line["metrics"]}
    found["selected"] = {
        rule: {"step": step, "target": _side(evaluated[step], "target", key)} for rule, step in state["steps"].items()
    }
    seconds = [line["metrics"]["seconds/iteration"] for line in lines if "seconds/iteration" in line["metrics"]]
    found["seconds_per_iteration"] = statistics.median(seconds)
    export(model.cpu(), task, folder)
    return found


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
    told = {"input": {"width": task.size[0], "height": task.size[1]}, "keypoints": list(task.skeleton.keypoints)}
    write_json(folder / "model.json", told)


def selected_weights(folder: Path, rule: str, selection: dict[str, Any]) -> Path:
    step = selection["steps"].get(rule)
    path = folder / f"weights-{step or 0:06d}.pt"
    if step is None or not path.exists():
        kept = sorted(p.name for p in folder.glob("weights-*.pt"))
        raise ValueError(f"{folder} keeps no weights for selection={rule} (kept: {', '.join(kept)}); train with it set")
    return path


def _side(metrics: dict[str, float], side: str, key: str) -> dict[str, Any]:
    groups = {k.split("/")[2]: v for k, v in metrics.items() if k.startswith(f"{side}/{key}/")}
    return {key: metrics[f"{side}/{key}"], "epe": metrics[f"{side}/epe"], "groups": groups}


def environment(device: torch.device) -> dict[str, Any]:
    names = ("keyshift", "torch", "torchvision", "numpy", "lightning-fabric", "albumentations")
    return {name: version(name) for name in names} | {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "processes": world_size(),
    }


def of_run(config: Config, strategy: str, seed: int) -> dict[str, Any]:
    """The configuration that a run folder says: without the keys of comparisons."""
    told = plain(replace(config, strategy=strategy, seed=seed))
    return {key: value for key, value in told.items() if key not in ("strategies", "seeds")}


def open_folder(folder: Path, config: dict[str, Any], task: Task, device: torch.device) -> None:
    """Say in `folder` what it is, or continue it. Raises ValueError where it holds another configuration."""
    told = folder / "config.yaml"
    if told.exists():
        before = yaml.safe_load(told.read_text())
        differing = _differing(before, config)
        if differing:
            key, (was, now) = min(differing.items())
            raise ValueError(
                f"{folder} holds another run: {key} was {was!r}, now {now!r}. Choose another folder with "
                "output=FOLDER, or pass --overwrite to delete it first"
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(told, yaml.safe_dump(config, sort_keys=False))
    for name, content in (("environment", environment(device)), ("identity", task.identity())):
        if not (folder / f"{name}.json").exists():
            write_json(folder / f"{name}.json", content)


def _differing(before: Any, now: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    found: dict[str, tuple[Any, Any]] = {}
    for key in {*before, *now}:
        was, is_now = before.get(key), now.get(key)
        if isinstance(was, dict) and isinstance(is_now, dict) and key not in FREE:
            found |= _differing(was, is_now, f"{prefix}{key}.")
        elif was != is_now and (prefix or key not in FREE):
            found[f"{prefix}{key}"] = (was, is_now)
    return found


def world_size() -> int:
    """How many processes torchrun started, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process's number under torchrun, known before Fabric launches."""
    return int(os.environ.get("RANK", "0"))


@contextmanager
def locked(folder: Path, overwrite: bool = False, wait: bool = False) -> Iterator[None]:
    """Hold a run folder, emptied first with `overwrite`; the end of the process frees it, however it ends.

    Raises ValueError where another process holds it (or waits for that, with `wait`), and for a folder that holds
    anything else. Of several processes of one run the first holds it for all.
    """
    if rank() > 0:
        yield
        return
    if folder.exists() and not (folder / "config.yaml").exists() and any(folder.glob("[!.]*")):
        raise ValueError(f"{folder} exists and is no run of keyshift; choose another folder with output=FOLDER")
    with only_one(folder, wait, "wait for it or choose another folder"):
        if overwrite:
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != ".lock":
                    path.unlink()
        yield
