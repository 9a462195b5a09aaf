"""Deep CORAL (Sun and Saenko, ECCV workshops 2016).

With C the covariance of a batch's features (unbiased, d x d),
    loss = ||C_s - C_t||_F^2 / (4 d^2).

thuml/Transfer-Learning-Library @ c4aa59e, tllib/alignment/coral.py, states this formula and computes another, which
`means` switches on:
    mean over the d features of (mean s - mean t)^2 + mean over the d^2 entries of (C_s - C_t)^2.
What is aligned are the features averaged over their places; the batch is that of all processes together.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...datasets.options import option
from ..alignment import coral
from .aligned import Aligned, Domain


class Coral(Aligned):
    """Nothing beside the network is trained."""

    @dataclass(frozen=True)
    class Options(Aligned.Options):
        means: bool = option(False, "as TLLib computes it: four times the paper's, and the distance of the means")

    title = "Deep CORAL"
    about = "the distance of the features' covariances"
    cost = 1.7

    def apart(self, source: Domain, target: Domain) -> dict[str, Tensor]:
        distance = coral(source.vectors(), target.vectors(), means=self.options.means)
        return {"distance": self.options.trade_off * distance}
