"""RegDA's augmentation: one affine for rotation, crop and resize, then colour and blur by albumentations; and, where
it is asked for, what sensors, files and things in the way do to pictures, and detectors to 2D keypoints.

Ranges of TLLib (thuml/Transfer-Learning-Library @ c4aa59e, examples/domain_adaptation/keypoint_detection/regda.py):
rotation U(-180, 180) degrees for hands and 30 for bodies about the crop's centre, a square crop of U(0.6, 1) of the
area (the reference asks for up to 1.3, but accepts only what fits), brightness, contrast and saturation 0.25, Gaussian
blur of sigma U(0, 0.8). Geometry is one bilinear warp here, two resamplings there.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .options import BadOption, Options, option

if TYPE_CHECKING:
    import albumentations as A


@dataclass(frozen=True)
class Augmentation(Options):
    rotation: float = option(180.0, "degrees, each way", low=0, high=180)
    area: list[float] = option([0.6, 1.0], "of the crop, lowest and highest; above 1 zooms out", low=1e-6, size=2)
    color: float = option(0.25, "of pictures: brightness, contrast, saturation, each way", low=0, high=1)
    hue: float = option(0.0, "of pictures: share of the circle of hues, each way", low=0, high=0.5)
    grey: float = option(0.0, "of pictures: probability that they lose their colour", low=0, high=1)
    occlude: float = option(
        0.0, "of pictures: probability that a rectangle shows another place of the picture", low=0, high=1
    )
    resolution: float = option(1.0, "of pictures: the lowest, share of the input's", low=0.05, high=1)
    jpeg: int = option(100, "of pictures: the lowest quality of JPEG; 100: as they are", low=1, high=100)
    blur: float = option(0.8, "of pictures: highest sigma, pixels of the input", low=0, high=100)
    noise: float = option(
        0.0, "highest standard deviation of added noise, share of the range (of depth: of half the cube)", low=0, high=1
    )
    gain: float = option(0.0, "of pictures: factor of each colour channel, each way", low=0, high=1)
    pca: float = option(
        0.0, "of pictures: standard deviation of Krizhevsky's noise along ImageNet's principal colours", low=0, high=10
    )
    erase: float = option(
        0.0,
        "probability of a rectangle of noise, of pictures of up to 70 % of them (PoseNet's occlusion)",
        low=0,
        high=1,
    )
    jitter: float = option(
        0.0,
        "of 2D keypoints: highest standard deviation of noise in each frame, share of the input's width",
        low=0,
        high=1,
    )
    missing: float = option(
        0.0, "of 2D keypoints: highest share of them that is missing, zeros as where a detector saw none", low=0, high=1
    )
    mirror: float = option(0.0, "probability that a sample is mirrored", low=0, high=1)
    draws: str = option(
        "uniform",
        "how rotation and area are drawn; normal, as RootNet and PoseNet do: rotation N(0, 1/2) of the highest, cut at "
        "that, of 6 samples in 10; the side N around the middle of its range, cut at its ends; no shift",
        choices=("uniform", "normal"),
    )
    mirror_unpaired: bool = option(
        False, "mirror although names of keypoints tell a side and have no partner; these names stay"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.area[0] > self.area[1]:
            raise BadOption(f"area={self.area} must be [lowest, highest] shares above 0")


def crop_matrix(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """3x3 from file pixels to an input of `size` (width, height): the whole box fits, centred."""
    left, top, right, bottom = box
    scale = min(size[0] / (right - left), size[1] / (bottom - top))
    return (
        shift(size[0] / 2, size[1] / 2) @ np.diag([scale, scale, 1.0]) @ shift(-(left + right) / 2, -(top + bottom) / 2)
    )


def random_matrix(size: tuple[int, int], options: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """3x3 from the input to the augmented input: rotation about the centre, then a random crop resized to `size`."""
    angle, share, offset = (_normal if options.draws == "normal" else _uniform)(size, options, rng)
    mirror = -1.0 if rng.random() < options.mirror else 1.0
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    zoom = np.diag([mirror / share, 1 / share, 1.0])
    center = np.array(size) / 2
    return shift(*center) @ zoom @ shift(*-offset) @ turn @ shift(*-center)


def _uniform(size: tuple[int, int], options: Augmentation, rng: np.random.Generator) -> tuple[float, float, np.ndarray]:
    """Angle in radians, side of the crop over the input's, and its shift in px."""
    angle = np.deg2rad(rng.uniform(-options.rotation, options.rotation))
    share = np.sqrt(rng.uniform(options.area[0], options.area[1]))
    return angle, share, rng.uniform(-0.5, 0.5, 2) * abs(1 - share) * np.array(size)


def _normal(size: tuple[int, int], options: Augmentation, rng: np.random.Generator) -> tuple[float, float, np.ndarray]:
    """The same as 3DMPPE_POSENET_RELEASE @ dd025c5 draws them (get_aug_config in data/dataset.py)."""
    low, high = np.sqrt(options.area)
    share = (low + high) / 2 + np.clip(rng.standard_normal(), -1, 1) * (high - low) / 2
    turned = np.clip(rng.standard_normal(), -2, 2) * options.rotation / 2
    return np.deg2rad(turned if rng.random() <= 0.6 else 0.0), share, np.zeros(2)


def warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 under the 3x3 `matrix` (pixel centres at +0.5), bilinear, black outside, to `size`.

    Shrinking by two or more goes through an area average first, so that it does not alias.
    """
    factor = int(1 / np.sqrt(abs(np.linalg.det(matrix[:2, :2]))) + 1e-6)
    if factor >= 2:
        height, width = image.shape[:2]
        small = (max(width // factor, 1), max(height // factor, 1))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        matrix = matrix @ np.diag([width / small[0], height / small[1], 1.0])
    pixels = shift(-0.5, -0.5) @ matrix @ shift(0.5, 0.5)
    return cv2.warpAffine(image, pixels[:2], size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def warp_mask(mask: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 of 0 and 1 under the same, 1 outside; what is half 0 is 0."""
    return (warp(255 * (1 - mask), matrix, size) < 128).astype(np.uint8)


def recolor(image: np.ndarray, options: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """What is in the way, colour, resolution, blur, noise and compression of one uint8 image, from `rng` alone."""
    if options.occlude > 0 and rng.random() < options.occlude:
        image = occluded(image, rng)
    if options.erase > 0 and rng.random() < options.erase:
        image = erased(image, rng)
    if options.gain > 0:
        gains = rng.uniform(1 - options.gain, 1 + options.gain, 3)
        image = np.clip(np.rint(image * gains), 0, 255).astype(np.uint8)
    if options.pca > 0:
        tint = PRINCIPAL @ (rng.normal(0, options.pca, 3) * SPREAD)
        image = np.clip(np.rint(image + 255 * tint), 0, 255).astype(np.uint8)
    pipeline = _pipeline(*(getattr(options, name) for name in PICTURES))
    pipeline.set_random_state(rng, random.Random(int(rng.integers(2**63))))
    return pipeline(image=image)["image"]


def disturbed(poses: np.ndarray, width: float, options: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """2D keypoints (T, K, 3), px of an input of `width` and a confidence, as a worse detector would have seen them: how
    much worse is drawn once, where it errs in each frame. A frame that repeats the one before, as at the ends of
    videos, errs as that does; a keypoint without confidence stays as it is."""
    if not len(poses) or options.jitter == options.missing == 0:
        return poses
    noise, gone = rng.uniform(0, options.jitter) * width, rng.uniform(0, options.missing)
    new = np.concatenate([[True], (poses[1:] != poses[:-1]).any((1, 2))])
    frame = np.cumsum(new) - 1  # of those that are drawn
    moved = rng.normal(0, 1, (*poses.shape[:2], 2))[frame] * noise
    kept = rng.random(poses.shape[:2])[frame] >= gone
    seen = (poses[..., 2] > 0)[..., None]
    return np.where(seen, np.concatenate([poses[..., :2] + moved, poses[..., 2:]], -1) * kept[..., None], poses)


def occluded(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`image` (H, W, 3) with a rectangle of 2 to 20 % of it that shows another place of it."""
    (y, x, height, width), image = rectangle(image.shape, (0.02, 0.2), rng), image.copy()
    top, left = (rng.integers(whole - part + 1) for whole, part in zip(image.shape, (height, width), strict=False))
    image[y : y + height, x : x + width] = image[top : top + height, left : left + width]
    return image


def erased(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`image` (H, W, 3) with a rectangle of up to 70 % of it that is uniform noise: what occludes people in
    3DMPPE_POSENET_RELEASE @ dd025c5, data/dataset.py. Height over width is uniform between 0.3 and 1 / 0.3, and what
    does not lie wholly inside is drawn again. The noise is of the input's pixels; there it is of the file's."""
    (height, width), image = image.shape[:2], image.copy()
    while True:
        area, aspect = rng.uniform(0.0, 0.7) * height * width, rng.uniform(0.3, 1 / 0.3)
        h, w = np.sqrt(area * aspect), np.sqrt(area / aspect)
        y, x = rng.random() * (height - h - 1), rng.random() * (width - w - 1)
        if x >= 0 and y >= 0 and x + w < width and y + h < height:
            y, x, h, w = int(y), int(x), int(h), int(w)
            image[y : y + h, x : x + w] = rng.integers(256, size=(h, w, 3), dtype=np.uint8)
            return image


def rectangle(
    shape: tuple[int, ...], areas: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a rectangle in a picture (H, W, ...), of `areas`, lowest and highest share of it,
    and with sides of up to 1 : 3.3 each way."""
    height, width = shape[:2]
    area, aspect = rng.uniform(*areas) * height * width, np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
    h, w = min(int(np.sqrt(area * aspect)), height), min(int(np.sqrt(area / aspect)), width)
    return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w


PRINCIPAL = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
SPREAD = np.array([0.2175, 0.0188, 0.0045])
"""ImageNet's principal colours, as columns, and their eigenvalues, of RGB from 0 to 1; Krizhevsky, Sutskever and
Hinton, NIPS 2012, section 4.1, with the values of facebook/fb.resnet.torch, datasets/imagenet.lua."""
PICTURES = ("color", "hue", "grey", "resolution", "blur", "noise", "jpeg")
"""The options that `_pipeline` is made from."""


@lru_cache(maxsize=8)
def _pipeline(
    color: float, hue: float, grey: float, resolution: float, blur: float, noise: float, jpeg: int
) -> A.Compose:
    """In the order in which a picture comes about: the scene's colours, the sensor, the file."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as A

    steps: list[A.BasicTransform] = []
    if color > 0 or hue > 0:
        steps.append(A.ColorJitter(*[(1 - color, 1 + color)] * 3, hue=(-hue, hue), p=1.0))
    if grey > 0:
        steps.append(A.ToGray(p=grey))
    if resolution < 1:
        between = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}
        steps.append(A.Downscale((resolution, 1.0), interpolation_pair=between, p=1.0))
    if blur > 0:
        steps.append(A.GaussianBlur(blur_limit=0, sigma_limit=(0.0, blur), p=1.0))
    if noise > 0:
        steps.append(A.GaussNoise(std_range=(0.0, noise), p=1.0))
    if jpeg < 100:
        steps.append(A.ImageCompression(quality_range=(jpeg, 100), p=1.0))
    return A.Compose(steps)


def shift(x: float, y: float) -> np.ndarray:
    """The 3x3 that moves points by (x, y)."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])
