"""The decoder of a style network, trained for one pair of domains by the trainer of every strategy.

UniFrame (Kim et al., ECCV 2022; VisionLearningGroup/UDA_PoseEstimation @ baf85f1, adain/train/*): content of one
domain, style of the other, with probability 1/2 either way; MSE of the decoded picture's features at relu4_1 from what
was decoded, plus `weight` * style loss. There Adam 1e-5, batch 4, 500 000 iterations, weight 0.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ..datasets.sample import Labeled, Unlabeled
from ..datasets.skeleton import Skeleton
from ..models.pose_model import normalize
from .strategy import Optimization, Strategy, Update
from .style import StyleNetwork


class StyleTraining(Strategy):
    """No strategy of the registry: its model is a style network, and nothing predicts."""

    title = "Style network"
    about = "trains the decoder that UniFrame's style transfer needs"

    def __init__(self, network: StyleNetwork, skeleton: Skeleton, rate: float, weight: float) -> None:
        super().__init__(network, skeleton, Optimization("adam", rate, {}, 0.0, gamma=0.0))  # type: ignore[arg-type]
        self.network, self.weight = network, weight

    def optimizers(self) -> dict[str, Any]:
        return {"decoder": self.optimization.optimizer({"decoder": list(self.network.decoder.parameters())})}

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        content, style = (normalize(side.image.flatten(0, -4)) for side in (source, target))
        if torch.rand(()).item() < 0.5:
            content, style = style, content
        losses, _ = self.network.losses(content, style)
        yield {"content": losses["content"], "style": self.weight * losses["style"]}, ("decoder",)
