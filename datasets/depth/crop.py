"""Cutting the cube around a hand or body out of a depth frame: ours, and the two chains of the references.

Every chain gives an image in mm from the centre, with all that is nearer or farther than the cube at exactly `reach`,
and the affine (3, 4) from (x px, y px, z mm) of that image back to the file. Networks normalise it as they need.

`exact`: one nearest-neighbour warp of the cube's face, at the pixels' true places, black beyond the frame's border.
`a2j`: zhangboshen/A2J @ 4c332f0, src_train/nyu.py: the box clipped to the frame and stretched, whatever its aspect.
`awr`: Elody-07/AWR-Adaptive-Weighting-Regression @ 1d0e440, dataloader/loader.py: integer bounds, padded, the aspect
kept; what is nearer than the cube is drawn to its face, and the farthest surface of the crop counts as background.
Both count pixels from their centres as from their corners, so that their file coordinates lie half a pixel off ours;
that is undone here, and what is left is a stretch of less than a pixel that their networks have learned.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..augment import Augmentation, crop_matrix, rectangle, shift
from ..sample import Item

CROPS = ("exact", "a2j", "awr")
Array = np.ndarray


def cube_box(center: Array, cube: Array, camera: Array) -> Array:
    """(4,) left, top, right, bottom in file pixels of what the cube's face covers at the centre's distance."""
    half = cube[:2] / 2 * camera[:2] / center[2]
    return np.concatenate([center[:2] - half, center[:2] + half])


def _of(item: Item) -> tuple[Array, Array]:
    if item.center is None or item.cube is None:
        raise ValueError(f"{item.id} is a depth frame without a centre and a cube; its dataset must give both")
    return item.center, item.cube


def cut(item: Item, size: tuple[int, int], mode: str = "exact", extra: Array | None = None) -> tuple[Array, Array]:
    """The crop of a depth item at `size` (width, height), and its way back (3, 4).

    `extra` is a 3x3 of further warping in pixels of the crop; depth grows and shrinks with its scale. Raises
    ValueError for an unknown `mode`.
    """
    center, cube = _of(item)
    extra = np.eye(3) if extra is None else extra
    zoom = float(np.sqrt(abs(np.linalg.det(extra))))
    reach, middle = cube[2] / 2, center[2]
    if mode == "exact":
        matrix = extra @ crop_matrix(item.box, size)
        image = _warp(item.image, matrix, size)
        inside = (image > 0) & (np.abs(image - middle) < reach / zoom)
        image = np.where(inside, (image - middle) * zoom, reach)
    elif mode in CROPS:
        image, matrix = (_a2j if mode == "a2j" else _awr)(item, size)
        if not np.array_equal(extra, np.eye(3)):
            image, matrix = _warp(image - reach, extra, size) + reach, extra @ matrix
            image = np.where(np.abs(image) * zoom < reach, image * zoom, reach)
    else:
        raise ValueError(f"crop={mode!r} is not known; choose one of {', '.join(CROPS)}")
    back = np.zeros((3, 4))
    back[:2, [0, 1, 3]] = np.linalg.inv(matrix)[:2]
    back[2] = 0, 0, 1 / zoom, middle
    return image.astype(np.float32), back


def _warp(image: Array, matrix: Array, size: tuple[int, int]) -> Array:
    """Nearest neighbour under the 3x3 `matrix` (pixel centres at +0.5), 0 outside: depths are never mixed."""
    pixels = shift(-0.5, -0.5) @ matrix @ shift(0.5, 0.5)
    return cv2.warpAffine(image, pixels[:2], size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)


def _a2j(item: Item, size: tuple[int, int]) -> tuple[Array, Array]:
    center, cube = _of(item)
    height, width = item.image.shape
    left, top, right, bottom = cube_box(center, cube, item.camera) - 0.5
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width - 1), min(bottom, height - 1)
    part = item.image[int(top) : int(bottom), int(left) : int(right)]
    image = cv2.resize(part, size, interpolation=cv2.INTER_NEAREST) - center[2]
    reach = cube[2] / 2
    scale = size[0] / (right - left), size[1] / (bottom - top)
    return np.where(np.abs(image) < reach, image, reach), np.diag([*scale, 1.0]) @ shift(-left - 0.5, -top - 0.5)


def _awr(item: Item, size: tuple[int, int]) -> tuple[Array, Array]:
    center, cube = _of(item)
    height, width = item.image.shape
    left, top, right, bottom = (int(v + 0.5) for v in cube_box(center, cube, item.camera) - 0.5)
    inside = item.image[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    border = max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0)
    part = cv2.copyMakeBorder(inside, *border, cv2.BORDER_CONSTANT, value=0)
    near, far = center[2] - cube[2] / 2, center[2] + cube[2] / 2
    part = np.where((part > 0) & (part < near), near, part)
    part = np.where(part > far, 0, part)
    scale = min(size[0] / part.shape[1], size[1] / part.shape[0])
    inner = int(part.shape[1] * scale), int(part.shape[0] * scale)
    image = np.zeros(size[::-1], np.float64)
    x, y = int((size[0] - inner[0]) / 2), int((size[1] - inner[1]) / 2)
    image[y : y + inner[1], x : x + inner[0]] = cv2.resize(part, inner, interpolation=cv2.INTER_NEAREST)
    image = np.where((image == image.max()) | (image == 0), far, image)
    place = np.floor(size[0] / 2 - inner[0] / 2), np.floor(size[1] / 2 - inner[1] / 2)
    matrix = shift(*place) @ np.diag([scale, scale, 1.0]) @ shift(-left - 0.5, -top - 0.5)
    return np.clip(image, near, far) - center[2], matrix


def disturb(image: Array, reach: float, options: Augmentation, rng: np.random.Generator) -> Array:
    """Noise on a crop: white noise of up to `options.noise` of the reach on surfaces, and with the probability
    `options.erase` A2J's "RandomErasing", which adds noise of a tenth of the reach to a rectangle of 2 to 40 % of it.
    """
    surface = image < reach
    if options.noise > 0:
        image = image + rng.uniform(0, options.noise) * reach * rng.standard_normal(image.shape) * surface
    if rng.random() < options.erase:
        y, x, h, w = rectangle(image.shape, (0.02, 0.4), rng)
        noise = np.zeros_like(image)
        noise[y : y + h, x : x + w] = 0.1 * reach * rng.standard_normal((h, w))
        image = image + noise * surface
    return image.clip(-reach, reach).astype(np.float32)
