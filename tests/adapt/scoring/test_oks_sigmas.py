"""Fall-offs of OKS for any skeleton, and what is said of them."""

import statistics

from keyshift.adapt.scoring.oks_sigmas import UNPUBLISHED, fall_offs, said
from keyshift.datasets.bodies.skeletons import COCO17, H36M17, LSP14, oks_sigmas
from keyshift.datasets.skeleton import HAND, Skeleton


def test_a_skeletons_own_come_first():
    assert fall_offs(COCO17) == COCO17.sigmas
    assert fall_offs(COCO17.select(("nose", "left_hip"))) == (0.026, 0.107)
    assert said(COCO17) == "those of coco17"
    assert fall_offs(Skeleton("own", ("nose",), sigmas=(0.5,))) == (0.5,)


def test_others_go_by_the_names_of_keypoints():
    assert fall_offs(LSP14) == oks_sigmas(LSP14)
    assert "for" not in said(LSP14).partition("lsp14")[2]
    by_name = dict(zip(H36M17.keypoints, fall_offs(H36M17), strict=True))
    assert by_name["left_wrist"] == 0.062
    assert by_name["pelvis"] == 0.107  # as COCO19's, a hip's
    assert by_name["spine"] == UNPUBLISHED
    assert said(H36M17).endswith("0.072, the median of COCO's, for spine")


def test_where_none_is_published_all_are_one():
    assert statistics.median(COCO17.sigmas) == UNPUBLISHED
    assert fall_offs(HAND) == (0.072,) * 21
    assert said(HAND) == "0.072 for all keypoints, the median of COCO's: none are published for hand21"
