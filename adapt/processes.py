"""The few things that several processes do together; each is the identity in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Batch = TypeVar("Batch")
Answer = TypeVar("Answer")


def together() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather(values: Tensor, ragged: bool = False) -> Tensor:
    """`values` of all processes along the first axis, without gradient; `ragged` where it may differ in length."""
    if not together():
        return values.detach()
    own, count = values.detach().contiguous(), dist.get_world_size()
    lengths = [len(own)] * count
    if ragged:
        dist.all_gather_object(lengths, len(own))
        own = torch.cat([own, own.new_zeros(max(lengths) - len(own), *own.shape[1:])])
    parts = [torch.empty_like(own) for _ in range(count)]
    dist.all_gather(parts, own)
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])


def joined(values: Tensor) -> Tensor:
    """`values` of all processes along the first axis. Gradients reach the own ones, as many times as there are
    processes: their mean over the processes is then that of the whole."""
    if not together():
        return values
    count, rank = dist.get_world_size(), dist.get_rank()
    parts = list(gather(values).chunk(count))
    parts[rank] = values + (count - 1) * (values - values.detach())
    return torch.cat(parts)


def uniform(count: int, *rest: int, device: torch.device) -> Tensor:
    """Draws from [0, 1) (count, *rest): of those that one process draws for the whole batch this one's share, since all
    are seeded alike in a step."""
    rank, processes = (dist.get_rank(), dist.get_world_size()) if together() else (0, 1)
    return torch.rand(processes * count, *rest, device=device)[rank * count : (rank + 1) * count]


def average(values: Tensor) -> Tensor:
    """The mean of `values` over the processes."""
    if together():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values


def any_process(flag: bool) -> bool:
    """Whether any process says so."""
    if not together():
        return flag
    flags: list[bool] = [False] * dist.get_world_size()
    dist.all_gather_object(flags, flag)
    return any(flags)


def shared(batches: Iterable[Batch], answer: Callable[[Batch], Answer]) -> list[Answer]:
    """What `answer` makes of each of the batches, in their order, for every process. They share the work where batches
    are read by their numbers; through an iterator each passes by itself."""
    if not together() or isinstance(batches, Iterator):
        return [answer(batch) for batch in batches]
    numbered: Any = batches
    processes = dist.get_world_size()
    own = [answer(numbered[number]) for number in range(dist.get_rank(), len(numbered), processes)]
    parts: list[list[Answer]] = [[]] * processes
    dist.all_gather_object(parts, own)
    return [parts[number % processes][number // processes] for number in range(len(numbered))]


def of_first(value: Any) -> Any:
    """What the first process has: plain data."""
    values = [value]
    if together():
        dist.broadcast_object_list(values, 0)
    return values[0]


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its mean over the processes: one flat all-reduce."""
    if not together():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    average(flat)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def broadcast_buffers(module: torch.nn.Module) -> None:
    """Give every process the first one's buffers (batch-norm statistics), so that going on equals resuming."""
    if together():
        for buffer in module.buffers():
            if buffer.numel():
                dist.broadcast(buffer, 0)


def leave() -> None:
    """Part from the other processes at the end of a run: a listening thread that is left can abort Python's exit."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
