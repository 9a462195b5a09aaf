"""JAN: Deep Transfer Learning with Joint Adaptation Networks (Long et al., ICML 2017).

thuml/Transfer-Learning-Library @ c4aa59e, tllib/alignment/jan.py. DAN's discrepancy under a kernel of several layers,
the product of theirs: for features z and answers p,
    K(z_i, z_j) * L(p_i, p_j),    K as DAN's,    L = exp(-||p_i - p_j||^2 / (2 * 0.92^2)) of softmax outputs,
    loss = mean over i != j within the source + the same of the target - 2 * mean across.

For keypoints the answer is the pose: p are the expected positions of the keypoints, from their mean, in shares of the
grid. Their kernel L is as wide as poses differ, DAN's five around their mean squared distance: a fixed 0.92 fits
probabilities, whose distances end at sqrt(2); of poses it would see all as equal or each as alone. Positions are
counted from the keypoints' mean because where a body stands in its crop says nothing about the domain, and in a batch
of few samples it would be most of what L sees; of a single keypoint nothing is left, and JAN is five times DAN. Pairs
of all samples are the default, as in the reference; its constant 2 / (n - 1) is left out; features are averaged over
their places; the batch is that of all processes together. The weight is 0.01, the reference's being 1: a product of two
sums of five kernels is up to 25, and its gradient reaches the predicted positions themselves; at 1 it draws the poses
of two random batches together and ruins them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...datasets.options import option
from ...models.output import Votes
from ..alignment import joint_mmd
from ..processes import joined
from .aligned import Aligned, Domain
from .disparity import coordinates


class JAN(Aligned):
    """Nothing beside the network is trained."""

    @dataclass(frozen=True)
    class Options(Aligned.Options):
        trade_off: float = option(0.01, "weight of the distance between the domains", low=0)
        linear: bool = option(False, "pairs of neighbours alone; false, the reference's default: all pairs")

    title = "JAN"
    about = "the maximum mean discrepancy of features and predicted poses together"
    cost = 1.9

    def apart(self, source: Domain, target: Domain) -> dict[str, Tensor]:
        here, there = (joined(shape_of(domain.votes)) for domain in (source, target))
        layers = [(source.vectors(), target.vectors(), None), (here, there, None)]
        return {"distance": self.options.trade_off * joint_mmd(layers, self.options.linear)}


def shape_of(votes: Votes) -> Tensor:
    """Expected positions from the keypoints' mean, as shares of the grid's extent along each axis: (B, K * D)."""
    points = coordinates(votes)
    return (points - points.mean(1, keepdim=True)).flatten(1)
