"""Who is who over a video, of poses that are told."""

import numpy as np
import pytest

from keyshift.datasets.bodies.skeletons import COCO17
from keyshift.datasets.skeleton import Skeleton
from keyshift.experiments.runs.tracks import GAP, Tracker, likeness

SHAPE = np.random.default_rng(0).uniform(-1, 1, (17, 2)) * (20, 50)
"""(17, 2) px: a pose 100 px high."""


def follow(frames, tracker=None, numbers=None):
    """The numbers given to people, a list of dicts {who: middle (2,)} a frame: a list of dicts {who: number}."""
    tracker, said = tracker or Tracker(COCO17), []
    for place, people in enumerate(frames):
        if people is None:
            tracker.forget()
            people = {}
        points = np.array([SHAPE + middle for middle in people.values()]).reshape(-1, 17, 2)
        number = place if numbers is None else numbers[place]
        track = tracker.follow(points, np.ones(points.shape[:2], bool), place, number)
        said.append(dict(zip(people, track.tolist(), strict=True)))
    return said


def kept(said, who):
    return {numbers[who] for numbers in said if who in numbers}


def test_two_people_cross_and_one_enters():
    rng = np.random.default_rng(1)
    frames = []
    for t in range(60):
        people = {"a": (100 + 6 * t, 200 + rng.normal()), "b": (460 - 6 * t, 204 + rng.normal())}
        if t >= 20:
            people["c"] = (300, 100 + 2 * t)
        order = rng.permutation(list(people))  # as a detector lists them: in no order
        frames.append({who: people[who] for who in order})
    said = follow(frames)
    assert all(len(kept(said, who)) == 1 for who in "abc")
    assert len(kept(said, "a") | kept(said, "b") | kept(said, "c")) == 3
    assert {*kept(said, "a"), *kept(said, "b")} == {0, 1}


def test_one_is_hidden_while_they_cross():
    """Where the poses meet only one of them is found; afterwards each goes on by their velocity."""
    frames = [{"a": (100 + 6 * t, 200), "b": (460 - 6 * t, 200)} for t in range(60)]
    for t in range(27, 34):
        del frames[t]["b"]
    said = follow(frames)
    assert kept(said, "a").isdisjoint(kept(said, "b"))
    assert all(len(kept(said, who)) == 1 for who in "ab")


@pytest.mark.parametrize("gone", [1, 10, 11])
def test_who_is_missing_comes_back_within_the_gap(gone):
    frames = [{"a": (100 + 2 * t, 200), "b": (600, 200)} for t in range(40)]
    for t in range(15, 15 + gone):
        del frames[t]["a"]
    said = follow(frames)
    assert len(kept(said, "b")) == 1
    assert len(kept(said, "a")) == (1 if gone <= GAP else 2)


def test_who_leaves_is_not_who_enters_elsewhere():
    frames = [{"a": (100, 200)}] * 5 + [{"b": (500, 200)}] * 5 + [{}] * 3 + [{"c": (300, 600)}] * 2
    said = follow(frames)
    assert [kept(said, who) for who in "abc"] == [{0}, {1}, {2}]


def test_after_a_cut_everyone_is_new():
    people = {"a": (100, 200), "b": (300, 200)}
    said = follow([people, people, None, people])
    assert [set(numbers.values()) for numbers in said] == [{0, 1}, {0, 1}, set(), {2, 3}]


def test_every_tenth_frame_asks_for_more_patience_with_motion():
    """By the numbers of frames: what would be a leap between neighbours is a walk in ten frames."""
    leap = [{"a": (100 + 60 * t, 200)} for t in range(8)]
    assert len(kept(follow(leap), "a")) > 1
    assert kept(follow(leap, numbers=range(0, 80, 10)), "a") == {0}


def test_keypoints_that_were_not_found_do_not_count():
    tracker, known = Tracker(COCO17), np.ones((1, 17), bool)
    first = tracker.follow(SHAPE[None], known, 0, 0)
    wrong, known = SHAPE[None].copy(), known.copy()
    wrong[:, 5:], known[:, 5:] = 900.0, False
    assert tracker.follow(wrong, known, 1, 1) == first
    assert tracker.follow(np.zeros((1, 17, 2)), np.zeros((1, 17), bool), 2, 2) != first


def test_only_who_may_come_again_is_held():
    tracker = Tracker(COCO17)
    for place in range(300):  # everyone is new
        points = SHAPE + np.array([[[200.0 * (place % 7) + 900.0 * (place % 2), 400.0 * (place % 5)]]])
        tracker.follow(points, np.ones((1, 17), bool), place, place)
        assert len(tracker.seen.track) <= GAP + 2
    assert tracker.count > 20


def test_likeness_is_oks():
    """COCO's formula, once more and slowly, where nothing is widened."""
    rng = np.random.default_rng(3)
    poses, others = rng.uniform(0, 100, (3, 17, 2)), rng.uniform(0, 100, (2, 17, 2))
    others[0] = poses[0] + rng.normal(0, 3, (17, 2))
    known, theirs = rng.random((3, 17)) > 0.3, rng.random((2, 17)) > 0.3
    made = likeness(poses, known, others, theirs, np.array(COCO17.sigmas), np.zeros(2))

    def area(points, seen):
        sides = np.ptp(points[seen], 0)
        return max(sides[0], sides[1] / 4) * max(sides[1], sides[0] / 4)

    for i in range(3):
        for j in range(2):
            size = (area(poses[i], known[i]) + area(others[j], theirs[j])) / 2
            terms = [
                np.exp(-((poses[i, k] - others[j, k]) ** 2).sum() / (2 * size * (2 * COCO17.sigmas[k]) ** 2))
                for k in range(17)
                if known[i, k] and theirs[j, k]
            ]
            assert made[i, j] == pytest.approx(np.mean(terms))
    assert made[0, 0] > 0.5


def test_a_skeleton_without_published_fall_offs():
    tracker = Tracker(Skeleton("mouse", ("nose", "tail_base")))
    ids = [
        tracker.follow(np.array([[[10.0 + t, 20.0], [60.0 + t, 22.0]]]), np.ones((1, 2), bool), t, t)[0]
        for t in range(5)
    ]
    assert ids == [0] * 5
