"""`keyshift bench strategies`: what a step of each strategy costs, in time and in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ...adapt.scoring.evaluation import everyone
from ...adapt.strategies import STRATEGIES, suited
from ...adapt.strategy import Optimization
from ...datasets.augment import Augmentation
from ...datasets.loading import TrainingBatches
from ...datasets.rendered.hands import RenderedHands
from ...datasets.skeleton import HAND
from ...models.systems.pose_resnet import PoseResNet

SIZE = 64
Step = Callable[[], object]


def steps(batch: int, device: str, iteration: Callable[..., Step]) -> dict[str, Step]:
    """One iteration of each strategy, without files, by name, on a small heatmap network and rendered hands."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"input_size": [SIZE, SIZE], "heatmap_size": [SIZE // 4, SIZE // 4]}
    model = PoseResNet(21, PoseResNet.Options(backbone="small", channels=64, head_layers=2, sigma=1.0, **sizes))
    made = {}
    with tempfile.TemporaryDirectory() as cache:
        sides = {
            domain: RenderedHands(style, 2 * batch, 0, SIZE, cache=cache)
            for domain, style in (("source", "studio"), ("target", "webcam"))
        }
        for name in suited(model.reads):
            kind = STRATEGIES[name]
            strategy = kind(deepcopy(model), HAND, Optimization("adam", 1e-4)).to(device).train()
            drawn = {
                domain: TrainingBatches(
                    *(dataset, domain, 0, batch, (SIZE, SIZE), Augmentation()),
                    domain == "source" or kind.labelled_target,
                    strategy.views[domain],
                )[0].to(device)
                for domain, dataset in sides.items()
            }
            strategy.see_source([drawn["source"]].copy)
            if strategy.round_length():
                cut = batch, (SIZE, SIZE), Augmentation(), torch.device(device)
                strategy.begin_round(everyone(strategy.predictor, sides["target"], *cut))
            made[name] = iteration(strategy, drawn["source"], drawn["target"])
    return made


@contextmanager
def kept_for_backward() -> Iterator[list[int]]:
    """A list that, at the end, holds one number: the bytes of the tensors that were kept for backward passes within."""
    storages: dict[int, int] = {}
    total: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield total
    total.append(sum(storages.values()))


def rows(
    batch: int, device: str, iteration: Callable[..., Step], alternate: Callable[..., dict[str, float]]
) -> list[tuple[str, str, str]]:
    """(strategy, time and memory as multiples of a supervised step's, no claim)."""
    sides = steps(batch, device, iteration)
    seconds = alternate(sides, rounds=15)
    memory = {}
    for name, step in sides.items():
        with kept_for_backward() as kept:
            step()
        memory[name] = kept[0]
    base = "source_only"
    return [
        (name, f"{seconds[name] / seconds[base]:.2f} x the time, {memory[name] / memory[base]:.1f} x what is kept", "")
        for name in sides
    ]
