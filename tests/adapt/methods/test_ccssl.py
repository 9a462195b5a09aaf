"""CC-SSL's rounds: what a label is made of, which are kept, and that they help."""

import pytest
import torch

from keyshift.adapt.methods.ccssl import CCSSL
from keyshift.adapt.relabel import agreed, kept
from keyshift.adapt.scoring.evaluation import everyone, predict, scores
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.models.systems.pose_resnet import PoseResNet

CPU = torch.device("cpu")
ADAM = Optimization("adam", 3e-3, {}, 0.0, gamma=0.0)


def build(skeleton, **options):
    torch.manual_seed(0)
    sizes = {"input_size": [32, 32], "heatmap_size": [8, 8]}
    model = PoseResNet(3, PoseResNet.Options(backbone="small", channels=16, sigma=1.0, **sizes))
    return CCSSL(model, skeleton, ADAM, options=CCSSL.Options(**{"sigma": 1.0, "temporal": "off"} | options)).train()


def test_a_round(dots):
    """Labels are what the passes agree on, weights 0 or 1 by the round's share."""
    strategy = build(dots.skeleton, passes=3, radius=0.1, dropped=[0.7, 0.4])
    target = everyone(strategy.model, dots(12, "shifted"), 5, (32, 32), Augmentation(rotation=20), CPU)
    passes = [target.predict(warp) for warp in range(3)]
    assert not torch.equal(passes[1].points, passes[2].points)
    points, confidence = (torch.stack([getattr(p, n) for p in passes]) for n in ("points", "confidence"))
    wanted, sure = agreed(points, confidence, torch.full((1, 1, 1), 3.2))
    for share in (0.7, 0.4, 0.4):
        strategy.begin_round(target)
        torch.testing.assert_close(strategy.bank.points, wanted)
        assert torch.equal(strategy.bank.confidence > 0, kept(sure, share, ties=True))
        assert strategy.bank.confidence.mean() == pytest.approx(1 - share, abs=0.05)
    assert strategy.rounds == 3


def test_only_kept_labels_teach(dots, batches):
    strategy = build(dots.skeleton)
    target = batches(dots, strategy, "shifted", "target")[0]
    strategy.begin_round(everyone(strategy.model, dots(64, "shifted"), 32, (32, 32), Augmentation(), CPU))
    strategy.bank.confidence.zero_()
    assert strategy.pseudo(target) == 0
    strategy.bank.confidence[:, 1] = 1
    strategy.pseudo(target).backward()
    moved = strategy.model.head.weight.grad.flatten(1).abs().sum(1) > 0
    assert moved.tolist() == [False, True, False]


def test_it_helps_on_a_toy_shift(dots, iterate):
    """Batch norm has seen the target before. Labels that passes agree on are better than those of one pass, the kept
    ones better still, and learning from them helps."""
    plain = Augmentation(rotation=20, color=0, blur=0)
    cut = 0, 8, (32, 32), plain
    source = TrainingBatches(dots(64), "source", *cut, labels=True)
    target = TrainingBatches(dots(64, "shifted"), "target", *cut, labels=False)
    batches = [(source[step], target[step]) for step in range(120)]
    pretrained = build(dots.skeleton)
    optimizers = pretrained.optimizers()
    for labelled, other in batches[:80]:
        iterate(pretrained, labelled, None, optimizers)
        with torch.no_grad(), pretrained.statistics("target"):
            pretrained.model(other)
    test = EvaluationBatches(dots(64, "shifted", first=1000), 64, (32, 32))
    truth = torch.stack([torch.from_numpy(dots(64, "shifted")[k].keypoints) for k in range(64)])
    pck = {}
    for name, weight in (("without", 0.0), ("with", 1.0)):
        strategy = build(dots.skeleton, weight=weight, radius=0.06, dropped=[0.4])
        strategy.model.load_state_dict(pretrained.model.state_dict())
        everybody = everyone(strategy.model, dots(64, "shifted"), 32, (32, 32), plain, CPU)
        strategy.begin_round(everybody)
        optimizers = strategy.optimizers()
        for batch in batches[80:]:
            iterate(strategy, *batch, optimizers)
        pck[name] = scores(predict(strategy.predictor, [test[0]], CPU), dots.skeleton, 0.1)["pck"]
    right = (strategy.bank.points - truth).norm(dim=-1) < 3.2
    one = everyone(pretrained.model, dots(64, "shifted"), 64, (32, 32), plain, CPU).predict()
    assert ((one.points - truth).norm(dim=-1) < 3.2).sum() < right.sum()
    assert right.float().mean() < right[strategy.bank.confidence > 0].float().mean() - 0.02
    assert pck["with"] > pck["without"] + 0.05, pck
