"""Which reading of a set's numbers fits its pictures: as they stand, or in another unit, order or resolution.

N people: joints (N, K, 2) px, known (N, K) bool, boxes (N, 4) left, top, right, bottom, size (N, 2) width and height of
their pictures. A reading is believed where the numbers as they stand fail for most people and it fits nearly all.
"""

from __future__ import annotations

import warnings

import numpy as np

FEW = 3
"""Fewest people by whom a unit or an order is judged."""
NEARLY_ALL = 0.9
MOST = 0.7
CORNER = 2.1
"""Pixels from the top left corner within which shares of a picture lie, from -1 to 1, half a pixel added or not."""


def extents(joints: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest x and y (N, 2) of each person's known joints, NaN of people without one."""
    at = np.where(known[..., None], joints, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of people without a joint
        return np.nanmin(at, 1), np.nanmax(at, 1)


def inside(joints: np.ndarray, size: np.ndarray, margin: float = 0.02) -> np.ndarray:
    """(N, K) whether joints lie in their pictures, or beside them by no more than a pixel and `margin` of its sides."""
    slack = 1 + margin * size[:, None]
    return np.asarray(((joints >= -slack) & (joints <= size[:, None] + slack)).all(-1))


def in_corner(joints: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(N,) people of two joints or more, not all of them at one place, that lie at the picture's corner."""
    low, high = extents(joints, known)
    near = (np.abs(low) <= CORNER).all(1) & (np.abs(high) <= CORNER).all(1)
    return near & (high > low).any(1)


def parts_of(whole: float, joints: np.ndarray, known: np.ndarray, size: np.ndarray) -> bool:
    """Whether joints seem to be parts of their pictures, from 0 to `whole` (100, percent) along both sides: none is
    above that, they lie about the middle of such a square, and their pictures do not hold them as pixels, or are far
    larger than that while people move within it."""
    low, high = extents(joints, known)
    middles = (low + high) / 2 / whole
    lows, highs = np.nanquantile(low / whole, 0.02, 0), np.nanquantile(high / whole, 0.98, 0)
    side, off = np.median(size, 0) / whole, np.abs(np.nanmedian(middles, 0) - 0.5).max()
    if lows.min() < -0.02 or highs.max() > 1.02 or highs.min() < 0.35 or highs.max() < 0.5 or off > 0.2:
        return False
    outside = (known & ~inside(joints, size)).sum() / max(known.sum(), 1)
    if outside > 0.05:
        return bool(np.abs(highs - 1).min() < 0.35 and (size >= 16).all())
    moves, filled = np.nanstd(middles, 0).max() > 0.06, highs.min() > 0.6 and lows.max() < 0.4
    if side.min() >= 2:
        return bool(moves and filled)
    larger = side.min() > 1.15 and side.max() > 1.4 and len(joints) >= (8 if side.min() >= 1.4 else 12)
    return bool(moves and larger and highs.min() > 0.7 and np.abs(lows + highs - 1).max() < 0.25 and off < 0.15)


def exchanged(joints: np.ndarray, known: np.ndarray, size: np.ndarray) -> bool:
    """Whether joints of four people or more, of which some leave the picture and none does with x and y exchanged, then
    leave as much room on all sides of it as people do who stand anywhere."""
    swapped = joints[..., ::-1]
    outside = known & ~inside(joints, size)
    some = known.any(1).sum() >= 4 and outside.any(1).sum() >= 2 and outside.sum() >= 0.01 * known.sum()
    if not some or (known & ~inside(swapped, size)).any():
        return False
    low, high = extents(swapped / size[:, None], known)
    before, behind = np.nanmin(low, 0), 1 - np.nanmax(high, 0)
    return bool((np.abs(before - behind) < 0.2).all() and max(before.max(), behind.max()) < 0.35)


def better(read: np.ndarray, instead: np.ndarray, known: np.ndarray, size: np.ndarray) -> bool:
    """Whether joints `instead` fit their pictures, in which as they are `read` many are not: nearly all lie inside, and
    people who were outside come in whole, or their middles come nearer to the pictures'."""
    outside = known & ~inside(read, size)
    if outside.any(1).sum() < max(FEW, 0.1 * len(read)) or outside.sum() < 0.03 * known.sum():
        return False
    if (known & ~inside(instead, size)).sum() > 0.02 * known.sum():
        return False
    lost = (outside.sum(1) > 0.8 * known.sum(1)) & known.any(1)
    return bool(lost.sum() >= max(FEW, 0.1 * len(read)) or _off(instead, known, size) < 0.6 * _off(read, known, size))


def _off(joints: np.ndarray, known: np.ndarray, size: np.ndarray) -> float:
    """How far people stand from the middle of their pictures, in sides of these."""
    low, high = extents(joints, known)
    return float(np.nanmedian(np.abs((low + high) / 2 / size - 0.5).max(1)))


def as_shown(joints: np.ndarray, tag: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Joints of the stored picture in the one that EXIF `tag` (N,) shows, which is of `size`."""
    x, y = joints[..., 0], joints[..., 1]
    w, h = size[:, :1], size[:, 1:]
    turned = {
        2: (w - x, y),
        3: (w - x, h - y),
        4: (x, h - y),
        5: (y, x),
        6: (w - y, x),
        7: (w - y, h - x),
        8: (y, h - x),
    }
    shown = joints.copy()
    for kind, at in turned.items():
        shown[tag == kind] = np.stack(at, -1)[tag == kind]
    return shown


def reach(joints: np.ndarray, known: np.ndarray, size: np.ndarray) -> float | None:
    """How many times as large the picture was that the joints belong to, where they leave theirs along both sides by
    about as much."""
    with np.errstate(invalid="ignore"):
        largest = np.nanquantile(extents(joints, known)[1] / size, 0.98, 0)
    return float(largest.mean()) if largest.min() > 1.1 and largest.max() < 1.6 * largest.min() else None


# Boxes.


def beside(boxes: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(N,) whether a box does not touch its picture."""
    return np.asarray((boxes[:, 2:] <= 0).any(1) | (boxes[:, :2] >= size).any(1))


def leaves(boxes: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(N,) whether more than a third of a box's width or height lies to the right of its picture or below it."""
    return ((boxes[:, 2:] - size) > (boxes[:, 2:] - boxes[:, :2]) / 3).any(1)


def holds(boxes: np.ndarray, joints: np.ndarray, known: np.ndarray, margin: float = 0.1) -> np.ndarray:
    """(N, K) whether a joint lies in its person's box, or beside it by no more than `margin` of its sides."""
    slack = 1 + margin * np.abs(boxes[:, 2:] - boxes[:, :2])[:, None]
    return ~known | ((joints >= boxes[:, None, :2] - slack) & (joints <= boxes[:, None, 2:] + slack)).all(-1)


def box_fits(boxes: np.ndarray, joints: np.ndarray, known: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(N,) whether a box holds its joints and lies in its picture."""
    side = boxes[:, 2:] - boxes[:, :2]
    slack = 2 + 0.1 * np.abs(side)
    within = (boxes[:, :2] >= -slack).all(1) & (boxes[:, 2:] <= size + slack).all(1)
    return (side > 1).all(1) & within & (holds(boxes, joints, known).sum(1) >= 0.9 * known.shape[1])


def readings(boxes: np.ndarray, size: np.ndarray) -> dict[str, np.ndarray]:
    """What the boxes would be if their four numbers meant something else."""
    low, high = boxes[:, :2], boxes[:, 2:]
    side, whole = high - low, np.concatenate([size, size], 1)
    corners = np.concatenate([low, side], 1)
    centred = np.concatenate([low - side / 2, low + side / 2], 1)
    made = {
        "left, top, right and bottom where left, top, width and height are expected": corners,
        "the middle (x, y), width and height where left and top come first": centred,
        "y before x, or the joints are": boxes[:, [1, 0, 3, 2]],
        "y before x, as top, left, bottom and right": corners[:, [1, 0, 3, 2]],
        "left, top, width and height where left, top, right and bottom are expected": np.concatenate(
            [low, low + high], 1
        ),
    }
    if (np.abs(high) <= CORNER).all(1).mean() >= NEARLY_ALL:
        as_other = {f"shares of the picture (0 to 1), as {words}": box * whole for words, box in made.items()}
        return {"shares of the picture (0 to 1)": boxes * whole, **as_other}
    if (boxes >= -1).all() and (high <= 201).all():
        made |= {f"percent of the picture, as {words}": box * whole / 100 for words, box in made.items()}
        made["percent of the picture"] = boxes * whole / 100
    return made


def lopsided(boxes: np.ndarray, joints: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(N,) how much more room a box leaves behind its joints, to the right or below, than before them, in their
    extents."""
    low, high = extents(joints, known)
    room = (boxes[:, 2:] - high) - (low - boxes[:, :2])
    return np.abs(room / np.maximum(high - low, 1)).max(1)


def corner_form(boxes: np.ndarray, joints: np.ndarray, known: np.ndarray) -> bool:
    """Whether boxes that may lie in their pictures are nevertheless corners that were read as left, top, width and
    height: as corners they hold all joints, and these then stand in their middle."""
    low, side = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    corners = np.concatenate([low, side], 1)
    telling = (low > 0.1 * side).any(1) & (known.sum(1) >= 2)
    if telling.sum() < FEW:
        return False
    held = (side > low).all(1) & (holds(corners, joints, known, 0.05).mean(1) >= 0.9)
    if held[telling].mean() < 0.95:
        return False
    read, instead = (np.median(lopsided(b, joints, known)[telling]) for b in (boxes, corners))
    return bool(read > 0.3 and instead < read / 2)


def _surround(boxes: np.ndarray, joints: np.ndarray, known: np.ndarray) -> bool:
    """Whether joints lie in their boxes and in the middle of these, however far they leave the picture."""
    if not known.any():
        return False
    held = holds(boxes, joints, known, 0.02).mean()
    return bool(held > 0.97 and np.nanmedian(lopsided(boxes, joints, known)) < 0.15)


def misread(boxes: np.ndarray, joints: np.ndarray, known: np.ndarray, size: np.ndarray) -> str | None:
    """What the boxes seem to be instead of left, top, right and bottom; None where they fit as they are, or nothing
    else fits better."""
    if len(boxes) < FEW or _surround(boxes, joints, known):
        return None
    fits = box_fits(boxes, joints, known, size).mean()
    if fits < MOST:
        instead = readings(boxes, size)
        if not known.any():  # where boxes stand alone, nearly all that makes them smaller would fit
            instead = {
                words: b for words, b in instead.items() if "shares" in words or words.startswith("left, top, r")
            }
        shares = {words: box_fits(b, joints, known, size).mean() for words, b in instead.items()}
        ratio = scale(boxes, joints, known)
        if ratio is not None:
            words = f"of a picture {ratio:.2g} times as large"
            shares[words] = box_fits(boxes / ratio, joints, known, size).mean()
        best = max(shares, key=lambda words: shares[words])  # of equals the first
        if shares[best] >= max(NEARLY_ALL, fits + 0.2):
            return best
    if corner_form(boxes, joints, known):
        return next(iter(readings(boxes, size)))
    return None


def scale(boxes: np.ndarray, joints: np.ndarray, known: np.ndarray) -> float | None:
    """How many times as far from the corner the boxes stand as their joints, where that is far from once."""
    if not known.any():
        return None
    low, high = extents(joints, known)
    middle = (low + high) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.nanmedian((boxes[:, :2] + boxes[:, 2:]) / 2 / middle))
    return ratio if ratio > 0.05 and not 0.8 <= ratio <= 1.25 else None
