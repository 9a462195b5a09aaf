"""DAN: Learning Transferable Features with Deep Adaptation Networks (Long et al., ICML 2015).

thuml/Transfer-Learning-Library @ c4aa59e, tllib/alignment/dan.py and tllib/modules/kernels.py. For features s_1..s_n of
the source and t_1..t_n of the target, D the squared distance of two of them,
    K = sum over k = -3..1 of exp(-D / (2 v_k)),    v_k = 2^k * mean of D over all 2n x 2n pairs (no gradient),
    loss = mean over i != j of K(s_i, s_j) + the same of t - 2 * mean over i, j of K(s_i, t_j).
`linear` takes pairs of neighbours alone, indices modulo n:
    loss = mean over i of K(s_i, s_i+1) + K(t_i, t_i+1) - K(s_i, t_i+1) - K(s_i+1, t_i).

Against the reference: what is aligned are the features averaged over their places, there are none for keypoints there;
all pairs are the default (the reference's is the linear form, which on batches of a few samples is mostly noise); the
constant 2 / (n - 1) is left out, which no gradient sees; the batch is that of all processes together; and the weight
is 0.1, the reference's being 1: beside a cross entropy of classes the sum of five kernels is small, beside a heatmap's
loss it is not.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...datasets.options import option
from ..alignment import mmd
from .aligned import Aligned, Domain


class DAN(Aligned):
    """Nothing beside the network is trained."""

    @dataclass(frozen=True)
    class Options(Aligned.Options):
        trade_off: float = option(0.1, "weight of the distance between the domains", low=0)
        linear: bool = option(False, "pairs of neighbours alone, the reference's default; false: all pairs")

    title = "DAN"
    about = "the maximum mean discrepancy of the features, under five kernels"
    cost = 1.8

    def apart(self, source: Domain, target: Domain) -> dict[str, Tensor]:
        distance = mmd(source.vectors(), target.vectors(), linear=self.options.linear)
        return {"distance": self.options.trade_off * distance}
