"""Layers that let features pass and change the gradient that comes back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WarmStartGradient(nn.Module):
    """Identity forward; backward multiplies by
    lambda(i) = 2 (hi - lo) / (1 + exp(-alpha i / max_iters)) - (hi - lo) + lo.

    RegDA keeps the sign: it is no gradient reversal; with `reverse` the factor is -lambda(i), as DANN's. The counter is
    a buffer, so that a resumed run continues it (the reference restarts it at 0). TLLib, modules/gl.py
    WarmStartGradientLayer and modules/grl.py @ c4aa59e.
    """

    iteration: Tensor

    def __init__(
        self, alpha: float = 1.0, lo: float = 0.0, hi: float = 0.1, max_iters: int = 1000, reverse: bool = False
    ) -> None:
        super().__init__()
        self.alpha, self.lo, self.hi, self.max_iters, self.reverse = alpha, lo, hi, max_iters, reverse
        self.register_buffer("iteration", torch.zeros(()))

    def factor(self) -> Tensor:
        """lambda at the present iteration, a scalar on the device."""
        span = self.hi - self.lo
        return 2 * span / (1 + torch.exp(-self.alpha * self.iteration / self.max_iters)) - span + self.lo

    def advance(self) -> None:
        self.iteration += 1

    def forward(self, features: Tensor) -> Tensor:
        factor = self.factor().to(features.dtype)
        return _ScaleGradient.apply(features, -factor if self.reverse else factor)


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[0] * ctx.saved_tensors[0], None


@contextmanager
def fixed(*modules: nn.Module) -> Iterator[None]:
    """A pass within it carries gradients to what goes into `modules`, and none to their parameters, for which nothing
    is kept or computed."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


class Metric(nn.Module):
    """Weights of an inner product from running second moments v, as Adam has them: 1 / sqrt(v + mean of v over the last
    axis), v corrected for its zero start. Both are in the state, whatever their shape."""

    moments: Tensor
    updates: Tensor

    def __init__(self, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("moments", torch.zeros(0))
        self.register_buffer("updates", torch.zeros(()))

    @torch.no_grad()
    def forward(self, squares: Tensor) -> Tensor:
        """The weights (K, M) after one more batch's mean squares (K, M)."""
        if not self.moments.numel():
            self.moments = torch.zeros_like(squares)
        self.moments.lerp_(squares, 1 - self.momentum)
        self.updates += 1
        v = self.moments / (1 - self.momentum**self.updates)
        return (v + v.mean(-1, keepdim=True)).clamp_min(1e-30).rsqrt()

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        if prefix + "moments" in state:
            self.moments = self.moments.new_empty(state[prefix + "moments"].shape)
        super()._load_from_state_dict(state, prefix, *rest)


def gated(target: Tensor, source: Tensor, mean: Tensor, metric: Tensor, gamma: float, strength: Tensor) -> Tensor:
    """The target's gradients (B, K, M), whose parts parallel to the source's (K, M) pass a gate of each keypoint:
    strength (B, K) * max(0, tanh(gamma * rho)), rho the correlation of `source` with the target's `mean` (K, M). Inner
    products are weighted by the metric (K, M). HamiPose (CVPR 2026); methods/hamipose.py says what is its authors'."""
    weighted = metric * source
    size = (weighted * source).sum(-1)
    others = (metric * mean * mean).sum(-1)
    rho = (weighted * mean).sum(-1) / (size.sqrt() * others.sqrt()).clamp_min(1e-30)
    gate = strength * torch.tanh(gamma * rho).clamp_min(0)
    share = (target * weighted).sum(-1) / size.clamp_min(1e-30)
    return target - ((1 - gate) * share).unsqueeze(-1) * source


def with_gradients(loss: Tensor, edited: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """The value of `loss`, whose gradient at each tensor is what stands beside that, and nothing else."""
    moved = [((output - output.detach()) * gradient).sum().float() for output, gradient in edited]
    return loss.detach() + torch.stack(moved).sum()
