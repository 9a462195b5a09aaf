"""Each strategy on a card: the same weights as on the CPU, all of its state on the card, and steps that neither wait
for the card nor copy numbers onto it."""

from contextlib import nullcontext
from copy import deepcopy

import pytest
import torch
from lightning_fabric import Fabric

from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.methods.uniframe import UniFrame
from keyshift.adapt.scoring.evaluation import everyone
from keyshift.adapt.strategies import STRATEGIES, suited
from keyshift.adapt.strategy import Optimization
from keyshift.adapt.trainer import updates
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import TrainingBatches
from keyshift.datasets.views import as_clips

CPU = torch.device("cpu")
ADAM = Optimization("adam", 3e-3, {}, 0.0, gamma=0.0)
OPTIONS = {
    "regda": RegDA.Options(head_layers=1),
    "mean_teacher": MeanTeacher.Options(decay=0.9),
    "uniframe": UniFrame.Options(decay=0.9, restyled=1.0),
}


def picture_case(toys, dots):
    torch.manual_seed(0)
    model = toys.TopDown(3, toys.TopDown.Options(channels=8))
    return model, {d: dots(8, style) for d, style in (("source", "plain"), ("target", "shifted"))}


def lifter_case(toys, dots):
    torch.manual_seed(0)
    options = toys.Recordings.Options(train=4, frames=6)
    sides = (("source", "plain"), ("target", "shifted"))
    sides = {d: as_clips(toys.Recordings(options, "train", style), 5) for d, style in sides}
    return toys.BodyLifter(6, toys.BodyLifter.Options()), sides


CASES = {name: picture_case if name in suited(["image"]) else lifter_case for name in STRATEGIES}


@pytest.mark.parametrize("name", STRATEGIES)
def test_two_updates(toys, dots, card, name):
    model, sides = CASES[name](toys, dots)
    size, kind = tuple(model.options.input_size), STRATEGIES[name]
    strategy = kind(model, sides["target"].skeleton, ADAM, options=OPTIONS.get(name)).train()
    labels, cut = {"source": True, "target": kind.labelled_target}, (0, 2, size, Augmentation(rotation=20, mirror=0.5))
    batches = {d: TrainingBatches(sides[d], d, *cut, labels[d], strategy.views[d]) for d in sides}
    fabric, states = Fabric(accelerator="cpu", devices=1), []
    for device in (CPU, card.device):
        one = deepcopy(strategy).to(device)
        one.see_source(lambda: [batches["source"][0]])
        if one.round_length():
            one.begin_round(everyone(one.predictor, sides["target"], 4, size, cut[-1], device))
        optimizers = one.optimizers()
        for step in range(2):
            drawn = [batches[d][step].to(device) if d in kind.needs else None for d in ("source", "target")]
            torch.manual_seed(step)
            with card.quiet() if step > 0 else nullcontext():  # constants cross in the first
                for losses in updates(fabric, one, optimizers, *drawn):
                    assert all(loss.device.type == device.type for loss in losses.values())
        states.append(one.state_dict())
    for key, value in states[1].items():
        assert value.device.type == card.device.type, key
        assert value.isfinite().all(), key
        if card.same_draws:
            torch.testing.assert_close(value.cpu(), states[0][key], atol=1e-5, rtol=1e-5, msg=key)
