"""`keyshift bench scale`: what more processes bring on this machine, by RegDA on a small network. Weak scaling gives
each process as many samples as one has alone, strong scaling a share of them."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric

from ...adapt.methods.regda import RegDA
from ...adapt.shared_norm import share_statistics
from ...adapt.strategy import Optimization
from ...adapt.trainer import updates
from ...datasets.sample import Labeled
from ...datasets.skeleton import HAND
from ...models.systems.pose_resnet import PoseResNet

COUNTS = (1, 2, 4, 8)
STEPS, ROUNDS = 3, 3
NETWORKS: dict[str, tuple[str, int, int, int]] = {"cpu": ("small", 32, 64, 16), "cuda": ("resnet50", 256, 256, 32)}
"""By the device: backbone, channels of the head, side of pictures, and samples of each domain in a batch."""


def rows(device: str) -> list[tuple[str, str, str]]:
    """For each number of processes that have a core or a GPU of their own: samples of both domains in a second, and the
    efficiency, 100 % where twice the processes do twice the work in a time. A process computes with one thread."""
    device = device if device in NETWORKS else "cpu"
    places = torch.cuda.device_count() if device == "cuda" else os.cpu_count() or 1
    counts = [count for count in COUNTS if count <= places]
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(work, (counts, device, folder), nprocs=counts[-1])
        seconds = json.loads(Path(folder, "seconds.json").read_text())
    batch = NETWORKS[device][3]
    made = []
    for kind, batches in (("strong", dict.fromkeys(counts, batch)), ("weak", {n: n * batch for n in counts})):
        rates = {count: 2 * whole / statistics.median(seconds[f"{kind} {count}"]) for count, whole in batches.items()}
        for count, rate in rates.items():
            what = f"{kind}: {count} process{'es' if count > 1 else ''}, batch {batches[count]} + {batches[count]}"
            made.append((what, f"{rate:.0f} samples/s, efficiency {rate / rates[1] / count:.0%}", ""))
    return made


def work(rank: int, counts: list[int], device: str, folder: str) -> None:
    """One of the processes: the numbers of them take turns, and those that are not asked wait. The first one writes the
    seconds of a step."""
    torch.set_num_threads(1)
    *_, size, whole = NETWORKS[device]
    turns = dist.FileStore(f"{folder}/turns", counts[-1])
    fabric = Fabric(accelerator=device, devices=[rank] if device == "cuda" else 1)
    strategy = network(device).to(fabric.device).train()
    share_statistics(strategy)
    taken: dict[str, list[float]] = {f"{kind} {count}": [] for kind in ("strong", "weak") for count in counts}
    for turn in range(ROUNDS):
        for count in counts:
            end = f"{turn} {count}"
            if rank < count:
                store = dist.FileStore(f"{folder}/{turn}-{count}", count)
                backend = "nccl" if device == "cuda" else "gloo"
                dist.init_process_group(backend, store=store, rank=rank, world_size=count)
                for kind, share in (("strong", count), ("weak", 1)):
                    own = pictures(whole // share, size).to(fabric.device)
                    taken[f"{kind} {count}"].append(timed(fabric, strategy, own))
                dist.destroy_process_group()
                turns.set(end, "") if rank == 0 else None
            turns.wait([end])
    if rank == 0:
        Path(folder, "seconds.json").write_text(json.dumps(taken))


def timed(fabric: Fabric, strategy: RegDA, source: Labeled) -> float:
    """Seconds of a step, after one that is not counted."""
    optimizers, target = strategy.optimizers(), source.without_labels()
    for step in range(STEPS + 1):
        if step < 2:
            wait()
            start = time.perf_counter()
        list(updates(fabric, strategy, optimizers, source, target))
    wait()
    return (time.perf_counter() - start) / STEPS


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    dist.barrier()


def network(device: str) -> RegDA:
    torch.manual_seed(0)
    backbone, channels, size, _ = NETWORKS[device]
    sizes: dict[str, Any] = {"input_size": [size, size], "heatmap_size": [size // 4, size // 4]}
    model = PoseResNet(21, PoseResNet.Options(backbone=backbone, channels=channels, **sizes))
    return RegDA(model, HAND, Optimization(rate=1e-3))


def pictures(batch: int, size: int) -> Labeled:
    """Random ones, with random labels of a hand."""
    known = torch.ones(batch, 21, dtype=torch.bool)
    return Labeled(
        inputs={"image": torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)},
        id=tuple(str(i) for i in range(batch)),
        sequence=("",) * batch,
        frame=torch.arange(batch),
        camera=torch.zeros(batch, 4),
        to_file=torch.eye(3)[:2].repeat(batch, 1, 1),
        side=torch.full((batch,), float(size)),
        keypoints=torch.rand(batch, 21, 2) * size,
        visible=known,
        annotated=known,
        image_index=torch.arange(batch),
    )
