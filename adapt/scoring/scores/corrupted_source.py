"""Accuracy on held-out source samples made harder in known ways, steps towards the target's pictures among them (see
corruption.py): the share of keypoints within the threshold of their labels, averaged over the ways. The threshold is in
shares of the crop, along z of the cube, in space of a person's length. NaN without a source, and of several people."""

from __future__ import annotations

import math

from ..evidence import Evidence, Trial


def score(evidence: Evidence) -> float:
    shares = [accuracy(trial, evidence.looks.threshold) for trial in evidence.tried.values()]
    return sum(shares) / len(shares) if shares else math.nan


def accuracy(trial: Trial, threshold: float) -> float:
    return float((trial.errors <= threshold)[trial.annotated].float().mean())
