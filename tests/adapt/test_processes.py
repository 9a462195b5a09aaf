"""Several processes do what one does: batch norm over the whole batch, evaluation shared out, and a run that goes on
with another number of them."""

import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

from keyshift.adapt.alignment import Discriminator
from keyshift.adapt.processes import shared
from keyshift.adapt.shared_norm import SharedNorm, share_statistics
from keyshift.models.saved import load_checkpoint

SCRIPT = Path(__file__).with_name("in_processes.py")


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """The folder of what one, two, three and four processes leave."""
    folder = tmp_path_factory.mktemp("processes")
    subprocess.run([sys.executable, str(SCRIPT), str(folder)], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    return folder


def test_batch_norm_of_several_processes_is_that_of_their_whole_batch(left):
    """Of shares of different lengths, one of them empty: answers, statistics, and the sum of the gradients."""
    whole = torch.load(left / "norm-1-0.pt")
    parts = [torch.load(left / f"norm-3-{rank}.pt") for rank in range(3)]
    torch.testing.assert_close(torch.cat([part["answer"] for part in parts]), whole["answer"])
    for name, gradient in whole["gradients"].items():
        own = sum(part["gradients"][name] for part in parts)
        torch.testing.assert_close(own, gradient, atol=5e-4, rtol=1e-4)  # of up to 400
    for part in parts:
        assert list(part["state"]) == list(whole["state"])
        for name, value in whole["state"].items():
            torch.testing.assert_close(part["state"][name], value, msg=name)


def test_evaluation_shared_by_two_processes_is_that_of_one_to_the_bit(left):
    alone, *both = (torch.load(left / f"look-{name}.pt") for name in ("1-0", "2-0", "2-1"))
    assert alone.pop("read") == [0, 1, 2, 3, 4]
    assert [one.pop("read") for one in both] == [[0, 2, 4], [1, 3]]  # each reads its own share alone
    assert [one.pop("agreement") for one in both] == [alone.pop("agreement")] * 2
    for name, values in alone.items():
        for one in both:
            assert all(torch.equal(a, b) for a, b in zip(one[name], values, strict=True)), name


@pytest.mark.parametrize("then", [1, 4])
def test_a_run_of_two_processes_goes_on_with_another_number(left, then):
    """No weight and no statistic is further from the undisturbed run of one process than a small share of its way."""
    whole, other = (load_checkpoint(left / f / "checkpoint.pt")["strategy"] for f in ("whole", f"two-{then}"))
    assert whole.keys() == other.keys()
    for name, value in whole.items():
        torch.testing.assert_close(value, other[name], atol=2e-5, rtol=1e-4, msg=name)


def test_layers_that_share_their_statistics_keep_what_they_are():
    class Activated(nn.BatchNorm2d):  # as timm's, which ends in an activation
        def __init__(self, features):
            super().__init__(features)
            self.drop, self.act = nn.Identity(), nn.ReLU()

        def forward(self, x):
            return self.act(self.drop(super().forward(x)))

    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), Activated(4), nn.Flatten(), Discriminator(36, 8))
    before, names = deepcopy(network), list(network.state_dict())
    hooked = []
    network[1].register_forward_pre_hook(lambda *_: hooked.append(True))
    share_statistics(network)
    kinds = [type(layer) for layer in network]
    share_statistics(network)  # once more changes nothing
    assert [type(layer) for layer in network] == kinds
    assert list(network.state_dict()) == names
    network.load_state_dict(before.state_dict())
    assert isinstance(network[1], SharedNorm)
    assert isinstance(network[1], nn.BatchNorm2d)
    assert isinstance(deepcopy(network)[2], SharedNorm)
    assert not any(isinstance(layer, SharedNorm) for layer in network[4])  # it sees the batches of all processes
    values = torch.randn(5, 3, 3, 3)
    for mode in (True, False):  # of one process they are the layers that they were
        torch.testing.assert_close(network.train(mode)(values), before.train(mode)(values), rtol=0, atol=0)
    assert hooked == [True, True]


def test_alone_a_process_reads_all_in_order():
    assert shared(iter([1, 2, 3]), str) == shared([1, 2, 3], str) == ["1", "2", "3"]
