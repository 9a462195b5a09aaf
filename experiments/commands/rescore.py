"""`keyshift rescore`: DEKR learns how good its poses are, and people's scores are corrected by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ...adapt.scoring.evaluation import predict_people
from ...adapt.scoring.finding import extents
from ...adapt.scoring.oks_ap import similarity
from ...adapt.scoring.oks_sigmas import fall_offs
from ...datasets.reading.files import check_output
from ...datasets.sample import Labeled, transform
from ...models.output import Poses
from ...models.rescoring import Rescoring, fit
from ...models.saved import load_checkpoint, load_model, save_model
from ...models.systems.dekr import DEKR
from ..config import load_folder
from ..runs.device import choose_device
from ..runs.folder import locate
from ..runs.progress import Reporter
from ..runs.task import prepare


def rescore(model: Path, output: Path | None, overrides: list[str], reporter: Reporter, overwrite: bool) -> Path:
    """Write the weights of the run MODEL with a network that learned, on the labelled training samples of its source,
    how similar the poses that it finds there are to the truth; by default as rescored.pt into the run. Raises
    ValueError for a weights file without its run, for other systems than DEKR, and where nobody is found."""
    weights, run = locate(model)
    if run is None:
        raise ValueError(f"{model} is a weights file without its run, which says what it was trained on: name the run")
    output = output or run / "rescored.pt"
    check_output(output, overwrite)
    network, skeleton = load_model(weights)
    if not isinstance(network, DEKR):
        raise ValueError(f"{model} holds {type(network).__name__}; poses are judged of DEKR alone")
    config = replace(load_folder(run, [f"start={weights}", *overrides]), target=None, selection="last")
    task = prepare(config, ["source_only"], training=False)
    assert task.source_train is not None
    batches, device = task.batches(task.source_train), choose_device(config.device)
    every = (batches[number] for number in range(len(batches)))
    poses = predict_people(network.judged_by(None).to(device), every, device).each(Tensor.cpu)
    sigmas = fall_offs(skeleton)
    alike = torch.cat([likeness(poses, batches[number], sigmas) for number in range(len(batches))])
    torch.manual_seed(config.seed)
    judge = Rescoring(skeleton)
    error = fit(judge, poses.points.float(), poses.confidence.float(), alike.float())
    step = load_checkpoint(weights)["step"]
    save_model(output, network.judged_by(judge).cpu(), skeleton, step)
    reporter.say(
        f"{output}: {len(poses)} poses in {len(task.source_train)} samples of {task.source_train.name}, whose mean OKS "
        f"is {float(alike.mean()):.3f}; it is told with an error of {error**0.5:.3f}"
    )
    return output


def likeness(poses: Poses, batch: Labeled, sigmas: Sequence[float]) -> Tensor:
    """The OKS (Q,) of each of the people found in a batch's pictures, points in the file's px, with the person whom it
    is most like, 0 where nobody is labelled. Areas and boxes are those that AP takes."""
    points = transform(batch.to_file[batch.image_index], batch.keypoints)
    own_side = batch.side[batch.image_index]
    size = extents({"truth": points, "annotated": batch.annotated, "side": own_side}, batch)
    area, boxes, someone = size["area"], size["bounds"], batch.annotated.any(1)
    own = torch.isin(poses.image_index, batch.row)
    each = similarity(
        poses.points[own], points[someone], batch.annotated[someone], area[someone], boxes[someone], sigmas
    )
    here = poses.image_index[own, None] == batch.row[batch.image_index[someone]]
    return torch.cat([each * here, torch.zeros(len(each), 1)], 1).amax(1)
