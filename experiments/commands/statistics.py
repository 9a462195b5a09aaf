"""`keyshift statistics`: mean and covariance of a run's source features, for who has its model and not its source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...adapt.methods.ssa import features_of, moments, save_moments
from ...datasets.reading.files import check_output
from ...models.saved import load_model
from ..config import load_folder
from ..runs.device import choose_device
from ..runs.folder import locate
from ..runs.progress import Reporter
from ..runs.task import prepare
from ..runs.training import plain_batches


def statistics(model: Path, output: Path | None, overrides: list[str], reporter: Reporter, overwrite: bool) -> Path:
    """Write what `ssa.statistics` reads, made from the training samples of the source of the run MODEL without their
    labels; by default as statistics.pt into the run. Raises ValueError for a weights file without its run."""
    weights, run = locate(model)
    if run is None:
        raise ValueError(f"{model} is a weights file without its run, which says what it was trained on: name the run")
    output = output or run / "statistics.pt"
    check_output(output, overwrite)
    config = replace(load_folder(run, [f"start={weights}", *overrides]), target=None, selection="last")
    task = prepare(config, ["source_only"], training=False)
    assert task.source_train is not None
    network, _ = load_model(weights)
    batches = plain_batches(task, task.source_train)
    save_moments(output, moments(features_of(network.to(choose_device(config.device)), batches())))
    reporter.say(f"{output}: features of {len(task.source_train)} samples of {task.source_train.name}")
    return output
