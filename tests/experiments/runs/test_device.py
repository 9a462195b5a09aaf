"""What `device` means, on machines that are not there."""

import pytest
import torch

from keyshift.experiments.config import build
from keyshift.experiments.runs.device import choose_device, name_of
from keyshift.experiments.runs.training import make_fabric


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many GPUs of CUDA, and with or without Apple's."""

    def has(gpus=0, apple=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)

    return has


@pytest.mark.parametrize(
    ("gpus", "apple", "said", "chosen"),
    [
        (0, False, "auto", "cpu"),
        (2, False, "auto", "cuda"),
        (0, True, "auto", "mps"),
        (1, True, "auto", "cuda"),
        (2, False, "cuda", "cuda"),
        (2, False, "cuda:1", "cuda:1"),
        (2, True, "mps", "mps"),
        (2, True, "cpu", "cpu"),
    ],
)
def test_the_device_that_is_there(machine, gpus, apple, said, chosen):
    machine(gpus, apple)
    assert str(choose_device(said)) == chosen


@pytest.mark.parametrize(
    ("gpus", "apple", "said", "message"),
    [
        (0, False, "cuda", "device=cuda: torch sees no GPU here; use device=auto or device=cpu"),
        (0, False, "mps", "device=mps: torch sees no GPU here; use device=auto or device=cpu"),
        (0, True, "cuda", "device=cuda: torch sees mps here; use device=auto or device=mps"),
        (2, False, "cuda:2", "device=cuda:2: torch sees cuda:0, cuda:1 here; use device=auto or device=cuda:0"),
        (1, False, "mps", "device=mps: torch sees cuda:0 here; use device=auto or device=cuda:0"),
        (1, False, "gpu", "device='gpu' is not known; choose one of auto, cpu, cuda, cuda:1, mps"),
        (1, False, "cuda:-1", "is not known"),
        (1, False, "tpu:0", "is not known"),
    ],
)
def test_one_that_is_not_there_is_refused_and_those_that_are_are_named(machine, gpus, apple, said, message):
    machine(gpus, apple)
    with pytest.raises(ValueError, match=message):
        choose_device(said)


def test_a_run_trains_where_it_is_told_to(machine, monkeypatch):
    class Kept(Exception):
        pass

    def fabric(**arguments):
        raise Kept(arguments)

    monkeypatch.setattr("keyshift.experiments.runs.training.Fabric", fabric)
    settled = []
    monkeypatch.setattr("keyshift.experiments.runs.training.repeatable", settled.append)
    for said, accelerator, devices in (("cuda:1", "cuda", [1]), ("cuda", "cuda", 1), ("cpu", "cpu", 1)):
        machine(2)
        with pytest.raises(Kept) as kept:
            make_fabric(build({}, [f"device={said}"]))
        assert kept.value.args[0] == {"accelerator": accelerator, "devices": devices, "precision": "32-true"}
    assert [str(device) for device in settled] == ["cuda:1", "cuda", "cpu"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="device=cuda:1 is one GPU for 2 processes"):
        make_fabric(build({}, ["device=cuda:1"]))
    assert name_of(torch.device("cpu")) == "cpu"
    assert name_of(torch.device("mps")) == "mps"
