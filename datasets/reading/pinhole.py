"""A pinhole camera as a person, a file or a picture states it, and what speaks against it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..depth.calibration import MIDDLE, WIDEST, Size, resized

FULL_FRAME = 43.2666
"""mm: the diagonal of 36 x 24 mm film, which 35 mm equivalents of focal lengths are held against."""
LONGEST = 100.0
"""Focal length over the picture's longer side; above it, it sees less than 0.6 degrees."""


@dataclass(frozen=True)
class Pinhole:
    """Focal lengths and principal point in px, pixel centres at +0.5, of pictures of one view and any size."""

    fx: float
    fy: float
    cx: float | None = None
    """None, as cy: the middle of the picture."""
    cy: float | None = None
    size: Size | None = None
    """Width and height of the pictures that the numbers are for; None: of whatever size the pictures are."""
    distorted: bool = False
    """Whether a lens's distortion is stated beside it, which nothing here removes."""

    def at(self, width: int, height: int) -> np.ndarray:
        """(4,) fx, fy, cx, cy of a picture of that size, scaled where it was made smaller or larger. Raises ValueError
        for a picture of another shape."""
        across, down = 1.0, 1.0
        if self.size is not None:
            if not same_shape(self.size, (width, height)):
                raise ValueError(_other_shape(self.size, (width, height)))
            across, down = width / self.size[0], height / self.size[1]
        cx = width / 2 if self.cx is None else self.cx * across
        cy = height / 2 if self.cy is None else self.cy * down
        return np.array([self.fx * across, self.fy * down, cx, cy])

    def turned(self) -> Pinhole:
        """The camera of the picture turned by a quarter, its principal point in the middle."""
        size = None if self.size is None else self.size[::-1]
        return replace(self, fx=self.fy, fy=self.fx, cx=None, cy=None, size=size)


def same_shape(one: Size, other: Size) -> bool:
    """Whether a picture of a size can be one of the other made smaller or larger, to the nearest pixel."""
    (w, h), (width, height) = sorted((one, other))
    return min(w, h) > 0 and (abs(width / w * h - height) <= width / w or abs(height / h * w - width) <= height / h)


def _other_shape(calibrated: Size, size: Size) -> str:
    words = (
        f"the camera is that of pictures of {calibrated[0]} x {calibrated[1]}, and this one has {size[0]} x {size[1]}"
    )
    if same_shape(calibrated[::-1], size):
        return f"{words}: the picture is turned. Turn it, or give the camera of upright pictures"
    return f"{words}, which is of another shape: was it cut? {resized(calibrated, size)}"


def impossible(camera: np.ndarray, size: Size, shift: float = 0.5, stated: bool = False) -> str:
    """What no camera (fx, fy, cx, cy) of pictures of `size` can be, in words; "" where it is fine.

    `shift` is what was added to the principal point that the user wrote. `stated`: the camera is said to be one of
    pictures of a size, and a principal point outside, that of pictures cut out of larger ones, is believed.
    """
    fx, fy, cx, cy = (float(value) for value in camera)
    width, height = size
    written = f"the principal point ({cx - shift:g}, {cy - shift:g})"
    if not np.isfinite(camera).all():
        return f"focal length {fx:g} x {fy:g}, principal point ({cx:g}, {cy:g}): finite numbers of px are expected"
    if min(fx, fy) <= 0:
        up = " (a minus in papers means y up: leave it out)" if fx > 0 > fy else ""
        return f"a focal length of {min(fx, fy):g} is no camera's: px above 0 are expected{up}"
    if 0 <= cx - shift <= 1 and 0 <= cy - shift <= 1 < min(size):
        return (
            f"{written} is in the picture's corner: px are expected. Where fx, fy, cx and cy are shares of the "
            f"picture, multiply fx and cx by {width}, fy and cy by {height}"
        )
    if max(width / fx, height / fy) > WIDEST:
        return _millimetres(min(fx, fy), size)
    if min(fx, fy) > LONGEST * max(size):
        return (
            f"a focal length of {min(fx, fy):g} px is {min(fx, fy) / max(size):.0f} times the longer side of a picture "
            f"of {width} x {height}: px of these pictures are expected, not micrometres, and not px of a larger picture"
        )
    if max(fx / fy, fy / fx) > 2:
        return f"fx={fx:g} and fy={fy:g} differ by more than a factor of two: both are in px of these pictures"
    if not stated and not (-width <= cx <= 2 * width and -height <= cy <= 2 * height):
        return (
            f"{written} is far outside a picture of {width} x {height}: px of these pictures are expected, from their "
            "top left corner. Of a larger picture, or where these were cut out of larger ones, give camera=FILE with "
            "the width and height of the pictures that it is for"
        )
    return ""


def _millimetres(focal: float, size: Size) -> str:
    degrees = 2 * np.degrees(np.arctan(max(size) / focal / 2))
    factor = float(np.hypot(*size)) / FULL_FRAME
    return (
        f"a focal length of {focal:g} px gives a picture of {size[0]} x {size[1]} a field of view of {degrees:.0f} "
        f"degrees, more than any pinhole camera has: px of these pictures are expected, not mm. From mm, multiply by "
        f"{max(size)} / the longer side of the sensor in mm; from a 35 mm equivalent, by {factor:.4g} (then {focal:g} "
        f"mm is {focal * factor:.0f} px)"
    )


def off_centre(camera: np.ndarray, size: Size) -> bool:
    """Whether the principal point is so far from the middle that the camera may be that of another size."""
    return bool((np.abs(camera[2:] / np.array(size) - 0.5) > MIDDLE).any())
