"""`keyshift bench`: where speed claims are made. Both sides of a ratio run in turn in one process and medians are
compared, because machines are noisy and absolute seconds mean little."""

from __future__ import annotations

import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from ...adapt.methods.pseudo_labels import ground_false, ground_truth
from ...adapt.methods.regda import RegDA
from ...adapt.scoring.metrics import pck, pck_per_joint
from ...adapt.strategy import Optimization
from ...datasets.augment import Augmentation
from ...datasets.loading import crop
from ...datasets.rendered.hands import RenderedHands, render
from ...datasets.sample import PIXELS_AND_MM, Labeled, Unlabeled
from ...datasets.skeleton import HAND
from ...models.output import Poses, Votes, divergence
from ...models.pose_model import PoseModel
from ...models.systems.a2j import A2J
from ...models.systems.awr import AWR
from ...models.systems.pose_resnet import PoseResNet
from ..runs.device import choose_device
from ..runs.progress import Reporter
from .bench_deformable import rows as deformable_rows
from .bench_faults import COUNT, faults
from .bench_gpu import rows as gpu_rows
from .bench_grouping import rows as grouping_rows
from .bench_memory import adversary_rows
from .bench_memory import rows as volume_rows
from .bench_predict import rows as predict_rows
from .bench_scale import pictures
from .bench_scale import rows as scale_rows
from .bench_step import compile_rows, regda_rows, step, system_rows
from .bench_strategies import rows as strategy_rows
from .bench_tables import rows as table_rows
from .benches import ALONE, BENCHES, FAULTS

Timed = Callable[[], object]


def bench(what: Sequence[str], count: int = COUNT, seed: int = 0) -> bool:
    """Run the named benchmarks, or all but those that run ALONE. `count` and `seed` are of FAULTS; gives whether that
    found nothing. Raises ValueError for unknown names."""
    unknown = set(what) - {*BENCHES, FAULTS}
    if unknown:
        raise ValueError(f"no benchmark {sorted(unknown)[0]!r}; known: {', '.join([*BENCHES, FAULTS])}")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it names the precision of each side
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # torch's profiler tells of each start and stop
    reporter = Reporter()
    reporter.say(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {_device()}")
    for name in what or [name for name in BENCHES if name not in ALONE]:
        if name != FAULTS:
            reporter.table(name, ["what", "value", "claim"], [list(row) for row in BENCHES[name]()])
    return FAULTS not in what or faults(reporter, count, seed)


def alternate(sides: dict[str, Timed], rounds: int = 7, warm: int = 1) -> dict[str, float]:
    """Median seconds of each side, the sides taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + warm):
        for name, run in sides.items():
            _wait()
            start = time.perf_counter()
            run()
            _wait()
            if turn >= warm:
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def bench_step(batch: int = 8, size: int = 256) -> list[tuple[str, str, str]]:
    """One RegDA iteration, ResNet-18, against TLLib's: in float32, with channels innermost, in bf16."""
    return regda_rows(lambda: _resnet18(size), _batches(batch, size)[0], alternate)


def bench_systems() -> list[tuple[str, str, str]]:
    """A training step of each system as runs make it against its plain form."""
    return system_rows(_device(), alternate)


def bench_compile(batch: int = 32, size: int = 64) -> list[tuple[str, str, str]]:
    """One RegDA iteration of the demo's network as torch.compile makes it, against the same as it is written."""
    sizes: dict[str, Any] = {"input_size": [size, size], "heatmap_size": [size // 4, size // 4]}
    options = PoseResNet.Options(backbone="small", channels=64, head_layers=2, sigma=1.0, **sizes)
    return compile_rows(lambda: PoseResNet(21, options), _batches(batch, size)[0], alternate)


def bench_strategies(batch: int = 8) -> list[tuple[str, str, str]]:
    """A step of each strategy, as a multiple of a supervised one; loading and rounds of relabelling apart."""
    return strategy_rows(batch, _device(), step, alternate)


def bench_volumes(batch: int = 2) -> list[tuple[str, str, str]]:
    """What is read from volumes and what draws them, against the same in plain operations, in time and memory; and a
    whole RegDA iteration on PoseNet against a supervised one."""
    rows = volume_rows(batch, _device(), alternate)
    return rows + adversary_rows(batch, _device(), step, alternate)


def bench_deformable() -> list[tuple[str, str, str]]:
    """Deformable convolutions of DEKR, DCPose and FastPose against torchvision's operator, in time and memory."""
    return deformable_rows(_device(), alternate)


def bench_grouping() -> list[tuple[str, str, str]]:
    """HigherHRNet's grouping of 30 people against the published form step by step."""
    return grouping_rows(alternate)


def bench_scale() -> list[tuple[str, str, str]]:
    """What more processes bring on this machine, in all and for each."""
    return scale_rows(_device())


def bench_gpu() -> list[tuple[str, str, str]]:
    """What a GPU makes of it: a step of RegDA in several forms, loading, rendering, and how long it waits in a run."""
    return gpu_rows(alternate)


def bench_labels(batch: int = 4, size: int = 256) -> list[tuple[str, str, str]]:
    """Pseudo labels and metrics as a share of a RegDA iteration."""
    source, target = _batches(batch, size)
    strategy = RegDA(_resnet18(size), HAND, Optimization(rate=1e-3)).to(_device()).train()
    with torch.no_grad():
        votes = strategy.model(target)
    confidence = votes.confidence()

    def labels() -> None:  # as often as an iteration draws them: source and target
        poses = Poses.of_crops(votes.peak(), confidence)
        ground_truth(votes, poses)
        ground_false(ground_truth(votes, poses))

    def metrics() -> None:
        errors = torch.linalg.vector_norm(votes.peak() - source.keypoints, dim=-1) / source.side[:, None]
        pck(errors, source.annotated, 0.1)
        pck_per_joint(errors, source.annotated, 0.1)

    seconds = alternate({"iteration": step(strategy, source, target), "labels": labels, "metrics": metrics}, 3)
    share = (seconds["labels"] + seconds["metrics"]) / seconds["iteration"]
    return [
        ("pseudo labels and metrics / iteration", f"{share:.2%}", "under 2 %"),
        ("pseudo labels, ms", f"{1000 * seconds['labels']:.2f}", ""),
        ("metrics, ms", f"{1000 * seconds['metrics']:.2f}", ""),
    ]


def bench_render(count: int = 24, size: int = 128) -> list[tuple[str, str, str]]:
    """Rendered hands: capsules culled by their boxes against all capsules for all pixels."""
    indices = range(count)
    seconds = alternate(
        {
            "culled": lambda: render("studio", 0, indices, size, _device()),
            "all": lambda: render("studio", 0, indices, size, _device(), cull=False),
            "webcam": lambda: render("webcam", 0, indices, size, _device()),
        },
        rounds=3,
    )
    return [
        ("unculled / culled", f"{seconds['all'] / seconds['culled']:.1f}", "at least 2"),
        ("studio images/s", f"{count / seconds['culled']:.0f}", "about 120 on 2 quiet cores"),
        ("webcam images/s", f"{count / seconds['webcam']:.0f}", ""),
    ]


def bench_loading(count: int = 64, size: int = 256) -> list[tuple[str, str, str]]:
    """Augmented samples from cached arrays against the same steps by a library's transforms (torchvision on PIL)."""
    with tempfile.TemporaryDirectory() as cache:
        dataset = RenderedHands("studio", count, 0, size, cache=cache)
        options, threads = Augmentation(), torch.get_num_threads()
        library = v2.Compose(
            [
                v2.RandomRotation(180),
                v2.RandomResizedCrop(size, scale=(0.6, 1.0), ratio=(1.0, 1.0)),
                v2.ColorJitter(0.25, 0.25, 0.25),
                v2.GaussianBlur(5, (0.01, 0.8)),
                v2.PILToTensor(),
            ]
        )

        def ours() -> None:
            for i in range(count):
                rng = np.random.Generator(np.random.Philox(key=[0, i]))
                crop(dataset[i], (size, size), options, rng, range(21))

        def theirs() -> None:
            for i in range(count):
                library(Image.fromarray(dataset[i].image))

        torch.set_num_threads(1)  # as in a loader's worker
        seconds = alternate({"ours": ours, "library": theirs}, rounds=5)
        torch.set_num_threads(threads)
    return [
        ("library transforms / ours", f"{seconds['library'] / seconds['ours']:.2f}", "at least 2"),
        ("samples/s of one worker", f"{count / seconds['ours']:.0f}", "about 1,000"),
    ]


def bench_predict(count: int = 96, size: int = 256) -> list[tuple[str, str, str]]:
    """A folder of pictures through `keyshift predict` against the network alone, ResNet-18."""
    return predict_rows(_resnet18(size), count, _device(), alternate)


def bench_tables() -> list[tuple[str, str, str]]:
    """Large annotation files: the first and the second opening, and what a worker holds."""
    return table_rows()


def bench_votes(batch: int = 64, size: int = 176) -> list[tuple[str, str, str]]:
    """A2J (ResNet-50) and AWR (ResNet-18), 14 joints: decoding and densities against the network."""
    rows = _votes_rows("A2J", A2J(14, A2J.Options(input_size=[size, size])), batch)
    return rows + _votes_rows("AWR", AWR(14, AWR.Options(input_size=[size, size], downsample=4)), batch // 4)


def _votes_rows(name: str, model: PoseModel, batch: int, written_out: int = 2) -> list[tuple[str, str, str]]:
    """Decoding and one density with its gradient as shares of the network's time, and the formulas written out image
    by image and joint by joint, on the first `written_out` images for both sides."""
    model = model.to(_device()).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    sample = _depth_batch(batch, model)
    with torch.no_grad():
        votes = model(sample)
    assert votes.where is not None
    where, logits, goal = votes.where, votes.logits, votes.grid.targets(votes.mean(), 2.0)
    few = Votes(votes.grid, logits[:written_out], where[:written_out])

    def step() -> None:
        optimizer.zero_grad()
        torch.stack(list(model.loss(model(sample), sample).values())).sum().backward()
        optimizer.step()

    def forward() -> None:
        with torch.no_grad():
            model(sample)

    def density() -> None:
        leaves = logits.clone().requires_grad_(), where.clone().requires_grad_()
        divergence(Votes(votes.grid, *leaves), goal).backward()

    def direct() -> None:  # the weighted sum of the papers' equations, joint by joint
        for image in range(batch):
            for joint in range(14):
                weight = logits[image, :, joint].softmax(0)
                [(weight * where[image, :, joint, axis]).sum() for axis in range(3)]

    def tents() -> None:  # a density's definition: one tent per candidate, met with every cell
        axes = [(grid, axis) for grid in few.grid.marginals() for axis in range(len(grid.shape))]
        for image in range(written_out):
            for joint in range(14):
                weight = logits[image, :, joint].softmax(0)
                x, y, z = (
                    (1 - (where[image, :, joint, d, None] - g.axis(a, weight)).abs() / g.stride[a]).clamp_min(0)
                    for d, (g, a) in enumerate(axes)
                )
                (weight[:, None, None] * y[:, :, None] * x[:, None, :]).sum(0), (weight[:, None] * z).sum(0)

    sides: dict[str, Timed] = {"step": step, "forward": forward, "density": density, "decode": votes.mean}
    seconds = alternate(sides | {"direct": direct, "tents": tents, "few": few.log_densities}, rounds=3)
    share = (seconds["decode"] + seconds["density"]) / seconds["step"]
    return [
        (
            f"{name}, batch {batch}: decoding and density with its gradient / training step",
            f"{share:.1%}",
            "under 15 %",
        ),
        (f"{name}: decoding / forward", f"{seconds['decode'] / seconds['forward']:.2%}", "under 5 %"),
        (f"{name}: weighted sums joint by joint / decoding", f"{seconds['direct'] / seconds['decode']:.1f}", ""),
        (f"{name}: tents joint by joint / densities", f"{seconds['tents'] / seconds['few']:.1f}", ""),
    ]


def _depth_batch(batch: int, model: PoseModel) -> Labeled:
    width, height = model.input_size
    pictures, _ = _batches(batch, width)
    known = torch.ones(batch, 14, dtype=torch.bool, device=_device())
    return replace(
        pictures,
        inputs={
            "image": (torch.randn(batch, 1, height, width, device=_device()) * 60).clamp(-150, 150),
            "reach": torch.full((batch,), 150.0, device=_device()),
        },
        space=PIXELS_AND_MM,
        keypoints=torch.rand(batch, 14, 3, device=_device()) * width,
        visible=known,
        annotated=known,
    )


def _resnet18(size: int) -> PoseResNet:
    sizes: dict[str, Any] = {"input_size": [size, size], "heatmap_size": [size // 4, size // 4]}
    return PoseResNet(21, PoseResNet.Options(backbone="resnet18", **sizes))


def _batches(batch: int, size: int) -> tuple[Labeled, Unlabeled]:
    torch.manual_seed(0)
    source = pictures(batch, size).to(_device())
    return source, source.without_labels()


def _device() -> str:
    return choose_device("auto").type


def _wait() -> None:
    if _device() == "cuda":
        torch.cuda.synchronize()
    elif _device() == "mps":
        torch.mps.synchronize()
