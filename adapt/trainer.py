"""The training loop: one for every strategy."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Dataset

from ..datasets.loading import loader
from ..datasets.reading.files import naming, write_text
from ..datasets.sample import Unlabeled
from ..models.pose_model import PoseModel
from ..models.saved import load_checkpoint, save_checkpoint, save_model
from .guard import Guard
from .processes import any_process, average, average_gradients, broadcast_buffers, of_first, together
from .scoring.selection import Selection
from .strategy import Strategy, Target
from .temporal_consistency import smoothed

Evaluate = Callable[[PoseModel], dict[str, float]]
Optimizers = dict[str, tuple[torch.optim.Optimizer, LRScheduler]]
Callback = Callable[[int, dict[str, float]], None]


@dataclass
class Loop:
    """How long, and how often what happens; in updates."""

    steps: int
    log_every: int = 20
    evaluate_every: int = 100
    checkpoint_every: int = 100
    workers: int = 0
    channels_last: bool = False
    selection: str = "last"
    keep_all: bool = False
    """The weights of every evaluation stay on disk, not only those that a selection rule names."""
    compile: bool = False
    """The parts of networks are trained as torch.compile makes them."""


class NotFinite(ArithmeticError):
    """A loss became NaN or infinite."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; the checkpoint is written."""


@dataclass
class History:
    """Losses of the steps since the last log, kept on the device; read with one sync."""

    names: list[tuple[int, str]] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def add(self, step: int, losses: dict[str, Tensor]) -> None:
        self.names += [(step, name) for name in losses]
        self.values += [loss.detach().float() for loss in losses.values()]

    def read(self, ids: Callable[[int], str]) -> dict[str, float]:
        """Mean losses by name, over all processes. Raises NotFinite with the first bad step, its losses and samples."""
        if not self.values:
            return {}
        rows = list(zip(self.names, average(torch.stack(self.values)).tolist(), strict=True))
        self.names, self.values = [], []
        bad = next((step for (step, _), value in rows if not math.isfinite(value)), None)
        if bad is not None:
            losses = ", ".join(f"{name} = {value:g}" for (step, name), value in rows if step == bad)
            raise NotFinite(
                f"a loss is not finite at step {bad}: {losses}. If losses grew, the rate is too high: lower it, or try "
                "name=adam rate=0.003, of pretrain on the source and of optimization for strategies. "
                f"Samples of that step: {ids(bad)}"
            )
        by_name: dict[str, list[float]] = {}
        for (_, name), value in rows:
            by_name.setdefault(f"loss/{name}", []).append(value)
        return {name: sum(values) / len(values) for name, values in by_name.items()}


class Trainer:
    """Trains `strategy` in `folder`, from its checkpoint if there is one.

    `batches` maps "source" and "target" to datasets whose item `step` is that step's batch. `evaluate` gives metrics
    of the predictor, `target` all target training samples with its poses, for methods that relabel. `callbacks` get
    (step, metrics) after each step, metrics empty but when something was logged. A `guard` that stops ends the run
    where it leaves the road; what its rules choose is then what they chose of the evaluations before.
    """

    def __init__(
        self,
        fabric: Fabric,
        strategy: Strategy,
        batches: dict[str, Dataset[Any]],
        folder: Path,
        loop: Loop,
        seed: int,
        evaluate: Evaluate | None = None,
        target: Callable[[PoseModel], Target] | None = None,
        callbacks: Iterable[Callback] = (),
        guard: Guard | None = None,
    ) -> None:
        self.fabric, self.folder, self.loop, self.seed = fabric, folder, loop, seed
        self.strategy = strategy.to(fabric.device)
        if loop.channels_last:
            self.strategy = self.strategy.to(memory_format=torch.channels_last)
        if loop.compile:
            compile_parts(self.strategy)
        self.optimizers = self.strategy.optimizers()
        self.batches = {domain: batches[domain] for domain in sorted(strategy.needs)}
        self.evaluate, self.target, self.callbacks = evaluate, target, list(callbacks)
        self.guard = guard
        self.selection, self.history, self.start = Selection(), History(), 0
        self.checkpoint = folder / "checkpoint.pt"
        if self.checkpoint.exists():
            self.resume()
        if of_first(self.start) != self.start:
            raise ValueError(
                f"{folder} of process {fabric.global_rank} ends at step {self.start}, the first one's elsewhere: "
                "several machines need one folder on shared storage, output=FOLDER"
            )
        if fabric.is_global_zero:
            cut_back(folder / "metrics.jsonl", self.start)

    def fit(self) -> None:
        """Run to the last step, or to where the guard stops. Raises NotFinite where no guard stops then, or Interrupted
        once a signal's checkpoint is written."""
        if self.guard is not None and not self.guard.start:
            with self.uncompiled():
                self.guard.begin(self.strategy.predictor)
        self.strategy.train()
        self.ticked, self.ticks = time.perf_counter(), 0
        with interruptible() as interrupted:
            for step, source, target in () if self.stopped else self.stream():
                # what is drawn in a step depends on the step alone, so that a resumed run draws the same
                torch.manual_seed(self.seed * 1_000_003 + step)
                self.begin_round(step)
                for losses in updates(self.fabric, self.strategy, self.optimizers, source, target):
                    self.history.add(step, losses)
                # log, evaluate, checkpoint, stop
                stop = self.after(step + 1, bool(interrupted))
                if self.stopped:
                    break
                if stop:
                    raise Interrupted(f"stopped at step {step + 1}, checkpoint written in {self.folder}")
            if any_process(bool(interrupted)):  # in the last step: what follows training is not to begin
                raise Interrupted(f"stopped after the last step, checkpoint written in {self.folder}")

    def stream(self) -> Iterator[tuple[int, Any, Any]]:
        """(step, source batch, target batch), a domain that is not needed being None."""
        steps = range(self.start, self.loop.steps)
        pin = self.fabric.device.type == "cuda"
        loaders = {name: loader(b, steps, self.loop.workers, pin) for name, b in self.batches.items()}
        for step in steps:
            placed = {name: self.place(next(batches)) for name, batches in loaders.items()}
            yield step, placed.get("source"), placed.get("target")

    def begin_round(self, step: int) -> None:
        """Let a method that relabels do so where a round begins."""
        length = self.strategy.round_length()
        if length and step % length == 0:
            if self.target is None:
                raise ValueError(f"{type(self.strategy).__name__} relabels its target, and none is given to predict")
            broadcast_buffers(self.strategy)  # so that all processes give the same labels
            with self.uncompiled():
                self.strategy.begin_round(self.target(self.strategy.predictor))

    def uncompiled(self) -> AbstractContextManager[object]:
        """Within it networks run as they are written: compiling for evaluation, which is rare, would take longer."""
        return torch.compiler.set_stance("force_eager") if self.loop.compile else nullcontext()

    def place(self, batch: Unlabeled) -> Unlabeled:
        batch = batch.to(self.fabric.device, non_blocking=True)
        return batch.each(innermost) if self.loop.channels_last else batch

    def after(self, done: int, interrupted: bool) -> bool:
        """Log, evaluate and checkpoint where it is time to; whether to stop. Several processes agree on that when
        they log, so that none waits for one that is gone."""
        last = done == self.loop.steps
        due = {name: last or done % every == 0 for name, every in self.every().items()}
        stop = any_process(interrupted) if due["log"] or not together() else False
        self.ticks += 1
        metrics: dict[str, float] = {}
        if any(due.values()) or stop:
            metrics = self.losses(done)
            metrics |= {f"rate/{name}": o.param_groups[-1]["lr"] for name, (o, _) in self.optimizers.items()}
            metrics["seconds/iteration"] = (time.perf_counter() - self.ticked) / self.ticks
        if due["evaluate"] and not self.stopped:
            broadcast_buffers(self.strategy)
            with self.uncompiled():
                metrics |= self.judge(done)
        if metrics and self.fabric.is_global_zero:
            self.log(done, metrics)
        if self.stopped:
            self.go_back()
        if due["checkpoint"] or stop or self.stopped:
            broadcast_buffers(self.strategy)
            if self.fabric.is_global_zero:
                self.save(done)
        for callback in self.callbacks:
            callback(done, metrics)
        if metrics:
            self.ticked, self.ticks = time.perf_counter(), 0
        return stop

    @property
    def stopped(self) -> bool:
        return self.guard is not None and self.guard.stopped

    def losses(self, done: int) -> dict[str, float]:
        """Those since the last log. Raises NotFinite where one is not finite, unless the guard stops the run then."""
        try:
            return self.history.read(self.ids)
        except NotFinite as error:
            if self.guard is None or not self.guard.stops:
                raise
            self.guard.leave(done, str(error))
            return {}

    def judge(self, done: int) -> dict[str, float]:
        """Metrics of the predictor, and those of the guard; where it stops, these alone: no rule sees the others. All
        processes share the work, and the first one's numbers count, should others differ in a last digit."""
        metrics: dict[str, float] = {}
        if self.guard is not None:
            values = self.guard.look(done, self.loop.steps, self.strategy.predictor)
            metrics = {f"guard/{name}": value for name, value in values.items()}
            self.guard.load(of_first(self.guard.state()))
        if self.evaluate is not None and not self.stopped:
            metrics = of_first(metrics | self.evaluate(self.strategy.predictor))
            self.selection.update(done, metrics)
            self.save_weights(done)
        return metrics

    def go_back(self) -> None:
        """`last` is the guard's good step already, for no evaluation after it counted; where there is none, all rules
        choose the given weights."""
        assert self.guard is not None
        if not self.guard.good and self.evaluate is not None:
            self.selection = Selection()
            self.selection.update(0, of_first(self.evaluate(self.guard.given)))
            if self.fabric.is_global_zero:
                save_model(self.weights(0), self.guard.given, self.strategy.skeleton, 0)

    def every(self) -> dict[str, int]:
        loop = self.loop
        return {"log": loop.log_every, "evaluate": loop.evaluate_every, "checkpoint": loop.checkpoint_every}

    def ids(self, step: int) -> str:
        """The sample ids of a step's batches, drawn again."""
        return "; ".join(f"{name}: {', '.join(batches[step].id)}" for name, batches in self.batches.items())

    def log(self, step: int, metrics: dict[str, float]) -> None:
        values = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        path = self.folder / "metrics.jsonl"
        with naming(path), open(path, "a") as file:
            file.write(json.dumps({"step": step, "time": time.time(), "metrics": values}) + "\n")

    def weights(self, step: int) -> Path:
        return self.folder / f"weights-{step:06d}.pt"

    def save_weights(self, step: int) -> None:
        kept = self.loop.keep_all or step in self.selection.held(self.loop.selection)
        if kept and self.fabric.is_global_zero:
            save_model(self.weights(step), self.strategy.predictor, self.strategy.skeleton, step)

    def save(self, step: int) -> None:
        parts = self.optimizers.items()
        save_checkpoint(
            self.checkpoint,
            {
                "step": step,
                "strategy": self.strategy.state_dict(),
                "optimizers": {name: optimizer.state_dict() for name, (optimizer, _) in parts},
                "schedules": {name: _plain(schedule.state_dict()) for name, (_, schedule) in parts},
                "selection": {"steps": self.selection.steps, "values": self.selection.values},
                "guard": None if self.guard is None else self.guard.state(),
            },
        )
        self.forget_weights()  # only now: a checkpoint on disk never refers to weights that are gone

    def forget_weights(self) -> None:
        """Remove the weights that no rule has chosen by the checkpoint on disk."""
        if self.loop.keep_all:
            return
        kept = {self.weights(held) for held in self.selection.held(self.loop.selection)}
        for path in set(self.folder.glob("weights-*.pt")) - kept:
            path.unlink()

    def resume(self) -> None:
        state = load_checkpoint(self.checkpoint, ("step", "strategy", "optimizers", "schedules", "selection"))
        try:
            self.strategy.load_state_dict(state["strategy"])
            for name, (optimizer, schedule) in self.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][name])
                schedule.load_state_dict(state["schedules"][name])
            self.selection = Selection(**state["selection"])
            if self.guard is not None:
                self.guard.load(state.get("guard") or {})
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{self.checkpoint} belongs to another strategy or model: {error}") from error
        self.start = int(state["step"])
        if self.fabric.is_global_zero:
            self.forget_weights()  # those of a process that was killed between its checkpoint and this


def updates(
    fabric: Fabric, strategy: Strategy, optimizers: Optimizers, source: Any, target: Any
) -> Iterator[dict[str, Tensor]]:
    """One iteration: the losses of each of its updates, once that is made."""
    steps = strategy.step(source, target)
    if strategy.steady > 0:
        steps = smoothed(strategy, optimizers, source, target)
    while True:
        # forward: up to the next losses
        with fabric.autocast():  # one context an update: a longer one keeps stale casts of weights
            update = next(steps, None)
        if update is None:
            break
        losses, names = update
        chosen = [optimizers[name][0] for name in names]
        parameters = [p for optimizer in chosen for group in optimizer.param_groups for p in group["params"]]
        # backward: into what these losses update, and nothing else
        for optimizer, _ in optimizers.values():
            optimizer.zero_grad()
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        fabric.backward(total, inputs=parameters)  # what is not stepped needs no gradient
        average_gradients(parameters)
        if strategy.optimization.clip > 0:
            torch.nn.utils.clip_grad_norm_(parameters, strategy.optimization.clip)
        # update
        for optimizer in chosen:
            optimizer.step()
        yield losses
    # rates and moving averages go on
    for _, schedule in optimizers.values():
        schedule.step()
    strategy.draw_back()
    strategy.after_step()


def compile_parts(strategy: Strategy) -> None:
    """Let torch.compile make the parts of the strategy's networks, in place; weights keep their names."""
    for network in strategy.children():
        for part in network.children() if isinstance(network, PoseModel) else [network]:
            if any(True for _ in part.parameters()):
                part.compile(dynamic=False)


def cut_back(path: Path, step: int) -> None:
    """Drop the lines of `path` beyond `step`, and a last line that was not written whole."""
    kept = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if record["step"] <= step:
            kept.append(line + "\n")
    write_text(path, "".join(kept))


def innermost(tensor: Tensor) -> Tensor:
    """Images (B, C, H, W) with channels innermost; other tensors as they are."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """A schedule's state without its functions, which are built anew."""
    return {name: value for name, value in state.items() if name != "lr_lambdas"} | {
        "lr_lambdas": [None] * len(state["lr_lambdas"])
    }


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """A list that a first Ctrl-C or SIGTERM fills; a second one acts as it always did."""
    seen: list[int] = []
    before: dict[int, Any] = {}

    def remember(number: int, frame: Any) -> None:
        seen.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    try:
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            before[number] = signal.signal(number, remember)
    except ValueError:  # not in the main thread: the caller keeps its handlers
        yield seen
        return
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
