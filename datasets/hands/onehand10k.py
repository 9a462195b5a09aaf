"""OneHand10K: one hand in each of some 11,700 photographs in the wild, with 2D joints.

Wang, Peng, Liu, "Mask-pose Cascaded CNN for 2D Hand Pose Estimation from Single Color Images", TCSVT 2019;
https://www.yangangwang.com/papers/WANG-MCC-2018-10.html (on request). Below the root lie Train/ and Test/, each with
source/*.jpg, mask/*.png and label_joint.txt, of which a line is

    name,width,height,hands,x1,y1,...,x21,y21

in whole numbers, -1 for x or y of a joint that cannot be seen.

No description by the publisher is at hand: the columns are those that two independent readers of the raw files agree
on (a OneHand10K loader for openpifpaf, a repair script of MP-100), and the order, wrist, thumb base to tip, ..., little
finger, is that of mmpose's conversion (@ 759b39c), which these readers keep. Uncertain are: the meaning of the fourth
column (it is checked to be a whole number, and not used), the pixel origin (whole numbers are read as 0-based
indices of pixels, hence +0.5), and whether pictures with an EXIF orientation were labelled as stored or as turned. A
file that differs from this form is refused: other columns, a joint twice its picture's size away from it, or more than
5 % of the joints outside their pictures.

- Left and right hands are not told apart: none is mirrored.
- Only seen joints are labelled: `visible` is `annotated`. A line without any is left out.
- Boxes: none of the publisher's, and the masks are labels too: the joints' box, `boxes: truth`.
- Splits are the publisher's. Every photograph is a sequence of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..reading.annotations import BadAnnotation, need_file, numbers, picture_name
from ..reading.origin import Origin
from ..reading.people import PictureOptions, PictureSet, digest, table
from ..reading.splits import check_part
from ..skeleton import HAND

ORIGIN = Origin(
    "OneHand10K, Wang et al., TCSVT 2019",
    "research only, asked for at its home page",
    "https://www.yangangwang.com/papers/WANG-MCC-2018-10.html",
    "{Train,Test}/source/*.jpg, {Train,Test}/label_joint.txt",
)
LINE = "name,width,height,hands,x1,y1,...,x21,y21"
COLUMNS = 4 + 2 * len(HAND)
MOST_OUTSIDE = 0.05
"""Share of joints that may lie outside their pictures before the columns are taken to mean something else."""


def onehand10k(options: PictureOptions, part: str) -> PictureSet:
    """The hands of `part`, train or test. Raises ValueError for a missing file, BadAnnotation for a malformed one."""
    check_part(part)
    folder, place = options.folder, part.capitalize()
    file = need_file(folder / place / "label_joint.txt", f"root is expected to hold {ORIGIN.layout}")
    people = table(file, HAND, _rows(file, place))
    about = {"part": part, "sha256": digest(file)}
    return PictureSet(f"onehand10k.{part}", folder, people, about, ORIGIN, options.boxes, fallback="truth")


def _rows(file: Path, place: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    known: set[str] = set()
    outside = total = 0
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        name, size, joints = _parse(line, file, f"line {number}")
        if name in known:
            raise BadAnnotation(file, f"line {number}", "the name", name, "one line for each picture")
        known.add(name)
        annotated = np.all(joints >= 0, axis=1)
        outside += int((joints[annotated] >= size).any(1).sum())
        total += int(annotated.sum())
        if not annotated.any():
            continue
        rows.append(
            {
                "picture": f"{place}/source/{name}",
                "id": f"onehand10k/{place}/{name}",
                "sequence": f"{place}/{name}",
                "frame": number - 1,
                "keypoints": np.where(annotated[:, None], joints + 0.5, 0.0),
                "annotated": annotated,
                "visible": annotated,
            }
        )
    if outside > MOST_OUTSIDE * total:
        raise BadAnnotation(
            file, "", "x and y", f"outside the picture in {outside} of {total} joints", f"the columns {LINE}"
        )
    return rows


def _lines(file: Path) -> list[str]:
    try:
        return file.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadAnnotation(file, "", "the content", str(error), "UTF-8 text") from error


def _parse(line: str, file: Path, entry: str) -> tuple[str, np.ndarray, np.ndarray]:
    """Name, size (2,) and joints (21, 2), -1 where there is none, of a line."""
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != COLUMNS:
        raise BadAnnotation(file, entry, "the line", f"of {len(fields)} columns", f"{COLUMNS}: {LINE}")
    try:
        whole = [int(field) for field in fields[1:]]
    except ValueError as error:
        raise BadAnnotation(file, entry, "a column", str(error), "whole numbers after the name") from error
    values = numbers(whole, (COLUMNS - 1,), file, entry, "the numbers")
    size, hands, joints = values[:2], values[2], values[3:].reshape(-1, 2)
    if not (size > 0).all() or hands < 0:
        raise BadAnnotation(file, entry, "width,height,hands", values[:3].tolist(), "a picture's size and a count")
    if not ((joints >= -1) & (joints <= 2 * size)).all():
        raise BadAnnotation(file, entry, "x and y", joints.tolist(), "pixels, or -1 for a joint that is not seen")
    return picture_name(fields[0], file, entry, "the name"), size, joints
