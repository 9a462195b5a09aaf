"""`keyshift evaluate`: score weights of finished runs again, on the same or on other data. Of a job of `keyshift adapt`
these are what it shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...adapt.scoring.evaluation import scores
from ...adapt.scoring.people_ap import oks_words
from ...adapt.scoring.selection import PCK, Headline
from ...datasets.sample import PoseDataset
from ...models.saved import MODELS, load_checkpoint, load_model
from ..config import Config, load_folder, read
from ..runs.conclusion import predicted
from ..runs.folder import selected_weights
from ..runs.progress import Reporter
from ..runs.results import tables_of, told
from ..runs.task import Task, has_labels, prepare
from ..runs.training import make_fabric
from .evaluate_groups import NoGroups, print_groups

PEOPLE = ("missed", "invented")
"""Of systems that find several people: how many labelled ones they did not, and how many nobody labelled."""


def evaluate(folder: Path, overrides: list[str], reporter: Reporter, by: str | None = None) -> None:
    """Print the scores of a run, or of each run of a comparison, and `by` sequence or action too. Writes nothing."""
    runs = (
        [folder]
        if (folder / "checkpoint.pt").exists() or (folder / "model.pt").is_file()
        else [p.parent for p in sorted(folder.glob("*-seed*/checkpoint.pt"))]
    )
    if not runs:
        raise ValueError(f"{folder} holds no trained run: expected checkpoint.pt there or in STRATEGY-seedN/")
    config = load_folder(folder, overrides)
    single = "strategy" in read(folder / "config.yaml")
    task = prepare(config, [config.strategy] if single else config.strategies, training=False)
    fabric = make_fabric(config)
    rows, others, headline, sides = [], [], PCK, labelled(task)
    shipped, refused, likeness = ships(folder, overrides), dict[str, str](), dict[str, str]()
    for run in runs:
        model, skeleton = load_model(weights_of(run, config, shipped))
        if skeleton.keypoints != task.skeleton.keypoints:
            raise ValueError(
                f"{run} predicts {', '.join(skeleton.keypoints)}; the data has {', '.join(task.skeleton.keypoints)}"
            )
        model.to(fabric.device)
        row = [run.name]
        for side in sorted(sides, reverse=True):
            predictions = predicted(model, task, sides[side], fabric.device)
            headline = predictions.headline(config.threshold)
            score = scores(predictions, task.skeleton, config.threshold)
            row += [headline.bare(score[headline.key], more=1), f"{score['auc']:.4f}", f"{score['epe']:.2f}"]
            row += [] if model.single else [str(score.get(what, 0)) for what in PEOPLE]
            others.append((run.name, side, score))
            if words := oks_words(predictions, task.skeleton):
                likeness[words] = f"OKS: {words}"
            if by is not None and side not in refused:
                title = f"{run.name}, {side}, by {by}"
                try:
                    print_groups(title, predictions, task.skeleton, config.threshold, by, reporter)
                except NoGroups as error:
                    refused[side] = f"{side}, by {by}: {error}"
                    if len(refused) == len(sides):
                        raise
        rows.append(row)
    each = ("AUC", "EPE px", *(() if MODELS[config.model.name].single else PEOPLE))
    columns = ["run", *(column for side in sorted(sides, reverse=True) for column in (side, *each))]
    which = "model.pt as shipped" if shipped else f"selection={config.selection}"
    reporter.table(f"{headline.heading}, {which}", columns, rows)
    print_beside(others, headline, reporter)
    for said in (*likeness.values(), *refused.values()):
        reporter.say(said)
    for side in task.test_sets():
        if side not in sides:
            reporter.say(f"{side}: {without_labels(task, side)}")


def ships(folder: Path, overrides: list[str]) -> bool:
    """Whether a folder's weights are those that it ships: of an adapted job, where no selection is asked for."""
    return (folder / "model.pt").is_file() and not any(word.startswith("selection=") for word in overrides)


def weights_of(run: Path, config: Config, shipped: bool) -> Path:
    """The weights of a run that count. Raises ValueError where there is nothing to select among."""
    if shipped:
        return run / "model.pt"
    if not (run / "checkpoint.pt").exists():
        raise ValueError(f"{run} was not trained, so that there is nothing to select: leave out selection=RULE")
    selection = load_checkpoint(run / "checkpoint.pt", ("selection",))["selection"]
    return selected_weights(run, config.selection, selection)


def print_beside(scored: list[tuple[str, str, dict[str, Any]]], headline: Headline, reporter: Reporter) -> None:
    """What the scores of runs, by run and side, say in each table of `BESIDE`, where any does."""
    for title, shown in tables_of(headline).items():
        if extra := told(shown, [values for _, _, values in scored]):
            rows = [
                [run, side, *(said.show(values.get(key)) for key, said in extra.items())]
                for run, side, values in scored
            ]
            reporter.table(title.lower(), ["run", "side", *(said.heading for said in extra.values())], rows)


def labelled(task: Task) -> dict[str, PoseDataset]:
    """The test sets by side that have labels to score by. Raises ValueError where none has."""
    sides = {side: dataset for side, dataset in task.test_sets().items() if has_labels(dataset)}
    if not sides:
        raise ValueError(without_labels(task, "target"))
    return sides


def without_labels(task: Task, side: str) -> str:
    """What is to be said of a side that nothing can be scored on."""
    chosen = getattr(task.config, side)
    remedy = "name a labelled set" + {
        "depth_folder": ", or write labels.csv and name it in camera.yaml (labels: labels.csv)",
        "pictures": f": {side}.name=coco_json {side}.root=FOLDER {side}.labels=[FILE,FILE]",
    }.get(chosen.name, "")
    return f"{getattr(chosen.options, 'root', None) or chosen.name} has no labels to score by; {remedy}"
