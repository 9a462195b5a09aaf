"""Run folders: what they say they are, who holds them, and which weights of them count."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from ...datasets.reading.files import check_place, only_one, sweep, write_json, write_text
from ...models.saved import load_checkpoint
from ..config import differing, load_folder, of_comparison, of_run, read
from ..tracking.records import FILES
from .device import name_of

STREAM = "predictions.jsonl"
"""What a stream answers as it passes."""


def world_size() -> int:
    """How many processes torchrun started, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process's number under torchrun, known before Fabric launches."""
    return int(os.environ.get("RANK", "0"))


def home(folder: Path) -> Path:
    """Where the runs lie, with the store and the pretrained weights that they share; a run of a comparison lies one
    folder deeper."""
    return folder.parent.parent if (folder.parent / "config.yaml").exists() else folder.parent


def identity_of(run: Path | None) -> dict[str, Any]:
    """What a run folder says of its datasets, by side and part, and under FILES of others; empty where it says
    nothing."""
    file = None if run is None else run / "identity.json"
    return json.loads(file.read_text("utf-8")) if file is not None and file.is_file() else {}


def said_of(folder: Path) -> dict[str, Any]:
    """The configuration that a run's or comparison's folder says, in today's form, what it does not say by default."""
    config = load_folder(folder)
    single = "strategy" in read(folder / "config.yaml")
    return of_run(config, config.strategy, config.seed) if single else of_comparison(config)


def check_folder(folder: Path, config: dict[str, Any], identity: dict[str, Any]) -> None:
    """Raises ValueError where `folder` holds a run or comparison of another configuration, or of other contents of the
    files that it names, or what a stream left."""
    if (folder / STREAM).exists():
        raise ValueError(
            f"{folder} holds what a stream left (keyshift adapt --online), which passes once. Choose another folder "
            "with output=FOLDER (of adapt: --output), or pass --overwrite to delete it first"
        )
    differences = differing(said_of(folder), config) if (folder / "config.yaml").exists() else {}
    before, named = (content.get(FILES, {}) for content in (identity_of(folder), identity))
    for option in before.keys() & named.keys():
        if before[option] != named[option]:
            differences[f"the content of {option}"] = before[option], named[option]
    if differences:
        key, (was, now) = min(differences.items())
        raise ValueError(
            f"{folder} holds another run: {key} was {was!r}, now {now!r}. Choose another folder with "
            "output=FOLDER (of adapt: --output), or pass --overwrite to delete it first"
        )


def open_folder(folder: Path, config: dict[str, Any], identity: dict[str, Any], device: torch.device) -> None:
    """Write into `folder` what it is, what it was made on, and which samples its data has; or go on with it. Raises
    ValueError where it holds a run or comparison of another configuration."""
    check_folder(folder, config, identity)
    describe(folder, config, identity, device)


def describe(folder: Path, config: dict[str, Any], identity: dict[str, Any], device: torch.device) -> None:
    """Write into `folder` what it is, what it was made on, and which samples its data has. Pretrained weights need no
    more: their folder is named by all that it depends on."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    for name, content in (("environment", environment(device)), ("identity", identity)):
        if not (folder / f"{name}.json").exists():
            write_json(folder / f"{name}.json", content)


def environment(device: torch.device) -> dict[str, Any]:
    names = ("keyshift", "torch", "torchvision", "numpy", "lightning-fabric", "albumentations")
    return {name: version(name) for name in names} | {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "device": name_of(device),
        "threads": torch.get_num_threads(),
        "processes": world_size(),
    }


def threads_of(folder: Path) -> int | None:
    """With how many threads a run was begun; None where that is not said."""
    said: dict[str, int] = json.loads((folder / "environment.json").read_text("utf-8"))
    return said.get("threads")


@contextmanager
def locked(folder: Path, overwrite: bool = False, wait: bool = False) -> Iterator[None]:
    """Hold a run folder, emptied first with `overwrite`; the end of the process frees it, however it ends.

    Raises ValueError where another process holds it (or waits for that, with `wait`), and for a folder that holds
    anything else. Of several processes of one run the first holds it for all.
    """
    if rank() > 0:
        yield
        return
    check_place(folder)
    if folder.exists() and not (folder / "config.yaml").exists() and any(folder.glob("[!.]*")):
        raise ValueError(
            f"{folder} exists and is no run of keyshift; choose another folder with output=FOLDER (of adapt: --output)"
        )
    with only_one(folder, wait, "wait for it or choose another folder"):
        if overwrite:
            # config.yaml last: without it, and with other files, this would be no run that may be emptied
            for path in sorted(folder.iterdir(), key=lambda path: path.name == "config.yaml"):
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != ".lock":
                    path.unlink()
        sweep(folder)
        yield


@contextmanager
def opened(folder: Path, config: dict[str, Any], identity: dict[str, Any], overwrite: bool = False) -> Iterator[None]:
    """Hold a comparison's folder that says what it is (see `locked` and `open_folder`)."""
    with locked(folder, overwrite):
        open_folder(folder, config, identity, torch.device("cpu"))
        yield


def selected_weights(folder: Path, rule: str, selection: dict[str, Any]) -> Path:
    """The weights that a selection rule chose. Raises ValueError where they are not kept."""
    step = selection["steps"].get(rule)
    path = folder / f"weights-{step or 0:06d}.pt"
    if step is None or not path.exists():
        kept = sorted(p.name for p in folder.glob("weights-*.pt"))
        raise ValueError(f"{folder} keeps no weights for selection={rule} (kept: {', '.join(kept)}); train with it set")
    return path


def locate(model: Path) -> tuple[Path, Path | None]:
    """The weights file that MODEL means, and the run folder that it lies in.

    MODEL is a run folder (what it ships, or its selected weights) or a weights file. Raises ValueError for a
    comparison, naming its runs, and for anything else.
    """
    if model.is_file():
        return model, model.parent if (model.parent / "config.yaml").is_file() else None
    runs = sorted(path.parent.name for path in model.glob("*-seed*/config.yaml"))
    if runs:
        raise ValueError(
            f"{model} is a comparison; name one of its runs: {', '.join(f'{model}/{run}' for run in runs)}"
        )
    if (model / "model.pt").is_file():
        return model / "model.pt", model
    if not (model / "config.yaml").is_file():
        raise ValueError(f"no model {model}: expected a run folder (with a config.yaml in it) or a weights file (.pt)")
    if (model / STREAM).exists():
        raise ValueError(f"{model} holds a stream that did not end, so no model; its answers are in {model / STREAM}")
    state = load_checkpoint(model / "checkpoint.pt", ("selection",))["selection"]
    return selected_weights(model, load_folder(model).selection, state), model
