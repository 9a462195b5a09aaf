"""What speed is measured against is what TLLib computes, and each system has a step that can be measured."""

import pytest
import torch

from keyshift.adapt.methods.pseudo_labels import ground_false, ground_truth
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.skeleton import HAND
from keyshift.experiments.commands.bench_step import labelled, regda_rows, small, step
from keyshift.experiments.commands.tllib_iteration import PseudoLabels, accuracy, iteration
from keyshift.models.output import Poses, Votes
from keyshift.models.saved import MODELS
from keyshift.models.systems.pose_resnet import PoseResNet


def network():
    torch.manual_seed(0)
    sizes = {"input_size": [32, 32], "heatmap_size": [8, 8]}
    return PoseResNet(21, PoseResNet.Options(backbone="small", channels=8, head_layers=2, reference=True, **sizes))


def hands():
    torch.manual_seed(1)
    return labelled(network(), 4)


def test_its_pseudo_labels_are_those_of_the_table():
    grid = network().grid
    votes = Votes.from_maps(grid, torch.randn(2, 21, *grid.shape) - 2)
    truth = ground_truth(votes, Poses.of_crops(votes.peak(), votes.confidence()), variant="lookup")
    made = PseudoLabels(21, *grid.shape)(votes.maps)
    torch.testing.assert_close(made[0], truth[0])
    torch.testing.assert_close(made[1], ground_false(truth)[0])


def test_its_accuracy_is_of_cells_near_the_label():
    labels = torch.zeros(1, 2, 20, 20)
    labels[0, :, 10, 10] = 1
    maps = torch.zeros_like(labels)
    maps[0, 0, 10, 10], maps[0, 1, 10, 12] = 1, 1  # exact, and as far as the threshold
    assert accuracy(maps, labels) == [1.0, 0.0]


def test_its_iteration_moves_the_network_as_ours_does():
    """Three passes give the gradients that two of the target give."""
    rates, source = Optimization(rate=1e-2), hands()
    theirs, ours = network().train(), RegDA(network(), HAND, rates, "reference", RegDA.Options(pseudo_labels="lookup"))
    theirs.restart_head(2)
    theirs.load_state_dict(ours.model.state_dict())
    torch.manual_seed(2)
    run = iteration(theirs, source, source.without_labels(), rates)
    torch.manual_seed(2)
    ours.adversary.load_state_dict(theirs.new_head(2).state_dict())
    step(ours.train(), source, source.without_labels())()
    run()
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.model.state_dict()[key], value, rtol=1e-4, atol=1e-5, msg=key)


def test_the_table_of_a_step():
    rows = regda_rows(
        network, hands(), lambda sides, rounds: {name: run() is None or 1.0 for name, run in sides.items()}
    )
    assert [len(row) for row in rows] == [3] * 4


@pytest.mark.parametrize("name", [name for name in MODELS if name != "own"])
def test_each_system_has_labels_to_learn(name):
    model = small(MODELS[name]).train()
    batch = labelled(model, 2)
    model.check(batch, "noise")
    with torch.no_grad():
        losses = model.loss(model(batch), batch)
    assert losses
    assert all(loss.isfinite() for loss in losses.values()), losses
    assert sum(losses.values()) != 0
