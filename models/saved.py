"""The pose systems by name, and their weights as files: written whole or not at all, loaded without executing code.

A new system is a file in systems/ and a line in MODELS.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ..datasets.bodies.skeletons import body
from ..datasets.depth.sets import HANDS2017, ICVL, ITOP, MSRA, NYU
from ..datasets.options import choose, make
from ..datasets.own.skeleton_file import KNOWN
from ..datasets.reading.files import write_whole
from ..datasets.reading.weights import check_finite, read_content
from ..datasets.registry import Registry
from ..datasets.rendered.body_anatomy import UPPER_BODY
from ..datasets.sides import completed
from ..datasets.skeleton import Skeleton
from .pose_model import PoseModel

MODELS: Registry[type[PoseModel]] = Registry(
    __name__,
    {
        "pose_resnet": "systems.pose_resnet:PoseResNet",
        "vitpose": "systems.vitpose:ViTPose",
        "dsnt": "systems.dsnt:DSNT",
        "fast_pose": "systems.fast_pose:FastPose",
        "rmpe": "systems.rmpe:RMPE",
        "prtr": "systems.prtr:PRTR",
        "prtr_people": "systems.prtr_people:PRTRPeople",
        "higher_hrnet": "systems.higher_hrnet:HigherHRNet",
        "dekr": "systems.dekr:DEKR",
        "dcpose": "systems.dcpose:DCPose",
        "a2j": "systems.a2j:A2J",
        "awr": "systems.awr:AWR",
        "root_net": "systems.root_net:RootNet",
        "pose_net": "systems.pose_net:PoseNet",
        "root_pose_net": "systems.root_pose_net:RootPoseNet",
        "dsnt_3d": "systems.dsnt:DSNT3D",
        "li_chan": "systems.li_chan:LiChan",
        "li_chan_3d": "systems.li_chan:LiChan3D",
        "anatomy3d": "systems.anatomy3d:Anatomy3D",
        "own": "systems.own:OwnModel",
    },
)
SKELETONS = (*KNOWN.values(), UPPER_BODY, NYU, ICVL, MSRA, HANDS2017, ITOP)
"""Those that a weights file which holds names alone is looked up in."""
OWN = "Weights of a network of your own are named in a YAML: model.name=own, model.file, model.object, model.weights"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """State dicts and plain data only."""
    write_whole(path, lambda file: torch.save(state, file))


def load_checkpoint(path: Path, expect: tuple[str, ...] = (), remedy: str = "") -> dict[str, Any]:
    """Load with weights_only=True on the CPU. Raises ValueError for a missing, corrupt or foreign file, with what to do
    as `remedy`; by default it is of weights."""
    if not path.exists():
        raise ValueError(f"no checkpoint at {path}" + (f". {remedy}" if remedy else ""))
    try:
        state = read_content(path)
    except ValueError as error:
        raise ValueError(f"{path} is corrupt or not a keyshift checkpoint: {error}") from error
    if not isinstance(state, dict) or any(key not in state for key in expect):
        content = sorted(map(str, state))[:5] if isinstance(state, dict) else type(state).__name__
        raise ValueError(
            f"{path} is not a keyshift checkpoint: expected {', '.join(expect)}, found {content}. {remedy or OWN}"
        )
    return state


def save_model(path: Path, model: PoseModel, skeleton: Skeleton, step: int) -> None:
    """Weights with what it takes to build the network again: its name, its options, its skeleton."""
    name = MODELS.name_of(type(model))
    state = {"format": "keyshift model 2", "name": name, "architecture": model.architecture, "step": step}
    save_checkpoint(path, state | {"skeleton": asdict(skeleton), "model": model.state_dict()})


def load_model(path: Path) -> tuple[PoseModel, Skeleton]:
    """The network and its skeleton. Raises ValueError for a corrupt or foreign file, or one that cannot be built."""
    state = load_checkpoint(path, ("format", "name", "architecture", "model"))
    skeleton = _skeleton(path, state)
    try:
        choose(f"{path} holds a system that this keyshift does not know: name", state["name"], list(MODELS))
        kind = MODELS[state["name"]]
        options = make(kind.Options, _options(state), str(path), "model.")
        model = kind.rebuild(len(skeleton), options).know(skeleton).with_adapters(options.adapters)
    except ValueError as error:
        raise ValueError(f"{path} cannot be built: {error}") from error
    try:
        model.load_state_dict(state["model"])
        check_finite(state["model"])
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path} does not fit its own architecture: {reason}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return model, skeleton


def known_skeleton(names: tuple[str, ...]) -> Skeleton:
    """The first known skeleton that has all of `names`, reduced to them; else the bones that the names tell."""
    for known in SKELETONS:
        if set(names) <= set(known.keypoints):
            return known.select(names)
    return body("keypoints", names)


def _options(state: dict[str, Any]) -> Any:
    """The system's options. Files of version 0.1.0 hold the number of keypoints among them, and null where a head had
    its usual number of layers."""
    options = state["architecture"]
    if state["format"] == "keyshift model 1" and isinstance(options, dict):
        return {key: value for key, value in options.items() if key != "keypoints" and (key, value) != _USUAL_HEAD}
    return options


_USUAL_HEAD = ("head_layers", None)


def _skeleton(path: Path, state: dict[str, Any]) -> Skeleton:
    """Files of version 0.1.0 hold the names of the keypoints beside it, and the first of them these alone. Later ones
    may lack what has no partner in a mirrored picture."""
    try:
        if "skeleton" not in state:
            return known_skeleton(tuple(state["keypoints"]))
        skeleton = Skeleton(**state["skeleton"])
        if "unpaired" not in state["skeleton"]:
            pairs, unpaired = completed(skeleton.keypoints, skeleton.flip_pairs)
            skeleton = replace(skeleton, flip_pairs=pairs, unpaired=unpaired)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} holds a broken skeleton: {error}") from error
    names = list(state.get("keypoints", skeleton.keypoints))
    if list(skeleton.keypoints) != names:
        raise ValueError(f"{path} holds a skeleton of {skeleton.keypoints}, but predicts {names}")
    return skeleton
