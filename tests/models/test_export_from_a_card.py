"""A network that lies on a card is exported as it is from the CPU, and stays where it is."""

from copy import deepcopy

import pytest
import torch

from keyshift.models.export import to_onnx, to_program
from keyshift.models.saved import load_model, save_model


@pytest.fixture(params=["card", pytest.param("cuda", marks=pytest.mark.gpu)])
def moved(request, pretended):
    """moved(model): a copy on the card."""
    if request.param == "cuda":
        return lambda model: deepcopy(model).cuda()

    def move(model):
        with pretended.Card() as card:
            return deepcopy(model).to(card.device)

    return move


@pytest.mark.parametrize("write", [to_program, pytest.param(to_onnx, marks=pytest.mark.gpu)])
def test_exports(every, moved, tmp_path, write):
    there = moved(every.small("pose_resnet", tmp_path))
    device = next(there.parameters()).device
    assert device.type != "cpu"
    write(there, (32, 32), tmp_path / "model", every.SKELETON)  # which compares the file's answers with PyTorch's
    assert (tmp_path / "model").is_file()
    assert all(parameter.device == device for parameter in there.parameters())


def test_weights_that_were_saved_on_a_card_load_on_the_cpu(every, moved, tmp_path):
    model = every.small("pose_resnet", tmp_path)
    save_model(tmp_path / "weights.pt", moved(model), every.SKELETON, 0)
    state = load_model(tmp_path / "weights.pt")[0].state_dict()
    for key, value in model.state_dict().items():
        assert state[key].device.type == "cpu"
        assert torch.equal(state[key], value), key
