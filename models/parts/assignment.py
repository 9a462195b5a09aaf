"""Who answers for whom at the least cost in sum, and what a query weighs that answers for nobody: as in DETR.

Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020; facebookresearch/detr @ 29901c5.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

NONE = 0.1
"""Weight of a query that is none, in the cross entropy."""
WORST = 1e6
"""Of costs that are not finite."""


def assigned(cost: Tensor) -> Tensor:
    """The column of each row that costs (..., K, Q) are least with in sum, each column once: (..., K)."""
    from scipy.optimize import linear_sum_assignment

    columns = np.array([linear_sum_assignment(one)[1] for one in on_host(cost.flatten(0, -3))], np.int64)
    return torch.from_numpy(columns).view(cost.shape[:-1]).to(cost.device)


def on_host(cost: Tensor) -> np.ndarray:
    """Costs where the Hungarian method runs; one that is not finite is the highest there is, so that the losses say
    what went wrong."""
    return cost.detach().float().nan_to_num(WORST, WORST, WORST).cpu().numpy()
