"""What every view keeps of the dataset beneath, and what each changes."""

import pickle

import numpy as np
import pytest

from keyshift.datasets.depth.center_task import CENTER, CenterTask, Recentered
from keyshift.datasets.views import Rows, Selected, View, WithoutLabels, innermost, spread

VIEWS = {
    "plain": View,
    "without labels": WithoutLabels,
    "selected": lambda dataset: Selected(dataset, dataset.skeleton.keypoints[:2]),
    "rows": lambda dataset: Rows(dataset, [4, 1]),
    "center": CenterTask,
    "recentered": lambda dataset: Recentered(dataset, np.tile([16.0, 16.0, 600.0], (len(dataset), 1)), "x"),
}


@pytest.mark.parametrize("name", VIEWS)
def test_what_a_view_keeps(balls, name):
    inner = balls(6)
    view = pickle.loads(pickle.dumps(VIEWS[name](inner)))
    assert len(view) == (2 if name == "rows" else 6)
    assert view.identity.items() >= {"name": inner.name, "size": inner.size, "first": inner.first}.items()
    assert view.name == (f"{inner.name}.center" if name == "center" else inner.name)
    assert len(view.skeleton) == len(view[1].keypoints) == len(view[1].annotated)
    assert view[1].id == f"{inner.name}/1"
    assert view[1].depth
    assert isinstance(innermost(VIEWS[name](View(inner))), balls)
    assert innermost(inner) is inner
    assert inner.identity == balls(6).identity


def test_what_each_says_of_itself(balls):
    inner = balls(6)
    assert WithoutLabels(inner).identity == Selected(inner, ("small",)).identity == inner.identity
    assert Rows(inner, [4, 1]).identity == inner.identity | {"count": 2}
    assert CenterTask(inner).identity == inner.identity | {"joints": "center"}
    assert CenterTask(inner).skeleton == CENTER
    assert Recentered(inner, np.zeros((6, 3)), "abc").identity == inner.identity | {"centers": "abc"}


def test_rows_spread_over_a_dataset(dots):
    assert spread(dots(10), 4).rows == [0, 2, 5, 7]
    assert spread(dots(3), 4).rows == [0, 1, 2]


def test_pictures_are_no_depth(dots):
    assert not dots(1)[0].depth
    with pytest.raises(ValueError, match=r"joints=center is of depth datasets; dots\.plain gives"):
        CenterTask(dots(4))[0]
    with pytest.raises(ValueError, match="gives pictures, which have no centres"):
        Recentered(dots(4), np.zeros((4, 3)), "x")[0]
