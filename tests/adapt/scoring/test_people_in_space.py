"""The form of several people in space, and who is matched with whom."""

from dataclasses import replace

import pytest
import torch

from keyshift.adapt.scoring.matching import by_image, choose, greedy
from keyshift.adapt.scoring.people import LabelledPeople, PredictedPeople, match_in_space
from keyshift.datasets.sample import CAMERA_MM, PIXELS, PIXELS_AND_MM
from keyshift.models.output import Poses

BODY = torch.tensor([[0.0, 0, 3000], [0, 600, 3000], [200, 300, 3100]])


def labelled(*shifts, image=None, valid=None):
    points = torch.stack([BODY + torch.tensor(shift) for shift in shifts])
    n = len(points)
    image = torch.zeros(n).long() if image is None else torch.tensor(image)
    valid = torch.ones(n, dtype=torch.bool) if valid is None else torch.tensor(valid)
    return LabelledPeople(points, torch.ones(n, 3, dtype=torch.bool), valid, image)


def seen(truth, people, score, off=10.0):
    """The labelled `people` (Q,) a little off."""
    return PredictedPeople(truth.points[people] + off, truth.image_index[people], torch.tensor(score))


def test_matching_in_space():
    truth = labelled((0.0, 0, 0), (900.0, 0, 500), (0.0, 0, 0), (0.0, 0, 4000), image=[3, 3, 1, 3])
    people = seen(truth, [2, 1, 1, 0], [0.5, 0.6, 0.7, 0.1])
    assert match_in_space(people, truth).tolist() == [3, 2, 0, -1]  # the surer of two; one is missed
    hidden = replace(truth, valid=torch.tensor([True, False, True, True]))
    assert match_in_space(people, hidden).tolist() == [3, -1, 0, -1]
    blind = replace(truth, annotated=torch.zeros(4, 3, dtype=torch.bool))
    assert match_in_space(people, blind).tolist() == [-1] * 4
    assert match_in_space(seen(truth, [], []), truth).tolist() == [-1] * 4
    assert match_in_space(people, labelled_none()).tolist() == []


def labelled_none():
    flags = torch.zeros(0, 3, dtype=torch.bool)
    return LabelledPeople(torch.zeros(0, 3, 3), flags, flags[:, 0], torch.zeros(0).long())


def test_places_by_image():
    table = by_image(torch.tensor([2, 0, 2, 2, 0]), 4)
    assert table.tolist() == [[1, 4, -1], [-1, -1, -1], [0, 2, 3], [-1, -1, -1]]


def test_greedy_choice():
    likes = torch.tensor([[[0.9, 0.8], [0.95, 0.3], [1.0, 1.0]], [[0.1, 0.1], [0.5, 0.5], [0.6, 0.2]]])
    assert greedy(likes, 0.2).tolist() == [[0, 1, -1], [-1, 0, 1]]


def test_more_images_than_are_compared_at_once(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randint(0, 50, (n,), generator=generator) for n in (120, 90))
    likes = torch.rand(120, 90, generator=generator)

    def liking(rows, columns):
        return likes[rows.unsqueeze(2), columns.unsqueeze(1)]

    whole = choose(liking, a, b, 0.3)
    monkeypatch.setattr("keyshift.adapt.scoring.matching.CHUNK", 7)
    assert torch.equal(choose(liking, a, b, 0.3), whole)
    taken, wanted = set(), []
    for i in range(120):
        own = [j for j in range(90) if b[j] == a[i] and j not in taken and likes[i, j] >= 0.3]
        wanted.append(max(own, key=lambda j, i=i: likes[i, j], default=-1))
        taken.add(wanted[-1])
    assert whole.tolist() == wanted
    assert -1 in wanted


def test_people_of_poses():
    camera = torch.tensor([[500.0, 600, 320, 240], [1000, 1000, 100, 100]])
    in_mm = torch.tensor([[[100.0, 200, 2000]], [[-50, 30, 1000]]])
    flat = torch.tensor([[[345.0, 300]], [[50, 130]]])
    mixed = torch.cat([flat, in_mm[..., 2:]], -1)
    image, sure = torch.tensor([0, 1]), torch.ones(2, 1)
    for points, space in ((in_mm, CAMERA_MM), (mixed, PIXELS_AND_MM)):
        people = PredictedPeople.of(Poses(points, sure, image, sure[:, 0]), camera, space)
        torch.testing.assert_close(people.points, in_mm)
        torch.testing.assert_close(people.keypoints, flat)
    poses = Poses(mixed, sure, image, sure[:, 0])
    with pytest.raises(ValueError, match="no depth"):
        PredictedPeople.of(poses, camera, PIXELS)
    camera[1, 1] = 0
    with pytest.raises(ValueError, match=r"image 1 has no camera, fx and fy are \[1000.0, 0.0\]"):
        PredictedPeople.of(poses, camera, PIXELS_AND_MM)


def test_parts_that_do_not_fit():
    truth = labelled((0.0, 0, 0))
    with pytest.raises(ValueError, match=r"LabelledPeople: valid is of shape \(2,\); the points ask for \(1,\)"):
        replace(truth, valid=torch.ones(2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"keypoints is of shape \(1, 3, 3\); the points ask for \(1, 3, 2\)"):
        replace(truth, keypoints=truth.points)
    with pytest.raises(ValueError, match=r"points are of shape \(1, 3, 2\)"):
        PredictedPeople(torch.zeros(1, 3, 2), torch.zeros(1).long(), torch.zeros(1))
