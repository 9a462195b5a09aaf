"""The parts of networks that torch.compile makes, and when they are not used."""

import shutil
from copy import deepcopy

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.strategy import Optimization
from keyshift.adapt.trainer import Loop, Trainer, compile_parts
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import TrainingBatches
from keyshift.models.saved import load_checkpoint


@pytest.fixture
def made(monkeypatch):
    """The modules that were compiled; nothing is, for it takes long."""
    modules = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, **_: modules.append(module))
    return modules


def regda(toys, dots):
    torch.manual_seed(0)
    model = toys.TopDown(3, toys.TopDown.Options(channels=8, sigma=1.0, head_layers=2))
    return RegDA(model, dots.skeleton, Optimization("sgd", 1e-2)).train()


def test_all_that_learns_is_compiled(toys, dots, made):
    strategy = regda(toys, dots)
    compile_parts(strategy)
    inside = {id(parameter) for module in made for parameter in module.parameters()}
    assert inside == {id(parameter) for parameter in strategy.parameters()}
    assert strategy.model not in made  # its `features` and `votes` are called, not it


def test_evaluation_runs_networks_as_they_are_written_and_a_run_may_go_on_so(toys, dots, made, tmp_path, monkeypatch):
    stances, data = [], {}
    monkeypatch.setattr(Trainer, "save_weights", lambda *_: None)  # a toy cannot be built again
    for domain, style in (("source", "plain"), ("target", "shifted")):
        data[domain] = TrainingBatches(
            dots(12, style), domain, 0, 4, (32, 32), Augmentation(), labels=domain == "source"
        )

    def evaluate(model):
        stances.append(torch._dynamo.eval_frame._stance.stance)
        return {"target/pck": 0.5}

    for steps, compiled in ((1, True), (2, False)):
        loop = Loop(steps, evaluate_every=1, checkpoint_every=1, compile=compiled)
        fabric = Fabric(accelerator="cpu", devices=1)
        Trainer(fabric, regda(toys, dots), data, tmp_path, loop, 0, evaluate).fit()
        assert bool(made) == compiled
        made.clear()
    assert stances == ["force_eager", "default"]
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 2


@pytest.mark.filterwarnings("ignore")  # torch's own, of its compiler
@pytest.mark.skipif(shutil.which("g++") is None, reason="the compiler needs one of C++")
def test_a_compiled_layer_learns_the_same():
    """One layer: each takes seconds."""
    written = nn.Linear(3, 4)
    compiled = deepcopy(written)
    compile_parts(nn.Sequential(compiled))
    values = torch.randn(2, 3)
    for layer in (written, compiled):
        layer(values).square().sum().backward()
    torch.testing.assert_close(compiled.weight.grad, written.weight.grad)
    assert deepcopy(compiled)._compiled_call_impl is None  # a teacher copied from it runs as it is written
    assert list(compiled.state_dict()) == list(written.state_dict())
    torch._dynamo.reset()
