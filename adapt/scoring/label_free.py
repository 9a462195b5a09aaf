"""The label-free scores by name: what `selection=target_score` chooses checkpoints by. A new one is a function in a
file beside this one, and a line in this dict.

A score gets the model, unlabelled target samples in two known warps, the skeleton's mirror permutation and the device,
and answers with a number of which the highest is best. None of them is an error rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from ...datasets.sample import Unlabeled
from ...models.pose_model import PoseModel
from .evaluation import agreement

Score = Callable[[PoseModel, Iterable[Unlabeled], list[int], torch.device], float]

SCORES: dict[str, Score] = {"agreement": agreement}
