"""The strategies by name, in the order of reports. A new one is a file in methods/ and a line in this dict."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .methods.adabn import AdaBN
from .methods.anatomy import AnatomyTeacher
from .methods.baselines import BatchNormControl, Given, Oracle, SourceOnly
from .methods.bn_online import BatchNormOnline
from .methods.ccssl import CCSSL
from .methods.cdan import CDAN
from .methods.coral import Coral
from .methods.dan import DAN
from .methods.dann import DANN
from .methods.disparity import DisparityDiscrepancy
from .methods.distil import Distil
from .methods.hamipose import HamiPose
from .methods.jan import JAN
from .methods.keyshift import Keyshift
from .methods.lift import Lift
from .methods.lift_online import LiftOnline
from .methods.maps import MAPS
from .methods.mcd import MCD
from .methods.mean_teacher import MeanTeacher
from .methods.mean_teacher_free import MeanTeacherFree
from .methods.post import Post
from .methods.regda import RegDA
from .methods.self_training import SelfTraining
from .methods.ssa import SSA
from .methods.tent import Tent
from .methods.uda_animal import UDAAnimal
from .methods.uniframe import UniFrame
from .methods.view_filter import ViewFilter
from .strategy import KINDS, Strategy

STRATEGIES: dict[str, type[Strategy]] = {
    "given": Given,
    "source_only": SourceOnly,
    "bn_control": BatchNormControl,
    "dan": DAN,
    "jan": JAN,
    "coral": Coral,
    "dann": DANN,
    "cdan": CDAN,
    "mcd": MCD,
    "dd": DisparityDiscrepancy,
    "regda": RegDA,
    "mean_teacher": MeanTeacher,
    "uniframe": UniFrame,
    "ccssl": CCSSL,
    "uda_animal": UDAAnimal,
    "hamipose": HamiPose,
    "anatomy_teacher": AnatomyTeacher,
    "view_filter": ViewFilter,
    "keyshift": Keyshift,
    "adabn": AdaBN,
    "mean_teacher_free": MeanTeacherFree,
    "self_training": SelfTraining,
    "distil": Distil,
    "post": Post,
    "maps": MAPS,
    "lift": Lift,
    "bn_online": BatchNormOnline,
    "tent": Tent,
    "ssa": SSA,
    "lift_online": LiftOnline,
    "oracle": Oracle,
}


def suited(reads: Collection[str]) -> list[str]:
    """The strategies for systems that read the inputs `reads`."""
    return [name for name, one in STRATEGIES.items() if one.reads <= set(reads)]


def expanded(names: Sequence[str], reads: Collection[str]) -> list[str]:
    """`names`, of which some may be kinds, or `all`: the strategies meant, once each. A kind stands for those of it
    that require no file and are for systems that read the inputs `reads`; all for every kind, with what they are
    measured against around them."""

    def members(kind: str) -> list[str]:
        return [name for name in suited(reads) if STRATEGIES[name].kind == kind and not STRATEGIES[name].requires]

    groups = {kind: members(kind) for kind in KINDS}
    groups["all"] = [name for kind in KINDS for name in groups[kind] if not STRATEGIES[name].labelled_target]
    groups["all"] += [name for name in groups["reference"] if STRATEGIES[name].labelled_target]
    return list(dict.fromkeys(one for name in names for one in groups.get(name, [name])))
