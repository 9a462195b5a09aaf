"""MAPS: samples of the target that are easy stand in for the source, and mixed pictures keep the student smooth.

Ding et al., IEEE TCSVT 2024; YuheD/MAPS @ 1273852, hand_tgt_proxy.py, human_tgt_proxy.py. A mean teacher without source
(UniFrame's consistency L_c, no occlusion), and
    split:  e_i = difference between the teacher's first pass over sample i and one under augmentation;
            the share p of the lowest e_i are the proxy set, labelled by the first pass; p grows at each re-split
    L_proxy = divergence of the student from the proxy set's labels, in strongly augmented views
    L_mix   = divergence of student(rho x + (1 - rho) x[order]) from rho q + (1 - rho) q[order],
              q = the student's own densities, detached; rho ~ Beta(0.75, 0.75), one a batch
    L = proxy * L_proxy + weight * L_c + mix * L_mix.

Against the reference:
- It makes the loader of the proxy set anew at each re-split and goes on to draw from the first one, so that its split
  never changes. Here the re-split is used; `resplit=false` is what the reference does.
- It has a loader of its own for the proxy set. Here those of a target batch who are in the set learn from their labels,
  in the student's view; the sum is divided by the set's share of the target, so that in the mean over batches each of
  the set counts as it would there.
- e_i is the error of maps there (`map_error`). Here it is the distance of the two passes' points as a share of the
  pose's own extent (`point_error`), which any head has; the people of a picture are compared with the nearest.
- Its body script leaves pelvis and thorax out of L_proxy by their number; here all keypoints count.
- Pictures are mixed as the network reads them, normalised. Where a network reads none (a lifter), L_mix is left out.
  Several processes mix each its own share of a batch, so that they do not do what one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...datasets.options import option
from ...datasets.sample import Unlabeled
from ...models.output import Poses, Votes, divergence
from ...models.pose_model import normalize
from ..bank import Bank
from ..consistency import drawn_to
from ..strategy import Target
from .mean_teacher import MeanTeacher

BETA = 0.75


class MAPS(MeanTeacher):
    """The teacher splits the target, is evaluated and shipped."""

    @dataclass(frozen=True)
    class Options(MeanTeacher.Options):
        easy: float = option(0.1, "share of the target in the first proxy set (hands: 0.25)", low=0, high=1)
        growth: float = option(0.1, "what is added to the share at each re-split", low=0, high=1)
        every: int = option(500, "iterations between two splits", low=1)
        resplit: bool = option(True, "false: the first split stays, as in the reference's code")
        proxy: float = option(1.0, "weight of the proxy set's loss", low=0)
        mix: float = option(1.0, "weight of the mixed pictures' loss", low=0)

    title = "MAPS"
    about = "the target's easy samples as a proxy of the source, and mixed pictures"
    cost = 2.3
    kind = "source_free"
    needs = frozenset({"target"})
    share: Tensor
    splits: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bank = Bank()
        self.register_buffer("share", torch.ones(()))
        self.register_buffer("splits", torch.zeros((), dtype=torch.int64))

    def round_length(self) -> int:
        return self.options.every

    def begin_round(self, target: Target) -> None:
        """Split: in the bank the proxy set's poses have confidence 1, the others 0."""
        if self.splits and not self.options.resplit:
            return
        first, share = target.predict(), self.options.easy + self.options.growth * int(self.splits)
        rows, _ = split(point_error(first, target.predict(1)), min(share, 1.0))
        easy = torch.zeros_like(first.confidence).index_fill(0, rows, 1.0)
        self.bank.keep(replace(first, confidence=easy), len(target.dataset))
        self.share.fill_(len(rows) / max(len(first), 1))
        self.splits += 1

    def followed(self, votes: Votes, poses: Poses, view: Unlabeled) -> dict[str, Tensor]:
        losses = super().followed(votes, poses, view)
        easy, sigma = self.bank.of(view, self.skeleton.flip), self.options.sigma
        keep = (easy.confidence > 0) & votes.grid.contains(easy.points)
        proxy = drawn_to(votes, easy.points, keep, easy.image_index, sigma)
        losses["proxy"] = self.options.proxy / self.share.clamp_min(1e-6) * proxy
        if "image" in self.model.reads:
            losses["mix"] = self.options.mix * self.smoothness(view, votes)
        return losses

    def smoothness(self, view: Unlabeled, votes: Votes) -> Tensor:
        """The divergence of a mixed batch's votes from the mix of the batch's own."""
        order = torch.randperm(len(view), device=votes.logits.device)
        rho = float(torch.distributions.Beta(BETA, BETA).sample())  # on the CPU, so that no device is waited for
        goal = tuple(mixed(density.detach().exp(), rho, order) for density in votes.log_densities())
        with self.statistics("target"):
            return divergence(self.model(replace(view, inputs=mixed_inputs(view.inputs, rho, order))), goal)


def mixed(values: Tensor, rho: Tensor | float, order: Tensor) -> Tensor:
    """Each of values (B, ...) times rho, and the one that the permutation `order` (B,) names times 1 - rho."""
    return rho * values + (1 - rho) * values[order]


def mixed_inputs(inputs: Mapping[str, Tensor], rho: float, order: Tensor) -> dict[str, Tensor]:
    """`mixed` pictures, normalised; of depth with their reaches, so that the void stays the void."""
    changed = {"image": mixed(normalize(inputs["image"]), rho, order)}
    if "reach" in inputs:
        changed["reach"] = mixed(inputs["reach"], rho, order)
    return {**inputs, **changed}


def split(error: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The easy and the hard of n samples by their errors (n,): the indices (m,) int64 of the m = int(share * n) lowest,
    lowest first, and those of the others in their order."""
    order = error.argsort(stable=True)
    count = int(share * len(error))
    return order[:count], order[count:].sort().values


def map_error(maps: Tensor, label: Tensor) -> Tensor:
    """The reference's error of samples: maps (N, K, H, W) of the second pass against the first pass's Gaussians, mean
    square over joints and cells: (N,)."""
    return (maps - label).square().flatten(1).mean(1)


def point_error(first: Poses, again: Poses) -> Tensor:
    """How far the people of `first` are from the nearest of `again` in the same sample: the mean distance of their
    keypoints over the extent of the pose, (P,); infinite where nobody is there. A pose that fell to one point is far
    from everybody."""
    low, high = (torch.searchsorted(again.image_index, first.image_index, right=side) for side in (False, True))
    count = high - low
    mine = torch.arange(len(first), device=count.device).repeat_interleave(count)
    theirs = torch.arange(len(mine), device=count.device) + (high - count.cumsum(0))[mine]
    away = (first.points[mine] - again.points[theirs]).norm(dim=-1).mean(-1)
    nearest = away.new_full((len(first),), torch.inf).scatter_reduce(0, mine, away, "amin")
    return nearest / extent(first.points)


def extent(points: Tensor) -> Tensor:
    """The longest side of the boxes around poses (P, K, D): (P,), above 0."""
    return (points.amax(1) - points.amin(1)).amax(-1).clamp_min(1e-6)
