"""Which passes move batch norm's running statistics: the policy that decides whether adaptation holds or collapses.

In training every domain is normalised by its own batch, of several processes by each one's share of it; what is chosen
here is what evaluation uses afterwards.
`target`: only target passes move the statistics, so that evaluation on the target normalises as training on it did.
`both`: each domain's pass moves them once. `reference`: source once and target twice, as TLLib's RegDA does with its
two target passes; the logs of public runs collapse under it, because the mixture fits neither domain. `frozen`: the
statistics that pretraining left stay and normalise in training too (PoseModel.freeze_statistics); layers that are new,
those of a fresh head or an adversary, learn theirs from the source.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

POLICIES = ("target", "both", "reference", "frozen")
MOVED: dict[str, dict[str, int]] = {
    "target": {"source": 0, "target": 1},
    "both": {"source": 1, "target": 1},
    "reference": {"source": 1, "target": 2},
    "frozen": {"source": 1, "target": 0},
}
"""How often a pass of each domain moves the statistics."""


@contextmanager
def running_statistics(policy: str, domain: str, *modules: nn.Module) -> Iterator[None]:
    """Within it, a pass of `domain` ("source" or "target") moves the statistics of `modules` as `policy` says."""
    if policy not in POLICIES:
        raise ValueError(f"batch_norm={policy!r} is not known; choose one of {', '.join(POLICIES)}")
    times = MOVED[policy][domain]
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
