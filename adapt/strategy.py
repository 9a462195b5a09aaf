"""What an adaptation strategy is: a module that yields losses, and names what each of them updates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from ..datasets.sample import Labeled, Unlabeled
from ..datasets.skeleton import Skeleton
from ..models.pose_model import PoseModel
from .batch_norm import running_statistics

Update = tuple[dict[str, Tensor], tuple[str, ...]]


@dataclass
class Optimization:
    """Rates of one stage. The rate at update i is rate * factor * (1 + gamma * i) ** -power, times 0.1 for each
    milestone passed; the defaults are RegDA's (TLLib, regda.py @ c4aa59e)."""

    name: str = "sgd"  # sgd (momentum 0.9, Nesterov) or adam
    rate: float = 0.1
    factors: dict[str, float] = field(default_factory=lambda: {"backbone": 0.1, "upsampling": 0.1})
    weight_decay: float = 1e-4
    gamma: float = 1e-4
    power: float = 0.75
    milestones: list[int] = field(default_factory=list)  # updates after which the rate falls to a tenth

    def optimizer(self, groups: dict[str, list[nn.Parameter]]) -> tuple[torch.optim.Optimizer, LRScheduler]:
        """One optimiser over named groups of parameters, and its schedule by update."""
        named: list[dict[str, Any]] = [
            {"params": list(parameters), "lr": self.rate * self.factors.get(name, 1.0), "name": name}
            for name, parameters in groups.items()
        ]
        optimizer: torch.optim.Optimizer
        if self.name == "sgd":
            optimizer = torch.optim.SGD(named, momentum=0.9, weight_decay=self.weight_decay, nesterov=True)
        elif self.name == "adam":
            optimizer = torch.optim.Adam(named, weight_decay=self.weight_decay)
        else:
            raise ValueError(f"optimization name={self.name!r} is not known; choose sgd or adam")
        return optimizer, LambdaLR(optimizer, self.factor)

    def factor(self, update: int) -> float:
        passed = sum(update >= milestone for milestone in self.milestones)
        return (1 + self.gamma * update) ** -self.power * 0.1**passed


class Strategy(nn.Module, ABC):
    """Updates of a model from labelled source and unlabelled target batches.

    The trainer zeroes gradients, runs backward on the sum of the yielded losses, steps the optimisers named beside
    them and goes on with the generator. A strategy never calls backward, logs or moves devices.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"source", "target"})
    views: ClassVar[int] = 1
    labelled_target: ClassVar[bool] = False  # only the oracle is handed target labels

    def __init__(self, model: PoseModel, skeleton: Skeleton, optimization: Optimization, batch_norm: str = "target"):
        super().__init__()
        self.model, self.skeleton, self.optimization, self.batch_norm = model, skeleton, optimization, batch_norm

    def statistics(self, domain: str, *modules: nn.Module) -> AbstractContextManager[None]:
        """Within it, a pass of `domain` through `modules` (the model) moves statistics as the policy says."""
        return running_statistics(self.batch_norm, domain, *(modules or (self.model,)))

    def optimizers(self) -> dict[str, tuple[torch.optim.Optimizer, LRScheduler]]:
        """Optimisers and their schedules by name; one over the whole model unless a method needs more."""
        return {"model": self.optimization.optimizer(self.model.groups())}

    @abstractmethod
    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        """One iteration: a generator that yields (losses by name, already weighted; names of optimisers)."""

    def after_step(self) -> None:
        """Called once after the last update of an iteration."""

    @property
    def predictor(self) -> PoseModel:
        """The network that is evaluated and shipped."""
        return self.model

    def supervised(self, batch: Labeled) -> dict[str, Tensor]:
        """The model's own losses on a labelled batch."""
        return self.model.loss(self.model(batch), batch)
