"""DANN: features from which a discriminator cannot tell the domain (Ganin et al., JMLR 2016), and what was added to it:
CDAN's conditioning on the answer (Long et al., NeurIPS 2018) and BSP (Chen et al., ICML 2019).

thuml/Transfer-Learning-Library @ c4aa59e, tllib/alignment/{dann,cdan,bsp}.py, for classes and pooled features. For
keypoints the answer is a density over places, and so are the features: CDAN's outer product of features and
probabilities, summed over the places, are the features under each keypoint's density. With `condition=votes` the
discriminator sees one such vector for each keypoint, and which one it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LRScheduler

from ...datasets.options import option
from ...datasets.sample import Labeled, Unlabeled
from ...models.output import Votes
from ..alignment import Discriminator, domain_loss, entropy, pooled, spectral
from ..gradients import WarmStartGradient
from ..processes import joined
from ..strategy import Strategy, Update


class DANN(Strategy):
    """`discriminator` exists in training only; its width is known once features have been seen."""

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        trade_off: float = option(1.0, "weight of the domain loss", low=0)
        condition: str = option(
            "none", "votes: CDAN's, features under each keypoint's density", choices=("none", "votes")
        )
        entropy: bool = option(False, "with condition=votes: sure keypoints weigh more, 1 + exp(-H)")
        spectral: float = option(0.0, "BSP: weight of the features' largest singular values (the paper's: 2e-4)", low=0)
        width: int = option(1024, "of the discriminator's hidden layers", low=1)
        warmup: int = option(1000, "iterations over which the reversal opens", low=1)
        highest: float = option(1.0, "how far it opens", low=0)

    title = "DANN"
    about = "features from which an adversary cannot tell the domain; CDAN's conditioning and BSP as options"
    kind = "aligned"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        more = len(self.skeleton) if self.options.condition == "votes" else 0
        self.discriminator = Discriminator(self.model.feature_channels() + more, self.options.width)
        self.gradient = WarmStartGradient(hi=self.options.highest, max_iters=self.options.warmup, reverse=True)

    def optimizers(self) -> dict[str, tuple[torch.optim.Optimizer, LRScheduler]]:
        build = self.optimization.optimizer
        return {
            "model": build(self.model.groups()),
            "discriminator": build({"discriminator": list(self.discriminator.parameters())}),
        }

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        with self.statistics("source"):
            features = self.model.features(source)
            votes = self.model.votes(features, source)
        losses = self.model.loss(votes, source)
        with self.statistics("target"):
            others = self.model.features(target)
            theirs = self.model.votes(others, target)
        losses = losses | {"domain": self.options.trade_off * self.domain((features, votes), (others, theirs))}
        if self.options.spectral > 0:
            apart = spectral(joined(pooled(features)), joined(pooled(others)))
            losses = losses | {"spectral": self.options.spectral * apart}
        yield losses, ("model", "discriminator")

    def domain(self, source: tuple[Tensor, Votes], target: tuple[Tensor, Votes]) -> Tensor:
        """How well the domains are told apart; its gradient turns on the way to the features."""
        if self.options.condition == "none":
            rows = [pooled(features) for features, _ in (source, target)]
            return domain_loss(self.discriminator(self.gradient(torch.cat(rows))), len(rows[0]))
        rows = [under(*one) for one in (source, target)]
        logits = self.discriminator(self.gradient(torch.cat(rows)))
        weights = None
        if self.options.entropy:
            sure = torch.cat([certainty(votes) for _, votes in (source, target)])
            weights = sure / joined(sure).mean()
        return domain_loss(logits, len(rows[0]), weights)

    def after_step(self) -> None:
        self.gradient.advance()


def under(features: Tensor, votes: Votes) -> Tensor:
    """Features (B, C, ...) under the density of each keypoint, which takes no gradient, and which keypoint it is:
    (B * K, C + K)."""
    density = votes.log_densities()[0].detach().exp()
    if features.dim() > 2:
        density = shares(density, features.shape[2:])
        seen = torch.einsum("bcn,bkn->bkc", features.flatten(2), density.flatten(2).to(features.dtype))
    else:
        seen = features[:, None].expand(-1, density.shape[1], -1)
    which = torch.eye(density.shape[1], device=features.device, dtype=features.dtype)
    return torch.cat([seen, which.expand(len(seen), -1, -1)], -1).flatten(0, 1)


def shares(density: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A density (B, K, *cells) as shares of the places of `shape`, which are coarser: they sum to 1."""
    if density.dim() - 2 != len(shape):  # a volume, of which the features are maps
        density = density.flatten(2, -3).sum(2) if density.dim() > 4 else density
    pool = {1: functional.adaptive_avg_pool1d, 2: functional.adaptive_avg_pool2d, 3: functional.adaptive_avg_pool3d}
    coarse = pool[len(shape)](density, shape)
    return coarse / coarse.flatten(2).sum(-1).view(*coarse.shape[:2], *(1,) * len(shape)).clamp_min(1e-12)


def certainty(votes: Votes) -> Tensor:
    """1 + exp(-H) of each keypoint's density, without gradient: (B * K,)."""
    return 1 + torch.exp(-entropy(votes.log_densities()[0].detach().flatten(2))).flatten()
