"""Two sets as one: half and half, the smaller one repeated, keypoints by name."""

import pickle
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from keyshift.datasets.augment import Augmentation
from keyshift.datasets.doubts import doubts
from keyshift.datasets.loading import TrainingBatches
from keyshift.datasets.mixed import Mixed, drawn
from keyshift.datasets.skeleton import Skeleton
from keyshift.datasets.views import InSpace, Selected, View


class Given(View):
    """Items with another input."""

    def __init__(self, dataset, skeleton=None, **inputs):
        super().__init__(dataset, skeleton=skeleton)
        self.inputs = inputs

    def __getitem__(self, index):
        item = self.dataset[index]
        return replace(item, inputs={**item.inputs, **self.inputs})


@pytest.fixture
def sketches(toys):
    return lambda count: toys.Sketches(toys.Sketches.Options(train=count), "train")


@pytest.mark.parametrize(("first", "second"), [(10, 4), (4, 10), (5, 5), (1, 7)])
def test_half_and_half(toys, sketches, first, second, monkeypatch):
    """As the reference counts: the larger one once, the smaller one a whole number of times and some at random."""
    monkeypatch.setitem(sys.modules, "toys", toys)  # other tests load a copy of the module under this name
    data = Mixed(toys.Persons(toys.Persons.Options(train=first), "train"), sketches(second))
    data = pickle.loads(pickle.dumps(data))
    larger, smaller = max(first, second), min(first, second)
    assert len(data) == 2 * larger
    seen = Counter(data[i].id for i in range(len(data)))
    assert sum(count for name, count in seen.items() if name.startswith("persons")) == larger
    few = "persons" if first < second else "sketches"
    times = [count for name, count in seen.items() if name.startswith(few)]
    assert len(times) == smaller
    assert min(times) >= larger // smaller
    assert sum(times) - smaller * (larger // smaller) == larger % smaller
    assert [data[i].id for i in range(len(data))] == [data[i].id for i in range(len(data))]
    for wrong in (-1, len(data)):
        with pytest.raises(IndexError, match=f"items 0 to {len(data) - 1}, not {wrong}"):
            data[wrong]


def test_the_remainder_is_spread_and_the_rest_in_order():
    places = [drawn(place, 10, 28) for place in range(28)]
    assert places[:20] == [*range(10)] * 2
    assert set(places[20:]) <= set(range(10))
    assert len(set(places[20:])) > 3
    rest = Counter(drawn(place, 100, 199) for place in range(100, 199))
    assert max(rest.values()) < 8


def test_keypoints_by_name(persons, sketches):
    data = Mixed(persons(4), sketches(4))
    assert data.skeleton == persons.skeleton
    assert data.name == "persons.plain.train+sketches.plain.train"
    flat, known = sketches(4)[2], data[4 + 2]
    assert known.annotated.tolist() == known.visible.tolist() == [True, False, True]
    np.testing.assert_array_equal(known.keypoints[[0, 2]], flat.keypoints[[1, 0]])
    assert not known.keypoints[1].any()
    assert data[2].annotated.all()
    assert data.identity == persons(4).identity | {"beside": sketches(4).identity}


def test_samples_of_both_go_into_one_batch(persons, sketches):
    """Distances are known of the first set's alone; 3D points of the second are unknown, and those of the first are
    there for what reads them."""
    data = InSpace(Mixed(persons(6), sketches(6)), rooted=True)
    deep, cameras = [], []
    for step in range(3):
        batch = TrainingBatches(data, "source", 0, 4, (32, 32), Augmentation(mirror=0.5), labels=True)[step]
        flat = torch.tensor([name.startswith("sketches") for name in batch.id])
        assert torch.equal(batch.deep.any(1), ~flat)
        assert torch.equal((batch.points[..., 2] > 0).all(1), ~flat)
        assert not batch.points[flat].any()
        assert torch.equal(batch.inputs["k"] > 0, ~flat)
        deep += batch.deep.all(1).tolist()
        cameras += batch.gives
    assert {True, False} == set(deep)


def test_inputs_that_one_set_gives(persons, sketches):
    others = np.array([[5.0, 6.0, 1.0], [0.0, 0.0, 0.0]])
    data = Mixed(Given(persons(3), others=others), sketches(3))
    assert data[0].inputs["others"].tolist() == others.tolist()
    assert data[3].inputs["others"].tolist() == np.zeros((2, 3)).tolist()
    data = Mixed(persons(3), Given(sketches(3), weight=np.array(2.0)))
    assert [float(data[i].inputs["weight"]) for i in (0, 3)] == [0, 2]
    with pytest.raises(
        ValueError, match=r"others of persons.plain.train is \(2, 3\) and others of sketches.* is \(1, 3"
    ):
        Mixed(Given(persons(3), others=others), Given(sketches(3), others=others[:1]))


def test_keypoints_of_several_people_are_named_too(persons):
    class Crowd(View):
        def __getitem__(self, index):
            items = [self.dataset[index], self.dataset[index + 1]]
            parts = ("keypoints", "visible", "annotated", "points")
            return replace(items[0], **{n: np.stack([getattr(item, n) for item in items]) for n in parts})

    crowd = Crowd(persons(4))
    few = Selected(crowd, ("right_hand", "pelvis"))
    item = Mixed(crowd, few)[4 + 1]
    assert item.keypoints.shape == (2, 3, 2)
    assert item.annotated.tolist() == [[True, False, True]] * 2
    np.testing.assert_array_equal(item.keypoints[:, [0, 2]], crowd[1].keypoints[:, [0, 2]])
    np.testing.assert_array_equal(item.points[:, [0, 2]], crowd[1].points[:, [0, 2]])


def test_sets_that_do_not_go_together(persons, sketches, balls, toys, dots):
    with pytest.raises(ValueError, match=r"persons.plain.train and dots.plain share no keypoint name: pelvis, .*; red"):
        Mixed(persons(2), dots(2))

    def as_persons(data, **changes):
        return View(data, skeleton=replace(persons.skeleton, **changes))

    with pytest.raises(ValueError, match=r"gives pictures in pixels and balls.plain gives depth frames"):
        Mixed(persons(2), as_persons(balls(2)))
    scenes = toys.Scenes(toys.Scenes.Options(), "train")
    with pytest.raises(ValueError, match=r"gives pictures in pixels and .* gives pictures of several people in pixels"):
        Mixed(persons(2), as_persons(scenes))
    clips = toys.Clips(toys.Clips.Options(), "train")
    with pytest.raises(ValueError, match="gives clips in pixels: sets of two kinds are no one source"):
        Mixed(persons(2), as_persons(clips))
    with pytest.raises(ValueError, match=r"shows 2000 mm and .* shows 300 mm"):
        Mixed(persons(2), as_persons(sketches(2), extent=300.0))
    Mixed(persons(2), as_persons(sketches(2), extent=0.0))  # nobody has said it


def test_what_is_doubted_of_both(persons, sketches, monkeypatch):
    from keyshift.datasets import doubts as module
    from keyshift.datasets.reading.doubts import Doubt

    monkeypatch.setattr(module, "CHECKS", (lambda dataset, most: [Doubt(dataset.name)],))
    said = [doubt.text for doubt in doubts(InSpace(Mixed(persons(2), sketches(2)), False))]
    assert said == ["persons.plain.train", "sketches.plain.train"]


def test_another_skeleton_is_paired_over_both(persons, sketches):
    data = Selected(Mixed(persons(3), sketches(3)), ("right_hand", "left_hand"))
    assert data[3].annotated.tolist() == [True, False]
    assert data.skeleton.keypoints == ("right_hand", "left_hand")
    assert isinstance(data.skeleton, Skeleton)
