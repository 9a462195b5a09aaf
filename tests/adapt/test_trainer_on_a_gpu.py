"""Runs of a trainer on a GPU end as they do when they are killed on the way; small ones on the CPU show that the tests
themselves hold."""

import pytest
import torch
from lightning_fabric import Fabric

from keyshift.adapt.scoring.evaluation import everyone
from keyshift.adapt.strategies import STRATEGIES, suited
from keyshift.adapt.strategy import Optimization
from keyshift.adapt.trainer import Loop, Trainer
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import TrainingBatches
from keyshift.experiments.runs.device import repeatable
from keyshift.models.saved import load_checkpoint
from keyshift.models.systems.pose_resnet import PoseResNet

GPU = pytest.mark.gpu
SHOWN = [*(("cpu", name) for name in ("regda", "self_training")), *(("cuda", name) for name in suited(["image"]))]


@pytest.fixture
def exact():
    """As a run sets it, for the time of a test."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    yield repeatable
    torch.use_deterministic_algorithms(before[0])
    torch.backends.cudnn.deterministic = before[1]


def trained(name, dots, folder, place, steps, precision="32-true", last=False, compiled=False):
    """The state at the end of a run of so many steps in `folder`, from its checkpoint if there is one."""
    torch.manual_seed(0)
    sizes = {"input_size": [32, 32], "heatmap_size": [8, 8]}
    model = PoseResNet(3, PoseResNet.Options(backbone="small", channels=8, sigma=1.0, **sizes))
    strategy = STRATEGIES[name](model, dots.skeleton, Optimization("adam", 1e-3, {}, 0.0, gamma=0.0))
    if compiled:
        for part in strategy.model.children():
            part.compile(dynamic=False)
    sides, cut = {"source": dots(16, "plain"), "target": dots(16, "shifted")}, (0, 4, (32, 32), Augmentation())
    labels = {"source": True, "target": strategy.labelled_target}
    batches = {d: TrainingBatches(data, d, *cut, labels[d], strategy.views[d]) for d, data in sides.items()}
    fabric = Fabric(accelerator=place, devices=1, precision=precision)
    folder.mkdir(exist_ok=True)
    Trainer(
        fabric,
        strategy,
        batches,
        folder,
        Loop(steps, log_every=1, checkpoint_every=2, channels_last=last),
        0,
        target=lambda one: everyone(one, sides["target"], 4, (32, 32), Augmentation(), fabric.device),
    ).fit()
    state = strategy.state_dict()
    assert all(value.device.type == place for value in state.values())
    return {key: value.cpu() for key, value in state.items()}


@pytest.mark.parametrize(
    ("place", "name"), [pytest.param(*one, marks=GPU if one[0] == "cuda" else ()) for one in SHOWN]
)
def test_a_run_that_goes_on_is_the_whole_one_to_the_bit(dots, tmp_path, exact, place, name):
    exact(torch.device(place))
    whole = trained(name, dots, tmp_path / "whole", place, 4)
    trained(name, dots, tmp_path / "killed", place, 2)
    killed = trained(name, dots, tmp_path / "killed", place, 4)
    for key, value in whole.items():
        assert torch.equal(killed[key], value), key
    content = load_checkpoint(tmp_path / "killed" / "checkpoint.pt", ("strategy",))["strategy"]
    assert all(value.device.type == "cpu" for value in content.values())


@GPU
@pytest.mark.parametrize("form", [{"precision": "bf16-mixed"}, {"last": True}, {"compiled": True}])
def test_faster_forms_of_a_step_end_near_the_plain_one(dots, tmp_path, exact, form):
    exact(torch.device("cuda"))
    plain = trained("source_only", dots, tmp_path / "plain", "cuda", 2)
    fast = trained("source_only", dots, tmp_path / "fast", "cuda", 2, **form)
    for key, value in plain.items():
        if value.is_floating_point():
            assert fast[key].isfinite().all()
            torch.testing.assert_close(fast[key], value, atol=1e-2, rtol=0.1, msg=key)
