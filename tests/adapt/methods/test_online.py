"""What the online strategies do on a stream of shifted dots, and what SSA keeps of a source."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from keyshift.adapt.methods import ssa as subspaces
from keyshift.adapt.methods.baselines import SourceOnly
from keyshift.adapt.methods.bn_online import BatchNormOnline
from keyshift.adapt.methods.ssa import SSA, load_moments, moments, reading_weights, save_moments
from keyshift.adapt.methods.tent import Tent
from keyshift.adapt.scoring.evaluation import predict, scores
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.loading import EvaluationBatches
from keyshift.models.saved import save_checkpoint
from keyshift.models.systems.pose_resnet import PoseResNet

ADAM = Optimization("adam", 3e-3, {}, 0.0, gamma=0.0)
CPU = torch.device("cpu")


def network():
    torch.manual_seed(0)
    sizes = {"input_size": [32, 32], "heatmap_size": [8, 8]}
    return PoseResNet(3, PoseResNet.Options(backbone="small", channels=16, sigma=1.0, **sizes))


def source_batches(dots):
    batches = EvaluationBatches(dots(40), 16, (32, 32))
    return lambda: (batches[number].without_labels() for number in range(len(batches)))


@pytest.fixture(autouse=True)
def source_is_known():
    """Here SSA knows no other source than a test shows."""


@pytest.fixture(scope="module")
def trained():
    """Weights of 60 updates on plain dots, once."""
    return {}


@pytest.fixture
def given(trained, dots, batches, iterate):
    strategy = SourceOnly(network(), dots.skeleton, ADAM).train()
    if not trained:
        source, optimizers = batches(dots, strategy, "plain", "source"), strategy.optimizers()
        for step in range(60):
            iterate(strategy, source[step], None, optimizers)
        trained.update(deepcopy(strategy.model.state_dict()))
    strategy.model.load_state_dict(trained)
    return strategy.model


@pytest.mark.parametrize("kind", [BatchNormOnline, Tent, SSA])
def test_a_stream_is_answered_better_than_by_the_given_model(dots, given, iterate, kind):
    """By what each batch is answered before it is learned from, and by the model that is left."""
    stream, test = (EvaluationBatches(dots(64, "shifted", first=f), 8, (32, 32)) for f in (0, 1000))
    before = {name: pck(given, batches, dots) for name, batches in (("stream", stream), ("test", test))}
    strategy = kind(given, dots.skeleton, ADAM).train()
    strategy.see_source(source_batches(dots))
    optimizers, right = strategy.optimizers(), []
    for number in range(len(stream)):
        batch = stream[number]
        iterate(strategy, None, batch.without_labels(), optimizers)
        right.append((strategy.poses.points - batch.keypoints).norm(dim=-1) <= 0.1 * 32)
    assert torch.cat(right).float().mean() > before["stream"] + 0.05
    assert pck(strategy.predictor, test, dots) > before["test"] + 0.05


@pytest.mark.parametrize("kind", [Tent, SSA])
def test_what_is_to_fall_falls_on_pictures_that_come_later(dots, given, iterate, kind):
    """Entropy or distance from the source, with the batch's own statistics: lower than where nothing was learned."""
    later = EvaluationBatches(dots(32, "shifted", first=1000), 32, (32, 32))[0].without_labels()
    stream, left = EvaluationBatches(dots(64, "shifted"), 8, (32, 32)), []
    for rate in (0.0, 0.01):
        strategy = kind(deepcopy(given), dots.skeleton, ADAM, options=kind.Options(rate=rate)).train()
        strategy.see_source(source_batches(dots))
        optimizers = strategy.optimizers()
        for number in range(len(stream)):
            iterate(strategy, None, stream[number].without_labels(), optimizers)
        ((losses, _),) = strategy.step(None, later)
        left += [sum(losses.values()).item()]
    assert left[1] < 0.95 * left[0]


def pck(model, batches, dots):
    predictions = predict(model, (batches[number] for number in range(len(batches))), CPU)
    return scores(predictions, dots.skeleton, 0.1)["pck"]


@pytest.mark.parametrize("kind", [Tent, SSA])
def test_only_weight_and_bias_of_batch_norm_learn(dots, batches, iterate, kind):
    strategy = kind(network(), dots.skeleton, ADAM).train()
    strategy.see_source(source_batches(dots))
    target, before = batches(dots, strategy, "shifted", "target"), {}
    norms = [n for n, m in strategy.model.named_modules() if isinstance(m, nn.BatchNorm2d) and not n.startswith("head")]
    for name, value in strategy.model.named_parameters():
        before[name] = value.detach().clone()
    iterate(strategy, None, target[0], strategy.optimizers())
    moved = {name for name, value in strategy.model.named_parameters() if not torch.equal(value, before[name])}
    assert {name.rpartition(".")[0] for name in moved} == set(norms)


def test_without_batch_norm_there_is_nothing_to_learn(dots, monkeypatch):
    monkeypatch.setattr(PoseResNet, "modules", lambda self: iter(()))
    with pytest.raises(ValueError, match="Tent learns what batch norm scales and shifts by, and PoseResNet"):
        Tent(network(), dots.skeleton, ADAM)


def test_what_is_kept_of_a_source(dots, given, tmp_path):
    """Mean and covariance as one array has them; the directions by size, those without variance left out."""
    strategy = SSA(given, dots.skeleton, ADAM, options=SSA.Options(components=12))
    strategy.see_source(source_batches(dots))
    given.eval()
    with torch.no_grad():
        features = torch.cat([given.features(batch).mean((2, 3)) for batch in source_batches(dots)()])
    torch.testing.assert_close(strategy.mean, features.mean(0))
    covariance = torch.cov(features.double().T).float()
    wanted = torch.linalg.eigvalsh(covariance)[-12:]
    varies = wanted > 1e-6 * wanted[-1]
    torch.testing.assert_close(strategy.variances[varies], wanted[varies], rtol=1e-3, atol=0)
    assert torch.equal(strategy.importance > 0, varies)
    weights = given.head.weight[:, :, 0, 0]
    for place in varies.nonzero()[:, 0].tolist():
        seen = sum(float(row @ strategy.basis[:, place]) ** 2 for row in weights) ** 0.5
        assert strategy.importance[place].item() == pytest.approx(seen + 1, rel=1e-4)
    save_moments(tmp_path / "source.pt", moments([features]))
    options = SSA.Options(components=12, statistics=str(tmp_path / "source.pt"))
    read = SSA(given, dots.skeleton, ADAM, options=options)
    read.see_source(None)
    torch.testing.assert_close(read.variances, strategy.variances, rtol=1e-3, atol=1e-6)


def test_statistics_that_do_not_fit(dots, tmp_path):
    with pytest.raises(ValueError, match=r"keyshift statistics RUN, and say ssa\.statistics=FILE"):
        SSA(network(), dots.skeleton, ADAM).see_source(None)
    with pytest.raises(ValueError, match="features of 1 samples have no covariance"):
        moments([torch.zeros(1, 4)])
    save_moments(tmp_path / "other.pt", moments([torch.rand(9, 4)]))
    with pytest.raises(ValueError, match=r"other.pt: expected .* of 16 channels"):
        load_moments(tmp_path / "other.pt", 16)
    save_checkpoint(tmp_path / "weights.pt", {"format": "keyshift model 2"})
    with pytest.raises(ValueError, match="expected format, mean, covariance"):
        load_moments(tmp_path / "weights.pt", 16)


def test_which_weights_of_a_head_read_the_features():
    """The first layer with so many inputs, its kernel summed; of a head without one nothing."""
    head = nn.Sequential(nn.ReLU(), nn.Conv2d(5, 7, 3), nn.Conv2d(7, 2, 1))
    naive = torch.zeros(7, 5)
    for row in range(3):
        for column in range(3):
            naive += head[1].weight[:, :, row, column].detach()
    torch.testing.assert_close(reading_weights(head, 5), naive)
    assert reading_weights(nn.Linear(5, 3), 5).shape == (3, 5)
    assert reading_weights(nn.Identity(), 5) is None
    assert subspaces.significance(naive, torch.zeros(5, 2)).tolist() == [1, 1]
