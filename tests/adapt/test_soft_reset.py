"""soft_reset on every strategy: after each iteration the weights are drawn back to those that were given."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.strategies import STRATEGIES, suited
from keyshift.adapt.strategy import Optimization
from keyshift.models.systems.pose_resnet import PoseResNet

KEPT = 0.9
OPTIONS = {"regda": RegDA.Options(head_layers=1)}
ADAM = Optimization("adam", 3e-3, {}, 0.0, gamma=0.0)


def build(name, skeleton, kept, seed=0, **options):
    torch.manual_seed(seed)
    sizes = {"input_size": [32, 32], "heatmap_size": [8, 8]}
    model = PoseResNet(3, PoseResNet.Options(backbone="small", channels=16, sigma=1.0, **sizes))
    own = replace(OPTIONS.get(name, STRATEGIES[name].Options()), soft_reset=kept, **options)
    return STRATEGIES[name](model, skeleton, ADAM, options=own).train()


def parameters(module):
    return {name: value.detach().clone() for name, value in module.named_parameters()}


@pytest.mark.parametrize("name", suited(["image"]))
def test_weights_are_drawn_back_and_a_resumed_run_knows_to_which(dots, batches, iterate, name):
    """One iteration without it, then a loop over the weights; and one more after a copy through the state dict into a
    strategy that was built around other weights."""
    free, drawn = (build(name, dots.skeleton, kept) for kept in (1.0, KEPT))
    source, target = batches(dots, free, "plain", "source"), batches(dots, free, "shifted", "target")
    torch.manual_seed(0)
    given = parameters(deepcopy(drawn.given))
    optimizers = drawn.optimizers()
    for strategy, own in ((free, free.optimizers()), (drawn, optimizers)):
        torch.manual_seed(1)
        iterate(strategy, source[0], target[0], own)
    wanted = parameters(free.model)
    for key, value in wanted.items():
        if key in given and given[key].shape == value.shape:
            value.copy_(KEPT * value + (1 - KEPT) * given[key])
    for key, value in parameters(drawn.model).items():
        torch.testing.assert_close(value, wanted[key], atol=1e-6, rtol=1e-5)
    for key, value in drawn.given.named_parameters():
        assert torch.equal(value, given[key])
        assert not value.requires_grad
    other = build(name, dots.skeleton, KEPT, seed=5)
    other.load_state_dict(drawn.state_dict())
    others = other.optimizers()
    for key, (optimizer, _) in others.items():
        optimizer.load_state_dict(deepcopy(optimizers[key][0].state_dict()))
    for strategy, own in ((drawn, optimizers), (other, others)):
        torch.manual_seed(2)
        iterate(strategy, source[1], target[1], own)
    for key, value in drawn.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def test_a_teacher_averages_what_was_drawn_back(dots, batches, iterate):
    strategy = build("mean_teacher", dots.skeleton, KEPT, decay=0.5)
    before = parameters(strategy.teacher)
    source, target = batches(dots, strategy, "plain", "source"), batches(dots, strategy, "shifted", "target")
    iterate(strategy, source[0], target[0], strategy.optimizers())
    student = parameters(strategy.model)
    for key, value in parameters(strategy.teacher).items():
        torch.testing.assert_close(value, (before[key] + student[key]) / 2)
