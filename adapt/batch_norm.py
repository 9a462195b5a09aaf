"""Which passes move batch norm's running statistics: the policy that decides whether adaptation holds or collapses.

In training every domain is normalised by its own batch, that of all processes (shared_norm.py); what is chosen here is
what evaluation uses afterwards.
`target`: only target passes move the statistics, so that evaluation on the target normalises as training on it did.
`both`: each domain's pass moves them once. `reference`: source once and target twice, as TLLib's RegDA does with its
two target passes; the logs of public runs collapse under it, because the mixture fits neither domain. `frozen`: the
statistics that pretraining left stay and normalise in training too (PoseModel.freeze_statistics); layers that are new,
those of a fresh head or an adversary, learn theirs from the source.

Two more are settled before the first update, and training knows them no longer. `mixed`: the statistics become
(1 - share) * given + share * target once, in one pass over the target, and are `frozen` then. `auto`: `target`, unless
the rule of `adapt` (scoring/rule.py) predicts a loss of that; then the mixture of which it predicts most, or `frozen`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..datasets.sample import Unlabeled
from ..models.pose_model import PoseModel

SETTLED = ("mixed", "auto")
"""Policies that need the target before training starts."""
POLICIES = ("target", "both", "reference", "frozen", *SETTLED)
MOVED: dict[str, dict[str, int]] = {
    "target": {"source": 0, "target": 1},
    "both": {"source": 1, "target": 1},
    "reference": {"source": 1, "target": 2},
    "frozen": {"source": 1, "target": 0},
}
"""How often a pass of each domain moves the statistics."""
NOTICED = 0.5
"""Points of predicted loss from which on `auto` leaves the target's statistics, and of gain from which on it mixes."""
CANDIDATES = (0.25, 0.5, 0.75, 1.0)
"""Shares of the target's statistics that `auto` compares with none: three mixtures, and target."""


def running_statistics(policy: str, domain: str, *modules: nn.Module) -> AbstractContextManager[None]:
    """Within it, a pass of `domain` ("source" or "target") moves the statistics of `modules` as `policy` says."""
    if policy not in MOVED:
        raise ValueError(f"batch_norm={policy!r} does not say how training moves it; choose one of {', '.join(MOVED)}")
    return moved(MOVED[policy][domain], *modules)


@contextmanager
def moved(times: int, *modules: nn.Module) -> Iterator[None]:
    """Within it, a pass moves the statistics of `modules` as often."""
    if times == 1:
        yield
        return
    norms = [m for module in modules for m in module.modules() if isinstance(m, _BatchNorm) and m.training]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1 - (1 - (norm.momentum or 0.0)) ** times
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
            if times > 1 and norm.num_batches_tracked is not None:
                norm.num_batches_tracked += 1


def norms_of(model: PoseModel) -> list[_BatchNorm]:
    """The layers with running statistics that may move: not those of parts that the system holds."""
    kept = {module for name in model.held for module in model.get_submodule(name).modules()}
    norms = (module for module in model.modules() if isinstance(module, _BatchNorm) and module not in kept)
    return [norm for norm in norms if norm.running_mean is not None]


@torch.no_grad()
def seen_on(model: PoseModel, batches: Iterable[Unlabeled], device: torch.device) -> PoseModel:
    """A copy of the model whose statistics are the mean of those of the batches, in one pass; one sample alone may have
    none."""
    copy = deepcopy(model).to(device).eval()
    for norm in norms_of(copy):
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for the mean over all batches
        norm.train()
    for batch in batches:
        if len(batch) > 1:
            copy(batch.to(device))
    return copy


@torch.no_grad()
def mix(model: PoseModel, other: PoseModel, share: float) -> PoseModel:
    """A copy of `model` with statistics (1 - share) * its own + share * the other's."""
    copy = deepcopy(model)
    for norm, there in zip(norms_of(copy), norms_of(other), strict=True):
        for name in ("running_mean", "running_var"):
            getattr(norm, name).lerp_(getattr(there, name).to(getattr(norm, name)), share)
    return copy


def chosen(gains: Mapping[float, float]) -> float:
    """The share of CANDIDATES that `auto` takes, by their predicted gains over the given statistics (share 0), those of
    the given network as it is: 1 unless that loses more than NOTICED, for training fits the weights to the target's
    statistics, and its batches vary. Else that of the highest gain, the least of equal ones; 0 where none is above
    NOTICED, or nothing is predicted (NaN)."""
    if gains.get(1.0, math.nan) >= -NOTICED:
        return 1.0
    better = {share: gain for share, gain in gains.items() if gain > NOTICED}
    return max(better, key=lambda share: (better[share], -share), default=0.0)
