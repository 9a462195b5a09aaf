"""The teacher's weights and batch statistics, against the formula and against what version 0.1.0 did."""

from copy import deepcopy

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.loading import TrainingBatches

DECAY = 0.7


def build(toys, averaging="paper", system="bottom_up"):
    torch.manual_seed(0)
    model = toys.SYSTEMS[system](3, toys.SYSTEMS[system].Options(channels=8))
    options = MeanTeacher.Options(decay=DECAY, averaging=averaging)
    return MeanTeacher(model, toys.DOTS, Optimization("adam", 1e-2, {}, 0.0), options=options).train()


@pytest.fixture
def pair(toys, augmentation):
    """Source and target batches by step."""
    kind = toys.Scenes
    cut = 0, 4, (32, 32), augmentation
    source = TrainingBatches(kind(kind.Options(), "train"), "source", *cut, True)
    return source, TrainingBatches(kind(kind.Options(), "train", "shifted"), "target", *cut, False, 2)


def values(named):
    return {name: value.detach().clone() for name, value in named}


def test_weights_are_the_moving_average_from_the_first_update_on(toys, pair, iterate):
    strategy = build(toys)
    optimizers = strategy.optimizers()
    average = values(strategy.teacher.named_parameters())
    for step in range(3):
        iterate(strategy, pair[0][step], pair[1][step], optimizers)
        for name, student in strategy.model.named_parameters():
            average[name] = DECAY * average[name] + (1 - DECAY) * student.detach()
            own = dict(strategy.teacher.named_parameters())[name]
            torch.testing.assert_close(own, average[name], atol=1e-6, rtol=1e-5)
            assert own.shape == student.shape
            assert not own.requires_grad
        assert strategy.averaged == step + 1
    assert any(not torch.equal(average[name], student) for name, student in strategy.model.named_parameters())


def test_statistics_are_those_of_the_teachers_own_passes(toys, pair, iterate):
    """A copy of the teacher that sees the target's first view before each update has the same ones, to the bit; the
    student, which sees the second, has others."""
    strategy = build(toys)
    optimizers = strategy.optimizers()
    for step in range(2):
        alone = deepcopy(strategy.teacher)
        with torch.no_grad():
            alone(pair[1][step])
        iterate(strategy, pair[0][step], pair[1][step], optimizers)
        wanted, student = dict(alone.named_buffers()), dict(strategy.model.named_buffers())
        for name, own in strategy.teacher.named_buffers():
            assert torch.equal(own, wanted[name]), name
            if not name.endswith("num_batches_tracked"):
                assert not torch.equal(own, student[name]), name


def test_copied_is_what_version_0_1_0_did(toys, pair, iterate):
    strategy = build(toys, "copied")
    old = AveragedModel(strategy.model, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
    optimizers = strategy.optimizers()
    for step in range(3):
        iterate(strategy, pair[0][step], pair[1][step], optimizers)
        old.update_parameters(strategy.model)
        wanted = old.module.state_dict()
        for name, own in strategy.teacher.state_dict().items():
            assert torch.equal(own, wanted[name]), (step, name)
        if step == 0:
            assert all(torch.equal(own, wanted[name]) for name, own in strategy.model.state_dict().items())


def test_a_checkpoint_of_version_0_1_0_loads(toys, pair, iterate):
    """There the teacher lay in an AveragedModel: teacher.module.* and teacher.n_averaged."""
    strategy = build(toys, "copied")
    optimizers = strategy.optimizers()
    iterate(strategy, pair[0][0], pair[1][0], optimizers)
    old = {}
    for name, value in strategy.state_dict().items():
        if name == "averaged":
            old["teacher.n_averaged"] = value
        else:
            old[name.replace("teacher.", "teacher.module.") if name.startswith("teacher.") else name] = value
    assert "teacher.module.head.0.weight" in old
    fresh = build(toys, "copied")
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.zero_()
    fresh.load_state_dict(old)
    assert fresh.averaged == 1
    for name, value in strategy.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name]), name
