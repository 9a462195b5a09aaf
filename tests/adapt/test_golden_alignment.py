"""The functions of alignment against the numbers of the reference code, values and gradients."""

import pytest
import torch

from keyshift.adapt.alignment import (
    Discriminator,
    balance,
    coral,
    disagreement,
    domain_loss,
    entropy,
    joint_mmd,
    kernel,
    mmd,
    outer,
    random_outer,
    regression_disparity,
    spectral,
    sureness,
)
from keyshift.adapt.gradients import WarmStartGradient

N = 8


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.load("strategy_alignment")


@pytest.fixture
def given(golden):
    made = {"s": golden.normal("z_s", (N, 12)), "t": golden.normal("z_t", (N, 12), 1.3) + 0.4}
    made |= {name: golden.normal(name, (N, 5), 2) for name in ("g_s", "g_t", "a_s", "a_t")}
    return {name: value.requires_grad_() for name, value in made.items()}


SHIFT = 2 / (N - 1)
"""What the reference adds to a discrepancy."""


def jan(x, linear):
    layers = [(x["s"], x["t"], None), (x["g_s"].softmax(1), x["g_t"].softmax(1), 0.92)]
    return joint_mmd(layers, linear) + SHIFT


SCALARS = {
    "mkmmd.linear": lambda x: mmd(x["s"], x["t"], linear=True) + SHIFT,
    "mkmmd.quadratic": lambda x: mmd(x["s"], x["t"]) + SHIFT,
    "jmmd.linear": lambda x: jan(x, True),
    "jmmd.quadratic": lambda x: jan(x, False),
    "coral": lambda x: coral(x["s"], x["t"], means=True),
    "coral.paper": lambda x: coral(x["s"], x["t"]),
    "bsp": lambda x: spectral(x["s"], x["t"]),
    "mcd.discrepancy": lambda x: disagreement(x["g_t"].softmax(1), x["a_t"].softmax(1)) / 5,
    "mcd.entropy": lambda x: balance(x["g_t"]),
    "mdd.regression.l1": lambda x: -regression_disparity((x["g_s"], x["a_s"]), (x["g_t"], x["a_t"]), 1.0),
    "mdd.regression.l1.margin4": lambda x: -regression_disparity((x["g_s"], x["a_s"]), (x["g_t"], x["a_t"]), 4.0),
}


@pytest.mark.parametrize("name", SCALARS)
def test_values_and_gradients(golden, arrays, given, name):
    value = SCALARS[name](given)
    golden.compare(arrays, name, value)
    value.backward()
    compared = [one for one in arrays.files if one.startswith(f"{name}.grad_") and not one.endswith(".noise")]
    for one in compared:
        leaf = given[one.rpartition("grad_")[2]]
        golden.compare(arrays, one, torch.zeros_like(leaf) if leaf.grad is None else leaf.grad)
    assert compared or name.endswith("margin4")


def test_kernels_entropy_and_maps(golden, arrays, given):
    both = torch.cat([given["s"], given["t"]])
    golden.compare(arrays, "mkmmd.kernel_sum", kernel(both))
    golden.compare(arrays, "mkmmd.quadratic.same", mmd(given["s"], given["s"]) + SHIFT)
    golden.compare(arrays, "entropy", entropy(given["g_t"]))
    p = given["g_s"].softmax(1)
    golden.compare(arrays, "cdan.map", outer(given["s"], p))
    first, second = golden.normal("r_f", (12, 9)), golden.normal("r_g", (5, 9))
    golden.compare(arrays, "cdan.random_map", random_outer(given["s"], p, first, second))
    outer(given["s"], p).sum().backward()
    assert given["g_s"].grad is None


def loaded(golden, keys, features):
    discriminator = Discriminator(features, 16)
    weights = golden.weights(keys, ())
    discriminator.load_state_dict(dict(zip(discriminator.state_dict(), weights.values(), strict=True)))
    return discriminator


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_discriminator(golden, arrays, given, mode):
    discriminator = loaded(golden, "strategy_alignment.dann", 12).train(mode == "train")
    weights = torch.cat(
        [torch.from_numpy(golden.draw(n).random_sample((N, 1)) * 1.8 + 0.2).float() for n in ("w_s", "w_t")]
    )
    gradient = WarmStartGradient(hi=1.0, reverse=True)
    gradient.iteration += 500
    logits = discriminator(gradient(torch.cat([given["s"], given["t"]])))
    golden.compare(arrays, f"dann.{mode}.output", logits.sigmoid())
    golden.compare(arrays, f"dann.{mode}.loss_weighted", domain_loss(logits, N, weights))
    loss = domain_loss(logits, N)
    golden.compare(arrays, f"dann.{mode}.loss", loss)
    loss.backward()
    for name in "st":
        golden.compare(arrays, f"dann.{mode}.loss.grad_{name}", given[name].grad)
    golden.compare(arrays, f"dann.{mode}.loss.grad_first", discriminator[0].weight.grad)
    golden.compare(arrays, f"dann.{mode}.loss.grad_last", discriminator[-1].weight.grad)


def test_the_reversal_opens_as_the_reference(arrays):
    for (alpha, lo, hi, count), wanted in zip(arrays["grl.settings"], arrays["grl.values"], strict=True):
        gradient = WarmStartGradient(float(alpha), float(lo), float(hi), int(count), reverse=True)
        for step, factor in zip(arrays["grl.steps"], wanted, strict=True):
            gradient.iteration.fill_(float(step))
            x = torch.ones((), requires_grad=True)
            gradient(x).backward()
            assert abs(float(x.grad) - float(factor)) < 1e-6


def test_conditioning(golden, arrays, given):
    discriminator = loaded(golden, "strategy_alignment.cdan", 60).train()
    maps = torch.cat([outer(given["s"], given["g_s"].softmax(1)), outer(given["t"], given["g_t"].softmax(1))])
    logits = discriminator(maps)
    golden.compare(arrays, "cdan.loss", domain_loss(logits, N))
    weights = sureness(torch.cat([given["g_s"], given["g_t"]]))
    golden.compare(arrays, "cdan.loss_entropy", domain_loss(logits, N, weights))
