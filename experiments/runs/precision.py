"""How a run computes, where that is left to keyshift: in which precision, and in which memory order of pictures. It is
settled once, before anything is known by it, and stands in the run folder: a run goes on as it began, on whatever
machine, and all runs of a comparison compute alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch.nn import functional

from ..config import AUTO, Config, load_folder
from .device import choose_device, threads

SINGLE, HALF = "32-true", "bf16-mixed"
FASTER = 0.8
"""The share of float32's time from which on bf16 is worth it. Where it is imitated it takes longer than float32, and in
hardware 0.6 of its time or less, so that the same machine settles on the same."""
ROUNDS = 5


def settled(config: Config, folder: Path, overwrite: bool, say: Callable[[str], None]) -> Config:
    """The configuration of a run in `folder` with what it leaves open as the folder says, unless that is deleted first
    (`overwrite`), or as this machine is faster; what is chosen is said."""
    goes_on = (folder / "config.yaml").is_file() and not overwrite
    began = load_folder(folder) if goes_on else config
    precision = began.precision if config.precision == AUTO else config.precision
    layout = began.channels_last if config.channels_last is None else config.channels_last
    if precision == AUTO:
        device = choose_device(config.device)
        precision = fastest(device)
        say(f"precision={precision}: {reason(device)}")
    return replace(config, precision=precision, channels_last=True if layout is None else layout)


def fastest(device: torch.device) -> str:
    """The precision of auto on a device."""
    return HALF if share_of_time(device) <= FASTER else SINGLE


def reason(device: torch.device) -> str:
    """Why it is that one, in words."""
    share = share_of_time(device)
    if share == float("inf"):
        return f"this {device.type} has no bf16 arithmetic"
    asked = SINGLE if share <= FASTER else HALF
    return (
        f"a convolution in bf16 takes {share:.2f} of its time in float32 here (to ask for the other: precision={asked})"
    )


@cache
def share_of_time(device: torch.device) -> float:
    """The time of a convolution and its gradient in bf16 as a share of that in float32, measured in turns within half a
    second, once in a process; infinite on a GPU that has no bf16. Draws no random numbers.

    On a processor it is the time that one thread computes: that of the clock hangs on what else the machine does, by
    which the same command would compute otherwise the next time.
    """
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return float("inf")
    if device.type not in ("cuda", "cpu"):
        return float("inf")
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    image = torch.linspace(-1, 1, 8 * 128 * 32 * 32, device=device).view(8, 128, 32, 32)
    weight = torch.linspace(-1, 1, 128 * 128 * 9, device=device).view(128, 128, 3, 3)
    image, weight = (one.contiguous(memory_format=torch.channels_last) for one in (image, weight))
    weight.requires_grad_()
    best = dict.fromkeys((False, True), float("inf"))
    with threads(1):
        for half in [*best] * ROUNDS:
            began = clock()
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                maps = functional.conv2d(image, weight, padding=1)
            torch.autograd.grad(maps.float().sum(), weight)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best[half] = min(best[half], clock() - began)
    return best[True] / best[False]
