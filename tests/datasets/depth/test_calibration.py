import re

import numpy as np
import pytest

from keyshift.datasets.depth.calibration import doubts
from keyshift.datasets.depth.sets import DEPTH_SETS


def against(fx, fy, cx, cy, width, height, **options):
    """Pixels are counted as OpenCV does."""
    return doubts(np.array([fx, fy, cx + 0.5, cy + 0.5]), (width, height), **options)


@pytest.mark.parametrize("name", DEPTH_SETS)
def test_public_cameras_fit_their_frames(name):
    assert doubts(np.array(DEPTH_SETS[name].camera), DEPTH_SETS[name].size) == []


@pytest.mark.parametrize(
    "camera",
    [
        (365.4, 365.4, 256.7, 207.1, 512, 424),  # Kinect v2
        (504.2, 504.3, 321.1, 333.0, 640, 576),  # Azure Kinect, narrow
        (251.9, 251.9, 259.9, 256.1, 512, 512),  # wide
        (423.0, 423.0, 424.2, 239.7, 848, 480),  # D435
        (212.0, 212.0, 212.1, 119.8, 424, 240),
        (475.0, 475.1, 310.7, 245.1, 640, 480),  # SR300
        (735.4, 735.6, 504.7, 390.2, 1024, 768),  # L515
        (192.3, 192.3, 128.4, 96.4, 256, 192),  # a telephone's
    ],
)
def test_cameras_and_what_was_made_smaller_with_them(camera):
    fx, fy, cx, cy, width, height = camera
    assert against(*camera) == []
    for k in (2, 4):
        small = (width // k, height // k)
        assert against(fx / k, fy / k, (cx + 0.5) / k - 0.5, (cy + 0.5) / k - 0.5, *small) == []
        (doubt,) = against(fx, fy, cx, cy, *small)
        assert f"outside of the frames of {small[0]} x {small[1]}" in doubt
        assert f"that of {width} x {height}" in doubt
        assert f"multiply fx, fy, cx and cy by {1 / k:g}" in doubt


@pytest.mark.parametrize(
    ("left", "top", "width", "height"),
    [
        (200, 140, 240, 200),
        (240, 180, 160, 120),
        (150, 100, 250, 200),
        (260, 90, 200, 300),
        (400, 300, 240, 180),
        (200, 150, 320, 240),
    ],
)
def test_frames_that_were_cut_out(left, top, width, height):
    assert against(588.0, 587.0, 320 - left, 240 - top, width, height) == []


def test_a_cut_beside_the_principal_point_is_believed_where_its_size_is_stated():
    cut = (588.0, 587.0, 320 - 40, 240 - 200, 200, 200)
    (doubt,) = against(*cut)
    assert "(280, 40) is outside of the frames of 200 x 200. If these frames were cut out" in doubt
    assert "width: 200 and height: 200" in doubt
    assert against(*cut, stated=True) == []


@pytest.mark.parametrize(
    ("camera", "match"),
    [
        ((920.0, 920.0, 640, 360, 640, 480), "1280 x 720, another mode of the camera"),
        ((588.0, 587.0, 320, 240, 96, 96), "640 x 480, another mode"),
        ((240.0, 240.0, 160, 120, 640, 480), "320 x 240; multiply fx, fy, cx and cy by 2"),
        ((588.0, 587.0, 320, 240, 480, 640), "640 x 480; turn it as the frames were turned"),
        ((1100.0, 1100.0, 700, 525, 140, 105), "1401 x 1051; multiply fx, fy, cx and cy by 0.0999"),
        ((3.6, 3.6, 320, 240, 640, 480), "field of view of 179 degrees"),
        ((0.92, 1.22, 0.5, 0.5, 640, 480), "multiply fx and cx by 640, fy and cy by 480"),
        ((588.0, 587.0, 0, 0, 640, 480), "in the frames' corner"),
        ((588.0, 58.7, 320, 240, 640, 480), "differ by more than a factor of two"),
    ],
)
def test_calibrations_of_something_else(camera, match):
    (doubt,) = against(*camera)
    assert re.search(match, doubt)


def test_focal_lengths_of_a_larger_picture_are_seen_by_the_cube():
    small = (588.0, 587.0, 40, 30, 80, 60)
    assert against(*small) == []
    assert against(*small, covered=100.0) == []
    (doubt,) = against(*small, covered=245.0)
    assert "fx and fy by 0.125" in doubt
    assert against(588.0, 587.0, 320, 240, 640, 480, covered=1400.0) == []  # a hand before the lens
