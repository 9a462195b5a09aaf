"""The boxes of RootNet and PoseNet: clipped to the picture, of the crop's aspect, then enlarged.

Moon, Chang and Lee, ICCV 2019; `process_bbox` of mks0601/3DMPPE_ROOTNET_RELEASE @ 735ce21, common/utils/pose_utils.py.
Boxes are left, top, width, height. The reference counts pixels from 0 and takes a box for the pixels that it covers,
so the clipped one goes from the middle of its first pixel to that of its last, and is a pixel shorter than it was.
"""

from __future__ import annotations

import numpy as np

AROUND = 1.25
"""Sides of a crop over those of the clipped box."""


def process_boxes(
    boxes: np.ndarray, sizes: np.ndarray, aspect: float = 1.0, around: float = AROUND
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (..., 4) in pictures of sizes (..., 2), width and height: the crops (..., 4), in indices of pixels and of
    `aspect` width to height, and whether each can be made (..., bool).

    A crop reaches beyond the picture where the box is near its border. Rejected, as in the reference, are boxes without
    an area and those outside the picture. So are those of which a single pixel is left, and those of a negative width
    and height: the reference keeps these, of no area, by which RootNet's k would be infinite. What a rejected row holds
    means nothing.
    """
    low = np.maximum(boxes[..., :2], 0)
    high = np.minimum(sizes - 1, low + np.maximum(boxes[..., 2:] - 1, 0))
    extent = high - low
    accepted = (boxes[..., 2] * boxes[..., 3] > 0) & (extent >= 0).all(-1) & (extent > 0).any(-1)
    width = np.maximum(extent[..., 0], extent[..., 1] * aspect)
    sides = np.stack([width, width / aspect], -1) * around
    return np.concatenate([low + extent / 2 - sides / 2, sides], -1), accepted


def process_box(
    box: np.ndarray, width: int, height: int, aspect: float = 1.0, around: float = AROUND
) -> np.ndarray | None:
    """The crop (4,) of a box (4,), as `process_boxes`; None where it is rejected."""
    crop, accepted = process_boxes(np.asarray(box, np.float64), np.array([width, height], np.float64), aspect, around)
    return crop if accepted else None


def chained(box: np.ndarray, width: int, height: int, around: float = AROUND) -> np.ndarray | None:
    """The square crop (4,) left, top, right, bottom of a box (4,) of that form, whose edges are those of its pixels:
    pixel centres lie at +0.5 in both. None where the box is rejected.

    The reference's warp sets the crop's middle on the middle of pixel 128 of 256, not between two of them: there it
    shows the same square half a pixel of the input farther to the right and the bottom.
    """
    crop = process_box(np.concatenate([box[:2], box[2:] - box[:2]]), width, height, 1.0, around)
    return None if crop is None else np.concatenate([crop[:2], crop[:2] + crop[2:]]) + 0.5
