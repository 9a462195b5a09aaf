"""The strategies by name, in the order of reports. A new one is a file in methods/ and a line in this dict."""

from __future__ import annotations

from .methods.adabn import AdaBN
from .methods.aligned import DAN, JAN, Coral
from .methods.baselines import BatchNormControl, Given, Oracle, SourceOnly
from .methods.dann import DANN
from .methods.disparity import DisparityDiscrepancy
from .methods.distil import Distil
from .methods.maps import MAPS
from .methods.mcd import MCD
from .methods.mean_teacher import MeanTeacher
from .methods.mean_teacher_free import MeanTeacherFree
from .methods.regda import RegDA
from .methods.self_training import SelfTraining
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
    "mean_teacher_free": MeanTeacherFree,
    "maps": MAPS,
    "self_training": SelfTraining,
    "distil": Distil,
    "oracle": Oracle,
}
