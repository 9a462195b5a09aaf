"""The functions of UDA-Animal against the numbers of the reference code: values, gradients and one whole iteration."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from keyshift.adapt.alignment import domain_loss, domain_losses
from keyshift.adapt.curriculum import (
    cosine_fall,
    easiest,
    map_errors,
    mixup,
    sigmoid_rise,
    smallest,
    teacher_decay,
)
from keyshift.adapt.gradients import WarmStartGradient
from keyshift.adapt.methods.uda_animal import follow, turned
from keyshift.adapt.refinement import DomainClassifier, RefineNet
from keyshift.adapt.relabel import kept
from keyshift.adapt.strategy import Optimization

FACTORS = [("refinenet.*bn3.weight", 0.5)]


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.load("strategy_uda_animal")


@pytest.fixture
def check(golden, arrays):
    return lambda name, value: golden.compare(arrays, name, value)


def reversal(progress):
    """The layer at a share of its 1000 iterations."""
    layer = WarmStartGradient(alpha=10.0, hi=1.0, max_iters=1000, reverse=True)
    layer.iteration.fill_(1000 * progress)
    return layer


def coin(golden, name, shape, threshold=0.4):
    return torch.from_numpy(golden.uniform(name, shape) > threshold).float()


def test_schedules(arrays, check):
    epoch = torch.arange(len(arrays["schedule.topk"]))
    check("schedule.topk", easiest(epoch))
    check("schedule.pseudo_weight", cosine_fall(epoch))
    check("schedule.consistency_weight", sigmoid_rise(epoch))
    rate = Optimization("adam", 2.5e-4, gamma=-1 / 100, power=-0.9)
    check("schedule.lr", torch.tensor([rate.rate * rate.factor(int(e)) for e in epoch], dtype=torch.float64))
    assert rate.factor(150) == 0
    shares = (0, 0.01, 0.1, 0.25, 0.5, 1)
    check("schedule.reversal", torch.stack([reversal(share).factor() for share in shares]))


def test_selection(golden, arrays):
    wanted = arrays["selection.kept"]
    confidence = torch.from_numpy(golden.uniform("selection.confidence", wanted.shape[1:])).float()
    for share, mask in zip(arrays["selection.dropped"], wanted, strict=True):
        assert (kept(confidence, float(share)).numpy() == mask).all()


@pytest.fixture
def loss_inputs(golden, arrays):
    shape = arrays["loss.curriculum.grad_output"].shape
    scale = torch.linspace(0.5, 1.5, shape[1]).view(1, -1, 1, 1)
    output, target = (
        (golden.normal(f"loss.{name}", shape, 0.3) * scale).requires_grad_() for name in ("output", "target")
    )
    weight = coin(golden, "loss.weight", (*shape[:2], 1))[..., 0]
    weight[0] = 0
    weight[0, 1] = 1
    return output, target, weight


def test_losses(arrays, check, loss_inputs):
    output, target, weight = loss_inputs
    top = json.loads(str(arrays["meta"]))["top_k"]
    check("loss.curriculum.all", smallest(map_errors(output, target), torch.ones_like(weight), weight.shape[1]))
    values = {
        "curriculum": smallest(map_errors(output, target, weight), weight, top),
        "mse": map_errors(output, target, weight).mean(),
        "symmetric": map_errors(output, target).mean(),
    }
    for name, value in values.items():
        check(f"loss.{name}", value)
        gradients = torch.autograd.grad(value, (output, target))
        for side, gradient in zip(("output", "target"), gradients, strict=True):
            if f"loss.{name}.grad_{side}" in arrays.files:
                check(f"loss.{name}.grad_{side}", gradient)


def loaded(golden, arrays, name):
    """The weights of a network, checked by their sums and first values."""
    state = golden.weights(f"strategy_uda_animal.{name}", FACTORS)
    floats = torch.cat([value.flatten() for value in state.values() if value.is_floating_point()])
    sums = [len(floats), floats.double().sum(), floats.double().abs().sum()]
    np.testing.assert_allclose(sums, arrays[f"weights.{name}"], rtol=1e-9)
    assert floats[:4].tolist() == arrays[f"weights.{name}.first4"].tolist()
    return state


def test_domain_classifier(golden, arrays, check):
    state = loaded(golden, arrays, "domain")
    width, channels = state["conv1.weight"].shape[:2]
    shape = tuple(arrays["domain.sum.grad_input.shape"])
    classifier = DomainClassifier(channels, width, int(shape[-1]))
    classifier.load_state_dict(state)
    features = golden.normal("domain.input", shape).requires_grad_()
    layer = WarmStartGradient(alpha=0.0, lo=0.3, reverse=True)
    logit = classifier(layer(features))
    check("domain.logit", logit)
    check("domain.sum", logit.sum())
    check("domain.sum.grad_input", torch.autograd.grad(logit.sum(), features)[0])


def test_refine_net(golden, arrays, check):
    state = loaded(golden, arrays, "refine")
    state = {key.removeprefix("refinenet."): value for key, value in state.items()}
    first = arrays["refine.first"]
    channels = state["cascade.0.0.conv1.weight"].shape[1]
    levels = [name for name in arrays.files if name.startswith("input.refine.input")]
    net = RefineNet(channels, first.shape[2:], first.shape[1], len(levels)).eval()
    net.load_state_dict(state)
    with torch.no_grad():
        answers = net([golden.normal(f"refine.input{i}", (1, channels, 2 ** (i + 1), 2 ** (i + 1))) for i in range(4)])
    for name, value in zip(("first", "second", "features"), answers, strict=True):
        check(f"refine.{name}", value)


def test_mixup(golden, arrays, check):
    images = {side: golden.normal(f"mixup.image_{side}", arrays["mixup.between.image_s"].shape) for side in "st"}
    maps = {side: golden.normal(f"mixup.map_{side}", arrays["mixup.between.map_s"].shape) for side in "st"}
    weights = {side: coin(golden, f"mixup.weight_{side}", arrays["mixup.between.weight_s"].shape, 0.5) for side in "st"}
    factor = torch.from_numpy(arrays["mixup.between.factor"])
    most = torch.maximum(factor, 1 - factor)
    for own, other in ("st", "ts"):
        check(f"mixup.between.image_{own}", mixup(images[own], images[other], most))
        check(f"mixup.between.map_{own}", mixup(maps[own], maps[other], most))
        check(f"mixup.between.weight_{own}", torch.maximum(weights[own], weights[other]))
    factor, partner = (torch.from_numpy(arrays[f"mixup.within.{name}"]) for name in ("factor", "permutation"))
    check("mixup.within.image", mixup(images["t"], images["t"][partner], factor))
    check("mixup.within.map", mixup(maps["t"], maps["t"][partner], factor))
    check("mixup.within.weight", torch.maximum(weights["t"], weights["t"][partner]))


class Toy(nn.Module):
    """The step's network: three heads and the features on the image itself."""

    def __init__(self, arrays):
        super().__init__()
        for name in ("coarse", "first", "second", "feature", "domain"):
            outputs, inputs, *kernel = arrays[f"step.grad.{name}.weight"].shape
            self.add_module(name, nn.Conv2d(inputs, outputs, kernel, kernel))

    def load(self, golden, seed):
        own = type(golden)(golden.folder)
        own.seed = golden.seed + seed
        factors = [(f"{name}.weight", 0.5) for name in ("coarse", "first", "second")]
        self.load_state_dict({key: own.weight(key, v.shape, factors) for key, v in self.state_dict().items()})
        return self


def test_whole_step(golden, arrays, check):
    step = json.loads(str(arrays["meta"]))["step"]
    student, teacher = Toy(arrays).load(golden, 0), Toy(arrays).load(golden, 1000)
    shape = arrays["step.teacher_maps"].shape
    images = {
        name: golden.texture(f"step.{name}", (shape[0], 3, 4 * shape[2], 4 * shape[3]))
        for name in ("src_img", "trg_img", "trg_img_t", "trg_img_s")
    }
    labels = {side: golden.normal(f"step.{side}_lbl", shape, 0.3) for side in ("src", "trg")}
    weights = {side: coin(golden, f"step.{side}_weight", (*shape[:2], 1))[..., 0] for side in ("src", "trg")}
    epoch = torch.tensor(step["epoch"])
    top, consistency, pseudo = easiest(epoch), sigmoid_rise(epoch), cosine_fall(epoch)
    assert top == step["top_k"]
    progress = (step["iteration"] + step["epoch"] * step["iterations"]) / 80 / step["iterations"]
    layer = reversal(progress)
    check("step.lambda_", layer.factor())

    pairs = [(i, i + 1) for i in (0, 3, 5, 8, 10, 12, 14, 16)]
    flip = list(range(shape[1]))
    for a, b in pairs:
        flip[a], flip[b] = b, a
    matrix, mirrored = torch.from_numpy(arrays["step.warpmat"]), ~torch.from_numpy(arrays["step.same_flip"])
    angle = torch.from_numpy(arrays["step.angle"]).deg2rad() * torch.where(mirrored, -1, 1)
    rotation = torch.stack([angle.cos(), -angle.sin(), 0 * angle, angle.sin(), angle.cos(), 0 * angle], 1)
    check("step.warpmat", rotation.view(-1, 2, 3))
    with torch.no_grad():
        taught = turned(teacher.first(images["trg_img_t"]), matrix, mirrored, flip)
    check("step.teacher_maps", taught)

    coarse, first, second = (getattr(student, name)(images["trg_img_s"]) for name in ("coarse", "first", "second"))
    on_source = [getattr(student, name)(images["src_img"]) for name in ("coarse", "first")]
    on_target = [getattr(student, name)(images["trg_img"]) for name in ("coarse", "first")]
    everyone = torch.ones(shape[:2])
    domains = [student.domain(layer(student.feature(images[name]))) for name in ("src_img", "trg_img")]
    rows, count = torch.cat(domains).reshape(-1, 1), domains[0].numel()
    adversary = [part.mean() for part in domain_losses(rows, count).tensor_split([count])]
    losses = {
        "loss_kpt_src": sum(map_errors(maps, labels["src"], weights["src"]).mean() for maps in on_source),
        "loss_kpt_trg_coarse": pseudo
        * smallest(map_errors(on_target[0], labels["trg"], weights["trg"]), weights["trg"], top),
        "loss_kpt_trg_refine": pseudo
        * smallest(map_errors(on_target[1], labels["trg"], weights["trg"]), weights["trg"], top),
        "loss_adv_src": 0.0005 / 2 * adversary[0],
        "loss_adv_trg": 0.0005 / 2 * adversary[1],
        "c2rconst_loss": consistency * smallest(map_errors(coarse, first.detach()), everyone, top),
        "res_loss": 0.01 * map_errors(first, second).mean(),
        "consistency_loss": consistency * map_errors(second, taught).mean(),
    }
    for name, value in losses.items():
        check(f"step.{name}", value)
    both = 0.0005 * domain_loss(rows, count)
    torch.testing.assert_close(both, losses["loss_adv_src"] + losses["loss_adv_trg"])

    optimizer = torch.optim.Adam(student.parameters(), 2.5e-4)
    sum(losses.values()).backward()
    for key, value in student.named_parameters():
        check(f"step.grad.{key}", value.grad)
    optimizer.step()
    follow([teacher], [student], teacher_decay(torch.tensor(step["global_step_before"] + 1)))
    for key, value in teacher.state_dict().items():
        check(f"step.teacher.{key}", value)
