"""Grouping against the published form step by step, on random and crafted cases, and against answers made by hand."""

import numpy as np
import pytest

from keyshift.models import grouping
from keyshift.models.grouping import Rules, group, keypoint_order, people_in, place, quarters, refine
from keyshift.models.grouping_exact import adjust_exact, group_exact, refine_exact

CASES = 125
"""Of each kind; of eight kinds a thousand."""
SIDE = 24


def by_score(scores, cells, tags):
    """Candidates as they come out of a map: the highest first."""
    order = np.argsort(-scores, 1, kind="stable")
    picked = order[..., None]
    return tuple(np.take_along_axis(*pair, 1) for pair in ((scores, order), (cells, picked), (tags, picked)))


def candidates(rng, people, keypoints, most, dims=1, noise=0.1, apart=1.5, seen=0.8, step=0.0, rest=0.2):
    """Candidates of people whose tags are `apart`, `seen` so often, and of nobody to the number `most`; numbers are
    whole multiples of `step` where that is above 0."""
    own = np.repeat(rng.permutation(max(people, 1))[:, None] * apart, dims, 1)
    whose = np.stack([rng.permutation(most) for _ in range(keypoints)])
    real = (whose < people) & (rng.random(whose.shape) < seen)
    tags = np.where(real[..., None], own[np.minimum(whose, people - 1)], rng.uniform(-3, 3 + people, (*whose.shape, 1)))
    tags = tags + rng.normal(0, noise, (*whose.shape, dims))
    scores = np.where(real, rng.uniform(0.05, 1, whose.shape), rng.uniform(-0.1, rest, whose.shape))
    if step:
        tags, scores = np.round(tags / step) * step, np.round(scores / step) * step
    cells = rng.integers(0, SIDE, (*whose.shape, 2))
    return by_score(scores.astype(np.float32), cells, tags.astype(np.float32))


KINDS = {
    "usual": {"people": 5, "keypoints": 17, "most": 12},
    "thirty people": {"people": 30, "keypoints": 17, "most": 30, "seen": 0.95},
    "nobody": {"people": 0, "keypoints": 5, "most": 8, "rest": 0.1},
    "one keypoint": {"people": 4, "keypoints": 1, "most": 6},
    "more candidates than people": {"people": 12, "keypoints": 9, "most": 30, "seen": 0.3},
    "ties": {"people": 6, "keypoints": 8, "most": 10, "step": 0.25, "noise": 0.4, "apart": 0.5},
    "equal tags": {"people": 5, "keypoints": 8, "most": 10, "step": 0.5, "noise": 0.3, "apart": 0.0},
    "tags of a mirror image too": {"people": 8, "keypoints": 14, "most": 16, "dims": 2, "apart": 0.8},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_people_as_step_by_step(kind, monkeypatch):
    collided, each = [], grouping._Crowd.enter_each
    monkeypatch.setattr(grouping._Crowd, "enter_each", lambda *given: collided.append(each(*given)))
    for seed in range(CASES):
        rng = np.random.default_rng([seed, len(kind)])
        form = dict(KINDS[kind])
        if form["people"] > 1 and kind != "thirty people":
            form["people"] = int(rng.integers(1, form["people"] + 1))
        rules = Rules(most=4 if seed % 5 == 0 else 30, threshold=(0.1, 0.25)[seed % 2])
        given = candidates(rng, **form)
        ours, wanted = group(*given, rules), group_exact(*given, rules)
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, wanted)
    assert (len(collided) > 0) == (kind in ("ties", "equal tags"))  # else tags that are equal are not tested
    assert (len(wanted) == 0) == (kind == "nobody")


def rows(*lists):
    """(scores, cells, tags) of one list of (score, x, y, tag) for each keypoint, filled up with nothing."""
    most = max(map(len, lists))
    table = np.array([[*each, *[(0, 0, 0, 0)] * (most - len(each))] for each in lists], np.float64)
    return table[..., 0].astype(np.float32), table[..., 1:3].astype(np.int64), table[..., 3:].astype(np.float32)


def test_by_hand():
    """Two people; the third candidate of keypoint 1 is too far from both, and the second one of keypoint 2 too low."""
    given = rows(
        [(0.9, 1, 2, 0.0), (0.8, 5, 6, 3.0)],
        [(0.9, 7, 7, 9.0), (0.7, 5, 5, 3.1), (0.6, 1, 1, -0.1)],
        [(0.5, 2, 2, 0.2), (0.05, 9, 9, 3.0)],
    )
    for form in (group, group_exact):
        people = form(*given, Rules())
        assert people[..., 0].tolist() == [[1, 1, 2], [5, 5, 0], [0, 7, 0]]
        assert people[..., 1].tolist() == [[2, 1, 2], [6, 5, 0], [0, 7, 0]]
        np.testing.assert_allclose(people[0, :, 2], [0.9, 0.6, 0.5], rtol=1e-6)


def test_halves_are_rounded_to_even_and_scores_decide_between_equals():
    """A tag 0.5 away costs nothing and one 0.75 away 100; of two that cost nothing the surer one is taken."""
    one = rows([(0.9, 0, 0, 0.0)], [(0.8, 1, 1, 0.5), (0.4, 2, 2, 0.125)])
    two = rows([(0.9, 0, 0, 0.0)], [(0.8, 1, 1, 0.75), (0.4, 2, 2, 0.125)])
    for form in (group, group_exact):
        assert form(*one, Rules())[0, 1, :2].tolist() == [1, 1]
        assert form(*two, Rules())[0, 1, :2].tolist() == [2, 2]


def test_equal_tags_overwrite_each_other():
    """The first numbers of the tags are equal, so that the second candidate takes the place of the first."""
    given = rows([(0.9, 1, 1, 0.25), (0.8, 2, 2, 0.25)], [(0.9, 3, 3, 0.25)])
    for form in (group, group_exact):
        people = form(*given, Rules())
        assert people.shape == (1, 2, 4)
        assert people[0, :, :2].tolist() == [[2, 2], [3, 3]]


def test_somebody_new_with_a_known_tag_takes_it_over():
    """Person 0 is known by its first tag, 0. Keypoint 5 has it too, but the person's mean is 1.05 by then: it is
    somebody new, who is the same one, and known by that tag alone: so keypoint 6 is near."""
    tags = (0.0, 0.75, 1.25, 1.5, 1.75, 0.0, -0.75)
    given = rows(*([(0.9, k, k, tag)] for k, tag in enumerate(tags)))
    for form in (group, group_exact):
        people = form(*given, Rules())
        assert people[..., 0].tolist() == [[0, 1, 2, 3, 4, 5, 6]]
        assert people[0, :, 3].tolist() == list(tags)
        assert len(form(*(part[[0, 1, 2, 3, 4, 6]] for part in given), Rules())) == 2


def maps(rng, people=6, keypoints=5, dims=1, side=SIDE):
    """Heat and tags of people who each have a region of their own, with noise, and their candidates."""
    heat = rng.normal(0, 0.02, (keypoints, side, side))
    points, own = rng.integers(1, side - 1, (people, keypoints, 2)), rng.permutation(people) * 1.3
    y, x = np.mgrid[:side, :side]
    near = np.full((keypoints, side, side), np.inf)
    tags = rng.normal(0, 0.15, (keypoints, dims, side, side))
    for person, tag in zip(points, own, strict=True):
        for k, (column, row) in enumerate(person):
            far = (x - column) ** 2 + (y - row) ** 2
            heat[k] = np.maximum(heat[k], rng.uniform(0.0, 1.0) * np.exp(-far / 4))
            tags[k] = np.where(far < near[k], tag + rng.normal(0, 0.1, (dims, side, side)), tags[k])
            near[k] = np.minimum(near[k], far)
    heat, tags = heat.astype(np.float32), tags.astype(np.float32)
    cells = points.transpose(1, 0, 2)
    keypoint = np.arange(keypoints)[:, None]
    scores = heat[keypoint, cells[..., 1], cells[..., 0]]
    at = tags[keypoint, :, cells[..., 1], cells[..., 0]]
    return heat, tags, *by_score(scores, cells, at)


@pytest.mark.parametrize("dims", [1, 2])
def test_points_and_missing_keypoints_as_step_by_step(dims):
    """Also at the borders, and where nothing in the map is above 0."""
    adopted = left = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        heat, tags, *given = maps(rng, dims=dims, side=(SIDE, 3)[seed % 4 == 0])
        heat[-1] -= 2.0 * (seed % 3 == 0)
        people = group_exact(*given, Rules(threshold=0.4))
        ours, wanted = people.copy(), people.copy()
        place(ours, heat, adjust=True)
        adjust_exact(wanted, heat)
        np.testing.assert_array_equal(ours, wanted)
        refine(ours, heat, tags, given[1], adjust=True)
        refine_exact(wanted, heat, tags)
        np.testing.assert_array_equal(ours, wanted)
        adopted += ((people[..., 2] == 0) & (wanted[..., 2] > 0)).sum()
        left += (wanted[..., 2] == 0).sum()
    assert adopted > 100
    assert left > 20


def test_people_of_a_picture():
    """The score is the mean before missing keypoints are searched for, as low as these are; what is not found stands in
    the middle of the others."""
    heat = np.zeros((3, 8, 8), np.float32)
    heat[0, 2, 2], heat[0, 2, 3], heat[1, 5, 6], heat[1, 5, 5], heat[2] = 0.9, 0.5, 0.06, 0.05, -0.1
    tags = np.full((3, 1, 8, 8), 4.0, np.float32)
    tags[1, :, 5, 6] = 4.4
    cells = np.array([[[2, 2]], [[6, 5]], [[0, 0]]])
    given = np.array([[0.9], [0.06], [-0.1]], np.float32), cells, np.array([[[4.0]], [[4.4]], [[4.0]]], np.float32)
    people, score = people_in(heat, tags, *given, Rules())
    np.testing.assert_allclose(people[0], [[2.75, 2.25, 0.9], [6.25, 5.25, 0.06], [4.5, 3.75, 0]], rtol=1e-6)
    np.testing.assert_allclose(score, [0.3], rtol=1e-6)
    people, _ = people_in(heat, tags, *given, Rules(adjust=False, refine=False))
    np.testing.assert_allclose(people[0, :, :2], [[2.5, 2.5]] * 3)


def test_quarters_at_the_border():
    heat = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    x = np.array([0, 2, 2])
    assert quarters(heat, np.zeros(3, int), x, np.array([0, 0, 1])).tolist() == [[0.25, 0.25]] * 3
    assert quarters(heat * 0, np.zeros(3, int), x, np.array([0, 0, 1])).tolist() == [[-0.25, -0.25]] * 3


def test_the_order_of_keypoints():
    assert [k + 1 for k in keypoint_order(17)] == [1, 2, 3, 4, 5, 6, 7, 12, 13, 8, 9, 10, 11, 14, 15, 16, 17]
    assert [k + 1 for k in keypoint_order(14)] == [1, 2, 3, 4, 5, 6, 7, 12, 13, 8, 9, 10, 11, 14]
    assert keypoint_order(21)[17:] == [17, 18, 19, 20]
    assert keypoint_order(1) == [0]
