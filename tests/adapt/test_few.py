"""Strategies with a source where there is little of everything: one keypoint, no bones, one picture in a batch, an
input that is no square."""

from dataclasses import replace

import pytest
import torch

from keyshift.adapt.scoring.evaluation import everyone
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import TrainingBatches
from keyshift.datasets.skeleton import Skeleton
from keyshift.datasets.views import View

NAMES = [name for name, one in STRATEGIES.items() if one.kind in ("aligned", "teachers")]
SPREAD = ("dan", "jan", "coral")
"""Those that compare how samples are spread."""
SIZE = (32, 48)
AUGMENTATION = Augmentation(rotation=20)


class First(View):
    """A dataset's first keypoints."""

    def __init__(self, dataset, count):
        super().__init__(dataset)
        names = dataset.skeleton.keypoints[:count]
        self.count, self.skeleton = count, Skeleton("first", names, groups={"all": tuple(range(count))})

    def __getitem__(self, index):
        item = self.dataset[index]
        parts = {name: getattr(item, name)[: self.count] for name in ("keypoints", "visible", "annotated")}
        return replace(item, **parts)


def two_updates(toys, dots, iterate, name, keypoints, batch):
    torch.manual_seed(0)
    sides = {"source": First(dots(6), keypoints), "target": First(dots(6, "shifted"), keypoints)}
    model = toys.TopDown(keypoints, toys.TopDown.Options(input_size=list(SIZE), channels=8))
    strategy = STRATEGIES[name](model, sides["target"].skeleton, Optimization("adam", 1e-3, {}, 0.0)).train()
    source, target = (
        TrainingBatches(data, domain, 0, batch, SIZE, AUGMENTATION, domain == "source", strategy.views[domain])
        for domain, data in sides.items()
    )
    if strategy.round_length():
        strategy.begin_round(everyone(strategy.predictor, sides["target"], 4, SIZE, AUGMENTATION, torch.device("cpu")))
    optimizers = strategy.optimizers()
    for step in range(2):
        iterate(strategy, source[step], target[step], optimizers)
    assert all(value.isfinite().all() for value in strategy.state_dict().values())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "regda"])  # its ground false is where others are
def test_one_keypoint(toys, dots, iterate, name):
    two_updates(toys, dots, iterate, name, keypoints=1, batch=2)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SPREAD])
def test_one_picture(toys, dots, iterate, name):
    two_updates(toys, dots, iterate, name, keypoints=2, batch=1)


@pytest.mark.parametrize("name", SPREAD)
def test_one_picture_has_no_spread(toys, dots, iterate, name):
    with pytest.raises(ValueError, match="found 1: raise batch"):
        two_updates(toys, dots, iterate, name, keypoints=2, batch=1)
