"""COCO keypoints 2017: Lin et al., ECCV 2014.

The publisher's layout and its parts: val2017 is the test; what is resampled together is a picture with all its people.
datasets/reading/coco_file.py says how the JSON is read.

`middles=true` adds the two joints that 3DMPPE (mks0601/3DMPPE_POSENET_RELEASE @ dd025c5, MSCOCO.py) makes: the thorax
between the shoulders and the pelvis between the hips, in the picture. They are annotated where both ends are, and
visible where both are. So the set can train beside one with 3D (half of each batch), whose root is the pelvis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..options import option
from ..reading.annotations import need_file
from ..reading.coco_file import declared_sizes, kept_coco, read_coco
from ..reading.origin import Download, Origin
from ..reading.people import WHOLE, People, PictureOptions, PictureSet
from ..reading.splits import check_part
from .middles import HIPS, SHOULDERS, with_middles
from .skeletons import COCO17, COCO19

_SITE = "http://images.cocodataset.org"
ORIGIN = Origin(
    "COCO keypoints 2017, Lin et al., ECCV 2014",
    "annotations CC BY 4.0; the photographs are Flickr users'",
    "https://cocodataset.org",
    "annotations/person_keypoints_{train,val}2017.json, train2017/, val2017/",
    (
        Download(f"{_SITE}/zips/train2017.zip"),
        Download(f"{_SITE}/zips/val2017.zip"),
        Download(f"{_SITE}/annotations/annotations_trainval2017.zip"),
    ),
)

MIDDLES = {"thorax": SHOULDERS, "pelvis": HIPS}


@dataclass(frozen=True)
class CocoOptions(PictureOptions):
    """The options of COCO."""

    middles: bool = option(False, "with a thorax between the shoulders and a pelvis between the hips")


def coco(options: CocoOptions, part: str) -> PictureSet:
    """The people of `part`. Raises ValueError for a missing file, BadAnnotation for a malformed one."""
    check_part(part)
    half = "train2017" if part == "train" else "val2017"
    folder = options.folder
    file = need_file(folder / f"annotations/person_keypoints_{half}.json", f"COCO's layout is {ORIGIN.layout}")
    everyone = options.crops == WHOLE

    def read(file: Path) -> tuple[People, dict[str, Any]]:
        people, more = read_coco(file, COCO17, None, half, everyone=everyone)
        return with_middles(people, COCO19, MIDDLES) if options.middles else people, more

    choice = {"everyone": everyone, "middles": options.middles}
    people, about = kept_coco(f"coco.{part}", [file], choice, read)
    about = {"part": part, **about, **({"middles": ", ".join(MIDDLES)} if options.middles else {})}
    sizes = partial(declared_sizes, file, half)
    return PictureSet(f"coco.{part}", folder, people, about, ORIGIN, options.boxes, fallback="truth", declared=sizes)
