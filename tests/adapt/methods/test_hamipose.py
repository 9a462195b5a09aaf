"""The gate against a loop, its limits, and that the votes of every head get the gated gradient."""

import numpy as np
import pytest
import torch

from keyshift.adapt.gradients import Metric, gated, with_gradients
from keyshift.adapt.methods import hamipose
from keyshift.adapt.methods.hamipose import HamiPose
from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.loading import TrainingBatches

OPTIONS = {"decay": 0.9, "sigma": 1.0, "warmup": 20, "gamma": 3.0}


def naive(target, source, mean, metric, gamma, strength):
    """target (B, K, M), source, mean and metric (K, M), strength (B, K): one keypoint of one picture at a time."""
    answer = np.zeros_like(target)
    for b in range(len(target)):
        for k in range(target.shape[1]):
            dot = lambda a, c, k=k: sum(metric[k, n] * a[n] * c[n] for n in range(len(a)))  # noqa: E731
            s, t, m = source[k], target[b, k], mean[k]
            rho = dot(s, m) / np.sqrt(dot(s, s) * dot(m, m)) if dot(s, s) and dot(m, m) else 0.0
            parallel = dot(t, s) / dot(s, s) * s if dot(s, s) else 0 * s
            answer[b, k] = t - parallel + strength[b, k] * max(0.0, np.tanh(gamma * rho)) * parallel
    return answer


def drawn(*shape):
    return torch.rand(*shape) - 0.3


def test_the_gate_is_what_a_loop_gives():
    torch.manual_seed(0)
    target, source, metric, strength = drawn(4, 5, 7), drawn(5, 7), torch.rand(5, 7), 2 * torch.rand(4, 5)
    source[3] = 0  # of a keypoint of which the source asks nothing
    source[4] = -target[:, 4].mean(0)  # and of one where the two want the opposite
    parts = target, source, target.mean(0), metric
    answer = gated(*parts, 1.5, strength)
    wanted = naive(*(each.double().numpy() for each in parts), 1.5, strength.double().numpy())
    np.testing.assert_allclose(answer.numpy(), wanted, atol=1e-6)
    assert torch.equal(answer[:, 3], target[:, 3])
    torch.testing.assert_close((metric * answer * source)[:, 4].sum(-1), torch.zeros(4), atol=1e-6, rtol=0)


def test_an_open_gate_changes_nothing_and_a_gate_of_two_doubles_what_is_parallel():
    torch.manual_seed(0)
    target, metric = drawn(3, 2, 6), torch.rand(2, 6)
    mean = target.mean(0)
    for gate in (1.0, 2.0):
        answer = gated(target, 3 * mean, mean, metric, 1e6, torch.full((3, 2), gate))
        torch.testing.assert_close(answer.mean(0), gate * mean)
        if gate == 1:
            torch.testing.assert_close(answer, target)


def test_the_metric_is_adams():
    torch.manual_seed(0)
    metric, v = Metric(0.9), np.zeros((2, 5))
    for update in range(1, 4):
        squares = torch.rand(2, 5)
        weights = metric(squares)
        v = 0.9 * v + 0.1 * squares.numpy()
        corrected = v / (1 - 0.9**update)
        wanted = 1 / np.sqrt(corrected + corrected.mean(1, keepdims=True))
        np.testing.assert_allclose(weights.numpy(), wanted, rtol=1e-5)
    copy = Metric(0.9)
    copy.load_state_dict(metric.state_dict())
    assert torch.equal(copy(squares), metric(squares))


def test_a_loss_keeps_its_value_and_gets_another_gradient():
    first, second = torch.rand(3, requires_grad=True), torch.rand(2, requires_grad=True)
    loss = (first.square().sum() * second.sum()).float()
    edited = with_gradients(loss, [(first, torch.tensor([1.0, 2.0, 3.0]))])
    assert edited == loss
    edited.backward()
    assert first.grad.tolist() == [1, 2, 3]
    assert second.grad is None


@pytest.mark.parametrize(("system", "kind"), [("bottom_up", "Scenes"), ("lifter", "Sequences")])
def test_votes_of_any_head_get_the_gated_gradient(toys, augmentation, iterate, monkeypatch, system, kind):
    """Third update: the gradient that reaches the student's votes is the loop's of the plain one; the lifter's has one
    candidate, whose position alone learns."""
    torch.manual_seed(0)
    model = toys.SYSTEMS[system](
        3, toys.SYSTEMS[system].Options(channels=8, **{"threshold": 0.5} if kind == "Scenes" else {})
    )
    optimization, options = Optimization("adam", 1e-2, {}, 0.0), HamiPose.Options(**OPTIONS)
    strategy = HamiPose(model, toys.DOTS, optimization, options=options).train()
    sets = getattr(toys, kind)
    cut = 0, 4, (32, 32), augmentation
    source = TrainingBatches(sets(sets.Options(), "train"), "source", *cut, True)
    target = TrainingBatches(sets(sets.Options(), "train", "shifted"), "target", *cut, False, 2)
    optimizers = strategy.optimizers()
    for step in range(2):
        iterate(strategy, source[step], target[step], optimizers)
    calls, plain = [], hamipose.gradients

    def spy(loss, votes):
        calls.append((votes, plain(loss, votes)))
        return calls[-1][1]

    monkeypatch.setattr(hamipose, "gradients", spy)
    sure = []
    monkeypatch.setattr(hamipose, "per_image", lambda *a, of=hamipose.per_image: sure.append(of(*a)) or sure[-1])
    losses, _ = next(strategy.step(source[2], target[2]))
    (_, asked), (votes, wanted) = calls
    (name,) = wanted
    assert name == {"bottom_up": "logits", "lifter": "where"}[system]
    output = getattr(votes, name)
    (reached,) = torch.autograd.grad(losses["consistency"], output, retain_graph=True)
    metric = strategy.metrics[name]
    v = metric.moments / (1 - metric.momentum**metric.updates)
    weights = (v + v.mean(-1, keepdim=True)).rsqrt()
    s, t = (each[name].movedim(2, 1).flatten(2) for each in (asked, wanted))
    strength = 2 * 2 / 20 * sure[0]  # two of twenty updates are done
    parts = [each.double().numpy() for each in (t, s.mean(0), t.mean(0), weights)]
    gate = naive(*parts, OPTIONS["gamma"], strength.double().numpy())
    got = reached.movedim(2, 1).flatten(2).numpy()
    np.testing.assert_allclose(got, gate, atol=1e-5 * np.abs(gate).max())
    assert np.abs(got - t.numpy()).max() > 1e-3 * np.abs(gate).max()


def test_it_helps_on_a_toy_shift(toy_shift):
    """More than the source alone; and it is not the plain mean teacher."""
    pck = toy_shift.pck(HamiPose, HamiPose.Options(**OPTIONS))
    assert pck > toy_shift.pck(STRATEGIES["source_only"]) + 0.05
    plain = toy_shift.adapt(MeanTeacher, MeanTeacher.Options(decay=0.9, sigma=1.0), updates=3)
    gate = toy_shift.adapt(HamiPose, HamiPose.Options(**OPTIONS), updates=3)
    assert any(not torch.equal(a, b) for a, b in zip(plain.model.parameters(), gate.model.parameters(), strict=True))
