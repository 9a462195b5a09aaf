"""`keyshift evaluate`: score weights of finished runs again, on the same or on other data."""

from __future__ import annotations

from pathlib import Path

from ...adapt.scoring.evaluation import predict, scores
from ...adapt.scoring.selection import PCK
from ...datasets.loading import EvaluationBatches, loader
from ...models.saved import load_checkpoint, load_model
from ..config import load_folder
from ..runs.progress import Reporter
from ..runs.run import make_fabric, prepare, selected_weights


def evaluate(folder: Path, overrides: list[str], reporter: Reporter) -> None:
    """Print the scores of a run, or of each run of a comparison. Writes nothing."""
    runs = (
        [folder]
        if (folder / "checkpoint.pt").exists()
        else [p.parent for p in sorted(folder.glob("*-seed*/checkpoint.pt"))]
    )
    if not runs:
        raise ValueError(f"{folder} holds no trained run: expected checkpoint.pt there or in STRATEGY-seedN/")
    config = load_folder(folder, overrides)
    task = prepare(config, training=False)
    fabric = make_fabric(config)
    rows, headline = [], PCK
    for run in runs:
        selection = load_checkpoint(run / "checkpoint.pt", ("selection",))["selection"]
        model, keypoints = load_model(selected_weights(run, config.selection, selection))
        if tuple(keypoints) != task.skeleton.keypoints:
            raise ValueError(
                f"{run} predicts {', '.join(keypoints)}; the data has {', '.join(task.skeleton.keypoints)}"
            )
        model.to(fabric.device)
        row = [run.name]
        for dataset in (task.target_test, task.source_test):
            batches = EvaluationBatches(dataset, 64, task.size, config.crop)
            predictions = predict(model, loader(batches, range(len(batches))), fabric.device)
            headline = predictions.headline(config.threshold)
            score = scores(predictions, task.skeleton, config.threshold)
            row += [headline.bare(score[headline.key], more=1), f"{score['auc']:.4f}", f"{score['epe']:.2f}"]
        rows.append(row)
    columns = ["run", "target", "AUC", "EPE px", "source", "AUC", "EPE px"]
    reporter.table(f"{headline.heading}, selection={config.selection}", columns, rows)
