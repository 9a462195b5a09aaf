"""Which ranges the anatomy-voted teacher learns, how it votes, and that it adapts."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from keyshift.adapt.methods.anatomy import LEAST, Ranges
from keyshift.adapt.scoring.evaluation import predict, scores
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.loading import EvaluationBatches
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.output import Poses
from keyshift.models.systems.pose_resnet import PoseResNet

BODY = Skeleton(
    "body",
    ("head", "neck", "left", "right", "left_hand", "right_hand"),
    ((0, 1), (1, 2), (1, 3), (2, 4), (3, 5)),
    ((2, 3), (4, 5)),
)


def bodies(count, dims=2, seed=0):
    base = torch.tensor([[0.0, -2, 0], [0, 0, 0], [-1, 0, 0], [1, 0, 0], [-2, 2, 1], [2, 2, 1]])[:, :dims]
    noise = torch.randn(count, 6, dims, generator=torch.Generator().manual_seed(seed))
    return (base + 0.1 * noise) * 20


def learned(dims=2, parts=1):
    ranges = Ranges(BODY)
    for part in bodies(300, dims).chunk(parts):
        ranges.learn(part, torch.ones(len(part), 6, dtype=torch.bool))
    return ranges


@pytest.mark.parametrize("dims", [2, 3])
def test_ranges_are_the_mean_and_deviation_of_all_poses(dims):
    ranges, poses = learned(dims, 7), bodies(300, dims)
    numbers = ranges.numbers(poses)
    assert ranges.names == ["bones", "symmetry", "angles"]
    torch.testing.assert_close(ranges.mean, numbers.mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ranges.spread / ranges.count, numbers.var(0, correction=0), atol=1e-4, rtol=1e-3)
    one = bodies(1, dims, seed=5) * torch.tensor([1.0, 3.0, 1.0][:dims])
    faults, start = [], 0
    number, mean = ranges.numbers(one)[0], numbers.mean(0)
    deviation = numbers.std(0, correction=0).maximum(LEAST * mean.abs().clamp_min(1))
    for size in (5, 2, 5):
        part = slice(start, start := start + size)
        faults.append(((number - mean).abs() / deviation - 2)[part].clamp_min(0).mean())
    torch.testing.assert_close(ranges.faults(one, 2.0)[0], torch.stack(faults), atol=1e-3, rtol=1e-3)


def test_size_matters_in_space_alone():
    for dims, alike in ((2, True), (3, False)):
        ranges = learned(dims)
        faults = [ranges.faults(bodies(20, dims, 1) * scale, 2.5)[:, 0].mean() for scale in (1, 2)]
        assert (abs(float(faults[0] - faults[1])) < 1e-4) == alike


def test_joints_that_are_not_annotated_teach_nothing():
    ranges, poses = Ranges(BODY), bodies(300)
    annotated = torch.rand(300, 6, generator=torch.Generator().manual_seed(1)) < 0.8
    spoilt = torch.where(annotated[..., None], poses, torch.full_like(poses, 1e4))
    ranges.learn(spoilt, annotated)
    torch.testing.assert_close(ranges.mean, learned().mean, atol=0.05, rtol=0)
    nobody = deepcopy(ranges.state_dict())
    ranges.learn(poses[:0], annotated[:0])
    assert all(torch.equal(value, nobody[name]) for name, value in ranges.state_dict().items())


def network():
    torch.manual_seed(0)
    sizes = {"input_size": [32, 32], "heatmap_size": [8, 8]}
    return PoseResNet(3, PoseResNet.Options(backbone="small", channels=16, sigma=1.0, **sizes))


def build(name, model, skeleton, **options):
    kind = STRATEGIES[name]
    rates = Optimization("adam", 3e-3, {}, 0.0, gamma=0.0)
    return kind(deepcopy(model), skeleton, rates, options=kind.Options(**options)).train()


def test_the_majority_elects(dots, batches):
    """Of a body two of three, of a hand, which has no sides, both."""
    strategy = build("anatomy_teacher", network(), BODY)
    view = batches(dots, strategy, "plain", "target")[0]
    fault = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [0.5, 1, 1], [0, 0, 1], [0, 1, 0], [9, 9, 9]])
    answers = {"student": torch.full((8, 3), 0.5), "teacher": fault}
    index = torch.arange(8)
    poses = Poses(torch.zeros(8, 6, 2), torch.ones(8, 6), index, torch.ones(8))
    for names, wanted in (
        (["bones", "symmetry", "angles"], [1, 1, 0, 0, 0, 1, 1, 0]),
        (["bones", "angles"], [1, 0, 0, 0, 0, 0, 1, 0]),
        ([], [1] * 8),
    ):
        columns = [["bones", "symmetry", "angles"].index(name) for name in names]
        strategy.ranges.names = names
        strategy.faults = lambda points, *_, c=columns: answers["student" if points.any() else "teacher"][:, c]
        assert strategy.elected(poses, torch.ones(8, 6, 2), view).tolist() == [bool(w) for w in wanted]


def test_who_is_not_elected_teaches_nothing(dots, batches, monkeypatch):
    strategy = build("anatomy_teacher", network(), dots.skeleton, bones=0.0, angles=0.0)
    target = batches(dots, strategy, "plain", "target")[0]
    for elected in (True, False):
        monkeypatch.setattr(strategy, "elected", lambda *_, e=elected: torch.full((8,), e))
        losses = strategy.of_target(target)
        assert set(losses) == {"consistency", "bones", "angles"}
        assert (losses["consistency"] > 0) == elected


def test_the_students_faults_are_losses_in_the_files_frame(dots, batches):
    """Where the student's points are implausible, descent on the losses brings them back."""
    strategy = build("anatomy_teacher", network(), BODY)
    strategy.ranges = learned()
    view = batches(dots, strategy, "plain", "target")[0]
    points = (bodies(8, seed=3) * torch.tensor([1.0, 4.0]) / 4).requires_grad_()
    descent, index = torch.optim.Adam([points], 0.5), torch.arange(8)
    start = strategy.faults(points, view, index).sum().item()
    for _ in range(80):
        descent.zero_grad()
        strategy.faults(points, view, index).sum().backward()
        descent.step()
    assert strategy.faults(points, view, index).sum().item() < 0.2 * start
    turned = replace(view, to_file=torch.eye(3)[:2].expand(8, 2, 3))
    assert not torch.allclose(strategy.faults(points * 2, view, index), strategy.faults(points, turned, index) + 1)


def test_it_helps_on_a_toy_shift(dots, batches, iterate):
    source = build("source_only", network(), dots.skeleton)
    optimizers, data = source.optimizers(), batches(dots, source, "plain", "source")
    for step in range(100):
        iterate(source, data[step], None, optimizers)
    pck = {}
    for name, options in (("source_only", {}), ("anatomy_teacher", {"decay": 0.9})):
        strategy = build(name, source.model, dots.skeleton, **options)
        optimizers, target = strategy.optimizers(), batches(dots, strategy, "shifted", "target")
        for step in range(100, 140):
            iterate(strategy, data[step], target[step], optimizers)
        test = EvaluationBatches(dots(64, "shifted", first=1000), 64, (32, 32))
        pck[name] = scores(predict(strategy.predictor, [test[0]], torch.device("cpu")), dots.skeleton, 0.1)["pck"]
    assert pck["anatomy_teacher"] > pck["source_only"] + 0.05, pck
