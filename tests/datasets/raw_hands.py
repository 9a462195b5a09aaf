"""What the tests of the picture sets of hands share: rendered hands, and what a hand looks like in HAND's order."""

import itertools
from types import SimpleNamespace

import numpy as np

from keyshift.datasets.rendered.hands import render


def rendered(count, size, first=0):
    """`count` renders of the studio: image (N, S, S, 3) uint8, and in float64 camera, points (mm), keypoints, right."""
    made = render("studio", 3, range(first, first + count), size)
    arrays = {name: getattr(made, name).double().numpy() for name in ("camera", "points", "keypoints", "right")}
    return SimpleNamespace(image=made.image.numpy(), **arrays)


def matrix(camera):
    fx, fy, cx, cy = camera
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def project(points, camera):
    """(K, 3) through fx, fy, cx, cy."""
    uvw = points @ matrix(camera).T
    return uvw[:, :2] / uvw[:, 2:]


def check_order(points):
    """(21, 3) mm: fingers run from base to tip, index to little lie side by side, the thumb on the index's side."""

    def apart(a, b):
        return np.linalg.norm(points[a] - points[b])

    for base in (5, 9, 13, 17):
        chain = [apart(a, b) for a, b in itertools.pairwise((0, base, base + 1, base + 2, base + 3))]
        assert chain[0] > chain[1] > max(chain[2], chain[3]), (base, chain)
    assert apart(0, 1) < apart(0, 2) < apart(0, 5) + apart(5, 2)
    assert apart(0, 1) < min(apart(0, k) for k in (5, 9, 13, 17))
    assert apart(2, 5) < apart(2, 9) < apart(2, 13) < apart(2, 17)
    assert apart(5, 9) < apart(5, 13) < apart(5, 17)
    assert 60 < apart(0, 9) < 130


def check_hand(item, made, i):
    """The item is the i-th of `made`, whole pictures of 64 x 64 with every joint known and in sight."""
    np.testing.assert_allclose(item.points, made.points[i], atol=0.1)
    np.testing.assert_allclose(item.keypoints, made.keypoints[i], atol=0.05)
    np.testing.assert_allclose(item.keypoints, project(item.points, item.camera), atol=0.05)
    np.testing.assert_array_equal(item.box, [0, 0, 64, 64])
    check_order(item.points)
    assert item.visible.all()
    assert item.annotated.all()
