"""CDAN: Conditional Adversarial Domain Adaptation (Long et al., NeurIPS 2018).

thuml/Transfer-Learning-Library @ c4aa59e, tllib/alignment/cdan.py: DANN whose discriminator sees features z together
with the answer p, as their outer product; or, where that is too large, by random projections R_z and R_p to e numbers,
    p_c z_j for all c and j,    or    (z R_z) * (p R_p) / sqrt(e),
p without gradient. With `entropy` (CDAN+E) a row weighs 1 + exp(-H(p)), as a share of the mean over both domains; that
is from 1 to 2 of classes; of cells even a Gaussian of sigma 2 has an H of 4, so that all rows weigh nearly alike.

For keypoints the answer is one density over places for each keypoint k, and the features z(x) lie at places x, so that
their outer product has a diagonal: the features under the keypoint's density,
    sum over x of p_k(x) z(x).
The discriminator sees one such vector for each keypoint, and which one it is. Features that are vectors (a lifter's)
have no places; there, and everywhere with `randomized`, it sees the random projection of their outer product with p_k.
A depth that is voted beside x and y does not condition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...datasets.options import option
from ...models.output import Votes
from ..alignment import outer, pooled, random_outer, sureness
from ..processes import joined
from .aligned import Domain, blank
from .dann import DANN
from .disparity import cells


class CDAN(DANN):
    """DANN conditioned on the votes; `discriminator` exists in training only."""

    @dataclass(frozen=True)
    class Options(DANN.Options):
        entropy: bool = option(False, "sure keypoints weigh more: CDAN+E")
        randomized: bool = option(False, "random projections of averaged features and densities")
        projected: int = option(1024, "how many numbers these project to", low=1)

    title = "CDAN"
    about = "features under each keypoint's density, from which an adversary cannot tell the domain"
    cost = 3.0
    first: Tensor
    second: Tensor

    def inputs(self) -> int:
        domain = blank(self.model)
        sizes = domain.features.shape[1], density(domain.votes).flatten(2).shape[2]
        if self.options.randomized or domain.features.dim() < 3:
            for name, size in zip(("first", "second"), sizes, strict=True):
                self.register_buffer(name, torch.randn(size, self.options.projected))
        return self.rows(domain).shape[1]

    def rows(self, domain: Domain) -> Tensor:
        """(B * K, ...)"""
        answer = density(domain.votes).to(domain.features.dtype)
        count = answer.shape[1]
        if hasattr(self, "first"):
            vectors = pooled(domain.features).repeat_interleave(count, 0)
            seen = random_outer(vectors, answer.flatten(2).flatten(0, 1), self.first, self.second)
        else:
            places = shares(answer, domain.features.shape[2:])
            seen = outer(domain.features.flatten(2), places.flatten(2)).unflatten(1, (count, -1)).flatten(0, 1)
        which = torch.eye(count, device=seen.device, dtype=seen.dtype).repeat(len(answer), 1)
        return torch.cat([seen, which], 1)

    def weights(self, source: Domain, target: Domain) -> Tensor | None:
        if not self.options.entropy:
            return None
        return sureness(torch.cat([joined(cells(domain.votes)[0]) for domain in (source, target)]))


def density(votes: Votes) -> Tensor:
    """Where each keypoint may be, without gradient: (B, K, *cells)."""
    return votes.log_densities()[0].detach().exp()


def shares(answer: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A density (B, K, *cells) as shares of the places of `shape`, which are coarser: they sum to 1."""
    if answer.dim() - 2 > len(shape):  # a volume, of which the features are maps
        answer = answer.sum(2)
    pools: dict[int, Any] = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
    coarse = pools[len(shape)](answer, shape)
    return coarse / coarse.flatten(2).sum(-1).view(*coarse.shape[:2], *(1,) * len(shape)).clamp_min(1e-12)
