"""batch_norm=frozen: what pretraining left stays to the bit and normalises in training too; what is new learns."""

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from keyshift.adapt.scoring.evaluation import everyone
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.loading import TrainingBatches
from keyshift.datasets.sample import Labeled

NAMES = (*STRATEGIES, "surer", "relabel")
SYSTEMS = {"bottom_up": "Scenes", "lifter": "Sequences"}
CPU = torch.device("cpu")


def norms(module):
    return {name: each for name, each in module.named_modules() if isinstance(each, _BatchNorm)}


def sets(toys, system):
    kind = getattr(toys, SYSTEMS[system])
    return {d: kind(kind.Options(train=12), "train", s) for d, s in (("source", "plain"), ("target", "shifted"))}


def batches(toys, system, domain, augmentation, views=1, labels=True):
    return TrainingBatches(sets(toys, system)[domain], domain, 0, 4, (32, 32), augmentation, labels, views)


@pytest.fixture
def pretrained(toys, augmentation):
    """make(system): a network whose head has a hidden layer, all of whose statistics are learned."""

    def make(system):
        torch.manual_seed(0)
        model = toys.SYSTEMS[system](3, toys.SYSTEMS[system].Options(channels=8, head_layers=2)).train()
        source = batches(toys, system, "source", augmentation)
        for step in range(3):
            model(source[step])
        return model

    return make


def frozen(toys, name, model):
    kind = {**STRATEGIES, **toys.METHODS}[name]
    return kind(model, toys.DOTS, Optimization("adam", 1e-2, {}, 0.0), "frozen").train()


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("adabn", "bn_online")])  # whose method is to move them
def test_learned_statistics_do_not_move_under_any_strategy(toys, augmentation, iterate, pretrained, system, name):
    model = pretrained(system)
    before = {key: {n: b.clone() for n, b in norm.named_buffers()} for key, norm in norms(model).items()}
    strategy = frozen(toys, name, model)
    source = batches(toys, system, "source", augmentation)
    target = batches(toys, system, "target", augmentation, strategy.views["target"], strategy.labelled_target)
    strategy.begin_round(everyone(strategy.predictor, sets(toys, system)["target"], 12, (32, 32), augmentation, CPU))
    optimizers, weights = strategy.optimizers(), [p.detach().clone() for p in strategy.parameters()]
    for step in range(2):
        iterate(strategy, source[step], target[step], optimizers)
    still = not optimizers or (name, system) == ("tent", "lifter")  # coordinates have no entropy
    assert still or any(not torch.equal(a, b) for a, b in zip(weights, strategy.parameters(), strict=True))
    fresh = {key for key in before if name == "regda" and key.startswith("head.")}  # RegDA restarts the head
    assert len(before) == 3 - (system == "lifter")
    for network in (strategy.model, strategy.predictor):
        for key, norm in norms(network).items():
            for buffer, value in norm.named_buffers():
                assert torch.equal(value, before[key][buffer]) == (key not in fresh), (key, buffer)


@pytest.mark.parametrize("system", SYSTEMS)
def test_samples_of_a_batch_do_not_know_each_other(toys, augmentation, pretrained, system):
    """In training mode, as in evaluation; with statistics that are free they do."""
    batch = batches(toys, system, "source", augmentation)[0]
    assert isinstance(batch, Labeled)
    first = batch.without_labels().each(lambda part: part[:1])

    def apart(model):
        with torch.no_grad():
            return float((model(batch).logits[:1] - model(first).logits).abs().max()) + float(
                (model.features(batch)[:1] - model.features(first)).abs().max()
            )

    model = pretrained(system)
    assert apart(frozen(toys, "source_only", model).model) < 1e-5
    assert model.training
    if system == "bottom_up":  # a batch of one vector has no variance of its own
        assert apart(pretrained(system).train()) > 1e-3


def test_fresh_layers_learn_from_the_source_alone(toys, augmentation, iterate, pretrained):
    """RegDA's restarted head: its running mean after one iteration is 0.1 of the source batch's own mean."""
    model = pretrained("bottom_up")
    strategy = frozen(toys, "regda", model)
    source = batches(toys, "bottom_up", "source", augmentation)[0]
    target = batches(toys, "bottom_up", "target", augmentation, labels=False)[0]
    hidden, norm = model.head[0], model.head[1]
    assert norm.training
    assert not model.backbone[1].training
    assert norm.num_batches_tracked == 0
    with torch.no_grad():
        wanted = 0.1 * hidden(model.features(source)).mean((0, 2, 3))
    iterate(strategy, source, target, strategy.optimizers())
    torch.testing.assert_close(norm.running_mean, wanted, atol=1e-6, rtol=1e-4)
    assert norm.running_mean.abs().max() > 0
