"""Whether a calibration can be that of frames of a size, and if not, of which size it looks.

A lens sits before the middle of its sensor to within a few percent, and sensors have known sizes: where twice (cx, cy)
is such a size and the frames' is another, they were made smaller or larger after they were calibrated, or are of
another mode of the camera. Frames that were cut out have their principal point anywhere, but a calibration that would
then be of a known size has no plausible field of view as such. A cut at the first row and column is not told apart from
a smaller picture; who knows better says so with width and height in camera.yaml.
"""

from __future__ import annotations

import numpy as np

Size = tuple[int, int]
SIZES: tuple[Size, ...] = (
    *((160, 120), (176, 144), (224, 172), (240, 180), (256, 192), (320, 200), (320, 240), (320, 288), (424, 240)),
    *((480, 270), (480, 360), (512, 424), (512, 512), (640, 360), (640, 400), (640, 480), (640, 576), (800, 600)),
    *((848, 480), (960, 540), (1024, 768), (1024, 1024), (1280, 720), (1280, 800), (1280, 960), (1280, 1024)),
    *((1600, 1200), (1920, 1080), (1920, 1200), (1920, 1440), (2048, 1536), (2560, 1440), (3840, 2160), (4096, 3072)),
)
MIDDLE = 0.15
"""Of the frame's width and height: how far from its middle any principal point is within reason."""
BORDER = 0.05
"""Of the frame: a principal point nearer to its border is outside."""
NEAR = 0.08
"""Of a size: how far from its middle its principal point may be; Azure Kinect's narrow mode is so far off."""
CLOSE = 0.03
"""Of a size: how near to its middle most principal points are."""
LENS = (0.7, 3.5)
"""Width of a whole sensor / focal length: fields of view of 39 to 120 degrees."""
USUAL = (0.9, 1.6)
"""The same of most depth cameras: 48 to 77 degrees."""
WIDEST = 4.5
"""132 degrees: no pinhole camera sees more."""
NARROW = 0.5
"""28 degrees: frames that see less were cut out, or are smaller than their calibration."""
CROWDED = 1.5
"""Longer sides of the frame: frames that were cut out around a hand or body hold more of its cube."""


def doubts(
    camera: np.ndarray, size: Size, shift: float = 0.5, stated: bool = False, covered: float | None = None
) -> list[str]:
    """What speaks against the pinhole `camera` (fx, fy, cx, cy; first pixel's centre at 0.5) for frames of `size`.

    `shift` is what was added to the user's cx and cy. `stated`: the calibration is said to be of this size, and its
    principal point is believed. `covered` is how many pixels a cube is wide in the frames.
    """
    fx, fy, cx, cy = camera
    width, height = size
    shown = f"the principal point ({cx - shift:g}, {cy - shift:g})"
    if 0 <= cx - shift <= 1 and 0 <= cy - shift <= 1:
        return [
            f"{shown} is in the frames' corner: pixels are expected. Where fx, fy, cx and cy are shares of the frame, "
            f"multiply fx and cx by {width}, fy and cy by {height}"
        ]
    if max(fx / fy, fy / fx) > 2:
        return [f"fx={fx:g} and fy={fy:g} differ by more than a factor of two: both are in pixels of these frames"]
    if max(width / fx, height / fy) > WIDEST:
        degrees = 2 * np.degrees(np.arctan(max(width / fx, height / fy) / 2))
        return [
            f"fx={fx:g} and fy={fy:g} give frames of {width} x {height} a field of view of {degrees:.0f} degrees: they "
            "are expected in pixels of these frames, not in mm and not of a smaller picture"
        ]
    if not stated and (where := _off_centre(camera, size)):
        return [
            f"{shown} is {where}. If these frames were cut out, and cx and cy moved along, write width: {width} and "
            f"height: {height} in camera.yaml"
        ]
    if covered is not None and covered > CROWDED * max(size) and max(width / fx, height / fy) < NARROW:
        fits = [known for known in SIZES if _same_shape(known, size, 0.02) and _plausible(known, fx, USUAL)]
        return [
            f"a cube is {covered:.0f} pixels wide in frames of {width} x {height}: fx={fx:g} and fy={fy:g} look too "
            f"large for them{_factors(fits, size, 'fx and fy')}"
        ]
    return []


def _off_centre(camera: np.ndarray, size: Size) -> str:
    """Where the principal point is, and of which size the calibration looks; "" where there is no evidence."""
    fx, _, cx, cy = camera
    width, height = size
    off = _off(cx, cy, size)
    if off <= MIDDLE or min(cx, cy) < 0:  # only who cut frames out writes a negative one
        return ""
    outside, double = off > 0.5 - BORDER, (round(2 * cx), round(2 * cy))
    away = {known: _off(cx, cy, known) for known in SIZES if _plausible(known, fx)}
    fits = [known for known in away if away[known] <= min(NEAR, min(away.values()) + CLOSE / 2)]
    smaller = [known for known in fits if _same_shape(known, size, 0.02)]
    if outside and _same_shape(double, size, 0.1) and not any(away[known] < CLOSE for known in smaller):
        smaller = smaller if smaller and not _same_shape(double, size, CLOSE) else [double]
    where = f"{'outside' if outside else 'far from the middle'} of the frames of {width} x {height}"
    if smaller:
        return where + _factors(smaller, size, "fx, fy, cx and cy")
    upright = (height, width)
    if max(size) > 1.1 * min(size) and _off(cx, cy, upright) < CLOSE and _plausible(upright, fx):
        return f"{where}: the calibration looks like that of {height} x {width}; turn it as the frames were turned"
    if not outside:
        return ""
    close = [known for known in fits if away[known] < CLOSE]
    return (
        f"{where}{f': the calibration looks like that of {_list(close)}, another mode of the camera' if close else ''}"
    )


def _factors(fits: list[Size], size: Size, what: str) -> str:
    if not fits:
        return ""
    factors = " or ".join(dict.fromkeys(f"{size[0] / width:.4g}" for width, _ in fits))
    return f": the calibration looks like that of {_list(fits)}; multiply {what} by {factors}"


def _list(sizes: list[Size]) -> str:
    return " or ".join(f"{width} x {height}" for width, height in sizes)


def _off(cx: float, cy: float, size: Size) -> float:
    return max(abs(cx / size[0] - 0.5), abs(cy / size[1] - 0.5))


def _same_shape(known: Size, size: Size, close: float) -> bool:
    return min(known) > 0 and abs(size[0] / known[0] / (size[1] / known[1]) - 1) < close


def _plausible(size: Size, fx: float, lens: tuple[float, float] = LENS) -> bool:
    return lens[0] <= size[0] / fx <= lens[1]


def resized(calibrated: Size, size: Size) -> str:
    """What to write for frames of `size` where the calibration is of another."""
    across, down = size[0] / calibrated[0], size[1] / calibrated[1]
    if abs(across / down - 1) > 0.02:
        return "Write the calibration of these frames, with their width and height"
    return (
        f"If frames were made smaller or larger, multiply fx, fy, cx and cy by {across:.4g} and write width: {size[0]} "
        f"and height: {size[1]}"
    )
