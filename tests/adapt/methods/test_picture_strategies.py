"""Every strategy on FastPose, and on a spatial transformer around PoseResNet."""

from copy import deepcopy
from functools import cache

import pytest
import torch
from lightning_fabric import Fabric

from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.scoring.evaluation import everyone
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Optimization
from keyshift.adapt.trainer import updates
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import TrainingBatches
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
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_updates_in_half_precision(dots, name, strategy):
    """The losses are finite; what moves is the network, its localisation among it; and all that learns is owned."""
    torch.manual_seed(0)
    optimization = Optimization("adam", 3e-3, {}, 0.0, gamma=0.0)
    made = STRATEGIES[strategy](deepcopy(start(name)), dots.skeleton, optimization, options=OPTIONS.get(strategy))
    made = made.train()
    data = {domain: dots(8, style) for domain, style in (("source", "plain"), ("target", "shifted"))}
    labels = {"source": True, "target": made.labelled_target}
    batches = {d: TrainingBatches(data[d], d, 0, 4, SIZE, TURNED, labels[d], made.views[d]) for d in data}
    before = {k: v.clone() for k, v in made.predictor.state_dict().items()}
    made.begin_round(everyone(made.predictor, data["target"], 8, SIZE, TURNED, CPU))
    fabric, optimizers = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"), made.optimizers()
    for step in range(2):
        for losses in updates(fabric, made, optimizers, batches["source"][step], batches["target"][step]):
            assert all(loss.isfinite() for loss in losses.values()), losses
    after = made.predictor.state_dict()
    assert all(value.isfinite().all() for value in after.values())
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert bool(changed) == (strategy != "given")
    owned = [id(p) for o, _ in optimizers.values() for g in o.param_groups for p in g["params"]]
    assert len(owned) == len(set(owned))
    if strategy in ("source_only", "regda", "keyshift", "mean_teacher"):
        assert set(owned) == {id(p) for p in made.parameters() if p.requires_grad}
        assert (name != "rmpe") or "localisation.linear.weight" in changed
