"""Whether labels and pictures of a `People` table belong together, judged by many people at once.

Nothing is said of a handful of people, nor where chance or an odd recording explains it as well: a joint outside its
picture is nothing unusual, a set of them that lies inside once x and y change places is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..sample import PoseDataset
from .fit import (
    CORNER,
    FEW,
    as_shown,
    beside,
    better,
    exchanged,
    extents,
    holds,
    in_corner,
    inside,
    misread,
    parts_of,
    reach,
)
from .headers import SIDEWAYS, Header, read_headers
from .people import People, PictureSet

FAR_OUT = 0.2
"""Share of joints outside their pictures, above which labels and pictures seem not to belong together."""
MANY_HELD = 0.6
"""Share of joints that right boxes hold, at the least."""
ENOUGH = 1 << 16
"""Rows by which a table is judged."""
SHOW = "see them with: keyshift data show NAME"


class Doubt(NamedTuple):
    """Something to look at, in words, with its count and the likely cause."""

    text: str
    problem: bool = True
    """False: it may well be right; `data check` says it as a note, and a run does among its first lines."""


def looked_at(people: People, most: int) -> People:
    """A table of which at most so many pictures are looked at: of a long one enough rows, evenly over it, to judge it
    within seconds."""
    rows = max(most, ENOUGH)
    return people if len(people) <= rows else people.select(np.linspace(0, len(people) - 1, rows).astype(np.int64))


def of_pictures(dataset: PoseDataset, most: int) -> Iterator[Doubt]:
    """What the table of a picture set says against it, with the headers of at most `most` of its pictures."""
    if not isinstance(dataset, PictureSet):
        return
    people = looked_at(dataset.people, most)
    headers = read_headers(dataset.root, people.pictures, most)
    declared = {} if dataset.declared is None else dataset.declared()
    sized = sizes_differ(declared, headers)
    yield from sized
    rows = np.array([name in headers for name in people.pictures])
    seen = people.select(rows)
    yield from turned(seen, headers, declared)
    yield from placeholders(people)
    if len(seen):
        size = np.array([headers[name][:2] for name in seen.pictures], np.float64)
        tag = np.array([headers[name].tag for name in seen.pictures])
        boxed = dataset.cut == "file" and seen.boxes is not None
        if not sized:  # all else may follow from it
            yield from of_labels(people, seen, size, tag, boxed)


def of_labels(people: People, seen: People, size: np.ndarray, tag: np.ndarray, boxed: bool) -> Iterator[Doubt]:
    """Units, forms and places of labels: of all `people`, of those `seen` in pictures of known size (M, 2) and EXIF tag
    (M,), and of their boxes where crops are made of them. What may follow from something that was said is not said."""
    checks: tuple[Callable[[], Iterable[Doubt]], ...] = (
        lambda: of_units(people, seen, size),
        lambda: of_places(seen, size, tag),
        lambda: of_boxes(seen, size) if boxed else (),
        lambda: off_picture(seen, size) if boxed else (),
        lambda: single_joints(seen, "far outside the picture", ~inside(seen.keypoints, size, 0.25)),
        lambda: single_joints(seen, "far outside their person's box", _out_of_box(seen)) if boxed else (),
        lambda: single_joints(seen, "far from all others", _far(seen)),
    )
    yield from next((doubts for check in checks if (doubts := list(check()))), [])


def some(names: Sequence[str]) -> str:
    """The first of many names, in brackets."""
    return f" ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"


def _named(people: People, chosen: np.ndarray) -> str:
    return some([people.ids[row] for row in np.flatnonzero(chosen)[:4]])


def resized(declared: dict[str, tuple[int, int]], headers: dict[str, Header]) -> list[str]:
    """Pictures that are of another size than their label file says."""
    return [name for name, header in headers.items() if name in declared and declared[name] != header[:2]]


def sizes_differ(declared: dict[str, tuple[int, int]], headers: dict[str, Header]) -> list[Doubt]:
    """Pictures that are of another size than their label file says, and the likely cause."""
    wrong = resized(declared, headers)
    if not wrong:
        return []
    there, shown = declared[wrong[0]], headers[wrong[0]]
    sideways = [name for name in wrong if declared[name] == headers[name][1::-1] and headers[name].tag in SIDEWAYS]
    exchanged_sides = 2 * sum(declared[name] == headers[name][1::-1] for name in wrong) > len(wrong)
    cause = (
        "their EXIF tag turns these pictures: keypoints and boxes must be those of the picture as it is shown"
        if 2 * len(sideways) > len(wrong)
        else "width and height are written for each other there, or the pictures were turned after they were labelled"
        if exchanged_sides
        else "labels and pictures are of another resolution, or of other pictures of these names; scale the labels, or "
        "take the pictures that were labelled"
    )
    text = (
        f"{len(wrong):,} pictures are not of the size that the labels declare, the first {wrong[0]}: "
        f"{there[0]}x{there[1]} there, {shown.width}x{shown.height} as it is shown; {cause}"
    )
    return [Doubt(text)]


def turned(people: People, headers: dict[str, Header], declared: dict[str, tuple[int, int]]) -> Iterator[Doubt]:
    """How many labelled pictures are turned by a tag, where the labels do not say by their sizes that they know."""
    labelled = {name for name, row in zip(people.pictures, people.annotated, strict=True) if row.any()}
    unsaid = [
        name for name in labelled if headers[name].tag > 1 and not (headers[name].tag in SIDEWAYS and name in declared)
    ]
    if unsaid:
        text = (
            f"{len(unsaid):,} of {len(labelled):,} pictures looked at are turned by their EXIF tag, and the labels do "
            "not say of which picture they are: they must be those of the picture as it is shown"
        )
        yield Doubt(text, problem=False)


def placeholders(people: People) -> Iterator[Doubt]:
    """Joints that are labelled at one exact place in many pictures, as tools write what is not labelled."""
    known, joints = people.annotated, people.keypoints
    low, high = extents(joints, known)
    one = (known.sum(1) >= 3) & (low == high).all(1)
    if one.sum() >= 2:
        yield Doubt(
            f"{one.sum():,} of {len(people):,} people have all their joints at one place{_named(people, one)}: they "
            "are not labelled; set v = 0 there"
        )
    clipped = _clipped(joints, known)
    listed: dict[str, list[str]] = {}
    still: list[str] = []
    for k, name in enumerate(people.skeleton.keypoints):
        rows = np.flatnonzero(known[:, k] & ~one)
        repeated = _repeated(people, k, rows)
        if repeated is not None:
            (x, y), count = repeated
            if max(abs(x), abs(y)) <= CORNER and clipped:
                continue
            if max(abs(x), abs(y)) > CORNER and _at_few_places(joints[rows, k]):
                still.append(name)
                continue
            place = "the picture's corner (0, 0)" if max(abs(x), abs(y)) <= CORNER else f"({x:g}, {y:g})"
            listed.setdefault(place, []).append(f"{name} in {count:,} of {len(rows):,} people")
    for where, which in listed.items():
        yield Doubt(
            f"joints stand at exactly the same place, {where}, again and again, though they are labelled: "
            f"{', '.join(which)}. A tool's placeholder for what is not labelled? Set v = 0 there, or "
            "leave cells of a table empty"
        )

    if still:
        text = (
            f"these joints hardly ever move: {', '.join(still)}. They are right if they are points of a scene that "
            "stands still, else a tool's placeholder for what is not labelled, where v must be 0"
        )
        yield Doubt(text, problem=False)


def _clipped(joints: np.ndarray, known: np.ndarray) -> bool:
    """Whether joints stand along the left and top edge as often as at the corner between them: they were moved into
    their pictures."""
    at_edge = np.abs(joints) <= CORNER
    return bool((known & (at_edge[..., 0] ^ at_edge[..., 1])).sum() >= (known & at_edge.all(-1)).sum())


def _at_few_places(at: np.ndarray) -> bool:
    """Whether a joint stands at (N, 2), nearly always, at one of the few places to which it comes again and again."""
    places, counts = np.unique(at.round(), axis=0, return_counts=True)
    usual = places[counts >= max(3, 0.1 * len(at))]
    near = (np.abs(at[:, None] - usual).max(-1) <= 2).any(1) if len(usual) else np.zeros(len(at), bool)
    return bool(near.mean() >= 0.9)


def _repeated(people: People, k: int, rows: np.ndarray) -> tuple[tuple[float, float], int] | None:
    """The place (x, y) at which joint k stands in far more of the `rows` than near it, and how often."""
    if len(rows) < FEW:
        return None
    at = people.keypoints[rows, k]
    whole = at[:, 0] + 1j * at[:, 1]  # unique numbers are found ten times as fast as unique rows
    places, counts = np.unique(whole, return_counts=True)
    best = counts.argmax()
    place, count = np.array([places[best].real, places[best].imag]), int(counts[best])
    corner = bool((np.abs(place) <= CORNER).all())
    if count < (max(2, 0.01 * len(rows)) if corner else max(4, 0.1 * len(rows))):
        return None
    near = (np.abs(at - place).max(1) <= 3).sum() - count
    there = rows[whole == places[best]]
    others = np.delete(np.where(people.annotated[there, :, None], people.keypoints[there], 0), k, 1)
    others = np.where((others == place).all(-1, keepdims=True), 0, others)
    poses = len(np.unique(others.reshape(count, -1), axis=0))
    pictures = len({people.pictures[row] for row in there})
    if near > 0.2 * count or poses < max(2, 0.7 * count) or pictures < max(2, 0.5 * count):
        return None  # joints that often come near there, or a subject that does not move
    return (float(place[0]), float(place[1])), count


def of_units(people: People, seen: People, size: np.ndarray) -> Iterator[Doubt]:
    """Joints that are not pixels."""
    tiny = in_corner(people.keypoints, people.annotated)
    if tiny.sum() >= max(2, 0.01 * len(people)):
        yield Doubt(
            f"keypoints of {tiny.sum():,} of {len(people):,} people lie within 2 px of the picture's corner"
            f"{_named(people, tiny)}: they seem to be shares of the picture (0 to 1) and must be pixels; multiply "
            "them, and boxes like them, by its width and height"
        )
        return
    rows = seen.annotated.any(1)
    for whole, unit in ((100, "percent"), (1000, "thousandths")):
        if rows.sum() >= FEW and parts_of(whole, seen.keypoints[rows], seen.annotated[rows], size[rows]):
            yield Doubt(
                f"keypoints of {rows.sum():,} people looked at are numbers up to {whole}, in pictures of "
                f"{_size(size)}: they seem to be {unit} of the picture and must be pixels"
            )
            return


def _size(size: np.ndarray) -> str:
    width, height = size[len(size) // 2]
    return f"{width:.0f}x{height:.0f}"


def of_places(seen: People, size: np.ndarray, tag: np.ndarray) -> Iterator[Doubt]:
    """Joints outside their pictures, and how they come to lie in them."""
    joints, known = seen.keypoints, seen.annotated
    outside = known & ~inside(joints, size)
    if not outside.any():
        return
    count = f"{outside.sum():,} of {known.sum():,} joints lie outside their pictures"
    sideways = tag > 1
    if sideways.any():
        part, shape = joints[sideways], size[sideways]
        stored = known[sideways] & ~inside(as_shown(part, tag[sideways], shape), shape)
        here = outside[sideways].sum()
        if here >= max(4, 0.02 * known[sideways].sum()) and stored.sum() <= 0.1 * here:
            yield Doubt(
                f"{count}, and would lie inside if they were those of the picture as it is stored: {sideways.sum():,} "
                "pictures are turned by an EXIF tag, and the labels must be those of the picture as it is shown"
            )
            return
    if better(joints, joints[..., ::-1], known, size) or exchanged(joints, known, size):
        yield Doubt(f"{count}, and would lie inside with x and y exchanged: the labels seem to hold y before x")
    elif outside.sum() > FAR_OUT * known.sum() and known.sum() >= 12:
        ratio = reach(joints, known, size)
        cause = (
            "see whether labels and pictures belong together"
            if ratio is None
            else f"they reach about {ratio:.1f} times as far as the pictures do, as if these had been made smaller"
        )
        yield Doubt(f"{count}; {cause}; {SHOW}")


def single_joints(seen: People, words: str, wrong: np.ndarray) -> Iterator[Doubt]:
    """Joints that are `wrong` (N, K) in most people, while nearly all others are right."""
    wrong = wrong & seen.annotated
    shares = wrong.sum(0) / np.maximum(seen.annotated.sum(0), 1)
    usual = seen.annotated.sum(0) >= 0.5 * len(seen)
    suspects = np.flatnonzero(usual & (shares >= 0.6) & (wrong.sum(0) >= 4))
    rest = np.delete(wrong, suspects, 1).sum() / max(np.delete(seen.annotated, suspects, 1).sum(), 1)
    if len(suspects) and len(suspects) <= 0.34 * wrong.shape[1] and rest < 0.1:
        listed = [
            f"{seen.skeleton.keypoints[k]} in {wrong[:, k].sum():,} of {seen.annotated[:, k].sum():,} people"
            for k in suspects
        ]
        yield Doubt(f"joints lie {words} nearly always, while the others do not: {', '.join(listed)}; {SHOW}")


def _out_of_box(seen: People) -> np.ndarray:
    """(N, K) joints that lie outside their person's box by more than a third of its sides."""
    assert seen.boxes is not None
    return ~holds(seen.boxes, seen.keypoints, seen.annotated, 0.35)


def _far(seen: People) -> np.ndarray:
    """(N, K) joints that are more than five times as far from the middle of the others as any of these."""
    joints, known = seen.keypoints, seen.annotated
    far = np.zeros_like(known)
    for k in range(known.shape[1]):
        others = known.copy()
        others[:, k] = False
        enough = others.sum(1) >= 6
        weight = others[..., None] / np.maximum(others.sum(1), 1)[:, None, None]
        away = np.linalg.norm(joints - (joints * weight).sum(1)[:, None], axis=-1)
        far[:, k] = enough & (away[:, k] > 5 * np.maximum(np.where(others, away, 0).max(1), 1))
    return far


def off_picture(people: People, size: np.ndarray) -> Iterator[Doubt]:
    """Boxes that do not touch their pictures."""
    assert people.boxes is not None
    off = beside(people.boxes, size)
    if off.any():
        yield Doubt(f"{off.sum():,} boxes do not touch their picture{_named(people, off)}; correct them")


def of_boxes(people: People, size: np.ndarray) -> Iterator[Doubt]:
    """Boxes in another form or unit, and those that do not hold their joints."""
    assert people.boxes is not None
    boxes, joints, known = people.boxes, people.keypoints, people.annotated
    reading = misread(boxes, joints, known, size)
    if reading is not None:
        yield Doubt(f"the {len(boxes):,} boxes looked at seem to be {reading}: so they fit joints and pictures")
        return
    held = holds(boxes, joints, known) & known
    labelled = known.sum(1) >= 3
    strangers = labelled & ~held.any(1)
    if strangers.sum() >= max(2, 0.01 * len(boxes)):
        yield Doubt(
            f"{strangers.sum():,} of {labelled.sum():,} boxes hold not one of their person's joints"
            f"{_named(people, strangers)}: boxes of other people, of another unit or resolution? {SHOW}"
        )
    elif known.sum() >= 12 and held.sum() < MANY_HELD * known.sum():
        yield Doubt(
            f"{known.sum() - held.sum():,} of {known.sum():,} joints lie outside their person's box; see whether boxes "
            f"and joints are of the same resolution and form; {SHOW}"
        )
