"""`keyshift bench gpu`: what a GPU makes of a step, of loading and of rendering, and how long it waits in a run.

Each function of rows takes a `Case`, so that a small one runs on the CPU.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import Dataset

from ...adapt.methods.pseudo_labels import ground_false
from ...adapt.methods.regda import RegDA
from ...adapt.strategy import Optimization, Strategy, Update
from ...adapt.trainer import Loop, Trainer
from ...datasets.augment import Augmentation
from ...datasets.loading import TrainingBatches, loader
from ...datasets.rendered.hand_scene import STYLES, draw_scene
from ...datasets.rendered.hands import RenderedHands, render_pictures
from ...datasets.sample import Labeled, Unlabeled
from ...datasets.skeleton import HAND
from ...models.systems.pose_resnet import PoseResNet
from ..runs.device import name_of, repeatable
from .bench_step import Alternate, Step, step

Row = tuple[str, str, str]
COMPILED: Mapping[str, dict[str, Any]] = {
    "compiled": {"dynamic": False},
    "compiled, with CUDA graphs": {"dynamic": False, "mode": "reduce-overhead"},
}


@dataclass(frozen=True)
class Case:
    """What is measured, where: RegDA's published setting by default."""

    device: torch.device = field(default_factory=lambda: torch.device("cuda"))
    backbone: str = "resnet101"
    batch: int = 32
    size: int = 256
    rounds: int = 10
    compiled: Mapping[str, dict[str, Any]] = field(default_factory=lambda: COMPILED)
    samples: int = 512
    workers: int = 8
    scenes: int = 2048
    updates: int = 60

    @property
    def words(self) -> str:
        return f"{self.backbone}, batch {self.batch} + {self.batch}, {self.size} x {self.size}"


class ThreePasses(RegDA):
    """RegDA as the reference runs it: target features anew in steps B and C, B's gradient through them in vain."""

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        yield next(super().step(source, target))
        for goal, names in ((ground_false, ("adversary",)), (None, ("features",))):
            features = self.model.features(target)
            truth = self.truth(self.model.votes(features, target), target)
            adversary = self.model.votes(self.gradient(features), target, self.adversary)
            yield {"target": self.disparity(adversary, goal(truth) if goal else truth)}, names


def rows(alternate: Alternate) -> list[Row]:
    """(what, value, claim) of the card that torch sees; one row that says so where it sees none."""
    if not torch.cuda.is_available():
        return [("no GPU", "torch sees no GPU of CUDA here: nothing was measured", "")]
    case = Case()
    repeatable(case.device)
    return [
        ("card", name_of(case.device), ""),
        *step_rows(case, alternate),
        *loader_rows(case),
        *render_rows(case, alternate),
        *waiting_rows(case),
    ]


def step_rows(case: Case, alternate: Alternate) -> list[Row]:
    """Time and memory of an iteration in each form, and its share of what the three-pass form takes."""
    source, target = _drawn(case)
    source, target = source.to(case.device), target.to(case.device)
    forms: dict[str, dict[str, Any]] = {
        "fp32": {},
        "bf16": {"bf16": True},
        "bf16, channels_last": {"bf16": True, "last": True},
    }
    forms |= {f"bf16, {name}": {"bf16": True, "last": True, "compiled": by} for name, by in case.compiled.items()}
    plain: dict[str, dict[str, Any]] = {"three passes, fp32": {}, "three passes, bf16": {"bf16": True}}
    made, failed = {}, []
    for name, form in (plain | forms).items():
        try:  # compilers fail where drivers or toolchains do not suit them
            made[name] = (_plain_step if name in plain else _step)(case, source, target, **form)
            made[name]()
        except RuntimeError as error:
            made.pop(name, None)
            failed.append((f"RegDA, {name}", f"failed: {str(error).splitlines()[0][:80]}", ""))
    peaks = {name: _peak(case.device, step) for name, step in made.items()}
    seconds = alternate(made, case.rounds, 3)
    best = min((name for name in made if name not in plain), key=lambda name: seconds[name])
    return [
        (f"RegDA, {case.words}", "", ""),
        *((f"RegDA, {name}", f"{1000 * seconds[name]:.1f} ms, {peaks[name]}", "") for name in made),
        *failed,
        (
            f"RegDA, {best} / three passes, fp32",
            f"{seconds[best] / seconds['three passes, fp32']:.3f}",
            "at most 0.33",
        ),
        (f"RegDA, {best} / three passes, bf16", f"{seconds[best] / seconds['three passes, bf16']:.3f}", ""),
    ]


def loader_rows(case: Case) -> list[Row]:
    """Samples that reach the device from the loader's workers, through pinned memory."""
    with tempfile.TemporaryDirectory() as cache:
        batches = _batches(case, "source", cache)
        steps = range(2 + case.samples // case.batch)
        ahead = loader(batches, steps, case.workers, pin=case.device.type == "cuda")
        next(ahead).to(case.device)  # the workers have started
        began, count = time.perf_counter(), 0
        for batch in ahead:
            batch.to(case.device, non_blocking=True)
            count += len(batch)
        _wait(case.device)
        rate = count / (time.perf_counter() - began)
    return [(f"samples/s that reach the device, {case.workers} workers, {case.size} x {case.size}", f"{rate:.0f}", "")]


def render_rows(case: Case, alternate: Alternate, size: int = 128) -> list[Row]:
    """Hands that were drawn (poses, light, camera: numpy on the CPU, one scene after the other) to pictures on the
    device; and how many one core draws."""
    made = []
    for style in ("studio", "webcam"):
        began = time.perf_counter()
        scenes = [draw_scene(STYLES[style], 0, number, size, ()) for number in range(case.scenes)]
        drawn = case.scenes / (time.perf_counter() - began)
        groups = [(scene, [scene]) for scene in scenes]
        seconds = alternate({"render": lambda groups=groups: render_pictures(groups, size, case.device)}, 3, 1)
        rate, claim = case.scenes / seconds["render"], "at least 5,000" if style == "studio" else ""
        made.append((f"{style}, {size} x {size}: drawn scenes to pictures, a second", f"{rate:.0f}", claim))
        made.append((f"{style}: scenes that one core draws, a second", f"{drawn:.0f}", ""))
    return made


def waiting_rows(case: Case) -> list[Row]:
    """The share of a real run's time in which no kernel runs, and the same run's seconds an update: RegDA in bf16 by
    the trainer, batches from the loader's workers."""
    warm = case.updates // 2
    activities = [ProfilerActivity.CUDA] if case.device.type == "cuda" else [ProfilerActivity.CPU]
    taken: list[float] = []
    watch = profile(activities=activities)

    def callback(step: int, metrics: dict[str, float]) -> None:
        if step in (warm, case.updates):
            _wait(case.device)
            taken.append(time.perf_counter())
            (watch.start if step == warm else watch.stop)()

    with tempfile.TemporaryDirectory() as folder:
        batches: dict[str, Dataset[Any]] = {side: _batches(case, side, folder) for side in ("source", "target")}
        loop = Loop(case.updates, 1000, 10**6, 10**6, case.workers, channels_last=True)
        fabric = Fabric(accelerator=case.device.type, devices=1, precision="bf16-mixed")
        Trainer(fabric, _strategy(case), batches, Path(folder), loop, 0, callbacks=[callback]).fit()
    wall, busy = taken[1] - taken[0], 1e-6 * sum(event.self_device_time_total for event in watch.key_averages())
    return [
        ("share of a run's time that the device waits", f"{max(0.0, 1 - busy / wall):.1%}", ""),
        ("ms an update of that run, loading included", f"{1000 * wall / (case.updates - warm):.1f}", ""),
    ]


def _strategy(case: Case, kind: type[RegDA] = RegDA) -> Strategy:
    sizes: dict[str, Any] = {"input_size": [case.size, case.size], "heatmap_size": [case.size // 4, case.size // 4]}
    torch.manual_seed(0)
    model = PoseResNet(21, PoseResNet.Options(backbone=case.backbone, **sizes))
    return kind(model, HAND, Optimization(rate=1e-3)).train()


def _step(
    case: Case,
    source: Labeled,
    target: Unlabeled,
    bf16: bool = False,
    last: bool = False,
    compiled: dict[str, Any] | None = None,
) -> Step:
    strategy = _strategy(case).to(case.device)
    if compiled is not None:
        for part in strategy.model.children():
            part.compile(**compiled)
    run = step(strategy, source, target, "bf16-mixed" if bf16 else "32-true", last)

    def marked() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        run()

    return marked


def _plain_step(case: Case, source: Labeled, target: Unlabeled, bf16: bool = False) -> Step:
    """The three-pass form, all of whose gradients are computed in each pass."""
    strategy = _strategy(case, ThreePasses).to(case.device)
    optimizers = strategy.optimizers()

    def run() -> None:
        updates = strategy.step(source, target)
        while True:
            with torch.autocast(case.device.type, torch.bfloat16, enabled=bf16):
                update = next(updates, None)
            if update is None:
                break
            losses, names = update
            strategy.zero_grad()
            torch.stack([loss.float() for loss in losses.values()]).sum().backward()
            for name in names:
                optimizers[name][0].step()
        strategy.draw_back()
        strategy.after_step()

    return run


def _batches(case: Case, domain: str, cache: str) -> TrainingBatches:
    style = "studio" if domain == "source" else "webcam"
    data = RenderedHands(style, 2 * case.batch, 0, case.size, cache=cache)
    return TrainingBatches(data, domain, 0, case.batch, (case.size, case.size), Augmentation(), domain == "source")


def _drawn(case: Case) -> tuple[Labeled, Unlabeled]:
    with tempfile.TemporaryDirectory() as cache:
        source, target = (_batches(case, domain, cache)[0] for domain in ("source", "target"))
    assert isinstance(source, Labeled)
    return source, target


def _peak(device: torch.device, step: Step) -> str:
    """The memory of a step beyond what lies there before, in words."""
    if device.type != "cuda":
        return "memory not counted"
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    return f"{(torch.cuda.max_memory_allocated(device) - before) / 2**30:.2f} GiB at its peak"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
