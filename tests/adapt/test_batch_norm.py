"""batch_norm=frozen: what pretraining left stays to the bit and normalises in training too; what is new learns. Then
mixtures with the target's statistics, and the choice among them."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from keyshift.adapt.batch_norm import CANDIDATES, chosen, mix, norms_of, seen_on
from keyshift.adapt.scoring.evaluation import everyone, predict, scores
from keyshift.adapt.scoring.evidence import Evidence, Looks
from keyshift.adapt.scoring.label_free import measured
from keyshift.adapt.scoring.rule import load
from keyshift.adapt.strategies import STRATEGIES, suited
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.datasets.sample import Labeled
from keyshift.datasets.views import WithoutLabels

NAMES = (*suited(["image"]), "surer", "relabel")
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


def moments(model, seen):
    return [
        (getattr(a, n), getattr(b, n)) for a, b in zip(norms_of(model), norms_of(seen), strict=True) for n in MOMENTS
    ]


MOMENTS = ("running_mean", "running_var")


@pytest.mark.parametrize("system", SYSTEMS)
def test_statistics_of_the_target_are_the_means_of_its_batches(toys, augmentation, pretrained, system):
    """Of the first layer by hand, over two batches of four, and one of one sample, which says nothing."""
    model = pretrained(system)
    before = deepcopy(model.state_dict())
    first, second = (batches(toys, system, "target", augmentation, labels=False)[step] for step in (0, 1))
    alone = TrainingBatches(sets(toys, system)["target"], "target", 0, 1, (32, 32), augmentation, labels=False)[0]
    seen = seen_on(model, [first, second, alone], CPU)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not seen.training
    reached = []
    hook = model.backbone[1].register_forward_pre_hook(lambda _, inputs: reached.append(inputs[0]))
    with torch.no_grad():
        for batch in (first, second):
            model.eval()(batch)
    hook.remove()
    dims = [0, *range(2, reached[0].dim())]
    for moment, reduce in (("running_mean", torch.mean), ("running_var", torch.var)):
        wanted = torch.stack([reduce(values, dims) for values in reached]).mean(0)
        torch.testing.assert_close(getattr(seen.backbone[1], moment), wanted, atol=1e-5, rtol=1e-4)


def test_a_mixture_lies_between(pretrained, toys, augmentation):
    model = pretrained("bottom_up")
    seen = seen_on(model, [batches(toys, "bottom_up", "target", augmentation, labels=False)[0]], CPU)
    mixed = mix(model, seen, 0.25)
    for (given, target), (own, _) in zip(moments(model, seen), moments(mixed, seen), strict=True):
        torch.testing.assert_close(own, 0.75 * given + 0.25 * target)
    weights = [dict(one.named_parameters()) for one in (model, mixed)]
    assert all(torch.equal(weights[1][name], p) for name, p in weights[0].items())
    made = frozen(toys, "mean_teacher", mixed)
    assert all(not norm.training for norm in norms(made.model).values())


def test_the_targets_statistics_are_taken_unless_they_lose():
    assert chosen({0.25: 0.4, 0.5: 1.2, 1.0: 0.9}) == chosen({0.25: 0.4, 1.0: -0.4}) == 1
    assert chosen({0.25: 0.4, 0.5: 1.2, 1.0: -0.9}) == 0.5
    assert chosen({0.25: 1.2, 0.5: 1.2, 1.0: -2.0}) == 0.25
    assert chosen({0.25: 0.4, 0.5: float("nan"), 1.0: -0.6}) == 0, "too little to mix for"
    assert chosen({1.0: float("nan")}) == chosen({}) == 0


@pytest.mark.parametrize("style", ["plain", "dark"])
def test_the_rule_chooses_right_on_a_toy(dots, toy_shift, style):
    """Where the target is the source, nothing is lost; dark pictures, on which they fail,
    take the target's: truth, which the choice does not see, says the same."""

    class Dark(dots):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            return replace(item, image=(0.15 * item.image).astype(np.uint8))

    kind, size, rule = Dark if style == "dark" else dots, (32, 32), load()
    train, test = kind(64), EvaluationBatches(kind(64, first=900), 64, size)[0]
    looks = Looks(train, dots(64, first=500), dots.skeleton, size, Augmentation(rotation=20), 0.1, CPU)
    given = Evidence(toy_shift.start, looks)
    seen = seen_on(given.model, [EvaluationBatches(WithoutLabels(train), 64, size)[0]], CPU)
    mixtures = {share: mix(given.model, seen, share) for share in (0.0, *CANDIDATES)}
    before = measured(given, rule.scores)
    gains = {
        share: rule.predict(before, measured(Evidence(one, looks, given), rule.scores)).gain
        for share, one in mixtures.items()
        if share
    }
    truth = {s: scores(predict(one, [test], CPU), dots.skeleton, 0.1)["pck"] for s, one in mixtures.items()}
    assert truth[chosen(gains)] >= max(truth.values()) - 0.1
    assert (truth[chosen(gains)] > truth[0.0] + 0.3) == (style == "dark"), "else this would test nothing"
