"""HamiPose's gradient gate: what the target asks of a keypoint's outputs may not undo what the source asks of them.

HamiPose: Hamiltonian Optimization for Unsupervised Domain Adaptive Pose Estimation (CVPR 2026). No code is public; this
is written from the paper's abstract and from notes of others on it, and no number of its authors' could be compared.

From those: a mean teacher, and at the network's output, not at its weights, for each keypoint k by itself, the target's
gradient t split by the source's gradient s under an adaptive metric M. What is orthogonal to s passes, what is parallel
passes a gate:
    t' = t - p + w p,    p = <t, s> / <s, s> s,    <a, b> = sum_n M_n a_n b_n,
    w = c * strength * max(0, tanh(gamma rho)),    rho = <t, s> / sqrt(<t, t> <s, s>),
c the teacher's confidence in the keypoint; `strength` grows from 0 to 2 over training.

Ours, because the notes leave it open:
- The two batches show other pictures, so that s and the t in rho are means over the batches of all processes (what a
  keypoint's outputs are asked for on the whole); p and c are of each picture of the target.
- M = 1 / sqrt(v + mean v), v the running second moment, over both domains, of the gradient at each output of k,
  corrected for its zero start as Adam's; the mean is over the outputs of k, so that cells of which nothing is ever
  asked do not count more than others. (One number for all outputs of k would cancel.)
- strength = highest * min(1, update / warmup), a line.
- Outputs are the votes: responses, and where candidates have positions of their own, these, gated by themselves. A head
  whose supervised loss reads something else beside the votes is compared by what reaches the votes; where nothing does,
  the target's gradient passes whole. Where all keypoints share the candidates' positions, they share a gate, with the
  mean confidence; where several people are in a picture, the clipped sum of theirs.

Not built: the paper's kick-drift-kick optimiser. The optimiser is the run's, as for all strategies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...datasets.options import option
from ...datasets.sample import Labeled, Unlabeled
from ...models.output import Votes, per_image
from ..consistency import carried, drawn_to
from ..gradients import Metric, gated, with_gradients
from ..processes import average
from ..strategy import Update
from .mean_teacher import MeanTeacher


class HamiPose(MeanTeacher):
    """A mean teacher whose consistency reaches the outputs through the gate."""

    @dataclass(frozen=True)
    class Options(MeanTeacher.Options):
        gamma: float = option(1.0, "how soon the gate opens with the correlation of the two gradients", low=0)
        highest: float = option(2.0, "how far the gate opens", low=0)
        warmup: int = option(1000, "updates over which it opens", low=1)
        momentum: float = option(0.99, "of the second moments that the metric is made of", low=0, high=0.9999)

    title = "HamiPose (gate)"
    about = "a mean teacher whose gradient at each keypoint's outputs is split against the source's and gated"
    cost = 2.3

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.metrics = torch.nn.ModuleDict({name: Metric(self.options.momentum) for name in ("logits", "where")})

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        with self.statistics("source"):
            votes = self.model(source)
        losses = self.model.loss(votes, source)
        asked = gradients(torch.stack(list(losses.values())).sum(), votes)
        yield losses | self.gated_target(target, asked), ("model",)

    def gated_target(self, target: Unlabeled, asked: dict[str, Tensor]) -> dict[str, Tensor]:
        """The consistency loss; its gradient at the votes is gated by what the source has `asked` of them."""
        (view,) = target.views
        poses = carried(self.taught(target), target, view, self.skeleton.flip)
        with self.statistics("target"):
            votes = self.model(view)
        keep = self.trusted(poses, votes)
        loss = self.options.weight * drawn_to(votes, poses.points, keep, poses.image_index, self.options.sigma)
        sure = per_image(poses.confidence * keep, poses.image_index, len(view))
        strength = self.options.highest * (self.averaged / self.options.warmup).clamp_max(1)
        edited = [
            (getattr(votes, name), self.gated(self.metrics[name], gradient, asked[name], strength * sure))
            for name, gradient in gradients(loss, votes).items()
        ]
        return {"consistency": with_gradients(loss, edited)}

    def gated(self, metric: Any, target: Tensor, source: Tensor, strength: Tensor) -> Tensor:
        """The target's gradient at one kind of outputs (B, N, K or 1, ...), gated; strength (B, K)."""
        shape = target.movedim(2, 1).shape
        target, source = (each.movedim(2, 1).flatten(2).float() for each in (target, source))
        # a mean over B pictures asks 1 / B of each: times B, so that it does not matter how many processes share them
        squares = torch.stack([(len(each) * each).square().mean(0) for each in (source, target)]).mean(0)
        source_mean, target_mean = average(torch.stack([each.mean(0) for each in (source, target)]))
        strength = strength if target.shape[1] == strength.shape[1] else strength.mean(1, keepdim=True)
        answer = gated(target, source_mean, target_mean, metric(average(squares)), self.options.gamma, strength)
        return answer.view(shape).movedim(1, 2)


def gradients(loss: Tensor, votes: Votes) -> dict[str, Tensor]:
    """The gradient of a loss at the votes: of `logits` (B, N, K), and of `where` (B, N, K or 1, D) where the network
    moves the candidates; zeros where the loss does not reach them."""
    outputs = {name: getattr(votes, name) for name in ("logits", "where")}
    outputs = {name: one for name, one in outputs.items() if one is not None and one.requires_grad}
    parts = torch.autograd.grad(loss, [*outputs.values()], retain_graph=True, allow_unused=True, materialize_grads=True)
    return dict(zip(outputs, parts, strict=True))
