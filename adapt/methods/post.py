"""POST: prior-guided source-free domain adaptation for human pose estimation (Raychaudhuri et al., ICCV 2023).

driptaRC/POST @ 42e1186, train_human_prior.py (train_sf) and lib/datasets/util.py: a mean teacher without a source,
whose head and upsampling stay as they were given.
    L = weight * L_c + barlow * L_b + plausibility * L_p
L_c is the mean teacher's consistency. L_b makes the pooled features of both views alike and each feature say something
of its own (Barlow twins): of their correlations C over the batch
    L_b = 1e-3 * (sum_i (C_ii - 1)^2 + 5e-3 * sum_{i != j} C_ij^2).
L_p is the distance that a prior of poses gives to the student's: it reads the directions of the bones, and is
trained on the source's labels by whoever has them, `keyshift prior EXPERIMENT` (adapt/prior.py). Before update
`prior_from` L_p is left out and L_b counts half. Without the file there is no L_p, and a run says so.

Against the reference: the prior knows upright poses, so the student's points go back to the file's frame before it sees
them (`frame=view`: as the reference has it, turned by up to 60 degrees); in 3D its directions are of mm in the camera's
frame. Points are the mean of the votes (there the softmax of 500 times a map), of a model of several people the mean
around the teacher's points. Features are those below the head, after upsampling, not warped back before they are
pooled; correlations reach 1 (there (B - 1) / B: `exact=false`). Nothing is covered in the student's picture. The
distance has no gradient where the prior finds nothing wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from ...datasets.options import FILE, option
from ...datasets.reading.files import from_home
from ...datasets.sample import PIXELS, Unlabeled
from ..alignment import pooled
from ..anatomy import in_file, located
from ..consistency import carried, drawn_to
from ..prior import PosePrior, directions_of, load_prior
from ..processes import joined
from .mean_teacher import MeanTeacher


class Post(MeanTeacher):
    """The prior is part of the state."""

    @dataclass(frozen=True)
    class Options(MeanTeacher.Options):
        barlow: float = option(1e-3, "weight of the redundancy of features", low=0)
        prior: str | None = option(None, "a file of keyshift prior; null: poses may be implausible", tags=(FILE,))
        plausibility: float = option(1e-6, "weight of the distance that the prior gives", low=0)
        prior_from: int = option(200, "the update from which the prior counts; the reference: 3000 of 14500", low=0)
        frozen: list[str] = option(["head", "upsampling"], "parts of the network that stay as they are given")
        frame: str = option("file", "in which the prior sees poses; view: as augmented", choices=("file", "view"))
        exact: bool = option(True, "correlations over n - 1; false: the reference's over n")

    title = "POST"
    about = "a mean teacher without a source, with a prior of poses and features that do not repeat each other"
    cost = 1.3
    kind = "source_free"
    besides = "can use a prior of poses (a file of `keyshift prior`)"
    needs = frozenset({"target"})
    views: ClassVar = {"source": 1, "target": 2}

    @classmethod
    def remarks(cls, options: Any) -> list[str]:
        if options.prior is not None or options.plausibility == 0:
            return []
        return [
            f"{cls.title} runs without a prior of poses: make one with keyshift prior, and name it as post.prior=FILE"
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        parts = self.model.groups()
        if parts.keys() <= set(self.options.frozen):
            raise ValueError(f"post.frozen={self.options.frozen} freezes all of {', '.join(parts)}; leave one to adapt")
        for name in parts.keys() & set(self.options.frozen):
            for parameter in parts[name]:
                parameter.requires_grad_(False)
        self.prior = None
        if self.options.prior is not None:
            self.prior = load_prior(from_home(self.options.prior), self.skeleton).requires_grad_(False)
            dims = 2 if self.model.space == PIXELS else 3
            if self.prior.dims != dims:
                raise ValueError(
                    f"{self.options.prior} is a prior of {self.prior.dims}D poses, {type(self.model).__name__} answers "
                    f"in {dims}D: train one on labels of the model's own kind, keyshift prior EXPERIMENT"
                )

    def optimizers(self) -> dict[str, tuple[torch.optim.Optimizer, LRScheduler]]:
        parts = self.model.groups()
        return {"model": self.optimization.optimizer({n: p for n, p in parts.items() if n not in self.options.frozen})}

    def of_target(self, target: Unlabeled) -> dict[str, Tensor]:
        (view,) = target.views
        options = self.options
        with torch.no_grad(), self.statistics("target", self.teacher):
            given = self.teacher.features(target)
            poses = self.teacher.decode(self.teacher.votes(given, target), target)
        poses = carried(poses, target, view, self.skeleton.flip)
        with self.statistics("target"):
            features = self.model.features(view)
            votes = self.model.votes(features, view)
        keep = self.trusted(poses, votes)
        consistency = drawn_to(votes, poses.points, keep, poses.image_index, options.sigma)
        begun = (self.averaged >= options.prior_from).float()
        own, theirs = (joined(pooled(one).float()) for one in (features, given))
        alike = redundant(correlation(own, theirs, options.exact))
        losses = {"consistency": options.weight * consistency, "barlow": options.barlow * (0.5 + 0.5 * begun) * alike}
        if self.prior is not None:
            seen = located(votes, poses, self.model.single, 2 * options.sigma)
            distance = self.implausible(self.prior, seen, view, poses.image_index)
            losses["prior"] = options.plausibility * begun * distance
        return losses

    def implausible(self, prior: PosePrior, points: Tensor, view: Unlabeled, image_index: Tensor) -> Tensor:
        """The distances that a prior gives to points (P, K, D) of a view: each image's people together, on average."""
        if self.options.frame == "file":
            points = in_file(points, view, image_index, self.skeleton.flip)
        return prior(directions_of(prior, points)).sum() / len(view)


def correlation(first: Tensor, second: Tensor, exact: bool = True) -> Tensor:
    """Correlations (C, C) of the features (B, C) of two views over the batch; a feature that is constant has none. Not
    `exact`: the reference divides by B after an unbiased deviation, so that the diagonal is (B - 1) / B at best."""
    count = max(len(first) - 1, 1)
    parts = []
    for features in (first, second):
        away = features - features.mean(0)
        parts.append(away / (away.norm(dim=0) / count**0.5).clamp_min(1e-8))
    return parts[0].T @ parts[1] / (count if exact else len(first))


def redundancy(alike: Tensor) -> tuple[Tensor, Tensor]:
    """Of correlations (C, C) the squares (diagonal - 1)^2 (C,), and those of all others row by row (C * (C - 1),)."""
    count = len(alike)
    others = alike.flatten()[:-1].view(count - 1, count + 1)[:, 1:]  # each row starts behind a diagonal entry
    return (alike.diagonal() - 1).square(), others.flatten().square()


def redundant(alike: Tensor) -> Tensor:
    """The Barlow term of correlations (C, C)."""
    on, off = redundancy(alike)
    return 1e-3 * (on.sum() + 5e-3 * off.sum())
