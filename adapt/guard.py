"""Whether training has left the road: what is watched of every run that starts from given weights, and its bounds.

At each evaluation the trainer measures, without a label of the target,
    distance    |w - w0| / |w0| of the weights w from the given ones w0,
    agreement   of predictions under known warps of target pictures (evaluation.agreement),
    sharpness   of the target's votes, 1 - entropy / log N, their mean,
    anatomy     the share of proportions of bones and of angles between them, in predictions on the target, that are
                within the range of the source's labels or, without a source, of the given model's own predictions,
    pck, mm, ap on held-out source, where the strategy trains on one.
Each is compared with what the given model has; a share that is under CHANCE of the given model says nothing. A run
whose head is restarted is watched from the first evaluation within all bounds on, and at its end. A number that is not
finite is beyond any bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..datasets import options as owned
from ..datasets.options import option
from ..datasets.sample import Labeled, Unlabeled
from ..datasets.skeleton import Skeleton
from ..models.pose_model import PoseModel
from .anatomy import corners_of, cosines, in_file, lengths
from .processes import shared
from .scoring.evaluation import predict, scores

ACTIONS = ("stop", "watch", "off")
TAIL = 0.01
"""Share of the poses on either side that a range leaves out."""
CHANCE = 0.1
"""Agreement, plausibility, PCK or AP under which predictions hardly follow the picture; a difference in sharpness under
which they hardly change."""
SAID = {
    "agreement": "the agreement of predictions under known warps of the target",
    "distance": "the weights' relative distance from the given ones",
    "sharpness": "the sharpness of the votes on the target",
    "anatomy": "the share of plausible bones and angles on the target",
    "pck": "PCK on held-out source",
    "mm": "the mean error on held-out source, mm,",
    "ap": "OKS-AP on held-out source",
}
Measure = Callable[[PoseModel], dict[str, float]]


@dataclass(frozen=True)
class Bounds(owned.Options):
    """How far from the given model a run may go."""

    distance: float = option(1.0, "most of the weights' distance from the given ones, as a share of their norm", low=0)
    sharpness: float = option(
        0.5, "least share that the target's votes keep of their sharpness, and of their entropy", low=0, high=1
    )
    agreement: float = option(0.5, "least share that is kept of the agreement under warps of the target", low=0, high=1)
    anatomy: float = option(0.5, "least share that is kept of plausible bones and angles on the target", low=0, high=1)
    source: float = option(0.5, "least share that is kept of the accuracy on held-out source", low=0, high=1)

    def limits(self, name: str, start: float) -> tuple[float, float]:
        """Between which values a measure may be that was `start` of the given model."""
        if name in ("agreement", "anatomy", "pck", "ap") and start < CHANCE:
            return 0.0, math.inf
        flattest, sharpest = self.sharpness * start, 1 - self.sharpness * (1 - start)
        return {
            "distance": (0.0, self.distance),
            "agreement": (self.agreement * start, math.inf),
            "sharpness": (min(flattest, start - CHANCE), max(sharpest, start + CHANCE)),
            "anatomy": (self.anatomy * start, math.inf),
            "pck": (self.source * start, math.inf),
            "ap": (self.source * start, math.inf),
            "mm": (0.0, start / self.source if self.source else math.inf),
        }[name]


@dataclass
class Guard:
    """Watches a run that started from the network `given`; what it knows is plain data, for checkpoints."""

    stops: bool
    """Whether it stops a run that leaves the road, or says so alone."""
    bounds: Bounds
    given: PoseModel
    measure: Measure
    """What is measured of a network, by name, but for its distance."""
    start: dict[str, float] = field(default_factory=dict)
    """The same of the given model; empty before the run has begun."""
    inside: bool = False
    """Whether the run was within all bounds once."""
    good: int = 0
    """The update of the last evaluation within all bounds; 0: the given weights."""
    left: dict[str, Any] | None = None
    """How the run left the road, where it did: step, measure, value, start, bound, back (the update gone back to, None
    where training went on), why."""

    @property
    def stopped(self) -> bool:
        return self.stops and self.left is not None

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("start", "inside", "good", "left")}

    def load(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def begin(self, model: PoseModel) -> None:
        """Measure the given model, and see whether the run's `model` is it."""
        self.start = {"distance": 0.0} | self.measure(self.given)
        shapes = [[(name, p.shape) for name, p in one.named_parameters()] for one in (model, self.given)]
        self.inside = shapes[0] == shapes[1] and distance(model, self.given) == 0

    def look(self, step: int, steps: int, model: PoseModel) -> dict[str, float]:
        """Measure the `model` after update `step` of `steps`, and judge it. Gives what was measured."""
        away = distance(model, self.given)
        values = {"distance": away} | (self.measure(model) if math.isfinite(away) else {})
        beyond = next((name for name in values if not self.within(name, values[name])), None)
        if beyond is None:
            self.inside, self.good = True, step if self.left is None else self.good
        elif self.inside or step == steps:
            self.leave(step, **self.described(beyond, values[beyond]))
        return values

    def within(self, name: str, value: float) -> bool:
        start = self.start.get(name, math.nan)
        low, high = self.bounds.limits(name, start)
        return math.isnan(start) or low <= value <= high

    def described(self, name: str, value: float) -> dict[str, Any]:
        start = self.start[name]
        low, high = self.bounds.limits(name, start)
        bound = high if value > high else low if value < low else None
        limit = "which is no number" if bound is None else f"and its bound is {bound:.3f}"
        why = f"{SAID[name]} went from {start:.3f} to {value:.3f}, {limit}"
        return {"measure": name, "value": value if math.isfinite(value) else None, "bound": bound, "why": why}

    def leave(self, step: int, why: str, **more: Any) -> None:
        """Keep why the run left the road at update `step`, the first time."""
        if self.left is None:
            start = self.start.get(more.get("measure", ""))
            self.left = {"step": step, "back": self.good if self.stops else None, "start": start, **more, "why": why}


def sentence(left: dict[str, Any], steps: int) -> str:
    """What a person reads of a run of `steps` updates that left the road."""
    where = f"at update {left['step']} of {steps}"
    if left["back"] is None:
        return f"training left the road {where}, and went on (guard=watch): {left['why']}"
    goal = f"update {left['back']}" if left["back"] else "the given weights"
    return f"training was stopped {where} and went back to {goal}: {left['why']}"


@torch.no_grad()
def distance(model: PoseModel, given: PoseModel) -> float:
    """|w - w0| / |w0| of the parameters that both networks have."""
    theirs = dict(given.named_parameters())
    both = [(p, theirs[n]) for n, p in model.named_parameters() if n in theirs and p.shape == theirs[n].shape]
    if not both:
        return 0.0
    away = torch.stack([(p - q).norm() for p, q in both]).norm()
    return float(away / torch.stack([q.norm() for _, q in both]).norm().clamp_min(1e-12))


def traits(points: Tensor, skeleton: Skeleton) -> Tensor:
    """Proportions of bones, as multiples of the pose's mean bone, and cosines of the angles between them, of points
    (P, K, D): (P, T), NaN where a joint is. T is 0 without bones."""
    bones = torch.tensor(skeleton.edges, dtype=torch.int64, device=points.device).reshape(-1, 2)
    corners = torch.tensor(corners_of(skeleton.edges), dtype=torch.int64, device=points.device).reshape(-1, 3)
    length = lengths(points, bones)
    known = points.isfinite().all(-1)
    angles = torch.where(known[:, corners].all(-1), cosines(points, corners), torch.nan)
    return torch.cat([length / length.nanmean(1, keepdim=True).clamp_min(1e-6), angles], 1)


def ranges(poses: Tensor) -> Tensor:
    """The ranges (2, T) of traits (P, T), all but TAIL on either side, NaN left out."""
    ends = torch.tensor([TAIL, 1 - TAIL], dtype=poses.dtype, device=poses.device)
    return poses.nanquantile(ends, 0) if poses.numel() else poses.new_full((2, poses.shape[1]), torch.nan)


def labelled_traits(batches: Iterable[Labeled], skeleton: Skeleton) -> Tensor:
    """`traits` of labels, on the CPU."""
    parts = []
    for batch in batches:
        points = in_file(batch.keypoints, batch, batch.image_index, skeleton.flip)
        parts.append(traits(torch.where(batch.whole[..., None], points, torch.nan), skeleton))
    return torch.cat(parts)


@torch.no_grad()
def looked_at(
    model: PoseModel, batches: Iterable[Unlabeled], skeleton: Skeleton, device: torch.device
) -> tuple[float, Tensor]:
    """The mean sharpness of the votes, and the `traits` of the poses, on the CPU."""
    mode = model.training
    model.eval()

    def look(batch: Unlabeled) -> tuple[Tensor, Tensor]:
        sample = batch.to(device)
        votes = model(sample)
        poses = model.decode(votes, sample)
        points = in_file(poses.points, sample, poses.image_index, skeleton.flip)
        return votes.confidence().flatten().cpu(), traits(points, skeleton).cpu()

    sharp, parts = zip(*shared(batches, look), strict=True)
    model.train(mode)
    return float(torch.cat(sharp).mean()), torch.cat(parts)


def plausible(poses: Tensor, limits: Tensor) -> float:
    """The share of traits (P, T) within `limits` (2, T), of those that have any; NaN where there are none, 0 where a
    model that finds people finds nobody."""
    known = limits.isfinite().all(0)
    if not known.any():
        return math.nan
    within = ((poses >= limits[0]) & (poses <= limits[1]))[:, known]
    return float(within.float().mean()) if len(within) else 0.0


def source_accuracy(
    model: PoseModel, batches: Iterable[Labeled], skeleton: Skeleton, threshold: float, device: torch.device
) -> dict[str, float]:
    """The headline on labelled batches, by its name."""
    predictions = predict(model, batches, device, skeleton=skeleton)
    key = predictions.headline(threshold).key
    return {key: scores(predictions, skeleton, threshold)[key]}
