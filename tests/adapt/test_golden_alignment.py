"""The functions of alignment against the numbers of the reference code, values and gradients."""

import pytest
import torch

from keyshift.adapt.alignment import (
    Discriminator,
    balance,
    class_disparities,
    coral,
    disagreement,
    discrepancy,
    domain_loss,
    domain_losses,
    entropy,
    joint_mmd,
    kernel,
    mmd,
    outer,
    random_outer,
    regression_disparity,
    spectral,
    squared_distances,
    sureness,
    widths,
)
from keyshift.adapt.epic import map_entropy, map_mmd
from keyshift.adapt.gradients import WarmStartGradient


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.load("strategy_alignment")


@pytest.fixture
def given(golden, arrays):
    n, d = arrays["mkmmd.linear.grad_s"].shape
    classes = arrays["mcd.entropy.grad_g_t"].shape[1]
    made = {"s": golden.normal("z_s", (n, d)), "t": golden.normal("z_t", (n, d), 1.3) + 0.4}
    made |= {name: golden.normal(name, (n, classes), 2) for name in ("g_s", "g_t", "a_s", "a_t")}
    made |= {f"w_{x}": torch.from_numpy(golden.draw(f"w_{x}").random_sample((n, 1)) * 1.8 + 0.2).float() for x in "st"}
    return {name: value.requires_grad_() for name, value in made.items()}


def jan(x, linear):
    layers = [(x["s"], x["t"], None), (x["g_s"].softmax(1), x["g_t"].softmax(1), 0.92)]
    return joint_mmd(layers, linear, constant=True)


def heads(x):
    return (x["g_s"], x["a_s"]), (x["g_t"], x["a_t"])


SCALARS = {
    "mkmmd.linear": lambda x: mmd(x["s"], x["t"], linear=True, constant=True),
    "mkmmd.quadratic": lambda x: mmd(x["s"], x["t"], constant=True),
    "jmmd.linear": lambda x: jan(x, True),
    "jmmd.quadratic": lambda x: jan(x, False),
    "coral": lambda x: coral(x["s"], x["t"], means=True),
    "coral.paper": lambda x: coral(x["s"], x["t"]),
    "bsp": lambda x: spectral(x["s"], x["t"]),
    "mcd.discrepancy": lambda x: disagreement(x["g_t"].softmax(1), x["a_t"].softmax(1), classes=True),
    "mcd.entropy": lambda x: balance(x["g_t"]),
    "mdd.classification": lambda x: -class_disparities(*heads(x), 4.0).mean(),
    "mdd.regression.l1": lambda x: -regression_disparity(*heads(x), 1.0),
    "mdd.regression.l1.margin4": lambda x: -regression_disparity(*heads(x), 4.0),
    "mdd.regression.mse.weighted": lambda x: (
        -regression_disparity(*heads(x), 4.0, squared=True, weights=(x["w_s"], x["w_t"]))
    ),
}
WITHOUT_GRADIENT = {"mdd.regression.l1.margin4", "mdd.regression.mse.weighted"}


def compare_gradients(golden, arrays, name, given):
    """Every stored gradient of `name` with respect to an input; how many there are."""
    compared = [
        one
        for one in arrays.files
        if one.startswith(f"{name}.grad_") and not one.endswith((".noise", "_first", "_last"))
    ]
    for one in compared:
        leaf = given[one.rpartition("grad_")[2]]
        golden.compare(arrays, one, torch.zeros_like(leaf) if leaf.grad is None else leaf.grad)
    return len(compared)


@pytest.mark.parametrize("name", SCALARS)
def test_values_and_gradients(golden, arrays, given, name):
    value = SCALARS[name](given)
    golden.compare(arrays, name, value)
    value.backward()
    assert compare_gradients(golden, arrays, name, given) > 0 or name in WITHOUT_GRADIENT


def test_kernels_and_which_pairs_count(golden, arrays, given):
    both = torch.cat([given["s"], given["t"]])
    golden.compare(arrays, "mkmmd.sigma2", widths(squared_distances(both)))
    kernels = kernel(both).detach().requires_grad_()
    golden.compare(arrays, "mkmmd.kernel_sum", kernels)
    golden.compare(arrays, "mkmmd.quadratic.same", mmd(given["s"], given["s"], constant=True))
    for form in ("linear", "quadratic"):
        (factors,) = torch.autograd.grad(discrepancy(kernels, len(given["s"]), form == "linear"), kernels)
        golden.compare(arrays, f"mkmmd.index.{form}", factors)


def test_entropy_maps_and_disparities_of_samples(golden, arrays, given):
    golden.compare(arrays, "entropy", entropy(given["g_t"]))
    golden.compare(arrays, "mdd.classification.none", -class_disparities(*heads(given), 4.0))
    p = given["g_s"].softmax(1)
    golden.compare(arrays, "cdan.map", outer(given["s"], p))
    width = arrays["cdan.random_map"].shape[1]
    first, second = (golden.normal(n, (x.shape[1], width)) for n, x in (("r_f", given["s"]), ("r_g", p)))
    golden.compare(arrays, "cdan.random_map", random_outer(given["s"], p, first, second))
    outer(given["s"], p).sum().backward()
    assert given["g_s"].grad is None


def test_a_map_of_places_is_the_sum_of_theirs():
    features, answer = torch.randn(2, 4, 3, 5), torch.rand(2, 6, 3, 5)
    wanted = sum(outer(features[..., y, x], answer[..., y, x]) for y in range(3) for x in range(5))
    torch.testing.assert_close(outer(features, answer), wanted)


def test_distances_of_many_points_far_from_the_origin():
    points = 100 + torch.randn(3, 40, 7)
    wanted = (points[:, :, None].double() - points[:, None].double()).square().sum(-1)
    torch.testing.assert_close(squared_distances(points).double(), wanted, atol=1e-4, rtol=1e-4)


def test_samples_that_are_alike_and_samples_alone():
    """Kernels of points in one place are 1, with a gradient of 0; of one sample a domain says nothing of its spread."""
    same = torch.full((3, 4), 0.3, requires_grad=True)
    distance = mmd(same, torch.full((2, 4), 0.3))
    distance.backward()
    torch.testing.assert_close(distance, torch.zeros(()))
    torch.testing.assert_close(same.grad, torch.zeros(3, 4), atol=1e-6, rtol=0)
    for function in (mmd, coral, lambda s, t: joint_mmd([(s, t, None), (s, t, 0.9)])):
        with pytest.raises(ValueError, match="2 samples or more of each in a batch, found 1: raise batch"):
            function(torch.rand(1, 4), torch.rand(1, 4))


def loaded(golden, arrays, name, **options):
    keys = golden.keys(f"strategy_alignment.{name}")
    width, inputs = keys[0][1]
    discriminator = Discriminator(inputs, width, **options)
    weights = golden.weights(f"strategy_alignment.{name}", ())
    discriminator.load_state_dict(dict(zip(discriminator.state_dict(), weights.values(), strict=True)))
    floats = torch.cat([w.double().flatten() for w in discriminator.state_dict().values() if w.is_floating_point()])
    wanted = torch.from_numpy(arrays[f"weights.{name}"]).double()
    torch.testing.assert_close(torch.stack([floats.sum(), floats.abs().sum()]), wanted[1:], atol=1e-3, rtol=1e-5)
    assert floats[:4].tolist() == arrays[f"weights.{name}.first4"].tolist()
    return discriminator


def compare_weights(golden, arrays, name, discriminator):
    golden.compare(arrays, f"{name}.grad_first", discriminator[0].weight.grad)
    golden.compare(arrays, f"{name}.grad_last", discriminator[-1].weight.grad)


def reversed_at_500(x):
    gradient = WarmStartGradient(hi=1.0, reverse=True)
    gradient.iteration += 500
    return gradient(x)


@pytest.mark.parametrize("name", ["dann.train", "dann.eval", "dann.softmax"])
def test_the_discriminator(golden, arrays, given, name):
    outputs = 2 if name == "dann.softmax" else 1
    n = len(given["s"])
    for weighted in (False, True):
        discriminator = loaded(golden, arrays, name if outputs == 2 else "dann", outputs=outputs)
        discriminator.train(name != "dann.eval")
        logits = discriminator(reversed_at_500(torch.cat([given["s"], given["t"]])))
        weights = torch.cat([given["w_s"], given["w_t"]]).detach() if weighted else None
        loss = domain_loss(logits, n, weights)
        loss_name = f"{name}.loss{'_weighted' if weighted else ''}"
        golden.compare(arrays, loss_name, loss)
        given["s"].grad = given["t"].grad = None
        loss.backward()
        assert compare_gradients(golden, arrays, loss_name, given) == 2
        if not weighted:
            compare_weights(golden, arrays, loss_name, discriminator)
    golden.compare(arrays, f"{name}.output", logits if outputs == 2 else logits.sigmoid())
    each = domain_losses(logits, n)
    golden.compare(arrays, f"{name}.loss_none", each if outputs == 2 else (each[:n] + each[n:])[:, None] / 2)
    source = logits[:, -1] > (logits[:, 0] if outputs == 2 else 0)
    right = torch.cat([source[:n], ~source[n:]]).float().mean() * 100
    assert right == pytest.approx(float(arrays[f"{name}.accuracy"]))


def test_the_reversal_opens_as_the_reference(arrays):
    for (alpha, lo, hi, count), wanted in zip(arrays["grl.settings"], arrays["grl.values"], strict=True):
        gradient = WarmStartGradient(float(alpha), float(lo), float(hi), int(count), reverse=True)
        for step, factor in zip(arrays["grl.steps"], wanted, strict=True):
            gradient.iteration.fill_(float(step))
            x = torch.ones((), requires_grad=True)
            gradient(x).backward()
            assert abs(float(x.grad) - float(factor)) < 1e-6


@pytest.mark.parametrize("sure", [False, True])
def test_conditioning(golden, arrays, given, sure):
    discriminator = loaded(golden, arrays, "cdan").train()
    maps = [outer(given[x], given[f"g_{x}"].softmax(1)) for x in "st"]
    weights = sureness(torch.cat([given["g_s"], given["g_t"]])) if sure else None
    loss = domain_loss(discriminator(reversed_at_500(torch.cat(maps))), len(given["s"]), weights)
    name = "cdan.loss_entropy" if sure else "cdan.loss"
    golden.compare(arrays, name, loss)
    loss.backward()
    assert compare_gradients(golden, arrays, name, given) == 3
    compare_weights(golden, arrays, name, discriminator)


@pytest.fixture(scope="module")
def epic(golden):
    return golden.load("strategy_epic")


@pytest.fixture
def maps(golden, epic):
    shape = epic["mmd.grad_y"].shape
    made = {"y": golden.normal("y", shape), "y_adv": golden.normal("y_adv", shape, 0.6)}
    return {name: value.requires_grad_() for name, value in made.items()}


def seen(golden, maps):
    return torch.from_numpy(golden.draw("weight").random_sample((*maps["y"].shape[:2], 1)) > 0.3).float()


EPIC = {
    "mmd": lambda golden, x: map_mmd(x["y"], x["y_adv"], seen(golden, x), reference=True),
    "mmd.all_visible": lambda golden, x: map_mmd(x["y"], x["y_adv"], reference=True),
    "mmd.plain": lambda golden, x: map_mmd(x["y"][:1], x["y_adv"][:1]),
    "entropy": lambda golden, x: map_entropy(x["y"], reference=True),
    "entropy_mi": lambda golden, x: map_entropy(x["y"], each=True, reference=True),
}


@pytest.mark.parametrize("name", EPIC)
def test_the_terms_of_epic(golden, epic, maps, name):
    value = EPIC[name](golden, maps)
    golden.compare(epic, name, value)
    value.backward()
    assert compare_gradients(golden, epic, name, maps) > 0 or name == "mmd.all_visible"


def test_the_kernel_of_epic(golden, epic, maps):
    points = torch.cat([maps["y"], maps["y_adv"]], 1).flatten(2)
    golden.compare(epic, "kernel", kernel(points, diagonal=False)[0])


def test_the_terms_of_epic_as_they_are_meant():
    """By loops: a pair counts by both weights, and a mean is a mean."""
    y, a, weight = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4), torch.tensor([[1.0, 0, 1], [1, 1, 0]])
    total = 0
    for image in range(2):
        kernels = kernel(torch.cat([y, a], 1).flatten(2), diagonal=False)[image]
        for i in range(3):
            for j in range(3):
                m = kernels[i, j] + kernels[i + 3, j + 3] - kernels[i, j + 3] - kernels[i + 3, j]
                total = total + weight[image, i] * weight[image, j] * m / 18
    torch.testing.assert_close(map_mmd(y, a, weight), total)
    alike = torch.zeros(2, 3, 4, 4)
    torch.testing.assert_close(map_entropy(alike), -torch.tensor(16.0).log())
    torch.testing.assert_close(map_entropy(alike, each=True), torch.zeros(()), atol=1e-6, rtol=0)
