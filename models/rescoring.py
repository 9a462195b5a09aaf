"""How good a person's pose is, told from its shape: a small network says its similarity to the true one (OKS), by which
the person's score is multiplied.

Geng et al., CVPR 2021 (DEKR), section 3.4; HRNet/DEKR @ 7a30313, lib/utils/rescore.py and models/predictOKS.py, with
which features and keys agree. Read are the links between keypoints, (dx, dy) and lengths, in units of a length of the
person, and the keypoints' confidences.

Against it: confidences end at 0 and at 1, poses are in pixels of the input and not of the file (no link's unit is less
than 1 of them), and people found where nobody is labelled count as like nobody (there they are left out).

Links of COCO's 17 and CrowdPose's 14 keypoints are the published ones; those of other skeletons are its edges. The unit
is the mean of links 9 and 11, of COCO's the sides of the torso, of CrowdPose's, as the published code has it, a thigh
and a shin. Of other skeletons it is the mean of all links; without edges confidences alone are read.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..datasets.bodies.skeletons import COCO17
from ..datasets.skeleton import Skeleton

Links = tuple[tuple[int, int], ...]
COCO_LINKS: Links = (
    *((0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 6), (5, 7), (5, 11)),
    *((6, 8), (6, 12), (7, 9), (8, 10), (11, 12), (11, 13), (12, 14), (13, 15), (14, 16)),
)
CROWD_LINKS: Links = (
    *((12, 13), (13, 0), (13, 1), (0, 2), (1, 3), (2, 4), (3, 5), (0, 6)),
    *((1, 7), (6, 8), (7, 9), (8, 10), (9, 11), (6, 7), (0, 1)),
)
UNIT = (9, 11)
LIMBS = COCO17.keypoints[5:]
"""The first twelve of CrowdPose's, before head and neck."""
EPOCHS, BATCH, RATE = 20, 256, 1e-3


def links_of(skeleton: Skeleton) -> tuple[Links, tuple[int, ...]]:
    """Its links, and the places of those that are the unit."""
    if skeleton.keypoints == COCO17.keypoints:
        return COCO_LINKS, UNIT
    if len(skeleton) == 14 and skeleton.keypoints[:12] == LIMBS:
        return CROWD_LINKS, UNIT
    return skeleton.edges, tuple(range(len(skeleton.edges)))


class Rescoring(nn.Module):
    """Poses (P, K, 2) px and scores (P, K) of their keypoints to the similarity (P,). In the beginning it is 1, so that
    persons' scores stay as they are. It learns by `fit` alone, from what the trained network answers."""

    def __init__(self, skeleton: Skeleton, hidden: int = 256) -> None:
        super().__init__()
        self.links, self.unit = links_of(skeleton)
        self.l1 = nn.Linear(3 * len(self.links) + len(skeleton), hidden)
        self.l2, self.l3 = nn.Linear(hidden, hidden), nn.Linear(hidden, 1)
        for layer in (self.l1, self.l2, self.l3):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.l3.weight)
        nn.init.ones_(self.l3.bias)
        self.requires_grad_(False)

    def described(self, points: Tensor, scores: Tensor) -> Tensor:
        """What the network reads, (P, 3 L + K): of L links (dx, dy) and lengths, and the scores."""
        if not self.links:
            return scores
        links = points[:, [a for a, _ in self.links]] - points[:, [b for _, b in self.links]]
        lengths = links.norm(dim=-1)
        unit = lengths[:, list(self.unit)].mean(1).clamp_min(1)[:, None]
        return torch.cat([(links / unit[..., None]).flatten(1), lengths / unit, scores], 1)

    def forward(self, points: Tensor, scores: Tensor) -> Tensor:
        hidden = functional.relu(self.l1(self.described(points, scores)))
        return self.l3(functional.relu(self.l2(hidden))).squeeze(1)


def fit(network: Rescoring, points: Tensor, scores: Tensor, similarity: Tensor, epochs: int = EPOCHS) -> float:
    """Let it learn the `similarity` (P,) of predicted poses to the truth, by the mean squared error; gives that of the
    last epoch. As published, a similarity of exactly 1 counts as 0: so says who has no truth to be compared with.
    Batches are drawn by torch's generator. Raises ValueError where there are no poses."""
    if not len(points):
        raise ValueError("rescoring: nobody was predicted, from whom it could learn")
    wanted = torch.where(similarity == 1, 0.0, similarity)
    network.requires_grad_(True)
    optimizer, error = torch.optim.Adam(network.parameters(), RATE), 0.0
    for _ in range(epochs):
        errors = []
        for rows in torch.randperm(len(points)).split(BATCH):
            loss = functional.mse_loss(network(points[rows], scores[rows]), wanted[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            errors.append(float(loss.detach()) * len(rows))
        error = sum(errors) / len(points)
    network.requires_grad_(False)
    return error
