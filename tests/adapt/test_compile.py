"""Networks whose parts torch.compile makes train as they do by themselves."""

import shutil
from copy import deepcopy
from functools import partialmethod

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.strategy import Optimization
from keyshift.adapt.trainer import Loop, Trainer, compile_parts, updates
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import TrainingBatches
from keyshift.models.saved import load_checkpoint

MADE_BY = [
    "aot_eager",
    pytest.param(
        "inductor", marks=pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
    ),
]


@pytest.fixture
def parts(monkeypatch):
    """The names of the parts that were made; `parts.by(backend)` says by what."""
    made, compile_it = [], nn.Module.compile

    def counted(part, *args, **kwargs):
        made.append(type(part).__name__)
        return compile_it(part, *args, **kwargs)

    def by(backend):
        monkeypatch.setattr(nn.Module, "compile", partialmethod(counted, backend=backend))
        return made

    yield by
    torch._dynamo.reset()


def regda(toys, dots):
    torch.manual_seed(0)
    model = toys.TopDown(3, toys.TopDown.Options(channels=8, sigma=1.0, head_layers=2))
    return RegDA(model, dots.skeleton, Optimization("sgd", 1e-2)).train()


def batches(dots, domain):
    style = "plain" if domain == "source" else "shifted"
    return TrainingBatches(dots(12, style), domain, 0, 4, (32, 32), Augmentation(), domain == "source")


@pytest.mark.filterwarnings("ignore")  # torch's own, of its compiler
@pytest.mark.parametrize("backend", MADE_BY)
def test_compiled_parts_train_to_the_same(toys, dots, parts, backend):
    written, fabric = regda(toys, dots), Fabric(accelerator="cpu", devices=1)
    compiled, made = deepcopy(written), parts(backend)
    compile_parts(compiled)
    assert len(made) >= 3  # what makes features, the head and the adversary
    names = list(compiled.state_dict())
    for strategy in (written, compiled):
        optimizers = strategy.optimizers()
        for step in range(2):
            drawn = [batches(dots, domain)[step] for domain in ("source", "target")]
            assert len(list(updates(fabric, strategy, optimizers, *drawn))) == 3
    assert list(compiled.state_dict()) == names
    for key, value in written.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[key], value, rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_run_evaluates_as_it_is_written_and_can_go_on_otherwise(toys, dots, parts, tmp_path):
    parts("aot_eager")
    fabric, seen = Fabric(accelerator="cpu", devices=1), []

    def evaluate(model):
        seen.append(torch.compiler.is_compiling() or torch._dynamo.eval_frame._stance.stance)
        return {"target/pck": 0.5}

    data = {domain: batches(dots, domain) for domain in ("source", "target")}
    for steps, compiled in ((1, True), (2, False)):
        loop = Loop(steps, evaluate_every=1, checkpoint_every=1, compile=compiled)
        Trainer(fabric, regda(toys, dots), data, tmp_path, loop, 0, evaluate).fit()
    assert seen == ["force_eager", "default"]
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 2
