"""What an adaptation strategy is: a module that yields losses, and names what each of them updates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from ..datasets import options as owned
from ..datasets.options import FILE, option, tagged
from ..datasets.reading.files import from_home
from ..datasets.sample import Labeled, PoseDataset, Unlabeled
from ..datasets.skeleton import Skeleton
from ..models.output import Poses
from ..models.pose_model import PoseModel
from .batch_norm import MOVED, running_statistics

Update = tuple[dict[str, Tensor], tuple[str, ...]]
KINDS = {
    "reference": "what adaptation is measured against",
    "aligned": "source and target, drawn together in features or outputs",
    "teachers": "source and target, pseudo labels of the target by a teacher or by the model itself",
    "source_free": "a given model and the unlabelled target alone",
    "online": "a given model, one pass over the target in its order",
    "other": "strategies of one's own that name no kind",
}
"""What strategies there are; a comparison may name them by kind."""


@dataclass(frozen=True)
class Target:
    """All target training samples, for methods that relabel."""

    dataset: PoseDataset
    """Without labels."""
    passed: Callable[[int], Poses]

    def predict(self, warp: int = 0) -> Poses:
        """The predictor's poses for every sample: of its plain crop, or in the known warp of that number (1, 2, ...), a
        view as augmentation draws it, the same at each call. Points are in file pixels, `image_index` the samples'
        rows."""
        return self.passed(warp)


@dataclass(frozen=True)
class Optimization(owned.Options):
    """Rates of one stage. The rate at update i is rate * factor * (1 + gamma * i) ** -power, times 0.1 for each
    milestone passed; the defaults are RegDA's (TLLib, regda.py @ c4aa59e)."""

    name: str = option("sgd", "sgd (momentum 0.9, Nesterov), adam or adamw", choices=("sgd", "adam", "adamw"))
    rate: float = option(0.1, "the learning rate", low=0)
    factors: dict[str, float] = option(
        {"backbone": 0.1, "upsampling": 0.1}, "of the rate, by the part of the network that holds the parameters"
    )
    weight_decay: float = option(1e-4, "weight decay", low=0)
    gamma: float = option(1e-4, "how fast the rate falls; -1/N and power=-0.9: the polynomial that ends at N")
    power: float = option(0.75, "in which form it falls")
    milestones: list[int] = option([], "updates after which the rate falls to a tenth", low=0)
    clip: float = option(0.0, "norm that an update's gradients are scaled down to; 0: they stay as they are", low=0)

    def optimizer(self, groups: dict[str, list[nn.Parameter]]) -> tuple[torch.optim.Optimizer, LRScheduler]:
        """One optimiser over named groups of parameters, and its schedule by update."""
        named: list[dict[str, Any]] = [
            {"params": list(parameters), "lr": self.rate * self.factors.get(name, 1.0), "name": name}
            for name, parameters in groups.items()
        ]
        optimizer: torch.optim.Optimizer
        if self.name == "sgd":
            decay = self.weight_decay
            optimizer = torch.optim.SGD(named, momentum=0.9, weight_decay=decay, nesterov=True, fused=True)
        else:
            kind = torch.optim.Adam if self.name == "adam" else torch.optim.AdamW
            optimizer = kind(named, weight_decay=self.weight_decay, fused=True)
        return optimizer, LambdaLR(optimizer, self.factor)

    def factor(self, update: int) -> float:
        passed = sum(update >= milestone for milestone in self.milestones)
        left = 1 + self.gamma * update
        return (left**-self.power if left > 0 else 0.0) * 0.1**passed


class Strategy(nn.Module, ABC):
    """Updates of a model from labelled source and unlabelled target batches.

    The trainer zeroes gradients, runs backward on the sum of the yielded losses, steps the optimisers named beside
    them and goes on with the generator. A strategy never calls backward, logs or moves devices.
    """

    @dataclass(frozen=True)
    class Options(owned.Options):
        """What every strategy has; a strategy's own options are a subclass of it."""

        soft_reset: float = option(
            1.0, "share of its weights that each update keeps; the rest is the given model's (0.95)", low=0, high=1
        )
        steady: float = option(
            0.0, "of targets that are videos: weight of the agreement of neighbouring frames; 0: none", low=0
        )
        steady_slack: float = option(0.25, "acceleration that this allows, cells of the model's grid", low=0)

    title: ClassVar[str]
    """Its name as a person reads it."""
    about: ClassVar[str]
    """What it does, in one line."""
    kind: ClassVar[str] = "other"
    """Of KINDS."""
    besides: ClassVar[str] = ""
    """What it needs or can use beside pictures: a file, video, labels in space; in a few words."""
    cost: ClassVar[float] = 0.0
    """Of a step, as a multiple of a supervised one; 0 where nobody measured it (keyshift bench strategies)."""
    prefers: ClassVar[str] = "target"
    """The policy of batch norm (batch_norm.py) of its runs from given weights, where none is said."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Options without which it cannot run: files that the user has to name."""
    needs: ClassVar[frozenset[str]] = frozenset({"source", "target"})
    """Without "source" it is source-free: its run opens no source."""
    views: ClassVar[dict[str, int]] = {"source": 1, "target": 1}
    """In how many known warps each domain's samples come; where an option says it, an instance has its own."""
    clip: ClassVar[int] = 0
    """How many windows of the frames that the model reads the target's training samples hold, as clips of a video; 0 or
    1: one. With 3 a step finds at `target.window(0, model.frames)` the frame before, at 1 the sample itself and at 2
    the frame after. Where the option `steady` asks for it, an instance has its own."""
    reads: ClassVar[frozenset[str]] = frozenset()
    """The inputs of samples that it is made for: it suits the systems that read them all."""
    learns: ClassVar[bool] = True
    """False where no weights are trained, but batch norm's statistics alone move."""
    labelled_target: ClassVar[bool] = False  # only the oracle is handed target labels
    adapts: ClassVar[bool] = True
    """False of what adaptation is measured against."""
    options: Any

    def __init__(
        self,
        model: PoseModel,
        skeleton: Skeleton,
        optimization: Optimization,
        batch_norm: str = "target",
        options: Any = None,
    ) -> None:
        super().__init__()
        if batch_norm not in MOVED:
            raise ValueError(
                f"batch_norm={batch_norm} is settled on the target before training starts, and here it is not: choose "
                f"one of {', '.join(MOVED)}"
            )
        if self.reads:
            self.check(model)
        self.model, self.skeleton, self.optimization, self.batch_norm = model, skeleton, optimization, batch_norm
        self.options = self.Options() if options is None else options
        self.clip = self.windows(self.options)  # type: ignore[misc]
        self.steady: float = getattr(self.options, "steady", 0.0)
        self.slack: float = getattr(self.options, "steady_slack", 0.0)
        if batch_norm == "frozen":
            model.freeze_statistics()
        self.kept: float = getattr(self.options, "soft_reset", 1.0)
        if self.kept < 1:
            self.given = deepcopy(model).requires_grad_(False)

    @classmethod
    def remarks(cls, options: Any) -> list[str]:
        """What a user should know before a run with `options`: what it does without, say."""
        return []

    @classmethod
    def check(cls, model: type[PoseModel] | PoseModel) -> None:
        """Raises ValueError for a system that it is not made for."""
        if not cls.reads <= set(model.reads):
            name = model.__name__ if isinstance(model, type) else type(model).__name__
            raise ValueError(
                f"{cls.title} is made for systems that read {' and '.join(sorted(cls.reads))}; {name} reads "
                f"{' and '.join(model.reads)}. Choose another strategy (keyshift strategies)"
            )

    @classmethod
    def windows(cls, options: Any) -> int:
        """What `clip` is with `options`. Raises ValueError for temporal consistency where no update learns from the
        target."""
        if getattr(options, "steady", 0.0) == 0:
            return cls.clip
        if not (cls.adapts and cls.learns and "target" in cls.needs):
            raise ValueError(
                f"steady={options.steady:g}: {cls.title} trains no weights on the unlabelled target, so that nothing "
                "learns from neighbouring frames; leave it at 0, or choose another strategy"
            )
        return max(cls.clip, 3)

    @classmethod
    def restarts(cls, options: Any) -> bool:
        """Whether a part of the given model starts afresh, so that no mixture of the given and the adapted weights is a
        network (mixture.py)."""
        return False

    def statistics(self, domain: str, *modules: nn.Module) -> AbstractContextManager[None]:
        """Within it, a pass of `domain` through `modules` (the model) moves statistics as the policy says."""
        return running_statistics(self.batch_norm, domain, *(modules or (self.model,)))

    def optimizers(self) -> dict[str, tuple[torch.optim.Optimizer, LRScheduler]]:
        """Optimisers and their schedules by name; one over the whole model unless a method needs more."""
        return {"model": self.optimization.optimizer(self.model.groups())}

    @abstractmethod
    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        """One iteration: a generator that yields (losses by name, already weighted; names of optimisers). A domain that
        the strategy does not need is None."""

    def see_source(self, batches: Callable[[], Iterable[Unlabeled]] | None) -> None:
        """Called once before a run's first update, with the source's training samples as evaluation sees them, or None
        where no source is opened: for methods that keep statistics of it."""

    @torch.no_grad()
    def draw_back(self) -> None:
        """Draw the model's weights back towards the given ones as `soft_reset` says; called before `after_step`."""
        if self.kept < 1:
            given = dict(self.given.named_parameters())
            own = {n: p for n, p in self.model.named_parameters() if n in given and p.shape == given[n].shape}
            torch._foreach_lerp_(list(own.values()), [given[name] for name in own], 1 - self.kept)

    def after_step(self) -> None:
        """Called once after the last update of an iteration."""

    def round_length(self) -> int:
        """Iterations between two calls of `begin_round`; 0 where there are no rounds."""
        return 0

    def begin_round(self, target: Target) -> None:
        """Called before each round's first iteration by methods that relabel. What is kept of the target's poses
        belongs into the state, as a Bank (adapt/bank.py) does it, so that a resumed run has it."""

    @property
    def predictor(self) -> PoseModel:
        """The network that is evaluated and shipped."""
        return self.model

    def supervised(self, batch: Labeled) -> dict[str, Tensor]:
        """The model's own losses on a labelled batch."""
        return self.model.loss(self.model(batch), batch)


def frames_of(model: PoseModel, clip: int) -> int:
    """How many frames a sample has that holds `clip` windows of what the model reads. Raises ValueError for a system
    that reads keypoints of any number of frames."""
    if "keypoints2d" in model.reads and model.frames == 0:
        raise ValueError(
            f"{type(model).__name__} reads 2D keypoints of any number of frames, so that a sample has no neighbours of "
            "its own: choose a system with a window, or a strategy that reads single samples (steady=0)"
        )
    return max(model.frames, 1) + clip - 1


def lacking(name: str, strategy: type[Strategy], options: Any) -> list[str]:
    """The options, as a command says them, that the strategy requires and `options` leave out."""
    return [f"{name}.{one}=" for one in strategy.requires if getattr(options, one) is None]


def files(name: str, options: Any) -> dict[str, Path]:
    """The files that a strategy's options name, by option as a command says it."""
    named = ((key, getattr(options, key)) for key in tagged(type(options), FILE))
    return {f"{name}.{key}": from_home(path) for key, path in named if path is not None}


def source_free(strategy: type[Strategy]) -> bool:
    """Whether it adapts a given model to unlabelled targets alone."""
    return strategy.adapts and "source" not in strategy.needs
