"""What computes faster is settled once, and a run goes on as it began."""

import pytest
import torch
import yaml

from keyshift.experiments.config import build, of_pretraining
from keyshift.experiments.runs import precision
from keyshift.experiments.runs.precision import settled
from keyshift.experiments.runs.training import make_fabric

measured = precision.share_of_time


@pytest.fixture
def machine(monkeypatch):
    """`machine(share)` makes a convolution in bf16 take that share of its time in float32."""
    return lambda share: monkeypatch.setattr(precision, "share_of_time", lambda device: share)


@pytest.mark.parametrize(("share", "settles"), [(0.3, "bf16-mixed"), (1.3, "32-true"), (float("inf"), "32-true")])
def test_the_faster_precision_is_settled_and_said(tmp_path, machine, share, settles):
    machine(share)
    said = []
    config = settled(build({}, ["device=cpu"]), tmp_path / "run", False, said.append)
    assert (config.precision, config.channels_last) == (settles, True)
    assert len(said) == 1
    assert said[0].startswith(f"precision={settles}: ")
    assert make_fabric(build({}, ["device=cpu"]))._precision.precision == settles


def test_what_is_asked_for_is_not_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "share_of_time", lambda device: pytest.fail("measured"))
    asked = build({}, ["precision=32-true", "channels_last=false", "device=cpu"])
    config = settled(asked, tmp_path, False, pytest.fail)
    assert (config.precision, config.channels_last) == ("32-true", False)


def test_a_run_goes_on_as_it_began_whatever_the_machine(tmp_path, machine):
    """A folder of an earlier version says both, as false and 32-true by default."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"precision": "32-true", "channels_last": False}))
    machine(0.1)
    config = settled(build({}, ["device=cpu"]), tmp_path, False, pytest.fail)
    assert (config.precision, config.channels_last) == ("32-true", False)
    assert settled(build({}, ["device=cpu"]), tmp_path, True, list).precision == "bf16-mixed"  # it is deleted first


def test_pretrained_weights_are_known_by_what_was_settled(tmp_path, machine):
    names = []
    for share in (0.1, 2.0):
        machine(share)
        names.append(of_pretraining(settled(build({}, ["device=cpu"]), tmp_path, False, list)))
    assert [name["precision"] for name in names] == ["bf16-mixed", "32-true"]


def test_a_convolution_is_measured_once_and_draws_nothing():
    device, state, threads = torch.device("cpu"), torch.get_rng_state(), torch.get_num_threads()
    measured.cache_clear()
    share = measured(device)
    assert 0 < share < float("inf")
    assert measured(device) is share
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert measured(torch.device("mps")) == float("inf")
