"""What a sensor does to pictures, estimated from unlabelled crops as the network sees them, and done to others.

Of pictures: the noise of the flattest places (Immerkaer, CVIU 1996: the mask 1 -2 1 / -2 4 -2 / 1 -2 1, which no plane
answers to), sharpness (how much of the variation between neighbours is left once the picture is blurred), and mean and
spread of each colour. Of depth: noise in mm by the same mask, the step of quantisation, and the share of holes. A
source crop is shown by the target's sensor by what is missing: blur until it is as soft, colours drawn to the target's,
then noise up to the target's; it cannot be made sharper or cleaner.
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
BLURS = np.arange(0, 2.01, 0.125)
"""Sigmas, pixels of the input, that are tried."""
ALIKE = 0.05
"""Of sharpness: under much noise blurs look alike, and the least of them is taken."""
GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey."""
LEAST = 8
"""Crops that statistics are made from, at least."""


@dataclass(frozen=True)
class Pictures:
    """Statistics of crops (H, W, 3) uint8."""

    noise: float
    """Standard deviation, levels of 255."""
    sharpness: float
    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @classmethod
    def of(cls, images: Sequence[Array]) -> Pictures:
        grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in images]
        pixels = np.stack([np.stack([i.reshape(-1, 3).mean(0), i.reshape(-1, 3).std(0)]) for i in images])
        mean, spread = pixels.mean(0).tolist()
        sharp = float(np.median([sharpness(image) for image in grey]))
        return cls(float(np.median([noise(image) for image in grey])), sharp, tuple(mean), tuple(spread))


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
        rows = [(noise(i, i < i.max()), step(i), holes(i < i.max())) for i in images if (i < i.max()).sum() > 2 * BLOCK]
        return cls(*(float(np.median(part)) for part in zip(*rows, strict=True))) if rows else cls(0.0, 0.0, 0.0)


Statistics = Pictures | Depths


def missing(own: Statistics, other: Statistics) -> float:
    """The standard deviation of the noise that one has to add to have the other's."""
    return float(np.sqrt(max(other.noise**2 - own.noise**2, 0)))


def noise(image: Array, valid: Array | None = None) -> float:
    """The standard deviation of noise in an image (H, W), of its flattest blocks; where `valid` (H, W) says, of places
    all of whose neighbours are."""
    answer = np.abs(cv2.filter2D(image.astype(np.float32), -1, MASK, borderType=cv2.BORDER_REPLICATE))
    answer *= np.sqrt(np.pi / 2) / 6
    if valid is not None:
        whole = cv2.erode(valid.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        return float(np.quantile(answer[whole], FLAT) / 0.4) if whole.any() else 0.0  # |normal| has 0.32 there, of 0.8
    height, width = (side // BLOCK * BLOCK for side in image.shape)
    blocks = answer[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).mean((1, 3))
    return float(np.quantile(blocks, FLAT))


def sharpness(image: Array) -> float:
    """How much of the variation between neighbours in an image (H, W) a blur of one pixel takes away: 0 to 1."""
    soft = cv2.GaussianBlur(image, (0, 0), 1.0)
    fine, coarse = (sum(float(np.square(np.diff(one, axis=axis)).mean()) for axis in (0, 1)) for one in (image, soft))
    return 1 - coarse / fine if fine > 0 else 0.0


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
    """What is missing, of grey in levels of 255, or in mm."""

    @staticmethod
    def between(source: Sequence[Array], target: Sequence[Array], probability: float) -> Sensor:
        """From crops of both domains: (H, W, 3) uint8, or (H, W) float32 mm. Raises ValueError for too few."""
        if min(len(source), len(target)) < LEAST:
            raise ValueError(
                f"sensor={probability:g} reads the target's sensor from its crops: {min(len(source), len(target))} are "
                f"too few, {LEAST} is the least"
            )
        kind = Pictures if source[0].ndim == 3 else Depths
        own, other = kind.of(source), kind.of(target)
        made = Sensor(own, own, other, probability, 0.0, missing(own, other))
        if not isinstance(other, Pictures):
            return made
        tried = [made.blurred(source, blur) for blur in BLURS.tolist()]
        apart = [abs(sharp - other.sharpness) for _, sharp in tried]
        return next(one for (one, _), off in zip(tried, apart, strict=True) if off <= min(apart) + ALIKE)

    def blurred(self, source: Sequence[Array], blur: float) -> tuple[Sensor, float]:
        """The same with a blur, and how sharp source crops are after it, once they are as noisy as the target's."""
        soft = [cv2.GaussianBlur(image, (0, 0), blur) if blur else image for image in source]
        base = Pictures.of(soft)
        sensor = replace(self, soft=base, blur=blur, noise=missing(base, self.other))
        rng = np.random.default_rng(0)
        shown = (cv2.cvtColor(sensor._picture(image, rng), cv2.COLOR_RGB2GRAY) for image in source)
        return sensor, float(np.median([sharpness(image.astype(np.float32)) for image in shown]))

    def lines(self) -> Iterator[str]:
        """What was estimated, in words."""
        for one in fields(self.own):
            before, after = getattr(self.own, one.name), getattr(self.other, one.name)
            yield f"{one.name}: {_shown(before)} in the source, {_shown(after)} in the target"
        unit = "levels of 255" if isinstance(self.other, Pictures) else "mm"
        share = f"{self.probability:.0%} of the source's samples"
        blur = f"a blur of {self.blur:.2f} px, the target's colours and " if isinstance(self.other, Pictures) else ""
        more = f", steps of {self.other.step:.1f} mm and more holes" if isinstance(self.other, Depths) else ""
        yield f"{share} get {blur}noise of {self.noise:.1f} {unit}{more}"

    def apply(self, image: Array, rng: np.random.Generator) -> Array:
        """A crop (H, W, 3) uint8, or (H, W) float32 mm, as the target's sensor shows it, with the sensor's
        probability."""
        if rng.random() >= self.probability:
            return image
        return self._depth(image, rng) if isinstance(self.other, Depths) else self._picture(image, rng)

    def _picture(self, image: Array, rng: np.random.Generator) -> Array:
        assert isinstance(self.soft, Pictures)
        assert isinstance(self.other, Pictures)
        soft = cv2.GaussianBlur(image, (0, 0), self.blur) if self.blur else image
        ratio = np.clip(np.array(self.other.spread) / np.maximum(self.soft.spread, 1e-3), 0.25, 4)
        coloured = (soft - np.array(self.soft.mean)) * ratio + np.array(self.other.mean)
        spread = self.noise / np.linalg.norm(GREY)  # each colour has its own noise
        noisy = coloured + spread * rng.standard_normal(image.shape)
        return noisy.round().clip(0, 255).astype(np.uint8)

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
