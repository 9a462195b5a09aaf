"""Human3.6M's two protocols as 3DMPPE_POSENET_RELEASE computes them (data/Human36M/Human36M.py @ dd025c5).

Points are (N, 18, 3) mm: the 17 joints of `skeletons.H36M17` and, last, the thorax, which is the middle of the
shoulders, made up. It takes part in the alignment of protocol 1 and is then dropped; the pelvis counts in both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import metrics
from .people_metrics import pa_errors, root_errors, rooted

JOINTS = 17
PELVIS = 0
SHOULDERS = [11, 14]


def with_thorax(points: Tensor) -> Tensor:
    """Joints (N, 17, D) and the thorax: (N, 18, D)."""
    return torch.cat([points, points[:, SHOULDERS].mean(1, keepdim=True)], 1)


def errors(predicted: Tensor, truth: Tensor, mask: Tensor, protocol: int) -> Tensor:
    """Distances (N, 17) in mm of poses (N, 18, 3) with a mask (N, 18).

    Protocol 1 turns and shifts each prediction on the truth by all 18 joints, without scale; protocol 2 counts both
    from the pelvis. Raises ValueError for another number of joints and another protocol.
    """
    if predicted.shape[1] != JOINTS + 1 or protocol not in (1, 2):
        raise ValueError(
            f"protocol {protocol} of {predicted.shape[1]} joints: Human3.6M has the protocols 1 and 2, of 18 joints, "
            "the thorax last; `with_thorax` makes 18 of 17"
        )
    if protocol == 1:
        return pa_errors(predicted, truth, mask, scale=False)[:, :JOINTS]
    return root_errors(predicted, truth, PELVIS)[:, :JOINTS]


def counted(mask: Tensor, protocol: int) -> Tensor:
    """Which of the `errors` count: (N, 17). Protocol 2 needs the pelvis."""
    return rooted(mask, PELVIS if protocol == 2 else None)[:, :JOINTS]


def mean_error(predicted: Tensor, truth: Tensor, mask: Tensor, protocol: int) -> Tensor:
    """Mean of `errors`, mm: the number that tables give for the protocol."""
    return metrics.mean(errors(predicted, truth, mask, protocol), counted(mask, protocol))
