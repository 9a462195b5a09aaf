"""AdaBN: Revisiting Batch Normalization for Practical Domain Adaptation (Li et al., ICLR workshops 2017).

The weights stay as they were given; what each batch-norm layer normalises by becomes the mean m and the variance v of
all that reaches it from the target. From batch to batch, of which the n-th has mean m_n and variance v_n (the paper's
online algorithm, batches of equal size),
    d = m_n - m,    m <- m + d / n,    v <- v (1 - 1/n) + v_n / n + d^2 (1 - 1/n) / n.
So the variance is that of all values together; batch norm's own moving average, also that without momentum, leaves out
how far the batches' means lie apart. A second pass over the target goes on with the same mean. A batch is that of all
processes together.

The policy `batch_norm` does not apply: moving the statistics, frozen ones too, is the method; those of parts that a
system holds (`PoseModel.held`) stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ...datasets.sample import Labeled, Unlabeled
from ..batch_norm import norms_of, running_statistics
from ..processes import gather
from ..strategy import Strategy, Update


class AdaBN(Strategy):
    """Source-free, and without an optimiser."""

    title = "AdaBN"
    about = "batch norm's statistics of the target alone, the weights as they were given"
    cost = 0.6
    kind = "source_free"
    needs = frozenset({"target"})
    learns = False
    begun: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model.frozen = frozenset()
        self.model.requires_grad_(False)
        self.register_buffer("begun", torch.zeros((), dtype=torch.int64))
        if not norms_of(self.model):
            raise ValueError(
                f"AdaBN moves the statistics of batch norm, and {type(self.model).__name__} has no such layer: "
                "choose another strategy"
            )

    def optimizers(self) -> dict[str, Any]:
        return {}

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        for norm in norms_of(self.model):
            counted(norm).mul_(self.begun)  # batches of the source do not count
        self.begun.fill_(1)
        hooks = [norm.register_forward_pre_hook(absorb) for norm in norms_of(self.model)]
        try:
            with torch.no_grad(), running_statistics("target", "source", self.model):  # not by the layers' own rule
                self.model(target)
        finally:
            for hook in hooks:
                hook.remove()
        yield from ()


def absorb(norm: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
    """Bring a batch (B, C, ...) that is about to reach `norm`, with those of all processes, into its statistics; it
    counts the batch itself."""
    values = inputs[0].float()
    variance, mean = torch.var_mean(values, [0, *range(2, values.dim())], correction=0)
    means, variances = gather(torch.stack([mean, variance])[None]).unbind(1)
    mean, variance = means.mean(0), variances.mean(0) + means.var(0, correction=0)
    share = 1 / (counted(norm) + 1)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    away = mean - norm.running_mean
    norm.running_mean += share * away
    norm.running_var += share * (variance - norm.running_var + (1 - share) * away.square())


def counted(norm: _BatchNorm) -> Tensor:
    """How many batches are in its statistics."""
    assert norm.num_batches_tracked is not None
    return norm.num_batches_tracked
