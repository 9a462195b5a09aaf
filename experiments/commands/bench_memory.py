"""Time and peak memory of two ways to do one thing: what `keyshift bench` says of volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

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
    """Both ways in turn. What a run leaves behind for the next (gradients, an optimizer's state) stands from a first
    run that is not counted; a step that wants gradients counted frees them itself before it starts."""
    seconds = alternate({"first": first, "second": second}, rounds)
    return Compared((seconds["first"], seconds["second"]), (peak_bytes(first, device), peak_bytes(second, device)))


def peak_bytes(run: Step, device: str) -> int:
    """The most that torch's allocator holds during a run beyond what it held before: on a GPU as its allocator counts,
    on the CPU summed up from the profiler's record of what was taken and given back.

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
