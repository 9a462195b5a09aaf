"""`keyshift predict`: a trained model's keypoints for any pictures and videos, as one COCO file."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ...datasets.bodies.skeletons import body
from ...datasets.depth.sets import HANDS2017, ICVL, ITOP, MSRA, NYU
from ...datasets.loading import Crop, collate
from ...datasets.own.skeleton_file import KNOWN
from ...datasets.reading.images import UnreadableImage
from ...datasets.rendered.body_anatomy import UPPER_BODY
from ...datasets.sample import transform
from ...datasets.skeleton import Skeleton
from ...models.pose_model import PoseModel
from ...models.saved import load_checkpoint, load_model_and_skeleton
from ..config import load_folder
from ..runs.prediction_files import Found, check_outputs, draw_all, write_coco
from ..runs.prediction_inputs import Inputs, open_inputs, read_ahead
from ..runs.progress import Reporter

SKELETONS = (*KNOWN.values(), UPPER_BODY, NYU, ICVL, MSRA, HANDS2017, ITOP)
"""Those that a weights file of version 0.1.0, which holds names alone, is looked up in."""
TOLD = 10
"""Unreadable files that are named on the terminal; the others are in the JSON."""


class Opened(NamedTuple):
    """A trained network and what it takes to use it."""

    model: PoseModel
    skeleton: Skeleton
    size: tuple[int, int]
    """Width and height of its input."""
    crop: str | None
    """How depth frames were cut for it; None where a weights file of a depth network lies outside its run."""


def locate(model: Path) -> tuple[Path, Path | None]:
    """The weights file that MODEL means, and the run folder that it lies in.

    MODEL is a run folder (what it ships, or its selected weights) or a weights file. Raises ValueError for a
    comparison, naming its runs, and for anything else.
    """
    if model.is_file():
        return model, model.parent if (model.parent / "config.yaml").is_file() else None
    runs = sorted(path.parent.name for path in model.glob("*-seed*/config.yaml"))
    if runs:
        raise ValueError(
            f"{model} is a comparison; name one of its runs: {', '.join(f'{model}/{run}' for run in runs)}"
        )
    if (model / "model.pt").is_file():
        return model / "model.pt", model
    if not (model / "config.yaml").is_file():
        raise ValueError(f"no model {model}: expected a run folder (with a config.yaml in it) or a weights file (.pt)")
    from ..runs.run import selected_weights

    state = load_checkpoint(model / "checkpoint.pt", ("selection",))["selection"]
    return selected_weights(model, load_folder(model).selection, state), model


def open_model(path: Path) -> Opened:
    """The network of a run folder or weights file, in evaluation mode on the CPU. Raises ValueError as `locate` does,
    and for a corrupt or foreign file."""
    weights, run = locate(path)
    model, names, skeleton = load_model_and_skeleton(weights)
    width, height = model.architecture["input_size"]
    how: str | None = "exact"
    if model.reads == "depth":
        how = load_folder(run).crop if run is not None else None
    return Opened(model.eval(), skeleton or known_skeleton(tuple(names)), (width, height), how)


def known_skeleton(names: tuple[str, ...]) -> Skeleton:
    """The first known skeleton that has all of `names`, reduced to them; else the bones that the names tell."""
    for known in SKELETONS:
        if set(names) <= set(known.keypoints):
            return known.select(names)
    return body("keypoints", names)


def choose_device(device: str) -> torch.device:
    """ "auto", "cpu" or "cuda". Raises ValueError for anything else, and where there is no GPU to use."""
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device={device!r} is not known; choose one of auto, cpu, cuda")
    seen = torch.cuda.is_available()
    if device == "cuda" and not seen:
        raise ValueError("device=cuda: torch sees no GPU here; use device=auto or device=cpu")
    return torch.device("cuda" if seen and device != "cpu" else "cpu")


def predict(
    model: Path,
    paths: Sequence[Path],
    output: Path,
    reporter: Reporter,
    *,
    boxes: str | None = None,
    draw: Path | None = None,
    stride: int | None = None,
    duplicates: float | None = None,
    mirror: bool = False,
    batch: int = 32,
    workers: int = 2,
    device: str = "auto",
    overwrite: bool = False,
) -> Found:
    """Write `output`, a COCO keypoint file, for the pictures, folders and videos `paths`; returns what it holds.

    `boxes`, `stride` and `duplicates` are those of datasets/own/pictures.py. `draw` is a folder for drawn pictures.
    `mirror` shows pictures mirrored to the network: right hands to one that knows left ones. Files that cannot be read
    are listed in the JSON and on stderr. Raises ValueError for bad input, before anything is written, and where no
    picture at all can be read.
    """
    opened, where = open_model(model), choose_device(device)
    if opened.model.reads == "depth":
        raise ValueError(f"{model} reads depth, and predict reads pictures; score it with keyshift evaluate RUN")
    if batch < 1 or workers < 1:
        raise ValueError(f"batch={batch} and workers={workers} must be at least 1")
    inputs = open_inputs(paths, boxes, stride, duplicates)
    check_outputs(inputs, output, draw, overwrite)
    found = answer_all(opened, inputs, where, reporter, mirror, batch, workers)
    tell_unreadable(found)
    if not found.readable.any():
        name, reason = found.unreadable[0]
        raise ValueError(f"none of the {len(found.unreadable)} pictures can be read; the first: {name}: {reason}")
    write_coco(output, found, inputs, opened.skeleton, locate(model)[0], opened.size)
    reporter.say(f"{output}: {found.people} people in {int(found.readable.sum())} pictures")
    if draw is not None:
        draw_all(draw, found, inputs, opened.skeleton, reporter)
    return found


def tell_unreadable(found: Found) -> None:
    """The first unreadable files and their number on stderr."""
    for name, reason in found.unreadable[:TOLD]:
        print(f"unreadable: {name}: {reason}", file=sys.stderr)
    if found.unreadable:
        print(f"{len(found.unreadable)} could not be read; all are listed as unreadable", file=sys.stderr)


def answer_all(
    opened: Opened, inputs: Inputs, device: torch.device, reporter: Reporter, mirror: bool, batch: int, workers: int
) -> Found:
    """The model's answers for everyone in every picture."""
    model, started = opened.model.to(device), time.monotonic()
    found = Found.empty(inputs, len(opened.skeleton))
    waiting: list[tuple[int, Crop]] = []
    with reporter.stage("predict", len(inputs.names)) as show:
        ahead = read_ahead(inputs, opened.size, opened.skeleton, mirror, 2 * batch, workers)
        for place, result in enumerate(ahead):
            if isinstance(result, UnreadableImage):
                found.unreadable.append((inputs.names[place], str(result)))
            else:
                found.sizes[place] = result.width, result.height
                waiting += zip(found.rows(place), result.crops, strict=True)
            while len(waiting) >= batch:
                answer(model, waiting[:batch], device, opened.skeleton, found)
                del waiting[:batch]
            show(place + 1, {"seconds/iteration": (time.monotonic() - started) / (place + 1)})
        if waiting:
            answer(model, waiting, device, opened.skeleton, found)
    return found


@torch.no_grad()
def answer(
    model: PoseModel, crops: Sequence[tuple[int, Crop]], device: torch.device, skeleton: Skeleton, found: Found
) -> None:
    """One batch of rows and crops through the network, into `found`. Raises ArithmeticError for answers that are not
    finite."""
    sample = collate([one for _, one in crops], labels=False).to(device)
    points, confidence = model.decode(model(sample), sample)
    points = transform(sample.to_file, points)
    if crops[0][1].item.mirrored:  # what looks like a left wrist is a right one
        points, confidence = points[:, skeleton.flip], confidence[:, skeleton.flip]
    rows = [row for row, _ in crops]
    found.points[rows] = points.float().cpu().numpy()
    found.confidence[rows] = confidence.float().cpu().numpy()
    found.boxes[rows] = np.stack([one.item.box for _, one in crops])
    if not (np.isfinite(found.points[rows]).all() and np.isfinite(found.confidence[rows]).all()):
        raise ArithmeticError(f"the model's answers for {crops[0][1].item.id} are not finite: its weights are broken")
