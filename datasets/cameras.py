"""A sample as another camera would have taken it: other focal lengths, principal point and lens.

The ray of a file pixel p through the sample's camera (f, c) is n = (p - c) / f. The other camera shows that ray at
    p' = f' n (1 + k r^2) + c',    r = |n|,
so pictures, 2D keypoints and boxes move by one map, and points in the camera's frame do not move at all. The camera of
the new sample is (f', c'); it has no place for k, as the cameras that datasets give have none. Where a sample's camera
is unknown it is taken to look straight ahead with a focal length of the picture's longer side, and stays unknown. The
same surface is shown: shading, hidden parts and the distance of depth frames stay as they were.

A crop follows its subject: its box goes where the box's border goes (of depth it is what the cube covers), and where
the subject would leave the picture, the principal point moves on until it does not. A crop that is the whole picture is
the other camera's whole picture, in which the same people stand larger, smaller or elsewhere. What lies beyond the own
picture is black.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from .depth.crop import cube_box
from .options import BadOption, Options, option
from .sample import MOVED, Item, there

Array = np.ndarray
TABLE = 1 << 14
"""Radii at which a lens is tabulated."""
NODES = 256
"""Along the longer side of a picture, for which the map is computed; between them it is interpolated."""


@dataclass(frozen=True)
class Cameras(Options):
    """Which other cameras source samples are shown by in training; by default their own."""

    focal: list[float] = option([1.0, 1.0], "focal lengths over its own, lowest, highest", low=0.05, high=20, size=2)
    principal: float = option(0.0, "the principal point, each way, share of the picture's sides", low=0, high=1)
    distortion: float = option(0.0, "k of a lens, each way: p = n (1 + k r^2); above 0 a cushion", low=0, high=0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.focal[0] > self.focal[1]:
            raise BadOption(f"focal={self.focal} must be [lowest, highest]")

    @property
    def others(self) -> bool:
        """Whether any camera but the own is drawn."""
        return self != Cameras()


@dataclass(frozen=True)
class Change:
    """From one camera to another."""

    own: Array
    """(4,) fx, fy, cx, cy."""
    other: Array
    k: float

    def forth(self, points: Array) -> Array:
        """File pixels (..., 2) of the own camera to the other's."""
        rays = (points - self.own[2:]) / self.own[:2]
        return rays * self.scale(np.linalg.norm(rays, axis=-1, keepdims=True)) * self.other[:2] + self.other[2:]

    def back(self, points: Array) -> Array:
        """The inverse, to a thousandth of a pixel: radii are looked up."""
        seen = (points - self.other[2:]) / self.other[:2]
        radius = np.linalg.norm(seen, axis=-1, keepdims=True)
        known = np.linspace(0, 1.5 * radius.max(initial=1e-6), TABLE)
        return seen / self.scale(np.interp(radius, known * self.scale(known), known)) * self.own[:2] + self.own[2:]

    def scale(self, radius: Array) -> Array:
        """1 + k r^2; from where a barrel would fold back on itself, it stays as it is there, 2/3."""
        square = np.square(radius)
        return 1 + self.k * (np.minimum(square, 1 / (3 * -self.k)) if self.k < 0 else square)

    def moved(self, shift: Array) -> Change:
        """The same with the other camera's picture moved by `shift` (2,)."""
        return replace(self, other=self.other + np.concatenate([np.zeros(2), shift]))


def another(item: Item, options: Cameras, rng: np.random.Generator) -> Item:
    """`item` by a camera drawn from `rng`."""
    change = drawn(item, options, rng)
    box, center, to_file = item.box, item.center, item.to_file
    if not whole(item):
        change = change.moved(into_frame(moved_box(item.box, change), item.box, size_of(item)))
        box = moved_box(item.box, change)
    if to_file is not None:
        to_file = (following(item.box, box) @ _square(to_file))[:2]
    if center is not None and item.cube is not None:
        center = moved(center, change)
        box = cube_box(center, item.cube, change.other)
    return replace(
        item,
        image=resampled(item, change, to_file) if item.image.size else item.image,
        box=box.astype(np.float32),
        camera=change.other if known(item) else item.camera,
        keypoints=item.keypoints if item.in_camera else moved(item.keypoints, change),
        center=center,
        to_file=to_file,
        inputs={n: there(n, moved(v, change)) if n in MOVED else v for n, v in item.inputs.items()},
    )


def known(item: Item) -> bool:
    return bool((item.camera[:2] > 0).all())


def drawn(item: Item, options: Cameras, rng: np.random.Generator) -> Change:
    """The change to a camera within `options`."""
    size = size_of(item)
    own = item.camera if known(item) else np.array([size.max(), size.max(), *(size / 2)])
    low, high = np.log(options.focal)
    focal = own[:2] * np.exp(rng.uniform(low, high))
    middle = own[2:] + rng.uniform(-options.principal, options.principal, 2) * size
    return Change(own.astype(np.float64), np.concatenate([focal, middle]), rng.uniform(-1, 1) * options.distortion)


def size_of(item: Item) -> Array:
    """(2,) width and height of the whole picture in file pixels, as far as the sample tells."""
    if item.image.size and item.to_file is None:
        height, width = item.image.shape[-3:-1] if item.image.ndim > 2 else item.image.shape
        return np.array([width, height], np.float64)
    reach = 2 * item.camera[2:] if known(item) else item.box[2:]
    return np.maximum(reach, item.box[2:] - item.box[:2]).astype(np.float64)


def whole(item: Item) -> bool:
    """Whether the crop is the whole picture, so that it is the other camera's whole picture too."""
    size = size_of(item)
    return not item.depth and bool((item.box[:2] <= 0.02 * size).all() and (item.box[2:] >= 0.98 * size).all())


def into_frame(box: Array, own: Array, size: Array) -> Array:
    """(2,) the least shift after which a box (4,) reaches no farther out of a picture of `size` (2,) than its `own`
    before did, or where it is too large for that, lies in its middle."""
    low, high = np.minimum(own[:2], 0), np.maximum(own[2:], size)
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    first, last = np.minimum(low + half, (low + high) / 2), np.maximum(high - half, (low + high) / 2)
    return np.clip(middle, first, last) - middle


def moved(points: Array, change: Change) -> Array:
    """Points (..., 2 or more) whose first two coordinates are file pixels."""
    return np.concatenate([change.forth(points[..., :2]), points[..., 2:]], -1).astype(points.dtype)


def moved_box(box: Array, change: Change) -> Array:
    """(4,) the bounds of where the box's border goes."""
    across = np.linspace(0, 1, 5)
    x, y = box[0] + across * (box[2] - box[0]), box[1] + across * (box[3] - box[1])
    border = [[(u, v) for u in x for v in (y[0], y[-1])], [(u, v) for u in (x[0], x[-1]) for v in y]]
    points = change.forth(np.concatenate(border))
    return np.concatenate([points.min(0), points.max(0)])


def following(before: Array, now: Array) -> Array:
    """3x3 that takes one box's middle and size to another's."""
    scale = float(np.mean((now[2:] - now[:2]) / (before[2:] - before[:2])))
    shift = (now[:2] + now[2:]) / 2 - scale * (before[:2] + before[2:]) / 2
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]], [0, 0, 1.0]])


def resampled(item: Item, change: Change, to_file: Array | None) -> Array:
    """The picture, clip or depth frame that the other camera shows in the window `to_file`; depth is never mixed, and
    0, as is what lies beyond the stored picture."""
    frames = item.image if item.image.ndim == 4 else item.image[None]
    height, width = frames.shape[1:3]
    own, place = (_square(np.eye(3)[:2] if way is None else way) for way in (item.to_file, to_file))
    block = -(-max(width, height) // NODES)
    x, y = ((np.arange(-1, -(-side // block) + 1) + 0.5) * block for side in (width, height))
    nodes = affine(np.linalg.inv(own), change.back(affine(place, np.stack(np.meshgrid(x, y), -1)))) - 0.5
    source = cv2.resize(nodes.astype(np.float32), (len(x) * block, len(y) * block))[block:, block:]
    source = source[:height, :width]
    mode = cv2.INTER_NEAREST if item.depth else cv2.INTER_LINEAR
    shown = [cv2.remap(frame, source[..., 0], source[..., 1], mode, borderMode=cv2.BORDER_CONSTANT) for frame in frames]
    return np.stack(shown) if item.image.ndim == 4 else shown[0]


def affine(matrix: Array, points: Array) -> Array:
    """Points (..., 2) by a 3x3 matrix."""
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def _square(matrix: Array) -> Array:
    return np.vstack([matrix, [0, 0, 1]])
