"""`keyshift predict` of a lifter: people in space over time, from the 2D keypoints that `keyshift predict` wrote."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.own.sequences2d import Options, PredictedFile, read_predictions
from ...datasets.reading.intrinsics import parse_focal
from ...datasets.sample import BODY_MM, CAMERA_MM
from ...datasets.skeleton import Skeleton
from ...models.pose_model import PoseModel
from ..report.people_views import StageDrawing
from ..runs.lifting import LiftInputs, inputs_of, lift_all
from ..runs.prediction_files import Predicted, check_outputs, draw_all
from ..runs.prediction_formats import Writer
from ..runs.progress import Reporter

FORMATS = ("coco", "results", "deeplabcut")
READS = {"keypoints2d", "random2d", "lens"}
"""What 2D keypoints over time give to read."""


def check_lifter(model: Path, network: PoseModel, skeleton: Skeleton) -> None:
    """Raises ValueError for one that reads more than 2D keypoints, or does not answer in mm along all axes."""
    name = type(network).__name__
    more = sorted(set(network.reads) - READS)
    if more:
        raise ValueError(f"{model}: {name} reads {', '.join(more)} besides 2D keypoints, which predictions do not give")
    if network.space not in (BODY_MM, CAMERA_MM):
        raise ValueError(f"{model}: {name} answers in {network.space}, and 2D keypoints are lifted to mm")
    if skeleton.root is None:
        raise ValueError(f"{model}: poses are counted from a root, and the skeleton {skeleton.name!r} has none")


def predictions_file(model: Path, paths: Sequence[Path]) -> Path:
    """The one file that is lifted. Raises ValueError for pictures and videos, and for several."""
    if len(paths) != 1 or not paths[0].is_file() or paths[0].suffix.lower() != ".json":
        given = ", ".join(map(str, paths[:3]))
        raise ValueError(
            f"{model} reads keypoints2d, and lifts them into space: give the JSON that keyshift predict wrote with a "
            f"model of pictures (keyshift predict MODEL clip.mp4, then keyshift predict {model} predictions.json); got "
            f"{given}"
        )
    return paths[0]


def predict_lift(
    network: PoseModel,
    skeleton: Skeleton,
    path: Path,
    output: Path,
    write: Writer,
    weights: Path,
    reporter: Reporter,
    *,
    focal: str | None,
    camera: str | None,
    draw: Path | None,
    batch: int,
    overwrite: bool,
) -> Predicted:
    """Write `output` with the poses of everyone in `path`, what keyshift predicted of a video; `focal` and `camera` are
    those of CameraOptions, and `network` is on its device. Raises ValueError for bad input, before anything is
    written."""
    options = Options(focal=None if focal is None else parse_focal(focal), camera=camera, random=0)
    file = read_predictions(path, options, skeleton)
    if not file.people:
        raise ValueError(f"{path}: nobody is in these predictions")
    inputs = inputs_of(file)
    inputs.said = {"root": skeleton.keypoints[skeleton.root or 0], "made": {k: list(v) for k, v in file.made.items()}}
    if output.resolve() == path.resolve():
        raise ValueError(f"{output} is what is read: say --output FILE")
    check_outputs(inputs, output, draw, overwrite)
    for line in said(file):
        reporter.say(line)
    count, started = sum(len(person.recording) for person in file.people), time.monotonic()

    with reporter.stage("lift", count) as show:

        def done(frames: int, _: Mapping[str, Any]) -> None:
            show(frames, {"seconds/iteration": (time.monotonic() - started) / max(frames, 1)})

        predicted = lift_all(network, skeleton, file, batch, done)
    write(output, predicted, inputs, skeleton, weights, network.input_size)
    reporter.say(f"{output}: {len(file.people)} people in space, in {len(np.unique(predicted.rows['place']))} frames")
    if draw is not None:
        draw_all(draw, on_stage(predicted), inputs, skeleton, reporter, drawing_of(predicted, inputs, skeleton))
    return predicted


def said(file: PredictedFile) -> list[str]:
    """What was made of the 2D keypoints, for people."""
    lines = [file.camera]
    if file.made:
        lines.append(
            "keypoints made of others: " + ", ".join(f"{k} of {' and '.join(v)}" for k, v in file.made.items())
        )
    if file.lacking:
        lines.append(f"there is nothing for {', '.join(file.lacking)}: in the middle of the others, confidence 0")
    missing = sum(int((~person.there).sum()) for person in file.people)
    if missing:
        lines.append(f"in {missing} frames a person was not found, and lies between the frames before and after")
    return lines


def on_stage(predicted: Predicted) -> Predicted:
    """The same to be drawn: who has no place before the camera stands where it is."""
    rows = predicted.rows.copy()
    nowhere = rows["root3d"][:, 2] <= 0
    rows["points3d"][nowhere] = rows["lifted"][nowhere]
    return Predicted(predicted.sizes, rows, predicted.crops, predicted.unreadable)


def drawing_of(predicted: Predicted, inputs: LiftInputs, skeleton: Skeleton) -> StageDrawing:
    return StageDrawing(inputs.names, skeleton, predicted.rows["track"])
