"""Where networks run: what `device` means to train, adapt, evaluate, predict and bench alike."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

DEVICES = "auto, cpu, cuda, cuda:1, mps"
"""What is said, for example."""


def choose_device(device: str) -> torch.device:
    """`auto` is a GPU of CUDA, else Apple's (mps), else the CPU. Raises ValueError for what torch does not see here."""
    seen = visible()
    if device == "auto":
        return torch.device(seen[0].partition(":")[0])
    if device in seen or (device == "cuda" and "cuda:0" in seen):
        return torch.device(device)
    if not re.fullmatch(r"mps|cuda(:\d+)?", device):
        raise ValueError(f"device={device!r} is not known; choose one of {DEVICES}")
    gpu = "no GPU" if seen == ["cpu"] else ", ".join(seen[:-1])
    raise ValueError(f"device={device}: torch sees {gpu} here; use device=auto or device={seen[0]}")


def visible() -> list[str]:
    """The devices that torch sees, the best first."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    apple = ["mps"] if torch.backends.mps.is_available() else []
    return [*(f"cuda:{n}" for n in range(gpus)), *apple, "cpu"]


def name_of(device: torch.device) -> str:
    """As a run's environment.json says it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Within it torch computes with `count` threads; None: with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def repeatable(device: torch.device) -> None:
    """Let what is computed on `device` give the same bits each time, so that a run which was killed ends as one that
    was not. On CUDA operations are then the deterministic ones; torch warns where there is none, as of sampling by a
    grid that learns (rmpe) and deformable convolutions, whose runs go on alike but not to the bit."""
    torch.backends.cudnn.deterministic = True
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # it only costs time
        torch.use_deterministic_algorithms(True, warn_only=True)
