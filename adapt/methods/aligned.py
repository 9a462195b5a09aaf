"""Strategies that draw the features of the two domains together by one distance: DAN, JAN and deep CORAL.

Long et al., ICML 2015 (DAN) and ICML 2017 (JAN); Sun and Saenko, ECCV workshops 2016 (CORAL). Formulas and switches are
those of thuml/Transfer-Learning-Library @ c4aa59e (tllib/alignment; adapt/alignment.py), which has no example of them
for keypoints. What is aligned here are the features, averaged over their places; the distance is that of the whole
batch, of all processes together.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ...datasets.options import option
from ...datasets.sample import Labeled, Unlabeled
from ...models.output import Votes
from ..alignment import coral, joint_mmd, mmd, pooled
from ..processes import joined
from ..strategy import Strategy, Update


class Aligned(Strategy):
    """Supervised training on the source, and a distance between the domains' features that is made small."""

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        trade_off: float = option(1.0, "weight of the distance between the domains", low=0)

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        with self.statistics("source"):
            features = self.model.features(source)
            votes = self.model.votes(features, source)
        losses = self.model.loss(votes, source)
        with self.statistics("target"):
            others = self.model.features(target)
            theirs = self.model.votes(others, target)
        distance = self.distance((joined(pooled(features)), joined(pooled(others))), (votes, theirs))
        yield losses | {"distance": self.options.trade_off * distance}, ("model",)

    @abstractmethod
    def distance(self, features: tuple[Tensor, Tensor], votes: tuple[Votes, Votes]) -> Tensor:
        """How far the source's features (B, C) and votes are from the target's."""


class DAN(Aligned):
    """Deep adaptation network."""

    @dataclass(frozen=True)
    class Options(Aligned.Options):
        linear: bool = option(True, "the reference's default: pairs of neighbours alone; false: all pairs")

    title = "DAN"
    about = "the maximum mean discrepancy of the features, under five kernels"
    kind = "aligned"

    def distance(self, features: tuple[Tensor, Tensor], votes: tuple[Votes, Votes]) -> Tensor:
        return mmd(*features, linear=self.options.linear)


class JAN(Aligned):
    """Joint adaptation network. Its second layer are softmax outputs; here they are the expected positions of the
    keypoints, under kernels as wide as these are apart."""

    @dataclass(frozen=True)
    class Options(Aligned.Options):
        linear: bool = option(False, "pairs of neighbours alone; false, the reference's default: all pairs")

    title = "JAN"
    about = "the maximum mean discrepancy of features and predicted poses together"
    kind = "aligned"

    def distance(self, features: tuple[Tensor, Tensor], votes: tuple[Votes, Votes]) -> Tensor:
        source, target = (joined(one.mean().flatten(1)) for one in votes)
        return joint_mmd([(*features, None), (source, target, None)], self.options.linear)


class Coral(Aligned):
    """Deep CORAL."""

    @dataclass(frozen=True)
    class Options(Aligned.Options):
        means: bool = option(False, "as TLLib computes it: four times the paper's, and the distance of the means")

    title = "Deep CORAL"
    about = "the distance of the features' covariances"
    kind = "aligned"

    def distance(self, features: tuple[Tensor, Tensor], votes: tuple[Votes, Votes]) -> Tensor:
        return coral(*features, means=self.options.means)
