"""How far a model's target is from its source, without a label of the target: three numbers, none of them an error.

`classifier` is the accuracy with which a linear classifier tells source from target features (Ben-David et al., "A
theory of learning from different domains", Machine Learning 2010: the proxy A-distance is 2 (2 accuracy - 1)); at 0.5
they cannot be told apart. `entropy` is that of the target's votes as a share of the highest. `consistency` is the share
of keypoints that are predicted at the same place in two known warps of a target picture (see evaluation.agreement).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...datasets.sample import Unlabeled
from ...models.pose_model import PoseModel
from .evaluation import agreement

FOLDS = 4
SMALLEST = 8


@dataclass(frozen=True)
class Distance:
    classifier: float | None
    """None where either side has fewer than SMALLEST pictures, and without a source."""
    entropy: float
    consistency: float


@torch.no_grad()
def pooled(model: PoseModel, batches: Iterable[Unlabeled], device: torch.device) -> tuple[np.ndarray, list[str], float]:
    """Features averaged over the picture (N, C), the samples' sequences, and the mean entropy of the votes' shares."""
    mode = model.training
    model.eval()
    features: list[Tensor] = []
    groups: list[str] = []
    entropy, count = 0.0, 0
    for batch in batches:
        moved = batch.to(device)
        maps = model.features(moved)
        features.append(maps.flatten(2).mean(-1).float().cpu() if maps.dim() > 2 else maps.float().cpu())
        sure = model.votes(maps, moved).confidence()
        entropy, count = entropy + float((1 - sure).sum()), count + sure.numel()
        groups += batch.sequence
    model.train(mode)
    return torch.cat(features).numpy(), groups, entropy / max(count, 1)


def separability(source: np.ndarray, target: np.ndarray, groups: list[str]) -> float | None:
    """Balanced accuracy of logistic regression on features (N, C) and (M, C), frames of one sequence held out together.

    `groups` names the sequences of both, source first; a single sequence is held out by quarters. None where a side
    has fewer than SMALLEST samples.
    """
    from sklearn.model_selection import cross_val_score

    if min(len(source), len(target)) < SMALLEST:
        return None
    values = cross_val_score(**_trial(source, target, groups), scoring="balanced_accuracy")
    return float(values.mean())


def density_ratio(source: np.ndarray, target: np.ndarray, groups: list[str]) -> np.ndarray | None:
    """How much more often the target has features like each source sample's: (N,), by the same classifier, which has
    not seen the sample's sequence; None as there. You et al., ICML 2019, section 3."""
    from sklearn.model_selection import cross_val_predict

    if min(len(source), len(target)) < SMALLEST:
        return None
    log_odds = cross_val_predict(**_trial(source, target, groups), method="decision_function")[: len(source)]
    return np.asarray(np.exp(log_odds) * len(source) / len(target))


def _trial(source: np.ndarray, target: np.ndarray, groups: list[str]) -> dict[str, Any]:
    """The classifier, what it learns from, and what is held out together: for scikit-learn's cross-validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    groups = [*_parted(groups[: len(source)]), *_parted(groups[len(source) :])]
    fewest = min(len(set(groups[: len(source)])), len(set(groups[len(source) :])))
    return {
        "estimator": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)),
        "X": np.concatenate([source, target]),
        "y": np.repeat([0, 1], [len(source), len(target)]),
        "groups": groups,
        "cv": StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=0),
    }


def _parted(groups: list[str]) -> list[str]:
    """The groups, or quarters of the only one."""
    if len(set(groups)) > 1:
        return groups
    return [f"{name}/{i * FOLDS // len(groups)}" for i, name in enumerate(groups)]


def distance(
    model: PoseModel,
    source: Iterable[Unlabeled] | None,
    target: tuple[Iterable[Unlabeled], Iterable[Unlabeled]],
    views: Iterable[Unlabeled],
    flip: list[int],
    device: torch.device,
) -> Distance:
    """The three numbers. `target` are the pictures trained on and those held out, `views` the latter in two known
    warps; the classifier sees all of them, the other numbers are of those held out. Without a `source` there is no
    classifier."""
    trained, held = (pooled(model, batches, device) for batches in target)
    there, theirs, entropy = np.concatenate([trained[0], held[0]]), trained[1] + held[1], held[2]
    consistency = agreement(model, views, flip, device)
    if source is None:
        return Distance(None, entropy, consistency)
    here, ours, _ = pooled(model, source, device)
    groups = [f"source/{name}" for name in ours] + [f"target/{name}" for name in theirs]
    return Distance(separability(here, there, groups), entropy, consistency)
