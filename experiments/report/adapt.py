"""What `keyshift adapt` says: lines for a terminal, and a page that works offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from ...adapt.scoring.distance import Distance
from ...adapt.scoring.evaluation import predict
from ...adapt.scoring.selection import Headline
from ...datasets.loading import UNUSABLE, EvaluationBatches, loader
from ...datasets.reading.files import write_text
from ...datasets.views import WithoutLabels, spread
from ...models.pose_model import PoseModel
from ..config import plain
from ..runs.progress import Reporter
from ..runs.task import Task
from .crops import as_uri
from .drawing import blur, draw, joint_colours, to_tile, view
from .pages import template

SHOWN = 12
TILE = 224


def distance(found: Distance) -> str:
    told = (
        "too few pictures to tell"
        if found.classifier is None
        else f"{found.classifier:.2f} (0.5: not to be told apart)"
    )
    return f"domain classifier {told}, vote entropy {found.entropy:.3f}, consistency {found.consistency:.3f}"


def tell(told: dict[str, Any], folder: Path, reporter: Reporter) -> None:
    before, after = Distance(**told["before"]), Distance(**told["after"])
    reporter.say(f"before: {distance(before)}")
    reporter.say(f"after:  {distance(after)}")
    reporter.say(verdict(told))
    if told["check"]:
        reporter.say(check_words(told["check"]))
    reporter.say(f"model:  {folder / 'model.pt'}")
    reporter.say(f"report: {folder / 'report.html'}")


def verdict(told: dict[str, Any]) -> str:
    if not told["adapted"]:
        return (
            f"not adapted: no checkpoint of {told['strategy']} has a better label-free score than the given model, "
            f"which is shipped unchanged ({told['why']})"
        )
    gained = told["after"]["consistency"] - told["before"]["consistency"]
    return (
        f"adapted by {told['strategy']}: update {told['updates']} is shipped, its label-free score is {gained:+.3f} "
        f"({told['why']}). This is no error rate: only labels can say what was gained (--check)"
    )


def check_words(check: dict[str, Any]) -> str:
    headline = Headline.named(check["metric"])
    low, high = check["gain"]["interval"]
    span = "" if low is None else f" [{headline.bare(low, sign=True)}, {headline.bare(high, sign=True)}]"
    key = headline.key
    return (
        f"on {check['pictures']} labelled pictures: {headline.heading} {headline.bare(check['before'][key])} before, "
        f"{headline.bare(check['after'][key])} after, gain {headline.bare(check['gain']['mean'], sign=True)}{span}"
    )


def write(folder: Path, told: dict[str, Any], before: PoseModel, after: PoseModel, task: Task) -> None:
    """report.html: the numbers, and held-out target pictures with both predictions."""
    licences = {
        d.name: d.identity["licence"] for d in (task.source_train, task.target_train) if "licence" in d.identity
    }
    page = template("adapt.html").render(
        told=told,
        target=Path(getattr(task.config.target.options, "root", None) or task.config.target.name),
        verdict=verdict(told),
        check=None if told["check"] is None else check_words(told["check"]),
        pictures=pictures(before, after, task),
        choice=task.config.report.pictures,
        licences=licences,
        config=yaml.safe_dump(plain(task.config), sort_keys=False),
    )
    write_text(folder / "report.html", page)


def pictures(before: PoseModel, after: PoseModel, task: Task) -> list[tuple[str, str, str]]:
    """(id, picture before, picture after) of held-out target pictures; empty where pictures are switched off."""
    how = task.config.report.pictures
    if how == "none":
        return []
    few = spread(WithoutLabels(task.target_test), SHOWN)
    edges, colours = few.skeleton.edges, joint_colours(len(few.skeleton))
    batches = EvaluationBatches(few, SHOWN, task.size, task.config.crop)
    cpu, found = torch.device("cpu"), []
    first, second = (predict(model, loader(batches, range(len(batches))), cpu) for model in (before, after))
    for row in np.flatnonzero(np.array(first.sequence) != UNUSABLE):
        item = few[int(row)]
        crop = blur(view(item, TILE)) if how == "blurred" else view(item, TILE)

        def drawn(points: np.ndarray, crop: np.ndarray = crop, box: np.ndarray = item.box) -> str:
            return as_uri(draw(crop, to_tile(points, box, TILE), edges, colours))

        found.append((item.id, drawn(first.points[row].numpy()), drawn(second.points[row].numpy())))
    return found
