"""RegDA: Regressive Domain Adaptation for Unsupervised Keypoint Detection (Jiang et al., CVPR 2021).

thuml/Transfer-Learning-Library @ c4aa59e, tllib/alignment/regda.py, tllib/modules/gl.py and
examples/domain_adaptation/keypoint_detection/regda.py. An adversarial head is drawn to wrong joints on the target
(ground false), the features are drawn to where both heads agree (ground truth): a minimax of two different losses,
not of one loss with its gradient reversed. With f the main head's density, f' the adversary's, GT Gaussians at the main
head's keypoints (without gradient), GF_k the sum of GT over the other keypoints, cut off at 1, both as densities:
    A, features and both heads:   L_model(f) + margin * trade_off * KL(GT || f')    on the source,
    B, adversary alone:           trade_off * KL(GF || f')                          on the target,
    C, features alone:            trade_off * lambda(i) * KL(GT || f')              on the target,
lambda(i) = 2 highest / (1 + exp(-i / warmup)) - highest at iteration i, which also multiplies what KL sends from f' to
the features in A.

Against the reference: one forward of the target features serves steps B and C (their gradients are identical,
because features do not change in between), no target visibility enters the losses, and the warm-up counter is part
of the state.

For any head. Let a head's candidates n vote with weights w_n = softmax(logits) for positions r_n. What the paper
compares is where a keypoint may be, so the heads are compared as densities on the grid's cells c,
    q(c) = sum_n w_n b(c - r_n),    b a bilinear tent of one cell, lightly blurred.
Where the candidates are the cells themselves, r_n = n and q = softmax(logits): the published method. Elsewhere the
gradient of KL(p || q) = const - sum_c p(c) log q(c) is
    d/dw_n = -sum_c p(c) b(c - r_n) / q(c),    d/dr_n = w_n sum_c p(c) grad b(c - r_n) / q(c),
so responses are drawn to candidates that point to the goal and offsets are drawn to point there. (Comparing w itself
with a wanted distribution over candidates would leave the offsets as they are, would ask for nothing where all
candidates point to one place, and is void where there is one candidate.) A depth that is voted beside x and y is
compared by its marginal on an axis of its own, as if independent: KL adds over the marginals, and a volume of
H * W * Z cells is never built. Ground truth stands at the model's own decoded keypoint, ground false at those of the
other joints. Of a head that gives a volume both are made an image at a time, for the divergence and again for its
gradient, so that the adversary costs its own logits and their gradient.

For a single keypoint. RootNet sees one keypoint of each person, and the sum over the other joints is empty. The paper's
reason for it is that a keypoint model which errs is sure of a wrong joint; what a model of roots is sure of when it
errs is the root of somebody else in the crop. So the sum runs over the other people, whose boxes are input data: their
middles stand for their roots. In a crop with nobody else, and on the axis of depth, no mistake is likelier than
another: ground false is 1 - GT, which as a density leaves all places but the truth alike.

EPIC (FG 2025; davidpengucf/EPIC @ 13e0db5) adds to step B the discrepancy of both heads' maps (`adversary_mmd`, 0.2
there), and to step C the same (`mmd`, 0.7; it divides by the number of keypoints once more, which makes them 0.2 / K
and 0.7 / K here) and the negative entropy of the map averaged over keypoints (`spread`; its 0.4 is for a mean over
cells and is 0.4 / cells for the sum here): see adapt/epic.py. Here the heads' densities are compared, on any head, of
one main head and one adversary; EPIC has two of each and compares their differences.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from ...datasets.options import option
from ...datasets.sample import Labeled, Unlabeled
from ...models.output import Grid, Votes, divergence
from ...models.parts.lazy_maps import Maps
from ...models.pose_model import counted_per_image
from ..epic import map_entropy, map_mmd
from ..gradients import WarmStartGradient, fixed
from ..strategy import Strategy, Update
from .pseudo_labels import VARIANTS, ground_false, ground_false_alone, ground_truth, others_of


class RegDA(Strategy):
    """`model` is updated by all steps, `adversary` exists in training only."""

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        margin: float = option(4.0, "weight of the adversary's agreement with the head on the source", low=0)
        trade_off: float = option(1.0, "weight of the adversarial losses", low=0)
        head_layers: int = option(2, "layers of the adversary, and of a fresh head", low=1)
        fresh_head: bool = option(True, "the reference restarts the main head; false: the pretrained one goes on")
        sigma: float = option(2.0, "of the pseudo labels' Gaussians, cells", low=0.1, high=100)
        pseudo_labels: str = option("fast", "which of the reference's two generators", choices=VARIANTS)
        warmup: int = option(1000, "iterations over which the gradient layer opens", low=1)
        highest: float = option(0.1, "how far it opens", low=0)
        adversary_mmd: float = option(0.0, "EPIC, step B: weight of the discrepancy of both heads' densities", low=0)
        mmd: float = option(0.0, "EPIC, step C: the same for the features", low=0)
        spread: float = option(0.0, "EPIC, step C: weight of the mean density's negative entropy", low=0)
        sure: bool = option(False, "EPIC: with the spread, the entropy of each keypoint's density is made small")

    title = "RegDA"
    about = "regressive domain adaptation by an adversarial regressor"
    cost = 2.3
    kind = "aligned"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.options.fresh_head:
            self.model.restart_head(self.options.head_layers)
        self.adversary = self.model.new_head(self.options.head_layers)
        self.gradient = WarmStartGradient(hi=self.options.highest, max_iters=self.options.warmup)

    @classmethod
    def restarts(cls, options: Any) -> bool:
        return bool(options.fresh_head)

    def optimizers(self) -> dict[str, tuple[torch.optim.Optimizer, LRScheduler]]:
        groups = self.model.groups()
        head = {"head": groups.pop("head")}
        adversary = {"adversary": list(self.adversary.parameters())}
        build = self.optimization.optimizer
        return {"features": build(groups), "head": build(head), "adversary": build(adversary)}

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        model, options = self.model, self.options
        # A: both heads and the features learn from the source
        with self.statistics("source", model, self.adversary):
            features = model.features(source)
            votes = model.votes(features, source)
            adversary = model.votes(self.gradient(features), source, self.adversary)
        truth = self.truth(votes, source)
        agreement = divergence(adversary, truth, counted_per_image(model.counted(source), source), 1e-7)
        losses = model.loss(votes, source)
        yield losses | {"margin": options.margin * options.trade_off * agreement}, ("features", "head", "adversary")

        # B: the adversary learns to look at the wrong joints of the target
        with self.statistics("target"):
            features = model.features(target)
            with torch.set_grad_enabled(max(options.mmd, options.spread) > 0):
                votes = model.votes(features, target)
        truth = self.truth(votes, target)
        adversary = model.votes(features.detach(), target, self.adversary)
        losses = {"false": self.disparity(adversary, self.false(truth, votes.grid, target))}
        if options.adversary_mmd > 0:
            kept = tuple(logs.detach() for logs in votes.log_densities())
            losses["adversary mmd"] = options.adversary_mmd * apart(kept, adversary.log_densities())
        yield losses, ("adversary",)

        # C: the features learn to keep it from doing so
        with fixed(self.adversary):
            adversary = model.votes(self.gradient(features), target, self.adversary)
        losses = {"truth": self.disparity(adversary, truth)}
        if options.mmd > 0:
            losses["mmd"] = options.mmd * apart(votes.log_densities(), adversary.log_densities())
        if options.spread > 0:
            losses["spread"] = options.spread * spread(votes, options.sure)
        yield losses, ("features",)

    def truth(self, votes: Votes, sample: Unlabeled) -> tuple[Maps, ...]:
        """Ground truth at the keypoints that the model reads from `votes`, of all people in an image together."""
        poses = self.model.decode(votes, sample).each(torch.Tensor.detach)
        return ground_truth(votes, poses, self.options.sigma, self.options.pseudo_labels)

    def false(self, truth: tuple[Maps, ...], grid: Grid, sample: Unlabeled) -> tuple[Maps, ...]:
        """Ground false: where the other keypoints are, of a network of a single one where other people are."""
        if len(self.skeleton) > 1:
            return ground_false(truth)
        plane = grid.marginals()[0]
        return ground_false_alone(
            truth, others_of(sample, plane, self.options.sigma) if len(plane.shape) == 2 else None
        )

    def disparity(self, adversary: Votes, goal: tuple[Maps, ...]) -> Tensor:
        """trade_off * KL from the adversary's density on the target to `goal`."""
        return self.options.trade_off * divergence(adversary, goal, epsilon=1e-7)

    def after_step(self) -> None:
        self.gradient.advance()


def apart(logs: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> Tensor:
    """The discrepancy of two heads' densities, as logs on each of the grid's marginals, summed."""
    return torch.stack([map_mmd(one.exp(), other.exp()) for one, other in zip(logs, others, strict=True)]).sum()


def spread(votes: Votes, sure: bool) -> Tensor:
    """`map_entropy` of the densities, summed over the grid's marginals."""
    return torch.stack([map_entropy(logs, each=sure) for logs in votes.log_densities()]).sum()
