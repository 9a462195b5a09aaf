"""The networks of a chain: runs and weights of keyshift, and released checkpoints, told apart by what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ...datasets.bodies.skeletons import H36M18, MUCO21, body
from ...datasets.own.skeleton_file import skeleton_of
from ...datasets.reading.weights import read_content, unwrapped
from ...datasets.skeleton import Skeleton
from ...models.people import PersonModel
from ...models.saved import load_model
from ...models.systems import pose_net, root_net
from ...models.systems.pose_net import PoseNet
from ...models.systems.root_net import RootNet
from ...models.systems.root_pose_net import RootPoseNet
from .folder import locate

POSE_KEY, ROOT_KEY = "head.final_layer.weight", "root.xy_layer.weight"
"""Of which released checkpoints have one each."""
DEPTHS = 64
"""Cells along z of the released PoseNets."""
RELEASED = {len(known): known for known in (H36M18, MUCO21)}
"""What the joints of released PoseNets are, by their number: trained on Human3.6M, and on MuCo."""
PELVIS = body("root", ("pelvis",))


class Network(NamedTuple):
    """A trained network of a chain."""

    model: PersonModel
    skeleton: Skeleton
    weights: Path

    @property
    def root(self) -> str:
        """The name of the joint that its answers are of, or counted from."""
        assert self.skeleton.root is not None
        return self.skeleton.keypoints[self.skeleton.root]

    @property
    def kind(self) -> str:
        return type(self.model).__name__


def released(content: Any) -> type[PersonModel] | None:
    """Which network's released checkpoint the content of a file is; None for another file."""
    if not isinstance(content, Mapping) or "architecture" in content:
        return None
    keys = {POSE_KEY: PoseNet, ROOT_KEY: RootNet}
    return next((kind for key, kind in keys.items() if key in unwrapped(content, key)), None)


def open_network(path: Path, named: str | None = None) -> Network:
    """The network of a run folder, a weights file or a released checkpoint, in evaluation mode on the CPU; `named` is
    the skeleton of a released PoseNet, a known name or a YAML. Raises ValueError for other systems, and for a released
    PoseNet whose joints are not known."""
    weights, _ = locate(path)
    try:
        content = read_content(weights)
    except ValueError as error:
        raise ValueError(f"{weights} is no weights file: {error}") from error
    kind = released(content)
    if kind is not None:
        model, skeleton = _released(weights, content, kind, named)
    elif named is not None:
        raise ValueError(f"skeleton={named}: {path} says itself what its joints are; it is for released checkpoints")
    else:
        loaded, skeleton = load_model(weights)
        model = loaded.merged().eval()  # type: ignore[assignment]
        if not isinstance(model, PersonModel):
            raise ValueError(
                f"{path}: a chain is made of root_net, pose_net or root_pose_net, and this is {type(model).__name__}"
            )
    if skeleton.root is None:
        raise ValueError(
            f"{path}: its skeleton {skeleton.name!r} has no root, which z is counted from: "
            f"{', '.join(skeleton.keypoints)}"
        )
    return Network(model, skeleton, weights)


def _released(
    path: Path, content: Mapping[str, Tensor], kind: type[PersonModel], named: str | None
) -> tuple[PersonModel, Skeleton]:
    if kind is RootNet:
        return root_net.load_reference(content), PELVIS
    model = pose_net.load_reference(content, depth_cells=_cells(path, content))
    skeleton = RELEASED.get(model.keypoints) if named is None else skeleton_of(named)
    if skeleton is None or len(skeleton) != model.keypoints:
        about = "" if named is None else f", and {named} has {0 if skeleton is None else len(skeleton)}"
        known = " and ".join(f"{count} ({each.name})" for count, each in RELEASED.items())
        raise ValueError(
            f"{path}: a released PoseNet of {model.keypoints} joints{about}; known are {known}. Name them: "
            "skeleton=FILE.yaml, with keypoints in the order of the network's (docs/labels.md)"
        )
    if skeleton.root is None:
        raise ValueError(
            f"{named}: the skeleton has no root, which z is counted from: a pelvis or wrist among its keypoints, or "
            "root= in the YAML"
        )
    return model.know(skeleton), skeleton


def _cells(path: Path, content: Mapping[str, Tensor]) -> int:
    outputs = len(unwrapped(content, POSE_KEY)[POSE_KEY])
    if outputs % DEPTHS:
        raise ValueError(f"{path}: {outputs} maps are no volumes of {DEPTHS} cells, as released PoseNets have them")
    return DEPTHS


class Networks(NamedTuple):
    """What a chain runs: at least one of the two."""

    pose: Network | None
    root: Network | None
    """None where the pose network tells roots, or a file has them."""

    @property
    def each(self) -> tuple[Network, ...]:
        """In the order in which they look at a person."""
        return tuple(one for one in (self.root, self.pose) if one is not None)

    @property
    def skeleton(self) -> Skeleton:
        last = self.pose or self.root
        assert last is not None
        return last.skeleton


def open_networks(model: Path, root: Path | None, given: bool, named: str | None = None) -> Networks:
    """The networks MODEL and ROOT; `given`: roots are known already. Raises ValueError for networks that make no
    chain."""
    first = open_network(model, named)
    if isinstance(first.model, RootNet):
        if root is not None or given:
            raise ValueError(f"{model} is a RootNet; name a PoseNet as MODEL, and it as --root {model}")
        return Networks(None, first)
    second = None if root is None else open_network(root)
    if second is None and not given and not isinstance(first.model, RootPoseNet):
        raise ValueError(
            f"{model}: {first.kind} answers relative to the {first.root}, and nothing says where that is. Give --root "
            "ROOT: a RootNet (run, weights file, released checkpoint), or a file of roots that keyshift predict ROOT "
            "wrote"
        )
    if second is not None:
        if not isinstance(second.model, RootNet):
            raise ValueError(f"--root {root}: expected a RootNet, and this is {second.kind}")
        if second.root != first.root:
            raise ValueError(
                f"{model} answers relative to the {first.root}, and {root} tells where the {second.root} is: the two "
                "networks need the same root"
            )
    return Networks(first, second)
