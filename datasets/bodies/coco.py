"""COCO keypoints 2017: Lin et al., ECCV 2014.

The publisher's layout and its parts: val2017 is the test; what is resampled together is a picture with all its people.
datasets/reading/coco_file.py says how the JSON is read.
"""

from __future__ import annotations

from functools import partial

from ..reading.annotations import need_file
from ..reading.coco_file import declared_sizes, read_coco
from ..reading.origin import Download, Origin
from ..reading.people import PictureOptions, PictureSet, digest
from ..reading.splits import check_part
from .skeletons import COCO17

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


def coco(options: PictureOptions, part: str) -> PictureSet:
    """The people of `part`. Raises ValueError for a missing file, BadAnnotation for a malformed one."""
    check_part(part)
    half = "train2017" if part == "train" else "val2017"
    folder = options.folder
    file = need_file(folder / f"annotations/person_keypoints_{half}.json", f"COCO's layout is {ORIGIN.layout}")
    people, about = read_coco(file, COCO17, None, half)
    about = {"part": part, **about, "sha256": digest(file)}
    sizes = partial(declared_sizes, file, half)
    return PictureSet(f"coco.{part}", folder, people, about, ORIGIN, options.boxes, fallback="truth", declared=sizes)
