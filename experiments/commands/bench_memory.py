"""`keyshift bench volumes`: time and peak memory of two ways to do one thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from ...adapt.methods.baselines import SourceOnly
from ...adapt.methods.pseudo_labels import ground_false, ground_truth
from ...adapt.methods.regda import RegDA
from ...adapt.strategy import Optimization, Strategy
from ...datasets.sample import ROOT_MM, Labeled, Unlabeled
from ...datasets.skeleton import Skeleton
from ...models.output import Grid, Poses, Votes, divergence, spatial_kl
from ...models.parts.lazy_maps import whole
from ...models.parts.soft_argmax import direct_soft_argmax, soft_argmax
from ...models.people import CELL
from ...models.systems.pose_net import PoseNet

JOINTS, SIDE = 18, 64
"""Of PoseNet's volumes."""
Step = Callable[[], object]


class Compared(NamedTuple):
    """Of two ways: median seconds, and the most bytes that a run holds beyond what was there before it."""

    seconds: tuple[float, float]
    bytes: tuple[int, int]

    @property
    def time(self) -> float:
        """Seconds of the first as a multiple of the second's."""
        return self.seconds[0] / self.seconds[1]

    @property
    def memory(self) -> float:
        """Bytes of the first as a multiple of the second's."""
        return self.bytes[0] / self.bytes[1]

    def rows(self, name: str, ways: tuple[str, str], claim: str = "") -> list[tuple[str, str, str]]:
        """Lines of `keyshift bench`'s table; `claim` is about memory."""
        own, other = ways
        mega = " / ".join(f"{count / 2**20:.0f}" for count in self.bytes)
        return [
            (f"{name}: seconds, {own} / {other}", f"{self.time:.2f}", ""),
            (f"{name}: peak memory, {own} / {other}", f"{self.memory:.2f} ({mega} MB)", claim),
        ]


def compared(
    first: Step, second: Step, device: str, alternate: Callable[..., dict[str, float]], rounds: int = 5
) -> Compared:
    """Both ways in turn: functions that leave nothing behind, or training steps, whose optimizers' states stand from
    runs before and are not counted."""
    seconds = alternate({"first": first, "second": second}, rounds)
    return Compared((seconds["first"], seconds["second"]), (peak_bytes(first, device), peak_bytes(second, device)))


def peak_bytes(run: Step, device: str) -> int:
    """The most that torch's allocator holds during a run beyond what it held before: on a GPU as its allocator counts,
    on the CPU summed up from the profiler's record of what was taken and given back. There what was taken before the
    record began is not seen to be given back: gradients that a training step makes anew count.

    Raises ValueError on other devices, whose allocators do not tell.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    if device != "cpu":
        raise ValueError(
            f"peak memory can be measured on cpu and cuda, not on {device}: choose one of them by `device`"
        )
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    assert record.profiler is not None
    changes = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = highest = 0
    for change in sorted(changes, key=lambda event: event.start_ns()):
        held += change.nbytes()
        highest = max(highest, held)
    return highest


def rows(batch: int, device: str, alternate: Callable[..., dict[str, float]]) -> list[tuple[str, str, str]]:
    """A volume's mean, and RegDA's divergence from ground false, both with their gradients: lean against direct. On the
    CPU by one thread, because many short calls wait for each other's threads where a machine is busy."""
    torch.manual_seed(0)
    maps = torch.randn(batch, JOINTS, SIDE, SIDE, SIDE, device=device).requires_grad_()
    incoming = torch.randn(batch, JOINTS, 3, device=device)
    votes = Votes.from_maps(Grid((SIDE,) * 3, (4.0, 4.0, 31.25), (2.0, 2.0, -984.375)), maps)
    poses = Poses.of_crops(torch.rand(batch, JOINTS, 3, device=device) * 200, torch.ones(batch, JOINTS, device=device))

    def mean(form: Callable[[Tensor], Tensor]) -> Step:
        return lambda: torch.autograd.grad((form(maps) * incoming).sum(), maps)

    def lean() -> object:
        return torch.autograd.grad(divergence(votes, ground_false(ground_truth(votes, poses)), epsilon=1e-7), maps)

    def dense() -> object:
        (goal,) = ground_false(tuple(whole(part) for part in ground_truth(votes, poses)))
        return torch.autograd.grad(spatial_kl(votes.log_density(), whole(goal), epsilon=1e-7), maps)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    means = compared(mean(soft_argmax), mean(direct_soft_argmax), device, alternate)
    divergences = compared(lean, dense, device, alternate)
    torch.set_num_threads(threads)
    logits = maps.numel() * maps.element_size()
    beyond = [" / ".join(f"{count / logits - 1:.1%}" for count in each.bytes) for each in (means, divergences)]
    of = f"of {JOINTS} joints, {SIDE}^3, batch {batch}"
    return [
        *means.rows(f"3D soft-argmax {of}", ("lean", "direct"), "at most 0.4"),
        ("the same beyond logits and their gradient, share of the logits", beyond[0], "lean: under 5 %"),
        *divergences.rows(f"divergence from ground false {of}", ("lean", "dense")),
        ("the same beyond logits and their gradient, share of the logits", beyond[1], ""),
    ]


def adversary_rows(
    batch: int,
    device: str,
    iteration: Callable[[Strategy, Labeled, Unlabeled], Step],
    alternate: Callable[..., dict[str, float]],
    backbone: str = "resnet18",
    size: int = 256,
    rounds: int = 3,
) -> list[tuple[str, str, str]]:
    """A whole RegDA iteration on PoseNet, optimisers and all, against a supervised one on as many source samples."""
    torch.manual_seed(0)
    source = in_space(batch, size).to(device)
    skeleton = Skeleton("bench", tuple(f"joint {i}" for i in range(JOINTS)), root=0, extent=2000.0)

    def step(kind: type[Strategy]) -> Step:
        options = PoseNet.Options(input_size=[size, size], backbone=backbone, depth_cells=size // CELL)
        model = PoseNet(JOINTS, options).know(skeleton)
        strategy = kind(model, skeleton, Optimization(rate=1e-3), options=kind.Options()).to(device).train()
        run = iteration(strategy, source, source.without_labels())
        run()  # the optimiser's state is there from now on
        return run

    measured = compared(step(RegDA), step(SourceOnly), device, alternate, rounds)
    of = f"RegDA on PoseNet ({backbone}, {JOINTS} joints, {size // CELL}^3), batch {batch} + {batch}"
    return measured.rows(of, ("iteration", "supervised"), "at most 2")


def in_space(batch: int, size: int) -> Labeled:
    """Noise with poses (batch, JOINTS, 3) relative to a root, all of them known."""
    known, high = torch.ones(batch, JOINTS, dtype=torch.bool), torch.tensor([size, size, 1800.0])
    return Labeled(
        inputs={
            "image": torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8),
            "extent": torch.full((batch,), 2000.0),
        },
        id=("",) * batch,
        sequence=("",) * batch,
        frame=torch.arange(batch),
        camera=torch.ones(batch, 4),
        to_file=torch.eye(4)[:3].repeat(batch, 1, 1),
        side=torch.full((batch,), float(size)),
        space=ROOT_MM,
        keypoints=torch.rand(batch, JOINTS, 3) * high - torch.tensor([0.0, 0.0, 900.0]),
        visible=known,
        annotated=known,
        image_index=torch.arange(batch),
        deep=known,
    )
