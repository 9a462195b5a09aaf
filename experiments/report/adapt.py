"""What `keyshift adapt` says: lines for a terminal, and a page that works offline."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml

from ...adapt.scoring.distance import Distance
from ...adapt.scoring.evaluation import predict_people
from ...adapt.scoring.selection import Headline
from ...datasets.loading import UNUSABLE, EvaluationBatches
from ...datasets.reading.files import write_text
from ...datasets.sample import PIXELS_AND_MM, Item
from ...datasets.views import WithoutLabels, spread
from ...models.output import Poses
from ...models.pose_model import PoseModel
from ..runs.progress import Reporter, counted
from ..runs.shipping import Expected, People, called, points
from .crops import as_uri
from .drawing import blur, draw, draw_item, in_picture, inset, joint_colours, to_tile, view
from .pages import template

if TYPE_CHECKING:
    from ..runs.task import Task

PREDICTED = "It is predicted without labels, not measured: only labels can say what was gained (--check)"
DECIDED = "these labels decided what is shipped, so they are no independent measurement of it"
SHOWN = 12
TILE = 224
WHOLE_TILE = 448
"""Of pictures with everyone in them, who are small there."""


def distance(numbers: Distance) -> str:
    apart = (
        "without a number, for there is no source or too few pictures"
        if numbers.classifier is None
        else f"{numbers.classifier:.2f} (0.5: not to be told apart)"
    )
    return f"domain classifier {apart}, vote entropy {numbers.entropy:.3f}, consistency {numbers.consistency:.3f}"


def parts(count: int, held: int) -> str:
    """What the pictures are used for: `count` to adapt to, `held` of others to judge by."""
    judged = f"{held} held out to judge by" if held else "none held out to judge by"
    return f"{counted(count)} to adapt to, {judged}"


def tell(outcome: dict[str, Any], folder: Path, reporter: Reporter) -> None:
    if outcome["adapted"]:
        for name in ("before", "after"):
            reporter.say(f"{name + ':':7} {distance(Distance(**outcome[name]))}")
    reporter.say(verdict(outcome))
    for line in basis(outcome):
        reporter.say(line)
    if outcome["check"]:
        reporter.say(check_words(outcome["check"], decided(outcome)))
    reporter.say(f"model:  {folder / 'model.pt'}")
    reporter.say(f"report: {folder / 'report.html'}")


def verdict(outcome: dict[str, Any]) -> str:
    """What is shipped and why; runs/shipping.py has the words."""
    reason = f", because {outcome['why']}; {outcome['ended']}" if "ended" in outcome else f" ({outcome['why']})"  # 0.1
    if not outcome["adapted"]:
        return f"not adapted: the given model is shipped unchanged{reason}"
    more = "" if decided(outcome) else f". {PREDICTED}"
    what = called(outcome["updates"], outcome.get("share", 1.0))  # earlier files say none
    return f"adapted by {outcome['strategy']}: {what} is shipped{reason}{more}"


def decided(outcome: dict[str, Any]) -> bool:
    """Whether labels decided what is shipped."""
    return outcome.get("decided_by") == "labels"


def basis(outcome: dict[str, Any]) -> list[str]:
    """What the prediction rests on, and how often the rule was wrong where the truth was known."""
    prediction = outcome.get("prediction")
    if not prediction:
        return []
    scores = ", ".join(f"{name} {' -> '.join(map(number, pair))}" for name, pair in prediction["scores"].items())
    lines = [f"predicted by the scores of {counted(prediction['pictures'])}, given -> candidate: {scores}"]
    if len(shares := prediction.get("shares", {})) > 1 and "gain" in prediction:
        gains = ", ".join(f"{points(gain)} at {share}" for share, gain in shares.items() if gain is not None)
        lines.append(f"predicted by share of the way from the given weights to the adapted ones: {gains}")
    if decided(outcome) and "gain" in prediction:
        lines.append(f"the rule, not asked, would predict {points(prediction['gain'])} without labels")
    return lines + own_terms(outcome) + rule_words(outcome["rule"])


def own_terms(outcome: dict[str, Any]) -> list[str]:
    """Of a system that the rule was not fitted on the likes of: that, and what is expected in mm of one in space, how
    many people are found by one that finds everyone."""
    if not outcome.get("borrowed"):
        return []
    if outcome.get("people"):
        return [People(**outcome["people"]).words, outcome["borrowed"]]
    expected = outcome.get("expected")
    if not expected:
        said = "in mm no gain is predicted, for there is no labelled source to learn errors in mm from"
    else:
        fall = expected["before"] - expected["after"]
        said = (
            f"in mm: {Expected(**expected).words}, {abs(fall):.1f} mm {'less' if fall >= 0 else 'more'}, as learned "
            "from source pictures made harder in known ways; it is no measurement"
        )
    return [said, outcome["borrowed"]]


def rule_words(rule: dict[str, Any]) -> list[str]:
    """On what a rule was fitted, and its rates on pairs that were not used; nothing of one that does not say."""
    if "found" not in rule:
        return []
    fitted = f"the rule was fitted on {rule['found']['count']} models of {len(rule['found']['pairs'])} domain pairs"
    shown = rule.get("shown")
    if not shown:
        return [f"{fitted}, and not tried on others"]
    runs = shown["runs"]
    return [
        f"{fitted}; tried on the {runs['all']} runs of {len(shown['pairs'])} other pairs, it shipped {runs['harm']} of "
        f"the {runs['worse']} models that were truly worse by more than 1 point, and held back {runs['missed']} of the "
        f"{runs['better']} truly better by more than 2"
    ]


def number(value: float | None) -> str:
    return "not measured" if value is None or math.isnan(value) else f"{value:.3f}"


def check_words(check: dict[str, Any], decided: bool = False) -> str:
    headline = Headline.named(check["metric"])
    low, high = check["gain"]["interval"]
    span = "" if low is None else f" [{headline.bare(low, sign=True)}, {headline.bare(high, sign=True)}]"
    span += f" over {check['blocks']} blocks of pictures" if span and "blocks" in check else ""
    key = headline.key
    missing, adapted_to = check.get("missing"), check.get("adapted_to")
    more = "; these labels tell x and y alone, no depth" if check.get("flat") else ""
    more += f"; the labels do not hold {', '.join(missing)}" if missing else ""
    more += f"; {adapted_to} of these pictures were adapted to as well, without their labels" if adapted_to else ""
    more += f"; {DECIDED}" if decided else ""
    gain = f"{headline.bare(check['gain']['mean'], sign=True)}{span}"
    return (
        f"on {check['pictures']} labelled pictures: {headline.heading} {headline.bare(check['before'][key])} before, "
        f"{headline.bare(check['after'][key])} after, gain {gain}{more}"
    )


def with_labels(check: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of the page's table: what, before and after. Of people found in pictures AP and who was missed or invented
    stand before the groups of keypoints, which are judged by PCK."""
    headline = Headline.named(check["metric"])

    def row(title: str, *path: str) -> tuple[str, str, str]:
        before, after = (check[side] for side in ("before", "after"))
        for key in path:
            nobody = 0 if key in ("missed", "invented") else None  # said where there is someone
            before, after = before.get(key, nobody), after.get(key, nobody)
        return title, cell(before), cell(after)

    several, known = headline.key == "ap", {*check["before"], *check["after"]}
    beside = {"ap": headline.title, "ap50": "AP50", "ar": "AR"}
    beside |= {"missed": "people missed", "invented": "people invented"}
    rows = [row(title, key) for key, title in beside.items() if several and key in known]
    joint = f"{headline.by_joint.noun}, " if several else ""
    return rows + [row(f"{joint}{group}", "groups", group) for group in check["before"]["groups"]]


def cell(value: float | None) -> str:
    """A number of a table, a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def write(folder: Path, outcome: dict[str, Any], before: PoseModel, after: PoseModel, task: Task) -> None:
    """report.html: the numbers, and the target pictures to judge by with both predictions. Beside what it is handed it
    reads what the folder says it is, config.yaml and identity.json."""
    text = (folder / "config.yaml").read_text("utf-8")
    config, identity = yaml.safe_load(text), json.loads((folder / "identity.json").read_text("utf-8"))
    sides = [identity[side] for side in ("source_train", "target_train") if identity.get(side)]
    choice = (config.get("report") or {}).get("pictures", "all")
    page = template("adapt.html").render(
        outcome=outcome,
        target=Path(config["target"].get("root") or config["target"]["name"]),
        verdict=verdict(outcome),
        parts=parts(outcome["pictures"], outcome["held_out"]) if "pictures" in outcome else None,
        judged="held-out pictures" if outcome.get("held_out") else "target pictures",
        basis=basis(outcome),
        check=None if outcome["check"] is None else check_words(outcome["check"], decided(outcome)),
        pictures=[] if choice == "none" else pictures(before, after, task, hide=choice == "blurred"),
        choice=choice,
        tile=tile_of(before),
        rows=with_labels(outcome["check"]) if outcome["check"] else [],
        source="source_train" in identity,
        licences={side["name"]: side["licence"] for side in sides if "licence" in side},
        config=text,
    )
    write_text(folder / "report.html", page)


def pictures(before: PoseModel, after: PoseModel, task: Task, hide: bool) -> list[tuple[str, str, str]]:
    """(id, picture before, picture after) of target pictures to judge by, with everyone whom a model sees in them."""
    few, tile = spread(WithoutLabels(task.target[1]), SHOWN), tile_of(before)
    edges, colours = few.skeleton.edges, joint_colours(len(few.skeleton))
    batch = EvaluationBatches(few, SHOWN, task.size, task.config.crop)[0]
    poses = [predict_people(model, [batch], torch.device("cpu"), few.skeleton.flip) for model in (before, after)]
    shown = []
    for row in np.flatnonzero(np.array(batch.sequence) != UNUSABLE).tolist():
        item = few[row]
        crop = blur(view(item, tile)) if hide else view(item, tile)
        if not item.image.size:
            crop = draw_item(item, edges, tile)

        def drawn(people: Poses, picture: np.ndarray = crop, row: int = row, item: Item = item) -> str:
            own = people.each(lambda values: values[people.image_index == row])
            for person, sure in zip(in_picture(own.points.numpy(), item), own.confidence.numpy(), strict=True):
                picture = draw(picture, to_tile(person, item.box, tile), edges, colours, known=sure > 0)
            for pose in own.points.numpy() if item.rooted and item.in_camera else ():
                picture = inset(picture, pose, edges, colours)
            return as_uri(picture)

        shown.append((f"{item.id}{far(poses, row, before)}", drawn(poses[0]), drawn(poses[1])))
    return shown


def tile_of(model: PoseModel) -> int:
    """The side in px of a picture on the page."""
    return TILE if model.single else WHOLE_TILE


def far(poses: Sequence[Poses], row: int, model: PoseModel) -> str:
    """How far from the camera the root stands in a sample by RootNet, before and after; nothing of other networks."""
    if "k" not in model.reads or model.space != PIXELS_AND_MM:
        return ""
    metres = [float(own.points[own.image_index == row, 0, 2].mean()) / 1000 for own in poses]
    same = metres[0] == metres[1]
    return f": {metres[0]:.2f} m away" + ("" if same else f" before, {metres[1]:.2f} m after")
