"""Each system of the registry on a card: the same losses, gradients and poses as on the CPU, and a training step that
neither waits for the card nor copies numbers onto it but once."""

from copy import deepcopy

import pytest
import torch

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
def poses_of(model, sample):
    poses = model.eval().decode(model(sample), sample)
    return {"points": poses.points, "confidence": poses.confidence, "image_index": poses.image_index}


@pytest.mark.filterwarnings("ignore:samples without a camera")
@pytest.mark.parametrize("name", MODELS)
def test_answers_as_on_the_cpu(every, card, tmp_path, name):
    model = every.small(name, tmp_path)
    sample = every.samples(model)
    here, seen = deepcopy(model).to(card.device), sample.to(card.device)
    training(deepcopy(here), seen)
    first = len(card.waits), len(card.copies)
    given = training(here, seen)
    assert name in MATCHED or (card.waits[first[0] :], card.copies[first[1] :]) == ([], [])
    given |= poses_of(here, seen)
    wanted = training(model, sample) | poses_of(model, sample)
    assert given.keys() == wanted.keys()
    for key, value in given.items():
        assert value.device.type == card.device.type, key
        torch.testing.assert_close(value.detach().cpu(), wanted[key].detach(), atol=1e-3, rtol=1e-3, msg=key)
