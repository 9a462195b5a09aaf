"""One iteration of RegDA as TLLib's script makes it, for `keyshift bench step` to be measured against.

thuml/Transfer-Learning-Library @ c4aa59e, examples/domain_adaptation/keypoint_detection/regda.py, tllib/alignment/
regda.py and its losses: three whole passes with all their gradients, pseudo labels through numpy on the CPU from a
table of Gaussians, three optimisers, and PCK of both heads on both domains from maps copied to the CPU. Labels' maps
come from the loader there, and so are no part of the time here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LRScheduler

from ...adapt.gradients import WarmStartGradient
from ...adapt.strategy import Optimization
from ...datasets.sample import Labeled, Unlabeled
from ...models.pose_model import normalize
from ...models.systems.pose_resnet import PoseResNet


class PseudoLabels:
    """PseudoLabelGenerator2d: Gaussians from a table (W, H, H, W), placed by argmax in numpy."""

    def __init__(self, keypoints: int, height: int, width: int, sigma: float = 2.0) -> None:
        away_x, away_y = (np.arange(n, dtype=np.float32) - np.arange(n)[:, None] for n in (width, height))
        lines = [np.exp(-(away**2) / (2 * sigma**2)) * (np.abs(away) <= 3 * sigma) for away in (away_x, away_y)]
        self.table = np.einsum("xw,yh->xyhw", *lines).astype(np.float32)
        self.others = 1 - np.eye(keypoints, dtype=np.float32)

    def __call__(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Ground truth and ground false of logits (B, K, H, W)."""
        cells = peaks(maps.detach().cpu().numpy()).reshape(-1, 2).astype(int)
        truth = self.table[cells[:, 0], cells[:, 1]].copy().reshape(maps.shape).copy()
        flat = truth.reshape(*truth.shape[:2], -1).transpose(0, 2, 1)
        false = flat.dot(self.others).clip(0, 1).transpose(0, 2, 1).reshape(truth.shape).copy()
        return torch.from_numpy(truth).to(maps.device), torch.from_numpy(false).to(maps.device)


def peaks(maps: np.ndarray) -> np.ndarray:
    """get_max_preds: the cells (B, K, 2), x first, of the strongest logits; (0, 0) where none is positive."""
    flat = maps.reshape(*maps.shape[:2], -1)
    best = flat.argmax(2)
    cells = np.stack([best % maps.shape[3], best // maps.shape[3]], -1).astype(np.float32)
    return cells * (flat.max(2) > 0)[..., None]


def accuracy(maps: Tensor, labels: Tensor, threshold: float = 0.5) -> list[float]:
    """PCK by keypoint, from maps on the CPU, in a loop over images and keypoints."""
    predicted, true = (peaks(one.detach().cpu().numpy()) for one in (maps, labels))
    norm = np.array(maps.shape[-2:]) / 10
    distances = np.full(true.shape[1::-1], -1.0)
    for image in range(true.shape[0]):
        for joint in range(true.shape[1]):
            if (true[image, joint] > 1).all():
                distances[joint, image] = np.linalg.norm((predicted[image, joint] - true[image, joint]) / norm)
    known = distances != -1
    return [
        float((row[have] < threshold).mean()) if have.any() else -1.0
        for row, have in zip(distances, known, strict=True)
    ]


def joints_kl(logits: Tensor, target: Tensor, weight: Tensor | float = 1.0, epsilon: float = 1e-7) -> Tensor:
    """JointsKLLoss of keypoints of weight (B, K), their mean. The script's labels have no epsilon, by which it gives
    NaN today where a keypoint is out of the frame; the target's weights are its labels' there, and 1 here."""
    density = functional.log_softmax(logits.flatten(2), -1)
    goal = target.flatten(2) + epsilon
    goal = goal / goal.sum(-1, keepdim=True)
    return (functional.kl_div(density, goal, reduction="none").sum(-1) * weight).mean()


def unfused(rates: Optimization, groups: dict[str, list[nn.Parameter]]) -> tuple[torch.optim.Optimizer, LRScheduler]:
    """The optimiser of these rates as the script makes it."""
    optimizer, schedule = rates.optimizer(groups)
    for group in optimizer.param_groups:
        group["fused"], group["foreach"] = False, None
    return optimizer, schedule


def iteration(model: PoseResNet, source: Labeled, target: Unlabeled, rates: Optimization) -> Callable[[], None]:
    """The iteration, on a network that it changes; `model` has the head that RegDA starts with."""
    adversary, gradient = model.new_head(2).to(source.image.device), WarmStartGradient()
    features = nn.Sequential(model.backbone, model.upsampling)
    label, table = (
        PseudoLabels(model.keypoints, *model.grid.shape),
        model.grid.target(model.labels(source)[0], 2.0, 6.0),
    )
    weight = model.counted(source).float()
    parts = {name: list(part.parameters()) for name, part in model.named_children()} | {
        "adversary": list(adversary.parameters())
    }
    held = ("backbone", "upsampling"), ("head",), ("adversary",)
    optimizers = [unfused(rates, {name: parts[name] for name in names}) for names in held]
    for_features, for_head, for_adversary = (optimizer for optimizer, _ in optimizers)

    def both(image: Tensor) -> tuple[Tensor, Tensor]:
        seen = features(image)
        return model.head(seen), adversary(gradient(seen))

    def run() -> None:
        images = [normalize(sample.image).contiguous() for sample in (source, target)]
        # A: source, everything
        for optimizer in (for_features, for_head, for_adversary):
            optimizer.zero_grad()
        maps, other = both(images[0])
        (joints_kl(maps, table, weight) + 4.0 * joints_kl(other, label(maps)[0], weight)).backward()
        for optimizer in (for_features, for_head, for_adversary):
            optimizer.step()
        scored = [(maps, table), (other, table)]
        # B: target, the adversary
        for_adversary.zero_grad()
        maps, other = both(images[1])
        joints_kl(other, label(maps)[1]).backward()
        for_adversary.step()
        # C: target, the features
        for_features.zero_grad()
        maps, other = both(images[1])
        joints_kl(other, label(maps)[0]).backward()
        for_features.step()
        gradient.advance()
        for _, schedule in optimizers:
            schedule.step()
        for prediction, truth in [*scored, (maps, table), (other, table)]:
            accuracy(prediction, truth)

    return run
