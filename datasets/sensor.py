"""What a sensor does to pictures, estimated from unlabelled crops as the network sees them, and done to others.

Of pictures: the noise of the flattest places (Immerkaer, CVIU 1996: the mask 1 -2 1 / -2 4 -2 / 1 -2 1, which no plane
answers to) and how much of it the colours share, sharpness (how much of the variation between neighbours is left once
the picture is blurred), mean and spread of each colour, and how far pixels are from grey. Black borders, a letterbox's
or what a crop shows beyond its picture, count in none of it; places at the ends of the range, where noise is cut off,
not in the noise. Of depth: noise in mm by the same mask, the step of quantisation, and the share of holes.

A source crop is shown by the target's sensor by what is missing: blur until it is as soft, grey where all of the target
is, colours drawn to the target's, then noise up to the target's; it cannot be made sharper or cleaner. Exact black is
left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np

Array = np.ndarray
MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
FLAT = 0.25
"""Share of blocks, the flattest, that noise is read from."""
BLOCK = 8
BLACK = 8
"""Of 255: rows and columns at a crop's border that are nowhere brighter are no part of its picture."""
FLATTEST = 0.87
"""What these blocks' mean answer to noise alone is, over that of all."""
BLURS = np.arange(0, 3.01, 0.25)
"""Sigmas, pixels of the input, that are tried."""
TRIED = 32
"""Source crops that they are tried on, at most."""
LEAST_BLUR = 0.3
"""A lesser one is none: it changes nothing that one could measure."""
SOFT, NOISE = 1.0, (4.0, 0.0705)
"""The blur, pixels, that sharpness is about, and what noise of variance 1 adds to the variation before and after."""
SEEN = 0.15
"""Share of the variation that has to be left without noise for sharpness to be told."""
GREY = 1.0
"""Saturation, levels of 255, below which pictures are grey."""
LEAST = 8
"""Crops that statistics are made from, at least."""


@dataclass(frozen=True)
class Pictures:
    """Statistics of crops (H, W, 3) uint8."""

    noise: float
    """Standard deviation, of each colour, levels of 255."""
    shared: float
    """Share of the noise's variance that all colours have in common: 0 to 1."""
    sharpness: float
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    saturation: float
    """Mean distance of a pixel's colours from their mean, levels of 255."""

    @classmethod
    def of(cls, images: Sequence[Array]) -> Pictures:
        lit = [part for part in map(within, images) if min(part.shape[:2]) >= 2 * BLOCK] or images
        pixels = [image.reshape(-1, 3).astype(np.float32) for image in lit]
        grey = [image.mean(-1, dtype=np.float32) for image in lit]
        each = _median([float(np.mean([noise(c, usable(c)) for c in np.moveaxis(image, -1, 0)])) for image in lit])
        joint = _median([noise(g, usable(g)) for g in grey])  # of three alone variance / 3, of three alike variance
        return cls(
            noise=each,
            shared=float(np.clip((3 * (joint / max(each, 1e-6)) ** 2 - 1) / 2, 0, 1)),
            sharpness=sharpness(grey),
            mean=tuple(np.mean([p.mean(0) for p in pixels], 0).tolist()),
            spread=tuple(np.mean([p.std(0) for p in pixels], 0).tolist()),
            saturation=float(np.mean([np.abs(p - p.mean(1, keepdims=True)).mean() for p in pixels])),
        )

    @property
    def contrast(self) -> Array:
        """(3,) the spread of each colour without its noise."""
        return np.sqrt(np.maximum(np.square(self.spread) - self.noise**2, 1.0))


@dataclass(frozen=True)
class Depths:
    """Statistics of crops (H, W) float32 mm, `reach` in the void."""

    noise: float
    """Standard deviation, mm."""
    step: float
    """Of quantisation, mm; 0 where none is seen."""
    holes: float
    """Share of the subject's pixels of which nothing returned."""

    @classmethod
    def of(cls, images: Sequence[Array]) -> Depths:
        rows = [
            (noise_of_depth(i, i < i.max()), step(i), holes(i < i.max()))
            for i in images
            if (i < i.max()).sum() > 2 * BLOCK
        ]
        return cls(*(float(np.median(part)) for part in zip(*rows, strict=True))) if rows else cls(0.0, 0.0, 0.0)


Statistics = Pictures | Depths


def missing(own: float, other: float) -> float:
    """The standard deviation of the noise that one has to add to noise `own` to have the `other`."""
    return float(np.sqrt(max(other**2 - own**2, 0)))


def within(image: Array) -> Array:
    """The part of a crop (H, W, 3) inside its black borders, without the pixels next to them."""
    bright = image.max(-1) > BLACK
    sides = []
    for axis in (1, 0):
        there = np.flatnonzero(bright.any(axis))
        first, last = (int(there[0]), int(there[-1]) + 1) if len(there) else (0, 0)
        size = bright.shape[1 - axis]
        sides.append(slice(first + 2 * (first > 0), max(last - 2 * (last < size), 0)))
    return image[tuple(sides)]


def usable(image: Array) -> Array:
    """(H, W) where levels are away from the ends of the range."""
    return (image > 1) & (image < 254)


def response(image: Array) -> Array:
    """(H, W) what the mask answers, so that its mean over a plane with noise is the noise's standard deviation."""
    answer = cv2.filter2D(image.astype(np.float32), -1, MASK, borderType=cv2.BORDER_REPLICATE)
    return np.abs(answer) * np.sqrt(np.pi / 2) / 6


def noise(image: Array, valid: Array) -> float:
    """The standard deviation of noise in an image (H, W), of the flattest blocks that are `valid` (H, W) nearly
    everywhere; where none is, of all."""
    height, width = (side // BLOCK * BLOCK for side in image.shape)

    def blocks(values: Array) -> Array:
        return values[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).mean((1, 3))

    means, whole = blocks(response(image)), blocks(valid) >= 0.9
    return float(np.quantile(means[whole] if whole.any() else means, FLAT) / FLATTEST)


def noise_of_depth(image: Array, valid: Array) -> float:
    """The same in mm, of places all of whose neighbours are `valid` (H, W)."""
    whole = cv2.erode(valid.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return float(np.quantile(response(image)[whole], FLAT) / 0.4) if whole.any() else 0.0  # |normal|: 0.32 of 0.8


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))


def sharpness(images: Sequence[Array]) -> float:
    """How much of the variation between neighbours in grey images (H, W) a blur of one pixel takes away, noise left out
    of it: 0 to 1, and 1 where noise is nearly all."""

    def variation(image: Array) -> float:
        return sum(float(np.square(np.diff(image, axis=axis)).mean()) for axis in (0, 1))

    level = np.array([noise(image, usable(image)) ** 2 for image in images]).mean()
    fine = np.mean([variation(image) for image in images])
    coarse = np.mean([variation(cv2.GaussianBlur(image, (0, 0), SOFT)) for image in images])
    left = fine - NOISE[0] * level
    return float(np.clip(1 - (coarse - NOISE[1] * level) / left, 0, 1)) if left > SEEN * fine else 1.0


def step(image: Array) -> float:
    """The commonest distance between neighbouring depths of an image, where they are few; else 0."""
    depths = np.unique(image[image < image.max()].round(2))
    seen = (image < image.max()).sum()
    return float(np.median(np.diff(depths))) if 2 < len(depths) < seen / 4 else 0.0


def holes(valid: Array) -> float:
    """The share of what a closing of `valid` (H, W) fills in."""
    closed = cv2.morphologyEx(valid.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
    return float((closed & ~valid).sum() / max(closed.sum(), 1))


@dataclass(frozen=True)
class Sensor:
    """What is done to a source crop so that it looks as if the target's sensor had taken it."""

    own: Statistics
    soft: Statistics
    """The own ones after the blur."""
    other: Statistics
    probability: float
    blur: float = 0.0
    noise: float = 0.0
    """What is missing, of each colour in levels of 255, or in mm."""

    @staticmethod
    def between(source: Sequence[Array], target: Sequence[Array], probability: float) -> Sensor:
        """From crops of both domains: (H, W, 3) uint8, or (H, W) float32 mm. Raises ValueError for too few."""
        for side, crops in (("source", source), ("target", target)):
            if len(crops) < LEAST:
                raise ValueError(
                    f"sensor={probability:g} compares crops of both domains: {len(crops)} of the {side} are too few, "
                    f"{LEAST} is the least. Give more, or leave sensor at 0"
                )
        kind = Pictures if source[0].ndim == 3 else Depths
        own, other = kind.of(source), kind.of(target)
        made = Sensor(own, own, other, probability, 0.0, missing(own.noise, other.noise))
        return made.softer(source) if isinstance(other, Pictures) else made

    def softer(self, source: Sequence[Array]) -> Sensor:
        """The same with the blur that makes source crops (H, W, 3) as soft as the target's, and the noise they lack."""
        assert isinstance(self.other, Pictures)
        some = [within(image) for image in source[:: -(-len(source) // TRIED)]]
        sharp = [
            sharpness([replace(self, blur=blur).softened(image).mean(-1, dtype=np.float32) for image in some])
            for blur in BLURS.tolist()
        ]
        blur = float(np.interp(-self.other.sharpness, np.maximum.accumulate(np.negative(sharp)), BLURS))
        sensor = replace(self, blur=blur if blur > LEAST_BLUR else 0.0)
        sensor = replace(sensor, soft=Pictures.of([sensor.softened(image) for image in source]))
        return replace(sensor, noise=missing(float(sensor.ratio.mean()) * sensor.soft.noise, self.other.noise))

    @property
    def ratio(self) -> Array:
        """(3,) the target's contrast over that of the source after the blur."""
        assert isinstance(self.soft, Pictures)
        assert isinstance(self.other, Pictures)
        return np.clip(self.other.contrast / self.soft.contrast, 0.25, 4)

    def lines(self) -> Iterator[str]:
        """What was estimated, in words."""
        for one in fields(self.own):
            before, after = getattr(self.own, one.name), getattr(self.other, one.name)
            yield f"{one.name}: {_shown(before)} in the source, {_shown(after)} in the target"
        unit = "levels of 255" if isinstance(self.other, Pictures) else "mm"
        share = f"{self.probability:.0%} of the source's samples"
        blur = ""
        if isinstance(self.other, Pictures):
            unsure = " (the target is too noisy to tell)" if self.other.sharpness == 1 else ""
            blur = f"a blur of {self.blur:.2f} px{unsure}, the target's colours and "
        more = f", steps of {self.other.step:.1f} mm and more holes" if isinstance(self.other, Depths) else ""
        yield f"{share} get {blur}noise of {self.noise:.1f} {unit}{more}"

    def apply(self, image: Array, rng: np.random.Generator) -> Array:
        """A crop ([T,] H, W, 3) uint8, or (H, W) float32 mm, as the target's sensor shows it, with the sensor's
        probability: a clip in all frames or in none."""
        if rng.random() >= self.probability:
            return image
        if image.ndim == 4:
            return np.stack([self._picture(frame, rng) for frame in image])
        return self._depth(image, rng) if isinstance(self.other, Depths) else self._picture(image, rng)

    def softened(self, image: Array) -> Array:
        """A crop (H, W, 3) with the blur, and grey where the target's are."""
        assert isinstance(self.other, Pictures)
        soft = cv2.GaussianBlur(image, (0, 0), self.blur) if self.blur else image
        return (
            np.repeat(cv2.cvtColor(soft, cv2.COLOR_RGB2GRAY)[..., None], 3, -1)
            if self.other.saturation < GREY
            else soft
        )

    def _picture(self, image: Array, rng: np.random.Generator) -> Array:
        assert isinstance(self.soft, Pictures)
        assert isinstance(self.other, Pictures)
        coloured = (self.softened(image) - np.array(self.soft.mean)) * self.ratio + np.array(self.other.mean)
        height, width = image.shape[:2]
        common, single = rng.standard_normal((height, width, 1)), rng.standard_normal(image.shape)
        shared = self.other.shared
        noisy = coloured + self.noise * (np.sqrt(shared) * common + np.sqrt(1 - shared) * single)
        return np.where(image.any(-1, keepdims=True), noisy, 0).round().clip(0, 255).astype(np.uint8)

    def _depth(self, image: Array, rng: np.random.Generator) -> Array:
        assert isinstance(self.own, Depths)
        assert isinstance(self.other, Depths)
        reach = image.max()
        valid = image < reach
        noisy = image + self.noise * rng.standard_normal(image.shape)
        size = self.other.step
        noisy = size * np.round(noisy / size) if size > self.own.step else noisy
        lost = rng.random(image.shape) < max(self.other.holes - self.own.holes, 0)
        return np.where(valid & ~lost, np.minimum(noisy, reach), reach).astype(np.float32)


def _shown(value: float | tuple[float, ...]) -> str:
    return f"{value:.2f}" if isinstance(value, float) else "(" + ", ".join(f"{one:.0f}" for one in value) + ")"
