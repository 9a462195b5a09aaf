"""What holds for each strategy in the dict, and the effect of each adaptation on a toy shift."""

import dataclasses
from copy import deepcopy as copy_of

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.scoring.evaluation import agreement, predict, predict_people
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import TrainingBatches
from keyshift.datasets.sample import Labeled, carry, invert, transform
from keyshift.datasets.views import WithoutLabels
from keyshift.models.systems.pose_resnet import PoseResNet

OPTIONS = {"regda": RegDA.Options(head_layers=1), "mean_teacher": MeanTeacher.Options(decay=0.9)}
ADAM = Optimization("adam", 3e-3, {}, 0.0, gamma=0.0)


def build(name, skeleton):
    torch.manual_seed(0)
    sizes = {"input_size": [32, 32], "heatmap_size": [8, 8]}
    model = PoseResNet(3, PoseResNet.Options(backbone="small", channels=16, sigma=1.0, **sizes))
    return STRATEGIES[name](model, skeleton, ADAM, options=OPTIONS.get(name))


@pytest.mark.parametrize("name", STRATEGIES)
def test_three_updates(dots, batches, iterate, name):
    strategy = build(name, dots.skeleton).train()
    source, target = batches(dots, strategy, "plain", "source"), batches(dots, strategy, "shifted", "target")
    optimizers = strategy.optimizers()
    before = {k: v.clone() for k, v in strategy.predictor.state_dict().items()}
    for step in range(3):
        iterate(strategy, source[step] if "source" in strategy.needs else None, target[step], optimizers)
    after = strategy.predictor.state_dict()
    moved = any(not torch.equal(before[k], after[k]) for k in before)
    assert moved == (name != "given")
    assert all(v.isfinite().all() for v in after.values())
    owned = [id(p) for o, _ in optimizers.values() for g in o.param_groups for p in g["params"]]
    trained = {id(p) for p in strategy.parameters() if p.requires_grad}
    assert len(owned) == len(set(owned))
    assert set(owned) == trained or name == "given"


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"oracle"}))
def test_no_strategy_but_the_oracle_takes_labels(dots, batches, name):
    strategy = build(name, dots.skeleton)
    target = batches(dots, strategy, "shifted", "target")[0]
    assert not isinstance(target, Labeled)
    assert not STRATEGIES[name].labelled_target


class NoFloat64(TorchDispatchMode):
    """Fails where anything but a single number is computed in float64, which Apple's GPUs do not have."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        answer = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(answer):
            assert not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.float64 or tensor.numel() < 2, func
        return answer


@pytest.mark.parametrize("name", STRATEGIES)
def test_nothing_is_computed_in_float64(dots, batches, iterate, name):
    strategy = build(name, dots.skeleton).train()
    source, target = batches(dots, strategy, "plain", "source"), batches(dots, strategy, "shifted", "target")
    score = TrainingBatches(WithoutLabels(dots(8, "shifted")), "score", 0, 4, (32, 32), Augmentation(), False, 2)
    optimizers = strategy.optimizers()
    with NoFloat64():
        iterate(strategy, source[0] if "source" in strategy.needs else None, target[0], optimizers)
        flip, cpu = dots.skeleton.flip, torch.device("cpu")
        predict_people(strategy.predictor, [target[0]], cpu, flip)
        predict(strategy.predictor, [source[0]], cpu)
        agreement(strategy.predictor, [score[0]], flip, cpu)


@pytest.mark.parametrize("name", STRATEGIES)
def test_state_is_complete(dots, batches, iterate, name):
    """Two iterations, or one, a copy through the state dicts, and one more: the same weights to the bit."""
    source, target = (
        batches(dots, build(name, dots.skeleton), s, d) for s, d in (("plain", "source"), ("shifted", "target"))
    )
    whole = build(name, dots.skeleton).train()
    optimizers = whole.optimizers()
    iterate(whole, source[0], target[0], optimizers)
    copy = build(name, dots.skeleton).train()
    copy.load_state_dict(whole.state_dict())
    others = copy.optimizers()
    for key, (optimizer, _) in others.items():
        optimizer.load_state_dict(copy_of(optimizers[key][0].state_dict()))
    for strategy, own in ((whole, optimizers), (copy, others)):
        torch.manual_seed(1)  # as the trainer does before each step
        iterate(strategy, source[1], target[1], own)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, copy.state_dict()[key]), key


def test_regda_steps_and_what_they_update(dots, batches, iterate):
    strategy = build("regda", dots.skeleton).train()
    source, target = batches(dots, strategy, "plain", "source"), batches(dots, strategy, "shifted", "target")
    names = iterate(strategy, source[0], target[0], strategy.optimizers())
    assert names == [("features", "head", "adversary"), ("adversary",), ("features",)]
    assert strategy.gradient.iteration == 1


@pytest.mark.parametrize(
    ("policy", "moved"), [("target", (0.0, 0.1)), ("both", (0.1, 0.1)), ("reference", (0.1, 0.19))]
)
def test_batch_norm_policy(dots, batches, policy, moved):
    strategy = build("bn_control", dots.skeleton).train()
    strategy.batch_norm = policy
    norm = strategy.model.backbone.stem[1]
    for domain, wanted in zip(("source", "target"), moved, strict=True):
        norm.reset_running_stats()
        batch = batches(dots, strategy, "plain", domain)[0]
        with strategy.statistics(domain):
            strategy.model(batch)
        mean = strategy.model.backbone.stem[0](
            (batch.image / 255 - torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
            / torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
        ).mean((0, 2, 3))
        torch.testing.assert_close(norm.running_mean, wanted * mean, atol=1e-4, rtol=1e-3)
        assert norm.momentum == 0.1


def test_points_travel_between_views(dots, batches):
    strategy = build("mean_teacher", dots.skeleton)
    data = dataclasses.replace(batches(dots, strategy, "plain", "target")[0])
    (view,) = data.views
    points = torch.rand(8, 3, 2) * 32
    there = carry(points, data, view, [0, 1, 2], torch.arange(8))
    torch.testing.assert_close(transform(view.to_file, there), transform(data.to_file, points), atol=1e-3, rtol=1e-4)
    mirror = view.to_file.clone()
    mirror[0, :, 0] *= -1
    mirrored = dataclasses.replace(view, to_file=mirror)
    swapped = carry(points, data, mirrored, [2, 1, 0], torch.arange(8))
    torch.testing.assert_close(swapped[1:], there[1:])
    direct = transform(invert(mirror[:1]), transform(data.to_file[:1], points[:1]))
    torch.testing.assert_close(swapped[0], direct[0, [2, 1, 0]])


def test_adaptation_helps_on_a_toy_shift(dots, batches, iterate):
    """Source-only fails on the shifted dots; each adaptation does better, and the oracle better still."""
    from keyshift.adapt.scoring.evaluation import predict, scores
    from keyshift.datasets.loading import EvaluationBatches

    test = EvaluationBatches(dots(64, "shifted", first=1000), 64, (32, 32))
    pck = {}
    pretrained = build("source_only", dots.skeleton).train()
    source = batches(dots, pretrained, "plain", "source")
    optimizers = pretrained.optimizers()
    for step in range(100):
        iterate(pretrained, source[step], None, optimizers)
    start = pretrained.model.state_dict()
    for name in STRATEGIES:
        strategy = build(name, dots.skeleton).train()
        strategy.model.load_state_dict(start)
        if name == "mean_teacher":
            strategy.teacher.load_state_dict(start)
        target = batches(dots, strategy, "shifted", "target")
        optimizers = strategy.optimizers()
        for step in range(100, 160):
            iterate(strategy, source[step], target[step], optimizers)
        predictions = predict(strategy.predictor, [test[0]], torch.device("cpu"))
        pck[name] = scores(predictions, dots.skeleton, 0.1)["pck"]
    assert pck["oracle"] > pck["source_only"] + 0.1, pck
    for name in ("regda", "mean_teacher"):
        assert pck[name] > pck["source_only"] + 0.05, pck
