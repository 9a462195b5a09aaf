"""CC-SSL's rounds: what a label is made of, which are kept, and that they help."""

import torch

from keyshift.adapt.methods import ccssl
from keyshift.adapt.methods.ccssl import CCSSL
from keyshift.adapt.relabel import consensus, kept
from keyshift.adapt.scoring.evaluation import everyone
from keyshift.adapt.strategy import Optimization, Target
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import TrainingBatches
from keyshift.models.output import Poses
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
    wanted, sure = consensus(points, confidence, torch.full((1, 1, 1), 3.2))
    for share in (0.7, 0.4, 0.4):
        strategy.begin_round(target)
        torch.testing.assert_close(strategy.bank.points, wanted)
        assert torch.equal(strategy.bank.confidence > 0, kept(sure, share, ties=True))
        assert 0 < strategy.bank.confidence.mean() <= 1 - share + 0.05  # fewer, where many are as sure as the last
    assert strategy.rounds == 3


def test_whose_neighbours_labels_hold_on_along(dots, monkeypatch):
    """Frames of one video, in the order of time; with `reference` the list's, of whatever videos."""
    monkeypatch.setattr(ccssl, "propagated", lambda dataset, poses, pairs, reference: (pairs, reference))
    monkeypatch.setattr(ccssl, "of_passes", lambda target, passes, radius: "alone")
    film = dots(10)  # frames 0 to 7 are of one video, 8 and 9 of the next
    along = [(k, k + 1) for k in range(9)]
    wanted = {"off": "alone", "video": (along[:7] + along[8:], False), "reference": (along, True)}
    for temporal, answer in wanted.items():
        assert build(dots.skeleton, temporal=temporal).labels(Target(film, None)) == answer


def test_depth_has_no_neighbours(balls):
    poses = Poses.of_crops(torch.rand(3, 3, 3), torch.rand(3, 3))
    for temporal in ("video", "reference"):
        labels = build(balls.skeleton, temporal=temporal, passes=1).labels(Target(balls(3), lambda warp: poses))
        torch.testing.assert_close(labels.points, poses.points)


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


def test_labels_are_better_on_a_toy_shift(dots, iterate):
    """Of a network whose batch norm has seen the target: labels that passes agree on are better than those of one pass,
    and the kept ones better still."""
    cut = 0, 8, (32, 32), Augmentation(rotation=20, blur=0)
    source = TrainingBatches(dots(64), "source", *cut, labels=True)
    target = TrainingBatches(dots(64, "shifted"), "target", *cut, labels=False)
    strategy = build(dots.skeleton, radius=0.06, dropped=[0.4])
    optimizers = strategy.optimizers()
    for step in range(100):
        iterate(strategy, source[step], None, optimizers)
        with torch.no_grad(), strategy.statistics("target"):
            strategy.model(target[step])
    everybody = everyone(strategy.model, dots(64, "shifted"), 32, (32, 32), cut[-1], CPU)
    strategy.begin_round(everybody)
    truth = torch.stack([torch.from_numpy(dots(64, "shifted")[k].keypoints) for k in range(64)])
    one, agreed_on = ((p - truth).norm(dim=-1) < 3.2 for p in (everybody.predict().points, strategy.bank.points))
    assert agreed_on.float().mean() > one.float().mean() + 0.05
    assert agreed_on[strategy.bank.confidence > 0].float().mean() > agreed_on.float().mean() + 0.03
