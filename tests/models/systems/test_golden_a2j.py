import numpy as np
import pytest
import torch

from keyshift.datasets.sample import Labeled
from keyshift.models.output import Votes
from keyshift.models.systems.a2j import load_reference

FACTORS = [("*bn3.weight", 0.5)]


def reference_order(side=11):
    """Where our row-by-row lattice keeps the reference's anchors: column-slow cells, 4 x 4 anchors in each."""
    column, row, p, q = np.meshgrid(*map(np.arange, (side, side, 4, 4)), indexing="ij")
    return torch.from_numpy((((4 * row + p) * side * 4) + 4 * column + q).ravel())


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.load("a2j")


@pytest.fixture(scope="module")
def state(golden):
    return golden.weights("a2j", FACTORS)


def labels(truth, size=176):
    known = torch.ones(truth.shape[:2], dtype=torch.bool)
    return Labeled(
        inputs={"image": torch.zeros(len(truth), 1, size, size), "reach": torch.full((len(truth),), 150.0)},
        id=("",) * len(truth),
        sequence=("",) * len(truth),
        frame=torch.arange(len(truth)),
        camera=torch.ones(len(truth), 4),
        to_file=torch.eye(4)[:3].repeat(len(truth), 1, 1),
        side=torch.full((len(truth),), float(size)),
        keypoints=truth,
        visible=known,
        annotated=known,
        image_index=torch.arange(len(truth)),
    )


def swapped(rows):
    """(row, column, depth) to (x, y, z)."""
    return torch.from_numpy(np.asarray(rows, np.float32)[..., [1, 0, 2]])


def test_network_decoding_and_losses_agree_with_the_reference(golden, arrays, state):
    model = load_reference({f"module.{k}": v for k, v in state.items()})
    order = reference_order()
    truth = swapped(arrays["j14.gt"])
    with torch.no_grad():
        features = model.encode(golden.texture("j14.image", (2, 1, 176, 176)))
        golden.compare(arrays, "j14.layer3", features[:, :1024])
        golden.compare(arrays, "j14.layer4", features[:, 1024:])
        response, offset, depth = model.head(features)
        golden.compare(arrays, "j14.cls", response[:, order])
        golden.compare(arrays, "j14.reg", offset.flip(-1)[:, order])
        golden.compare(arrays, "j14.depth", depth[:, order])
        np.testing.assert_array_equal(model.anchors(offset).flip(-1)[order], arrays["j14.anchors"])
        votes = model.votes(features, labels(truth))
        golden.compare(arrays, "j14.joints", model.decode(votes, labels(truth)).points[..., [1, 0, 2]])
        loss = model.loss(votes, labels(truth))
    golden.compare(arrays, "j14.loss_anchor", loss["surrounding"][None])
    golden.compare(arrays, "j14.loss_reg", loss["regression"][None] / 3)
    golden.compare(arrays, "j14.loss_total", (loss["surrounding"] + loss["regression"])[None])


def test_gradients_of_the_losses_agree_with_the_reference(golden, arrays, state):
    model = load_reference(state)
    order = reference_order()
    back = torch.argsort(order)
    heads = {
        "cls": golden.normal("j14.heads.cls", (2, 1936, 14), 3),
        "reg": golden.normal("j14.heads.reg", (2, 1936, 14, 2), 6),
        "depth": golden.normal("j14.heads.depth", (2, 1936, 14), 30),
    }
    for value in heads.values():
        value.requires_grad_()
    where = model.anchors(heads["reg"]).view(1, -1, 1, 2) + heads["reg"][:, back].flip(-1)
    votes = Votes(model.grid, heads["cls"][:, back], torch.cat([where, heads["depth"][:, back].unsqueeze(-1)], -1))
    golden.compare(arrays, "j14.heads.joints", votes.mean()[..., [1, 0, 2]])
    loss = model.loss(votes, labels(swapped(arrays["j14.heads.gt"])))
    golden.compare(arrays, "j14.heads.loss_anchor", loss["surrounding"][None])
    golden.compare(arrays, "j14.heads.loss_reg", loss["regression"][None] / 3)
    sum(loss.values()).backward()
    for name, value in heads.items():
        golden.compare(arrays, f"j14.heads.grad_{name}", value.grad)
