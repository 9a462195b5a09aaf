"""Each system of the registry on a card: the same losses, gradients and poses as on the CPU, and a training step that
neither waits for the card nor copies numbers onto it but once."""

from contextlib import nullcontext
from copy import deepcopy
from dataclasses import fields, replace

import pytest
import torch

from keyshift.models.output import Votes
from keyshift.models.saved import MODELS

MATCHED = {"prtr", "prtr_people"}
"""Whose training matches queries with keypoints or people, on the host."""


def training(model, sample):
    """The losses of one training step, and the gradients by name."""
    torch.manual_seed(0)
    model.train().zero_grad()
    losses = model.loss(model(sample), sample)
    torch.stack(list(losses.values())).sum().backward()
    return losses | {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


@torch.no_grad()
def poses_of(model, votes, sample):
    poses = model.eval().decode(votes, sample)
    return {"points": poses.points, "confidence": poses.confidence, "image_index": poses.image_index}


def moved(value, device):
    """Votes, and all that they hold, on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: moved(one, device) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(moved(one, device) for one in value)
    if isinstance(value, Votes):
        return replace(value, **{f.name: moved(getattr(value, f.name), device) for f in fields(value)})
    return value


@pytest.mark.filterwarnings("ignore:samples without a camera")
@pytest.mark.parametrize("name", MODELS)
def test_answers_as_on_the_cpu(every, card, tmp_path, name):
    model = every.small(name, tmp_path)
    sample = every.samples(model)
    here, seen = deepcopy(model).to(card.device), sample.to(card.device)
    training(deepcopy(here), seen)
    with nullcontext() if name in MATCHED else card.quiet():
        given = training(here, seen)
    wanted = training(model, sample)
    with torch.no_grad():
        votes = model.eval()(sample)
    given |= poses_of(here, moved(votes, card.device), seen)
    wanted |= poses_of(model, votes, sample)
    assert given.keys() == wanted.keys()
    for key, value in given.items():
        assert value.device.type == card.device.type, key
        away, size = (one.detach().double().norm() for one in (value.cpu() - wanted[key], wanted[key]))
        assert away <= (1e-6 if card.same_draws else 1e-2) * size + 1e-5, key
