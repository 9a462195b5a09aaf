"""Every strategy on DSNT's maps, of the rectification that has the most zeros: nothing of them knows that it is one."""

import pytest
import torch

from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.scoring.evaluation import everyone
from keyshift.adapt.strategies import STRATEGIES, suited
from keyshift.adapt.strategy import Optimization
from keyshift.models import heatmaps
from keyshift.models.systems.dsnt import DSNT

OPTIONS = {"regda": RegDA.Options(head_layers=1), "mean_teacher": MeanTeacher.Options(decay=0.9)}
ADAM = Optimization("adam", 3e-3, {}, 0.0, gamma=0.0)


@pytest.mark.parametrize("name", suited(["image"]))
def test_three_updates(dots, toys, monkeypatch, batches, augmentation, iterate, name):
    monkeypatch.setattr(heatmaps, "build_backbone", lambda *_: toys.Tiny())
    torch.manual_seed(0)
    model = DSNT(3, DSNT.Options(input_size=[32, 32], heatmap_size=[8, 8], rectification="relu"))
    strategy = STRATEGIES[name](model, dots.skeleton, ADAM, options=OPTIONS.get(name)).train()
    source, target = batches(dots, strategy, "plain", "source"), batches(dots, strategy, "shifted", "target")
    before = {key: value.clone() for key, value in strategy.predictor.state_dict().items()}
    strategy.begin_round(
        everyone(strategy.predictor, dots(64, "shifted"), 64, (32, 32), augmentation, torch.device("cpu"))
    )
    optimizers = strategy.optimizers()
    for step in range(3):
        iterate(strategy, source[step] if "source" in strategy.needs else None, target[step], optimizers)
    after = strategy.predictor.state_dict()
    assert all(value.isfinite().all() for value in after.values())
    assert any(not torch.equal(before[key], after[key]) for key in before) == (name != "given")
