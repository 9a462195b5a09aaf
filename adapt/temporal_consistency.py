"""Temporal consistency: predictions of neighbouring frames agree, for any strategy whose target is videos.

No flow: between a frame and the frames next to it a keypoint moves as if its speed were constant. With y(t) the
predictions (the means of the votes, without gradient but in the middle), a and b the steps in time to the frame before
and the frame after, and all differences in cells of the model's grid,
    d    = y(t) - (b y(t - a) + a y(t + b)) / (a + b)
    loss = weight * mean of c * huber(max(|d| - slack, 0)),    huber(r) = r^2 / 2 below 1, else r - 1/2
    c    = the smaller of both neighbours' confidences
So constant motion costs nothing, wherever it goes, and neither does drift; `slack` is left to true acceleration. The
neighbours teach: an answer is drawn to what two others, whose errors are their own, say of it.

Never across cuts: where a video ends or cuts, a clip repeats its last frame, and a frame that is its neighbour's copy
has no term. All frames of a clip share one crop and augmentation, so that nothing has to be carried. Of several people
a neighbour's is the most similar one; who has no partner in both has no term.

The pass is made beside the strategy's own, with the frames' own batch statistics in training mode, and moves no
running ones. It costs three passes forward and one backward.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from ..datasets.constants import constants
from ..datasets.sample import Unlabeled
from ..models.output import Grid, Poses
from ..models.pose_model import PoseModel
from .anatomy import located
from .batch_norm import moved
from .consistency import huber
from .strategy import Strategy, Update
from .views import partners, stacked

NEAR = 4.0
"""Cells: the sigma within which a person is looked for again in the votes of a model that finds several people."""


def smoothed(strategy: Strategy, optimizers: Mapping[str, Any], source: Any, target: Unlabeled) -> Iterator[Update]:
    """A strategy's step on the middle frames of clips; its first update of the model has the term besides."""
    model, clip = strategy.model, target
    own, given = {id(parameter) for parameter in model.parameters()}, False
    if type(strategy).clip < 2:  # its step knows no neighbours
        target = clip.window(1, model.frames)
    for losses, names in strategy.step(source, target):
        groups = [group for name in names for group in optimizers[name][0].param_groups]
        if not given and any(id(parameter) in own for group in groups for parameter in group["params"]):
            losses = losses | {"steady": strategy.steady * inconsistency(model, clip, strategy.slack)}
            given = True
        yield losses, names


def inconsistency(model: PoseModel, clip: Unlabeled, slack: float) -> Tensor:
    """The mean over images and keypoints of how far a model's answers to clips, of two frames more than it reads, are
    from constant speed; `slack` is in cells."""
    before, now, after = (replace(clip.window(start, model.frames), views=()) for start in range(3))
    with moved(0, model):
        # the pass that learns comes first: autocast would keep the weights that the others cast, without gradient
        people, points, grid = answers(model, now)
        with torch.no_grad():
            others, elsewhere, _ = answers(model, stacked([before, after]))
    later = replace(others, image_index=others.image_index + len(clip))
    everyone = Poses(*(torch.cat([getattr(one, f.name) for one in (people, later)]) for f in fields(Poses)))
    (before_at, first), (after_at, second) = (partners(people, everyone, n, now, model.single) for n in (1, 2))
    where = torch.cat([points.detach(), elsewhere])
    apart = departure(points, where[before_at], where[after_at], steps(clip)[people.image_index], grid)
    known = first & second & moving(clip)[people.image_index]
    sure = torch.minimum(everyone.confidence[before_at], everyone.confidence[after_at]) * known[:, None]
    return (sure * huber(apart - slack)).sum() / (len(clip) * apart.shape[-1])


def answers(model: PoseModel, sample: Unlabeled) -> tuple[Poses, Tensor, Grid]:
    """The poses of a sample, their points (P, K, D) as means of votes that carry gradient, and the grid of those."""
    votes = model(sample)
    poses = model.decode(votes, sample).each(Tensor.detach)
    return poses, located(votes, poses, model.single, NEAR), votes.grid


def departure(now: Tensor, before: Tensor, after: Tensor, steps: Tensor, grid: Grid) -> Tensor:
    """How far points (P, K, D) are from where constant speed puts them between those before and after, steps (P, 2) in
    time away: (P, K) cells."""
    share = (steps[:, 0] / steps.sum(-1)).view(-1, 1, 1)
    between = before + share * (after - before)
    parts = zip(grid.marginals(), grid.split(now - between), strict=True)
    away = torch.cat([part / constants(one.stride, part) for one, part in parts], -1)
    return (away.square().sum(-1) + 1e-12).sqrt()  # whose gradient at 0 is 0


def moving(clip: Unlabeled) -> Tensor:
    """Of which samples (B,) the middle frame is no copy of a neighbour, as at ends and cuts of videos."""
    frames = clip.inputs["image" if "image" in clip.inputs else "keypoints2d"]
    middle = frames.shape[1] // 2
    three = frames[:, middle - 1 : middle + 2]
    return ~(three[:, 1:] == three[:, :-1]).flatten(2).all(2).any(1)


def steps(clip: Unlabeled) -> Tensor:
    """The steps in time to the frames before and after the middle one: (B, 2)."""
    if "margins" not in clip.inputs:
        return torch.ones(len(clip), 2, device=clip.frame.device)
    first = clip.inputs["margins"].shape[1] // 2 - 1
    return clip.inputs["margins"][:, first : first + 2]
