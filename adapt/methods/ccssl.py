"""CC-SSL: Learning from Synthetic Animals (Mu et al., CVPR 2020): consistency-constrained semi-supervised learning.

JitengMu/Learning-from-Synthetic-Animals @ 1ff5b52, CCSSL/CCSSL.py and CCSSL/scripts/consistency.py; written from
descriptions of them. At the beginning of each round the whole target is labelled by the model itself:

1. Invariance and equivariance. Five passes under known warps w give points p_w with confidences c_w; the label is
       x* = argmax_x s(x),    s(x) = 1/5 sum_w c_w exp(-|x - p_w|^2 / (2 r^2)),    c = s(x*).
2. Temporal consistency. Lucas-Kanade flow f of the frame before, whose label has confidence c': where f moves it by no
   more than 15 px and c / c' < 0.9, the label is f with confidence 0.9 c'.
3. Curriculum. The least confident 0.8, 0.6, 0.4, then 0.2 of all labels are dropped, by round: the others weigh 1.

Within the round labels stay, and the model learns from source and target together, L = L_source + weight * L_target,
where L_target is KL from Gaussians at the labels, in an augmented view, to the votes' density.

Against the reference: points take the place of maps (adapt/relabel.py says why this is the same, and has the maps), so
that every head is adapted. Neighbours in time are those of one video, a gap parts them, and flow has to lead back to
where it began; the reference takes neighbours in the list, whatever videos they are of, believes all flow, and writes
its doubt into the earlier label too (`temporal=reference`). A weight of 10 belonged to the mean square of maps; the
loss here is the teachers'. Where all confidences are alike, all labels are kept, not none. Depth frames, clips and
keypoints without pictures do without flow. A model that finds several people is asked once, without flow: who is who in
two passes is not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ...datasets.options import option
from ...datasets.sample import Labeled, Unlabeled
from ...models.output import Poses
from ..bank import Bank
from ..consistency import drawn_to
from ..relabel import kept, of_passes
from ..strategy import Strategy, Target, Update
from ..temporal import Survey, propagated, survey


class CCSSL(Strategy):
    """The bank holds the labels of a round; its confidences are their weights, 0 or 1."""

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        length: int = option(200, "updates of a round, at whose beginning the target is labelled", low=1)
        passes: int = option(5, "of each sample, under known warps, that a label is made of", low=1)
        radius: float = option(0.03, "within which passes agree, share of the crop's side", low=1e-4, high=1)
        temporal: str = option(
            "video",
            "labels hold on from frame to frame of a video; reference: of the list, as its code does; off: alone",
            choices=("video", "reference", "off"),
        )
        dropped: list[float] = option(
            [0.8, 0.6, 0.4, 0.2],
            "share of the least sure labels that is left out, by round, the last one holds; begin with 1 where batch "
            "norm has to see the target first, before its labels are worth learning from",
            low=0,
            high=1,
        )
        weight: float = option(1.0, "of the loss at the labels", low=0)
        sigma: float = option(2.0, "of the Gaussians at the labels, cells", low=0.1, high=100)

    title = "CC-SSL"
    about = "rounds of the model's own labels that hold under warps and in time, the surest first"
    cost = 1.9
    kind = "teachers"
    besides = "can use video"
    rounds: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bank = Bank()
        self.register_buffer("rounds", torch.zeros((), dtype=torch.int64))
        self.surveyed: Survey | None = None  # no state: the dataset says it again

    def round_length(self) -> int:
        return int(self.options.length)

    def begin_round(self, target: Target) -> None:
        options = self.options
        dropped = options.dropped[min(int(self.rounds), len(options.dropped) - 1)]
        poses = self.labels(target) if self.model.single else target.predict()
        sure = kept(poses.confidence, dropped, ties=True).float()
        self.bank.keep(replace(poses, confidence=sure), len(target.dataset))
        self.rounds += 1

    def labels(self, target: Target) -> Poses:
        """The labels of all samples, each with one person."""
        self.surveyed = self.surveyed or survey(target.dataset)
        radius = self.options.radius * torch.from_numpy(self.surveyed.spans)
        poses, reference = of_passes(target, self.options.passes, radius), self.options.temporal == "reference"
        pairs = list(pairwise(self.surveyed.pictures)) if reference else self.surveyed.pairs
        if self.options.temporal == "off" or not pairs:
            return poses
        return propagated(target.dataset, poses, pairs, reference)

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        with self.statistics("source"):
            losses = self.supervised(source)
        if len(self.bank.points):  # else no round has begun, or nobody was seen in it
            losses["pseudo"] = self.options.weight * self.pseudo(target)
        yield losses, ("model",)

    def pseudo(self, target: Unlabeled) -> Tensor:
        """The divergence of the votes from the round's labels."""
        labels = self.bank.of(target, self.skeleton.flip)
        with self.statistics("target"):
            votes = self.model(target)
        keep = (labels.confidence > 0) & votes.grid.contains(labels.points)
        return drawn_to(votes, labels.points, keep, labels.image_index, self.options.sigma)
