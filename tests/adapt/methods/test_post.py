"""What POST does beside its mean teacher, and that it adapts a given model without a source."""

from copy import deepcopy

import pytest
import torch

from keyshift.adapt.methods.post import Post, correlation, redundancy, redundant
from keyshift.adapt.prior import PosePrior, PriorOptions, directions_of, fit, save_prior
from keyshift.adapt.scoring.evaluation import predict, scores
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.datasets.sample import from_file
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.systems.pose_resnet import PoseResNet

PAIR = Skeleton("pair", ("red", "green", "blue"), edges=((0, 1), (1, 2)), flip_pairs=((0, 2),))


def network():
    torch.manual_seed(0)
    sizes = {"input_size": [32, 32], "heatmap_size": [8, 8]}
    return PoseResNet(3, PoseResNet.Options(backbone="small", channels=16, sigma=1.0, **sizes))


def build(name, model, skeleton, rate=3e-3, **options):
    kind, rates = STRATEGIES[name], Optimization("adam", rate, {}, 0.0, gamma=0.0)
    return kind(deepcopy(model), skeleton, rates, options=kind.Options(**options)).train()


@pytest.fixture
def upright(tmp_path):
    """A prior that knows poses whose bones point down, more or less."""
    torch.manual_seed(0)
    rows = torch.tensor([0.0, 10, 20]).view(1, 3, 1)
    points = torch.cat([torch.randn(200, 3, 1) * 2, rows + torch.randn(200, 3, 1)], -1)
    prior = PosePrior(PAIR.edges, width=64)
    fit(prior, directions_of(prior, points), PriorOptions(updates=200, batch=128, rate=5e-3, width=64))
    save_prior(tmp_path / "prior.pt", prior, PAIR)
    return str(tmp_path / "prior.pt")


def test_it_helps_on_a_toy_shift_and_keeps_its_head(dots, batches, iterate):
    source = build("source_only", network(), dots.skeleton)
    optimizers, data = source.optimizers(), batches(dots, source, "plain", "source")
    for step in range(100):
        iterate(source, data[step], None, optimizers)
    strategy = build("post", source.model, dots.skeleton, rate=3e-4, decay=0.9)
    optimizers, data = strategy.optimizers(), batches(dots, strategy, "shifted", "target")
    for step in range(40):
        iterate(strategy, None, data[step], optimizers)
    test = EvaluationBatches(dots(64, "shifted", first=1000), 64, (32, 32))
    pck = [
        scores(predict(model, [test[0]], torch.device("cpu")), dots.skeleton, 0.1)["pck"]
        for model in (source.model, strategy.predictor)
    ]
    assert pck[1] > pck[0] + 0.05, pck
    before = source.model.state_dict()
    changed = {k.split(".")[0] for k, v in strategy.model.named_parameters() if not torch.equal(v, before[k])}
    assert changed == {"backbone"}


def test_the_prior_sees_the_files_frame(dots, upright):
    """The same poses cost the same however a view is turned or mirrored; as the reference has it they do not."""
    augmentation = Augmentation(rotation=60, mirror=0.5)
    view = TrainingBatches(dots(8), "target", 0, 8, (32, 32), augmentation, labels=False)[0]
    down = torch.tensor([[8.0, 4], [8, 14], [8, 24]]).expand(8, 3, 2)
    seen = from_file(down, view, PAIR.flip, torch.arange(8))
    costs = {}
    for frame in ("file", "view"):
        strategy = build("post", network(), PAIR, prior=upright, frame=frame)
        costs[frame] = strategy.implausible(seen, view, torch.arange(8))
        plain = strategy.prior(directions_of(strategy.prior, down)).mean()
    torch.testing.assert_close(costs["file"], plain, atol=1e-4, rtol=1e-4)
    assert costs["view"] > plain + 0.1


def test_the_prior_draws_poses_and_begins_when_it_should(dots, batches, upright):
    strategy = build("post", network(), PAIR, prior=upright, plausibility=1.0, prior_from=2)
    target = batches(dots, strategy, "shifted", "target")[0]
    losses = strategy.of_target(target)
    strategy.averaged += 2
    later = strategy.of_target(target)
    assert losses["prior"] == 0
    assert later["prior"] > 0
    torch.testing.assert_close(later["barlow"], 2 * losses["barlow"])
    later["prior"].backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in strategy.model.backbone.parameters())
    assert all(p.grad is None for p in strategy.prior.parameters())
    points = torch.tensor([[[8.0, 24], [20, 14], [2, 4]]], requires_grad=True)
    start = strategy.prior(directions_of(strategy.prior, points)).item()
    descent = torch.optim.Adam([points], 0.5)
    for _ in range(60):
        descent.zero_grad()
        strategy.prior(directions_of(strategy.prior, points)).sum().backward()
        descent.step()
    assert strategy.prior(directions_of(strategy.prior, points)).item() < 0.3 * start


def test_redundancy_against_a_loop():
    first, second = (torch.randn(6, 4, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    alike = correlation(first, second)
    for i in range(4):
        for j in range(4):
            wanted = torch.corrcoef(torch.stack([first[:, i], second[:, j]]))[0, 1]
            torch.testing.assert_close(alike[i, j], wanted)
    torch.testing.assert_close(correlation(first, first).diagonal(), torch.ones(4))
    torch.testing.assert_close(correlation(first, first, exact=False).diagonal(), torch.full((4,), 5 / 6))
    on, off = redundancy(alike)
    assert off.tolist() == [alike[i, j].square() for i in range(4) for j in range(4) if i != j]
    torch.testing.assert_close(redundant(alike), 1e-3 * (on.sum() + 5e-3 * off.sum()))
    constant = torch.ones(3, 2, requires_grad=True)
    redundant(correlation(constant, constant)).backward()
    assert not constant.grad.any()


def test_what_is_missing_is_said(dots, upright):
    assert "keyshift prior" in Post.remarks(Post.Options())[0]
    assert Post.remarks(Post.Options(prior=upright)) == Post.remarks(Post.Options(plausibility=0)) == []
    with pytest.raises(ValueError, match="freezes all of backbone, upsampling, head"):
        build("post", network(), dots.skeleton, frozen=["backbone", "upsampling", "head"])
    with pytest.raises(ValueError, match="no checkpoint at nowhere"):
        build("post", network(), dots.skeleton, prior="nowhere")
