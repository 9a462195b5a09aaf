"""CrowdPose: people close together, 14 joints.

Li et al., CVPR 2019. The publisher's layout: json/crowdpose_train.json, crowdpose_val.json and crowdpose_test.json, all
their pictures in images/. They are COCO keypoint files (datasets/reading/coco_file.py) whose images say how crowded
they are, `crowdIndex`, by which results are told apart: easy below 0.2, hard from 0.8, as in the publisher's code; the
paper says 0.1 and 0.8 (adapt/scoring/oks_ap.py). What is published trains on train and val and tests on test;
`held=val` trains on train and tests on val.

The joint that the files call head is the head's top. There are no outlines: the area of a person is taken as 0.53 of
the box's, as in the publisher's evaluation, and in whole pictures no label counts in the boxes of people without
keypoints. (HigherHRNet @ aa23881 masks nothing here.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ..options import option
from ..reading.annotations import need_file
from ..reading.coco_file import kept_coco, read_coco
from ..reading.origin import Origin
from ..reading.people import WHOLE, PictureOptions, PictureSet
from ..reading.splits import check_part
from .skeletons import CROWDPOSE14

ORIGIN = Origin(
    "CrowdPose, Li et al., CVPR 2019",
    "none stated; the photographs are those of COCO, MPII and AI Challenger, under their terms",
    "https://github.com/Jeff-sjtu/CrowdPose",
    "json/crowdpose_{train,val,test}.json, images/",
)


@dataclass(frozen=True)
class CrowdPoseOptions(PictureOptions):
    """The options of CrowdPose."""

    held: str = option(
        "test", "what tests: test, while train and val train; or val, while train trains", choices=("test", "val")
    )


def crowdpose(options: CrowdPoseOptions, part: str) -> PictureSet:
    """The people of `part`. Raises ValueError for a missing file, BadAnnotation for a malformed one."""
    check_part(part)
    names = (options.held,) if part == "test" else ("train", "val") if options.held == "test" else ("train",)
    layout = f"CrowdPose's layout is {ORIGIN.layout}"
    files = [need_file(options.folder / f"json/crowdpose_{name}.json", layout) for name in names]
    everyone = options.crops == WHOLE
    read = partial(read_coco, skeleton=CROWDPOSE14, block=None, below="images", everyone=everyone)
    people, more = kept_coco(f"crowdpose.{part}", files, {"everyone": everyone}, read)
    about = {"part": part, "held": options.held, **more}
    return PictureSet(f"crowdpose.{part}", options.folder, people, about, ORIGIN, options.boxes, fallback="truth")
