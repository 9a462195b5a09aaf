"""Bodies as the public sets annotate them, under one vocabulary of names, so that any two can be paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..sides import sides
from ..skeleton import Skeleton

_BONES = (
    *(
        ("left_ankle", "left_knee"),
        ("left_knee", "left_hip"),
        ("right_ankle", "right_knee"),
        ("right_knee", "right_hip"),
    ),
    *(("left_wrist", "left_elbow"), ("left_elbow", "left_shoulder"), ("right_wrist", "right_elbow")),
    *(("right_elbow", "right_shoulder"), ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")),
    *(("left_shoulder", "left_hip"), ("right_shoulder", "right_hip"), ("neck", "head_top"), ("neck", "head")),
    *(("nose", "left_eye"), ("nose", "right_eye"), ("left_eye", "left_ear"), ("right_eye", "right_ear")),
    *(("pelvis", "spine"), ("spine", "neck"), ("thorax", "neck"), ("pelvis", "thorax"), ("neck", "nose")),
    *(
        ("left_ankle", "left_foot"),
        ("right_ankle", "right_foot"),
        ("left_foot", "left_toe"),
        ("right_foot", "right_toe"),
    ),
    *(("left_wrist", "left_hand"), ("right_wrist", "right_hand")),
)
_LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
BODY = 2000.0
"""mm, the edge of the square that holds a person (RootNet)."""


def body(name: str, names: Sequence[str], sigmas: tuple[float, ...] = ()) -> Skeleton:
    """A body of these joints: bones, flip pairs and groups follow from the names.

    The group `all` is the twelve limb joints, as in the published tables of RegDA (TLLib @ c4aa59e); head, neck, thorax
    and pelvis are not in it.
    """
    place = {joint: k for k, joint in enumerate(names)}
    groups = {limb: tuple(place[f"{s}_{limb}"] for s in ("left", "right") if f"{s}_{limb}" in place) for limb in _LIMBS}
    groups = {limb: members for limb, members in groups.items() if members}
    limbs = tuple(sorted(k for members in groups.values() for k in members))
    edges = tuple((place[a], place[b]) for a, b in _BONES if a in place and b in place)
    groups |= {"all": limbs or tuple(place.values())}
    by_name = sides(names)
    extent = BODY if limbs else 0.0
    return Skeleton(
        name, tuple(names), edges, by_name.pairs, groups, sigmas, by_name.single, place.get("pelvis"), extent
    )


def _sides(*joints: str) -> tuple[str, ...]:
    return tuple(f"{side}_{joint}" for joint in joints for side in ("left", "right"))


COCO17 = body(
    "coco17",
    ("nose", *_sides("eye", "ear", *_LIMBS)),
    (
        0.026,
        0.025,
        0.025,
        0.035,
        0.035,
        0.079,
        0.079,
        0.072,
        0.072,
        0.062,
        0.062,
        0.107,
        0.107,
        0.087,
        0.087,
        0.089,
        0.089,
    ),
)
COCO19 = body("coco19", (*COCO17.keypoints, "thorax", "pelvis"), (*COCO17.sigmas, 0.079, 0.107))
"""With the joints that 3DMPPE makes of COCO's; their sigmas are the shoulders' and the hips', as none are published."""
_SIGMAS = dict.fromkeys(("head", "head_top", "neck"), 0.079) | dict(zip(COCO19.keypoints, COCO19.sigmas, strict=True))
MPII16 = body(
    "mpii16",
    (
        *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax", "neck"),
        *("head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
    ),
)
"""MPII's own names are "upper neck" for neck and "head top"."""
LSP14 = body(
    "lsp14",
    (
        *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist"),
        *("right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top"),
    ),
)
CROWDPOSE14 = body(
    "crowdpose14",
    (*_sides(*_LIMBS), "head_top", "neck"),
    tuple(_SIGMAS[name] for name in (*_sides(*_LIMBS), "head_top", "neck")),
)
_POSETRACK = ("nose", "neck", "head_top", *_sides(*_LIMBS))
POSETRACK15 = body("posetrack15", _POSETRACK, tuple(_SIGMAS[name] for name in _POSETRACK))
"""PoseTrack's head_bottom is MPII's upper neck, and neck here as there."""
H36M17 = body(
    "h36m17",
    (
        *("pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "spine", "neck"),
        *("nose", "head_top", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow"),
        "right_wrist",
    ),
)
H36M18 = body("h36m18", (*H36M17.keypoints, "thorax"))
SMPL24 = body(
    "smpl24",
    (
        *("pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle"),
        *("right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head"),
        *_sides("shoulder", "elbow", "wrist", "hand"),
    ),
)
MPI3DHP17 = body(
    "mpi_inf_3dhp17",
    (
        *("head_top", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow"),
        *("left_wrist", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "pelvis"),
        *("spine", "head"),
    ),
)
_MUCO21 = body("muco21", (*MPI3DHP17.keypoints, "right_hand", "left_hand", "right_toe", "left_toe"))
MUCO21 = replace(_MUCO21, edges=(*_MUCO21.edges, (10, 19), (13, 20)))
"""MuCo-3DHP's; the first 17 are MPI-INF-3DHP's and MuPoTS-3D's. It has no foot between ankle and toe."""


def oks_sigmas(skeleton: Skeleton) -> tuple[float, ...]:
    """The fall-offs of OKS of a skeleton's keypoints: its own, else by their names those of COCO and, of head and neck,
    CrowdPose. Raises ValueError naming the keypoints of which none are published."""
    lacking = [name for name in skeleton.keypoints if name not in _SIGMAS]
    if skeleton.sigmas or not lacking:
        return skeleton.sigmas or tuple(_SIGMAS[name] for name in skeleton.keypoints)
    raise ValueError(
        f"OKS needs a fall-off (sigma) for each keypoint, and of {skeleton.name} none are published for "
        f"{', '.join(lacking)}"
    )


def published_sigma(keypoint: str) -> float | None:
    """The fall-off of a body's keypoint by its name, COCO's or CrowdPose's; None where neither has it."""
    return _SIGMAS.get(keypoint)
