"""DANN: Domain-Adversarial Training of Neural Networks (Ganin et al., JMLR 2016).

thuml/Transfer-Learning-Library @ c4aa59e, tllib/alignment/dann.py, tllib/modules/{grl,domain_discriminator}.py. A
discriminator c tells the domains by the features z (1: source), which learn that it cannot:
    loss = -1/2 (mean over the source of log c(z) + mean over the target of log(1 - c(z))),
and on the way to the features its gradient is multiplied by -lambda(i) at iteration i,
    lambda(i) = 2 highest / (1 + exp(-i / warmup)) - highest.
`spectral` adds BSP (Chen et al., ICML 2019; tllib/alignment/bsp.py): sigma_s and sigma_t, the largest singular values
of both domains' feature matrices, which otherwise grow at the cost of all other directions, are made small by
    spectral * (sigma_s^2 + sigma_t^2).

Against the reference: z are the features averaged over their places, there are none for keypoints there; the counter i
is part of the state, and only training advances it; network and discriminator have an optimiser each, of equal rates;
the discriminator's batch is that of all processes together, for its batch norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from ...datasets.options import option
from ..alignment import Discriminator, domain_loss, pooled, spectral
from ..gradients import WarmStartGradient
from ..processes import joined
from .aligned import Aligned, Domain, blank


class DANN(Aligned):
    """`discriminator` exists in training only."""

    @dataclass(frozen=True)
    class Options(Aligned.Options):
        spectral: float = option(0.0, "BSP: weight of the features' largest singular values (the paper's: 2e-4)", low=0)
        outputs: int = option(1, "of the discriminator; 2: a softmax, the reference's other form", low=1, high=2)
        width: int = option(1024, "of the discriminator's hidden layers", low=1)
        warmup: int = option(1000, "iterations over which the reversal opens", low=1)
        highest: float = option(1.0, "how far it opens", low=0)

    title = "DANN"
    about = "features from which an adversary cannot tell the domain"
    cost = 2.0
    updated = ("model", "discriminator")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        options = self.options
        self.gradient = WarmStartGradient(hi=options.highest, max_iters=options.warmup, reverse=True)
        self.discriminator = Discriminator(self.inputs(), options.width, options.outputs)

    def optimizers(self) -> dict[str, tuple[torch.optim.Optimizer, LRScheduler]]:
        discriminator = {"discriminator": list(self.discriminator.parameters())}
        return super().optimizers() | {"discriminator": self.optimization.optimizer(discriminator)}

    def inputs(self) -> int:
        """How many numbers the discriminator sees; the place where a subclass makes what `rows` needs."""
        return self.rows(blank(self.model)).shape[1]

    def apart(self, source: Domain, target: Domain) -> dict[str, Tensor]:
        rows = [joined(self.rows(domain)) for domain in (source, target)]
        logits = self.discriminator(self.gradient(torch.cat(rows)))
        loss = domain_loss(logits, len(rows[0]), self.weights(source, target))
        losses = {"domain": self.options.trade_off * loss}
        if self.options.spectral > 0:
            losses["spectral"] = self.options.spectral * spectral(source.vectors(), target.vectors())
        return losses

    def rows(self, domain: Domain) -> Tensor:
        """What the discriminator sees of this process's batch of a domain: (n, inputs)."""
        return pooled(domain.features)

    def weights(self, source: Domain, target: Domain) -> Tensor | None:
        """Of the rows of both domains, those of all processes, or None where all weigh alike."""
        return None

    def after_step(self) -> None:
        self.gradient.advance()
