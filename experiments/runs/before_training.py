"""What is measured of the given model before a run trains it: what its guard compares with, and with which share of the
target's batch statistics it does best. No label of the target is read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from ...adapt import guard as guarding
from ...adapt.batch_norm import CANDIDATES, SETTLED, chosen, mix, norms_of, seen_on
from ...adapt.guard import Guard
from ...adapt.processes import of_first
from ...adapt.scoring.evaluation import agreement
from ...adapt.scoring.evidence import PICTURES, Evidence, Looks
from ...adapt.strategies import STRATEGIES
from ...datasets.loading import EvaluationBatches, Kept
from ...datasets.reading.files import write_json
from ...datasets.sample import PoseDataset, Unlabeled
from ...datasets.views import WithoutLabels, spread
from ...models.pose_model import PoseModel
from ...models.saved import load_model
from .shipping import Forecaster, fitted_on, known_rule, points, reading
from .task import Task

WATCHED = 64
"""Samples of held-out source, and of the target, that a guard looks at."""
LABELLED = 256
"""Source samples whose labels say what is plausible."""
JUDGED = 128
"""Of each domain, that mixtures of batch statistics are judged on, and checkpoints by a label-free score: as many as
the laboratory says what a score is worth by."""
SEEN = 1024
"""Target samples that batch statistics are read from."""
Views = Sequence[Unlabeled]
Say = Callable[[str], None]
CHOICE = "batch_norm.json"
"""In a run folder: the policy that was settled, with the evidence for it."""


def batches_of(task: Task, dataset: PoseDataset, most: int) -> EvaluationBatches:
    """At most `most` samples, spread over the dataset, in their order and not augmented."""
    return task.batches(spread(dataset, most))


def guard_of(task: Task, strategy: str, start: Path | None, views: Views | None, device: torch.device) -> Guard | None:
    """The guard of a run that starts from the weights `start`, with `views` of target samples to look at; None where it
    is off, where there are no weights, or where the target's labels are trained on. A strategy without a source is
    watched on the target alone."""
    config, kind = task.config, STRATEGIES[strategy]
    if config.guard == "off" or start is None or kind.labelled_target:
        return None
    given = load_model(start)[0].to(device)
    return Guard(
        config.guard == "stop", config.bounds, given, measure_of(task, "source" in kind.needs, given, views, device)
    )


def measure_of(
    task: Task, source: bool, given: PoseModel, views: Views | None, device: torch.device
) -> guarding.Measure:
    """What a guard measures of a network, on held-out source too where `source` says so and there is one."""
    skeleton, threshold, target, held = task.skeleton, task.config.threshold, None, None
    if task.target_train is not None:
        target = Kept(batches_of(task, WithoutLabels(task.target_train), WATCHED))
    if source and task.source_test is not None:
        held = Kept(batches_of(task, task.source_test, WATCHED))
    if source and task.source_train is not None:
        poses = guarding.labelled_traits(batches_of(task, task.source_train, LABELLED), skeleton)
    elif target is not None:
        poses = guarding.looked_at(given, target, skeleton, device)[1]
    limits = guarding.ranges(poses)

    def measure(model: PoseModel) -> dict[str, float]:
        values: dict[str, float] = {}
        if target is not None:
            sharpness, poses = guarding.looked_at(model, target, skeleton, device)
            values = {"sharpness": sharpness, "anatomy": guarding.plausible(poses, limits)}
        if views is not None:
            values |= {"agreement": agreement(model, views, skeleton.flip, device)}
        if held is not None:
            values |= guarding.source_accuracy(model, held, skeleton, threshold, device)
        return values

    return measure


@dataclass(frozen=True)
class Settled:
    """Batch norm, as training follows it."""

    policy: str
    start: PoseModel | None = None
    """The network that training starts from, where it is not the given one as that is."""


def settled(
    task: Task,
    strategy: str,
    policy: str,
    start: Path | None,
    place: Path,
    say: Say,
    fabric: Fabric,
) -> Settled:
    """The `policy` of a run in folder `place` that starts from the weights `start`. What `auto` chooses, by the rule of
    `adapt`, is said and kept there, so that a run that goes on goes on with it.

    Raises ValueError where statistics are to be mixed and none are given.
    """
    if policy not in SETTLED:
        return Settled(policy)
    if start is None:
        raise ValueError(
            f"batch_norm={policy} is of the statistics of pretrained or given weights, and there are none: choose "
            "another policy, or raise pretrain_steps"
        )
    model = load_model(start)[0].to(fabric.device)
    blind = "target" not in STRATEGIES[strategy].needs or not norms_of(model)
    if task.target_train is None or len(task.target_train) < 2 or blind:
        return Settled("target")
    seen = seen_on(model, batches_of(task, WithoutLabels(task.target_train), SEEN), fabric.device)
    share = task.config.batch_norm_share
    if policy == "auto":
        made = of_first(json.loads((place / CHOICE).read_text("utf-8")) if (place / CHOICE).exists() else None)
        if made is None:
            made = of_first(choice(task, model, seen, fabric.device))  # of which all processes do their share
            if fabric.is_global_zero:
                write_json(place / CHOICE, made)
            say(f"batch norm: {made['why']}")
        policy, share = made["batch_norm"], made["batch_norm_share"]
    return Settled("frozen", mix(model, seen, share)) if policy == "mixed" else Settled(policy)


def choice(task: Task, model: PoseModel, seen: PoseModel, device: torch.device) -> dict[str, Any]:
    """What `auto` chooses for the given model, in the configuration's words, with the evidence and a line that says
    both."""
    rule, given = known_rule(), Evidence(model, looks_of(task, device, JUDGED))
    system = reading(type(model))
    policy, share, gains = "frozen", 0.0, dict[float, float]()
    if fitted_on(rule.basis, system):
        forecaster = Forecaster(rule, given)
        mixtures = {share: mix(model, seen, share) for share in CANDIDATES}
        gains = {share: forecaster.gain(Evidence(one, given.looks, given)) for share, one in mixtures.items()}
        share = chosen(gains)
        policy = {0.0: "frozen", 1.0: "target"}.get(share, "mixed")
    why = f"batch_norm={policy}" + (f" batch_norm_share={share:g}" if policy == "mixed" else "")
    shown = ", ".join(f"{points(gain)} with {share:.0%}" for share, gain in gains.items())
    why += (
        f" is chosen by the gain that is predicted with so much of the target's statistics: {shown}"
        if gains
        else f" is kept, for the rule that would predict a gain was not fitted on models of {system}"
    )
    measured = {f"{share:g}": None if math.isnan(gain) else gain for share, gain in gains.items()}
    return {"batch_norm": policy, "batch_norm_share": share, "evidence": measured, "why": why}


def looks_of(task: Task, device: torch.device, pictures: int = PICTURES) -> Looks:
    """On what label-free scores look: up to `pictures` of the target's training set, and of the held-out source."""
    config = task.config
    cut = task.size, config.augmentation, config.threshold, device, config.crop
    return Looks(task.target[0], task.source_test, task.skeleton, *cut, pictures)
