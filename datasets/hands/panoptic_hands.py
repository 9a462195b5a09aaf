"""CMU Panoptic HandDB, hands with manual 2D joints ("hand_labels"): MPII photographs and New Zealand Sign Language.

Simon et al., "Hand Keypoint Detection in Single Images using Multiview Bootstrapping", CVPR 2017;
http://domedb.perception.cs.cmu.edu/handdb.html. Below the root lies hand_labels/ with manual_train/ (1,912 hands) and
manual_test/ (846): NAME_l.jpg or NAME_r.jpg, the whole picture, and beside it a JSON of the same name, a hand each.

- `hand_pts` is 21 x (x, y, flag) in HAND's order (wrist, thumb base to tip, ..., little finger), of left and right
  hands alike; a flag other than 1 marks a joint that is not labelled, as the publisher's example reads it. Hidden
  joints are labelled and not told apart: `visible` is `annotated`. Hands without a labelled joint are left out.
- `is_left` says which hand; right ones are shown mirrored.
- The publisher's example plots the points over the picture in matplotlib, whose pixel centres are whole numbers: +0.5.
  (Clicked points have fractions, and a part of the wrists are whole numbers, as taken over from MPII; half a pixel more
  or less is not documented.) A few joints lie outside of their pictures.
- Boxes: none; the publisher's are squares about the joints. Here too, `boxes: truth`.
- Splits are the publisher's. Pictures are MPII_PERSON_SIDE or VIDEO.flv_FRAME_SIDE: what has all but side and last
  number in common, a photograph or a video, is one sequence.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ..reading.annotations import BadAnnotation, mapping, numbers, picture_name, read_json
from ..reading.origin import Download, Origin
from ..reading.people import PictureOptions, PictureSet, digest, table
from ..reading.splits import check_part
from ..skeleton import HAND

ORIGIN = Origin(
    "CMU Panoptic HandDB, manual annotations, Simon et al., CVPR 2017",
    "non-commercial research",
    "http://domedb.perception.cs.cmu.edu/handdb.html",
    "hand_labels/manual_train/*.jpg and *.json, hand_labels/manual_test/*.jpg and *.json",
    (Download("http://domedb.perception.cs.cmu.edu/panopticDB/hands/hand_labels.zip"),),
)


def panoptic_hands(options: PictureOptions, part: str) -> PictureSet:
    """The hands of `part`, train or test. Raises ValueError for missing files, BadAnnotation for a malformed one."""
    check_part(part)
    folder, place = options.folder, f"hand_labels/manual_{part}"
    files = sorted(file for file in (folder / place).glob("*.json") if file.is_file())
    if not files:
        raise ValueError(f"no .json in {folder / place}: root is expected to hold {ORIGIN.layout}")
    rows = [_row(file, place, frame) for frame, file in enumerate(files)]
    people = table(folder / place, HAND, [row for row in rows if row["annotated"].any()])
    about = {"part": part, "sha256": digest(*files)}
    return PictureSet(f"panoptic_hands.{part}", folder, people, about, ORIGIN, options.boxes, fallback="truth")


def _row(file: Path, place: str, frame: int) -> dict[str, Any]:
    hand = mapping(read_json(file), file, "", "the content", ("hand_pts", "is_left"))
    joints = numbers(hand["hand_pts"], (len(HAND), 3), file, "", "hand_pts")
    left = hand["is_left"]
    if not isinstance(left, int | float) or left not in (0, 1):
        raise BadAnnotation(file, "", "is_left", left, "0, 1, false or true")
    annotated = joints[:, 2] == 1
    return {
        "picture": picture_name(f"{place}/{file.stem}.jpg", file, "", "its name"),
        "id": f"panoptic_hands/{place}/{file.stem}",
        "sequence": re.sub(r"_\d+$", "", re.sub(r"_[lr]$", "", file.stem)),
        "frame": frame,
        "keypoints": np.where(annotated[:, None], joints[:, :2] + 0.5, 0.0),
        "annotated": annotated,
        "visible": annotated,
        "mirrored": not left,
    }
