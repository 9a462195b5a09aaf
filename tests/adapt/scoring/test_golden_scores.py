"""Label-free scores of classifiers against the numbers of the reference code, values and gradients."""

import math

import pytest
import torch

from keyshift.adapt.scoring.density import (
    column_norm,
    controlled_risk,
    diversity,
    entropy,
    frobenius_norm,
    information,
    neighbourhood_density,
    nuclear_norm,
)

SIZES = {"wide": (12, 5, 2.0), "tall": (6, 16, 1.0)}
"""Samples, classes, scale of the logits."""


def rank(p):
    return min(p.shape)


def left_out(rows):
    return neighbourhood_density(rows, own=-math.inf, epsilon=0)


SCORES = {
    "snd": neighbourhood_density,
    "snd.T0.5": lambda p: neighbourhood_density(p, 0.5),
    "snd.entropy": lambda p: entropy(p, 1e-5).mean(),
    "validator.snd": left_out,
    "validator.entropy": lambda p: -entropy(p).mean(),
    "validator.diversity": diversity,
    "validator.im": information,
    "validator.bnm": lambda p: nuclear_norm(p) / len(p),
}
LOSSES = {
    "entropy": lambda p: entropy(p).mean(),
    "diversity": lambda p: -diversity(p),
    "bnm": lambda p: -nuclear_norm(p) / len(p),
    "authors.bnm": lambda p: -nuclear_norm(p) / rank(p),
    "authors.fbnm": lambda p: -column_norm(p) / rank(p),
    "authors.bfm": lambda p: -frobenius_norm(p) / math.sqrt(rank(p)),
    "authors.im": lambda p: -information(p, 1e-5),
}
FEATURES = {"snd.features": neighbourhood_density, "validator.snd.features": left_out}


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.load("strategy_scores")


def features(golden, tag):
    rows = golden.normal(f"{tag}.features", (SIZES[tag][0], 11))
    rows[1] = 1.001 * rows[0]
    return rows


@pytest.mark.parametrize("tag", SIZES)
def test_values_and_gradients(golden, arrays, tag):
    """Of each array; several joints at once are the same as one after another."""
    count, classes, scale = SIZES[tag]
    logits = golden.normal(f"{tag}.logits", (count, classes), scale).requires_grad_()
    p = logits.softmax(-1)
    for name, score in (SCORES | LOSSES).items():
        golden.compare(arrays, f"{tag}.{name}", score(p))
    for name, loss in LOSSES.items():
        golden.compare(arrays, f"{tag}.{name}.grad_logits", torch.autograd.grad(loss(p), logits, retain_graph=True)[0])
    golden.compare(arrays, f"{tag}.snd.logits", neighbourhood_density(logits))
    for name, score in FEATURES.items():
        golden.compare(arrays, f"{tag}.{name}", score(features(golden, tag)))
    for score in (neighbourhood_density, diversity, information, nuclear_norm, column_norm, frobenius_norm):
        torch.testing.assert_close(score(torch.stack([p, p.square()])), torch.stack([score(p), score(p.square())]))


def test_the_risk_with_its_control_variate(golden, arrays):
    weight = torch.from_numpy(0.1 + 2.9 * golden.uniform("dev.weight", (25, 1))).float()
    error = torch.from_numpy(golden.uniform("dev.error", (25, 1))).float()
    golden.compare(arrays, "dev.risk", controlled_risk(weight, error))


def test_every_array_is_compared(arrays):
    """Else an array that another set adds would be passed over."""
    named = {f"{tag}.{name}" for tag in SIZES for name in (*SCORES, *LOSSES, *FEATURES, "snd.logits")}
    named |= {f"{tag}.{name}.grad_logits" for tag in SIZES for name in LOSSES} | {"dev.risk", "meta"}
    stored = {name.removesuffix(".noise") for name in arrays.files if not name.startswith("input.")}
    assert stored == named


def test_sure_answers_are_finite():
    """Probabilities of exactly 0 and 1, where the logarithm is not."""
    p = torch.eye(4)
    assert entropy(p).tolist() == [0, 0, 0, 0]
    assert float(information(p)) == pytest.approx(math.log(4))
    assert float(nuclear_norm(p)) == pytest.approx(4)
