"""AdaBN: batch norm's statistics of the target in place of the source's, and nothing else (Li et al., ICLR workshops
2017).

The weights stay; what each layer normalises by is the mean over all target batches that pass, all counting alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ...datasets.sample import Labeled, Unlabeled
from ..strategy import Strategy, Update


class AdaBN(Strategy):
    """Source-free, and without an optimiser."""

    title = "AdaBN"
    about = "batch norm's statistics of the target alone, the weights as they were given"
    kind = "source_free"
    needs = frozenset({"target"})
    begun: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model.requires_grad_(False)
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    def optimizers(self) -> dict[str, Any]:
        return {}

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        norms = [m for m in self.model.modules() if isinstance(m, _BatchNorm) and m.training]  # frozen ones stay
        for norm in norms:
            norm.momentum = None  # the mean of all batches since the statistics began anew
            if not self.begun:
                norm.reset_running_stats()
        self.begun.fill_(True)
        with torch.no_grad():
            self.model(target)
        yield from ()
