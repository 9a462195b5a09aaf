"""`keyshift adapt`: the new camera. A model and unlabelled pictures in; an adapted model and a report out.

Nothing here has a target label to look at. Of the evaluated checkpoint of which the rule predicts the highest gain, and
of its mixtures with the given weights, the best by predicted gain is shipped where runs/shipping.py finds it enough;
else the given model is shipped again, and the report says why. Labels given with --check are for the report alone,
unless --decide-by-check lets them decide what is shipped.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ...adapt.scoring.distance import Distance, distance
from ...adapt.scoring.evidence import Evidence
from ...adapt.scoring.expected import expected_error
from ...adapt.scoring.label_free import SCORES
from ...adapt.scoring.rule import Prediction, Rule
from ...adapt.strategies import STRATEGIES
from ...adapt.strategy import source_free
from ...datasets.catalog import DATASETS, entry_of
from ...datasets.loading import first_item, loader
from ...datasets.options import choose
from ...datasets.own import depth_folder
from ...datasets.own.kind import check_kind
from ...datasets.reading.files import write_json
from ...datasets.sample import PoseDataset
from ...datasets.views import WithoutLabels, spread
from ...models.pose_model import PoseModel
from ...models.saved import MODELS, load_checkpoint, load_model, save_model
from ..config import AUTO, Chosen, Config, build, load, load_folder, of_run, plain
from ..report import adapt as words
from ..runs.before_training import looks_of
from ..runs.check import check_deciding, judge, open_check, open_labels, picture_set, without_unreadable
from ..runs.conclusion import export
from ..runs.engine import Engine
from ..runs.folder import identity_of, locate, locked, open_folder
from ..runs.precision import settled
from ..runs.progress import Reporter
from ..runs.shipping import (
    FEWEST,
    SHARES,
    Expected,
    Forecaster,
    People,
    beforehand,
    borrowed,
    by_labels,
    decide,
    error_of,
    known_rule,
    reading,
)
from ..runs.subjects import keep, look_at_target, recall, subjects_of
from ..runs.task import (
    UNKNOWN,
    Task,
    build_model,
    check_files,
    check_mirroring,
    check_proposals,
    check_sensor,
    check_suits,
    files_of,
    prepare,
)
from ..runs.training import SCORED, adaptation, evaluator, fit, make_fabric, warped_batches
from .adapt_dry import dry_run
from .predict import check_no_boxes
from .predict_depth import check_cube

USUAL = "keyshift"
"""The strategy of a job that names none."""
PATIENCE = 2
"""Evaluations in a row that are worse than the start, before training stops."""
EVALUATIONS = 4
"""Of a job at least, unless it says how often: what is shipped is chosen among them, and a loss is seen early."""
FELL = 3.0
"""Points of predicted loss that count as worse."""
SAID_OTHERWISE = {
    "strategy": "adapt takes --strategy",
    "selection": "without target labels adapt selects by target_score",
    "score": "adapt selects by the gain that its rule predicts",
    "target.root": "adapt takes --target",
    "pretrain_steps": "adapt starts from MODEL",
    "start": "adapt starts from MODEL",
}
"""Keys that the command says in another way."""


class GotWorse(Exception):
    """The predicted gain fell well below 0."""


def adapt(
    model: Path,
    target: Path,
    source: str | None,
    strategy: str,
    check: Path | None,
    overrides: list[str],
    folder: Path | None,
    overwrite: bool,
    reporter: Reporter,
    check_root: Path | None = None,
    decide_by_check: bool = False,
    dry: bool = False,
) -> dict[str, Any]:
    """Adapt the weights of `model` (a run folder or a weights file) to the pictures of `target`, a path or the name of
    a dataset; returns what adapt.json holds. `source` is an experiment or run whose source data and schedule are used;
    None takes the model's own run, and a strategy without a source needs none. `check` are labels of pictures of
    `check_root`, or of the target, which decide what is shipped with `decide_by_check`. A `dry` run trains nothing, and
    `folder` is the JSON file that it writes, if any. Raises ValueError for bad input, before anything is written.
    """
    rule = known_rule()
    if decide_by_check and check is None:
        raise ValueError("--decide-by-check lets labels decide what is shipped: give them with --check FILE")
    config, given = settings(model, target, source, strategy, overrides)
    check_target(str(model), config)
    place, folder = folder, folder or Path("runs") / name_of(target)
    if not dry and not overwrite and not any(word.startswith(f"{strategy}.") for word in overrides):
        config = as_begun(config, strategy, folder)
    if not dry:
        config = settled(config, folder, overwrite, reporter.say)
    if check_root is not None and check is None:
        raise ValueError(f"--check-root {check_root} says where labelled pictures lie: give their labels with --check")
    depth = config.target is not None and entry_of(config.target.name).depth
    flat, labels = None if depth else check, None
    if flat is not None and given is not None:
        network, skeleton = load_model(given)
        labels = open_labels(flat, check_root or target, skeleton, network.single)
    task = prepare(config, [strategy], training=given is None)
    if given is not None:  # else `prepare` has looked
        check_mirroring(config, task.skeleton)
        check_sensor(config, [strategy])
        check_proposals(config.proposals, task.skeleton, task.source_train)
    if flat is not None and given is None:  # one's own network learns its joints' names from the source
        labels = open_labels(flat, check_root or target, task.skeleton)
    task, unreadable = without_unreadable(task, reporter)
    for line in [*task.sensed(), *(f"note: {note}" for note in cameras(task))]:
        reporter.say(line)
    start = build_model(config.model, task.skeleton) if given is None else load_model(given)[0]
    if given is not None:
        check_suits(config, [strategy], start, task.target_train)
        check_files(config, [strategy], start, task.skeleton, task.source_train is not None)
    for remark in STRATEGIES[strategy].remarks(config.method(strategy)):
        reporter.say(f"note: {remark}")
    checked = None if check is None else open_check(check, labels, task, start.frames)
    if decide_by_check and check is not None and checked is not None:
        check_deciding(check, checked)
    if dry:
        return dry_run(task, start, strategy, rule, place, overwrite, reporter)
    said = of_run(config, strategy, config.seed)
    if not source_free(STRATEGIES[strategy]):
        said["start"] = None  # start.json says by its content which weights these are
    with locked(folder, overwrite):
        fabric = make_fabric(config)
        open_folder(folder, said, task.identity() | files_of(config, [strategy]), fabric.device)
        finished, change = (folder / "adapt.json").exists(), changed(folder, task)
        if change and not finished:
            raise ValueError(
                f"{folder} was begun on other pictures: {change}. Choose another --output, or pass --overwrite"
            )
        weights = hold_to(folder, given, start, task)
        start.to(fabric.device)
        look_at_subjects(None if given is None else locate(model)[1], start, task, folder, reporter)
        with Engine(task, folder, reporter) as engine:
            if finished:
                outcome, shipped = finished_before(folder, change, decide_by_check, reporter)
                shipped.to(fabric.device)
            else:
                by_check = None
                if decide_by_check and checked is not None:
                    by_check = partial(judge, start, dataset=checked, labels=labels, task=task, device=fabric.device)
                outcome, shipped = work(engine, strategy, fabric, weights, start, rule, by_check)
                outcome |= {"given": str(model), "unreadable": unreadable, "cameras": cameras(task), "check": None}
                save_model(folder / "model.pt", shipped, task.skeleton, outcome["updates"])
                export(shipped.cpu(), task, folder)
                shipped.to(fabric.device)
            if checked is not None:
                outcome["check"] = judge(start, shipped, checked, labels, task, fabric.device)
            words.write(folder, outcome, start.cpu(), shipped.cpu(), task)
            write_json(folder / "adapt.json", outcome)
    words.tell(outcome, folder, reporter)
    return outcome


def look_at_subjects(run: Path | None, start: PoseModel, task: Task, folder: Path, reporter: Reporter) -> None:
    """Keep how large subjects were in what the model learned from, of its own `run` or of the source, and say where
    those of the target seem to be others. The model is on its device."""
    learned = recall(run)
    if learned is None and task.source_train is not None:
        learned = subjects_of(task.source_train)
    keep(folder, learned)
    look_at_target(learned, start, task, next(start.parameters()).device, reporter)


def cameras(task: Task) -> list[str]:
    """Where the target's cameras are from, and what follows from that; nothing where none was asked for."""
    table = picture_set(task.target[0])
    return [] if table is None else list(table.said)


def is_set(target: Path) -> bool:
    """Whether a target is a dataset's name, and no path."""
    return str(target) in DATASETS and not target.exists()


def name_of(target: Path) -> str:
    """Of the job on a target, and of its folder below runs/: a folder's or dataset's whole name, dots in it too."""
    if is_set(target):
        return f"adapt-{target}"
    place = target.resolve()
    return f"adapt-{place.name if place.is_dir() else place.stem}"


def finished_before(
    folder: Path, change: str | None, decide_by_check: bool, reporter: Reporter
) -> tuple[dict[str, Any], PoseModel]:
    """What adapt.json says of a folder that is finished, and the network that it ships. Raises ValueError where labels
    are to decide what the rule has decided."""
    outcome = json.loads((folder / "adapt.json").read_text())
    if decide_by_check and outcome.get("decided_by") != "labels":
        raise ValueError(f"{folder} is finished, and no labels decided: choose another --output, or pass --overwrite")
    since = f" Its pictures have changed since ({change}): the numbers are those of then." if change else ""
    reporter.say(f"{folder} is finished; --overwrite starts anew.{since}")
    return outcome, load_model(folder / "model.pt")[0]


def settings(
    model: Path, target: Path, source: str | None, strategy: str, overrides: list[str]
) -> tuple[Config, Path | None]:
    """The configuration of the job, and the weights to start from; None where an experiment's YAML names a network of
    one's own with its weights."""
    for override in overrides:
        key = override.partition("=")[0]
        if key in SAID_OTHERWISE:
            raise ValueError(f"{override}: {SAID_OTHERWISE[key]}")
    if not target.exists() and not is_set(target):
        raise ValueError(
            f"no target {target}: give a folder of pictures or depth frames, a video, or a dataset's name (keyshift "
            "options)"
        )
    choose("strategy", strategy, list(STRATEGIES))
    kind = STRATEGIES[strategy]
    if kind.labelled_target or "target" not in kind.needs:
        fitting = [name for name, k in STRATEGIES.items() if "target" in k.needs and not k.labelled_target]
        raise ValueError(
            f"--strategy {strategy} does not adapt to unlabelled pictures; choose one of {', '.join(fitting)}"
        )
    own = model.suffix in (".yaml", ".yml")
    weights, run = (None, None) if own else locate(model)
    if source is not None:
        base = load_folder(Path(source)) if (Path(source) / "config.yaml").is_file() else load(source)
    elif own:
        base = load(str(model))
    elif run is not None:
        base = load_folder(run)
    elif source_free(kind):
        base = build({})
    else:
        raise ValueError(
            f"{model} is a weights file without its run, and {strategy} goes on with the source: say --source "
            "EXPERIMENT, what it was trained on, or choose a strategy without a source"
        )
    chosen = own_network(model) if own else base.model if source is None and run is not None else of_weights(weights)
    kind_of_target = target_kind(MODELS[chosen.name], target)
    content = plain(base) | {"name": name_of(target), "strategy": strategy, "strategies": [strategy]}
    begun = run is not None if source is None else (Path(source) / "config.yaml").is_file()
    if begun:  # what fitted another machine
        content |= {"precision": AUTO, "channels_last": None}
    content |= {
        "target": {"name": str(target)} if is_set(target) else {"name": kind_of_target, "root": str(target)},
        "selection": "target_score",
        "pretrain_steps": 0,
    }
    if source_free(kind):
        content |= {"sensor": 0.0, "proposals": None}
    content |= {"model": chosen.plain(), "start": None if weights is None else str(weights)}
    config = build(content, overrides, str(model))
    if not any(override.startswith("evaluate_every=") for override in overrides):
        often = max(1, min(config.evaluate_every, config.steps // EVALUATIONS))
        config = replace(config, evaluate_every=often)
    return config, weights


def target_kind(system: type[PoseModel], target: Path) -> str:
    """The dataset of one's own files that a system reads; of a lifter, whose target holds no predictions, pictures, of
    which it says itself that they do not fit."""
    if "keypoints2d" in system.reads and (target.suffix.lower() == ".json" or any(target.glob("*.json"))):
        return "sequences2d"
    return "depth_folder" if "reach" in system.reads else "pictures"


def check_target(model: str, config: Config) -> None:
    """Raises ValueError where the target's files are not what the model reads, or the cube that they are cut by does
    not fit it: before any other data is opened."""
    assert config.target is not None
    options = config.target.options
    if not MODELS[config.model.name].single:
        check_no_boxes(model, getattr(options, "boxes", None), "target.boxes")
    if config.target.name in ("pictures", "depth_folder"):
        check_kind(model, "reach" in MODELS[config.model.name].reads, options.folder)
    if isinstance(options, depth_folder.Options):
        network = build_model(config.model, UNKNOWN, weights=False)
        check_cube(network, depth_folder.setup_of(options).cube, str(options.root), "target.cube")


def usual_strategy(target: Path, folder: Path | None, overwrite: bool) -> str:
    """Of a job that names none: the one that its folder was begun with, for the default may have changed since."""
    config = (folder or Path("runs") / name_of(target)) / "config.yaml"
    return load_folder(config.parent).strategy if config.is_file() and not overwrite else USUAL


def as_begun(config: Config, strategy: str, folder: Path) -> Config:
    """With the strategy's options of a folder that was begun: their defaults may have changed since."""
    began = load_folder(folder) if (folder / "config.yaml").is_file() else None
    if began is None or began.strategy != strategy:
        return config
    return replace(config, methods={strategy: began.method(strategy)})


def own_network(experiment: Path) -> Chosen:
    """The network that an experiment's YAML names with its trained weights."""
    chosen = load(str(experiment)).model
    if chosen.name != "own" or chosen.options.weights is None:
        raise ValueError(f"{experiment}: expected model.name=own and the trained weights as model.weights")
    return chosen


def of_weights(weights: Path | None) -> Chosen:
    """The system that a weights file holds."""
    assert weights is not None
    name = load_checkpoint(weights, ("name",))["name"]
    choose(f"{weights} holds a system that this keyshift does not know: name", name, list(MODELS))
    return Chosen(name, load_model(weights)[0].options)


def work(
    engine: Engine,
    strategy: str,
    fabric: Any,
    weights: Path,
    start: PoseModel,
    rule: Rule,
    by_check: Callable[[PoseModel], dict[str, Any]] | None,
) -> tuple[dict[str, Any], PoseModel]:
    """Train, and choose what is shipped: by the rule, without a label, or by what `by_check` says of a candidate. Gives
    what is known then, and the network."""
    task, folder, reporter = engine.task, engine.folder, engine.reporter
    count, held = len(task.target[0]), held_out(task)
    reporter.say(words.parts(count, held))
    before = measure(start, task, fabric.device)
    reporter.say(f"before: {words.distance(before)}")
    given, system = Evidence(start, looks_of(task, fabric.device)), reading(type(start))
    lent, expected, people = borrowed(type(start), task.config.threshold, rule.basis), None, None
    decision = None if by_check else beforehand(SCORES["agreement"](given), count, system, rule.basis, bool(lent))
    ended, step, share, shipped, after, forecast = "nothing was trained", 0, 0.0, start, before, None
    if decision is None:
        forecaster = Forecaster(rule, given)
        ended = train(engine, strategy, fabric, weights, forecaster)
        step = best_checkpoint(folder)
        adapted = load_model(weights_of(folder, step))[0].to(fabric.device) if step else start
        whole = not step or STRATEGIES[strategy].restarts(task.config.method(strategy))
        best = forecaster.best(adapted, (1.0,) if whole else SHARES)
        forecast = best.record
        expected = in_mm(given, best.model) if start.in_space() else None
        people = None if start.single else counted_people(given, best.model)
        if by_check:
            decision = by_labels(step, by_check(best.model), best.share)
        else:
            beside = on_held_out(rule, start, best.model, task, fabric.device) if held >= FEWEST else None
            decision = decide(step, best.prediction, beside, held, best.share, expected, people)
        if decision.adapted:
            share, shipped, after = best.share, best.model, measure(best.model, task, fabric.device)
    outcome = {"strategy": strategy, "updates": step if decision.adapted else 0, "share": share}
    outcome |= {"pictures": count, "held_out": held}
    outcome |= {"adapted": decision.adapted, "outcome": decision.outcome, "why": decision.why, "ended": ended}
    outcome |= {"decided_by": "labels" if by_check else "rule", "prediction": forecast, "rule": rule.basis}
    outcome |= {"expected": expected and asdict(expected), "people": people and asdict(people), "borrowed": lent}
    return outcome | {"before": asdict(before), "after": asdict(after)}, shipped


def in_mm(given: Evidence, candidate: PoseModel) -> Expected | None:
    """What is expected of a candidate in its own unit; None where nothing is, without a source say."""
    before = expected_error(given)
    after = expected_error(Evidence(candidate, given.looks, given))
    known = math.isfinite(before) and math.isfinite(after)
    return Expected(before, after, error_of(type(candidate))) if known else None


def counted_people(given: Evidence, candidate: PoseModel) -> People:
    """How many people the given network and a candidate find on the pictures that scores are read of."""
    after = Evidence(candidate, given.looks, given).target
    return People(len(given.target.points), len(after.points), len(given.looks.target))


def on_held_out(
    rule: Rule, start: PoseModel, candidate: PoseModel, task: Task, device: torch.device
) -> Prediction | None:
    """What the rule predicts of a candidate by the target's pictures that it was not adapted to."""
    looks = looks_of(replace(task, target_train=task.target_test), device)
    return Forecaster(rule, Evidence(start, looks)).predict(candidate)[0]


def held_out(task: Task) -> int:
    """How many target pictures are held out: 0 where those to judge by are those to adapt to."""
    train, test = task.target
    return 0 if first_item(train).id == first_item(test).id else len(test)


def changed(folder: Path, task: Task) -> str | None:
    """How the target's samples differ from those that `folder` was begun on; what a later version says besides is
    free."""
    began = identity_of(folder)
    for side, now in task.identity().items():
        was = began.get(side, now) if side.startswith("target") else now
        for key in ("count", "sha256", *was):
            if key in was and key in now and was[key] != now[key]:
                return f"{key} of {now['name']} was {was[key]!r} and is {now[key]!r}"
    return None


def hold_to(folder: Path, given: Path | None, start: PoseModel, task: Task) -> Path:
    """The weights file that the job starts from, written down with its sum. Raises ValueError where the folder was
    started from others."""
    weights = given or folder / "given.pt"
    if given is None and not weights.exists():
        save_model(weights, start, task.skeleton, 0)
    record = {"weights": str(weights), "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
    place = folder / "start.json"
    if place.exists() and json.loads(place.read_text())["sha256"] != record["sha256"]:
        raise ValueError(f"{folder} was started from other weights; choose another --output, or pass --overwrite")
    write_json(place, record)
    return weights


def measure(model: PoseModel, task: Task, device: torch.device) -> Distance:
    """How far the target is from the source, for this model; no label is read. Entropy and consistency are those of
    held-out pictures; the classifier sees all, or it would have too few recordings to hold some out."""

    def plain_views(dataset: PoseDataset) -> Any:
        batches = task.batches(spread(WithoutLabels(dataset), SCORED))
        return loader(batches, range(len(batches)))

    target = plain_views(task.target[0]), plain_views(task.target[1])
    source = None if task.source_test is None else plain_views(task.source_test)
    return distance(model, source, target, warped_batches(task, task.target[1]), task.skeleton.flip, device)


def train(engine: Engine, strategy: str, fabric: Any, weights: Path, forecaster: Forecaster) -> str:
    """Train until the predicted gain falls well below 0. Returns why it ended."""
    task, folder = engine.task, engine.folder
    config = task.config
    with engine.reporter.stage(strategy, config.steps) as show:

        def watch(step: int, metrics: dict[str, float]) -> None:
            show(step, metrics)
            if metrics:
                engine.mirror.notify()
            if "target/score" in metrics:
                check_gains(folder, step, config.steps)

        try:
            if (folder / "checkpoint.pt").exists():  # one that was killed after it had stopped itself has not to go on
                step = load_checkpoint(folder / "checkpoint.pt", ("step",))["step"]
                check_gains(folder, step, config.steps)
            phase = adaptation(config, strategy, weights)
            evaluate = evaluator(task, fabric.device, forecaster.given, forecaster.gain)
            say = engine.reporter.say
            left = fit(task, phase, config.seed, folder, fabric, watch, evaluate, say=say)
        except GotWorse as stop:
            return str(stop)
    return left or f"all {config.steps} updates were made"


def check_gains(folder: Path, step: int, steps: int) -> None:
    """Raises GotWorse where the predicted gain has fallen at update `step`, the last that was evaluated by then."""
    gains = {evaluated: gain for evaluated, gain in gains_by_step(folder).items() if evaluated <= step}
    last = list(gains.values())[-PATIENCE:]
    if len(last) == PATIENCE and all(gain is not None and gain < -FELL for gain in last):
        raise GotWorse(
            f"training stopped at update {max(gains)} of {steps}: the predicted gain fell to {last[-1]:.1f} points, "
            f"{PATIENCE} evaluations in a row below {-FELL:g}"
        )


def best_checkpoint(folder: Path) -> int:
    """The step of kept weights of which the highest gain is predicted; the last where none is; 0 without any."""
    gains = {step: gain for step, gain in gains_by_step(folder).items() if weights_of(folder, step).exists()}
    known = {step: gain for step, gain in gains.items() if gain is not None}
    return max(known, key=lambda step: (known[step], -step), default=max(gains, default=0))


def weights_of(folder: Path, step: int) -> Path:
    return folder / f"weights-{step:06d}.pt"


def gains_by_step(folder: Path) -> dict[int, float | None]:
    """The predicted gains that were logged, None where there was nothing to predict by."""
    lines = (json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["metrics"]["target/score"] for line in lines if "target/score" in line["metrics"]}
