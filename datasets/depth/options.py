"""What can be said of any depth set: where the cube around a frame is centred, how large it is, what is looked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..options import Options, option


@dataclass(frozen=True)
class DepthOptions(Options):
    """Base of the options of all sets that give depth: a set whose options derive from it is a depth set."""

    centers: str | None = option(
        None,
        "what frames are cut around: null, the set's own centres; threshold, found in each frame; truth, the mean "
        "joint (a leak); a centre file, or a run that predicts them",
    )
    joints: str = option(
        "all", "center: their mean alone, for a network that predicts centres", choices=("all", "center")
    )


@dataclass(frozen=True)
class CubeOptions(DepthOptions):
    """Base of the options of depth sets whose cube can be chosen."""

    cube: Any = option(
        None, "edge in mm of what is cut out, or [x, y, z]; null: the set's own", low=1, high=1e5, size=3
    )
