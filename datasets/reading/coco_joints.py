"""The `keypoints` of COCO annotations as label tools write them.

x, y and v of each keypoint, flat or nested. A v of -1 is a joint that is not annotated, as 0 is; of 3 one that is
annotated and not seen, outside the picture. Shares are confidences. A joint without x or y (null, NaN) is not
annotated. Numbers may be texts. A file that gives all of its people x and y alone, or null for v, says so with 0, 0 or
-1, -1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..skeleton import Skeleton
from .annotations import LARGEST, BadAnnotation, Words
from .notes import Notes

_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*")
_NOTHING = ("", "nan", "null", "none")


def read_joints(values: Sequence[Any], ids: Sequence[str], skeleton: Skeleton, file: Path, notes: Notes) -> np.ndarray:
    """(N, K, 3) of x, y and v (0, 1, 2), x and y of what is not annotated finite. Raises BadAnnotation."""
    k = len(skeleton)
    flat = [_flat(value, name, file, notes) for value, name in zip(values, ids, strict=True)]
    per = _per_joint(flat, ids, skeleton, file)
    joints = _array(flat, ids, file).reshape(-1, k, per)
    xy, absent = joints[..., :2], np.isnan(joints[..., :2]).any(-1)
    if per == 2:
        flags = np.where(absent | (xy == 0).all(-1) | (xy == -1).all(-1), 0.0, 2.0)
        notes.add("have no flags: joints are taken as annotated but at 0, 0 and -1, -1", ids[0], len(ids))
    else:
        flags = _flags(joints, absent, ids, file, notes)
    shown = flags > 0
    far = np.flatnonzero((shown[..., None] & ~(np.abs(xy) <= LARGEST)).any((1, 2)))
    if len(far):
        wanted = f"finite numbers, none above {LARGEST:g}"
        raise BadAnnotation(file, f"annotation {ids[far[0]]}", "keypoints", values[far[0]], wanted)
    if len(ids) and not shown.any() and (np.abs(xy[~absent]) > 0).any():
        flagged, wanted = Words("0, not annotated, everywhere, beside x and y that are not 0"), "1 or 2 where labelled"
        raise BadAnnotation(file, "", "v in keypoints", flagged, wanted, "Set the flags when exporting")
    return np.concatenate([np.where(shown[..., None] | (np.abs(xy) <= LARGEST), xy, 0.0), flags[..., None]], -1)


def _flat(value: Any, name: str, file: Path, notes: Notes) -> list[Any]:
    """The numbers of one annotation, None and texts resolved."""
    entry = f"annotation {name}"
    if isinstance(value, str):
        words = re.split(r"[\s,;]+", value.strip("[]() \t\r\n"))
        value = words if all(map(_NUMBER.fullmatch, words)) else value
    if not isinstance(value, list):
        raise BadAnnotation(file, entry, "keypoints", value, "a list of numbers")
    if value and isinstance(value[0], list):
        value = [x for triple in value for x in (triple if isinstance(triple, list) else [triple])]
    kinds = set(map(type, value)) - {int, float}
    if kinds - {bool, str, type(None)}:
        raise BadAnnotation(file, entry, "keypoints", value, "a list of numbers")
    if str in kinds:
        notes.add("have keypoints that are texts, which are taken for numbers", name)
    return [_number(x, value, entry, file) for x in value] if kinds else value


def _number(x: Any, value: list[Any], entry: str, file: Path) -> Any:
    if x is None or (isinstance(x, str) and x.strip().lower() in _NOTHING):
        return np.nan
    if isinstance(x, str) and not (len(x) < 100 and _NUMBER.fullmatch(x)):
        raise BadAnnotation(file, entry, "keypoints", value, "a list of numbers")
    return float(x) if isinstance(x, str) else x


def _per_joint(flat: list[list[Any]], ids: Sequence[str], skeleton: Skeleton, file: Path) -> int:
    """Whether all have x, y, v of each keypoint (3), or x, y (2)."""
    k, lengths = len(skeleton), Counter(map(len, flat))
    if not lengths or set(lengths) == {3 * k}:
        return 3
    if set(lengths) == {2 * k}:
        return 2
    first = next(n for n, value in enumerate(flat) if len(value) != 3 * k)
    count, wanted = len(flat) - lengths[3 * k], f"x, y, v of the {k} keypoints of {skeleton.name}"
    entry = f"annotation {ids[first]}" + (f" and {count - 1} more of {len(flat)}" if count > 1 else "")
    remedy = "Set skeleton= to one of as many keypoints as they have, or category= to those that are meant"
    numbers = Words(f"{len(flat[first])} numbers")
    raise BadAnnotation(file, entry, "keypoints", numbers, wanted, *([remedy] if count > 1 else []))


def _array(flat: list[list[Any]], ids: Sequence[str], file: Path) -> np.ndarray:
    """(N, L); at once, because a million rows one by one take half a minute."""
    try:
        return np.array(flat, np.float64)
    except OverflowError:
        for value, name in zip(flat, ids, strict=True):
            if any(isinstance(x, int) and x.bit_length() > 1000 for x in value):
                wanted = f"finite numbers, none above {LARGEST:g}"
                raise BadAnnotation(file, f"annotation {name}", "keypoints", value, wanted) from None
        raise


def _flags(joints: np.ndarray, absent: np.ndarray, ids: Sequence[str], file: Path, notes: Notes) -> np.ndarray:
    """(N, K) of 0, 1 and 2."""
    unsaid, bare = np.isnan(joints[..., 2]), absent | (joints[..., :2] == 0).all(-1)
    flags = np.where(unsaid & bare, 0.0, joints[..., 2])
    if len(ids) and unsaid.all():
        flags = np.where(bare | (joints[..., :2] == -1).all(-1), 0.0, 2.0)
        notes.add("have no flags: joints are taken as annotated but at 0, 0 and -1, -1", ids[0], len(ids))
    if ((flags >= 0) & (flags <= 1)).all() and (flags % 1).any():
        flags = np.where(flags > 0, 2.0, 0.0)
        notes.add(
            "have flags v from 0 to 1: predictions with a confidence? Above 0 is taken as annotated", ids[0], len(ids)
        )
    wrong = np.flatnonzero(~np.isin(flags, (-1, 0, 1, 2, 3)).all(1))
    if len(wrong):
        entry = f"annotation {ids[wrong[0]]}" + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else "")
        first, remedy = flags[wrong[0]].tolist(), () if len(wrong) == 1 else ("Write flags, as COCO has them, there",)
        raise BadAnnotation(file, entry, "v in keypoints", first, "0, 1 or 2", *remedy)

    def note(where: np.ndarray, what: str) -> None:
        rows = np.flatnonzero(where.any(1))
        notes.add(what, ids[rows[0]] if len(rows) else "", len(rows))

    note(flags == -1, "have v = -1, which is taken as not annotated")
    note(flags == 3, "have v = 3, which is taken as annotated and not visible")
    note((flags > 0) & absent, "have joints without x or y, which are taken as not annotated")
    return np.where(absent | (flags == -1), 0.0, np.where(flags == 3, 1.0, flags))
