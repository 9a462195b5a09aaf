"""What the public depth datasets agree on: joints by name, cameras, cubes, and the order of their text files.

Sources: zhangboshen/A2J @ 4c332f0, Elody-07/AWR-Adaptive-Weighting-Regression @ 1d0e440, mks0601/V2V-PoseNet_RELEASE
@ f9bd495, xinghaochen/awesome-hand-pose-estimation @ e297a6e. Cameras here are in keyshift's convention, pixel centres
at +0.5 and y down: half a pixel more in cx and cy than the datasets' own numbers, and a positive fy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..skeleton import FINGERS, Skeleton

Camera = tuple[float, float, float, float]


def _chains(*chains: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    return tuple(pair for chain in chains for pair in pairwise(chain))


NYU = Skeleton(
    "nyu14",
    (
        *("little_tip", "little_mid", "ring_tip", "ring_mid", "middle_tip", "middle_mid", "index_tip", "index_mid"),
        *("thumb_tip", "thumb_mid", "thumb_root", "wrist_back", "wrist_front", "palm"),
    ),
    edges=_chains((0, 1, 13), (2, 3, 13), (4, 5, 13), (6, 7, 13), (8, 9, 10, 13), (11, 13, 12)),
    groups={"fingertip": (0, 2, 4, 6, 8), "all": tuple(range(14))},
)
NYU_COLUMNS = (0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32)
"""The 14 evaluated ones of NYU's 36 joints."""

ICVL = Skeleton(
    "icvl16",
    ("palm", *(f"{finger}_{joint}" for finger in FINGERS for joint in ("root", "mid", "tip"))),
    edges=tuple((0 if j == 0 else 3 * f + j, 3 * f + j + 1) for f in range(5) for j in range(3)),
    groups={"fingertip": (3, 6, 9, 12, 15), "all": tuple(range(16))},
)

_FOUR = ("index", "middle", "ring", "little", "thumb")
MSRA = Skeleton(
    "msra21",
    ("wrist", *(f"{finger}_{joint}" for finger in _FOUR for joint in ("mcp", "pip", "dip", "tip"))),
    edges=tuple((0 if j == 0 else 4 * f + j, 4 * f + j + 1) for f in range(5) for j in range(4)),
    groups={"fingertip": (4, 8, 12, 16, 20), "all": tuple(range(21))},
)

HANDS2017 = Skeleton(
    "hands2017",
    (
        "wrist",
        *(f"{finger}_mcp" for finger in FINGERS),
        *(f"{finger}_{joint}" for finger in FINGERS for joint in ("pip", "dip", "tip")),
    ),
    edges=tuple(e for f in range(5) for e in _chains((0, 1 + f, 6 + 3 * f, 7 + 3 * f, 8 + 3 * f))),
    groups={"fingertip": (8, 11, 14, 17, 20), "all": tuple(range(21))},
)

ITOP = Skeleton(
    "itop15",
    (
        *("head", "neck", "right_shoulder", "left_shoulder", "right_elbow", "left_elbow", "right_hand", "left_hand"),
        *("torso", "right_hip", "left_hip", "right_knee", "left_knee", "right_foot", "left_foot"),
    ),
    edges=_chains((0, 1, 8), (6, 4, 2, 1, 3, 5, 7), (13, 11, 9, 8, 10, 12, 14)),
    flip_pairs=((2, 3), (4, 5), (6, 7), (9, 10), (11, 12), (13, 14)),
    groups={
        "head": (0,),
        "neck": (1,),
        "shoulders": (2, 3),
        "elbows": (4, 5),
        "hands": (6, 7),
        "torso": (8,),
        "hips": (9, 10),
        "knees": (11, 12),
        "feet": (13, 14),
        "all": tuple(range(15)),
    },
)


@dataclass(frozen=True)
class DepthSet:
    """One public dataset: its joints, its camera and the cube that is cut around a hand or body."""

    skeleton: Skeleton
    camera: Camera
    cube: float
    """Edge in mm."""
    size: tuple[int, int]
    """(width, height) of its frames."""
    far: float = 2000.0
    """mm up to which its hands or bodies stand, where they are looked for."""


DEPTH_SETS: dict[str, DepthSet] = {
    "nyu": DepthSet(NYU, (588.03, 587.07, 320.5, 240.5), 300.0, (640, 480)),
    "icvl": DepthSet(ICVL, (240.99, 240.96, 160.5, 120.5), 250.0, (320, 240)),
    "msra": DepthSet(MSRA, (241.42, 241.42, 160.5, 120.5), 200.0, (320, 240)),
    "hands2017": DepthSet(HANDS2017, (475.065948, 475.065857, 316.444855, 245.787079), 250.0, (640, 480)),
    "itop": DepthSet(ITOP, (1 / 0.0035, 1 / 0.0035, 160.5, 120.5), 2000.0, (320, 240), far=5000.0),
}
"""ICVL's camera is that of A2J and AWR; V2V-PoseNet, DeepPrior++ and TriHorn-Net use 241.42 (0.008 mm apart)."""


@dataclass(frozen=True)
class Reference:
    """With what a reference's code cut the frames of a set."""

    cube: tuple[float, float, float]
    """Edges in mm."""
    camera: Camera


REFERENCES: dict[str, dict[str, Reference]] = {
    "a2j": {
        "nyu": Reference((220.0, 220.0, 300.0), (588.03, 587.07, 320.5, 240.5)),
        "icvl": Reference((190.0, 190.0, 300.0), (240.99, 240.96, 160.5, 120.5)),
        "hands2017": Reference((200.0, 200.0, 300.0), (475.065948, 475.065857, 316.444855, 245.787079)),
    },
    "awr": {"nyu": Reference((300.0, 300.0, 300.0), (588.03, 587.07, 320.5, 240.5))},
}
"""By the `crop` that follows it: zhangboshen/A2J @ 4c332f0, src/{nyu,icvl,hands2017}.py, whose boxes of 2 x 110, 95 and
100 mm and depths of 150 mm on either side these are; AWR @ 1d0e440, whose loader reads NYU alone."""


def other_settings(crop: str, name: str, cubes: Sequence[Sequence[float]], key: str) -> str:
    """What differs where the set `name`, cut with `cubes` (N, 3) mm, is to be cut as `crop`'s reference does; "" where
    nothing does, or the reference has no settings for the set. `key` is where options are said: source or target."""
    reference = REFERENCES.get(crop, {}).get(name)
    if reference is None:
        return ""
    ours, theirs = DEPTH_SETS[name].camera, reference.camera
    other = [list(cube) for cube in cubes if tuple(cube) != reference.cube]
    lens = f", and its camera is {_own_pixels(theirs)}, here {_own_pixels(ours)}" if ours != theirs else ""
    if not other and not lens:
        return ""
    return (
        f"crop={crop} cuts {name} as its reference does only with the reference's cube of {_plain(reference.cube)} mm; "
        f"here it is {' and '.join(map(_plain, other)) or 'the same'}{lens}. For the reference's: "
        f"{key}.cube=[{_plain(reference.cube, ',')}]"
    )


def _own_pixels(camera: Camera) -> str:
    return _plain((*camera[:2], camera[2] - 0.5, camera[3] - 0.5))


def _plain(values: Sequence[float], between: str = ", ") -> str:
    return between.join(f"{value:g}" for value in values)
