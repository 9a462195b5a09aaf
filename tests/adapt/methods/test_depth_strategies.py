"""Every strategy on heads that are no heatmaps: A2J's anchors and AWR's dense offsets, by the same files."""

import dataclasses
import inspect
from copy import deepcopy
from functools import cache

import pytest
import torch

from keyshift.adapt.methods import mean_teacher, regda
from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.scoring.evaluation import everyone
from keyshift.adapt.strategies import STRATEGIES, suited
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.datasets.sample import carry, transform
from keyshift.models.systems.a2j import A2J
from keyshift.models.systems.awr import AWR

SIZE, CPU = (32, 32), torch.device("cpu")


def small(system, **options):
    return system.Options(**{"backbone": "small", "input_size": list(SIZE), "channels": 16} | options)


MODELS = {
    "a2j": lambda: A2J(3, small(A2J, head_layers=1, std=60.0)),
    "awr": lambda: AWR(3, small(AWR, downsample=4)),
}
OPTIONS = {
    "regda": RegDA.Options(head_layers=1, fresh_head=False, sigma=1.0),
    "mean_teacher": MeanTeacher.Options(decay=0.9, sigma=1.0),
}


@pytest.fixture
def augmentation():
    return Augmentation(rotation=20, area=[0.8, 1.2])


def build(name, model, skeleton, rate=3e-3):
    torch.manual_seed(0)
    optimization = Optimization("adam", rate, {}, 0.0, gamma=0.0)
    return STRATEGIES[name](MODELS[model](), skeleton, optimization, options=OPTIONS.get(name))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", suited(["image"]))
def test_three_updates(balls, batches, iterate, name, model):
    strategy = build(name, model, balls.skeleton).train()
    source, target = batches(balls, strategy, "plain", "source"), batches(balls, strategy, "shifted", "target")
    optimizers = strategy.optimizers()
    before = {k: v.clone() for k, v in strategy.predictor.state_dict().items()}
    strategy.begin_round(everyone(strategy.predictor, balls(64, "shifted"), 64, SIZE, Augmentation(20), CPU))
    for step in range(3):
        iterate(strategy, source[step], target[step], optimizers)
    after = strategy.predictor.state_dict()
    moved = any(not torch.equal(before[k], after[k]) for k in before)
    assert moved == (name != "given")
    assert all(v.isfinite().all() for v in after.values())


@pytest.mark.parametrize("model", MODELS)
def test_the_adversary_moves_offsets_and_features_follow(balls, batches, model):
    """Step B's loss draws every output of the adversary, step C's draws the features, and nothing else."""
    strategy = build("regda", model, balls.skeleton).train()
    for _ in range(50):
        strategy.gradient.advance()
    source, target = (batches(balls, strategy, s, d)[0] for s, d in (("plain", "source"), ("shifted", "target")))
    updates = strategy.step(source, target)
    next(updates)
    losses, _ = next(updates)
    strategy.zero_grad()
    losses["false"].backward()
    last = [m for m in strategy.adversary.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(m.weight.grad.abs().sum() > 0 for m in last)
    assert all(p.grad is None for p in strategy.model.parameters())
    losses, _ = next(updates)
    strategy.zero_grad()
    losses["truth"].backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in strategy.model.backbone.parameters())
    assert all(p.grad is None for p in strategy.model.head.parameters())


def test_no_strategy_asks_which_head_it_works_with():
    for module in (regda, mean_teacher):
        text = inspect.getsource(module).split('"""', 2)[2]
        assert not {"a2j", "awr", "isinstance", ".where", "depth"} & set(text.lower().replace("(", " ").split())


def test_points_travel_between_views_with_their_depth(balls, batches):
    strategy = build("mean_teacher", "a2j", balls.skeleton)
    data = batches(balls, strategy, "plain", "target")[0]
    (view,) = data.views
    points = torch.rand(8, 3, 3) * 32
    there = carry(points, data, view, [0, 1, 2], torch.arange(8))
    torch.testing.assert_close(transform(view.to_file, there), transform(data.to_file, points), atol=2e-3, rtol=1e-4)
    zoom = data.to_file[:, 2, 2] / view.to_file[:, 2, 2]
    torch.testing.assert_close(there[..., 2], points[..., 2] * zoom[:, None], atol=2e-3, rtol=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_target_labels_never_reach_training(balls, batches, iterate, model):
    """Noise for labels in the target changes no weight."""

    class Noisy(balls):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            return dataclasses.replace(item, keypoints=item.keypoints * 0 + index, points=None)

    ends = []
    for kind in (balls, Noisy):
        strategy = build("regda", model, balls.skeleton).train()
        source, target = batches(balls, strategy, "plain", "source"), batches(kind, strategy, "shifted", "target")
        iterate(strategy, source[0], target[0], strategy.optimizers())
        ends.append(strategy.state_dict())
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_evaluation_reads_millimetres(balls):
    from keyshift.adapt.scoring.evaluation import predict, scores

    predictions = predict(MODELS["a2j"](), [EvaluationBatches(balls(8), 8, SIZE)[0]], torch.device("cpu"))
    truth = torch.stack([torch.from_numpy(balls(8)[i].points) for i in range(8)]).float()
    camera = predictions.camera
    deep = predictions.points[..., 2:]
    across = (predictions.points[..., :2] - camera[:, None, 2:]) / camera[:, None, :2] * deep
    wanted = (torch.cat([across, deep], -1) - truth).norm(dim=-1).mean().item()
    assert scores(predictions, balls.skeleton, 0.1)["mm"] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("name", ["regda", "mean_teacher"])
def test_a_network_of_x_and_y_alone_adapts_and_is_evaluated_in_pixels(balls, batches, iterate, name, monkeypatch):
    from keyshift.adapt.scoring.evaluation import agreement, predict, scores

    monkeypatch.setitem(
        MODELS,
        "a2j",
        lambda: A2J(3, small(A2J, head_layers=1, depth=False)),
    )
    strategy = build(name, "a2j", balls.skeleton).train()
    source, target = batches(balls, strategy, "plain", "source"), batches(balls, strategy, "shifted", "target")
    iterate(strategy, source[0], target[0], strategy.optimizers())
    cpu = torch.device("cpu")
    predictions = predict(strategy.predictor, [EvaluationBatches(balls(8), 8, SIZE)[0]], cpu)
    assert predictions.points.shape == (8, 3, 2)
    assert 0 <= scores(predictions, balls.skeleton, 0.1)["pck"] <= 1
    two_views = TrainingBatches(balls(8), "score", 0, 8, SIZE, Augmentation(), False, views=2)
    assert 0 <= agreement(strategy.predictor, [two_views[0]], [0, 1, 2], cpu) <= 1


def test_a_joint_out_of_the_cube_counts_in_millimetres(balls):
    from keyshift.adapt.scoring.evaluation import predict

    batch = EvaluationBatches(balls(4), 4, SIZE)[0]
    far = batch.keypoints.clone()
    far[:, 0, 2] = 400
    far[:, 1, 0] = -5
    moved = dataclasses.replace(batch, keypoints=far)
    assert predict(MODELS["a2j"](), [moved], torch.device("cpu")).annotated.all()


def test_adaptation_helps_on_a_toy_sensor(balls, iterate, augmentation):
    """Trained on exact depth, AWR fails on a coarse sensor; RegDA and mean teacher do better there."""
    from keyshift.adapt.scoring.evaluation import predict, scores

    torch.manual_seed(0)
    start = AWR(3, small(AWR, channels=32, downsample=4, joint_weight=100.0, dense_weight=10.0))
    options = {
        "regda": RegDA.Options(head_layers=1, fresh_head=False, sigma=1.0, warmup=20, highest=1.0, trade_off=0.03),
        "mean_teacher": MeanTeacher.Options(decay=0.95, sigma=1.0, weight=0.03),
    }

    source = cache(TrainingBatches(balls(200), "source", 0, 16, SIZE, augmentation, True).__getitem__)

    def run(name, first, last, fall):
        torch.manual_seed(1)
        optimization = Optimization("adam", 3e-3, {}, 0.0, gamma=0.0, milestones=[fall])
        strategy = STRATEGIES[name](deepcopy(start), balls.skeleton, optimization, options=options.get(name)).train()
        views = strategy.views["target"]
        target = TrainingBatches(balls(200, "shifted"), "target", 0, 16, SIZE, augmentation, False, views)
        optimizers = strategy.optimizers()
        for step in range(first, last):
            iterate(strategy, source(step), target[step] if "target" in strategy.needs else None, optimizers)
            for _, schedule in optimizers.values():
                schedule.step()
        return strategy.predictor

    start = run("source_only", 0, 150, 100)
    test = EvaluationBatches(balls(96, "shifted", first=1000), 96, SIZE)[0]
    mm = {}
    for name in ("source_only", "regda", "mean_teacher"):
        predictions = predict(run(name, 150, 210, 40), [test], torch.device("cpu"))
        mm[name] = scores(predictions, balls.skeleton, 0.1)["mm"]
    assert mm["regda"] < mm["source_only"] - 3, mm
    assert mm["mean_teacher"] < mm["source_only"] - 3, mm
