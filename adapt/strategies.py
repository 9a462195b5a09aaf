"""The strategies by name, in the order of reports. A new one is a file in methods/ and a line in this dict."""

from __future__ import annotations

from .methods.adabn import AdaBN
from .methods.aligned import DAN, JAN, Coral
from .methods.baselines import BatchNormControl, Given, Oracle, SourceOnly
from .methods.ccssl import CCSSL
from .methods.dann import DANN
from .methods.disparity import DisparityDiscrepancy
from .methods.mcd import MCD
from .methods.mean_teacher import MeanTeacher
from .methods.regda import RegDA
from .strategy import Strategy

STRATEGIES: dict[str, type[Strategy]] = {
    "given": Given,
    "source_only": SourceOnly,
    "bn_control": BatchNormControl,
    "adabn": AdaBN,
    "dan": DAN,
    "jan": JAN,
    "coral": Coral,
    "dann": DANN,
    "mcd": MCD,
    "dd": DisparityDiscrepancy,
    "regda": RegDA,
    "mean_teacher": MeanTeacher,
    "ccssl": CCSSL,
    "oracle": Oracle,
}
