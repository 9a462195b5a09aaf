"""Which keypoint hangs on which."""

import pytest

from keyshift.datasets.bodies.skeletons import COCO17, H36M17, H36M18, LSP14, MPI3DHP17, MPII16, SMPL24
from keyshift.datasets.skeleton import HAND, Skeleton
from keyshift.datasets.tree import CORNERS, INNER, parents


def named(skeleton):
    names = skeleton.keypoints
    return {name: names[above] if above >= 0 else None for name, above in zip(names, parents(skeleton), strict=True)}


def test_a_hand_hangs_on_the_wrist():
    above = parents(HAND)
    assert above[0] == -1
    assert {(above[k], k) for k in range(1, 21)} == set(HAND.edges)


def test_a_body_hangs_on_the_pelvis_by_its_trunk():
    above = named(H36M17)
    limbs = {f"{side}_{child}": f"{side}_{parent}" for side in ("left", "right") for child, parent in LIMBS}
    assert above == limbs | {
        **{"pelvis": None, "left_hip": "pelvis", "right_hip": "pelvis", "spine": "pelvis", "neck": "spine"},
        **{"nose": "neck", "head_top": "neck", "left_shoulder": "neck", "right_shoulder": "neck"},
    }
    assert named(SMPL24)["left_collar"] == "spine3"
    assert named(MPII16)["left_shoulder"] == "thorax"


LIMBS = (("wrist", "elbow"), ("elbow", "shoulder"), ("ankle", "knee"), ("knee", "hip"))


@pytest.mark.parametrize("skeleton", [HAND, H36M17, H36M18, SMPL24, MPII16, MPI3DHP17, LSP14, COCO17])
def test_all_hang_on_tops_by_bones_and_on_outlines_at_need(skeleton):
    above, names = parents(skeleton), skeleton.keypoints
    bones = {frozenset((names[a], names[b])) for a, b in skeleton.edges} | {frozenset(bone) for bone in INNER}
    for k in range(len(names)):
        if above[k] >= 0:
            assert {names[k], names[above[k]]} in bones
        at, steps = k, 0
        while above[at] >= 0:
            at, steps = above[at], steps + 1
            assert steps < len(names)
    outlines = [k for k, p in enumerate(above) if p >= 0 and {names[k], names[p]} <= CORNERS]
    assert bool(outlines) == ("pelvis" not in names and skeleton is not HAND)
    tops = [k for k, p in enumerate(above) if p < 0]
    assert tops == ([0, 5] if skeleton is COCO17 else [skeleton.root or 0])


def test_what_is_not_joined_stands_alone():
    assert parents(Skeleton("forest", ("a", "b", "c", "d", "e"), edges=((3, 1), (1, 2), (4, 0)), root=1)) == (
        *(-1, -1, 1, 1, 0),
    )
    assert parents(Skeleton("loose", ("a", "b"))) == (-1, -1)
    assert parents(H36M17.select(("left_wrist", "left_shoulder", "left_elbow"))) == (-1, 2, 0)
