"""Networks between the given and the adapted one, on every head and by every strategy."""

from copy import deepcopy

import pytest
import torch

from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.mixture import mixed
from keyshift.adapt.strategies import STRATEGIES, suited
from keyshift.adapt.strategy import Optimization
from keyshift.models.saved import load_model, save_model
from keyshift.models.systems.a2j import A2J
from keyshift.models.systems.pose_resnet import PoseResNet

ADAM = Optimization("adam", 3e-3, {}, 0.0, gamma=0.0)


def network(seed=0, rank=0):
    torch.manual_seed(seed)
    sizes = {"input_size": [32, 32], "heatmap_size": [8, 8]}
    return PoseResNet(3, PoseResNet.Options(backbone="small", channels=16, sigma=1.0, **sizes)).with_adapters(rank)


def shaken(model, seed=1):
    """A copy with other weights and statistics."""
    torch.manual_seed(seed)
    copy = deepcopy(model)
    for value in copy.state_dict().values():
        value.copy_(value + torch.rand_like(value) if value.is_floating_point() else value + 7)
    return copy


def a2j():
    return A2J(3, A2J.Options(backbone="small", input_size=[32, 32], channels=8, head_layers=1))


@pytest.mark.parametrize("build", [network, a2j])
def test_weights_and_statistics_are_mixed_and_both_networks_stay(build):
    given = build()
    adapted = shaken(given)
    before = [{k: v.clone() for k, v in one.state_dict().items()} for one in (given, adapted)]
    for share in (0.0, 0.25, 1.0):
        mixture = mixed(given, adapted, share).state_dict()
        for name, start, end in ((name, start, before[1][name]) for name, start in before[0].items()):
            wanted = start + share * (end - start) if start.is_floating_point() else end
            torch.testing.assert_close(mixture[name], wanted, atol=1e-6, rtol=1e-6)
    for one, kept in zip((given, adapted), before, strict=True):
        assert all(torch.equal(value, kept[name]) for name, value in one.state_dict().items())


def test_weights_that_two_layers_share_are_mixed_once(toys):
    def tied(seed):
        torch.manual_seed(seed)
        model = toys.TopDown(3, toys.TopDown.Options(channels=8))
        model.again = model.head
        return model

    given, adapted = tied(0), tied(1)
    for (_, start), (_, end), (_, own) in zip(
        *(one.head.named_parameters() for one in (given, adapted, mixed(given, adapted, 0.5))), strict=True
    ):
        torch.testing.assert_close(own, (start + end) / 2)


def test_adapters_are_mixed_by_what_they_add_up_to(tmp_path, dots, batches):
    """Adapters of the adapted network alone, or of both: layer by layer, as a loop over merged weights has it."""
    for rank in (0, 2):
        given = network(rank=rank)
        adapted = shaken(deepcopy(given).with_adapters(2))
        mixture = mixed(given, adapted, 0.5)
        start, end = given.merged().state_dict(), adapted.merged().state_dict()
        assert mixture.options.adapters == 0
        for name, value in mixture.state_dict().items():
            if value.is_floating_point():
                torch.testing.assert_close(value, (start[name] + end[name]) / 2)
        save_model(tmp_path / "mixture.pt", mixture, dots.skeleton, 3)
        loaded, _ = load_model(tmp_path / "mixture.pt")
        image = batches(dots, STRATEGIES["bn_control"], "plain", "source")[0]
        assert torch.equal(loaded.eval()(image).logits, mixture.eval()(image).logits)


def test_networks_of_another_form_have_no_mixture():
    adapted = network()
    adapted.restart_head(2)
    with pytest.raises(ValueError, match=r"differ in head\..*ship the adapted one whole"):
        mixed(network(), adapted, 0.5)


@pytest.mark.parametrize("name", suited(["image"]))
def test_a_strategy_that_does_not_restart_begins_at_the_given_weights(dots, name):
    """And one that does says so: there no mixture is offered."""
    given, kind = network(), STRATEGIES[name]
    for options in (kind.Options(), RegDA.Options(fresh_head=False)) if name == "regda" else (kind.Options(),):
        started = kind(deepcopy(given), dots.skeleton, ADAM, options=options).predictor.state_dict()
        same = started.keys() == given.state_dict().keys() and all(
            torch.equal(value, started[key]) for key, value in given.state_dict().items()
        )
        assert kind.restarts(options) == (not same)
