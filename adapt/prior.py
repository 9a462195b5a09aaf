"""A prior of poses: a network that says how far a pose is from those that bodies take, read from its bones' directions.

Raychaudhuri et al., "Prior-guided Source-free Domain Adaptation for Human Pose Estimation" (POST), ICCV 2023, after
Pose-NDF (Tiwari et al., ECCV 2022); driptaRC/POST @ 42e1186, prior/models.py and prior/create_data.py. Bone i's
features are f_i = MLP_i(direction_i, f_parent), the distance is an MLP of all of them together. It learns from poses of
labels, whose distance is 0, and from perturbed ones, whose distance is the mean to the nearest clean poses,
    d(p, q) = mean over bones |p_i - q_i|.

Against the reference: a perturbation turns each bone by its angle (there arccos and arcsin are taken apart, which
mirrors some bones first: `noise=reference`); the nearest poses are the exact ones, not the best of 500 candidates; and
the network is fitted before its last ReLU, which gives no gradient to one that is negative everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ..datasets import options as owned
from ..datasets.options import option
from ..datasets.skeleton import Skeleton
from ..models.saved import load_checkpoint, save_checkpoint
from .anatomy import Bones, orientations, parents_of

CONCENTRATIONS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Of the von Mises noise; pose i takes the one at i modulo their number."""
STAGES = ((0.2, 0.5), (0.27, 0.3), (0.53, 0.0))
"""(share of the updates, smallest distance of the perturbed poses) of each; clean poses join in the last one."""
FORMAT = "keyshift prior 1"


@dataclass(frozen=True)
class PriorOptions(owned.Options):
    """How a prior is trained. The reference: 375 epochs of 1000 updates, batch 1024."""

    poses: int = option(4000, "labelled poses at most, spread over the set", low=20)
    updates: int = option(2000, "over all three stages", low=1)
    batch: int = option(256, "poses of an update", low=2)
    rate: float = option(3e-4, "Adam's learning rate", low=0)
    width: int = option(512, "of the hidden layers", low=1)
    neighbours: int = option(5, "clean poses that a perturbed one is compared with", low=1)
    noise: str = option("rotation", "reference: arccos and arcsin apart, 2D alone", choices=("rotation", "reference"))
    seed: int = option(0, "of weights, noise and batches", low=0)


class PosePrior(nn.Module):
    """Directions (P, E, D) of the bones to a distance (P,), at least 0.

    `bones` are pairs of joints; `parents` the bone that each hangs on, -1 of a root (default: the tree that grows from
    the first bone).
    """

    parents: Tensor

    def __init__(
        self, bones: Bones, dims: int = 2, width: int = 512, features: int = 6, parents: list[int] | None = None
    ) -> None:
        super().__init__()
        self.bones, self.dims, self.width, self.features = tuple(bones), dims, width, features
        parents = parents_of(bones) if parents is None else parents
        depth = [_depth(parents, bone) for bone in range(len(bones))]
        self.levels = max(depth, default=-1) + 1
        for level in range(self.levels):  # bones of one level are one batched product
            index = torch.tensor([bone for bone in range(len(bones)) if depth[bone] == level])
            self.register_buffer(f"level{level}", index, persistent=False)
        # a root hangs on the last row, which stays empty
        self.register_buffer("parents", torch.tensor(parents) % (len(bones) + 1), persistent=False)
        hidden = dims + features
        self.inner = nn.Parameter(torch.empty(len(bones), hidden, hidden).uniform_(-1, 1) / hidden**0.5)
        self.inner_bias = nn.Parameter(torch.empty(len(bones), hidden).uniform_(-1, 1) / hidden**0.5)
        self.outer = nn.Parameter(torch.empty(len(bones), features, hidden).uniform_(-1, 1) / hidden**0.5)
        self.outer_bias = nn.Parameter(torch.empty(len(bones), features).uniform_(-1, 1) / hidden**0.5)
        sizes = [len(bones) * features, *[width] * 5, 1]
        self.layers = nn.ModuleList(weight_norm(nn.Linear(a, b)) for a, b in pairwise(sizes))

    def encode(self, directions: Tensor) -> Tensor:
        """Features (P, E * features) of directions (P, E, D), along the tree."""
        rows = directions.new_zeros(len(directions), len(self.bones) + 1, self.features)
        for level in range(self.levels):
            bones = self.get_buffer(f"level{level}")
            given = torch.cat([directions[:, bones], rows[:, self.parents[bones]]], -1)
            inner = torch.einsum("pei,eoi->peo", given, self.inner[bones]) + self.inner_bias[bones]
            outer = torch.einsum("pei,eoi->peo", inner.relu(), self.outer[bones]) + self.outer_bias[bones]
            rows = rows.index_copy(1, bones, outer.relu().to(rows.dtype))
        return rows[:, :-1].flatten(1)

    def forward(self, directions: Tensor, rectified: bool = True) -> Tensor:
        """Distances (P,); with `rectified` false before the last ReLU, as they are fitted."""
        values = self.encode(directions)
        for layer in self.layers[:-1]:
            values = layer(values).relu()
        distance = self.layers[-1](values).squeeze(-1)
        return distance.relu() if rectified else distance


def _depth(parents: list[int], bone: int) -> int:
    return 0 if parents[bone] < 0 else 1 + _depth(parents, parents[bone])


def angles(poses: int, bones: int, random: np.random.Generator | np.random.RandomState) -> np.ndarray:
    """Von Mises angles (poses, bones) around 0, radians, of the CONCENTRATIONS in turn."""
    kappa = np.resize(CONCENTRATIONS, poses)[:, None]
    return random.vonmises(0.0, kappa, (poses, bones))


def turned(directions: Tensor, angle: Tensor, other: Tensor | None = None) -> Tensor:
    """Directions (P, E, D) turned by angles (P, E); in 3D towards the random vectors `other` (P, E, 3)."""
    if other is None:
        side = torch.stack([-directions[..., 1], directions[..., 0]], -1)
    else:
        away = other - (other * directions).sum(-1, keepdim=True) * directions
        side = away / away.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    return directions * angle.cos().unsqueeze(-1) + side * angle.sin().unsqueeze(-1)


def reference_turned(directions: Tensor, angle: Tensor) -> Tensor:
    """What the reference adds to 2D directions (P, E, 2) by angles (P, E), before it normalises: arccos of x and arcsin
    of y forget the quadrant, so that this is no rotation."""
    x, y = directions.unbind(-1)
    return torch.stack([torch.cos(torch.arccos(x) + angle), torch.sin(torch.arcsin(y) + angle)], -1)


def nearest(poses: Tensor, clean: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` smallest mean distances of bones from poses (P, E, D) to clean ones (M, E, D), ascending, and which
    they are: both (P, count)."""
    parts = []
    for some in poses.split(256):  # (bones, poses, clean poses) at a time
        exact = "donot_use_mm_for_euclid_dist"
        apart = torch.cdist(some.transpose(0, 1), clean.transpose(0, 1), compute_mode=exact).mean(0)
        parts.append(apart.topk(count, largest=False))
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def perturbed(clean: Tensor, count: int, noise: str, random: np.random.Generator) -> Tensor:
    """`count` perturbed copies of clean directions (M, E, D), taken in turn: (count, E, D)."""
    copies = clean[torch.arange(count) % len(clean)]
    angle = torch.from_numpy(angles(count, clean.shape[1], random)).to(clean)
    if noise == "reference":
        if clean.shape[-1] != 2:
            raise ValueError(f"noise=reference is of 2D poses, these have {clean.shape[-1]} axes; use noise=rotation")
        raw = reference_turned(copies.clamp(-1, 1), angle)
        return raw / raw.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    other = torch.from_numpy(random.standard_normal(copies.shape)).to(clean) if clean.shape[-1] == 3 else None
    return turned(copies, angle, other)


def fit(
    prior: PosePrior, clean: Tensor, options: PriorOptions, count: Callable[[int], object] = lambda done: None
) -> None:
    """Train on clean directions (M, E, D) and perturbed ones, in three stages; `count` gets the updates done."""
    random = np.random.default_rng(options.seed)
    noisy = perturbed(clean, 4 * len(clean), options.noise, random)
    label = nearest(noisy, clean, min(options.neighbours, len(clean)))[0].mean(-1)
    optimizer = torch.optim.Adam(prior.parameters(), options.rate)
    update = 0
    for stage, (share, least) in enumerate(STAGES):
        pool = (label >= least).nonzero().squeeze(1)
        if not len(pool):
            continue
        some = options.batch if stage < 2 else options.batch - options.batch // 2
        for _ in range(max(round(share * options.updates), 1)):
            rows = pool[torch.from_numpy(random.integers(len(pool), size=some))]
            real = clean[torch.from_numpy(random.integers(len(clean), size=options.batch - some))]
            wanted = torch.cat([label[rows], label.new_zeros(len(real))])
            loss = (prior(torch.cat([noisy[rows], real]), rectified=False) - wanted).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            update += 1
            count(update)


@torch.no_grad()
def separation(prior: PosePrior, held: Tensor, options: PriorOptions) -> tuple[float, float, float]:
    """Of held-out clean directions (M, E, D): their mean distance, that of perturbed copies, and the share of pairs in
    which the perturbed one is farther (a tie counts half)."""
    noisy = prior(perturbed(held, len(held), options.noise, np.random.default_rng([options.seed, 1])))
    clean = prior(held)
    apart = noisy[:, None] - clean
    return float(clean.mean()), float(noisy.mean()), float(((apart > 0).float() + 0.5 * (apart == 0)).mean())


def directions_of(prior: PosePrior, points: Tensor) -> Tensor:
    """The directions (P, E, D) of its bones in points (P, K, D). Raises ValueError for points of another D."""
    if points.shape[-1] != prior.dims:
        raise ValueError(
            f"the prior is of {prior.dims}D poses, these are {points.shape[-1]}D: train one on labels of the model's "
            "own kind, keyshift prior EXPERIMENT"
        )
    return orientations(points, torch.tensor(prior.bones, device=points.device).view(-1, 2))


def save_prior(path: Path, prior: PosePrior, skeleton: Skeleton) -> None:
    """One file with the weights, and the bones by the names of their joints."""
    bones = [[skeleton.keypoints[joint] for joint in bone] for bone in prior.bones]
    about = {"format": FORMAT, "bones": bones, "dims": prior.dims, "width": prior.width}
    save_checkpoint(path, about | {"prior": prior.state_dict()})


def load_prior(path: Path, skeleton: Skeleton) -> PosePrior:
    """A prior over the joints of `skeleton`. Raises ValueError, naming both sides, where it has others."""
    remedy = "A prior is what keyshift prior EXPERIMENT writes"
    state = load_checkpoint(path, ("format", "bones", "dims", "width", "prior"), remedy)
    joints = list(dict.fromkeys(joint for bone in state["bones"] for joint in bone))
    missing = [joint for joint in joints if joint not in skeleton.keypoints]
    if missing:
        raise ValueError(
            f"{path} is a prior of {', '.join(joints)}; the model predicts {', '.join(skeleton.keypoints)}, without "
            f"{', '.join(missing)}. Train one on labels of the model's own joints: keyshift prior EXPERIMENT"
        )
    bones = [(skeleton.keypoints.index(a), skeleton.keypoints.index(b)) for a, b in state["bones"]]
    prior = PosePrior(bones, state["dims"], state["width"])
    try:
        prior.load_state_dict(state["prior"])
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit its own description: {' '.join(str(error).split())[:300]}") from error
    return prior
