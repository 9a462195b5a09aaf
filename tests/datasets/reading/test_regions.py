"""COCO's segmentations: run lengths against cocoapi's own code, polygons against a naive rule."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from faster_coco_eval.core import mask as api

from keyshift.datasets.reading.annotations import BadAnnotation
from keyshift.datasets.reading.regions import Region, read_region, rectangle, run_lengths

FILE = Path("labels.json")


def blobs(seed, count=30):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield rng.random(rng.integers(1, 70, 2)) < rng.random()


def test_run_lengths_both_ways():
    for pixels in blobs(0):
        plain = run_lengths(pixels)
        naive = [0]
        for value in pixels.T.ravel():  # one by one down the columns
            if value != (len(naive) % 2 == 0):
                naive.append(0)
            naive[-1] += 1
        assert plain == {"size": list(pixels.shape), "counts": naive}
        packed = api.encode(np.asfortranarray(pixels.astype(np.uint8)))
        text = packed["counts"] if isinstance(packed["counts"], str) else packed["counts"].decode()
        for value in (plain, {"size": list(pixels.shape), "counts": text}):
            region = read_region(value, FILE, "annotation 1")
            np.testing.assert_array_equal(region.pixels(), pixels)
            assert region.area == pixels.sum()
            mask = np.ones(pixels.shape, np.uint8)
            region.clear(mask)
            np.testing.assert_array_equal(mask == 0, pixels)
            if pixels.any():
                rows, columns = np.nonzero(pixels)
                wanted = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                assert region.bounds().tolist() == wanted
            else:
                assert region.bounds() is None


def test_long_runs():
    """Numbers of several groups of bits, and falls that are below zero."""
    counts = [3_000_000, 1, 5, 2_000_000, 70_000, 9, 2_929_985]
    size = [4000, 2000]
    counts[-1] += size[0] * size[1] - sum(counts)
    packed = api.frPyObjects({"size": size, "counts": counts}, *size)
    region = read_region({"size": size, "counts": packed["counts"].decode()}, FILE, "annotation 1")
    assert region.counts.tolist() == counts


def test_polygons_cover_what_lies_in_them():
    """Pixels whose middle lies inside by half a pixel are covered, those outside by one and a half are not."""
    yy, xx = np.mgrid[:60, :80] + 0.5
    polygons = [[10, 10, 50, 12, 30, 50], [60.0, 20.0, 75.5, 20.0, 75.5, 40.25, 60.0, 40.25], [20, 15, 40, 15, 40, 30]]
    region = read_region(polygons, FILE, "annotation 1")
    mask = np.ones((60, 80), np.uint8)
    region.clear(mask)
    inside = np.zeros((60, 80), bool)
    near = np.zeros((60, 80), bool)
    for polygon in region.polygons:
        distance = np.full((60, 80), np.inf)
        for start, end in zip(polygon, np.roll(polygon, -1, 0), strict=True):
            along = end - start
            distance = np.minimum(
                distance, (along[0] * (yy - start[1]) - along[1] * (xx - start[0])) / np.hypot(*along)
            )
        inside |= distance > 0.5
        near |= distance > -1.5
    assert (mask[inside] == 0).all()
    assert (mask[~near] == 1).all()
    own = api.decode(api.merge(api.frPyObjects(polygons, 60, 80)))
    assert ((mask == 0) != own).mean() < 0.02
    assert region.area == pytest.approx(780 + 15.5 * 20.25 + 150)
    assert region.bounds().tolist() == [10, 10, 75.5, 50]


def test_what_lies_in_a_region():
    """As drawn pixels have it, away from edges; of several polygons what lies in any of them."""
    yy, xx = np.mgrid[:60, :80] + 0.5
    polygons = [[10, 10, 50, 12, 30, 50], [20, 15, 40, 15, 40, 30], [60, 5, 78, 5, 78, 25, 70, 25, 70, 12, 60, 12]]
    region = read_region(polygons, FILE, "annotation 1")
    mask = np.ones((60, 80), np.uint8)
    region.clear(mask)
    inside = region.holds(np.stack([xx.ravel(), yy.ravel()], 1)).reshape(60, 80)
    assert inside.sum() == pytest.approx((mask == 0).sum(), rel=0.1)
    edges = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
    assert (inside == (mask == 0))[~edges].all()
    assert inside[20, 74]
    assert not inside[20, 64]
    drawn = read_region(run_lengths(mask == 0), FILE, "annotation 1")
    points = np.array([[30.4, 20.2], [64.0, 20.0], [-1.0, 3.0], [30.0, 70.0]])
    assert drawn.holds(points).tolist() == [True, False, False, False]
    assert drawn.holds(np.zeros((0, 2))).shape == (0,)


def test_boxes_and_nothing():
    mask = np.ones((20, 30), np.uint8)
    rectangle(np.array([5.0, 2.0, 15.0, 12.0])).clear(mask)
    assert (mask[3:11, 6:14] == 0).all()
    assert mask[13:].all()
    assert mask[:, 16:].all()
    for nothing in (None, [], [[]], {}, ""):
        assert read_region(nothing, FILE, "annotation 1") is None
    assert len(read_region([1, 2, 8, 2, 8, 9], FILE, "annotation 1").polygons) == 1  # not in a list of its own


@pytest.mark.parametrize(
    "value",
    [
        {"size": [4, 5], "counts": [3, 4]},
        {"size": [4, 5], "counts": [-3, 23]},
        {"size": [4, 5], "counts": [1.5, 18.5]},
        {"size": [4, 5], "counts": "o"},
        {"size": [4, 5], "counts": "\x07"},
        {"size": [4, 5], "counts": "P" * 40},
        {"size": [4, 5], "counts": "oooooooooooooo0"},
        {"size": [0, 5], "counts": []},
        {"size": [4], "counts": [20]},
        {"size": [1e5, 1e5], "counts": [10**10]},
        {"counts": [20]},
        [[1, 2, 3]],
        [[1, 2, 3, None]],
        [[1, 2, "x", 3]],
        "polygon",
        7,
    ],
)
def test_what_is_none_is_named(value):
    with pytest.raises(BadAnnotation, match=r"labels.json, annotation 1"):
        read_region(value, FILE, "annotation 1")


def test_run_lengths_of_another_picture():
    region = read_region({"size": [4, 5], "counts": [3, 4, 13]}, FILE, "annotation 1")
    with pytest.raises(ValueError, match="5x4"):
        region.clear(np.ones((5, 4), np.uint8))
    Region().clear(np.ones((5, 4), np.uint8))
