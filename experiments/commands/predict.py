"""`keyshift predict`: a trained model's keypoints for any pictures and videos, as one COCO file."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ...datasets.loading import Crop, collate
from ...datasets.reading.images import UnreadableImage
from ...datasets.sample import CAMERA_MM, transform
from ...datasets.skeleton import Skeleton
from ...models.pose_model import PoseModel
from ...models.saved import load_model
from ..config import load_folder
from ..runs.device import choose_device
from ..runs.folder import locate
from ..runs.prediction_files import Gathering, Predicted, check_outputs, draw_all, write_coco
from ..runs.prediction_inputs import Inputs, open_inputs, read_ahead
from ..runs.progress import Reporter

NAMED = 10
"""Unreadable files that are named on the terminal; the others are in the JSON."""


class Opened(NamedTuple):
    """A trained network and what it takes to use it."""

    model: PoseModel
    skeleton: Skeleton
    size: tuple[int, int]
    """Width and height of its input."""
    crop: str | None
    """How depth frames were cut for it; None where a weights file of a depth network lies outside its run."""


def open_model(path: Path) -> Opened:
    """The network of a run folder or weights file, in evaluation mode on the CPU. Raises ValueError as `locate` does,
    and for a corrupt or foreign file."""
    weights, run = locate(path)
    model, skeleton = load_model(weights)
    crop: str | None = "exact"
    if "reach" in model.reads:
        crop = load_folder(run).crop if run is not None else None
    return Opened(model.eval(), skeleton, model.input_size, crop)


def check_model(path: Path, model: PoseModel, boxes: str | None) -> None:
    """Raises ValueError for a system that reads other things than a picture or does not answer in its pixels, and for
    boxes where it finds people itself."""
    name, wanted = type(model).__name__, None
    if set(model.reads) != {"image"}:
        wanted = f"reads {' and '.join(model.reads)}, and predict gives pictures alone"
    elif model.frames:
        wanted = f"reads clips of {model.frames} frames, and predict gives single pictures"
    elif model.space == CAMERA_MM:
        wanted = f"answers in {model.space}, and predict writes pixels"
    if wanted is not None:
        raise ValueError(f"{path}: {name} {wanted}; score it on data that fits: keyshift evaluate RUN")
    if not model.single and boxes not in (None, "whole"):
        raise ValueError(
            f"boxes={boxes}: {path} finds the people of a whole picture itself, and reads no boxes; leave them out"
        )


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
) -> Predicted:
    """Write `output`, a COCO keypoint file, for the pictures, folders and videos `paths`; returns what it holds.

    `boxes`, `stride` and `duplicates` are those of datasets/own/pictures.py. `draw` is a folder for drawn pictures.
    `mirror` shows pictures mirrored to the network: right hands to one that knows left ones. Files that cannot be read
    are listed in the JSON and on stderr. Raises ValueError for bad input, before anything is written, and where no
    picture at all can be read.
    """
    opened, processor = open_model(model), choose_device(device)
    check_model(model, opened.model, boxes)
    if batch < 1 or workers < 1:
        raise ValueError(f"batch={batch} and workers={workers} must be at least 1")
    inputs = open_inputs(paths, boxes, stride, duplicates)
    check_outputs(inputs, output, draw, overwrite)
    predicted = answer_all(opened, inputs, processor, reporter, mirror, batch, workers)
    report_unreadable(predicted)
    if not predicted.readable.any():
        name, reason = predicted.unreadable[0]
        raise ValueError(f"none of the {len(predicted.unreadable)} pictures can be read; the first: {name}: {reason}")
    write_coco(output, predicted, inputs, opened.skeleton, locate(model)[0], opened.size)
    reporter.say(f"{output}: {len(predicted)} people in {int(predicted.readable.sum())} pictures")
    if draw is not None:
        draw_all(draw, predicted, inputs, opened.skeleton, reporter)
    return predicted


def report_unreadable(predicted: Predicted) -> None:
    """The first unreadable files and their number on stderr."""
    for name, reason in predicted.unreadable[:NAMED]:
        print(f"unreadable: {name}: {reason}", file=sys.stderr)
    if predicted.unreadable:
        print(f"{len(predicted.unreadable)} could not be read; all are listed as unreadable", file=sys.stderr)


def answer_all(
    opened: Opened, inputs: Inputs, device: torch.device, reporter: Reporter, mirror: bool, batch: int, workers: int
) -> Predicted:
    """The model's answers for everyone in every picture."""
    model, started = opened.model.to(device), time.monotonic()
    gathering = Gathering(inputs, len(opened.skeleton), model.single)
    waiting: list[tuple[int, Crop]] = []
    with reporter.stage("predict", len(inputs.names)) as show:
        ahead = read_ahead(inputs, opened.size, opened.skeleton, mirror, 2 * batch, workers)
        for place, result in enumerate(ahead):
            if isinstance(result, UnreadableImage):
                gathering.unreadable.append((inputs.names[place], str(result)))
            else:
                gathering.sizes[place] = result.width, result.height
                waiting += [(place, crop) for crop in result.crops]
            while len(waiting) >= batch:
                answer(model, waiting[:batch], device, opened.skeleton, gathering)
                del waiting[:batch]
            show(place + 1, {"seconds/iteration": (time.monotonic() - started) / (place + 1)})
        if waiting:
            answer(model, waiting, device, opened.skeleton, gathering)
    return gathering.predicted()


@torch.no_grad()
def answer(
    model: PoseModel,
    crops: Sequence[tuple[int, Crop]],
    device: torch.device,
    skeleton: Skeleton,
    gathering: Gathering,
) -> None:
    """One batch of crops and their pictures' places through the network, into `gathering`. Raises ArithmeticError for
    answers that are not finite."""
    sample = collate([crop for _, crop in crops], labels=False).to(device)
    poses = model.decode(model(sample), sample).each(torch.Tensor.cpu)
    image_index, score = poses.image_index.numpy(), poses.score.float().numpy()
    points = transform(sample.to_file.cpu()[poses.image_index], poses.points[..., :2]).float().numpy()
    confidence = poses.confidence.float().numpy()
    if crops[0][1].item.mirrored:  # what looks like a left wrist is a right one
        points, confidence = points[:, skeleton.flip], confidence[:, skeleton.flip]
    broken = ~(np.isfinite(points).all((1, 2)) & np.isfinite(confidence).all(1) & np.isfinite(score))
    if broken.any():
        name = crops[image_index[broken.argmax()]][1].item.id
        raise ArithmeticError(f"the model's answers for {name} are not finite: its weights are broken")
    places = np.array([place for place, _ in crops])[image_index]
    if model.single:
        box = np.stack([crop.item.box for _, crop in crops])[image_index]
        score = confidence.astype(np.float64).mean(1)  # which poses.score is, to fewer digits
    else:
        box = np.concatenate([points.min(1), points.max(1)], 1)
    gathering.add(place=places, box=box, points=points, confidence=confidence, score=score)
