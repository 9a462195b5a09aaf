"""Checkpoints: written whole or not at all, and loaded without executing code."""

from __future__ import annotations

import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..datasets.reading.files import write_whole
from ..datasets.skeleton import Skeleton
from .pose_model import PoseModel
from .systems.a2j import A2J
from .systems.awr import AWR
from .systems.own import OwnModel, rebuild
from .systems.pose_resnet import PoseResNet

MODELS: dict[str, type[PoseModel]] = {"pose_resnet": PoseResNet, "a2j": A2J, "awr": AWR, "own": OwnModel}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """State dicts and plain data only."""
    write_whole(path, lambda file: torch.save(state, file))


def load_checkpoint(path: Path, expect: tuple[str, ...] = ()) -> dict[str, Any]:
    """Load with weights_only=True on the CPU. Raises ValueError for a missing, corrupt or foreign file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ValueError(f"no checkpoint at {path}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is corrupt or not a keyshift checkpoint: {reason}") from error
    if not isinstance(state, dict) or any(key not in state for key in expect):
        found = sorted(map(str, state))[:5] if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"{path} is not a keyshift checkpoint: expected {', '.join(expect)}, found {found}")
    return state


def save_model(path: Path, model: PoseModel, skeleton: Skeleton, step: int) -> None:
    """Weights with what it takes to build the network again: its name, its arguments, its keypoints."""
    name = next(name for name, kind in MODELS.items() if type(model) is kind)
    state = {"format": "keyshift model 1", "name": name, "architecture": model.architecture, "step": step}
    names = {"keypoints": list(skeleton.keypoints), "skeleton": asdict(skeleton)}
    save_checkpoint(path, state | names | {"model": model.state_dict()})


def load_model(path: Path) -> tuple[PoseModel, list[str]]:
    """The network and the names of its keypoints. Raises ValueError for a corrupt or foreign file."""
    model, names, _ = load_model_and_skeleton(path)
    return model, names


def load_model_and_skeleton(path: Path) -> tuple[PoseModel, list[str], Skeleton | None]:
    """The network, the names of its keypoints, and its skeleton, None in files of version 0.1.0, which hold none.

    Raises ValueError for a corrupt or foreign file.
    """
    state = load_checkpoint(path, ("format", "name", "architecture", "keypoints", "model"))
    if state["name"] not in MODELS:
        raise ValueError(f"{path} holds a {state['name']!r}; this keyshift knows {', '.join(MODELS)}")
    try:
        build = MODELS[state["name"]]
        model = rebuild(state["architecture"]) if build is OwnModel else build(**state["architecture"])
        model.load_state_dict(state["model"])
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not fit its own architecture: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path} cannot be built: {error}") from error
    names = list(state["keypoints"])
    try:
        skeleton = Skeleton(**state["skeleton"]) if "skeleton" in state else None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} holds a broken skeleton: {error}") from error
    if skeleton is not None and list(skeleton.keypoints) != names:
        raise ValueError(f"{path} holds a skeleton of {skeleton.keypoints}, but predicts {names}")
    return model, names, skeleton
