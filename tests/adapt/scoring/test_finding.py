"""What is kept of everyone who is found in pictures: who is invented, how large people are, and AP from the file."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from keyshift.adapt.scoring.evaluation import Predictions, predict, scores
from keyshift.adapt.scoring.oks_ap import FlatPeople, oks_scores
from keyshift.adapt.scoring.people_ap import ap_scores, judged_people, oks_words
from keyshift.datasets.loading import EvaluationBatches
from keyshift.models.output import Poses

CPU = torch.device("cpu")


@pytest.fixture
def sample(toys):
    """Four scenes, of which the labels tell areas, boxes, and that nobody is a crowd."""
    scenes = toys.Scenes(toys.Scenes.Options(test=8), "test")
    made = EvaluationBatches(scenes, 8, (64, 64))[0]  # the input is twice as large as the file
    people = len(made.keypoints)
    assert people > 6
    known = torch.ones(people, 3, dtype=torch.bool)
    known[-1, 0] = False
    made = replace(made, annotated=known)
    bounds = torch.tensor([[40.0, 0, 60, 20]]).repeat(people, 1)
    return replace(made, area=torch.full((people,), 90.0), bounds=bounds, crowd=torch.zeros(people, dtype=torch.bool))


def exact(sample):
    return Poses(
        sample.keypoints, sample.annotated.float(), sample.image_index, torch.linspace(1, 0.5, len(sample.area))
    )


def test_everyone_is_kept_in_file_pixels_with_what_labels_tell(sample, toys, tmp_path):
    poses = exact(sample)
    stranger = Poses(torch.full((1, 3, 2), 126.0), torch.ones(1, 3), torch.tensor([3]), torch.tensor([0.9]))
    both = Poses(*(torch.cat([getattr(one, name) for one in (poses, stranger)]) for name in vars(poses)))
    made = predict(toys.Seer(both), [sample], CPU, skeleton=toys.DOTS)
    assert made.answers.invented.tolist() == [False] * len(poses) + [True]
    assert made.invented == 1
    torch.testing.assert_close(made.answers.points[:-1], made.truth)
    torch.testing.assert_close(made.answers.points[-1], torch.full((3, 2), 63.0))
    assert made.answers.row.tolist() == [*sample.image_index.tolist(), 3]
    assert made.answers.picture.tolist() == list(range(8))
    assert made.answers.sequence == sample.sequence
    assert torch.equal(made.area, sample.area)
    assert made.answers.sigmas.tolist() == [0.072] * 3
    assert oks_words(made, toys.DOTS).endswith("areas are as the dataset gives them")

    made.save(tmp_path / "predictions.npz")
    again = Predictions.load(tmp_path / "predictions.npz")
    assert str(scores(again, toys.DOTS, 0.1)) == str(scores(made, toys.DOTS, 0.1))
    score = scores(again, toys.DOTS, 0.1)
    people = Poses(made.answers.points, torch.ones(len(both), 3), made.answers.row, both.score)
    truth = FlatPeople(made.truth, made.annotated, made.area, made.bounds, made.crowd, made.row)
    assert {name: score[name] for name in ("ap", "ar75")} == pytest.approx(
        {name: oks_scores(people, truth, [0.072] * 3)[name] for name in ("ap", "ar75")}
    )
    assert 0.9 < score["ap"] <= 1
    assert score["ar"] == 1
    assert (score["missed"], score["invented"], score["pck"]) == (0, 1, 1)


def test_sigmas_are_those_of_the_skeleton(toys, sample):
    from keyshift.datasets.skeleton import Skeleton

    own = Skeleton("own", ("nose", "left_hip", "tail"))
    made = predict(toys.Seer(exact(sample)), [sample], CPU, skeleton=own)
    assert made.answers.sigmas.tolist() == [0.026, 0.107, 0.072]


def test_whoever_finds_one_of_a_crowd_invents_nobody(sample, toys):
    """Nor whoever finds a person of whom the box alone is labelled; elsewhere in that picture people are invented."""
    crowd, blind = 0, 1
    image = sample.image_index[:2].tolist()
    known = sample.annotated.clone()
    known[blind] = False
    bounds = sample.bounds.clone()
    bounds[crowd], bounds[blind] = torch.tensor([0.0, 0, 8, 8]), torch.tensor([20.0, 20, 28, 28])
    mass = torch.arange(len(known)) == crowd
    labels = replace(sample, annotated=known, bounds=bounds, crowd=mass)
    inside = [torch.tensor([[2.0, 2], [4, 4], [6, 6]]), torch.tensor([[22.0, 22], [24, 24], [26, 26]])]
    away = torch.tensor([[60.0, 60], [62, 62], [58, 62]])
    points = 2 * torch.stack([inside[0], inside[0] + 1, inside[1], away, away])
    where = torch.tensor([image[crowd], image[crowd], image[blind], image[crowd], image[blind]])
    made = predict(toys.Seer(Poses(points, torch.ones(5, 3), where, torch.ones(5))), [labels], CPU, skeleton=toys.DOTS)
    assert made.answers.invented.tolist() == [False, False, False, True, True]
    assert not made.annotated[:2].any()  # the keypoints of a crowd are nobody's
    state = judged_people(made).state[0]  # COCO asks the same
    assert sorted(state.tolist()) == [-1, -1, -1, 0, 0]
    unknown = replace(labels, area=None, bounds=None, crowd=None, annotated=known & ~mass[:, None])
    other = predict(toys.Seer(Poses(points, torch.ones(5, 3), where, torch.ones(5))), [unknown], CPU)
    assert other.invented != 2  # without boxes it is not known who is there


def test_without_areas_boxes_of_keypoints_tell_them(sample, toys):
    bare = replace(sample, area=None, bounds=None, crowd=None)
    known = sample.annotated.clone()
    known[0] = torch.tensor([True, False, False])
    known[1] = True
    points = sample.keypoints.clone()
    points[1] = torch.tensor([[20.0, 20], [60, 20], [40, 20]])  # a straight line, 20 px of the file
    points[0] = 30.0
    made = predict(
        toys.Seer(exact(sample)), [replace(bare, keypoints=points, annotated=known)], CPU, skeleton=toys.DOTS
    )
    assert made.area[0] == pytest.approx((0.05 * 32) ** 2)
    assert made.area[1] == pytest.approx(20 * 5)
    for person in range(2, len(points)):
        own = made.truth[person][made.annotated[person]]
        if len(own) > 1:
            width, height = (own.amax(0) - own.amin(0)).tolist()
            least = max(max(width, height) / 4, 0.05 * 32)
            assert made.area[person] == pytest.approx(max(width, least) * max(height, least), rel=1e-5)
    assert not made.answers.own_area
    assert oks_words(made, toys.DOTS).endswith("areas are those of the boxes of annotated keypoints")


def test_pictures_of_nobody_and_of_a_hundred(sample, toys):
    """Nobody found: AP is 0; nobody labelled: there is none. Of a hundred found the twenty surest count."""
    nobody = exact(sample).each(lambda part: part[:0])
    score = scores(predict(toys.Seer(nobody), [sample], CPU, skeleton=toys.DOTS), toys.DOTS, 0.1)
    assert score["ap"] == score["ar"] == score["invented"] == 0
    assert score["missed"] == int(sample.annotated.any(1).sum())
    image = int(sample.image_index[0])
    own = sample.keypoints[:1]
    hundred = Poses(
        torch.cat([torch.rand(100, 3, 2) * 60, own]),
        torch.ones(101, 3),
        torch.full((101,), image),
        torch.cat([torch.linspace(1, 0.5, 100), torch.tensor([0.1])]),
    )
    made = predict(toys.Seer(hundred), [sample], CPU, skeleton=toys.DOTS)
    assert len(made.answers.points) == 101
    assert judged_people(made).state.shape == (10, 20)
    empty = replace(made, **{name: getattr(made, name)[:0] for name in ("truth", "annotated", "area", "bounds")})
    empty = replace(empty, crowd=made.crowd[:0], row=made.row[:0])
    assert math.isnan(ap_scores(empty)["ap"])


def test_crowded_pictures_have_scores_of_their_own(sample, toys):
    made = predict(toys.Seer(exact(sample)), [sample], CPU, skeleton=toys.DOTS)
    assert "ap_easy" not in scores(made, toys.DOTS, 0.1)
    crowded = torch.tensor(np.where(np.arange(8) < 4, 0.1, 0.9))
    score = scores(replace(made, answers=replace(made.answers, crowded=crowded)), toys.DOTS, 0.1)
    assert score["ap_easy"] == score["ap_hard"] == pytest.approx(1)
    assert math.isnan(score["ap_medium_crowd"])


def test_files_of_earlier_versions_load(sample, toys, tmp_path):
    """They hold those who were matched alone: PCK judges them."""
    made = predict(toys.Seer(exact(sample)), [sample], CPU, skeleton=toys.DOTS)
    old = replace(made, answers=None, area=None, bounds=None, crowd=None)
    old.save(tmp_path / "old.npz")
    with np.load(tmp_path / "old.npz") as arrays:
        assert not {"area", "found.points"} & set(arrays.files)
    again = Predictions.load(tmp_path / "old.npz")
    assert again.answers is None
    assert again.headline(0.1).key == "pck"
    assert scores(again, toys.DOTS, 0.1)["pck"] == 1
    with pytest.raises(ValueError, match="predictions of crops"):
        judged_people(again)
