"""UDA-Animal: a coarse head and a refined one that teach each other, under a slow teacher (Li and Lee, CVPR 2021).

chaneyddtt/UDA-Animal-Pose @ 36ef846, train/train_refinenet_mt.py, for ResNet-50 with maps of 18 keypoints. With a the
main (coarse) head's votes, b and c those of two heads over refined features, D(votes, goal) the divergence from
Gaussians at the goal, D' the same of the k smallest keypoints of each image, sum / (k B):

    source          L(a) + L(b)                             L is the model's own loss
    pseudo labels   w (D'(a, bank) + D'(b, bank))           the most confident of several passes' poses
    inner loop      r D'(a, b)                              on the student's view, b without gradient
    outer loop      r D(c, teacher's b)                     carried from the teacher's view to the student's
    agreement       0.01 (KL(b, c) + KL(c, b)) / 2          on the student's view
    adversary       v BCE(domain of the refined features)   through a reversal of 2 / (1 + exp(-10 p)) - 1, p to 1

in one update, and then teacher <- d teacher + (1 - d) student, d = min(1 - 1 / (t + 1), decay). By the epoch e, which
is `epoch` updates long: k = max(K - max(e - 2, 0), K / 2); w = pseudo * clip(15 cos, 8, 15) / 8, half a cosine of 15
epochs; r = consistency * exp(-5 (1 - min(e / 10, 1))^2); p = updates / (80 epoch). The paper: w from 15 to 8, r to 90,
v = 0.0005 (half for each domain), for mean squared errors of maps beside a source's loss of weight 1; its epoch is a
pass over the data, its Adam's rate 2.5e-4 (1 - e / 100)^0.9 (optimization gamma -1/N, power -0.9).

For any head. The reference refines the four levels of its upsampling (adapt/refinement.py RefineNet, which agrees
numerically). Other networks have no such levels, and PoseModel shows one tensor of features, so here a bottleneck with
the same channels refines that. It begins as the identity and the refined heads as copies of the given one, so that they
are right from the first update, where the reference pretrains them with the source. Goals are Gaussians at decoded
points; where the reference compares maps as they are, doubtful ones low, the outer loop leaves out the share `masked`.

The teacher's coarse head is evaluated and shipped: the given network in its own form and at its own cost, taught by the
refined one in the inner loop. What refines exists in training only.

Else: the reference labels the target once (`round` 0), by maps averaged over warps and flips; here passes agree as
adapt/relabel.py says. Its teacher passes over the student's pictures too, for the sake of its batch statistics; ours
has those of its own view. Mixup draws one factor of Beta(0.8, 0.8) a batch, not one a sample, and mixes the losses of
both labels, which is what mixed maps give. Several processes do not do what one does: mixup within the target is of
each one's share of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LRScheduler

from ...datasets.constants import constants
from ...datasets.options import option
from ...datasets.sample import Batch, Labeled, Unlabeled
from ...models.output import Poses, Votes, divergence, keypoint_divergence
from ...models.parts.lazy_maps import whole
from ...models.pose_model import PoseModel
from ..alignment import domain_loss
from ..bank import Bank
from ..consistency import carried, confident, drawn
from ..curriculum import cosine_fall, easiest, mixup, sigmoid_rise, smallest, symmetric_divergence, teacher_decay
from ..gradients import WarmStartGradient
from ..refinement import DomainClassifier, Refinement, side_of
from ..relabel import kept, of_passes
from ..strategy import Strategy, Target, Update
from ..temporal import Survey, survey

EPOCHS, AGREEMENT = 80, 0.01
"""Of the reference's run; its weight of what draws the two refined heads together."""
RADIUS = 0.02
"""Within which passes agree, share of the crop's side."""
ONCE = 2**31 - 1
"""Iterations of a round that never ends."""


class Goal(NamedTuple):
    """What votes are drawn to: maps on each of the grid's marginals (B, K, *shape), and which keypoints are on them,
    (B, K) float."""

    maps: tuple[Tensor, ...]
    counted: Tensor

    @staticmethod
    def drawn(*given: Any) -> Goal:
        """As `drawn` of consistency.py, of volumes too in memory whole, because goals are chosen from and mixed."""
        maps, counted = drawn(*given)
        return Goal(tuple(map(whole, maps)), counted)

    def at(self, place: Tensor) -> Goal:
        return Goal(tuple(maps[place] for maps in self.maps), self.counted[place])


class Answers(NamedTuple):
    """The refined features and three heads' votes."""

    features: Tensor
    coarse: Votes
    first: Votes
    second: Votes


class UDAAnimal(Strategy):
    """`model` has the coarse head; `refined` what refines its features and the two heads on them, training's alone."""

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        epoch: int = option(10, "updates that the schedules count as an epoch; they change over 15, and run 80", low=1)
        pseudo: float = option(0.3, "weight of pseudo labels once it has fallen from 15/8 of it (the paper: 8)", low=0)
        consistency: float = option(1.0, "weight of both loops once it has grown (the paper: 90)", low=0)
        adversarial: float = option(0.1, "weight of the domain loss (0.0005 beside squared errors of maps)", low=0)
        decay: float = option(0.999, "of the teacher's weights at each update, once it has grown", low=0, high=1)
        round: int = option(200, "updates between two relabellings of the target; 0: once, as the reference", low=0)
        passes: int = option(5, "over the target for its pseudo labels: one plain, the others warped", low=1)
        dropped: float = option(0.6, "share of the least confident pseudo labels that is left out", low=0, high=1)
        masked: float = option(0.5, "share of the teacher's least confident keypoints that is left out", low=0, high=1)
        sigma: float = option(2.0, "of the Gaussians at keypoints, cells", low=0.1, high=100)
        mixup: bool = option(False, "mix samples, by a coin between the domains or within the target")

    title = "UDA-Animal"
    about = "pseudo labels from easy to hard, a coarse and a refined head that teach each other, a slow teacher"
    cost = 4.9
    kind = "teachers"
    views: ClassVar = {"source": 1, "target": 2}
    updates: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        shape, options = self.model.feature_shape(), self.options
        heads = {name: deepcopy(self.model.head) for name in ("first", "second")}
        self.refined = nn.ModuleDict({"features": Refinement(shape[0]), **heads})
        self.classifier = DomainClassifier(shape[0], side=side_of(shape))
        self.gradient = WarmStartGradient(10.0, hi=1.0, max_iters=EPOCHS * options.epoch, reverse=True)
        self.teacher = deepcopy(self.model).requires_grad_(False)
        self.refined_teacher = deepcopy(self.refined).requires_grad_(False)
        self.bank = Bank()
        self.surveyed: Survey | None = None  # no state: the dataset says it again
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def optimizers(self) -> dict[str, tuple[torch.optim.Optimizer, LRScheduler]]:
        beside = {"refined": list(self.refined.parameters()), "classifier": list(self.classifier.parameters())}
        return {"model": self.optimization.optimizer(self.model.groups() | beside)}

    def round_length(self) -> int:
        return self.options.round or ONCE

    def begin_round(self, target: Target) -> None:
        if self.model.single:
            self.surveyed = self.surveyed or survey(target.dataset)
            radius = RADIUS * torch.from_numpy(self.surveyed.spans)
            poses = of_passes(target, self.options.passes, radius)
        else:  # who is who in two passes is not known
            poses = target.predict()
        sure = kept(poses.confidence, self.options.dropped, ties=True).float()
        self.bank.keep(replace(poses, confidence=sure), len(target.dataset))

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        options, epoch, (view,) = self.options, self.updates // self.options.epoch, target.views
        easy = easiest(epoch, len(self.skeleton), (len(self.skeleton) + 1) // 2)
        loops = sigmoid_rise(epoch, options.consistency)
        mix = Mix.drawn(target) if options.mixup else Mix()

        mixed = mix.samples(source, target, self.model.reads)
        ours, theirs, student = map(self.answers, (*mixed, view), ("source", "target", "target"))
        supervised = self.supervised_twice(ours, source)
        labels = self.goal(theirs.coarse, self.bank.of(target, self.skeleton.flip))
        if mix.share < 1:
            supervised, labels = self.mixed(mix, ours, source, supervised, labels)
        with torch.no_grad():
            refined = self.goal(student.first, self.model.decode(student.first, view))
        places = self.classifier(self.gradient(torch.cat([ours.features, theirs.features])))
        pseudo = torch.stack([curriculum(votes, labels, easy) for votes in (theirs.coarse, theirs.first)])
        losses = {
            "pseudo": options.pseudo / 8 * cosine_fall(epoch) * pseudo.sum(),
            "inner": loops * curriculum(student.coarse, refined, easy),
            "outer": loops * divergence(student.second, *self.taught(target, view, student.second)),
            "agreement": AGREEMENT * symmetric_divergence(student.first, student.second),
            "domain": options.adversarial * domain_loss(places.reshape(-1, 1), len(source) * places[0].numel()),
        }
        yield supervised | losses, ("model",)

    def answers(self, sample: Unlabeled, domain: str) -> Answers:
        """All heads' votes for a sample of `domain`."""
        model, refined = self.model, self.refined
        with self.statistics(domain, model, refined):
            features = model.features(sample)
            better = refined["features"](features)
            heads = (model.votes(better, sample, refined[name]) for name in ("first", "second"))
            return Answers(better, model.votes(features, sample), *heads)

    def supervised_twice(self, answers: Answers, source: Labeled) -> dict[str, Tensor]:
        """The model's own losses, of the coarse and the refined head."""
        refined = self.model.loss(answers.first, source)
        return self.model.loss(answers.coarse, source) | {f"refined {name}": loss for name, loss in refined.items()}

    def goal(self, votes: Votes, poses: Poses, keep: Tensor | None = None) -> Goal:
        """Gaussians at the keypoints of `poses`, of those on the grid and of any confidence, or to `keep`."""
        keep = poses.confidence > 0 if keep is None else keep
        keep = keep & votes.grid.contains(poses.points)
        return Goal.drawn(votes.grid, poses.points, keep, poses.image_index, self.options.sigma, len(votes.logits))

    @torch.no_grad()
    def taught(self, target: Unlabeled, view: Unlabeled, votes: Votes) -> Goal:
        """The refined teacher's keypoints on a view of the target, drawn for `votes` on another."""
        model, refined = self.teacher, self.refined_teacher
        with self.statistics("target", model, refined):
            seen = model.votes(refined["features"](model.features(target)), target, refined["first"])
        poses = carried(model.decode(seen, target), target, view, self.skeleton.flip)
        return self.goal(votes, poses, confident(poses, self.options.masked, ragged=not model.single))

    def mixed(
        self, mix: Mix, ours: Answers, source: Labeled, supervised: dict[str, Tensor], labels: Goal
    ) -> tuple[dict[str, Tensor], Goal]:
        """The losses of the mixed source, and the labels of the mixed target."""
        if mix.partner is not None:
            return supervised, mix.goal(labels, labels.at(mix.partner))
        grid = ours.coarse.grid
        points = source.keypoints[..., : sum(len(one.shape) for one in grid.marginals())]
        keep = self.model.counted(source) & source.whole & grid.contains(points)
        known = Goal.drawn(grid, points, keep, source.image_index, self.options.sigma, len(source))
        others = divergence(ours.coarse, *labels) + divergence(ours.first, *labels)
        own = {name: mix.share * loss for name, loss in supervised.items()}
        return own | {"mixed": (1 - mix.share) * others}, mix.goal(labels, known)

    @torch.no_grad()
    def after_step(self) -> None:
        self.updates += 1
        self.gradient.advance()
        decay = teacher_decay(self.updates, self.options.decay)
        follow([self.teacher, self.refined_teacher], [self.model, self.refined], decay)

    @property
    def predictor(self) -> PoseModel:
        return self.teacher


@dataclass(frozen=True)
class Mix:
    """How much samples keep of themselves in one iteration's mixup, and their partners (B,) within the target; without
    these the domains are mixed with each other, index by index. It mixes uint8 and labels alike."""

    share: float = 1.0
    partner: Tensor | None = None

    @staticmethod
    def drawn(target: Unlabeled) -> Mix:
        share = float(torch.distributions.Beta(0.8, 0.8).sample())  # on the CPU, so that no device is waited for
        if torch.rand(()) < 0.5:
            return Mix(max(share, 1 - share))
        return Mix(share, torch.randperm(len(target), device=target.to_file.device))

    def samples(self, source: Labeled, target: Unlabeled, reads: Sequence[str]) -> tuple[Labeled, Unlabeled]:
        """Both domains' samples with mixed inputs, of those that a model reads."""
        if self.share == 1:
            return source, target
        names = [name for name in reads if name in target.inputs]
        if self.partner is not None:
            return source, self.sample(target, {name: target.inputs[name][self.partner] for name in names})
        ours, theirs = ({name: one.inputs[name] for name in names} for one in (source, target))
        return self.sample(source, theirs), self.sample(target, ours)

    def sample(self, own: Batch, others: dict[str, Tensor]) -> Batch:
        mixed = {name: mixup(own.inputs[name], other, self.share) for name, other in others.items()}
        return replace(own, inputs=own.inputs | mixed)

    def goal(self, own: Goal, other: Goal) -> Goal:
        """Weights are mixed as maps are, so that losses are; the reference's maximum lets a keypoint that nobody saw
        count as seen."""
        pairs = zip(own.maps, other.maps, strict=True)
        return Goal(tuple(mixup(*pair, self.share) for pair in pairs), mixup(own.counted, other.counted, self.share))


def curriculum(votes: Votes, goal: Goal, count: Tensor) -> Tensor:
    """The divergence of votes from a goal, of the `count` keypoints of each image that are nearest to it."""
    return smallest(keypoint_divergence(votes, goal.maps), goal.counted, count)


def turned(maps: Tensor, matrix: Tensor, mirrored: Tensor, flip: list[int]) -> Tensor:
    """Maps (B, K, h, w) sampled under affines (B, 2, 3) of the square from -1 to 1, then mirrored where `mirrored` (B,)
    says so, keypoints changing places by the permutation `flip`: how the reference's teacher comes to the student's
    view, without its shift and its zoom. Ours carries points."""
    grid = functional.affine_grid(matrix, list(maps.shape), align_corners=False)
    there = functional.grid_sample(maps, grid, align_corners=False)
    return torch.where(mirrored.view(-1, 1, 1, 1), there.flip(-1)[:, constants(flip, there, torch.int64)], there)


@torch.no_grad()
def follow(teachers: Sequence[nn.Module], students: Sequence[nn.Module], decay: Tensor) -> None:
    """Move the teachers' parameters to decay * teacher + (1 - decay) * student; `decay` stays on the device."""
    slow, fast = (tuple(p for module in modules for p in module.parameters()) for modules in (teachers, students))
    difference = torch._foreach_sub(fast, slow)
    torch._foreach_mul_(difference, 1 - decay)
    torch._foreach_add_(slow, difference)
