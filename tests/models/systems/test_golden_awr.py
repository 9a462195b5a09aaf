"""AWR against the reference implementation's numbers."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from keyshift.datasets.sample import Labeled
from keyshift.models.systems.awr import dense_target, load_reference

FACTORS = [
    ("final2.weight", 0.2),
    ("outs_1.*.weight", 0.03),
    ("outs_2.*.weight", 0.006),
    ("*bn2.weight", 0.5),
    ("*bn3.weight", 0.5),
]
NETS = ["resnet_18", "hourglass_1"]
REACH = 128.0  # a power of two: normalising the image again is exact


def blob(golden, name, shape):
    """Texture inside a disc, background 1."""
    width, height = shape[3], shape[2]
    value = (0.4 * golden.texture(name, shape)).clamp(-0.95, 0.95)
    yy, xx = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    outside = (xx - width / 2) ** 2 + (yy - height / 2) ** 2 >= (0.39 * width) ** 2
    return torch.where(outside, torch.ones(()), value)


def labels(image, truth):
    """The normalised image and joints as a batch in px and mm."""
    count = len(image)
    known = torch.ones(truth.shape[:2], dtype=torch.bool)
    return Labeled(
        inputs={"image": image * REACH, "reach": torch.full((count,), REACH)},
        id=("",) * count,
        sequence=("",) * count,
        frame=torch.arange(count),
        camera=torch.ones(count, 4),
        to_file=torch.eye(4)[:3].repeat(count, 1, 1),
        side=torch.full((count,), 128.0),
        keypoints=truth * torch.tensor([64, 64, REACH]) + torch.tensor([64, 64, 0.0]),
        visible=known,
        annotated=known,
        image_index=torch.arange(count),
    )


def in_cube(points):
    """(x px, y px, z mm) to the reference's normalised coordinates."""
    return (points - torch.tensor([64, 64, 0.0])) / torch.tensor([64, 64, REACH])


@pytest.fixture(scope="module", params=NETS)
def case(request, golden):
    """Name, the reference's numbers, its checkpoint, our network from it, and the batch."""
    net, arrays = request.param, golden.load("awr")
    state = golden.weights(f"awr_{net}", FACTORS)
    image = blob(golden, f"{net}.image", (2, 1, 128, 128))
    return net, arrays, state, load_reference(state), labels(image, torch.from_numpy(arrays[f"{net}.gt"]))


def test_inputs_and_weights_follow_the_recipe(case):
    net, arrays, state, _, sample = case
    np.testing.assert_array_equal(sample.image.flatten()[:8] / REACH, arrays[f"input.{net}.image"])
    values = torch.cat([v.double().flatten() for v in state.values() if v.is_floating_point()])
    sums = torch.stack([torch.tensor(len(values)).double(), values.sum(), values.abs().sum()])
    torch.testing.assert_close(sums, torch.from_numpy(arrays[f"weights.{net}"]), rtol=1e-9, atol=1e-6)


@torch.no_grad()
def test_network_decoding_and_losses(golden, case):
    net, arrays, _, model, sample = case
    assert model.kernel == {"resnet_18": 0.8, "hourglass_1": 0.4}[net]
    assert not model.training
    features = model.features(sample)
    torch.testing.assert_close(features, model.encode(sample.image / REACH), rtol=0, atol=0)
    votes = model.votes(features, sample)
    golden.compare(arrays, f"{net}.raw0", votes.extra["raws"][0])
    kernel = model.kernel
    try:
        for model.kernel in (0.4, 0.8):
            votes = model.votes(features, sample)
            golden.compare(arrays, f"{net}.decoded0.k{model.kernel}", in_cube(model.decode(votes, sample).points))
            loss = model.loss(votes, sample)
            golden.compare(arrays, f"{net}.loss_dense0.k{model.kernel}", loss["dense"])
            golden.compare(arrays, f"{net}.loss_coord0.k{model.kernel}", loss["joint"])
    finally:
        model.kernel = kernel


@torch.no_grad()
@pytest.mark.parametrize("kernel", [0.4, 0.8])
def test_dense_representation(golden, case, kernel):
    net, arrays, _, model, sample = case
    before, model.kernel = model.kernel, kernel
    try:
        target = dense_target(in_cube(sample.keypoints), sample.image / REACH, kernel, (64, 64))
        golden.compare(arrays, f"{net}.target.k{kernel}", target)
        golden.compare(arrays, f"{net}.target_decoded.k{kernel}", in_cube(model.read((target,), sample).mean()))
        noisy = target + golden.normal(f"{net}.jitter", (2, 56, 64, 64), 0.02)
        votes = model.read((noisy,), sample)
        golden.compare(arrays, f"{net}.noisy_decoded.k{kernel}", in_cube(votes.mean()))
        golden.compare(arrays, f"{net}.noisy_loss_dense.k{kernel}", model.loss(votes, sample)["dense"])
    finally:
        model.kernel = before


@torch.no_grad()
def test_training_checkpoints_load_as_plain_states_do(case):
    _, _, state, model, _ = case
    wrapped = {"model": {f"module.{key}": value for key, value in state.items()}, "best_records": {"epoch": 14}}
    again = load_reference(wrapped)
    for (name, ours), (_, theirs) in zip(again.state_dict().items(), model.state_dict().items(), strict=True):
        assert torch.equal(ours, theirs), name
    assert not again.training


@torch.no_grad()
def test_other_joint_counts_and_missing_keys(golden, case):
    net, _, state, _, sample = case
    outputs = {"resnet_18": ("final1", "final2"), "hourglass_1": ("outs_1.0", "outs_2.0")}[net]
    fewer = dict(state)
    for name, count in zip(outputs, (9, 3), strict=True):
        for leaf in ("weight", "bias"):
            fewer[f"{name}.{leaf}"] = state[f"{name}.{leaf}"][:count]
    model = load_reference(fewer)
    assert model.keypoints == 3
    assert model(sample).mean().shape == (2, 3, 3)
    with pytest.raises(ValueError, match=re.escape(f"{outputs[1]}.bias")):
        load_reference({key: value for key, value in state.items() if key != f"{outputs[1]}.bias"})
    with pytest.raises(ValueError, match="extra_layer"):
        load_reference(state | {"extra_layer.weight": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"expected pre\.0\.weight"):
        load_reference({"backbone.conv1.weight": torch.zeros(3)})


def two_stacks(golden):
    """A checkpoint of hourglass_2: the second stack, and what merges the first into it, by the same recipe."""
    shapes = dict(golden.keys("awr_hourglass_1"))
    for key, shape in list(shapes.items()):
        first, _, rest = key.partition(".")
        if first != "pre":
            shapes[f"{first}.1.{rest.split('.', 1)[1]}"] = shape
    for name, width in (("merge_features", 256), ("merge_preds", 56)):
        shapes |= {f"{name}.0.conv.conv.weight": (256, width, 1, 1), f"{name}.0.conv.conv.bias": (256,)}
    return {key: golden.weight(key, shape, FACTORS) for key, shape in shapes.items()}


@torch.no_grad()
def test_second_hourglass_sees_what_the_first_saw_and_said(golden):
    state = two_stacks(golden)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert sum(v.numel() for k, v in state.items() if not k.endswith(statistics)) == pytest.approx(8.662e6, rel=1e-4)
    model = load_reference(state)
    assert model.architecture["backbone"] == "hourglass_2"
    image = blob(golden, "two.image", (2, 1, 128, 128))
    sample = labels(image, torch.zeros(2, 14, 3))
    votes = model(sample)

    def layer(name, x):
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])

    parts = model.backbone
    x = parts.stem(image)
    one = parts.features[0](parts.stacks[0](x))
    said = torch.cat([layer("outs_1.0", one), layer("outs_2.0", one)], 1)
    x = x + layer("merge_preds.0.conv.conv", said) + layer("merge_features.0.conv.conv", one)
    two = parts.features[1](parts.stacks[1](x))
    torch.testing.assert_close(votes.extra["raws"][0], said)
    torch.testing.assert_close(votes.extra["raws"][1], torch.cat([layer("outs_1.1", two), layer("outs_2.1", two)], 1))
