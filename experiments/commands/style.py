"""`keyshift style`: the network by which UniFrame shows one domain in the other's style, trained for a pair of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...adapt.processes import leave
from ...adapt.style import StyleNetwork, coloured, encoder_weights, intensities, transferred
from ...adapt.style_training import StyleTraining
from ...adapt.trainer import Loop, Trainer
from ...datasets.loading import EvaluationBatches
from ...datasets.options import Options, option, plain_options
from ...datasets.reading.files import check_place, only_one, write_json
from ...datasets.sample import PoseDataset, Unlabeled
from ..config import Chosen, Config
from ..report.drawing import write_picture
from ..runs.precision import SINGLE
from ..runs.progress import Reporter
from ..runs.task import Task, prepare
from ..runs.training import make_fabric, training_batches

FILE, SHEET, ABOUT = "style.pt", "style.png", "style.json"
SHOWN = 8
"""Pictures of each domain on the sheet."""


@dataclass(frozen=True)
class StyleOptions(Options):
    """Of the command."""

    steps: int = option(20000, "updates (the reference: 500000)", low=1)
    batch: int = option(8, "pictures of each domain in an update (the reference: 4)", low=1)
    rate: float = option(1e-4, "Adam's (the reference: 1e-5)", low=0)
    weight: float = option(0.1, "of the style loss", low=0)
    weights: str | None = option(None, "a file with torchvision's vgg19, or one that begins with a 1x1 convolution")
    channels: int = option(64, "of the encoder's first level; with weights 64", low=1)


def train_style(config: Config, options: StyleOptions, folder: Path, reporter: Reporter, overwrite: bool) -> None:
    """Train in `folder`, or go on there; write the network and a sheet of what it does. Raises ValueError where the
    folder holds another training, and where either side gives no colour pictures."""
    task = prepare(replace(config, batch=options.batch), ["bn_control"])  # which takes both domains, and no file
    for line in task.describe():
        reporter.say(line)
    network = build(options, config.seed, reporter)
    check_place(folder)
    with only_one(folder):
        about = settings(config, options)
        start(folder, about, overwrite)
        fabric = make_fabric(replace(config, precision=SINGLE))  # its folder does not say a precision
        strategy = StyleTraining(network, task.skeleton, options.rate, options.weight)
        batches = training_batches(task, strategy, config.seed, fabric)
        for side in (task.source_train, task.target_train):
            check_coloured(task, side)
        loop = Loop(options.steps, config.log_every, options.steps, config.checkpoint_every, config.workers)
        with reporter.stage("style", options.steps) as callback:
            Trainer(fabric, strategy, batches, folder, loop, config.seed, callbacks=[callback]).fit()
        if fabric.is_global_zero:
            network.save(folder / FILE, options.steps)
            if config.report.pictures == "all":
                write_picture(folder / SHEET, sheet(task, network, fabric.device))
                reporter.say(f"what was learned: {folder / SHEET}")
    reporter.say(f"use it: uniframe.transfer=adain uniframe.style={folder / FILE}")
    leave()


def build(options: StyleOptions, seed: int, reporter: Reporter) -> StyleNetwork:
    """The network, its encoder from the weights or random."""
    torch.manual_seed(seed)
    if options.weights is None:
        reporter.say("note: the encoder is random (weights=FILE gives it VGG-19's): it tells styles apart, but roughly")
        return StyleNetwork(options.channels)
    if options.channels != 64:
        raise ValueError(f"channels={options.channels}: VGG-19 has 64; leave channels or weights out")
    network = StyleNetwork()
    network.load_encoder(encoder_weights(options.weights))
    return network


def settings(config: Config, options: StyleOptions) -> dict[str, Any]:
    """What a training's numbers depend on, but for its length."""
    sides = {name: side.plain() for name in ("source", "target") if isinstance(side := getattr(config, name), Chosen)}
    cut = {"input_size": config.model.options.input_size, "augmentation": plain_options(config.augmentation)}
    return sides | cut | {"seed": config.seed, "options": {**vars(options), "steps": None}}


def start(folder: Path, about: dict[str, Any], overwrite: bool) -> None:
    """Write what the folder is, or find that it is the same. Raises ValueError where it is not."""
    path = folder / ABOUT
    if overwrite:
        for name in (ABOUT, FILE, SHEET, "checkpoint.pt", "metrics.jsonl"):
            (folder / name).unlink(missing_ok=True)
    if not path.exists() and any(folder.glob("[!.]*")):
        raise ValueError(f"{folder} exists and holds no style; choose another folder with --output FOLDER")
    if path.exists() and json.loads(path.read_text("utf-8")) != json.loads(json.dumps(about)):
        raise ValueError(
            f"{folder} holds a style of other data or options ({ABOUT} says which); choose another folder with "
            "--output FOLDER, or pass --overwrite"
        )
    write_json(path, about)


def check_coloured(task: Task, dataset: PoseDataset | None) -> None:
    assert dataset is not None
    if not coloured(few(task, dataset, 1)):
        raise ValueError(f"{dataset.name} gives no colour pictures, and style is of these alone")


def few(task: Task, dataset: PoseDataset, count: int) -> Unlabeled:
    return EvaluationBatches(dataset, count, task.size, task.config.crop)[0]


def sheet(task: Task, network: StyleNetwork, device: torch.device) -> np.ndarray:
    """Six rows of pictures, (H, W, 3) uint8: source, in the target's style, the same by Fourier swap (at its default
    share); target, in the source's style, the same by Fourier swap."""
    assert task.source_train is not None
    read = (few(task, dataset, SHOWN) for dataset in (task.source_train, task.target[0]))
    sides = [batch.image.flatten(0, -4).to(device) for batch in read]
    count = min(SHOWN, *map(len, sides))
    source, target = (side[:count] for side in sides)
    network, one = network.to(device).eval(), torch.ones((), device=device)
    rows = []
    for content, style in ((source, target), (target, source)):
        rows += [content, *(transferred(content, style, by, 0.01, one) for by in (network, None))]
    return np.concatenate([np.concatenate(list(_pictures(row)), 1) for row in rows])


def _pictures(images: Tensor) -> np.ndarray:
    return intensities(images).clamp(0, 255).byte().movedim(1, -1).cpu().numpy()
