"""Cameras: where they stand, that they see the person, and that picture, lens and points belong together."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from keyshift.datasets.rendered.detector import Detector
from keyshift.datasets.rendered.filming import Style, film, in_room, looking

TRIPOD = Style((1000, 800), (1.1, 1.2), (1400, 1600), (4000, 5000), Detector(), ring=4)
HELD = replace(TRIPOD, ring=0, sway=40.0, aim=2.0, roll=4.0, focal=(0.6, 1.4))


def walk(frames=60, far=1500.0):
    """(T, 3, 3): head, pelvis and foot of someone who walks along x."""
    world = np.tile([[0.0, 1750, 0], [0, 950, 0], [0, 20, 100]], (frames, 1, 1))
    world[..., 0] += np.linspace(0, far, frames)[:, None] + 700
    return world


@pytest.mark.parametrize("style", [TRIPOD, HELD])
@pytest.mark.parametrize("number", range(4))
def test_points_are_seen_where_the_lens_shows_them(style, number):
    shot = film(walk(), style, number, 25.0, np.random.default_rng(number))
    flat = shot.points[..., :2] / shot.points[..., 2:] * shot.camera[:2] + shot.camera[2:]
    np.testing.assert_allclose(shot.keypoints, flat)
    seen = ((shot.keypoints >= 0) & (shot.keypoints < style.size)).all(-1)
    assert seen.mean() > (0.99 if style is TRIPOD else 0.9)
    assert (shot.keypoints[:, 0, 1] < shot.keypoints[:, 2, 1]).all(), "heads stand over feet"
    world = walk()
    for a, b in ((0, 1), (1, 2)):
        ours, theirs = (np.linalg.norm(p[:, a] - p[:, b], axis=-1) for p in (shot.points, world))
        np.testing.assert_allclose(ours, theirs)
    middle = shot.points[:, 1, 2].mean()
    assert 3500 < middle < 9000
    low, high = np.array(style.focal) * 1000
    assert low <= shot.camera[0] <= high


def test_a_ring_looks_from_four_sides():
    world = walk(far=0.0)
    world[:, 1:, 1], world[:, 1, 2], world[:, 2, 2] = 20.0, -900.0, 900.0  # a line on the floor along z
    ways = []
    for number in range(5):
        points = film(world, TRIPOD, number, 25.0, np.random.default_rng(7)).points[0]
        way = points[2] - points[1]
        ways.append(np.array([way[0], way[2]]) / np.hypot(way[0], way[2]))
    for way, following in pairwise(ways):
        assert abs(way @ following) < 0.1, "square to each other"
    np.testing.assert_allclose(ways[4], ways[0], atol=0.05)
    np.testing.assert_allclose(ways[2], -ways[0], atol=0.1)


def test_tripods_stand_still_and_hands_do_not():
    still = np.tile([[0.0, 1750, 0], [0, 950, 0], [0, 20, 100]], (50, 1, 1))
    fixed, moved = (film(still, style, 0, 25.0, np.random.default_rng(0)).points for style in (TRIPOD, HELD))
    np.testing.assert_allclose(fixed, np.broadcast_to(fixed[:1], fixed.shape))
    steps = np.linalg.norm(np.diff(moved, axis=0), axis=-1)
    assert 0.1 < steps.mean() < 30, "mm from frame to frame"
    assert np.ptp(moved[:, 1], axis=0).max() > 15


def test_a_held_camera_follows():
    shot = film(walk(far=4000.0), replace(HELD, room=9000.0), 0, 25.0, np.random.default_rng(1))
    middles = shot.keypoints[:, 1]
    assert np.ptp(middles[:, 0]) < 350, "someone who walks stays in the picture's middle"


def test_a_camera_stands_far_enough():
    near = replace(TRIPOD, distance=(100.0, 200.0), focal=(2.0, 2.0), room=9000.0)
    shot = film(walk(far=4000.0), near, 1, 25.0, np.random.default_rng(0))
    assert ((shot.keypoints >= 0) & (shot.keypoints < near.size)).all()
    assert shot.points[..., 2].min() > 4000


def test_long_ways_are_drawn_together():
    world = walk(far=6000.0)
    there = in_room(world, 1500.0)
    way = there[:, 1, 0]
    assert np.ptp(way) == pytest.approx(1500)
    assert way.min() == pytest.approx(-750)
    np.testing.assert_allclose(there - there[:, :1], world - world[:, :1], atol=1e-9)
    short = in_room(walk(far=500.0), 1500.0)
    assert np.ptp(short[:, 1, 0]) == pytest.approx(500)


def test_looking_is_a_rotation_with_heads_up():
    ways = np.random.default_rng(0).normal(size=(20, 3))
    turns = looking(ways)
    np.testing.assert_allclose(turns @ turns.swapaxes(1, 2), np.broadcast_to(np.eye(3), turns.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1)
    seen = (turns @ ways[..., None])[..., 0]
    np.testing.assert_allclose(seen[:, :2], 0, atol=1e-12)
    assert (seen[:, 2] > 0).all()
    up = turns @ np.array([0, 1.0, 0])
    np.testing.assert_allclose(up[:, 0], 0, atol=1e-12)
    assert (up[:, 1] < 0).all(), "y is down"
