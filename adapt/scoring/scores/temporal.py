"""How steadily keypoints move in the target's videos: their mean acceleration over three frames in a row as a share of
their mean movement, negative. A network that guesses each frame anew jumps; one whose answers stand still does not
move. NaN without three neighbouring frames of one person each, and where nothing moves."""

from __future__ import annotations

import math

import torch

from ...temporal import neighbours
from ..evidence import Answers, Evidence


def score(evidence: Evidence) -> float:
    first, middle, last = evidence.target.points[triples(evidence.target)].unbind(1)
    moved = (last - first).norm(dim=-1).mean()
    return -float((first - 2 * middle + last).norm(dim=-1).mean() / moved) if moved > 0 else math.nan


def triples(target: Answers) -> torch.Tensor:
    """People (T, 3) of frames that follow each other in one video."""
    image = target.image_index.tolist()
    pairs = neighbours([target.sequence[i] for i in image], target.frame[target.image_index].tolist())
    after = dict(pairs)
    rows = [(row, after[row], after[after[row]]) for row in after if after[row] in after]
    return torch.tensor(rows, dtype=torch.int64).view(-1, 3)
