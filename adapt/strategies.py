"""The strategies by name. A new one is a file beside this one and a line in this dict."""

from __future__ import annotations

from .methods.baselines import BatchNormControl, Oracle, SourceOnly
from .methods.mean_teacher import MeanTeacher
from .methods.regda import RegDA
from .strategy import Strategy

STRATEGIES: dict[str, type[Strategy]] = {
    "source_only": SourceOnly,
    "bn_control": BatchNormControl,
    "regda": RegDA,
    "mean_teacher": MeanTeacher,
    "oracle": Oracle,
}
