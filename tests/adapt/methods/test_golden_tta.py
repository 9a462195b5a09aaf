"""Batch norm, Tent and SSA on a stream against the numbers of the reference code."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from keyshift.adapt.methods.bn_online import BatchNormOnline
from keyshift.adapt.methods.ssa import Moments, divergences, gaussian_kl, moments, project, significance, subspace
from keyshift.adapt.methods.tent import Tent, entropy
from keyshift.adapt.strategy import Optimization
from keyshift.models.output import Grid, Poses, Votes
from keyshift.models.pose_model import PoseModel


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.load("strategy_tta")


class Net(PoseModel):
    """The classifier of the recipe: its classes are joints with a single candidate."""

    grid = Grid((1, 1), (1.0, 1.0), (0.5, 0.5))

    def __init__(self, classes, channels):
        super().__init__(classes, self.Options())
        self.conv, self.bn = nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.out = nn.Conv2d(channels, classes, 1)

    def features(self, sample):
        return self.bn(self.conv(sample.image)).relu()

    def votes(self, features, sample, head=None):
        return Votes(self.grid, self.out(features).mean((2, 3))[:, None])

    def decode(self, votes, sample):
        return Poses.of_crops(votes.logits[:, 0, :, None], votes.confidence())

    def loss(self, votes, sample): ...
    def counted(self, sample): ...
    def new_head(self, layers=None): ...


def stream(golden, arrays, kind, options):
    """The strategy of a `kind`, and its answers to three batches."""
    model = Net(arrays["tent.output0"].shape[1], len(arrays["tent.weight"])).train()
    model.load_state_dict({key: golden.weight(key, value.shape, []) for key, value in model.state_dict().items()})
    strategy = kind(model, None, Optimization(), options=options)
    optimizers, outputs = strategy.optimizers(), []
    for number in range(3):
        image = 1.5 * golden.texture(f"tent.image{number}", (len(arrays["tent.output0"]), 3, 16, 16)) + 0.3
        for losses, names in strategy.step(None, SimpleNamespace(image=image)):
            strategy.zero_grad()
            sum(losses.values()).backward()
            for name in names:
                optimizers[name][0].step()
        outputs.append(strategy.poses.points[..., 0])
    return model, outputs


def test_tent(golden, arrays):
    logits = golden.normal("tent.logits", arrays["tent.mean.grad_logits"].shape, 2).requires_grad_()
    each = entropy(logits, 1)
    golden.compare(arrays, "tent.each", each)
    golden.compare(arrays, "tent.mean", each.mean())
    each.mean().backward()
    golden.compare(arrays, "tent.mean.grad_logits", logits.grad)
    batch, height, width = arrays["tent.over_channels"].shape
    maps = golden.normal("tent.maps", (batch, len(arrays["tent.over_cells"]) // batch, height, width), 2)
    votes = Votes.from_maps(Grid((height, width), (1.0, 1.0), (0.5, 0.5)), maps)
    golden.compare(arrays, "tent.over_channels", entropy(votes.logits, -1).unflatten(1, (height, width)))
    golden.compare(arrays, "tent.over_cells", entropy(votes.log_density().flatten(2), -1).flatten())
    model, outputs = stream(golden, arrays, Tent, Tent.Options(over="joints"))
    for number, output in enumerate(outputs):
        golden.compare(arrays, f"tent.output{number}", output)
    golden.compare(arrays, "tent.weight", model.bn.weight)
    golden.compare(arrays, "tent.bias", model.bn.bias)


@pytest.mark.parametrize(("name", "momentum"), [("momentum0.1", 0.1), ("momentum0.3_reset", 0.3), ("batch_only", 0.0)])
def test_batch_norm(golden, arrays, name, momentum):
    options = BatchNormOnline.Options(momentum=momentum, reset=name.endswith("reset"))
    model, outputs = stream(golden, arrays, BatchNormOnline, options)
    golden.compare(arrays, f"norm.{name}.output", outputs[-1])
    if momentum:
        golden.compare(arrays, f"norm.{name}.running_mean", model.bn.running_mean)
        golden.compare(arrays, f"norm.{name}.running_var", model.bn.running_var)
    else:
        assert torch.equal(model.bn.running_mean, golden.weight("bn.running_mean", model.bn.running_mean.shape, []))


def test_kl(golden, arrays):
    size = arrays["ssa.kl.none"].shape
    m1, m2 = (golden.normal(f"ssa.{name}", size) for name in ("m1", "m2"))
    v1, v2 = (torch.from_numpy(0.3 + 2.7 * golden.uniform(f"ssa.{name}", size)).float() for name in ("v1", "v2"))
    each = gaussian_kl(m1, v1, m2, v2)
    golden.compare(arrays, "ssa.kl.none", each)
    golden.compare(arrays, "ssa.kl.sum", each.sum())
    golden.compare(arrays, "ssa.kl.mean", each.mean())


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_ssa(golden, arrays, mode):
    inputs, hidden = dict(golden.keys("strategy_tta.ssa"))["fe.0.weight"][::-1]
    layers = [nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
    second = nn.Sequential(nn.Linear(hidden, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU())
    net = nn.ModuleDict({"fe": nn.Sequential(*layers, second), "regressor": nn.Linear(hidden, 1)})
    net.load_state_dict(golden.weights("strategy_tta.ssa", [("*regressor.weight", 3.0)]))
    net.eval()
    source = moments(net["fe"](golden.normal("ssa.source", (40, inputs))).detach().split(16))
    golden.compare(arrays, "ssa.source.mean", source.mean)
    golden.compare(arrays, "ssa.source.covariance", source.covariance)
    golden.compare(arrays, "ssa.source.eigenvalues", subspace(source, hidden).variances)
    # the directions of the recorded statistics, so that rounding does not turn them
    exact = Moments(*(torch.from_numpy(arrays[f"ssa.source.{name}"]) for name in ("mean", "covariance")))
    space = subspace(exact, len(arrays[f"ssa.{mode}.dim_weight"]))
    net.train(mode == "train")
    batch, _ = arrays[f"ssa.{mode}.abs_projection"].shape
    features = net["fe"](golden.normal("ssa.target", (batch, inputs), 1.4) + 0.5)
    weight = significance(net["regressor"].weight.detach(), space.basis)
    forward, backward = divergences(features, space)
    loss = (weight * (forward + backward)).sum()
    compared = {"dim_weight": weight, "forward_kl": forward, "backward_kl": backward, "loss": loss}
    compared |= {"abs_projection": project(features, space).abs(), "prediction": net["regressor"](features)[:, 0]}
    loss.backward()
    compared |= {f"grad.{name}": parameter.grad for name, parameter in net["fe"].named_parameters()}
    for name, value in compared.items():
        golden.compare(arrays, f"ssa.{mode}.{name}", value)
