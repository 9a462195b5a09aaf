"""Layers that let features pass and change the gradient that comes back."""

from __future__ import annotations

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
