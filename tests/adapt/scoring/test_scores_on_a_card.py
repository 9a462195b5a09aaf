"""Label-free scores, evaluation and agreement of a network on a card: what they say on the CPU."""

from copy import deepcopy

import pytest
import torch

from keyshift.adapt.scoring.evaluation import agreement, everyone, predict, scores
from keyshift.adapt.scoring.evidence import Evidence, Looks
from keyshift.adapt.scoring.label_free import SCORES
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches

CPU, AUGMENTATION = torch.device("cpu"), Augmentation(rotation=20)


def heatmap(toys, dots):
    model = toys.TopDown(3, toys.TopDown.Options(channels=8))
    return model, dots(12, "shifted"), dots(12, "plain")


def people(toys, dots):
    model = toys.BottomUp(3, toys.BottomUp.Options(channels=8, threshold=0.55))
    return model, *(toys.Scenes(toys.Scenes.Options(test=12), "test", style) for style in ("shifted", "plain"))


def lifter(toys, dots):
    model = toys.Lifter(3, toys.Lifter.Options(channels=8))
    return model, *(toys.Sequences(toys.Sequences.Options(test=12), "test", style) for style in ("shifted", "plain"))


def said(model, device, target, source):
    """All scores, what evaluation says of the target, and the agreement of two views."""
    looks = Looks(target, source, target.skeleton, (32, 32), AUGMENTATION, 0.1, device)
    given = deepcopy(model)
    with torch.no_grad():
        for parameter in given.parameters():
            parameter.mul_(1.1)
    evidence = Evidence(model, looks, Evidence(given, looks))
    values = {name: score(evidence) for name, score in SCORES.items()}
    batches, flip = EvaluationBatches(target, 6, (32, 32)), target.skeleton.flip
    mirror = flip if model.single and "image" in model.reads else None
    made = predict(model, [batches[0], batches[1]], device, mirror, target.skeleton)
    values |= scores(made, target.skeleton, 0.1)
    views = TrainingBatches(target, "score", 0, 6, (32, 32), AUGMENTATION, False, 2)
    values["agree"] = agreement(model, [views[0]], flip, device)
    poses = everyone(model, target, 6, (32, 32), AUGMENTATION, device).predict(1)
    return values, poses.points


@pytest.mark.parametrize("head", [heatmap, people, lifter])
def test_the_same_numbers(toys, dots, card, head):
    torch.manual_seed(0)
    model, target, source = head(toys, dots)
    wanted, poses = said(deepcopy(model), CPU, target, source)
    given, there = said(deepcopy(model).to(card.device), card.device, target, source)
    assert there.device.type == card.device.type
    assert given.keys() == wanted.keys()
    for name, value in wanted.items():
        assert given[name] == pytest.approx(value, rel=1e-3, abs=1e-3, nan_ok=True), name
    torch.testing.assert_close(there.cpu(), poses, atol=1e-2, rtol=1e-3)
