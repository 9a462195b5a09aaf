import dataclasses

import pytest
import torch

from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.models.output import divergence
from keyshift.models.systems.a2j import A2J, load_reference

SMALL = {"backbone": "small", "input_size": [32, 32], "channels": 16, "head_layers": 1}


def small(keypoints=3, **options):
    return A2J(keypoints, A2J.Options(**(SMALL | options)))


@pytest.fixture
def batch(balls):
    return EvaluationBatches(balls(4), 4, (32, 32))[0]


def test_votes_and_loss_against_loops(batch):
    torch.manual_seed(0)
    model = small(smooth_depth=True)
    votes = model(batch)
    response, offset, depth = model.head(model.features(batch))
    points = model.decode(votes, batch).points
    surround = regress = 0.0
    for b, k in [(b, k) for b in range(4) for k in range(3)]:
        weight = response[b, :, k].softmax(0).tolist()
        voted, anchors = [0.0, 0.0, 0.0], [0.0, 0.0]
        for n, w in enumerate(weight):
            row, column = divmod(n, 8)
            anchor = (4 * column + 2, 4 * row + 2)
            for axis in range(2):
                voted[axis] += w * (anchor[axis] + offset[b, n, k, axis].item())
                anchors[axis] += w * anchor[axis]
            voted[2] += w * depth[b, n, k].item()
        assert points[b, k].tolist() == pytest.approx(voted, abs=1e-3)
        truth = batch.keypoints[b, k].tolist()

        def smooth(error, tau):
            return error**2 / 2 / tau if abs(error) <= tau else abs(error) - tau / 2

        surround += sum(smooth(anchors[a] - truth[a], 1) for a in range(2)) / 2 / 12
        regress += 0.5 * sum(smooth(voted[a] - truth[a], 1) for a in range(2)) / 2 / 12
        regress += smooth(voted[2] - truth[2], 3) / 12
    loss = model.loss(votes, batch)
    assert loss["surrounding"].item() == pytest.approx(surround, rel=1e-4)
    assert loss["regression"].item() == pytest.approx(3 * regress, rel=1e-4)


def test_unannotated_joints_do_not_count(batch):
    model = small()
    some = dataclasses.replace(batch, annotated=torch.tensor([[True, False, True]]).expand(4, 3))
    moved = some.keypoints.clone()
    moved[:, 1] = 1e4
    first, second = (model.loss(model(batch), sample) for sample in (some, dataclasses.replace(some, keypoints=moved)))
    assert {k: v.item() for k, v in first.items()} == {k: v.item() for k, v in second.items()}
    none = dataclasses.replace(batch, annotated=torch.zeros(4, 3, dtype=torch.bool))
    assert sum(model.loss(model(batch), none).values()) == 0


def test_a_loss_counts_people(batch):
    """Three people in four images: the mean over each by itself in its image."""
    model, order = small().eval(), torch.tensor([2, 0, 2])
    people = {name: getattr(batch, name)[order] for name in ("keypoints", "visible", "annotated")}
    people["keypoints"] = people["keypoints"] + torch.tensor([0.0, 0.0, 5.0]).view(3, 1, 1)
    votes = model(batch)
    flat = dataclasses.replace(batch, image_index=order, **people)
    alone = [
        model.loss(votes, dataclasses.replace(flat, annotated=flat.annotated & (torch.arange(3) == p).view(3, 1)))
        for p in range(3)
    ]
    for name, value in model.loss(votes, flat).items():
        torch.testing.assert_close(value, torch.stack([one[name] for one in alone]).mean())
    assert model.counted(flat).shape == (3, 3)


def test_divergence_reaches_responses_offsets_and_depth(batch):
    model = small()
    divergence(model(batch), model.grid.targets(batch.keypoints, 1.0)).backward()
    for branch in (model.head.response, model.head.offset, model.head.depth):
        assert branch[-1].weight.grad.abs().sum() > 0


def test_learns_balls_in_seconds(balls, batch):
    torch.manual_seed(0)
    model = small(channels=32, std=60.0).train()
    batches = TrainingBatches(balls(64), "source", 0, 16, (32, 32), Augmentation(rotation=20), True)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    losses = []
    for step in range(90):
        sample = batches[step]
        loss = torch.stack(list(model.loss(model(sample), sample).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_two_dimensions_alone():
    model = small(5, depth=False)
    assert model.head.depth is None
    sample = type("Sample", (), {})
    votes = model.votes(torch.rand(2, 192, 4, 4), sample)
    assert votes.where.shape == (2, 64, 5, 2)
    assert votes.mean().shape == (2, 5, 2)
    assert len(votes.marginals()) == 1


def test_a_new_head_is_fresh_and_of_the_same_form(batch):
    model = small()
    other = model.new_head()
    assert {k: v.shape for k, v in other.state_dict().items()} == {
        k: v.shape for k, v in model.head.state_dict().items()
    }
    features = model.features(batch)
    assert not torch.equal(model.votes(features, batch).logits, model.votes(features, batch, other).logits)
    model.restart_head(2)
    assert A2J(3, A2J.Options(**model.architecture)).head.load_state_dict(model.head.state_dict())


@pytest.mark.parametrize(("joints", "depth"), [(16, True), (19, False)])
def test_released_checkpoints_of_other_joint_counts(joints, depth):
    model = A2J(joints, A2J.Options(input_size=[32, 32], channels=8, depth=depth))
    names = {"response": "classificationModel", "offset": "regressionModel", "depth": "DepthRegressionModel"}
    released = {"Backbone.model.fc.weight": torch.zeros(1)}
    for key, value in model.state_dict().items():
        if key.startswith("backbone.early."):
            released[f"module.Backbone.model.{key.removeprefix('backbone.early.')}"] = value
        elif key.startswith("backbone.late."):
            released[f"module.Backbone.model.layer4.{key.removeprefix('backbone.late.')}"] = value
        else:
            _, branch, place, leaf = key.split(".")
            layer = "output" if int(place) == 12 else f"{('conv', 'bn')[int(place) % 3]}{int(place) // 3 + 1}"
            released[f"module.{names[branch]}.{layer}.{leaf}"] = value
    loaded = load_reference(released, (32, 32))
    assert loaded.keypoints == joints
    assert loaded.depth == depth
    assert not loaded.smooth_depth
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
    with pytest.raises(ValueError, match=r"layer4.*conv3|missing|Missing"):
        load_reference({k: v for k, v in released.items() if "layer3.5.conv2" not in k})


def test_errors(batch):
    with pytest.raises(ValueError, match="multiple of the backbone's stride 8"):
        small(input_size=[30, 32])
    with pytest.raises(ValueError, match="Did you mean resnet18"):
        small(backbone="resnet17")
    with pytest.raises(ValueError, match="inputs of 64x64"):
        small(input_size=[64, 64]).features(batch)
    with pytest.raises(ValueError, match="A2J reads image and reach; photos gives image"):
        small().check(dataclasses.replace(batch, inputs={"image": batch.image}, camera=torch.zeros(4, 4)), "photos")
    with pytest.raises(ValueError, match="depth_reach=100 does not cover the cubes of balls, which reach 150 mm"):
        small(depth_reach=100.0).check(batch, "balls")
    small().check(batch, "balls")
    with pytest.raises(ValueError, match=r"not an A2J checkpoint: found 1 entries such as \['head.weight'\]"):
        load_reference({"head.weight": torch.zeros(1)})
