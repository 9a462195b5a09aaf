"""The strategies by name, in the order of reports. A new one is a file in methods/ and a line in this table."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..datasets.registry import Registry
from .strategy import KINDS, Strategy

STRATEGIES: Registry[type[Strategy]] = Registry(
    __name__,
    {
        "given": "methods.baselines:Given",
        "source_only": "methods.baselines:SourceOnly",
        "bn_control": "methods.baselines:BatchNormControl",
        "dan": "methods.dan:DAN",
        "jan": "methods.jan:JAN",
        "coral": "methods.coral:Coral",
        "dann": "methods.dann:DANN",
        "cdan": "methods.cdan:CDAN",
        "mcd": "methods.mcd:MCD",
        "dd": "methods.disparity:DisparityDiscrepancy",
        "regda": "methods.regda:RegDA",
        "mean_teacher": "methods.mean_teacher:MeanTeacher",
        "uniframe": "methods.uniframe:UniFrame",
        "ccssl": "methods.ccssl:CCSSL",
        "uda_animal": "methods.uda_animal:UDAAnimal",
        "hamipose": "methods.hamipose:HamiPose",
        "anatomy_teacher": "methods.anatomy:AnatomyTeacher",
        "view_filter": "methods.view_filter:ViewFilter",
        "keyshift": "methods.keyshift:Keyshift",
        "adabn": "methods.adabn:AdaBN",
        "mean_teacher_free": "methods.mean_teacher_free:MeanTeacherFree",
        "self_training": "methods.self_training:SelfTraining",
        "distil": "methods.distil:Distil",
        "post": "methods.post:Post",
        "maps": "methods.maps:MAPS",
        "lift": "methods.lift:Lift",
        "bn_online": "methods.bn_online:BatchNormOnline",
        "tent": "methods.tent:Tent",
        "ssa": "methods.ssa:SSA",
        "lift_online": "methods.lift_online:LiftOnline",
        "oracle": "methods.baselines:Oracle",
    },
)


def suited(reads: Collection[str]) -> list[str]:
    """The strategies for systems that read the inputs `reads`."""
    return [name for name, one in STRATEGIES.items() if one.reads <= set(reads)]


def expanded(names: Sequence[str], reads: Collection[str]) -> list[str]:
    """`names`, of which some may be kinds, or `all`: the strategies meant, once each. A kind stands for those of it
    that require no file and are for systems that read the inputs `reads`; all for every kind, with what they are
    measured against around them."""

    def members(kind: str) -> list[str]:
        return [name for name in suited(reads) if STRATEGIES[name].kind == kind and not STRATEGIES[name].requires]

    def meant(name: str) -> list[str]:
        if name == "all":
            every = [one for kind in KINDS for one in members(kind)]
            return sorted(every, key=lambda one: STRATEGIES[one].labelled_target)
        return members(name) if name in KINDS else [name]

    return list(dict.fromkeys(one for name in names for one in meant(name)))
