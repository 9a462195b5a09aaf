"""`keyshift adapt --online`: one pass over a video or folder in its order. Each batch is answered, then learned from.

What is written is what was answered as the stream passed, by the model as it stood before it learned from that batch.
Online strategies (bn_online, Tent, SSA) answer by the pass that they learn from, in which each batch is normalised by
its own statistics; of others their predictor answers, as it would be shipped then. A last batch that is smaller is
filled up with the samples before it, so that its statistics are of as many; these are not answered again. Nothing here
judges whether it helped: what is said is how far the answers are from those of the given model. Labels that are given
with --check judge both, once the stream has passed.

The folder holds predictions.jsonl, a person a line while the stream passes; at the end predictions.json, as `keyshift
predict` writes it, model.pt, the model as the stream left it, and online.json.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric

from ...adapt.online import Online
from ...adapt.strategies import STRATEGIES
from ...adapt.strategy import Strategy, source_free
from ...adapt.trainer import updates
from ...datasets.loading import Crop, collate
from ...datasets.options import choose
from ...datasets.own import depth_folder
from ...datasets.reading.files import write_json
from ...datasets.sample import Unlabeled
from ...datasets.skeleton import Skeleton
from ...models.output import Poses
from ...models.pose_model import PoseModel
from ...models.saved import load_model, save_model
from ..config import Config, of_run
from ..report.adapt import check_words
from ..runs.check import Labels, compared, labelled_answers, open_labels
from ..runs.folder import STREAM, describe, locate, locked, world_size
from ..runs.precision import settled
from ..runs.prediction_clips import in_order
from ..runs.prediction_files import Gathering, Person, annotation, write_coco
from ..runs.prediction_inputs import Inputs, open_inputs, read_ahead
from ..runs.progress import Reporter
from ..runs.shipping import UNJUDGED
from ..runs.subjects import keep, recall
from ..runs.task import check_mirroring, files_of
from ..runs.training import make_fabric
from .adapt import check_target, is_set, name_of, settings
from .predict import KINDS, check_model, doubt_whole, gather, open_model, report_unreadable, trained_white
from .predict_depth import DepthInputs, open_depth

MOVED = 0.05
"""Share of the crop's side: joints whose answers are farther apart than this are counted."""
READERS = 2
"""Threads that read pictures."""


def streaming(kind: type[Strategy]) -> bool:
    """Whether a strategy can learn from a stream: it needs no source, and no rounds over the whole target."""
    return source_free(kind) and "target" in kind.needs and kind.round_length is Strategy.round_length


def adapt_online(
    model: Path,
    target: Path,
    strategy: str,
    overrides: list[str],
    folder: Path | None,
    overwrite: bool,
    reporter: Reporter,
    check: Path | None = None,
) -> dict[str, Any]:
    """Pass once over the pictures of `target`; returns what online.json holds. `check` are labels of some of them, for
    that alone. Raises ValueError for bad input, before anything is written."""
    check_strategy(strategy)
    if is_set(target):
        raise ValueError(f"--online {target}: a dataset's name is no stream; give a folder of pictures, or a video")
    config, weights = settings(model, target, None, strategy, overrides)
    if weights is None:
        raise ValueError(f"--online: {model} does not name its joints; give a run folder or a weights file")
    check_target(str(model), config)
    given, skeleton = load_model(weights)
    if given.in_space():
        raise ValueError(
            f"--online does not adapt {type(given).__name__}, which sees people in space: leave --online out"
        )
    if "keypoints2d" in given.reads:
        raise ValueError(f"--online passes over pictures, and {type(given).__name__} reads 2D keypoints. {UNJUDGED}")
    folder = folder or Path("runs") / name_of(target)
    config = settled(config, folder, overwrite, reporter.say)
    fabric = make_fabric(config)
    torch.manual_seed(config.seed + 1)
    kind = STRATEGIES[strategy]
    learner = kind(
        deepcopy(given), skeleton, config.optimization, config.policy(strategy, False), config.method(strategy)
    )
    if learner.clip > 1:
        raise ValueError(
            f"{strategy}.steady={learner.steady:g} compares a frame with the one after it, and a stream has not seen "
            "that yet: leave it at 0, or leave --online out"
        )
    learner.see_source(None)
    for remark in kind.remarks(learner.options):
        reporter.say(f"note: {remark}")
    given.to(fabric.device).eval()
    inputs = open_target(model, target, config, overrides, given, reporter)
    if not isinstance(learner, Online):
        check_mirroring(config, skeleton)
        inputs = replace(inputs, views=(config.augmentation, learner.views["target"]))
    if check is not None and not given.single:
        raise ValueError(
            f"--check {check}: with --online labels are of whole pictures with one person, and {model} finds everyone; "
            "adapt without --online to have it checked"
        )
    if check is not None and (isinstance(inputs, DepthInputs) or inputs.boxes is not None):
        raise ValueError(f"--check {check}: with --online labels are of whole pictures that the network answers once")
    labels = None if check is None else open_labels(check, target, skeleton)
    gathering, before = (Gathering(inputs, len(skeleton), given.single) for _ in range(2))
    batches = stream(inputs, given.input_size, skeleton, config.batch, gathering)
    identity = identity_of(inputs) | files_of(config, [strategy])
    first = next(batches)  # nothing is written of a target that cannot be read
    with locked(folder, overwrite):
        if (folder / "config.yaml").exists():
            raise ValueError(f"{folder} exists, and a stream passes once: choose another --output, or pass --overwrite")
        describe(folder, of_run(config, strategy, config.seed), identity, fabric.device)
        keep(folder, recall(locate(model)[1]))
        with reporter.stage("online", len(inputs.names)) as show:
            passing = Pass(fabric, given, learner, skeleton, gathering, before, config.seed)
            outcome = passing.over(chain([first], batches), folder / STREAM, show)
        predicted = gathering.predicted()
        report_unreadable(predicted, "coco")
        if inputs.boxes_from == "whole" and given.single and not isinstance(inputs, DepthInputs):
            doubt_whole(model, predicted, reporter)
        outcome |= {"given": str(model), "strategy": strategy, "pictures": int(predicted.readable.sum())}
        write_coco(folder / "predictions.json", predicted, inputs, skeleton, weights, given.input_size)
        save_model(folder / "model.pt", learner.predictor, skeleton, outcome["updates"])
        outcome["check"] = None if labels is None else judged(labels, gathering, before, skeleton, config.threshold)
        write_json(folder / "online.json", outcome)
    tell(outcome, folder, KINDS[isinstance(inputs, DepthInputs)], reporter)
    return outcome


def judged(
    labels: Labels, gathering: Gathering, before: Gathering, skeleton: Skeleton, threshold: float
) -> dict[str, Any]:
    """Scores of what was answered as the stream passed, and of the given model's answers `before`."""
    given, adapted = (
        labelled_answers(labels, skeleton, one.names, one.predicted().rows) for one in (before, gathering)
    )
    pictures = len({labels.table.people.pictures[place] for place in given.row.tolist()})
    about = {"pictures": pictures, "missing": labels.missing, "adapted_to": pictures}
    return compared(given, adapted, skeleton, threshold) | about


def check_strategy(name: str) -> None:
    """Raises ValueError for a strategy that is not known, or cannot learn from a stream."""
    choose("strategy", name, list(STRATEGIES))
    if not streaming(STRATEGIES[name]):
        fitting = ", ".join(name for name, kind in STRATEGIES.items() if streaming(kind))
        raise ValueError(
            f"--strategy {name} needs a source, or the whole target at once, and --online has a stream alone; choose "
            f"one of {fitting}"
        )
    if world_size() > 1:
        raise ValueError("--online runs in one process, as a stream has one order: start it without torchrun")


def open_target(
    model: Path, target: Path, config: Config, overrides: list[str], given: PoseModel, reporter: Reporter
) -> Inputs:
    """The pictures, frames or depth frames in their order, as `keyshift predict` takes them. The model is on its
    device."""
    assert config.target is not None
    options: Any = config.target.options
    check_model(model, given, getattr(options, "boxes", None))
    inputs: Inputs
    if isinstance(options, depth_folder.Options):
        words = [word.removeprefix("target.") for word in overrides if word.startswith(("target.", "crop="))]
        opened, device = open_model(model), next(given.parameters()).device
        inputs = open_depth([target], words, given, opened.skeleton, opened.trained, None, device, reporter)
    else:
        white = trained_white(model) if options.white is None else options.white
        inputs = open_inputs([target], options.boxes, options.stride, options.duplicates, white)
        inputs = in_order(inputs, given.frames) if given.frames else inputs
    return replace(inputs, said={"online": {"strategy": config.strategy, "batch": config.batch}})


def identity_of(inputs: Inputs) -> dict[str, Any]:
    """What identity.json says of the target."""
    if isinstance(inputs, DepthInputs) and inputs.dataset is not None:
        return {"target_train": inputs.dataset.identity}
    return {"target_train": {"name": "stream", "count": len(inputs.names), "white": inputs.white}}


class Batch(NamedTuple):
    """Samples of a stream."""

    places: list[int]
    """(B) the pictures' numbers, ascending."""
    crops: list[list[Crop]]
    """(B) of each the plain crop, and augmented ones behind it."""
    new: int
    """The last so many are to be answered; those before them were."""

    def plain(self) -> Unlabeled:
        return collate([crop for crop, *_ in self.crops], labels=False)

    def learned(self, plain: Unlabeled) -> Unlabeled:
        """What is learned from: the plain crops, or, where there are augmented ones, these as views."""
        if len(self.crops[0]) == 1:
            return plain
        first, *others = (collate(list(crops), labels=False) for crops in list(zip(*self.crops, strict=True))[1:])
        return replace(first, views=tuple(others))


def stream(
    inputs: Inputs, size: tuple[int, int], skeleton: Skeleton, count: int, gathering: Gathering
) -> Iterator[Batch]:
    """Batches of `count` crops in their order, whatever pictures these are of; sizes, and what cannot be read, go into
    `gathering`. Raises ValueError where fewer than two crops can be read, or one, if batches are of one."""
    before: list[Person] = []
    total = 0
    for people in gathering.in_batches(read_ahead(inputs, size, skeleton, False, 2 * count, READERS), count):
        total += len(people)
        if total >= min(count, 2):
            places, crops = zip(*(before + people)[-count:], strict=True)
            yield Batch(list(places), list(crops), len(people))
        before = people
    if total < min(count, 2):
        lost = gathering.unreadable + gathering.unlocated
        first = f" ({lost[0][1]})" if lost else ""
        raise ValueError(
            f"{inputs.root}: {total} of {len(inputs.names)} pictures can be read{first}, and a stream takes two"
        )


class Pass:
    """Goes once over batches with a learner."""

    def __init__(
        self,
        fabric: Fabric,
        given: PoseModel,
        learner: Strategy,
        skeleton: Skeleton,
        gathering: Gathering,
        before: Gathering,
        seed: int,
    ) -> None:
        self.fabric, self.given, self.skeleton, self.seed = fabric, given, skeleton, seed
        self.gathering, self.before = gathering, before
        self.learner = learner.to(fabric.device).train()
        self.optimizers = learner.optimizers()

    def over(self, batches: Iterator[Batch], lines: Path, show: Any) -> dict[str, Any]:
        """Answer and learn; every answer is in the file `lines` before the next batch is read."""
        started, number, moved, compared = time.monotonic(), 0, torch.zeros((), device=self.fabric.device), 0
        with open(lines, "w") as file:
            for number, batch in enumerate(batches, 1):
                plain = batch.plain()
                poses, given = self.answers(number, batch, plain)
                written = self.gathering.count
                crops = list(zip(batch.places, (crop for crop, *_ in batch.crops), strict=True))
                for answers, gathering in ((poses, self.gathering), (given, self.before)):
                    gather(newest(answers, batch), plain, crops, self.given.single, self.skeleton, gathering)
                file.writelines(self.line(row) for row in range(written, self.gathering.count))
                file.flush()
                if self.given.single:
                    away = (poses.points - given.points)[-batch.new :, :, :2].norm(dim=-1)
                    moved += (away > MOVED * self.given.input_size[0]).sum()
                    compared += away.numel()
                done = batch.places[-1] + 1
                show(done, {"seconds/iteration": (time.monotonic() - started) / done})
        rate = (batch.places[-1] + 1) / (time.monotonic() - started)
        share = float(moved) / compared if compared else None
        counts = None if self.given.single else [self.before.count, self.gathering.count]
        return {"updates": number, "pictures_per_second": rate, "moved": share, "people": counts}

    def answers(self, number: int, batch: Batch, plain: Unlabeled) -> tuple[Poses, Poses]:
        """The poses of a batch by the learner before its update, which is then made, and by the given model."""
        torch.manual_seed(self.seed * 1_000_003 + number)
        shown = plain.to(self.fabric.device)
        learner, given = self.learner, answered(self.given, shown)
        poses = given if isinstance(learner, Online) else answered(learner.predictor, shown)
        learned = batch.learned(plain).to(self.fabric.device)
        for _ in updates(self.fabric, learner, self.optimizers, None, learned):
            pass
        return learner.poses if isinstance(learner, Online) else poses, given

    def line(self, row: int) -> str:
        """A person as the COCO JSON has them, with the picture's name."""
        person = self.gathering.rows[row]
        name = self.gathering.names[int(person["place"])]
        return json.dumps({"file_name": name, **annotation(row + 1, person)}, allow_nan=False) + "\n"


@torch.no_grad()
def answered(model: PoseModel, sample: Unlabeled) -> Poses:
    """The model's poses in evaluation mode, which is restored."""
    mode = model.training
    model.eval()
    poses = model.decode(model(sample), sample)
    model.train(mode)
    return poses


def newest(poses: Poses, batch: Batch) -> Poses:
    """The poses of the samples that were not answered before."""
    new = poses.image_index >= len(batch.places) - batch.new
    return poses.each(lambda values: values[new])


def tell(outcome: dict[str, Any], folder: Path, kind: str, reporter: Reporter) -> None:
    """What can be said without a label: speed, and how far the answers are from the given model's."""
    rate, moved = outcome["pictures_per_second"], outcome["moved"]
    reporter.say(f"{outcome['pictures']} {kind} in {outcome['updates']} updates, {rate:.1f} a second")
    if moved is not None:
        reporter.say(
            f"{moved:.1%} of the joints are more than {MOVED:.0%} of the crop's side from where the given model puts "
            "them; no label says which of the two is right"
        )
    if outcome["people"] is not None:
        before, after = outcome["people"]
        reporter.say(f"{after} people were found, where the given model finds {before}; no label says which is right")
    if outcome["check"] is not None:
        reporter.say(check_words(outcome["check"]))
    reporter.say(f"predictions: {folder / 'predictions.json'}; the model that is left: {folder / 'model.pt'}")
