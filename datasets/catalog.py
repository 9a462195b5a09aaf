"""The datasets by name. A new one is a file in one of the rooms beside this one, and a line in this dict."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from .bodies import (
    coco,
    crowdpose,
    human36m,
    human36m_2d,
    lsp,
    mpi_inf_3dhp,
    mpii,
    muco,
    mupots,
    ochuman,
    posetrack,
    surreal,
    threedpw,
)
from .depth import icvl, msra
from .depth.center_task import CenterTask
from .depth.files import PublicOptions
from .depth.hands2017 import Hands2017
from .depth.itop import ItopBodies
from .depth.nyu import NyuHands
from .depth.options import DepthOptions
from .hands import freihand, h3d, hand_snap, interhand, onehand10k, panoptic_hands, rhd
from .options import Options, make
from .own import deeplabcut, depth_folder, labels, pictures, sequences2d, yolo_pose
from .own.chosen import chosen
from .reading.origin import FolderOptions, Origin
from .reading.people import WHOLE, PictureOptions, PictureSet
from .reading.prepared import given, is_prepared, open_prepared
from .reading.whole_pictures import check_whole, whole_pictures
from .rendered import depth as rendered_depth
from .rendered import hands as rendered_hands
from .rendered import mocap, shifted
from .rendered import people as rendered_people
from .rendered.options import RenderedOptions
from .rendered.sensors import SENSORS
from .sample import PoseDataset
from .skeleton import Skeleton


@dataclass(frozen=True)
class Data:
    """A dataset: how a part of it is opened, `open(options, part)`, which options it takes, where it comes from."""

    open: Callable[..., PoseDataset]
    Options: type[Options]
    origin: Origin | None = None
    """None of what is rendered."""
    labelled: bool = True
    """The set itself says which keypoints it has. Where it does not, `open` takes a third argument: the skeleton of the
    other side."""

    @property
    def depth(self) -> bool:
        """Whether it gives depth frames, not pictures."""
        return issubclass(self.Options, DepthOptions)


def _hands(style: str) -> Data:
    kind = rendered_hands.PhotoOptions if rendered_hands.STYLES[style].photos else rendered_hands.Options
    return Data(partial(rendered_hands.rendered_hands, style=style), kind)


def _depth(what: str, sensor: str) -> Data:
    return Data(partial(rendered_depth.rendered_depth, what=what, sensor=sensor), rendered_depth.Options)


def _people(style: str) -> Data:
    return Data(partial(rendered_people.rendered_people, style=style), rendered_people.Options)


def _shifted(what: str) -> Data:
    return Data(partial(shifted.shifted_depth, what=what), shifted.DepthOptions)


DATASETS: dict[str, Data] = {
    **{f"hands.{style}": _hands(style) for style in rendered_hands.STYLES},
    **{f"people.{style}": _people(style) for style in rendered_people.STYLES},
    **{f"mocap.{style}": Data(partial(mocap.mocap, style=style), mocap.Options) for style in mocap.STYLES},
    "hands.shifted": Data(shifted.shifted_hands, shifted.HandOptions),
    **{f"depth_{what}.{sensor}": _depth(what, sensor) for what in rendered_depth.SUBJECTS for sensor in SENSORS},
    **{f"depth_{what}.shifted": _shifted(what) for what in rendered_depth.SUBJECTS},
    "hand_snap": Data(hand_snap.SnapHands, hand_snap.Options, hand_snap.ORIGIN),
    "rhd": Data(rhd.rhd, PictureOptions, rhd.ORIGIN),
    "h3d": Data(h3d.h3d, h3d.Options, h3d.ORIGIN),
    "freihand": Data(freihand.freihand, freihand.Options, freihand.ORIGIN),
    "interhand": Data(interhand.interhand, PictureOptions, interhand.ORIGIN),
    "onehand10k": Data(onehand10k.onehand10k, PictureOptions, onehand10k.ORIGIN),
    "panoptic_hands": Data(panoptic_hands.panoptic_hands, PictureOptions, panoptic_hands.ORIGIN),
    "surreal": Data(surreal.surreal, surreal.Options, surreal.ORIGIN),
    "human36m": Data(human36m.human36m, human36m.Options, human36m.ORIGIN),
    "human36m_2d": Data(human36m_2d.human36m_2d, human36m_2d.Options, human36m_2d.ORIGIN),
    "mpi_inf_3dhp": Data(mpi_inf_3dhp.mpi_inf_3dhp, mpi_inf_3dhp.Options, mpi_inf_3dhp.ORIGIN),
    "muco": Data(muco.muco, muco.Options, muco.ORIGIN),
    "mupots": Data(mupots.mupots, mupots.Options, mupots.ORIGIN),
    "threedpw": Data(threedpw.threedpw, threedpw.Options, threedpw.ORIGIN),
    "lsp": Data(lsp.lsp, lsp.LspOptions, lsp.ORIGIN),
    "lspet": Data(lsp.lspet, lsp.LspetOptions, lsp.EXTENDED),
    "mpii": Data(mpii.mpii, PictureOptions, mpii.ORIGIN),
    "coco": Data(coco.coco, coco.CocoOptions, coco.ORIGIN),
    "crowdpose": Data(crowdpose.crowdpose, crowdpose.CrowdPoseOptions, crowdpose.ORIGIN),
    "ochuman": Data(ochuman.ochuman, ochuman.OCHumanOptions, ochuman.ORIGIN),
    "posetrack": Data(posetrack.posetrack, posetrack.PoseTrackOptions, posetrack.ORIGIN),
    "coco_json": Data(labels.coco_json, labels.Options, labels.ORIGIN),
    "deeplabcut": Data(deeplabcut.deeplabcut, deeplabcut.Options, deeplabcut.ORIGIN),
    "yolo_pose": Data(yolo_pose.yolo_pose, yolo_pose.Options, yolo_pose.ORIGIN),
    "pictures": Data(pictures.own_pictures, pictures.Options, pictures.ORIGIN, labelled=False),
    "sequences2d": Data(sequences2d.own_sequences, sequences2d.Options, sequences2d.ORIGIN, labelled=False),
    "nyu": Data(NyuHands, PublicOptions, NyuHands.source.origin),
    "icvl": Data(icvl.IcvlHands, icvl.Options, icvl.IcvlHands.source.origin),
    "msra": Data(msra.MsraHands, msra.Options, msra.MsraHands.source.origin),
    "hands2017": Data(Hands2017, PublicOptions, Hands2017.source.origin),
    "itop_front": Data(partial(ItopBodies, view="front"), PublicOptions, ItopBodies.source.origin),
    "itop_top": Data(partial(ItopBodies, view="top"), PublicOptions, ItopBodies.source.origin),
    "depth_folder": Data(depth_folder.DepthFolder, depth_folder.Options, depth_folder.ORIGIN, labelled=False),
}


def entry_of(name: str) -> Data:
    """Raises ValueError for a name that is not known, with the nearest."""
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(f"no dataset {name!r}; known: {', '.join(DATASETS)}.{hint}")
    return DATASETS[name]


def options_of(
    name: str, content: Mapping[str, Any], origin: str, prefix: str = "", beside: Sequence[str] = ()
) -> Options:
    """The options of the dataset `name` with the values of `content`; errors name `origin`, keys with `prefix`, and
    what a command takes `beside` them.

    How much is rendered may stay where another set takes a rendered one's place; it means nothing there. Raises
    ValueError for an unknown dataset, for options that it does not take (all that it takes, and the nearest), for
    wrong types, and for values out of range.
    """
    kind = entry_of(name).Options
    known = [one.name for one in fields(kind)]
    amount = [one.name for one in fields(RenderedOptions)]
    for key, value in content.items():
        if key not in known and key not in amount:
            near = difflib.get_close_matches(str(key), [*known, *beside], 1)
            hint = f" Did you mean {prefix}{near[0]}?" if near else ""
            takes = ", ".join([*known, *beside]) or "none"
            raise ValueError(f"{origin}: {prefix}{key}={value} is no option of {name}, which takes {takes}.{hint}")
    return make(kind, {key: value for key, value in content.items() if key in known}, origin, prefix)


def open_dataset(name: str, options: Options, part: str, default_skeleton: Skeleton | None = None) -> PoseDataset:
    """The `part` ("train" or "test") of the dataset `name`; `options` are of its class.

    `default_skeleton` is what a set without labels takes where its options name none. Raises ValueError for unknown
    names and what the set itself refuses, MissingData, one of them, where it is not there.
    """
    entry = entry_of(name)
    if not isinstance(options, entry.Options):
        raise TypeError(f"{name} is opened with {entry.Options.__qualname__}, not {type(options).__qualname__}")
    if isinstance(options, FolderOptions):
        options.check_there(name, entry.origin)
    whole = getattr(options, "crops", None) == WHOLE
    if whole:
        check_whole(name, options)
    if isinstance(options, FolderOptions) and is_prepared(options.root):
        dataset: PoseDataset = open_prepared(str(options.root), part, name, given(options))
    elif entry.labelled or _centers(options):
        # Where centres alone are looked for, the other side's skeleton is the centre, and not what is labelled here.
        dataset = entry.open(options, part)
    else:
        dataset = entry.open(options, part, default_skeleton)
    if whole and isinstance(dataset, PictureSet):
        dataset = whole_pictures(dataset)
    if isinstance(options, PictureOptions):
        return chosen(dataset, options.keypoints, options.rename)
    return CenterTask(dataset) if _centers(options) else dataset


def _centers(options: Options) -> bool:
    return isinstance(options, DepthOptions) and options.joints == "center"
