"""The boxes of RootNet and PoseNet: the reference's own numbers, and its text written again as a second opinion."""

import math

import numpy as np
import pytest

from keyshift.datasets.reading.box_chain import chained, process_box, process_boxes

DEMO = (640, 392)
"""Width and height of PoseNet's demonstration picture; focal length 1500."""


def reference(box, width, height, aspect=1.0):
    """process_bbox of the reference, step by step."""
    x, y, w, h = (float(value) for value in box)
    x1, y1 = max(0.0, x), max(0.0, y)
    x2, y2 = min(width - 1.0, x1 + max(0.0, w - 1)), min(height - 1.0, y1 + max(0.0, h - 1))
    if not (w * h > 0 and x2 >= x1 and y2 >= y1):
        return None
    w, h = x2 - x1, y2 - y1
    middle = x1 + w / 2, y1 + h / 2
    if w > aspect * h:
        h = w / aspect
    elif w < aspect * h:
        w = h * aspect
    w, h = w * 1.25, h * 1.25
    return [middle[0] - w / 2, middle[1] - h / 2, w, h]


def test_the_published_answer():
    crop = process_box(np.array([139.41, 102.25, 222.39, 241.57]), *DEMO)
    np.testing.assert_allclose(crop, [99.74875, 72.17875, 300.7125, 300.7125], atol=1e-9)
    k = math.sqrt(2000 * 2000 * 1500 * 1500 / (crop[2] * crop[3]))
    assert k == pytest.approx(9976.306273, abs=1e-3)


@pytest.mark.parametrize("aspect", [1.0, 0.75, 2.0])
def test_as_the_reference_for_many_boxes_at_once(aspect):
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(-300, 700, (300, 2)), rng.uniform(-3, 500, (300, 2))], 1)
    sizes = rng.integers(50, 700, (300, 2)).astype(float)
    crops, accepted = process_boxes(boxes, sizes, aspect)
    wanted = [reference(box, *size, aspect) for box, size in zip(boxes, sizes, strict=True)]
    wanted = [None if crop is None or not crop[2] else crop for crop in wanted]
    assert accepted.tolist() == [crop is not None for crop in wanted]
    assert 50 < accepted.sum() < 250
    for crop, other in zip(crops[accepted], filter(None, wanted), strict=True):
        np.testing.assert_allclose(crop, other, atol=1e-9)
    np.testing.assert_allclose(crops[accepted, 2], aspect * crops[accepted, 3], atol=1e-9)


def test_at_the_border_and_outside():
    inner = process_box(
        np.array([-50.0, -20, 150, 80]), 100, 100
    )  # 150 from the clipped corner on, as in the reference
    np.testing.assert_allclose(inner, [49.5 - 61.875, 39.5 - 61.875, 123.75, 123.75])
    rejected = [(100, 0, 10, 10), (0, 100, 10, 10), (500, 500, 10, 10), (5, 5, 0, 10), (5, 5, 10, 0), (5, 5, -10, 10)]
    rejected += [(5, 5, 1, 1), (5, 5, -10, -10), (99, 99, 40, 40)]  # one pixel, or none: no area
    for box in rejected:
        assert process_box(np.array(box, float), 100, 100) is None, box
    assert process_box(np.array([99.0, 10, 40, 40]), 100, 100) is not None, "a column of pixels has a length"


def test_a_box_of_the_whole_picture_is_about_its_middle():
    left, top, right, bottom = chained(np.array([0.0, 0, 200, 100]), 200, 100)
    assert ((left + right) / 2, (top + bottom) / 2) == (100, 50)
    assert right - left == bottom - top == 199 * 1.25
    assert chained(np.array([300.0, 0, 400, 100]), 200, 100) is None
