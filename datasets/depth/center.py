"""Where the hand or body is in a depth frame, without labels; and whether a frame can be used at all.

The centre is DeepPrior++'s before its network refines it (Oberweger and Lepetit, ICCV Workshops 2017, arXiv
1708.08325): the centre of mass of what is nearest, moved until it rests in its own cube. Two steps are added, without
labels or learning. Objects are told apart by jumps in depth, so that a body or wall behind the hand does not pull at
it. And a hand is looked for at the end of its arm: where an object goes on beyond the hand's reach or out of the
picture, the points at the other end alone count. The centre lies on the surface, the mean joint a little behind it.

What it cannot tell apart: a hand that touches something larger, and a body from the floor that it stands on. Give it
`near` and `far`, or a box.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..reading.images import UnreadableImage
from .crop import cube_box

Array = np.ndarray

REFERENCE = 250.0
"""mm: the edge of the cube around a hand for which `JUMP` and `SPECK` hold; both grow with the cube."""
JUMP = 35.0
"""mm from one pixel to the next, above which they belong to two surfaces."""
SPECK = 500.0
"""mm2 of surface: smaller objects are noise."""
STEPS = 50
"""Moves of the cube at most."""
HAND = 500.0
"""mm: in a smaller cube a hand is looked for, and its arm is left out."""
LENGTH = 0.55
"""Of the cube's edge: how much of an arm's end is taken for the hand. Knuckles of a fist to wrist; the fingers of a
stretched hand, whose wrist is then still in the cube."""


class UnusableDepth(UnreadableImage):
    """A depth frame from which no crop can be cut: skipped in training, listed in evaluation."""


class NoCenter(UnusableDepth):
    """A depth frame in which nothing was found."""


class OutOfRange(NoCenter):
    """A depth frame with returns, but with nothing large enough where it was looked for."""


def find_center(
    depth: Array,
    camera: Array | tuple[float, ...],
    cube: Array | float,
    box: Array | None = None,
    near: float = 100.0,
    far: float = 2000.0,
) -> Array:
    """(3,) float64: x and y in pixels (first pixel's centre at 0.5) and z in mm, of the nearest object's near end.

    depth (H, W) mm, 0 where nothing returned; camera (fx, fy, cx, cy); cube one edge or three in mm. Surfaces nearer
    than `near` or farther than `far` do not count, nor pixels outside of `box` (left, top, right, bottom).

    Among the objects that show more than a speck of surface, the one whose first speck is nearest is taken; a cube
    starts there and moves to the mean of the object's points within it until it stands still. With a cube for hands an
    arm is then left out. Raises NoCenter with the depths that were found.
    """
    depth = np.asarray(depth)
    lens, edges = np.asarray(camera, np.float64), np.broadcast_to(np.asarray(cube, np.float64), (3,))
    _check_search(depth, lens, edges, near, far)
    # A 3x3 median takes away lone returns and the flying pixels along edges.
    clean = cv2.medianBlur(np.nan_to_num(depth.astype(np.float32), posinf=0, neginf=0), 3)
    region = _within(box, depth.shape)
    inside = (clean >= near) & (clean <= far) & region
    y, x = np.nonzero(inside)
    z = clean[y, x].astype(np.float64)
    points = np.stack([(x + 0.5 - lens[2]) / lens[0] * z, (y + 0.5 - lens[3]) / lens[1] * z, z], 1)
    scale = edges.max() / REFERENCE
    label = _objects(clean, inside, JUMP * scale)[y, x]
    first = _first_speck(label, z, z**2 / (lens[0] * lens[1]), SPECK * scale**2)
    if first is None:
        raise _nothing(depth, box, near, far, SPECK * scale**2)
    own = label == label[first[0]]
    middle = _settle(points[own], points[first].mean(0), edges / 2)
    if edges.max() < HAND:
        inner = cv2.erode(region.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=0) > 0
        middle = _end_of_arm(points[own], ~inner[y, x][own], middle, edges)
    return np.array([*(middle[:2] / middle[2] * lens[:2] + lens[2:]), middle[2]])


def _check_search(depth: Array, camera: Array, cube: Array, near: float, far: float) -> None:
    if depth.ndim != 2 or depth.size == 0:
        raise UnusableDepth(f"a depth frame has the shape {depth.shape}; expected (H, W) in mm")
    if camera.shape != (4,) or not np.isfinite(camera).all() or not (camera[:2] > 0).all():
        raise ValueError(f"camera={camera.tolist()} must be fx, fy, cx, cy in pixels, with fx and fy above 0")
    if not np.isfinite(cube).all() or not (cube > 0).all():
        raise ValueError(f"cube={cube.tolist()} must be edges in mm, above 0")
    if not 0 < near < far:
        raise ValueError(f"near={near} and far={far} must be distances in mm, 0 < near < far")


def _within(box: Array | None, shape: tuple[int, ...]) -> Array:
    """(H, W) bool: pixels whose centres lie in the box."""
    inside = np.ones(shape, bool)
    if box is not None:
        left, top, right, bottom = edges = np.asarray(box, np.float64).reshape(4)
        if not (np.isfinite(edges).all() and left < right and top < bottom):
            raise ValueError(f"box={edges.tolist()} must be left, top, right, bottom in pixels, and not empty")
        x, y = np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5
        inside = ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))
    return inside


def _objects(depth: Array, inside: Array, jump: float) -> Array:
    """(H, W) int labels of surfaces without jumps; 0 is none.

    Of two neighbours with a jump between them the farther is left out: the near object keeps its whole outline, and
    loses touch with what is behind it.
    """
    kept = inside.copy()
    depth = np.where(inside, depth, np.float32(1e9))  # what does not count is farther than all
    for axis in (0, 1):
        step = np.diff(depth, axis=axis)
        ahead, behind = [slice(None)] * 2, [slice(None)] * 2
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        kept[tuple(ahead)] &= step <= jump
        kept[tuple(behind)] &= step >= -jump
    return cv2.connectedComponents(kept.astype(np.uint8), connectivity=4)[1]


def _first_speck(label: Array, z: Array, area: Array, speck: float) -> Array | None:
    """Indices of the nearest pixels that make up a speck of one object, or None where no object has as much."""
    total = np.bincount(label, area)
    best, nearest = None, np.inf
    for number in np.flatnonzero(total >= speck):
        if number == 0:
            continue
        members = np.flatnonzero(label == number)
        members = members[np.argsort(z[members], kind="stable")]
        last = int(np.searchsorted(np.cumsum(area[members]), speck))
        if last < len(members) and z[members[last]] < nearest:
            best, nearest = members[: last + 1], z[members[last]]
    return best


def _settle(points: Array, start: Array, half: Array) -> Array:
    """Where the cube of half edges `half` comes to rest, moved from `start` to the mean of `points` (N, 3) in it."""
    middle = start
    for _ in range(STEPS):
        inside = (np.abs(points - middle) <= half).all(1)
        if not inside.any():  # the start is a mean too, and may lie between far ends of an object
            middle = points[np.abs(points - middle).sum(1).argmin()]
            continue
        moved = points[inside].mean(0)
        if np.abs(moved - middle).max() < 0.1:
            break
        middle = moved
    return middle


def _end_of_arm(points: Array, border: Array, middle: Array, cube: Array) -> Array:
    """The centre of the end of an arm: `middle` where the points (N, 3) show no arm.

    An arm goes on to the faces of a cube of twice the edges, where no finger reaches, or to the picture's border
    (N,) bool. The hand is on the other side.
    """
    off = (np.abs(points - middle) / cube).max(1)
    leaves = (off <= 1) & (border | (off > 0.9))
    if not leaves.any():
        return middle
    ahead = middle - points[leaves].mean(0)
    length = np.linalg.norm(ahead)
    if length < 0.2 * cube.max():  # it goes on to all sides: no arm
        return middle
    along = (points - middle) @ (ahead / length)
    hand = points[(off <= 1) & (along > np.percentile(along[off <= 1], 98) - LENGTH * cube.max())]
    return _settle(hand, hand.mean(0), cube / 2)


def _nothing(depth: Array, box: Array | None, near: float, far: float, speck: float) -> NoCenter:
    part = depth[_within(box, depth.shape) & np.isfinite(depth) & (depth > 0)]
    where = "in the frame" if box is None else f"in the box {np.asarray(box).tolist()}"
    if not len(part):
        size = f"{depth.shape[1]} x {depth.shape[0]}"
        return NoCenter(f"no depth was returned {where} of {size}: leave it out or correct its box")
    returns = f"returns lie between {part.min():g} and {part.max():g} mm"
    if part.max() < 20:
        returns += ", which looks like metres: unit: m"
    extent = f"{speck / 100:g} cm2 or more {where} between {near:g} and {far:g} mm"
    return OutOfRange(f"nothing of {extent}: {returns}")


def check_depth(depth: Array, name: str) -> None:
    """Raises UnusableDepth that says what is wrong with the frame `name`: it must be (H, W) float mm, 0 where nothing
    returned, finite, and not all zero."""
    if depth.ndim != 2 or depth.size == 0 or depth.dtype not in (np.float32, np.float64):
        raise UnusableDepth(
            f"{name}: the depth has the shape {depth.shape} and is {depth.dtype}; expected (H, W) float32 in mm"
        )
    low, high = float(depth.min()), float(depth.max())  # NaN goes through both
    if not np.isfinite([low, high]).all():
        raise UnusableDepth(
            f"{name}: {(~np.isfinite(depth)).sum()} of {depth.size} depths are NaN or infinite; write 0 where nothing "
            "returned"
        )
    if low < 0:
        raise UnusableDepth(f"{name}: depths go down to {low:g} mm; they must be positive along the optical axis")
    if high == 0:
        raise UnusableDepth(f"{name}: no pixel has a depth, all are 0; leave the frame out")
    if high < 20:
        raise UnusableDepth(f"{name}: all depths are below {high:g} mm, which looks like metres: unit: m")


def check_center(center: Array, cube: Array, camera: Array, shape: tuple[int, ...], depth: Array, name: str) -> None:
    """Raises UnusableDepth where no crop can be cut around `center` (x px, y px, z mm) of the frame `name`.

    cube (3,) mm, camera (4,), shape (H, W), depth (H, W) mm: something must have returned from within the cube.
    """
    center, cube, camera = (np.asarray(value, np.float64) for value in (center, cube, camera))
    height, width = shape[:2]
    if cube.shape != (3,) or not np.isfinite(cube).all() or not (cube > 0).all():
        raise UnusableDepth(f"{name}: the cube is {cube.tolist()}; expected three edges in mm, above 0")
    if camera.shape != (4,) or not np.isfinite(camera).all() or not (camera[:2] > 0).all():
        raise UnusableDepth(f"{name}: the camera is {camera.tolist()}; expected fx, fy, cx, cy, with fx and fy above 0")
    if center.shape != (3,) or not np.isfinite(center).all() or center[2] <= 0:
        raise UnusableDepth(f"{name}: the centre is {center.tolist()}; expected x px, y px and z mm above 0")
    if not (0 <= center[0] <= width and 0 <= center[1] <= height):
        raise UnusableDepth(
            f"{name}: the centre ({center[0]:.1f}, {center[1]:.1f}) px is outside the image of {width} x {height}; "
            "correct it, or have it found in the frame"
        )
    if (cube[:2] * camera[:2] / center[2] < 2).any():
        raise UnusableDepth(
            f"{name}: the cube of {cube.tolist()} mm is less than 2 pixels wide at z = {center[2]:.0f} mm; correct the "
            "centre or enlarge the cube"
        )
    _check_filled(center, cube, camera, depth, name)


def _check_filled(center: Array, cube: Array, camera: Array, depth: Array, name: str) -> None:
    left, top, right, bottom = cube_box(center, cube, camera)
    part = depth[int(max(top, 0)) : int(np.ceil(bottom)), int(max(left, 0)) : int(np.ceil(right))]
    if not ((part > 0) & (np.abs(part - center[2]) < cube[2] / 2)).any():
        seen = part[part > 0]
        returns = f"returns there lie between {seen.min():.0f} and {seen.max():.0f} mm" if len(seen) else "no returns"
        raise UnusableDepth(
            f"{name}: nothing returned from within the cube of {cube[2]:g} mm around z = {center[2]:.0f} mm "
            f"({returns}); correct the centre or enlarge the cube"
        )
