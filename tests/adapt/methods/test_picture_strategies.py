"""Every strategy on FastPose, and on a spatial transformer around PoseResNet."""

from copy import deepcopy
from functools import cache

import pytest
import torch

from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.strategies import STRATEGIES, suited
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.augment import Augmentation
from keyshift.models.saved import MODELS

SIZE, CPU = (32, 32), torch.device("cpu")
TURNED = Augmentation(rotation=20, area=[0.8, 1.2])
INSIDE = {"name": "pose_resnet", "backbone": "small", "heatmap_size": [8, 8], "channels": 16, "sigma": 1.0}
SYSTEMS = {
    "fast_pose": {"backbone": "small", "sigma": 1.0},
    "rmpe": {"network": INSIDE, "localisation": "small"},
}
OPTIONS = {"regda": RegDA.Options(head_layers=1), "mean_teacher": MeanTeacher.Options(decay=0.9)}


@cache
def start(name):
    torch.manual_seed(0)
    model = MODELS[name](3, MODELS[name].Options(input_size=list(SIZE), **SYSTEMS[name]))
    if name == "rmpe":  # people are not where the crop says
        torch.nn.init.normal_(model.localisation.linear.weight, std=0.01)
    return model


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("strategy", suited(["image"]))
def test_two_updates_in_half_precision(dots, two_updates, name, strategy):
    """What moves is the network, its localisation among it; and all that learns is owned."""
    torch.manual_seed(0)
    optimization = Optimization("adam", 3e-3, {}, 0.0, gamma=0.0)
    made = STRATEGIES[strategy](deepcopy(start(name)), dots.skeleton, optimization, options=OPTIONS.get(strategy))
    data = {"source": dots(8), "target": dots(8, "shifted")}
    changed, optimizers = two_updates(made.train(), data, SIZE, TURNED)
    assert bool(changed) == (strategy != "given")
    owned = [id(p) for o, _ in optimizers.values() for g in o.param_groups for p in g["params"]]
    assert len(owned) == len(set(owned))
    if strategy in ("source_only", "regda", "keyshift", "mean_teacher"):
        assert set(owned) == {id(p) for p in made.parameters() if p.requires_grad}
        assert (name != "rmpe") or "localisation.linear.weight" in changed
